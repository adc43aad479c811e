//! Nothing of a cluster outlives the process that started it: not after a failed test, not after SIGKILL.
//!
//! A cluster in a `static` is never dropped and a killed process drops nothing, so ending is the work of a small process
//! beside it (`watchdog.sh`) that waits for the end of a pipe. Dropping a cluster closes that pipe too: there is one way in which
//! clusters end, and each test run uses it.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, Once, PoisonError};

use anyhow::{Context as _, Result, ensure};

use crate::say;

/// The environment variable by which the watchdog knows a cluster's processes; its value is the run directory.
pub(super) const MARK: &str = "FLUMEN_HADOOP_RUN";

/// The run directories of this process's clusters.
static RUN_DIRS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Ends the cluster of one run directory when it is dropped, or its process ends.
#[derive(Debug)]
pub(super) struct Watchdog {
    pipe: Option<ChildStdin>,
    process: Child,
}

impl Watchdog {
    /// Watches over `run_dir`, which must be absolute.
    pub(super) fn start(run_dir: &Path) -> Result<Watchdog> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
        let path = run_dir.to_str().filter(|path| path.chars().all(plain) && path.starts_with('/'));
        // It becomes part of a pattern, and of configuration values in which commas separate.
        let path = path.with_context(|| format!("{}: a run directory has a plain absolute path", run_dir.display()))?;
        let mut process = Command::new("sh")
            .args(["-c", include_str!("../../hadoop/watchdog.sh"), "watchdog", path])
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("starting the watchdog")?;
        let pipe = process.stdin.take();
        ensure!(pipe.is_some(), "the watchdog has no pipe");
        RUN_DIRS.lock().unwrap_or_else(PoisonError::into_inner).push(run_dir.to_owned());
        keep_logs_of_failures();
        Ok(Watchdog { pipe, process })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.pipe.take());
        let _ = self.process.wait();
    }
}

/// A test that panics leaves the run directories of all clusters behind, logs included, and says where they are.
fn keep_logs_of_failures() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            before(info);
            for dir in RUN_DIRS.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                keep(dir);
            }
        }));
    });
}

/// Tells the watchdog to leave the files of `run_dir`.
pub(super) fn keep(run_dir: &Path) {
    // A directory that is gone belongs to a cluster that ended before.
    if std::fs::File::create_new(run_dir.join("keep")).is_ok() {
        say(&format!("the logs of this cluster stay in {}", run_dir.display()));
    }
}
