//! What a job shows of itself. A snapshot, made on request; REST turns it into its own shapes.

use flumen_model::failure::Failure;
use flumen_model::ids::{ExecutionAttempt, ExecutorId, JobId, VertexId};
use flumen_model::job_graph::{JobEdge, OperatorInfo, RuntimeMode};
use flumen_model::status::{ExecutionState, JobStatus};
use flumen_wire::control::SubtaskIo;

use crate::event::Timestamp;
use crate::settings::Restarts;

/// A job as it is at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct JobDetails {
    /// The job.
    pub job: JobId,
    /// Its name.
    pub name: String,
    /// How it emits its results.
    pub mode: RuntimeMode,
    /// Its state.
    pub status: JobStatus,
    /// For each state that the job has been in the last moment at which it entered it.
    pub entered: Vec<(JobStatus, Timestamp)>,
    /// When it was accepted.
    pub start: Timestamp,
    /// When it ended.
    pub end: Option<Timestamp>,
    /// The current execution, from 0.
    pub attempt: ExecutionAttempt,
    /// How often it was restarted.
    pub restarts: u32,
    /// What happens after a failure.
    pub restart_setting: Restarts,
    /// Slots that it needs.
    pub slots_needed: u32,
    /// Slots that it was offered.
    pub slots_present: u32,
    /// Its vertices, upstream first.
    pub vertices: Vec<VertexDetails>,
    /// The exchanges between them.
    pub edges: Vec<JobEdge>,
    /// The latest failures that ended an attempt or the job, newest first; at most
    /// [`JobDetails::EXCEPTIONS_KEPT`].
    pub exceptions: Vec<ExceptionEntry>,
    /// True when there were more failures than are kept.
    pub exceptions_truncated: bool,
    /// Why it failed or is failing.
    pub failure: Option<Failure>,
    /// Share of the input that was read, from 0 to 1; `None` when its size is not known (no source has splits).
    pub progress: Option<f64>,
}

impl JobDetails {
    /// Failures that are kept, as Flink's `web.exception-history-size`.
    pub const EXCEPTIONS_KEPT: usize = 16;

    /// When the job last entered a state.
    pub fn entered(&self, status: JobStatus) -> Option<Timestamp> {
        self.entered.iter().find(|(s, _)| *s == status).map(|(_, at)| *at)
    }
}

/// A vertex and its subtasks.
#[derive(Debug, Clone, PartialEq)]
pub struct VertexDetails {
    /// The vertex.
    pub id: VertexId,
    /// Its operators' names.
    pub name: String,
    /// Its operators.
    pub operators: Vec<OperatorInfo>,
    /// Number of its subtasks.
    pub parallelism: u32,
    /// Number of its key groups.
    pub max_parallelism: u32,
    /// The current attempts of its subtasks, by index.
    pub subtasks: Vec<SubtaskDetails>,
    /// How much of its input it has read, if it is a source with splits.
    pub splits: Option<SplitProgress>,
}

/// One execution attempt of a subtask.
#[derive(Debug, Clone, PartialEq)]
pub struct SubtaskDetails {
    /// Which subtask of its vertex, from 0.
    pub index: u32,
    /// Its state.
    pub state: ExecutionState,
    /// The execution that it belongs to.
    pub attempt: ExecutionAttempt,
    /// The TaskExecutor to which it was deployed.
    pub executor: Option<ExecutorId>,
    /// That TaskExecutor's host.
    pub host: Option<String>,
    /// For each state that it has been in, when it entered it.
    pub entered: Vec<(ExecutionState, Timestamp)>,
    /// When it was deployed.
    pub start: Option<Timestamp>,
    /// When it ended.
    pub end: Option<Timestamp>,
    /// What it read and wrote so far.
    pub io: SubtaskIo,
}

/// How many splits of a source there are and how many were read to their end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SplitProgress {
    /// Read to their end in the current attempt.
    pub done: u64,
    /// All.
    pub total: u64,
}

/// A failure that ended an attempt or the job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExceptionEntry {
    /// When the JobMaster acted on it.
    pub at: Timestamp,
    /// The execution that it ended.
    pub attempt: ExecutionAttempt,
    /// What happened.
    pub failure: Failure,
}
