//! What a driver tells a JobMaster, and what it is told to do.

use std::fmt;
use std::time::Duration;

use flumen_model::checkpoint::{CheckpointId, CompletedCheckpoint};
use flumen_model::failure::Failure;
use flumen_model::ids::{ExecutionAttempt, ExecutorId, JobId};
use flumen_model::status::JobStatus;
use flumen_wire::control::{FromWorker, ToWorker};

/// A moment, in milliseconds since 1970 (UTC). A driver reads the system's clock once and adds a monotonic one, so that
/// the time never runs backwards while a job lives; a JobMaster takes an earlier time for the latest that it has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The moment that much later.
    pub fn after(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)))
    }

    /// Milliseconds from `earlier` to this moment; 0 when it is not earlier.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0)
    }
}

/// A fact that concerns a job.
#[derive(Debug, Clone)]
pub enum Event {
    /// A TaskExecutor offers slots to this job. One that comes back after a loss is new: its former workers are gone. Of one
    /// that is there only a greater number of slots is news: the job may use more of them from now on.
    ExecutorRegistered {
        /// Its name.
        id: ExecutorId,
        /// Slots that this job may use on it.
        slots: u32,
        /// Its node's host, for the user's eyes.
        host: String,
    },
    /// A worker that a former leader started runs on a TaskExecutor that has registered after this job was
    /// [adopted](crate::JobMaster::adopt), or begun anew: it is stopped. To be told before the TaskExecutor is.
    FormerWorker {
        /// Where it runs.
        executor: ExecutorId,
        /// Which worker of this job there.
        instance: u32,
    },
    /// A TaskExecutor is gone, and all workers with it.
    ExecutorLost {
        /// Its name.
        id: ExecutorId,
        /// Why, as far as it is known.
        failure: Failure,
    },
    /// A worker ended without being told to, or could not be started.
    WorkerExited {
        /// Where it ran.
        executor: ExecutorId,
        /// Which worker of this job there.
        instance: u32,
        /// How it ended.
        failure: Failure,
    },
    /// A worker says something.
    Worker {
        /// Where it runs.
        executor: ExecutorId,
        /// Which worker of this job there.
        instance: u32,
        /// What it says.
        message: FromWorker,
    },
    /// The user wants the job to end.
    Cancel,
    /// The user wants a checkpoint or savepoint. Answered by [`Action::Answer`], exactly once, and before
    /// [`Action::Done`]; a job that is over already answers nothing.
    Snapshot(SnapshotRequest),
    /// Answer to [`Action::StoreCheckpoint`]: the checkpoint can be found again, or why not. To be told within a limited
    /// time.
    CheckpointStored {
        /// Which one.
        checkpoint: CheckpointId,
        /// Whether its metadata is in place.
        result: Result<(), Failure>,
    },
    /// The slots that were declared will never come: the job fails with this.
    ResourcesUnavailable {
        /// What is missing, and what would fit.
        failure: Failure,
    },
    /// Answer to [`Action::CommitOutputs`].
    OutputsCommitted(Result<(), Failure>),
    /// Nothing but the time has changed; due at [`JobMaster::next_timer`](crate::JobMaster::next_timer).
    Tick,
}

/// Something that a driver has to do. Actions of one step are carried out in their order; none of them is answered by a
/// return value: what comes of it is told as an [`Event`].
#[derive(Debug, Clone)]
pub enum Action {
    /// The job wants that many slots altogether (an absolute wish, not an increment); 0 once, when it is over.
    DeclareSlots(u32),
    /// Start a worker of this job, with [`JobMaster::worker_graph`](crate::JobMaster::worker_graph) as its graph.
    StartWorker {
        /// Where.
        executor: ExecutorId,
        /// The number that it carries: greater than every earlier one of this job on this executor.
        instance: u32,
    },
    /// Kill that worker and forget it. Its end is not reported.
    StopWorker {
        /// Where it runs.
        executor: ExecutorId,
        /// Which one.
        instance: u32,
    },
    /// Send a message to a worker.
    ToWorker {
        /// Where it runs.
        executor: ExecutorId,
        /// Which one.
        instance: u32,
        /// What.
        message: ToWorker,
    },
    /// All subtasks have finished: make what they wrote in this attempt visible, then tell [`Event::OutputsCommitted`].
    CommitOutputs {
        /// The execution that finished.
        attempt: ExecutionAttempt,
    },
    /// Every subtask has confirmed a checkpoint: write its metadata, atomically and for good, then tell
    /// [`Event::CheckpointStored`]. Several may be on the way.
    StoreCheckpoint(Box<CompletedCheckpoint>),
    /// Remove files and directories (with everything in them) that no checkpoint needs any more. What is not there is no
    /// error, and nothing depends on the outcome. May be carried out late, but not before the actions in front of it.
    DiscardFiles {
        /// Full paths.
        paths: Vec<String>,
    },
    /// Answer to [`Event::Snapshot`].
    Answer {
        /// Which request.
        request: RequestId,
        /// What was taken, or why it was not. For a stop: the job has ended.
        result: Result<SnapshotTaken, Failure>,
    },
    /// The job is over. The last action of a job, given exactly once.
    Done(JobResult),
}

/// A request for a snapshot, in the driver's own numbering.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// What the user wants of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotRequest {
    /// Under this number it is answered.
    pub request: RequestId,
    /// What is wanted.
    pub wish: SnapshotWish,
}

/// See [`SnapshotRequest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnapshotWish {
    /// A checkpoint, now.
    Checkpoint {
        /// Whether it refers to no file of earlier ones.
        full: bool,
    },
    /// A savepoint, while the job goes on.
    Savepoint {
        /// The directory in which it gets a directory of its own; `None`: `state.savepoints.dir`.
        target: Option<String>,
    },
    /// A savepoint, after which the job ends as FINISHED.
    Stop {
        /// As for [`Savepoint`](Self::Savepoint).
        target: Option<String>,
        /// Whether the sources end first, so that windows and timers fire: the job is not meant to be resumed.
        drain: bool,
    },
}

/// A snapshot that a user asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotTaken {
    /// Its number.
    pub checkpoint: CheckpointId,
    /// The directory that holds its metadata file.
    pub directory: String,
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobResult {
    /// The job.
    pub job: JobId,
    /// Its name.
    pub name: String,
    /// FINISHED, FAILED or CANCELED.
    pub status: JobStatus,
    /// Why it failed; set exactly when it did.
    pub failure: Option<Failure>,
    /// When it was accepted.
    pub start: Timestamp,
    /// Milliseconds from its acceptance to its end.
    pub runtime_ms: u64,
    /// How often it was restarted.
    pub restarts: u32,
    /// The newest checkpoint that is left after its end, if any is: what it can be resumed from.
    pub retained: Option<String>,
}
