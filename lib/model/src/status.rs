//! The states of a job and of a subtask, with Flink's names.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The state of a job.
///
/// ```text
/// created ─▶ running ─▶ finished
///    │         │ ▲
///    │         ▼ │ all subtasks run again
///    ├─▶ restarting                 (a failure that the restart strategy forgives)
///    ├─▶ failing ─▶ failed          (from running and restarting, too)
///    └─▶ cancelling ─▶ canceled     (from running, restarting and failing, too)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum JobStatus {
    /// Accepted; waits for slots or is being deployed.
    Created,
    /// All subtasks were started.
    Running,
    /// Subtasks are being cancelled after a failure that ends the job.
    Failing,
    /// Ended by a failure.
    Failed,
    /// Subtasks are being cancelled on a user's request.
    Cancelling,
    /// Ended by a user's request.
    Canceled,
    /// Ended because all input was processed.
    Finished,
    /// Subtasks are being cancelled, or the job waits, before it is deployed again.
    Restarting,
}

impl JobStatus {
    /// True when no other state can follow.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Failed | Self::Canceled | Self::Finished)
    }
}

impl fmt::Display for JobStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "CREATED",
            Self::Running => "RUNNING",
            Self::Failing => "FAILING",
            Self::Failed => "FAILED",
            Self::Cancelling => "CANCELLING",
            Self::Canceled => "CANCELED",
            Self::Finished => "FINISHED",
            Self::Restarting => "RESTARTING",
        })
    }
}

/// The state of one execution attempt of a subtask.
///
/// ```text
/// created ─▶ scheduled ─▶ deploying ─▶ running ─▶ finished
///    └───────────┴────────────┴───────────┴─▶ canceling ─▶ canceled
///                                         └─▶ failed
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ExecutionState {
    /// Known, nothing done.
    Created,
    /// Waits for a slot.
    Scheduled,
    /// Sent to its worker.
    Deploying,
    /// Processes records.
    Running,
    /// Told to stop.
    Canceling,
    /// Stopped on request.
    Canceled,
    /// All its input was processed.
    Finished,
    /// Ended by an error.
    Failed,
}

impl ExecutionState {
    /// True when no other state can follow.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Canceled | Self::Finished | Self::Failed)
    }

    /// All states, in the order of Flink's REST answers.
    pub const ALL: [Self; 8] = [
        Self::Created,
        Self::Scheduled,
        Self::Deploying,
        Self::Running,
        Self::Finished,
        Self::Canceling,
        Self::Canceled,
        Self::Failed,
    ];
}

impl fmt::Display for ExecutionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "CREATED",
            Self::Scheduled => "SCHEDULED",
            Self::Deploying => "DEPLOYING",
            Self::Running => "RUNNING",
            Self::Canceling => "CANCELING",
            Self::Canceled => "CANCELED",
            Self::Finished => "FINISHED",
            Self::Failed => "FAILED",
        })
    }
}
