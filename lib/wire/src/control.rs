//! Control messages. Each says from which life it comes ([`Epoch`], worker instance, [`ExecutionAttempt`]); a receiver
//! compares before it does anything else.
//!
//! ```text
//! flink / TaskExecutor ─ ProgramSetup ─▶ program          program ─ PlanReply ─▶ flink
//! JobManager ─ ToExecutor ─▶ TaskExecutor ─ ToWorker ─▶ worker
//! JobManager ◀─ FromExecutor ─ TaskExecutor ◀─ FromWorker ─ worker
//! ```

use flumen_model::checkpoint::{Barrier, CheckpointId, SnapshotTimes, SubtaskRestore, SubtaskSnapshot};
use flumen_model::config::Configuration;
use flumen_model::failure::Failure;
use flumen_model::ids::{Epoch, ExecutionAttempt, ExecutorId, JobId, SubtaskId, VertexId};
use flumen_model::job_graph::JobGraph;
use flumen_model::status::ExecutionState;
use serde::{Deserialize, Serialize};

use crate::application::Program;
use crate::logs::{LogAnswer, LogWish};
use crate::report::WorkerReport;
use crate::standby::{KnownContainer, StandbyInfo};

/// Version of these messages. Sides with different versions refuse each other when they meet.
pub const PROTOCOL_VERSION: u32 = 6;

/// Environment variable that tells a program its role: `plan` or `worker`. Not set: run the job right here. The other end
/// of a socket is then the program's standard input.
pub const ROLE_VARIABLE: &str = "FLUMEN_ROLE";

/// The first frame that a program with a role reads.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProgramSetup {
    /// [`PROTOCOL_VERSION`] of the sender.
    pub protocol: u32,
    /// The effective configuration: the program builds its graph with it.
    pub configuration: Configuration,
    /// Expanded Hadoop properties (core-site, hdfs-site), for `hdfs://` paths.
    #[serde(default)]
    pub hadoop: std::collections::BTreeMap<String, String>,
    /// What only workers need; `None` in the role `plan`.
    #[serde(default)]
    pub worker: Option<WorkerSetup>,
}

/// What a worker needs to know besides the configuration.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WorkerSetup {
    /// The job.
    pub job: JobId,
    /// The submitted graph (without splits), to compare with.
    pub graph: JobGraph,
    /// Host name or address at which other workers reach this one, and to which it binds.
    pub host: String,
    /// File with certificate authority, certificate and key ([`crate::tls`]); `None`: no TLS.
    #[serde(default)]
    pub security: Option<String>,
    /// Bytes of memory that this worker may use.
    pub memory: u64,
    /// Slots that the job has on its TaskExecutor.
    pub slots: u32,
    /// Directories for spilled data and sockets; at least one.
    pub tmp_dirs: Vec<String>,
    /// Directories for local files of state; none: `tmp_dirs`.
    #[serde(default)]
    pub state_dirs: Vec<String>,
}

/// A program's answer in the role `plan`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlanReply {
    /// The graph that `execute` was called with.
    Graph(JobGraph),
    /// Why there is none: a message for the user.
    Failed(String),
}

/// From the JobManager to a TaskExecutor.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ToExecutor {
    /// Of the leader who says it.
    pub epoch: Epoch,
    /// What.
    pub command: ExecutorCommand,
}

