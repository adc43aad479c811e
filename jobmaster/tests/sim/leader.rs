//! The JobManager dies, and a new one takes the job over from what TaskExecutors report.

use std::collections::BTreeMap;

use flumen_jobmaster::{Event, FormerExecutor, JobMaster, Settings, Start, Timestamp};
use flumen_model::checkpoint::{CheckpointId, CompletedCheckpoint};
use flumen_model::ids::{Epoch, ExecutorId};
use flumen_model::status::JobStatus;
use flumen_wire::report::WorkerReport;

use super::former::Fence;
use super::plan::StopWish;
use super::{Happening, JOB, Place, Sim};

/// Who leads.
#[derive(Debug, Default)]
pub(super) struct Leader {
    pub(super) epoch: u64,
    /// Set while there is none that has decided: TaskExecutors that have registered meanwhile, with what is known of their
    /// worker.
    pub(super) electing: Option<BTreeMap<ExecutorId, Option<WorkerReport>>>,
    /// The epoch that each TaskExecutor obeys.
    pub(super) obeyed: BTreeMap<ExecutorId, u64>,
    /// Everything ran when the last one died.
    ran: bool,
    /// Who has claimed the head of the checkpoints, and found these.
    claimed: Option<(u64, Vec<CompletedCheckpoint>)>,
    /// Somebody asked a leader that died to stop the job.
    pub(super) stop_asked: bool,
    pub(super) adoptions: Adoptions,
}

impl Leader {
    pub(super) fn first() -> Self {
        Self { epoch: 1, ..Self::default() }
    }
}

/// How often leaders changed, and what the new ones did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Adoptions {
    /// All leaders that took over.
    pub taken: u64,
    /// Those that found everything running, and left it so.
    pub untouched: u64,
    /// Those that went on with some regions and restarted others.
    pub partial: u64,
    /// Leaders that were cut off and went on beside the next one.
    pub beside: u64,
}

impl Sim {
    /// A new leader is started. Of one that has died, what was on its way to it is lost, and of what it has sent, and of what
    /// it was storing, some; one that was cut off goes on.
    pub(super) fn leader_gone(&mut self, alive: bool) {
        if self.leader.electing.is_some() || self.life > 0 {
            return;
        }
        self.leader.electing = Some(BTreeMap::new());
        self.leader.ran = self.master.status() == JobStatus::Running && !alive;
        self.leader.stop_asked |= self.stop_request.take().is_some();
        self.asked.clear();
        self.restarts += self.master.details().restarts;
        self.completed += self.master.checkpoints().counts.completed;
        match alive {
            true => self.cut_off(),
            false => self.leader_dies(),
        }
        self.tick = u64::MAX;
        let next = self.now + self.random.between(1, 400);
        for executor in self.executors.clone() {
            // Who still hears the former leader may be late to look for another one.
            let late = if alive && self.random.percent(25) { self.random.between(0, 600) } else { 0 };
            let at = next + self.random.between(0, 60) + late;
            self.at(at, Happening::Return(executor));
        }
        // Some new leaders wait for long enough, others don't.
        let patience = if self.random.percent(70) { 100 } else { self.random.between(0, 60) };
        let claim = self.random.between(self.now, next + patience);
        self.at(claim, Happening::Claim);
        self.at(next + patience, Happening::Adopt);
    }

    fn leader_dies(&mut self) {
        let mut cuts: BTreeMap<ExecutorId, u64> = BTreeMap::new();
        for executor in self.executors.clone() {
            let cut = self.now + self.random.between(0, self.plan.latency);
            cuts.insert(executor, cut);
        }
        let storing = self.random.between(0, 1) == 1;
        let me = self.leader.epoch;
        let mut stored = Vec::new();
        self.happenings.retain(|(at, _), happening| match happening {
            Happening::Hear(epoch, _) | Happening::Tick(epoch) => *epoch != me,
            Happening::Relay(epoch, (executor, _), _) if *epoch == me => {
                cuts.get(executor).is_some_and(|cut| at <= cut)
            }
            Happening::Stored(epoch, checkpoint) if *epoch == me => {
                stored.extend(storing.then(|| (**checkpoint).clone()));
                false
            }
            _ => true,
        });
        stored.into_iter().for_each(|checkpoint| drop(self.put(me, checkpoint)));
    }

    /// The new leader takes over the head of the checkpoints: from now on no former one completes any.
    pub(super) fn claim(&mut self) {
        self.leader.claimed = Some((self.epoch_to_come(), self.inherited()));
    }

    /// A leader that has not decided yet takes note.
    pub(super) fn learn(&mut self, event: Event) {
        let Some(registered) = &mut self.leader.electing else { return };
        let mut report = |executor: &ExecutorId, instance: u32, change: &dyn Fn(&mut WorkerReport)| {
            let report = registered.get_mut(executor).and_then(Option::as_mut);
            report.filter(|report| report.instance == instance).into_iter().for_each(change);
        };
        match event {
            Event::Worker { executor, instance, message } => report(&executor, instance, &|known| known.said(&message)),
            Event::WorkerExited { executor, instance, failure } => {
                report(&executor, instance, &|known| known.exited(&failure));
            }
            Event::ExecutorRegistered { id, .. } => drop(registered.insert(id, None)),
            Event::ExecutorLost { id, .. } => drop(registered.remove(&id)),
            _ => {}
        }
    }

