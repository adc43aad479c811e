//! The REST interface and the web page: Flink's paths and shapes over what the application's main loop knows.
//!
//! In: HTTP requests. Out: [`RestRequest`]s to the main loop, which owns all state and answers each through its `reply`.
//! Reading is open; whatever changes something needs the application's token. Start at `routes`.

use std::sync::Arc;

use flumen_fs::FileSystems;
use flumen_jobmaster::{CheckpointStatistics, JobDetails, SnapshotWish, Timestamp};
use flumen_log::LogDirectory;
use flumen_model::config::Configuration;
use flumen_model::ids::{ExecutorId, JobId};
use flumen_wire::application::JobSubmission;
use tokio::sync::{mpsc, oneshot};

use crate::dispatcher::{OperationKind, OperationState, TriggerId};
use crate::elsewhere::Elsewhere;
use crate::executor_logs::ExecutorLogs;

mod ask;
mod auth;
mod checkpoints;
mod error;
pub mod idle;
mod jars;
mod json;
mod logs;
mod page;
mod params;
mod range;
mod routes;
mod submit;
#[cfg(test)]
mod tests;

pub use jars::{Jars, Limits};
pub use routes::{page_alone, router};

/// What the router needs to know. Cheap to clone.
#[derive(Clone)]
pub struct RestState {
    options: Arc<RestOptions>,
    requests: mpsc::Sender<RestRequest>,
}

/// What stays the same while the application lives.
pub struct RestOptions {
    /// Bearer token of changing calls. Never shown.
    pub token: String,
    /// Whether changing calls need it.
    pub authorization: bool,
    /// The effective configuration; secrets are hidden when it is shown.
    pub configuration: Configuration,
    /// The directory of the ApplicationMaster's log files; `None`: there are none to show.
    pub log_dir: Option<LogDirectory>,
    /// Asks TaskExecutors for theirs.
    pub executor_logs: ExecutorLogs,
    /// Where the web page goes on without this JobManager.
    pub elsewhere: Elsewhere,
    /// Takes programs; `None`: none are taken.
    pub jars: Option<Jars>,
    /// The file systems of paths in requests.
    pub files: FileSystems,
    /// The time, for durations.
    pub clock: fn() -> Timestamp,
}

/// A question or command to the main loop. It answers at once, from what it knows; a dropped `reply` means that it is
/// ending.
#[derive(Debug)]
pub enum RestRequest {
    /// All jobs of the application, the latest first.
    Jobs {
        /// Where the answer goes.
        reply: oneshot::Sender<Vec<Arc<JobDetails>>>,
    },
    /// One job.
    Job {
        /// Which.
        job: JobId,
        /// `None`: there is no such job, or it is forgotten.
        reply: oneshot::Sender<Option<Arc<JobDetails>>>,
    },
    /// Run a job. The same one again changes nothing.
    Submit {
        /// The job.
        submission: Box<JobSubmission>,
        /// What came of it: not at once, but when the job's outputs are claimed.
        reply: oneshot::Sender<SubmitReply>,
    },
    /// End the session, or cancel the job of an application of one job.
    Shutdown {
        /// It is ending.
        reply: oneshot::Sender<()>,
    },
    /// All registered TaskExecutors, in the order of their registration.
    Executors {
        /// Where the answer goes.
        reply: oneshot::Sender<Vec<ExecutorView>>,
    },
    /// Cancel a job.
    Cancel {
        /// Which.
        job: JobId,
        /// What came of it.
        reply: oneshot::Sender<CancelReply>,
    },
    /// The figures of a job's checkpoints.
    Checkpoints {
        /// Which job's.
        job: JobId,
        /// `None`: there is no such job.
        reply: oneshot::Sender<Option<CheckpointStatistics>>,
    },
    /// Take a snapshot.
    Snapshot {
        /// Which, and under which number.
        order: SnapshotOrder,
        /// Whether it is being taken.
        reply: oneshot::Sender<TriggerReply>,
    },
    /// Remove a savepoint.
    Dispose {
        /// The operation's number.
        trigger: TriggerId,
        /// Where the savepoint lies.
        path: String,
        /// Whether it is being removed.
        reply: oneshot::Sender<TriggerReply>,
    },
    /// How far is an operation?
    Operation {
        /// Of which job; `None`: of none.
        job: Option<JobId>,
        /// Which.
        trigger: TriggerId,
        /// Of which kind.
        kind: OperationKind,
        /// `None`: there is none, or it is forgotten.
        reply: oneshot::Sender<Option<OperationState>>,
    },
    /// The attached client of a job is alive.
    ClientHeartbeat {
        /// Which.
        job: JobId,
        /// When the client is to be taken for dead, unless it is heard again.
        expires: Timestamp,
        /// True when the job is known.
        reply: oneshot::Sender<bool>,
    },
}

/// A snapshot that a client wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotOrder {
    /// Of which job.
    pub job: JobId,
    /// The operation's number.
    pub trigger: TriggerId,
    /// What is wanted.
    pub wish: SnapshotWish,
    /// Whether the job is cancelled afterwards.
    pub then_cancel: bool,
}

/// What came of a request to start an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TriggerReply {
    /// It is under way, or was already.
    Accepted,
    /// There is no such job.
    UnknownJob,
    /// The job ended before.
    AlreadyOver(flumen_model::status::JobStatus),
    /// Neither the request nor `state.savepoints.dir` says where the savepoint goes.
    NoDirectory,
    /// The job is being accepted still.
    NotBegun,
    /// Too many are under way.
    TooMany,
}

/// What came of a submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubmitReply {
    /// The job is there.
    Accepted,
    /// It can't be: the reason, for the user.
    Refused(String),
    /// The application is one of another job.
    OtherJob,
    /// The session is ending.
    Ending,
}

/// What came of a request to cancel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelReply {
    /// The job is being cancelled (or was already).
    Accepted,
    /// The job ended before.
    AlreadyOver(flumen_model::status::JobStatus),
    /// There is no such job.
    Unknown,
}

/// A TaskExecutor as it is shown.
#[derive(Debug, Clone, PartialEq)]
pub struct ExecutorView {
    /// Its name: the container's id on YARN.
    pub id: ExecutorId,
    /// Its node's host.
    pub host: String,
    /// Slots that it offers.
    pub slots: u32,
    /// Slots that are not used.
    pub free_slots: u32,
    /// Cores of its node.
    pub cpu_cores: u32,
    /// Bytes of memory of its container.
    pub memory: u64,
    /// Bytes resident at its last heartbeat.
    pub resident: u64,
    /// When it was heard last.
    pub last_heartbeat: Timestamp,
    /// Web address of its log directory on its NodeManager, if it is known.
    pub logs_url: Option<String>,
}

impl RestState {
    /// A handle that sends its requests to the main loop behind `requests` (a bounded channel; a full one means waiting,
    /// and after a limit the answer 503).
    pub fn new(options: RestOptions, requests: mpsc::Sender<RestRequest>) -> Self {
        Self { options: Arc::new(options), requests }
    }
}
