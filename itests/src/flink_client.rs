//! Flink's own command line (Java), fetched through Maven once per machine, as Hadoop is. It shows whether our REST interface
//! is Flink's.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::hadoop::install;

/// What Maven resolves; names the version.
const POM: &str = include_str!("../flink-client/pom.xml");

/// About how many files Maven fetches for it.
const FILES: u32 = 150;

/// A configuration without a cluster in it: the address is always given.
const CONFIGURATION: &str = "client.timeout: 60 s\n";

/// Flink's client on this machine.
#[derive(Debug)]
pub struct FlinkClient {
    jars: PathBuf,
    java: PathBuf,
    conf: tempfile::TempDir,
}

/// What one command did.
#[derive(Debug)]
pub struct Said {
    /// Whether its exit code was 0.
    pub succeeded: bool,
    /// Stdout, then stderr.
    pub text: String,
}

impl FlinkClient {
    /// Finds Java, and fetches the client where this machine doesn't have it yet; says what takes time.
    ///
    /// # Errors
    /// When Java or Maven is missing, or the jars can't be fetched.
    pub fn ready() -> Result<FlinkClient> {
        let dir = install::fetched("flink-client", "flink.version", POM, FILES, |_| Ok(()))?;
        let conf = tempfile::tempdir()?;
        std::fs::write(conf.path().join("config.yaml"), CONFIGURATION)?;
        Ok(FlinkClient { jars: dir.join("jars"), java: install::java()?.0.join("bin/java"), conf })
    }

    /// Runs a command to its end, as `flink <arguments>` of a Flink distribution would. Arguments are separated by white space.
    /// With a token, it is sent as Flink's users do it.
    ///
    /// # Errors
    /// When Java can't be started.
    pub fn run(&self, token: Option<&str>, arguments: &str) -> Result<Said> {
        let mut command = Command::new(&self.java);
        // Short runs on a busy machine: little memory, and no second compiler.
        command.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx256m"]);
        command.arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=error");
        for package in ["java.lang", "java.util"] {
            command.arg(format!("--add-opens=java.base/{package}=ALL-UNNAMED"));
        }
        command.arg("-cp").arg(self.jars.join("*")).arg("org.apache.flink.client.cli.CliFrontend");
        command.args(arguments.split_whitespace());
        command.env("FLINK_CONF_DIR", self.conf.path()).env_remove("HADOOP_CONF_DIR");
        match token {
            Some(token) => command.env("FLINK_REST_CLIENT_HEADERS", format!("Authorization:Bearer {token}")),
            None => command.env_remove("FLINK_REST_CLIENT_HEADERS"),
        };
        let output = command.output().with_context(|| format!("starting {command:?}"))?;
        let text = [output.stdout, output.stderr].concat();
        Ok(Said { succeeded: output.status.success(), text: String::from_utf8_lossy(&text).into_owned() })
    }
}