/// What a TaskExecutor can be told.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExecutorCommand {
    /// The registration was accepted.
    Registered {
        /// The application's effective configuration.
        configuration: Configuration,
        /// Expanded Hadoop properties, handed on to workers.
        #[serde(default)]
        hadoop: std::collections::BTreeMap<String, String>,
    },
    /// Start the worker of a job.
    StartWorker(Box<StartWorker>),
    /// Kill the worker of a job and forget it.
    StopWorker {
        /// The job.
        job: JobId,
        /// Which worker of it.
        instance: u32,
    },
    /// Hand this to the worker.
    Worker {
        /// The job.
        job: JobId,
        /// Which worker of it.
        instance: u32,
        /// What.
        message: ToWorker,
    },
    /// Answered by [`ExecutorReport::Heartbeat`].
    Heartbeat,
    /// Answered by [`ExecutorReport::Logs`] with the same number.
    ReadLogs {
        /// Made up by the JobManager.
        request: u64,
        /// What it wants to know.
        wish: LogWish,
    },
    /// To a standby JobManager: it was taken. It follows the leader that says this.
    StandingBy {
        /// Which attempt of the application that leader is.
        attempt: u32,
    },
    /// To a standby JobManager: how the TaskExecutors have changed that a leader after this one would take over.
    Containers {
        /// The containers of those that are there now; all of them the first time.
        here: Vec<KnownContainer>,
        /// Names of containers that are gone.
        gone: Vec<String>,
    },
    /// Stop all workers and exit with code 0.
    Shutdown {
        /// For the log.
        reason: String,
    },
}

/// How a worker is started.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StartWorker {
    /// The job.
    pub job: JobId,
    /// Counts the workers that a job had on this TaskExecutor.
    pub instance: u32,
    /// What is started.
    pub program: Program,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// The submitted graph, without splits.
    pub graph: JobGraph,
    /// The job's configuration.
    pub configuration: Configuration,
    /// Slots of the TaskExecutor that the job has: the worker gets their share of the memory.
    pub slots: u32,
}

/// From a TaskExecutor to the JobManager.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FromExecutor {
    /// The greatest epoch that it has seen.
    pub epoch: Epoch,
    /// What.
    pub report: ExecutorReport,
}

/// What a TaskExecutor reports.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExecutorReport {
    /// The first message on a connection. What is told of a worker afterwards comes after its report.
    Register {
        /// Who registers.
        info: ExecutorInfo,
        /// Its workers, at most one of each job: those that live, and those that have ended since there was a JobManager
        /// to be told. None of a TaskExecutor that has just started.
        #[serde(default)]
        workers: Vec<WorkerReport>,
    },
    /// The first message on the connection of a standby JobManager.
    StandBy(StandbyInfo),
    /// The worker ended without being told to, or could not be started.
    WorkerExited {
        /// The job.
        job: JobId,
        /// Which worker of it.
        instance: u32,
        /// How, with the last lines that it wrote.
        failure: Failure,
    },
    /// A worker says this.
    Worker {
        /// The job.
        job: JobId,
        /// Which worker of it.
        instance: u32,
        /// What.
        message: FromWorker,
    },
    /// Still here.
    Heartbeat {
        /// Resident memory in bytes of the TaskExecutor and all its workers.
        resident: u64,
    },
    /// Answers [`ExecutorCommand::ReadLogs`].
    Logs {
        /// That one's number.
        request: u64,
        /// What there is.
        answer: LogAnswer,
    },
}

/// What a TaskExecutor is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ExecutorInfo {
    /// [`PROTOCOL_VERSION`] of the TaskExecutor.
    pub protocol: u32,
    /// Its name: the container's id on YARN.
    pub id: ExecutorId,
    /// Slots that it offers.
    pub slots: u32,
    /// Its node's host.
    pub host: String,
    /// Its process.
    pub pid: u32,
    /// Bytes of memory of the container.
    pub memory: u64,
    /// Cores of the node.
    pub cpu_cores: u32,
}

