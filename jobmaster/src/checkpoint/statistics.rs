//! What is shown of a job's checkpoints, with the content of Flink's answers to `/jobs/:jobid/checkpoints`.

use flumen_model::checkpoint::{CheckpointId, SnapshotKind, SnapshotTimes};
use flumen_model::failure::Failure;
use flumen_model::ids::VertexId;

use crate::event::Timestamp;
use crate::settings::CheckpointSettings;

/// All that is shown of a job's checkpoints.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckpointStatistics {
    /// How they are taken.
    pub settings: CheckpointSettings,
    /// Where the job writes them; `None` when there is no directory for them.
    pub directory: Option<String>,
    /// How many there were.
    pub counts: CheckpointCounts,
    /// The newest completed checkpoint.
    pub latest_completed: Option<CheckpointEntry>,
    /// The newest completed savepoint.
    pub latest_savepoint: Option<CheckpointEntry>,
    /// The one that failed last.
    pub latest_failed: Option<CheckpointEntry>,
    /// The one that was restored last.
    pub latest_restored: Option<RestoredCheckpoint>,
    /// The latest, newest first; those in progress always, of the others at most `web.checkpoints.history`.
    pub history: Vec<CheckpointEntry>,
}

/// How many checkpoints there were in the life of this JobMaster.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CheckpointCounts {
    /// Restores.
    pub restored: u64,
    /// Triggered.
    pub total: u64,
    /// Not yet completed or failed.
    pub in_progress: u64,
    /// Completed.
    pub completed: u64,
    /// Failed.
    pub failed: u64,
}

/// One checkpoint or savepoint.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckpointEntry {
    /// Its number.
    pub id: CheckpointId,
    /// What it was taken for.
    pub kind: SnapshotKind,
    /// How far it is.
    pub status: CheckpointStatus,
    /// When it was triggered.
    pub triggered: Timestamp,
    /// When the latest confirmation came.
    pub latest_ack: Option<Timestamp>,
    /// When it completed or failed.
    pub end: Option<Timestamp>,
    /// Where it lies.
    pub directory: String,
    /// Whether its files were removed since.
    pub discarded: bool,
    /// Bytes of all state that it consists of.
    pub state_bytes: u64,
    /// Bytes that were written for it.
    pub written_bytes: u64,
    /// By vertex, upstream first.
    pub vertices: Vec<VertexCheckpoint>,
}

/// See [`CheckpointEntry::status`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckpointStatus {
    /// Confirmations or the metadata file are missing.
    InProgress,
    /// It can be restored from.
    Completed,
    /// It never will be complete, because of this.
    Failed(Failure),
}

impl CheckpointEntry {
    /// Number of subtasks that take part.
    pub fn subtasks(&self) -> u32 {
        self.vertices.iter().map(|vertex| vertex.subtasks.len() as u32).sum()
    }

    /// Number of subtasks that have confirmed.
    pub fn acknowledged(&self) -> u32 {
        self.vertices.iter().map(VertexCheckpoint::acknowledged).sum()
    }

    /// Milliseconds from the trigger to the latest confirmation, or to the end if there was none.
    pub fn duration_ms(&self) -> u64 {
        self.latest_ack.or(self.end).map_or(0, |at| at.since(self.triggered))
    }
}

/// What the subtasks of a vertex did for a checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct VertexCheckpoint {
    /// The vertex.
    pub vertex: VertexId,
    /// By subtask index; `None` until it has confirmed.
    pub subtasks: Vec<Option<SubtaskCheckpoint>>,
}

impl VertexCheckpoint {
    /// Number of subtasks that have confirmed.
    pub fn acknowledged(&self) -> u32 {
        self.subtasks.iter().flatten().count() as u32
    }
}

/// What one subtask did for a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SubtaskCheckpoint {
    /// When its confirmation came.
    pub acknowledged: Timestamp,
    /// Milliseconds from the trigger to then.
    pub end_to_end_ms: u64,
    /// Bytes of its state.
    pub state_bytes: u64,
    /// How long it took, and what it wrote. All zero for one that had finished before: its last snapshot is used again.
    pub times: SnapshotTimes,
}

/// A checkpoint that subtasks were started from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoredCheckpoint {
    /// Its number.
    pub id: CheckpointId,
    /// What it was taken for.
    pub kind: SnapshotKind,
    /// When it was restored.
    pub at: Timestamp,
    /// Where it lies.
    pub directory: String,
}
