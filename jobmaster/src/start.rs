//! What a job starts from.

use flumen_model::checkpoint::CompletedCheckpoint;

/// What a JobMaster finds when it begins, besides its graph and options. The driver has read and validated it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Start {
    /// The savepoint or retained checkpoint that the user names (`execution.state-recovery.path`). What the job may do
    /// with it says [`CheckpointSettings::claim`](crate::CheckpointSettings::claim).
    pub from: Option<CompletedCheckpoint>,
    /// Checkpoints that this job completed in a former life of its JobManager, oldest first. They belong to the job, which
    /// starts from the newest of them rather than from `from`.
    pub inherited: Vec<CompletedCheckpoint>,
    /// The directory into which this leader writes checkpoints; `None`: `<state.checkpoints.dir>/<job id>`.
    pub directory: Option<String>,
}
