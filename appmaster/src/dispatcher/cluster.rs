//! What concerns all jobs: TaskExecutors that come, speak and go, and the ResourceManager's word.

use flumen_jobmaster::Event as JobEvent;
use flumen_model::failure::{Blame, Failure};
use flumen_model::ids::{ExecutorId, JobId};
use flumen_wire::control::{ExecutorCommand, ExecutorInfo, ExecutorReport};
use flumen_wire::report::WorkerReport;

use super::{Dispatcher, Effect};
use crate::clock::Moment;
use crate::resource::{manager, standby};

impl Dispatcher {
    pub(super) fn executor_registered(
        &mut self,
        now: Moment,
        info: ExecutorInfo,
        workers: Vec<WorkerReport>,
        effects: &mut Vec<Effect>,
    ) {
        let id = info.id.clone();
        if self.stands_in
            && let Some(container) = standby::unheard_of(&info)
        {
            // Whoever has the application's certificate was started by it, even if the last leader had no time to say so.
            self.resource_event(now, manager::Event::FoundAgain(vec![container]), effects);
        }
        let container = id.0.parse().ok().filter(|container| self.resources.owns(*container));
        let Some(container) = container else {
            tracing::warn!(executor = %id, "a TaskExecutor of a container that was given up or is not ours registered");
            let reason = "its container is not, or no longer, in use by this application".to_owned();
            effects.push(Effect::ToExecutor { id, command: ExecutorCommand::Shutdown { reason } });
            return;
        };
        let logs_url = self.resources.logs_url(container);
        let slots = info.slots;
        self.executors.add(info, container, logs_url, now.timestamp);
        self.resource_event(now, manager::Event::ExecutorRegistered(container), effects);
        self.former_workers(now, &id, workers, effects);
        self.pool.add(id, slots);
    }

    pub(super) fn executor_report(
        &mut self,
        now: Moment,
        id: ExecutorId,
        report: ExecutorReport,
        effects: &mut Vec<Effect>,
    ) {
        self.executors.heard(&id, now.timestamp);
        match report {
            ExecutorReport::Heartbeat { resident } => self.executors.set_resident(&id, resident),
            // Answered where it was asked (`executor_logs`).
            ExecutorReport::Logs { .. } => {}
            ExecutorReport::Register { .. } | ExecutorReport::StandBy(_) => {
                tracing::warn!(executor = %id, "registered twice on one connection")
            }
            ExecutorReport::WorkerExited { job, instance, failure } => {
                tracing::warn!(%job, executor = %id, instance, %failure, "worker ended");
                if self.recovery.exited(job, &id, instance, &failure) {
                    return;
                }
                self.job_event(now, job, JobEvent::WorkerExited { executor: id, instance, failure }, effects);
            }
            ExecutorReport::Worker { job, instance, message } => {
                if self.recovery.said(job, &id, instance, &message) {
                    return;
                }
                self.job_event(now, job, JobEvent::Worker { executor: id, instance, message }, effects);
            }
        }
    }

    /// The cause is awaited before the jobs hear of it; nothing new is begun there.
    pub(super) fn connection_lost(
        &mut self,
        now: Moment,
        id: &ExecutorId,
        failure: Failure,
        effects: &mut Vec<Effect>,
    ) {
        if let Some(container) = self.executors.container(id) {
            tracing::warn!(executor = %id, %failure, "connection to a TaskExecutor lost");
            self.pool.close(id);
            self.resource_event(now, manager::Event::ExecutorLost { id: container, failure }, effects);
        }
    }

    pub(super) fn resource_event(&mut self, now: Moment, event: manager::Event, effects: &mut Vec<Effect>) {
        for action in self.resources.step(now.instant, event) {
            match action {
                manager::Action::ReportLost { id, failure } => {
                    tracing::warn!(executor = %id, %failure, "TaskExecutor is gone");
                    self.executor_gone(now, &id, &failure, effects);
                }
                manager::Action::GiveUp { needing, failure } => self.give_up(now, needing, &failure, effects),
                manager::Action::Release { id, reason } => {
                    tracing::info!(container = %id, reason, "container is given back");
                    let executor = manager::executor_id(id);
                    if self.executors.info(&executor).is_some() {
                        let command = ExecutorCommand::Shutdown { reason: reason.to_owned() };
                        effects.push(Effect::ToExecutor { id: executor.clone(), command });
                        let failure = Failure::new(Blame::Outside, format!("its container was given back: {reason}"));
                        self.executor_gone(now, &executor, &failure, effects);
                    }
                    effects.push(Effect::Resource(manager::Action::Release { id, reason }));
                }
                manager::Action::TellStandby { to, here, gone } => {
                    let here = here.iter().map(standby::described).collect();
                    let gone = gone.iter().map(ToString::to_string).collect();
                    let command = ExecutorCommand::Containers { here, gone };
                    effects.push(Effect::ToExecutor { id: manager::executor_id(to), command });
                }
                manager::Action::DismissStandby(id) => {
                    let reason = "another standby JobManager is wanted, or none".to_owned();
                    let command = ExecutorCommand::Shutdown { reason };
                    effects.push(Effect::ToExecutor { id: manager::executor_id(id), command });
                }
                action @ (manager::Action::Ask(_) | manager::Action::Launch(_) | manager::Action::InspectCluster) => {
                    effects.push(Effect::Resource(action));
                }
            }
        }
    }

    /// Fails the jobs whose slots will not come. The ResourceManager hears afterwards what is needed now, even if that has
    /// not changed: it waits for that.
    fn give_up(&mut self, now: Moment, needing: u32, failure: &Failure, effects: &mut Vec<Effect>) {
        tracing::error!(%failure, needing, "slots will not come");
        let waiting = self.pool.waiting().into_iter().filter(|(_, slots)| *slots >= needing);
        let waiting: Vec<JobId> = waiting.map(|(job, _)| job).collect();
        for job in waiting {
            self.pool.settle_for_less(job);
            self.job_event(now, job, JobEvent::ResourcesUnavailable { failure: failure.clone() }, effects);
        }
        self.declared = (u32::MAX, u32::MAX);
    }
}
