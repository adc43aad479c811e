//! The phases of a job, and the moves that are legal between states.
//!
//! ```text
//!                     ┌───────────────────────── next attempt ◀──────────────────────────┐
//!                     ▼                                                                  │
//! new ─▶ waiting for slots ─▶ starting workers ─▶ deploying ─▶ running ─▶ committing ─▶ over (finished)
//!                     │             │                 │           │          │           │
//!                     │             └─── failure, cancel, loss ───┴──────────┤           │
//!                     │                               ▼                      ▼           │
//!                     └── cancel, time-out ──▶ stopping ──▶ over (failed, canceled)      │
//!                                                 └──────▶ backing off ─────▶────────────┘
//! ```
//!
//! What the user sees is a [`JobStatus`]: CREATED until all subtasks run for the first time, RUNNING then; RESTARTING from
//! a forgiven failure until all subtasks run again; FAILING and CANCELLING while stopping for good.

use flumen_model::status::{ExecutionState, JobStatus};

use crate::event::Timestamp;

/// What a job is waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// For executors with enough slots.
    WaitingForSlots { deadline: Timestamp },
    /// For [`Ready`](flumen_wire::control::FromWorker::Ready) of every worker of the placement.
    StartingWorkers { deadline: Timestamp },
    /// For [`Deployed`](flumen_wire::control::FromWorker::Deployed) of every worker of the placement.
    Deploying { deadline: Timestamp },
    /// For the end of all subtasks.
    Running,
    /// For the driver to make the outputs visible. What is asked for now can no longer be taken back: a cancellation only
    /// decides how long its answer is waited for.
    Committing { deadline: Timestamp, cancel: bool },
    /// For cancelled subtasks to end.
    Stopping { deadline: Timestamp, then: Then },
    /// For the delay of the restart strategy.
    BackingOff { until: Timestamp },
    /// For nothing.
    Over,
}

/// What follows when all subtasks of an attempt have stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// The next attempt, not before that time.
    Restart { not_before: Timestamp },
    /// The end as FAILED.
    Fail,
    /// The end as CANCELED.
    Cancel,
}

impl Phase {
    /// When the wait of this phase ends.
    pub(crate) fn deadline(self) -> Option<Timestamp> {
        match self {
            Self::WaitingForSlots { deadline }
            | Self::StartingWorkers { deadline }
            | Self::Deploying { deadline }
            | Self::Committing { deadline, .. }
            | Self::Stopping { deadline, .. }
            | Self::BackingOff { until: deadline } => Some(deadline),
            Self::Running | Self::Over => None,
        }
    }
}

/// Whether a job may go from one state to another.
pub(crate) fn job_may_go(from: JobStatus, to: JobStatus) -> bool {
    use JobStatus::{Canceled, Cancelling, Created, Failed, Failing, Finished, Restarting, Running};
    match from {
        Created | Restarting => matches!(to, Running | Restarting | Failing | Cancelling),
        Running => matches!(to, Restarting | Failing | Cancelling | Finished),
        // As in Flink: a user's request wins over a failure that is still being worked off.
        Failing => matches!(to, Failed | Cancelling),
        Cancelling => matches!(to, Canceled),
        Finished | Failed | Canceled => false,
    }
}

/// Whether a subtask may go from one state to another.
pub(crate) fn subtask_may_go(from: ExecutionState, to: ExecutionState) -> bool {
    use ExecutionState::{Canceled, Canceling, Created, Deploying, Failed, Finished, Running, Scheduled};
    match from {
        Created => matches!(to, Scheduled | Canceled | Failed),
        Scheduled => matches!(to, Deploying | Canceled | Failed),
        Deploying => matches!(to, Running | Finished | Canceling | Canceled | Failed),
        Running => matches!(to, Finished | Canceling | Canceled | Failed),
        Canceling => matches!(to, Finished | Canceled | Failed),
        Finished | Canceled | Failed => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOB: [JobStatus; 8] = [
        JobStatus::Created,
        JobStatus::Running,
        JobStatus::Failing,
        JobStatus::Failed,
        JobStatus::Cancelling,
        JobStatus::Canceled,
        JobStatus::Finished,
        JobStatus::Restarting,
    ];

    #[test]
    fn nothing_follows_a_terminal_state_and_every_other_state_leads_to_one() {
        for from in JOB {
            assert_eq!(JOB.iter().any(|to| job_may_go(from, *to)), !from.is_terminal(), "{from}");
        }
        for from in ExecutionState::ALL {
            let next = ExecutionState::ALL.iter().filter(|to| subtask_may_go(from, **to));
            assert_eq!(next.clone().any(|to| to.is_terminal()), !from.is_terminal(), "{from}");
            assert!(next.into_iter().all(|to| *to != from), "{from} follows itself");
        }
    }

    #[test]
    fn a_job_fails_only_after_failing() {
        for from in JOB {
            assert_eq!(job_may_go(from, JobStatus::Failed), from == JobStatus::Failing, "{from}");
        }
    }
}
