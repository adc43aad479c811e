//! What is done about a failure: find its cause, judge it, restart or fail.

use std::time::Duration;

use flumen_model::failure::{Blame, Failure};
use flumen_model::ids::ExecutorId;
use flumen_model::status::{ExecutionState, JobStatus};

use super::worker::on;
use super::{Held, JobMaster};
use crate::details::{ExceptionEntry, JobDetails};
use crate::failover::Verdict;
use crate::state::{Phase, Then};

/// How long a broken connection waits for its cause: the end of a worker or container is usually known within some
/// milliseconds of the break that others see.
const HOLD_BACK: Duration = Duration::from_secs(1);

impl JobMaster {
    /// A worker is gone, alone or with its executor; it is already forgotten.
    pub(super) fn worker_gone(&mut self, executor: &ExecutorId, failure: Failure) {
        let failure = on(failure, executor);
        let stopping = matches!(self.phase, Phase::Stopping { .. });
        let end = if stopping { ExecutionState::Canceled } else { ExecutionState::Failed };
        let had_work = match self.phase {
            Phase::StartingWorkers { .. } | Phase::Deploying { .. } | Phase::Running | Phase::Stopping { .. } => {
                self.execution.end_on(executor, end, self.now)
            }
            Phase::WaitingForSlots { .. } | Phase::Committing { .. } | Phase::BackingOff { .. } | Phase::Over => false,
        };
        match self.phase {
            Phase::Stopping { .. } => {
                if had_work {
                    self.explain(failure);
                }
                self.conclude_when_stopped();
            }
            Phase::StartingWorkers { .. } | Phase::Deploying { .. } | Phase::Running => {
                if had_work || self.held.is_some() && self.slots.contains(executor) {
                    self.fail_attempt(failure);
                } else if self.slots.contains(executor) {
                    self.departed = Some(failure);
                }
            }
            Phase::WaitingForSlots { .. } | Phase::Committing { .. } | Phase::BackingOff { .. } | Phase::Over => {}
        }
    }

    /// Something of the current attempt failed: acted on at once, or held back when it only says that a connection
    /// broke.
    pub(super) fn report(&mut self, failure: Failure) {
        match self.phase {
            Phase::StartingWorkers { .. } | Phase::Deploying { .. } | Phase::Running => {
                if failure.blame != Blame::Peer {
                    self.fail_attempt(failure);
                } else if let Some(cause) = self.departed.take() {
                    self.fail_attempt(cause);
                } else if self.held.is_none() {
                    self.held = Some(Held { failure, until: self.now.after(HOLD_BACK) });
                }
            }
            Phase::Stopping { .. } => self.explain(failure),
            Phase::WaitingForSlots { .. } | Phase::Committing { .. } | Phase::BackingOff { .. } | Phase::Over => {}
        }
    }

    /// Judges the cause of a failed attempt, and stops the attempt.
    pub(super) fn fail_attempt(&mut self, failure: Failure) {
        let before = self.failover.restarts();
        match self.failover.judge(self.now, failure.blame) {
            Verdict::Restart { delay } => {
                tracing::warn!(job = %self.job, attempt = %self.execution.attempt, "restarting after a failure: {failure}");
                self.record(failure);
                self.enter(JobStatus::Restarting);
                self.stop(Then::Restart { not_before: self.now.after(delay) });
            }
            Verdict::Unforgivable => self.fail_job(self.with_restarts(failure, before)),
            Verdict::Exhausted => {
                let strategy = self.failover.setting().strategy();
                let message = format!(
                    "{}\nno further restart: the job was restarted {before} times, and its restart strategy ({strategy}) allows no more",
                    failure.message
                );
                self.fail_job(Failure { message, ..failure });
            }
        }
    }

    /// Fails the job, whatever the restart strategy.
    pub(super) fn fail_job(&mut self, failure: Failure) {
        tracing::error!(job = %self.job, attempt = %self.execution.attempt, "the job fails: {failure}");
        self.record(failure.clone());
        self.failure = Some(failure);
        self.enter(JobStatus::Failing);
        self.stop(Then::Fail);
    }

    /// The driver knows that the missing slots will never come.
    pub(super) fn resources_unavailable(&mut self, failure: Failure) {
        match self.phase {
            Phase::Stopping { then: Then::Fail | Then::Cancel, .. } | Phase::Committing { .. } | Phase::Over => {}
            Phase::Stopping { deadline, then: Then::Restart { .. } } => {
                self.record(failure.clone());
                self.failure = Some(failure);
                self.enter(JobStatus::Failing);
                self.phase = Phase::Stopping { deadline, then: Then::Fail };
            }
            Phase::WaitingForSlots { .. }
            | Phase::StartingWorkers { .. }
            | Phase::Deploying { .. }
            | Phase::Running
            | Phase::BackingOff { .. } => self.fail_job(failure),
        }
    }

    /// While an attempt is being stopped because of a broken connection, the cause of that break comes to light: it is
    /// shown instead, and may forbid the restart.
    fn explain(&mut self, cause: Failure) {
        let Phase::Stopping { deadline, then } = self.phase else { return };
        let attempt = self.execution.attempt;
        let unexplained = |e: &&mut ExceptionEntry| e.attempt == attempt && e.failure.blame == Blame::Peer;
        if cause.blame == Blame::Peer {
            return;
        }
        let Some(entry) = self.exceptions.front_mut().filter(unexplained) else { return };
        entry.failure = cause.clone();
        let before = self.failover.restarts();
        match then {
            Then::Restart { .. } if !self.failover.forgives(cause.blame) => {
                // The restart that was granted to the break is not made.
                self.failure = Some(self.with_restarts(cause, before.saturating_sub(1)));
                self.enter(JobStatus::Failing);
                self.phase = Phase::Stopping { deadline, then: Then::Fail };
            }
            Then::Fail => self.failure = Some(self.with_restarts(cause, before)),
            Then::Restart { .. } | Then::Cancel => {}
        }
    }

    fn with_restarts(&self, failure: Failure, restarts: u32) -> Failure {
        match restarts {
            0 => failure,
            n => Failure {
                message: format!("{}\nthe job had been restarted {n} times before", failure.message),
                ..failure
            },
        }
    }

    fn record(&mut self, failure: Failure) {
        self.exceptions.push_front(ExceptionEntry { at: self.now, attempt: self.execution.attempt, failure });
        self.exceptions_dropped |= self.exceptions.len() > JobDetails::EXCEPTIONS_KEPT;
        self.exceptions.truncate(JobDetails::EXCEPTIONS_KEPT);
    }
}