/// From the JobMaster to a worker.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToWorker {
    /// Make the subtasks of this worker and be ready for records, but send none yet. Answered by [`FromWorker::Deployed`].
    Deploy(Deployment),
    /// All workers are ready: begin.
    Start {
        /// Which part of the job.
        #[serde(default)]
        region: RegionId,
        /// The execution that is meant.
        attempt: ExecutionAttempt,
    },
    /// Stop the subtasks of that execution (and of all earlier ones of the region).
    Cancel {
        /// Which part of the job.
        #[serde(default)]
        region: RegionId,
        /// The execution that is meant.
        attempt: ExecutionAttempt,
    },
    /// Answer to [`FromWorker::RequestSplit`].
    Split {
        /// The execution that is meant.
        attempt: ExecutionAttempt,
        /// The subtask that asked.
        subtask: SubtaskId,
        /// The next piece of input, `None` when there is no more.
        split: Option<String>,
    },
    /// These subtasks begin a checkpoint: sources, and subtasks whose inputs have all ended. A worker hands this and every
    /// `Split` to a subtask in the order in which they were sent.
    TriggerCheckpoint {
        /// The execution that is meant.
        attempt: ExecutionAttempt,
        /// Which subtasks.
        subtasks: Vec<SubtaskId>,
        /// What they are to take and to send on.
        barrier: Barrier,
    },
    /// These sources take no more input and end as if there were none (stop with drain): what follows is what follows
    /// the end of any input.
    Drain {
        /// The execution that is meant.
        attempt: ExecutionAttempt,
        /// Which subtasks.
        subtasks: Vec<SubtaskId>,
    },
    /// A checkpoint is complete and will be found again: what was prepared up to it may be committed. Not sent for
    /// [`Savepoint`](flumen_model::checkpoint::SnapshotKind::Savepoint): that one is the user's, who may remove it, and
    /// the job does not recover from it. What was prepared for it is committed with the next completed checkpoint.
    CheckpointCompleted {
        /// The execution that is meant.
        attempt: ExecutionAttempt,
        /// Which checkpoint.
        checkpoint: CheckpointId,
    },
    /// A checkpoint will never be complete: whoever waits for its barriers goes on without.
    CheckpointAborted {
        /// The execution that is meant.
        attempt: ExecutionAttempt,
        /// Which checkpoint.
        checkpoint: CheckpointId,
    },
    /// How far the slowest subtask of a group with aligned watermarks is: who is too far ahead of it takes no input.
    GroupWatermark {
        /// The execution that is meant.
        attempt: ExecutionAttempt,
        /// Which members of the group.
        subtasks: Vec<SubtaskId>,
        /// The group's name.
        group: String,
        /// The least watermark in milliseconds since 1970; `None`: nobody has one, so nobody waits.
        least: Option<i64>,
    },
}

/// A part of the job that no exchange connects with the rest: it is deployed, cancelled and restarted by itself. Numbered
/// by the JobMaster from 0.
pub type RegionId = u32;

/// Who runs what in one execution of a region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// Which part of the job.
    #[serde(default)]
    pub region: RegionId,
    /// The number of this execution. Numbers are given once in the life of a job, except that all regions of its first
    /// deployment have the same.
    pub attempt: ExecutionAttempt,
    /// The workers of the region.
    pub workers: Vec<WorkerAddress>,
    /// Which of them is the receiver of this message.
    pub me: u32,
    /// For each vertex the worker of each subtask, as an index into `workers`.
    pub placement: Vec<VertexPlacement>,
    /// What this worker's subtasks start with; a subtask that is not here starts empty.
    #[serde(default)]
    pub restore: Vec<SubtaskRestore>,
}

/// Where the subtasks of one vertex run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VertexPlacement {
    /// The vertex.
    pub vertex: VertexId,
    /// Indexed by subtask: index into [`Deployment::workers`], or [`ELSEWHERE`](Self::ELSEWHERE).
    pub worker_of: Vec<u32>,
}

impl VertexPlacement {
    /// The place of a subtask that is not part of the deployed region.
    pub const ELSEWHERE: u32 = u32::MAX;
}

/// Where other workers reach a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerAddress {
    /// The node's host name: workers of the same host use the socket.
    pub host: String,
    /// Port of the TCP listener (TLS when the application has it); 0: there is none (embedded).
    pub port: u16,
    /// Path of a Unix socket that workers of the same host try first.
    #[serde(default)]
    pub socket: Option<String>,
}

