//! What a TaskExecutor knows of its workers from the messages that it hands on: enough for a new JobManager to go on with
//! subtasks that never stopped.
//!
//! A report is a fold: it begins with the command that starts the worker, [`told`](WorkerReport::told) takes in what is sent
//! to the worker, [`said`](WorkerReport::said) what it says, [`exited`](WorkerReport::exited) its end. Whoever has one and
//! hears more (a JobManager that has not decided yet) folds on. There is no I/O here, and workers know nothing of it.
//!
//! It is bounded: what a newer completed checkpoint makes superfluous is forgotten, lists have a greatest length, and a
//! report whose splits take too much memory says of itself that it is [not whole](WorkerReport::whole).

use std::collections::BTreeMap;

use flumen_model::checkpoint::{Barrier, CheckpointId};
use flumen_model::failure::Failure;
use flumen_model::ids::{ExecutionAttempt, JobId, SubtaskId};
use flumen_model::status::ExecutionState;
use serde::{Deserialize, Serialize};

use crate::control::{Deployment, FromWorker, RegionId, StartWorker, SubtaskIo, ToWorker, WorkerAddress};

/// Bytes of splits that a report holds for one worker.
const SPLIT_BYTES_MAX: usize = 8 << 20;

/// Checkpoints under way that are remembered for each region. (Savepoints stay among them: nobody tells workers when they
/// are complete.)
const OPEN_MAX: usize = 64;

/// Confirmed checkpoints that are remembered for each subtask.
const ACKNOWLEDGED_MAX: usize = 64;

/// A worker and what it runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkerReport {
    /// Its job.
    pub job: JobId,
    /// Which worker of it on this TaskExecutor.
    pub instance: u32,
    /// Slots that the job had on the TaskExecutor when it was started.
    pub slots: u32,
    /// Where other workers reach it; `None` until its program has called `execute`.
    #[serde(default)]
    pub address: Option<WorkerAddress>,
    /// Its process, from then on.
    #[serde(default)]
    pub pid: Option<u32>,
    /// Why it has ended or refused its job; `None` while it lives.
    #[serde(default)]
    pub exited: Option<Failure>,
    /// What it was told to run: the latest execution of each region, ascending.
    #[serde(default)]
    pub regions: Vec<RegionReport>,
    /// The greatest checkpoint that was ever mentioned to it or by it.
    #[serde(default)]
    pub greatest_checkpoint: CheckpointId,
    /// The greatest execution that was ever mentioned to it.
    #[serde(default)]
    pub greatest_attempt: ExecutionAttempt,
    /// False when something of it was left out for want of room: nobody can go on with its executions then.
    #[serde(default)]
    pub whole: bool,
    /// Bytes of the splits, at least.
    #[serde(skip)]
    split_bytes: usize,
}

/// The latest execution of a region on one worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RegionReport {
    /// How it was deployed, without the state that its subtasks began with.
    pub deployment: Deployment,
    /// The checkpoint that its subtasks began with.
    #[serde(default)]
    pub restored: Option<CheckpointId>,
    /// Whether it was told to start.
    #[serde(default)]
    pub started: bool,
    /// Whether it was told to stop.
    #[serde(default)]
    pub cancelled: bool,
    /// Whether sources were told to end for a stop.
    #[serde(default)]
    pub drained: bool,
    /// Checkpoints and savepoints that were triggered here and of which nothing more was heard, oldest first.
    #[serde(default)]
    pub open: Vec<Barrier>,
    /// The newest checkpoint that it was told to be complete.
    #[serde(default)]
    pub completed: Option<CheckpointId>,
    /// Its subtasks on this worker.
    #[serde(default)]
    pub subtasks: Vec<SubtaskReport>,
}

/// A subtask in that execution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SubtaskReport {
    /// Which one.
    pub subtask: SubtaskId,
    /// Deploying, or the state that it reported last.
    pub state: ExecutionState,
    /// Why it failed.
    #[serde(default)]
    pub failure: Option<Failure>,
    /// Its counts.
    #[serde(default)]
    pub io: SubtaskIo,
    /// Whether it has taken in all of its input.
    #[serde(default)]
    pub end_of_data: bool,
    /// The splits that it was given, in order; those that were given before the trigger of a checkpoint that is known to be
    /// complete may be missing.
    #[serde(default)]
    pub splits: Vec<GivenSplit>,
    /// The last checkpoint that it was told to begin; else the one that it began with.
    #[serde(default)]
    pub triggered: Option<CheckpointId>,
    /// Whether it waits for an answer to [`FromWorker::RequestSplit`].
    #[serde(default)]
    pub wants_split: bool,
    /// How far it is in groups with aligned watermarks.
    #[serde(default)]
    pub watermarks: BTreeMap<String, Option<i64>>,
    /// The checkpoints that it has confirmed, ascending, without those that were given up or are older than the newest one
    /// that is known to be complete.
    #[serde(default)]
    pub acknowledged: Vec<CheckpointId>,
}

