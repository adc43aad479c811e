//! The packaged command `flink`, as a user runs it, with its own account of where the time went.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use flumen_itests::binaries::{hide_own_package, repository};
use flumen_itests::flink::application_id;
use flumen_itests::hadoop::HadoopCluster;
use serde_json::Value;

/// What `scripts/package.sh` made.
#[derive(Debug)]
pub struct Distribution {
    /// Its folder.
    pub dir: PathBuf,
}

impl Distribution {
    /// Builds and collects it, of the sources as they are now.
    pub fn package() -> Result<Distribution> {
        let mut package = Command::new(repository().join("scripts/package.sh"));
        hide_own_package(&mut package);
        let output = package.output().context("starting package.sh")?;
        ensure!(output.status.success(), "package.sh failed:\n{}", String::from_utf8_lossy(&output.stderr));
        let dir = repository().join(concat!("dist/flumen-", env!("CARGO_PKG_VERSION")));
        Ok(Distribution { dir })
    }

    /// An example's path.
    pub fn example(&self, name: &str) -> PathBuf {
        self.dir.join("examples").join(name)
    }

    /// `flink run -m yarn-cluster` with these arguments, to its end.
    pub fn run(&self, cluster: &HadoopCluster, arguments: &[&str]) -> Result<Submission> {
        let arguments: Vec<String> =
            ["run", "-m", "yarn-cluster"].iter().chain(arguments).map(|a| (*a).to_owned()).collect();
        let done = self.flink(cluster, &arguments)?;
        Ok(Submission {
            application: done.application()?,
            begun: done.begun,
            submitted: done.reached("submitted")?,
            ended: done.ended,
            parts: done.parts()?,
        })
    }

    /// `flink` with these arguments, to its end, which must be a good one.
    pub fn flink(&self, cluster: &HadoopCluster, arguments: &[String]) -> Result<Done> {
        let mut command = Command::new(self.dir.join("bin/flink"));
        command
            .env_clear()
            .envs(["PATH", "HOME", "USER"].into_iter().filter_map(|key| Some((key, std::env::var(key).ok()?))));
        command.env("HADOOP_CONF_DIR", cluster.conf_dir()).env("FLUMEN_TIMINGS", "1").args(arguments);
        let begun = now();
        let output = command.output().context("starting flink")?;
        let ended = now();
        let printed = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if !output.status.success() {
            bail!("{command:?} ended with {}:\n{printed}", output.status);
        }
        let timings = printed.lines().find(|line| line.contains("flumen_timings_ms")).context("no timings")?;
        let timings: Value = serde_json::from_str(timings)?;
        Ok(Done { begun, ended, timings: timings["flumen_timings_ms"].clone(), printed })
    }
}

/// What one command did. Times are seconds since 1970.
#[derive(Debug)]
pub struct Done {
    /// When it was started.
    pub begun: f64,
    /// When it ended.
    pub ended: f64,
    /// Its own account, in milliseconds.
    timings: Value,
    /// All that it printed.
    printed: String,
}

impl Done {
    /// The application's id.
    pub fn application(&self) -> Result<String> {
        application_id(&self.printed).context("no application id")
    }

    /// The job's id.
    pub fn job(&self) -> Result<String> {
        let rest = self.printed.split("Job has been submitted with JobID ").nth(1).context("no job id")?;
        Ok(rest.split_whitespace().next().context("no job id")?.to_owned())
    }

    /// When it had come to a point.
    pub fn reached(&self, point: &str) -> Result<f64> {
        let seconds = |of: &Value| of.as_f64().map(|ms| ms / 1000.0);
        // Its clock starts a little after the command; its account is the last that it does.
        let start = self.ended - seconds(&self.timings["total"]).context("no total")?;
        Ok(start + seconds(&self.timings["reached"][point]).with_context(|| format!("not {point}"))?)
    }

    /// Seconds of its parts; some overlap.
    pub fn parts(&self) -> Result<BTreeMap<String, f64>> {
        let parts = self.timings["parts"].as_object().context("no parts")?;
        Ok(parts.iter().filter_map(|(name, took)| Some((name.clone(), took.as_f64()? / 1000.0))).collect())
    }
}

/// What one `flink run` did. Times are seconds since 1970.
#[derive(Debug)]
pub struct Submission {
    /// The application's id.
    pub application: String,
    /// When the command was started.
    pub begun: f64,
    /// When the ResourceManager had taken the application.
    pub submitted: f64,
    /// When the command ended.
    pub ended: f64,
    /// Seconds of the client's parts; some overlap.
    pub parts: BTreeMap<String, f64>,
}

/// Seconds since 1970.
pub fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// `file://` and the path.
pub fn file_url(path: &Path) -> String {
    format!("file://{}", path.display())
}
