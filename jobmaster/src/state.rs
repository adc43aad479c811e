//! The phases of a job and of its regions, and the moves that are legal between states.
//!
//! A region is a part of the job that no exchange connects with the rest: it is deployed, stopped and restarted by itself.
//!
//! ```text
//! region:             ┌────────────────────── next execution ◀────────────────────────┐
//!                     ▼                                                               │
//! new ─▶ waiting for slots ─▶ starting workers ─▶ deploying ─▶ running ─▶ (finished)  │
//!                     │             │                 │           │                   │
//!                     │             └── failure or loss, cancel ──┤                   │
//!                     └── cancel, time-out ─────▶ stopping ◀──────┘                   │
//!                                                    └──▶ backing off ────────────────┘
//!
//! job:    living ─ all finished ─▶ committing ─▶ over (finished)
//!            └── for good: failure, cancel ──▶ ending ─ all stopped ─▶ over (failed, canceled)
//! ```
//!
//! What the user sees is a [`JobStatus`]: CREATED until all subtasks run for the first time, RUNNING then; RESTARTING from
//! a forgiven failure until all subtasks run again; FAILING and CANCELLING while stopping for good.

use flumen_model::status::{ExecutionState, JobStatus};

use crate::event::Timestamp;

/// Where a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Its regions are deployed, run, and are restarted.
    Living,
    /// For the driver to make the outputs visible. What is asked for now can no longer be taken back: a cancellation only
    /// decides how long its answer is waited for.
    Committing { deadline: Timestamp, cancel: bool },
    /// All regions are being stopped.
    Ending(Then),
    /// Nothing follows.
    Over,
}

/// What follows when all regions have stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// The end as FAILED.
    Fail,
    /// The end as CANCELED.
    Cancel,
}

/// What a region is waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RegionPhase {
    /// For executors with enough slots.
    WaitingForSlots { deadline: Timestamp },
    /// For [`Ready`](flumen_wire::control::FromWorker::Ready) of every worker of the region.
    StartingWorkers { deadline: Timestamp },
    /// For [`Deployed`](flumen_wire::control::FromWorker::Deployed) of every worker of the region.
    Deploying { deadline: Timestamp },
    /// For the end of all its subtasks.
    Running,
    /// For cancelled subtasks to end. If the job goes on, the next execution does not begin before `not_before`.
    Stopping { deadline: Timestamp, not_before: Timestamp },
    /// For the delay of the restart strategy.
    BackingOff { until: Timestamp },
}

impl Phase {
    /// When the wait of this phase ends.
    pub(crate) fn deadline(self) -> Option<Timestamp> {
        match self {
            Self::Committing { deadline, .. } => Some(deadline),
            Self::Living | Self::Ending(_) | Self::Over => None,
        }
    }
}

impl RegionPhase {
    /// When the wait of this phase ends.
    pub(crate) fn deadline(self) -> Option<Timestamp> {
        match self {
            Self::WaitingForSlots { deadline }
            | Self::StartingWorkers { deadline }
            | Self::Deploying { deadline }
            | Self::Stopping { deadline, .. }
            | Self::BackingOff { until: deadline } => Some(deadline),
            Self::Running => None,
        }
    }

    /// Whether subtasks of the region may be with workers, and are not being stopped.
    pub(crate) fn is_active(self) -> bool {
        match self {
            Self::StartingWorkers { .. } | Self::Deploying { .. } | Self::Running => true,
            Self::WaitingForSlots { .. } | Self::Stopping { .. } | Self::BackingOff { .. } => false,
        }
    }

    /// Whether its subtasks are being stopped.
    pub(crate) fn is_stopping(self) -> bool {
        matches!(self, Self::Stopping { .. })
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
