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
        let mut command = Command::new(self.dir.join("bin/flink"));
        command
            .env_clear()
            .envs(["PATH", "HOME", "USER"].into_iter().filter_map(|key| Some((key, std::env::var(key).ok()?))));
        command.env("HADOOP_CONF_DIR", cluster.conf_dir()).env("FLUMEN_TIMINGS", "1");
        command.args(["run", "-m", "yarn-cluster"]).args(arguments);
        let begun = now();
        let output = command.output().context("starting flink")?;
        let ended = now();
        let printed = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if !output.status.success() {
            bail!("{command:?} ended with {}:\n{printed}", output.status);
        }
        let timings = printed.lines().find(|line| line.contains("flumen_timings_ms")).context("no timings")?;
        let timings: Value = serde_json::from_str(timings)?;
        let timings = &timings["flumen_timings_ms"];
        let seconds = |of: &Value| of.as_f64().map(|ms| ms / 1000.0);
        // Its clock starts a little after the command; its account is the last that it does.
        let start = ended - seconds(&timings["total"]).context("no total")?;
        let parts = timings["parts"].as_object().context("no parts")?;
        Ok(Submission {
            application: application_id(&printed).context("no application id")?,
            begun,
            submitted: start + seconds(&timings["reached"]["submitted"]).context("not submitted")?,
            ended,
            parts: parts.iter().filter_map(|(name, took)| Some((name.clone(), seconds(took)?))).collect(),
        })
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
