//! The user's program as a child process that is asked for its graph (role `plan`).
//!
//! In: the executable, its arguments, the configuration. Out: its JobGraph, or why there is none, in words for its author. The
//! command line does that where it runs, the ApplicationMaster of an application in its own container.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use flumen_model::config::MemorySize;
use flumen_model::job_graph::JobGraph;
use flumen_wire::control::{PlanReply, ProgramSetup, ROLE_VARIABLE};
use flumen_wire::frame::{self, FrameError};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

/// A program lists its inputs for its plan, maybe on a slow file system; nothing should take longer.
const PLAN_LIMIT: Duration = Duration::from_secs(300);

/// Time that a program has to end by itself once it has answered (or closed its end).
const EXIT_LIMIT: Duration = Duration::from_secs(3);

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// No such file.
    #[error("program `{path}` does not exist")]
    Missing {
        /// As it was named.
        path: PathBuf,
    },
    /// The file is no executable.
    #[error("program `{path}` is {problem}")]
    NotExecutable {
        /// As it was named.
        path: PathBuf,
        /// What it is instead, and what to do.
        problem: &'static str,
    },
    /// The program can't be started.
    #[error("program `{path}` could not be started")]
    Start {
        /// As it was named.
        path: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// The program says why it has no plan.
    #[error("program `{path}` has no plan: {message}")]
    Refused {
        /// As it was named.
        path: PathBuf,
        /// In its own words.
        message: String,
    },
    /// The program ended without an answer.
    #[error("program `{path}` ended without a plan ({end}): {hint}")]
    NoPlan {
        /// As it was named.
        path: PathBuf,
        /// Its exit status or signal.
        end: String,
        /// What that means.
        hint: String,
    },
    /// The program did not answer in time.
    #[error("program `{path}` gave no plan within {} s: it must reach `execute` quickly, and nothing before it may wait", PLAN_LIMIT.as_secs())]
    Slow {
        /// As it was named.
        path: PathBuf,
    },
    /// What it answered is no plan.
    #[error("the answer of program `{path}` could not be understood")]
    Answer {
        /// As it was named.
        path: PathBuf,
        /// Why.
        #[source]
        cause: FrameError,
    },
}

/// Checks that the file is there and executable, and makes its path one that `exec` does not look for in `PATH`.
///
/// # Errors
/// [`ProgramError::Missing`], [`ProgramError::NotExecutable`].
pub fn executable(path: &Path) -> Result<PathBuf, ProgramError> {
    let not = |problem| ProgramError::NotExecutable { path: path.to_owned(), problem };
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(ProgramError::Missing { path: path.to_owned() });
        }
        Err(cause) => return Err(ProgramError::Start { path: path.to_owned(), cause }),
    };
    if metadata.is_dir() {
        return Err(not("a directory: name the executable in it"));
    }
    if path.extension() == Some(OsStr::new("jar")) {
        return Err(not("a Java archive: Flumen runs native executables that are built with the crate `flumen`"));
    }
    if metadata.permissions().mode() & 0o111 == 0 {
        return Err(not("not executable: `chmod +x` it if it is a program"));
    }
    path.canonicalize().map_err(|cause| ProgramError::Start { path: path.to_owned(), cause })
}

/// Starts the program in the role `plan` and returns the graph that it builds. Its output goes where this process's goes.
///
/// # Errors
/// See [`ProgramError`]; the program is killed when it does not end by itself.
pub async fn plan(path: &Path, arguments: &[String], setup: &ProgramSetup) -> Result<JobGraph, ProgramError> {
    plan_within(None, path, arguments, setup).await
}

/// The same, with at most so much memory if a limit is set.
///
/// # Errors
/// As [`plan`]; one that needs more has [`ProgramError::NoPlan`] with the limit.
pub async fn plan_within(
    memory: Option<MemorySize>,
    path: &Path,
    arguments: &[String],
    setup: &ProgramSetup,
) -> Result<JobGraph, ProgramError> {
    let start = |cause| start_error(path, cause);
    let (ours, theirs) = StdUnixStream::pair().map_err(start)?;
    ours.set_nonblocking(true).map_err(start)?;
    let mut child = Command::new(executable(path)?)
        .args(arguments)
        .env(ROLE_VARIABLE, "plan")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .kill_on_drop(true)
        .spawn()
        .map_err(start)?;
    if let Some(memory) = memory {
        limit_memory(&child, memory).map_err(start)?;
    }
    let mut stream = UnixStream::from_std(ours).map_err(start)?;
    let talk = async {
        // A program that ends at once breaks the pipe: what it read does not matter, how it ended does.
        let _ = frame::write(&mut stream, setup).await;
        frame::read::<PlanReply>(&mut stream).await
    };
    let Ok(reply) = tokio::time::timeout(PLAN_LIMIT, talk).await else {
        return Err(ProgramError::Slow { path: path.to_owned() });
    };
    drop(stream);
    match reply {
        Ok(Some(PlanReply::Graph(graph))) => {
            ended(&mut child).await;
            Ok(graph)
        }
        Ok(Some(PlanReply::Failed(message))) => {
            ended(&mut child).await;
            Err(ProgramError::Refused { path: path.to_owned(), message })
        }
        Ok(None) | Err(FrameError::Io(_)) => Err(no_plan(path, ended(&mut child).await, memory)),
        Err(cause) => Err(ProgramError::Answer { path: path.to_owned(), cause }),
    }
}