/// A split that a subtask was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenSplit {
    /// The split.
    pub split: String,
    /// [`SubtaskReport::triggered`] at that moment: it is part of no older checkpoint's state, and of every newer one's.
    #[serde(default)]
    pub after: Option<CheckpointId>,
}

impl WorkerReport {
    /// A worker that is being started.
    pub fn starting(start: &StartWorker) -> Self {
        Self {
            job: start.job,
            instance: start.instance,
            slots: start.slots,
            address: None,
            pid: None,
            exited: None,
            regions: Vec::new(),
            greatest_checkpoint: CheckpointId::default(),
            greatest_attempt: ExecutionAttempt::default(),
            whole: true,
            split_bytes: 0,
        }
    }

    /// The same worker without what it runs: for when there is no room for more.
    pub fn outline(&self) -> Self {
        Self { regions: Vec::new(), whole: false, ..self.clone() }
    }

    /// The worker has ended.
    pub fn exited(&mut self, failure: &Failure) {
        self.exited.get_or_insert_with(|| failure.clone());
    }

    /// Something was sent to the worker.
    pub fn told(&mut self, message: &ToWorker) {
        match message {
            ToWorker::Deploy(deployment) => self.deployed(deployment),
            ToWorker::Start { region, attempt } => {
                if let Some(region) = self.region(*region).filter(|region| region.deployment.attempt == *attempt) {
                    region.started = true;
                }
            }
            ToWorker::Cancel { region, attempt } => {
                self.greatest_attempt = self.greatest_attempt.max(*attempt);
                if let Some(region) = self.region(*region).filter(|region| region.deployment.attempt <= *attempt) {
                    region.cancelled = true;
                }
            }
            ToWorker::Split { attempt, subtask, split } => self.given(*attempt, *subtask, split.as_deref()),
            ToWorker::TriggerCheckpoint { attempt, subtasks, barrier } => {
                self.seen(barrier.checkpoint);
                for region in self.executions(*attempt) {
                    region.triggered(subtasks, barrier);
                }
            }
            ToWorker::Drain { attempt, subtasks } => {
                for region in self.executions(*attempt) {
                    region.drained |= region.subtasks.iter().any(|subtask| subtasks.contains(&subtask.subtask));
                }
            }
            ToWorker::CheckpointCompleted { attempt, checkpoint } => {
                self.seen(*checkpoint);
                self.executions(*attempt).for_each(|region| region.completed(*checkpoint));
                self.split_bytes = self.splits().map(GivenSplit::bytes).sum();
            }
            ToWorker::CheckpointAborted { attempt, checkpoint } => {
                self.seen(*checkpoint);
                self.executions(*attempt).for_each(|region| region.aborted(*checkpoint));
            }
            ToWorker::GroupWatermark { .. } => {}
        }
    }

    /// The worker says something.
    pub fn said(&mut self, message: &FromWorker) {
        match message {
            FromWorker::Ready { address, pid } => {
                self.address = Some(address.clone());
                self.pid = Some(*pid);
            }
            FromWorker::Refused(failure) => self.exited(failure),
            FromWorker::Deployed { .. } => {}
            FromWorker::State { attempt, subtask, state, failure, io } => {
                if let Some(subtask) = self.subtask(*attempt, *subtask).filter(|known| !known.state.is_terminal()) {
                    subtask.state = *state;
                    subtask.failure.clone_from(failure);
                    subtask.io = *io;
                }
            }
            FromWorker::RestoreFailed { attempt, subtask, failure, .. } => {
                if let Some(subtask) = self.subtask(*attempt, *subtask) {
                    subtask.state = ExecutionState::Failed;
                    subtask.failure = Some(failure.clone());
                }
            }
            FromWorker::RequestSplit { attempt, subtask } => {
                if let Some(subtask) = self.subtask(*attempt, *subtask) {
                    subtask.wants_split = true;
                }
            }
            FromWorker::EndOfData { attempt, subtask } => {
                if let Some(subtask) = self.subtask(*attempt, *subtask) {
                    subtask.end_of_data = true;
                }
            }
            FromWorker::GroupWatermark { attempt, subtask, group, watermark } => {
                if let Some(subtask) = self.subtask(*attempt, *subtask) {
                    subtask.watermarks.insert(group.clone(), *watermark);
                }
            }
            FromWorker::CheckpointAck { attempt, subtask, checkpoint, .. } => {
                self.seen(*checkpoint);
                if let Some(subtask) = self.subtask(*attempt, *subtask) {
                    subtask.acknowledge(*checkpoint);
                }
            }
            FromWorker::CheckpointDeclined { checkpoint, .. } => self.seen(*checkpoint),
            FromWorker::Alive => {}
            FromWorker::Io { attempt, subtasks } => {
                for (id, io) in subtasks {
                    if let Some(subtask) = self.subtask(*attempt, *id).filter(|known| !known.state.is_terminal()) {
                        subtask.io = *io;
                    }
                }
            }
        }
    }