/// From a worker to the JobMaster.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FromWorker {
    /// The program reached `execute` and its graph is the submitted one.
    Ready {
        /// Where other workers reach it.
        address: WorkerAddress,
        /// Its process.
        pid: u32,
    },
    /// The program can't be a worker of this job: another graph, no `execute`, a failed set-up.
    Refused(Failure),
    /// All subtasks of the deployment wait for [`ToWorker::Start`].
    Deployed {
        /// Which part of the job.
        #[serde(default)]
        region: RegionId,
        /// The execution that is meant.
        attempt: ExecutionAttempt,
    },
    /// A subtask changed its state.
    State {
        /// The execution that is meant.
        attempt: ExecutionAttempt,
        /// The subtask.
        subtask: SubtaskId,
        /// Its new state: running, finished, canceled or failed.
        state: ExecutionState,
        /// Set when failed.
        failure: Option<Failure>,
        /// Its counts so far.
        io: SubtaskIo,
    },
    /// A source subtask wants its next piece of input.
    RequestSplit {
        /// The execution that is meant.
        attempt: ExecutionAttempt,
        /// The subtask.
        subtask: SubtaskId,
    },
    /// A subtask has taken in all of its input and emitted everything; it waits for a last checkpoint. Told only with
    /// checkpoints enabled.
    EndOfData {
        /// The execution that is meant.
        attempt: ExecutionAttempt,
        /// The subtask.
        subtask: SubtaskId,
    },
    /// How far a subtask is whose watermark is aligned with those of its group. Answered by
    /// [`ToWorker::GroupWatermark`] whenever the least one changes.
    GroupWatermark {
        /// The execution that is meant.
        attempt: ExecutionAttempt,
        /// The subtask.
        subtask: SubtaskId,
        /// The group's name.
        group: String,
        /// In milliseconds since 1970; `None`: it is idle or at its end, and nobody has to wait for it.
        watermark: Option<i64>,
    },
    /// A subtask's part of a checkpoint is written.
    CheckpointAck {
        /// The execution that is meant.
        attempt: ExecutionAttempt,
        /// The subtask.
        subtask: SubtaskId,
        /// Which checkpoint.
        checkpoint: CheckpointId,
        /// What was written.
        snapshot: Box<SubtaskSnapshot>,
        /// How long it took.
        times: SnapshotTimes,
    },
    /// A subtask can't take its part of a checkpoint, and goes on without.
    CheckpointDeclined {
        /// The execution that is meant.
        attempt: ExecutionAttempt,
        /// The subtask.
        subtask: SubtaskId,
        /// Which checkpoint.
        checkpoint: CheckpointId,
        /// Why.
        failure: Failure,
    },
    /// A subtask can't begin with what it was given: a file of the checkpoint is missing, torn or altered. The subtask has
    /// ended as failed, and says so with this instead of with `State`; the JobMaster takes an older checkpoint.
    RestoreFailed {
        /// The execution that is meant.
        attempt: ExecutionAttempt,
        /// The subtask.
        subtask: SubtaskId,
        /// The checkpoint that it was to begin with.
        checkpoint: CheckpointId,
        /// Which file, and what is wrong with it.
        failure: Failure,
    },
    /// Counts of running subtasks, about once a second.
    Io {
        /// The execution that is meant.
        attempt: ExecutionAttempt,
        /// By subtask.
        subtasks: Vec<(SubtaskId, SubtaskIo)>,
    },
    /// A sign of life of a worker that has had nothing else to say for a second. Its TaskExecutor keeps it to itself.
    Alive,
}

/// What a subtask read and wrote so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SubtaskIo {
    /// Records received from other subtasks, or from the outside by a source.
    pub records_in: u64,
    /// Records given to other subtasks.
    pub records_out: u64,
    /// Bytes received from other processes.
    pub bytes_in: u64,
    /// Bytes sent to other processes.
    pub bytes_out: u64,
}
