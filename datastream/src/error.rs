//! What can go wrong between a program's start and its result.

use flumen_fs::FsError;
use flumen_model::config::BadConfiguration;
use flumen_model::failure::Failure;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a program can't be built or did not finish.
#[derive(thiserror::Error)]
pub enum Error {
    /// An input is missing or can't be listed.
    #[error("input `{input}` can't be read")]
    Input {
        /// As the program gave it.
        input: String,
        /// Why.
        #[source]
        cause: FsError,
    },
    /// An output exists already, or can't be created.
    #[error("output `{output}` can't be written")]
    Output {
        /// As the program gave it.
        output: String,
        /// Why.
        #[source]
        cause: FsError,
    },
    /// An option has a wrong value.
    #[error(transparent)]
    Configuration(#[from] BadConfiguration),
    /// The program's streams don't make a job.
    #[error("the program can't be run: {0}")]
    Program(String),
    /// The savepoint or checkpoint to start from can't be read.
    #[error("the job can't start from `{path}`")]
    Snapshot {
        /// As the options give it.
        path: String,
        /// Why.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The program can't take over the state of the savepoint or checkpoint to start from.
    #[error("the job can't start from `{path}`: {}", problems.join("; "))]
    Restore {
        /// As the options give it.
        path: String,
        /// One text for each operator that is in the way.
        problems: Vec<String>,
    },
    /// The process was started in a role, but its control channel does not work.
    #[error(
        "this process was started by Flumen as `{role}`, but {problem}; run it with `flink run`, or unset FLUMEN_ROLE"
    )]
    Role {
        /// The role.
        role: String,
        /// What is wrong.
        problem: String,
    },
    /// The embedded cluster could not be set up.
    #[error("the embedded cluster can't be set up")]
    Embedded(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The job failed.
    #[error("job `{name}` failed: {failure}")]
    JobFailed {
        /// The job's name.
        name: String,
        /// Why: vertex, subtask and message.
        failure: Box<Failure>,
    },
    /// The job was cancelled.
    #[error("job `{name}` was cancelled")]
    JobCanceled {
        /// The job's name.
        name: String,
    },
    /// A savepoint was not taken.
    #[error("no savepoint of job `{name}` was taken: {failure}")]
    NotTaken {
        /// The job's name.
        name: String,
        /// Why.
        failure: Box<Failure>,
    },
}

/// A program that returns its error from `main` shows it through `Debug`: as text with all causes.
impl std::fmt::Debug for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")?;
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
