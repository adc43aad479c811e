//! Going on with subtasks that run: what the coordinator of a former leader knew, as far as it matters.

use flumen_model::checkpoint::{Barrier, CheckpointId, JobLife, SnapshotKind};
use flumen_model::ids::{Epoch, SubtaskId};

use super::coordinator::{Coordinator, Effect};
use crate::adoption::Newest;
use crate::event::SnapshotTaken;

/// Numbers that a new leader leaves out for each former one: one that is cut off may have triggered checkpoints of which
/// nobody has heard. It gives up with the first that it can't complete, so they are few.
const GAP: u64 = 1_000;

/// How many numbers a leader leaves out that has not heard of everything.
pub(super) fn gap(epoch: Epoch) -> u64 {
    epoch.0.saturating_sub(1).saturating_mul(GAP)
}

/// A subtask that goes on.
pub(crate) struct Continued {
    pub(crate) subtask: SubtaskId,
    /// The checkpoint that its execution began with.
    pub(crate) restored: Option<CheckpointId>,
    pub(crate) end_of_data: bool,
    pub(crate) finished: bool,
}

impl Coordinator {
    /// The checkpoint that subtasks would be restored from.
    pub(crate) fn newest_of_former(&self) -> Option<Newest> {
        let stop = SnapshotKind::StopWithSavepoint;
        self.store.newest().map(|checkpoint| Newest {
            id: checkpoint.id,
            // One that the user gives to a job to start from has ended another one.
            stop: checkpoint.kind == stop && self.inherits,
        })
    }

    /// Numbers go on behind `seen`, the greatest checkpoint that anybody has heard of, and without a gap if `everybody` was
    /// asked.
    pub(crate) fn goes_on_after(&mut self, seen: CheckpointId, everybody: bool) {
        let without_gap = CheckpointId(seen.max(self.known).0 + 1);
        self.next = if everybody { without_gap } else { self.next.max(without_gap) };
    }

    /// Notes what the next leader has to know.
    pub(crate) fn note(&self, life: &mut JobLife) {
        self.tracker.note(life);
    }

    /// Takes over subtasks that go on. Those that have finished have their last snapshot in the newest checkpoint.
    pub(crate) fn adopt_subtasks(&mut self, subtasks: impl Iterator<Item = Continued>) {
        let newest = self.store.newest().cloned();
        for Continued { subtask, restored, end_of_data, finished } in subtasks {
            self.ends.adopt(subtask, restored);
            if end_of_data {
                self.ends.end_of_data(subtask, self.next);
            }
            if finished {
                self.ends.finish(subtask, newest.as_deref());
            }
        }
    }

    /// Tells the subtasks what the former leader may not have told them: what became of the checkpoints that it has begun
    /// (`open`), and which one is complete. Every other one is given up: confirmations of it were lost.
    pub(crate) fn resume(&mut self, open: Vec<Barrier>, stopping: bool) {
        let newest = self.store.newest().cloned();
        let newest_id = newest.as_ref().map_or(CheckpointId(0), |newest| newest.id);
        let kept: Vec<CheckpointId> = self.store.iter().map(|kept| kept.checkpoint.id).collect();
        let mut lost = Vec::new();
        for barrier in open.into_iter().filter(|barrier| !kept.contains(&barrier.checkpoint)) {
            let id = barrier.checkpoint;
            tracing::info!(job = %self.job, checkpoint = %id, "checkpoint of the former JobManager is given up");
            self.push(Effect::Aborted(id));
            // A savepoint may be complete all the same, and is the user's. Older ones are none of those under way.
            if !barrier.kind.is_savepoint() && id > newest_id {
                self.lose(barrier.directory.clone());
                lost.push(barrier.directory);
            }
        }
        self.discard(lost);
        let Some(newest) = newest.filter(|_| self.inherits) else { return };
        if stopping {
            self.adopt_stop(SnapshotTaken { checkpoint: newest.id, directory: newest.directory.clone() });
        }
        self.push(Effect::Completed(newest.id));
        self.again = true;
    }
}