    /// Whether a TaskExecutor has the new leader, who may not have decided yet.
    fn is_led(&self, executor: &ExecutorId) -> bool {
        self.leader_of(executor) == Some(self.epoch_to_come())
    }

    /// The epoch that a TaskExecutor obeys. There may be nobody of that epoch any more.
    pub(super) fn leader_of(&self, executor: &ExecutorId) -> Option<u64> {
        self.leader.obeyed.get(executor).copied()
    }

    /// Whether a newer leader has taken over the head of the checkpoints.
    pub(super) fn is_superseded(&self, epoch: u64) -> bool {
        self.formers.broken != Some(Fence::Head)
            && self.leader.claimed.as_ref().is_some_and(|(claimed, _)| *claimed > epoch)
    }

    /// A TaskExecutor registers with the new leader, or, when that has decided already, comes too late.
    pub(super) fn executor_returns(&mut self, executor: ExecutorId) {
        if !self.executors.contains(&executor) || self.is_led(&executor) {
            return;
        }
        let former = self.leader.obeyed.insert(executor.clone(), self.epoch_to_come());
        self.lost_to_former(former, &executor);
        let report = self.take_report(&executor);
        match &mut self.leader.electing {
            Some(registered) => drop(registered.insert(executor, report)),
            None => {
                if let Some(report) = report {
                    let instance = report.instance;
                    self.tell(Event::FormerWorker { executor: executor.clone(), instance });
                }
                self.offer(executor);
            }
        }
    }

    /// The worker that a TaskExecutor has, or that has ended since it had a leader to tell.
    fn take_report(&mut self, executor: &ExecutorId) -> Option<WorkerReport> {
        let of_executor = |place: &&Place| place.0 == *executor;
        let place = self.reports.keys().filter(of_executor).max_by_key(|place| place.1)?.clone();
        let report = self.reports.get(&place).cloned();
        self.reports.retain(|place, report| place.0 != *executor || report.exited.is_none());
        report
    }

    pub(super) fn epoch_to_come(&self) -> u64 {
        self.leader.epoch + u64::from(self.leader.electing.is_some())
    }

    pub(super) fn adopt(&mut self) {
        let Some(registered) = self.leader.electing.take() else { return };
        self.leader.epoch += 1;
        let seen = registered.values().flatten().map(|report| report.greatest_checkpoint);
        let inherited = self.leader.claimed.as_ref().map(|(_, found)| found.clone()).expect("claimed before");
        let newest = inherited.last().map(|checkpoint| checkpoint.id);
        self.last_trigger = seen.chain(newest).max().unwrap_or(CheckpointId(0));
        let whole = self.executors.iter().all(|executor| registered.contains_key(executor));
        let executors: Vec<FormerExecutor> = registered
            .into_iter()
            .map(|(id, worker)| FormerExecutor { id, slots: self.plan.slots, host: "h".into(), worker })
            .collect();
        let settings = Settings::read(&self.plan.configuration(), &self.graph).expect("valid options");
        let start = Start {
            inherited,
            reached: Some(self.head).filter(|head| head.0 > 0),
            directory: Some(format!("/cp/{JOB}/e{}", self.leader.epoch)),
            epoch: Epoch(if self.formers.broken == Some(Fence::Numbers) { 1 } else { self.leader.epoch }),
            ..Start::default()
        };
        self.say(|| format!("takes over: {executors:#?}"));
        let attempts = |executors: &[FormerExecutor]| {
            let workers = executors.iter().filter_map(|executor| executor.worker.as_ref());
            workers.map(|worker| worker.greatest_attempt).max()
        };
        let former = attempts(&executors);
        let (master, actions) =
            JobMaster::adopt(JOB, self.graph.clone(), settings, start, executors, Timestamp(self.now));
        self.master = master;
        let subtasks = self.master.details().vertices.into_iter().flat_map(|vertex| vertex.subtasks);
        let kept: Vec<bool> = subtasks.map(|subtask| former.is_some_and(|former| subtask.attempt <= former)).collect();
        if self.leader.ran && whole && self.plan.faults.is_empty() && self.plan.stop.0 == StopWish::Never {
            assert!(kept.iter().all(|kept| *kept), "nothing but the JobManager has died, and something is restarted");
        }
        self.leader.adoptions.taken += 1;
        self.leader.adoptions.untouched += u64::from(kept.iter().all(|kept| *kept));
        self.leader.adoptions.partial += u64::from(kept.contains(&true) && kept.contains(&false));
        self.carry_out(actions);
    }

    /// The checkpoints that count and are there, as the file system says it.
    fn inherited(&self) -> Vec<CompletedCheckpoint> {
        let counts =
            |checkpoint: &&CompletedCheckpoint| !checkpoint.kind.is_savepoint() || self.stops.contains(&checkpoint.id);
        let is_there =
            |checkpoint: &CompletedCheckpoint| self.files.contains_key(&format!("{}/_metadata", checkpoint.directory));
        self.stored.values().filter(counts).map(counted).filter(is_there).collect()
    }
}

/// As it is found among the checkpoints of the job: of the savepoint of a stop there is a copy of the metadata.
pub(super) fn counted(checkpoint: &CompletedCheckpoint) -> CompletedCheckpoint {
    let directory = match checkpoint.kind.is_savepoint() {
        true => format!("/cp/{JOB}/chk-{}", checkpoint.id),
        false => checkpoint.directory.clone(),
    };
    CompletedCheckpoint { directory, ..checkpoint.clone() }
}
