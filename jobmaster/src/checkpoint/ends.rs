//! Which subtasks have taken all their input, and which have finished with what snapshot.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use flumen_model::checkpoint::{CheckpointId, CompletedCheckpoint, SnapshotKind, SubtaskSnapshot};
use flumen_model::ids::SubtaskId;

use crate::event::Timestamp;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    /// With the number of the first checkpoint that is triggered afterwards.
    said: BTreeMap<SubtaskId, CheckpointId>,
    /// For subtasks that were restarted: the first checkpoint that is triggered afterwards.
    begun: BTreeMap<SubtaskId, CheckpointId>,
    /// With the last snapshot, which is part of all later checkpoints: restored from it the subtask finishes again. `None`
    /// when there is none: no checkpoint can be taken then (CC-7).
    finished: BTreeMap<SubtaskId, Option<Arc<SubtaskSnapshot>>>,
    /// Subtasks that will finish as soon as they hear of the newest completed checkpoint.
    finishing: BTreeSet<SubtaskId>,
    /// How long new checkpoints wait for them.
    hold_until: Timestamp,
}

impl Ends {
    /// A subtask has taken all its input.
    pub(crate) fn end_of_data(&mut self, subtask: SubtaskId, next: CheckpointId) {
        if !self.finished.contains_key(&subtask) {
            self.said.entry(subtask).or_insert(next);
        }
    }

    /// A subtask has finished. `newest` is the newest completed checkpoint that subtasks have heard of.
    pub(crate) fn finish(&mut self, subtask: SubtaskId, newest: Option<&CompletedCheckpoint>) {
        // Whoever says that it has taken all its input finishes only when it hears of a checkpoint that holds this. (That
        // may have been triggered before it was said here: its barrier came later.) Others end as they like.
        let said = self.said.remove(&subtask).is_some();
        self.finishing.remove(&subtask);
        let begun = self.begun.get(&subtask).copied().unwrap_or_default();
        let is_last = |c: &&CompletedCheckpoint| c.id >= begun && (said || c.kind == SnapshotKind::StopWithSavepoint);
        let snapshot = newest.filter(is_last).and_then(|checkpoint| {
            let vertex = checkpoint.vertices.iter().find(|vertex| vertex.vertex == subtask.vertex)?;
            // What was on its way out of it has arrived with its end.
            let last = vertex.subtasks.get(subtask.index as usize)?;
            Some(Arc::new(SubtaskSnapshot { operators: last.operators.clone(), in_flight: Vec::new() }))
        });
        self.finished.insert(subtask, snapshot);
    }

    /// A subtask goes on in an execution of a former leader that began with a checkpoint: older ones are not its own.
    pub(crate) fn adopt(&mut self, subtask: SubtaskId, restored: Option<CheckpointId>) {
        self.begun.extend(restored.map(|restored| (subtask, CheckpointId(restored.0 + 1))));
    }

    /// Subtasks begin anew; `next` is the number of the next checkpoint.
    pub(crate) fn renew(&mut self, subtasks: &[SubtaskId], next: CheckpointId) {
        for subtask in subtasks {
            self.begun.insert(*subtask, next);
            self.said.remove(subtask);
            self.finished.remove(subtask);
            self.finishing.remove(subtask);
        }
    }

    /// Subtasks hear of a completed checkpoint: those that had ended before it was triggered will finish, after a stop all
    /// of `subtasks`.
    pub(crate) fn completed(
        &mut self,
        checkpoint: &CompletedCheckpoint,
        subtasks: impl Iterator<Item = SubtaskId>,
        hold_until: Timestamp,
    ) {
        let stop = checkpoint.kind == SnapshotKind::StopWithSavepoint;
        let finishes = |id: &SubtaskId| {
            !self.finished.contains_key(id) && (stop || self.said.get(id).is_some_and(|since| *since <= checkpoint.id))
        };
        self.finishing = subtasks.filter(finishes).collect();
        self.hold_until = hold_until;
    }

    /// Until when new checkpoints wait; `None` when they need not.
    pub(crate) fn hold(&self, now: Timestamp) -> Option<Timestamp> {
        (!self.finishing.is_empty() && now < self.hold_until).then_some(self.hold_until)
    }

    /// The last snapshot of a subtask; the outer `None` when it has not finished.
    pub(crate) fn last(&self, subtask: SubtaskId) -> Option<Option<&Arc<SubtaskSnapshot>>> {
        self.finished.get(&subtask).map(Option::as_ref)
    }

    /// A subtask that has finished without a snapshot.
    pub(crate) fn without_snapshot(&self) -> Option<SubtaskId> {
        self.finished.iter().find(|(_, snapshot)| snapshot.is_none()).map(|(subtask, _)| *subtask)
    }

    /// If all `total` subtasks have taken all their input or have finished, and not all have finished: the first
    /// checkpoint that all of them can finish with.
    pub(crate) fn all_said(&self, total: usize) -> Option<CheckpointId> {
        (self.said.len() + self.finished.len() == total).then(|| self.said.values().max().copied()).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flumen_model::checkpoint::{InFlight, StateHandle, StateLocation, VertexSnapshot};
    use flumen_model::ids::VertexId;

    #[test]
    fn the_last_snapshot_of_a_finished_subtask_has_no_records_on_their_way() {
        let id = SubtaskId { vertex: VertexId(1), index: 0 };
        let records = StateHandle { location: StateLocation::Inline(vec![1]), length: 1, checksum: 0 };
        let last = SubtaskSnapshot {
            operators: BTreeMap::from([(flumen_model::ids::OperatorId(1), Default::default())]),
            in_flight: vec![InFlight { edge: 0, source: 0, target: 0, timed: false, records }],
        };
        let vertex = VertexSnapshot {
            vertex: id.vertex,
            name: "v".into(),
            parallelism: 1,
            max_parallelism: 1,
            operators: vec![],
            subtasks: vec![last.clone()],
            source: None,
        };
        let checkpoint = CompletedCheckpoint {
            life: None,
            id: CheckpointId(1),
            kind: SnapshotKind::Checkpoint,
            triggered_ms: 0,
            completed_ms: 0,
            directory: "/c/chk-1".into(),
            vertices: vec![vertex],
        };
        let mut ends = Ends::default();
        ends.end_of_data(id, CheckpointId(1));
        ends.finish(id, Some(&checkpoint));
        let kept = ends.last(id).flatten().unwrap();
        assert_eq!((&kept.operators, kept.in_flight.len()), (&last.operators, 0));
    }
}
