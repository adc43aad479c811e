//! The command `flink`, run as a user runs it.

use std::ffi::OsStr;
use std::fmt;
use std::io::{Read, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::process::Signal;

use crate::binaries::{binary, repository};
use crate::hadoop::HadoopCluster;
use crate::process::signal_pid;
use crate::wait;

/// How long a command may take unless a test says otherwise: generous, because machines are busy.
const LIMIT: Duration = Duration::from_secs(300);

/// A `flink` command that isn't started yet.
#[derive(Debug)]
pub struct Flink {
    command: Command,
    limit: Duration,
    said: Option<String>,
}

impl Flink {
    /// `flink` with the cluster's configuration, without any other of the developer's.
    #[must_use]
    pub fn on(cluster: &HadoopCluster) -> Flink {
        Flink::local().env("HADOOP_CONF_DIR", cluster.conf_dir())
    }

    /// `bin/flink` of a distribution, with its own configuration and the cluster's.
    #[must_use]
    pub fn packaged(distribution: &Path, cluster: &HadoopCluster) -> Flink {
        Flink::of(&distribution.join("bin/flink")).env("HADOOP_CONF_DIR", cluster.conf_dir())
    }

    /// `flink` without a Hadoop.
    #[must_use]
    pub fn local() -> Flink {
        Flink::of(&binary("flink")).env("FLINK_CONF_DIR", repository().join("conf"))
    }

    fn of(program: &Path) -> Flink {
        let mut command = Command::new(program);
        for (key, _) in std::env::vars_os() {
            if ["HADOOP_", "YARN_", "FLINK_", "FLUMEN_"].iter().any(|prefix| key.to_string_lossy().starts_with(prefix))
            {
                command.env_remove(key);
            }
        }
        Flink { command, limit: LIMIT, said: None }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Flink {
        self.command.arg(argument);
        self
    }

    /// Adds arguments, separated by white space.
    #[must_use]
    pub fn args(mut self, arguments: &str) -> Flink {
        self.command.args(arguments.split_whitespace());
        self
    }

    /// Says this on its standard input, which then ends; otherwise it has none.
    #[must_use]
    pub fn say(mut self, text: &str) -> Flink {
        self.said = Some(text.to_owned());
        self
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Flink {
        self.command.env(key, value);
        self
    }

    /// Runs it in this folder.
    #[must_use]
    pub fn current_dir(mut self, dir: impl Into<PathBuf>) -> Flink {
        self.command.current_dir(dir.into());
        self
    }

    /// How long it may take (default 5 minutes).
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Flink {
        self.limit = limit;
        self
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// When it can't be started, or takes longer than its limit; then it is killed and what it printed is shown.
    #[must_use]
    pub fn run(self) -> Outcome {
        let limit = self.limit;
        self.spawn().wait(limit)
    }

    /// Starts it.
    ///
    /// # Panics
    /// When it can't be started.
    #[must_use]
    pub fn spawn(mut self) -> Running {
        // Its own group, as a shell gives each command: signals of a test go to it alone.
        self.command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped());
        self.command.stdin(if self.said.is_some() { Stdio::piped() } else { Stdio::null() });
        let start = Instant::now();
        let mut child = self.command.spawn().unwrap_or_else(|error| panic!("starting {:?}: {error}", self.command));
        if let (Some(text), Some(mut stdin)) = (&self.said, child.stdin.take()) {
            let _ = stdin.write_all(text.as_bytes());
        }
        let stdout = Captured::of(child.stdout.take().expect("stdout is piped"));
        let stderr = Captured::of(child.stderr.take().expect("stderr is piped"));
        Running { what: format!("{:?}", self.command), child, stdout, stderr, start }
    }
}

/// What a pipe has delivered so far.
#[derive(Debug)]
struct Captured {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Captured {
    fn of(mut pipe: impl Read + Send + 'static) -> Captured {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let to = Arc::clone(&bytes);
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = pipe.read(&mut buffer) {
                to.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&buffer[..count]);
            }
        });
        Captured { bytes, reader: Some(reader) }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    fn ended(&self) -> bool {
        self.reader.as_ref().is_none_or(JoinHandle::is_finished)
    }

    fn all(mut self) -> String {
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        self.text()
    }
}

/// A `flink` command that runs; killed when it is dropped.
#[derive(Debug)]
pub struct Running {
    what: String,
    child: Child,
    stdout: Captured,
    stderr: Captured,
    start: Instant,
}

impl Running {
    /// What it has printed so far: stdout, then stderr.
    #[must_use]
    pub fn printed(&self) -> String {
        format!("{}{}", self.stdout.text(), self.stderr.text())
    }

    /// Waits until it has printed something from which `find` makes a value.
    ///
    /// # Errors
    /// After `limit`, or when it ended before; with what it printed.
    pub fn wait_printed<T>(&mut self, what: &str, limit: Duration, find: impl Fn(&str) -> Option<T>) -> Result<T> {
        let found = wait::until(what, limit, || {
            // What it printed last may still be in the pipes when it has ended.
            let ended = self.child.try_wait().ok().flatten().is_some() && self.stdout.ended() && self.stderr.ended();
            match find(&self.printed()) {
                None if ended => Some(None),
                None => None,
                found => Some(found),
            }
        });
        found.ok().flatten().with_context(|| format!("{what}: {} printed only:\n{}", self.what, self.printed()))
    }

    /// Sends it a signal, SIGINT for Ctrl-C.
    ///
    /// # Errors
    /// When its process id is out of range.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        signal_pid(self.child.id(), signal)
    }

    /// Whether it still runs.
    #[must_use]
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it takes longer than `limit`; then it is killed and what it printed is shown.
    #[must_use]
    pub fn wait(mut self, limit: Duration) -> Outcome {
        let ended = wait::until(&self.what, limit, || self.child.try_wait().ok().flatten());
        let Ok(status) = ended else {
            let _ = self.child.kill();
            panic!("{} did not end within {limit:?}; it printed:\n{}", self.what, self.printed());
        };
        let took = self.start.elapsed();
        let empty = || Captured { bytes: Arc::default(), reader: None };
        let stdout = std::mem::replace(&mut self.stdout, empty()).all();
        let stderr = std::mem::replace(&mut self.stderr, empty()).all();
        Outcome { what: std::mem::take(&mut self.what), status, stdout, stderr, took }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How a `flink` command ended.
#[derive(Debug)]
pub struct Outcome {
    what: String,
    /// Its exit status.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: String,
    /// What it said on stderr.
    pub stderr: String,
    /// How long it took.
    pub took: Duration,
}

impl Outcome {
    /// Stdout and stderr.
    #[must_use]
    pub fn printed(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// The first YARN application id it printed.
    #[must_use]
    pub fn application_id(&self) -> Option<String> {
        application_id(&self.printed())
    }

    /// Itself, after checking that it succeeded.
    ///
    /// # Panics
    /// When it did not; shows everything it printed.
    #[must_use]
    #[track_caller]
    pub fn succeeded(self) -> Outcome {
        assert!(self.status.success(), "{self}");
        self
    }

    /// Itself, after checking that it ended with exit code 1 and said each of `texts`.
    ///
    /// # Panics
    /// When not; shows everything it printed.
    #[must_use]
    #[track_caller]
    pub fn failed_with(self, texts: &[&str]) -> Outcome {
        assert_eq!(self.status.code(), Some(1), "{self}");
        for text in texts {
            assert!(self.printed().contains(text), "does not say {text:?}: {self}");
        }
        self
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome { what, status, stdout, stderr, took } = self;
        write!(f, "{what} ended with {status} after {took:?}\n-- stdout\n{stdout}-- stderr\n{stderr}--")
    }
}

/// The first YARN application id in a text.
#[must_use]
pub fn application_id(text: &str) -> Option<String> {
    let start = text.find("application_")?;
    let id = text[start..].split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next()?;
    // A line that is still being printed may hold half an id.
    (id.split('_').nth(2)?.len() >= 4).then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_application_id_is_found_in_a_sentence() {
        let text = "Submitted application application_1795228637142_0003.";
        assert_eq!(application_id(text).as_deref(), Some("application_1795228637142_0003"));
        assert_eq!(application_id("application_17952"), None);
        assert_eq!(application_id("none"), None);
    }
}
