//! What is done about a failure: find its cause, judge it, restart what it concerns, or fail.

use std::time::Duration;

use flumen_model::failure::{Blame, Failure};
use flumen_model::ids::{ExecutionAttempt, ExecutorId};
use flumen_model::status::{ExecutionState, JobStatus};
use flumen_wire::control::RegionId;

use super::JobMaster;
use super::worker::on;
use crate::details::{ExceptionEntry, JobDetails};
use crate::failover::Verdict;
use crate::region::Held;
use crate::state::{Phase, RegionPhase, Then};

/// How long a broken connection waits for its cause: the end of a worker or container is usually known within some
/// milliseconds of the break that others see.
const HOLD_BACK: Duration = Duration::from_secs(1);

/// Why a worker was killed.
pub(super) fn did_not_stop(limit: Duration) -> Failure {
    let option = flumen_model::options::execution::CANCEL_TIMEOUT.key;
    let message = format!("the worker was killed: its subtasks did not stop within {limit:?} ({option})");
    Failure::new(Blame::Outside, message)
}

impl JobMaster {
    /// A worker is gone, alone or with its executor; it is already forgotten.
    pub(super) fn worker_gone(&mut self, executor: &ExecutorId, failure: Failure) {
        if !matches!(self.phase, Phase::Living | Phase::Ending(_)) {
            return;
        }
        let failure = on(failure, executor);
        let mut failed = Vec::new();
        for id in 0..self.regions.len() as RegionId {
            let Some(region) = self.regions.get_mut(id as usize) else { continue };
            let stopping = region.phase.is_stopping();
            if !stopping && !region.phase.is_active() {
                continue;
            }
            let end = if stopping { ExecutionState::Canceled } else { ExecutionState::Failed };
            let had_work = self.execution.end_on(executor, &region.members, end, self.now);
            let uses = region.slots().iter().any(|slot| self.slots.get(*slot) == Some(&Some(executor.clone())));
            if stopping {
                if had_work {
                    self.explain(id, failure.clone());
                }
            } else if had_work || region.held.is_some() && uses {
                failed.push(id);
            } else if uses {
                region.departed = Some(failure.clone());
            }
        }
        if !failed.is_empty() {
            self.fail_regions(&failed, failure);
        }
        self.conclude_when_stopped();
    }

    /// Something of a region failed: acted on at once, or held back when it only says that a connection broke.
    pub(super) fn report(&mut self, id: RegionId, failure: Failure) {
        let until = self.now.after(HOLD_BACK);
        let Some(region) = self.regions.get_mut(id as usize) else { return };
        if region.phase.is_stopping() {
            self.explain(id, failure);
        } else if region.phase.is_active() {
            if failure.blame != Blame::Peer {
                self.fail_regions(&[id], failure);
            } else if let Some(cause) = region.departed.take() {
                self.fail_regions(&[id], cause);
            } else if region.held.is_none() {
                region.held = Some(Held { failure, until });
                self.coordinator_interrupted(&[], "a subtask failed");
            }
        }
    }

