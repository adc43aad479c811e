//! What a [`super::Dispatcher`] is told, and what it tells to do.

use flumen_jobmaster::{CheckpointSettings, JobResult, Start};
use flumen_model::checkpoint::{CheckpointId, CompletedCheckpoint};
use flumen_model::failure::Failure;
use flumen_model::ids::{ExecutionAttempt, ExecutorId, JobId};
use flumen_wire::application::JobSubmission;
use flumen_wire::control::{ExecutorCommand, ExecutorInfo, ExecutorReport};
use flumen_wire::kept::KeptResult;
use flumen_wire::report::WorkerReport;

use super::{OperationState, TriggerId};
use crate::resource::manager;
use crate::rest::RestRequest;

/// A fact.
#[derive(Debug)]
pub enum Event {
    /// The program that the application was submitted with has told its job, or why there is none.
    Planned(Result<Box<JobSubmission>, Failure>),
    /// A job's outputs are claimed and what it starts from is found, or why it can't begin.
    Admitted {
        /// Which.
        job: JobId,
        /// What it begins with.
        result: Result<Box<Admitted>, Failure>,
    },
    /// The outputs of a job's successful attempt are visible, or why not.
    OutputsCommitted {
        /// Whose.
        job: JobId,
        /// What came of it.
        result: Result<(), Failure>,
    },
    /// A checkpoint can be found again, or why not.
    CheckpointStored {
        /// Whose.
        job: JobId,
        /// Which one.
        checkpoint: CheckpointId,
        /// Whether it is complete.
        result: Result<(), Failure>,
    },
    /// A newer leader has taken over: the text says what.
    Superseded(String),
    /// Files that nobody needs any more have been looked after.
    FilesDiscarded,
    /// What came of the removal of a savepoint.
    Disposed {
        /// The operation.
        trigger: TriggerId,
        /// Its end.
        state: OperationState,
    },
    /// How a job ended is kept: now it is over for everybody.
    ResultKept {
        /// Whose.
        job: JobId,
    },
    /// A TaskExecutor registered.
    ExecutorRegistered {
        /// Who.
        info: ExecutorInfo,
        /// What it runs since before this leader.
        workers: Vec<WorkerReport>,
    },
    /// A TaskExecutor says something.
    ExecutorReport {
        /// Who.
        id: ExecutorId,
        /// What.
        report: ExecutorReport,
    },
    /// A TaskExecutor's connection broke, or it fell silent.
    ExecutorLost {
        /// Who.
        id: ExecutorId,
        /// What is known of it.
        failure: Failure,
    },
    /// Something that concerns containers.
    Resource(manager::Event),
    /// A question or command from outside.
    Rest(RestRequest),
    /// Nothing but the time has changed.
    Tick,
}

/// What a job begins with.
#[derive(Debug)]
pub struct Admitted {
    /// Its settings, with full paths.
    pub checkpoints: CheckpointSettings,
    /// What it starts from.
    pub start: Start,
}

/// Something to do.
#[derive(Debug)]
pub enum Effect {
    /// Send this to a TaskExecutor.
    ToExecutor {
        /// Whom.
        id: ExecutorId,
        /// What.
        command: ExecutorCommand,
    },
    /// Tell YARN.
    Resource(manager::Action),
    /// Claim a job's outputs and find what it starts from, then tell [`Event::Admitted`].
    Admit(Box<Admission>),
    /// Make what the attempt wrote visible, then tell [`Event::OutputsCommitted`].
    CommitOutputs {
        /// Whose.
        job: JobId,
        /// The attempt.
        attempt: ExecutionAttempt,
    },
    /// Complete a checkpoint, then tell [`Event::CheckpointStored`].
    StoreCheckpoint {
        /// Whose.
        job: JobId,
        /// Which.
        checkpoint: Box<CompletedCheckpoint>,
    },
    /// Remove these files and directories.
    DiscardFiles {
        /// Whose.
        job: JobId,
        /// Full paths.
        paths: Vec<String>,
    },
    /// Remove a savepoint, then tell [`Event::Disposed`].
    DisposeSavepoint {
        /// The operation.
        trigger: TriggerId,
        /// Where it lies, as the user wrote it.
        path: String,
    },
    /// The job is over. Once all that was to be done about its files is done, remove what it need not leave: its outputs
    /// if it did not succeed, and its directory of checkpoints if none is left in it.
    CloseJob {
        /// Which.
        job: JobId,
        /// Whether its outputs stay.
        succeeded: bool,
    },
    /// Keep how a job ended for later leaders, then tell [`Event::ResultKept`].
    KeepResult(Box<KeptResult>),
    /// Forget how a job ended: it is not shown any more.
    ForgetResult {
        /// Which.
        job: JobId,
    },
    /// Stop all work: a newer attempt runs.
    StepDown(String),
    /// End the application.
    Done(Outcome),
}

/// What is needed to let a job begin.
#[derive(Debug)]
pub struct Admission {
    /// Which.
    pub job: JobId,
    /// The directories that it writes.
    pub outputs: Vec<String>,
    /// The savepoint or checkpoint that the user names.
    pub from: Option<String>,
    /// Its settings, with paths as the user wrote them.
    pub checkpoints: CheckpointSettings,
    /// The job itself, if it is to be kept for later leaders before it is acknowledged.
    pub keep: Option<Box<JobSubmission>>,
    /// It is a former leader's: what it has written so far stays.
    pub taken_over: bool,
}

/// How the application's work ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// With its one job.
    Job {
        /// How that ended.
        result: Box<JobResult>,
        /// Why it was cancelled, if somebody did that.
        cancelled: Option<String>,
    },
    /// Its program has no job, for this reason.
    NoJob(Failure),
    /// The session was told to end.
    Stopped,
}