    fn deployed(&mut self, deployment: &Deployment) {
        let (id, attempt) = (deployment.region, deployment.attempt);
        self.greatest_attempt = self.greatest_attempt.max(attempt);
        let restored = deployment.restore.iter().map(|restore| restore.checkpoint).max();
        restored.into_iter().for_each(|checkpoint| self.seen(checkpoint));
        if self.region(id).is_some_and(|known| known.deployment.attempt >= attempt) {
            return;
        }
        let here = deployment.placement.iter().flat_map(|vertex| {
            (0..).zip(&vertex.worker_of).filter(|(_, worker)| **worker == deployment.me).map(|(index, _)| {
                SubtaskReport {
                    subtask: SubtaskId { vertex: vertex.vertex, index },
                    state: ExecutionState::Deploying,
                    failure: None,
                    io: SubtaskIo::default(),
                    end_of_data: false,
                    splits: Vec::new(),
                    triggered: restored,
                    wants_split: false,
                    watermarks: BTreeMap::new(),
                    acknowledged: Vec::new(),
                }
            })
        });
        let region = RegionReport {
            subtasks: here.collect(),
            deployment: Deployment {
                region: id,
                attempt,
                workers: deployment.workers.clone(),
                me: deployment.me,
                placement: deployment.placement.clone(),
                restore: Vec::new(),
            },
            restored,
            started: false,
            cancelled: false,
            drained: false,
            open: Vec::new(),
            completed: None,
        };
        self.regions.retain(|known| known.deployment.region != id);
        let place = self.regions.partition_point(|known| known.deployment.region < id);
        self.regions.insert(place, region);
    }

    fn given(&mut self, attempt: ExecutionAttempt, subtask: SubtaskId, split: Option<&str>) {
        let whole = self.whole;
        let Some(subtask) = self.subtask(attempt, subtask) else { return };
        subtask.wants_split = false;
        let Some(split) = split.filter(|_| whole) else { return };
        let given = GivenSplit { split: split.to_owned(), after: subtask.triggered };
        let bytes = given.bytes();
        subtask.splits.push(given);
        self.split_bytes += bytes;
        if self.split_bytes > SPLIT_BYTES_MAX {
            self.whole = false;
            self.regions.iter_mut().flat_map(|region| &mut region.subtasks).for_each(|subtask| subtask.splits.clear());
        }
    }

    fn splits(&self) -> impl Iterator<Item = &GivenSplit> {
        self.regions.iter().flat_map(|region| &region.subtasks).flat_map(|subtask| &subtask.splits)
    }

    fn seen(&mut self, checkpoint: CheckpointId) {
        self.greatest_checkpoint = self.greatest_checkpoint.max(checkpoint);
    }

    fn region(&mut self, id: RegionId) -> Option<&mut RegionReport> {
        self.regions.iter_mut().find(|region| region.deployment.region == id)
    }

    fn executions(&mut self, attempt: ExecutionAttempt) -> impl Iterator<Item = &mut RegionReport> {
        self.regions.iter_mut().filter(move |region| region.deployment.attempt == attempt)
    }

    fn subtask(&mut self, attempt: ExecutionAttempt, id: SubtaskId) -> Option<&mut SubtaskReport> {
        self.executions(attempt).flat_map(|region| &mut region.subtasks).find(|subtask| subtask.subtask == id)
    }
}

impl GivenSplit {
    /// What it takes in memory, about.
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.split.len()
    }
}

impl RegionReport {
    fn triggered(&mut self, subtasks: &[SubtaskId], barrier: &Barrier) {
        let mut any = false;
        for subtask in self.subtasks.iter_mut().filter(|subtask| subtasks.contains(&subtask.subtask)) {
            subtask.triggered = subtask.triggered.max(Some(barrier.checkpoint));
            any = true;
        }
        if any {
            self.open.push(barrier.clone());
            let surplus = self.open.len().saturating_sub(OPEN_MAX);
            self.open.drain(..surplus);
        }
    }

    fn completed(&mut self, checkpoint: CheckpointId) {
        self.completed = self.completed.max(Some(checkpoint));
        self.open.retain(|barrier| barrier.checkpoint != checkpoint);
        for subtask in &mut self.subtasks {
            subtask.acknowledged.retain(|known| *known >= checkpoint);
            subtask.splits.retain(|given| given.after >= Some(checkpoint));
        }
    }

    fn aborted(&mut self, checkpoint: CheckpointId) {
        self.open.retain(|barrier| barrier.checkpoint != checkpoint);
        self.subtasks.iter_mut().for_each(|subtask| subtask.acknowledged.retain(|known| *known != checkpoint));
    }
}

impl SubtaskReport {
    fn acknowledge(&mut self, checkpoint: CheckpointId) {
        let place = self.acknowledged.partition_point(|known| *known < checkpoint);
        if self.acknowledged.get(place) != Some(&checkpoint) {
            self.acknowledged.insert(place, checkpoint);
        }
        let surplus = self.acknowledged.len().saturating_sub(ACKNOWLEDGED_MAX);
        self.acknowledged.drain(..surplus);
    }
}

#[cfg(test)]
mod tests;
