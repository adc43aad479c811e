//! Leaders that were cut off and do not know it: they go on beside the new one until something refuses them.

use std::collections::BTreeMap;

use flumen_jobmaster::{Action, Event, JobMaster, Settings, Start, Timestamp};
use flumen_model::checkpoint::{CheckpointId, StateLocation};
use flumen_model::failure::{Blame, Failure};
use flumen_model::ids::{ExecutionAttempt, ExecutorId};
use flumen_wire::control::{Deployment, ToWorker};

use super::{Happening, JOB, Place, Sim};

/// A rule that keeps former leaders from doing harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fence {
    /// A TaskExecutor that has seen a newer leader refuses the former one.
    Executors,
    /// Who does not hold the head of the checkpoints completes none.
    Head,
    /// Each leader numbers executions, workers and checkpoints in a range of its own.
    Numbers,
}

/// Those that are cut off.
#[derive(Debug, Default)]
pub(super) struct Formers {
    by_epoch: BTreeMap<u64, Former>,
    /// Whose number a checkpoint is, as an execution has heard it.
    numbers: BTreeMap<(CheckpointId, ExecutionAttempt), u64>,
    /// A rule that is broken, to see that it is needed.
    pub(super) broken: Option<Fence>,
}

#[derive(Debug)]
struct Former {
    master: JobMaster,
    tick: u64,
}

impl Formers {
    /// It has learned that there is a newer one, and does nothing more.
    pub(super) fn step_down(&mut self, epoch: u64) {
        self.by_epoch.remove(&epoch);
    }
}

impl Sim {
    /// The leader goes on, and so does everything that is on its way from and to it.
    pub(super) fn cut_off(&mut self) {
        let settings = Settings::read(&self.plan.configuration(), &self.graph).expect("valid options");
        // In its place, until the next one has decided.
        let (nobody, _) = JobMaster::new(JOB, self.graph.clone(), settings, Start::default(), Timestamp(self.now));
        let master = std::mem::replace(&mut self.master, nobody);
        self.formers.by_epoch.insert(self.leader.epoch, Former { master, tick: self.tick });
        self.leader.adoptions.beside += 1;
        let end = self.now + self.random.between(0, 1500);
        self.at(end, Happening::StepDown(self.leader.epoch));
    }

    pub(super) fn hear(&mut self, epoch: u64, event: Event) {
        if epoch == self.epoch_to_come() {
            return self.tell(event);
        }
        let Some(former) = self.formers.by_epoch.get_mut(&epoch) else { return };
        let mut actions = former.master.step(Timestamp(self.now), event);
        if actions.iter().any(|action| matches!(action, Action::Done(_))) {
            // What the end of a job removes is removed once its result is kept, which fails here.
            actions.retain(|action| !matches!(action, Action::DiscardFiles { .. }));
        }
        for action in actions {
            self.say(|| format!("    {epoch} => {action:?}"));
            self.act_cut_off(epoch, action);
        }
        let now = self.now;
        let Some(former) = self.formers.by_epoch.get_mut(&epoch) else { return };
        if let Some(next) = former.master.next_timer().filter(|next| next.0.max(now) < former.tick) {
            former.tick = next.0.max(now);
            let at = former.tick;
            self.at(at, Happening::Tick(epoch));
        }
    }

    pub(super) fn tick(&mut self, epoch: u64) {
        match self.formers.by_epoch.get_mut(&epoch) {
            Some(former) => former.tick = u64::MAX,
            None if epoch == self.leader.epoch => self.tick = u64::MAX,
            None => {}
        }
        self.hear(epoch, Event::Tick);
    }

    fn act_cut_off(&mut self, epoch: u64, action: Action) {
        match action {
            Action::StartWorker { executor, instance } => self.start_worker(epoch, executor, instance),
            Action::StopWorker { executor, instance } => self.stop_worker(epoch, executor, instance),
            Action::ToWorker { executor, instance, message } => {
                if let ToWorker::CheckpointCompleted { checkpoint, .. } = &message {
                    assert!(self.stored.contains_key(checkpoint), "CC-2: {checkpoint} is told but not stored");
                }
                self.send_to_worker(epoch, (executor, instance), message);
            }
            Action::StoreCheckpoint(checkpoint) => {
                let at = self.now + self.random.between(0, 3 * self.plan.latency);
                self.at(at, Happening::Stored(epoch, checkpoint));
            }
            Action::DiscardFiles { paths } => self.remove_files(epoch, &paths),
            // It may keep no result, commit no outputs and end no application: there it learns that it leads no more.
            Action::CommitOutputs { .. } | Action::Done(_) => self.formers.step_down(epoch),
            // Those who asked have been told by the broken connection.
            Action::Answer { .. } | Action::DeclareSlots(_) => {}
        }
    }

    pub(super) fn send_to_worker(&mut self, epoch: u64, place: Place, message: ToWorker) {
        let connection = format!("{epoch} to {}", place.0);
        self.send(connection, Happening::Relay(epoch, place, message));
    }

    /// Whether a TaskExecutor takes that leader's commands.
    pub(super) fn is_obeyed(&self, epoch: u64, executor: &ExecutorId) -> bool {
        let obeyed = self.leader_of(executor);
        obeyed == Some(epoch) || self.formers.broken == Some(Fence::Executors) && obeyed.is_some()
    }

    /// A TaskExecutor has turned away from a former leader.
    pub(super) fn lost_to_former(&mut self, former: Option<u64>, executor: &ExecutorId) {
        let Some(epoch) = former.filter(|epoch| self.formers.by_epoch.contains_key(epoch)) else { return };
        let failure = Failure::new(Blame::Outside, "connection closed");
        let connection = format!("from {executor}");
        self.send(connection, Happening::Hear(epoch, Event::ExecutorLost { id: executor.clone(), failure }));
    }

    /// No execution hears of two checkpoints with one number.
    pub(super) fn check_number(&mut self, epoch: u64, message: &ToWorker) {
        if let ToWorker::TriggerCheckpoint { attempt, barrier, .. } = message {
            let id = barrier.checkpoint;
            let of = *self.formers.numbers.entry((id, *attempt)).or_insert(epoch);
            assert_eq!(of, epoch, "CC-3: checkpoint {id} is triggered by two leaders");
        }
    }

    /// Nothing is committed but by a checkpoint that counts.
    pub(super) fn check_commit(&self, transaction: &str) {
        let number = transaction.rsplit('.').next().and_then(|number| number.parse().ok()).map(CheckpointId);
        let number = number.expect("the number of a checkpoint");
        assert!(number <= self.head, "{transaction} is committed, and {} is the newest that counts", self.head);
    }

    /// Whether everything is there that a deployment restores.
    pub(super) fn is_whole(&self, deployment: &Deployment) -> bool {
        deployment.restore.iter().flat_map(|restore| restore.state.handles()).all(|handle| match &handle.location {
            StateLocation::File { path, .. } => self.files.contains_key(path),
            StateLocation::Inline(_) => true,
        })
    }
}