/// Waits for the end of the program for a short time, so that what it still prints stands before what follows.
async fn ended(child: &mut Child) -> Option<ExitStatus> {
    tokio::time::timeout(EXIT_LIMIT, child.wait()).await.ok().and_then(Result::ok)
}

/// Private memory that can be written is what counts (`RLIMIT_DATA`): the heap and stacks, not the pages of files. The
/// program waits for its setup by then, unless it does much before it comes to that.
fn limit_memory(child: &Child, memory: MemorySize) -> std::io::Result<()> {
    // One that has already been reaped has no id, and needs no limit.
    let Some(pid) = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) else { return Ok(()) };
    let limit = Rlimit { current: Some(memory.0), maximum: Some(memory.0) };
    prlimit(Some(pid), Resource::Data, limit)?;
    Ok(())
}

fn no_plan(path: &Path, status: Option<ExitStatus>, memory: Option<MemorySize>) -> ProgramError {
    let (end, hint) = match status {
        None => (
            "it closed its standard input".to_owned(),
            "standard input belongs to Flumen in a program that is run by `flink`".to_owned(),
        ),
        Some(status) => match (status.code(), status.signal()) {
            (Some(0), _) => {
                ("exit code 0".to_owned(), "it must call `execute`, and be built with the crate `flumen`".to_owned())
            }
            (Some(code), _) => (format!("exit code {code}"), "what it printed above says why".to_owned()),
            (None, signal) => {
                let limit = memory.map(|memory| {
                    format!(
                        "; until it calls `execute` it may use {memory} here, which is what \
                         jobmanager.memory.process.size leaves it"
                    )
                });
                let hint = format!("it crashed or was killed{}", limit.unwrap_or_default());
                (format!("signal {}", signal.unwrap_or(0)), hint)
            }
        },
    };
    ProgramError::NoPlan { path: path.to_owned(), end, hint }
}

/// Why an executable that is there can't be started, by what the system says.
pub fn start_error(path: &Path, cause: std::io::Error) -> ProgramError {
    match cause.raw_os_error() {
        // ENOEXEC: no format that this kernel runs. NotFound after the file was seen: its loader is missing.
        Some(8) => ProgramError::NotExecutable {
            path: path.to_owned(),
            problem: "not an executable of this platform: build it for this machine's architecture",
        },
        Some(2) => ProgramError::NotExecutable {
            path: path.to_owned(),
            problem: "an executable whose interpreter or loader is not on this machine: build it for this system",
        },
        _ => ProgramError::Start { path: path.to_owned(), cause },
    }
}

#[cfg(test)]
mod tests {
    use flumen_model::config::Configuration;

    use super::*;

    fn script(dir: &Path, text: &str, mode: u32) -> PathBuf {
        let path = dir.join("program");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    async fn planned(path: &Path) -> String {
        planned_within(None, path).await
    }

    async fn planned_within(memory: Option<MemorySize>, path: &Path) -> String {
        let setup = ProgramSetup {
            protocol: flumen_wire::control::PROTOCOL_VERSION,
            configuration: Configuration::new(),
            hadoop: Default::default(),
            worker: None,
        };
        plan_within(memory, path, &[], &setup).await.unwrap_err().to_string()
    }

    #[tokio::test]
    async fn a_program_that_can_not_be_planned_is_answered_with_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        for (text, mode, part) in [
            ("#!/bin/sh\nexit 0\n", 0o755, "must call `execute`"),
            ("#!/bin/sh\nexit 3\n", 0o755, "exit code 3"),
            ("#!/bin/sh\nkill -9 $$\n", 0o755, "signal 9"),
            ("#!/bin/sh\nexit 0\n", 0o644, "not executable"),
            ("\u{7f}ELF nonsense", 0o755, "not an executable of this platform"),
            ("#!/no/such/interpreter\n", 0o755, "interpreter or loader"),
            ("#!/bin/sh\nprintf 'GET / HTTP/1.1' >&0\n", 0o755, "could not be understood"),
        ] {
            let error = planned(&script(dir.path(), text, mode)).await;
            assert!(error.contains(part), "{text}: {error}");
        }
        assert!(planned(dir.path()).await.contains("a directory"));
        assert!(planned(Path::new("/no/such/program")).await.contains("does not exist"));
        let jar = dir.path().join("job.jar");
        std::fs::write(&jar, "PK").unwrap();
        assert!(planned(&jar).await.contains("Java archive"));
    }

    #[tokio::test]
    async fn a_program_that_needs_more_memory_than_it_may_have_is_told_how_much_that_is() {
        let dir = tempfile::tempdir().unwrap();
        // It aborts, as one does that gets no memory, if it has the limit when it has heard of its setup.
        let text = "#!/bin/sh\nhead -c 4 >/dev/null\n[ \"$(ulimit -d)\" = 102400 ] && kill -6 $$\nexit 0\n";
        let program = script(dir.path(), text, 0o755);
        let error = planned_within(Some(MemorySize::from_mib(100)), &program).await;
        let expected = format!(
            "program `{}` ended without a plan (signal 6): it crashed or was killed; until it calls `execute` it may use 100 mb \
             here, which is what jobmanager.memory.process.size leaves it",
            program.display()
        );
        assert_eq!(error, expected);
        assert!(planned(&program).await.contains("exit code 0"));
    }
}
