//! What a job starts from.

use flumen_model::checkpoint::{CheckpointId, CompletedCheckpoint};
use flumen_model::ids::{Epoch, ExecutionAttempt};

use crate::event::Timestamp;

/// Executions, and workers on one TaskExecutor, that a leader may number. More than a job ever has: restarts take time.
const NUMBERS: u64 = 10_000;

/// What a JobMaster finds when it begins, besides its graph and options. The driver has read and validated it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Start {
    /// The savepoint or retained checkpoint that the user names (`execution.state-recovery.path`). What the job may do
    /// with it says [`CheckpointSettings::claim`](crate::CheckpointSettings::claim).
    pub from: Option<CompletedCheckpoint>,
    /// Checkpoints that this job completed in a former life of its JobManager, oldest first. They belong to the job, which
    /// starts from the newest of them rather than from `from`.
    pub inherited: Vec<CompletedCheckpoint>,
    /// There were such checkpoints, and none can be used: why. The job goes on if its subtasks run, or fails: it must not begin
    /// as if it had never run.
    pub unusable: Option<String>,
    /// The number of the newest of them, whole or not.
    pub reached: Option<CheckpointId>,
    /// When the job was accepted, if that was before now and no checkpoint tells it.
    pub accepted: Option<Timestamp>,
    /// The job has ended successfully, and only that was not told yet: its outputs are in place.
    pub finished: bool,
    /// The directory into which this leader writes checkpoints; `None`: `<state.checkpoints.dir>/<job id>`.
    pub directory: Option<String>,
    /// Of this leader: 0 or 1 for the first. A leader that is cut off may go on for a while with TaskExecutors that nobody
    /// else hears of, so every leader numbers executions and workers in a range of its own.
    pub epoch: Epoch,
}

impl Start {
    /// The first number of this leader's executions and workers.
    pub(crate) fn first_number(&self) -> u32 {
        u32::try_from(self.epoch.0.saturating_sub(1).saturating_mul(NUMBERS)).unwrap_or(u32::MAX / 2)
    }

    /// The number of this leader's first execution.
    pub(crate) fn first_attempt(&self) -> ExecutionAttempt {
        ExecutionAttempt(self.first_number())
    }
}