    /// Judges the cause of a failure of some regions, and stops them.
    pub(super) fn fail_regions(&mut self, ids: &[RegionId], failure: Failure) {
        if self.phase != Phase::Living {
            return;
        }
        let before = self.failover.restarts();
        let attempt = ids.first().and_then(|id| self.region(*id)).map_or(self.last_attempt, |region| region.attempt);
        let unexplained = failure.blame == Blame::Peer;
        for id in ids {
            if let Some(region) = self.region_mut(*id) {
                region.unexplained = unexplained;
            }
        }
        match self.failover.judge(self.now, failure.blame) {
            Verdict::Restart { delay } => {
                tracing::warn!(job = %self.job, %attempt, regions = ids.len(), "restarting after a failure: {failure}");
                // Regions that a stop with savepoint has ended or drained can't go on alone.
                let all = self.coordinator_interrupted(ids, &failure.to_string());
                self.record(attempt, failure);
                self.enter(JobStatus::Restarting);
                let not_before = self.now.after(delay);
                for id in 0..self.regions.len() as RegionId {
                    let concerned = ids.contains(&id) || all;
                    let Some(region) = self.region(id) else { continue };
                    let at_rest = region.phase.is_stopping() || matches!(region.phase, RegionPhase::BackingOff { .. });
                    if concerned && !at_rest {
                        self.stop_region(id, not_before);
                    }
                }
                self.conclude_when_stopped();
            }
            Verdict::Unforgivable => self.fail_job_in(attempt, with_restarts(failure, before)),
            Verdict::Exhausted => {
                let strategy = self.failover.setting().strategy();
                let message = format!(
                    "{}\nno further restart: the job was restarted {before} times, and its restart strategy ({strategy}) allows no more",
                    failure.message
                );
                self.fail_job_in(attempt, Failure { message, ..failure });
            }
        }
    }

    /// As [`fail_regions`](Self::fail_regions), with all regions.
    pub(super) fn fail_all(&mut self, failure: Failure) {
        let all: Vec<RegionId> = self.regions.iter().map(|region| region.id).collect();
        self.fail_regions(&all, failure);
    }

    /// Fails the job, whatever the restart strategy.
    pub(super) fn fail_job(&mut self, failure: Failure) {
        self.fail_job_in(self.last_attempt, failure);
    }

    fn fail_job_in(&mut self, attempt: ExecutionAttempt, failure: Failure) {
        tracing::error!(job = %self.job, %attempt, "the job fails: {failure}");
        self.record(attempt, failure.clone());
        self.failure = Some(failure);
        self.enter(JobStatus::Failing);
        self.stop_all(Then::Fail);
    }

    /// The driver knows that the missing slots will never come.
    pub(super) fn resources_unavailable(&mut self, failure: Failure) {
        match self.phase {
            Phase::Ending(_) | Phase::Committing { .. } | Phase::Over => {}
            Phase::Living => self.fail_job(failure),
        }
    }

    /// While a region is being stopped because of a broken connection, the cause of that break comes to light: it is
    /// shown instead, and may forbid the restart.
    fn explain(&mut self, id: RegionId, cause: Failure) {
        let Some(region) = self.regions.get_mut(id as usize) else { return };
        if cause.blame == Blame::Peer || !std::mem::take(&mut region.unexplained) {
            return;
        }
        let attempt = region.attempt;
        let unexplained = |e: &&mut ExceptionEntry| e.attempt == attempt && e.failure.blame == Blame::Peer;
        let Some(entry) = self.exceptions.iter_mut().find(unexplained) else { return };
        entry.failure = cause.clone();
        let before = self.failover.restarts();
        match self.phase {
            Phase::Living if !self.failover.forgives(cause.blame) => {
                // The restart that was granted to the break is not made.
                self.failover.take_back();
                self.failure = Some(with_restarts(cause, before.saturating_sub(1)));
                self.enter(JobStatus::Failing);
                self.stop_all(Then::Fail);
            }
            Phase::Ending(Then::Fail) => self.failure = Some(with_restarts(cause, before)),
            Phase::Living | Phase::Ending(Then::Cancel) | Phase::Committing { .. } | Phase::Over => {}
        }
    }

    fn record(&mut self, attempt: ExecutionAttempt, failure: Failure) {
        self.exceptions.push_front(ExceptionEntry { at: self.now, attempt, failure });
        self.exceptions_dropped |= self.exceptions.len() > JobDetails::EXCEPTIONS_KEPT;
        self.exceptions.truncate(JobDetails::EXCEPTIONS_KEPT);
    }
}

fn with_restarts(failure: Failure, restarts: u32) -> Failure {
    match restarts {
        0 => failure,
        n => {
            Failure { message: format!("{}\nthe job had been restarted {n} times before", failure.message), ..failure }
        }
    }
}
