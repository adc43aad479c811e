//! Keeps the figures of the latest checkpoints.

use std::collections::VecDeque;

use flumen_model::checkpoint::{Barrier, CheckpointId, CompletedCheckpoint, JobLife, SnapshotTimes};
use flumen_model::failure::Failure;
use flumen_model::ids::SubtaskId;
use flumen_model::job_graph::JobGraph;

use super::statistics::{
    CheckpointCounts, CheckpointEntry, CheckpointStatus, RestoredCheckpoint, SubtaskCheckpoint, VertexCheckpoint,
};
use crate::event::Timestamp;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Tracker {
    pub(crate) counts: CheckpointCounts,
    pub(crate) latest_completed: Option<CheckpointEntry>,
    pub(crate) latest_savepoint: Option<CheckpointEntry>,
    pub(crate) latest_failed: Option<CheckpointEntry>,
    pub(crate) latest_restored: Option<RestoredCheckpoint>,
    /// Newest first.
    history: VecDeque<CheckpointEntry>,
    /// Finished ones that are kept.
    length: usize,
}

impl Tracker {
    pub(crate) fn new(length: u32) -> Self {
        Self { length: length as usize, ..Self::default() }
    }

    /// Notes what the next JobMaster has to know.
    pub(crate) fn note(&self, life: &mut JobLife) {
        let CheckpointCounts { restored, total, completed, .. } = self.counts;
        (life.restored, life.triggered, life.completed) = (restored, total, completed);
    }

    /// Goes on with the figures of a former JobMaster, as the checkpoints that it has left (oldest first) tell them. What it had
    /// under way has come to nothing.
    pub(crate) fn go_on(&mut self, left: &[CompletedCheckpoint]) {
        for checkpoint in left {
            let entry = entry_of(checkpoint);
            match checkpoint.kind.is_savepoint() {
                true => self.latest_savepoint = Some(entry.clone()),
                false => self.latest_completed = Some(entry.clone()),
            }
            self.history.push_front(entry);
        }
        self.shorten();
        let Some(life) = left.last().and_then(|newest| newest.life.as_deref()) else { return };
        let completed = life.completed + 1;
        let failed = life.triggered.saturating_sub(completed);
        self.counts =
            CheckpointCounts { restored: life.restored, total: life.triggered, in_progress: 0, completed, failed };
    }

    pub(crate) fn triggered(&mut self, barrier: &Barrier, graph: &JobGraph) {
        self.counts.total += 1;
        self.counts.in_progress += 1;
        let vertices = graph
            .vertices
            .iter()
            .map(|v| VertexCheckpoint { vertex: v.id, subtasks: vec![None; v.parallelism as usize] });
        self.history.push_front(CheckpointEntry {
            id: barrier.checkpoint,
            kind: barrier.kind,
            status: CheckpointStatus::InProgress,
            triggered: Timestamp(barrier.triggered_ms),
            latest_ack: None,
            end: None,
            directory: barrier.directory.clone(),
            discarded: false,
            state_bytes: 0,
            written_bytes: 0,
            vertices: vertices.collect(),
        });
    }

    pub(crate) fn acknowledged(
        &mut self,
        id: CheckpointId,
        subtask: SubtaskId,
        bytes: u64,
        times: SnapshotTimes,
        now: Timestamp,
    ) {
        let Some(entry) = self.entry(id) else { return };
        entry.latest_ack = Some(now);
        entry.state_bytes += bytes;
        entry.written_bytes += times.written_bytes;
        let end_to_end_ms = now.since(entry.triggered);
        let vertex = entry.vertices.iter_mut().find(|vertex| vertex.vertex == subtask.vertex);
        if let Some(place) = vertex.and_then(|vertex| vertex.subtasks.get_mut(subtask.index as usize)) {
            *place = Some(SubtaskCheckpoint { acknowledged: now, end_to_end_ms, state_bytes: bytes, times });
        }
    }

    pub(crate) fn completed(&mut self, id: CheckpointId, now: Timestamp) {
        self.counts.in_progress = self.counts.in_progress.saturating_sub(1);
        self.counts.completed += 1;
        let Some(entry) = self.entry(id) else { return };
        entry.status = CheckpointStatus::Completed;
        entry.end = Some(now);
        let entry = entry.clone();
        match entry.kind.is_savepoint() {
            true => self.latest_savepoint = Some(entry),
            false => self.latest_completed = Some(entry),
        }
        self.shorten();
    }

    pub(crate) fn failed(&mut self, id: CheckpointId, failure: &Failure, now: Timestamp) {
        self.counts.in_progress = self.counts.in_progress.saturating_sub(1);
        self.counts.failed += 1;
        let Some(entry) = self.entry(id) else { return };
        entry.status = CheckpointStatus::Failed(failure.clone());
        entry.end = Some(now);
        self.latest_failed = Some(entry.clone());
        self.shorten();
    }

    pub(crate) fn discarded(&mut self, id: CheckpointId) {
        let kept = self.history.iter_mut().chain(&mut self.latest_completed).filter(|entry| entry.id == id);
        kept.for_each(|entry| entry.discarded = true);
    }

    pub(crate) fn restored(&mut self, checkpoint: &CompletedCheckpoint, now: Timestamp) {
        self.counts.restored += 1;
        self.latest_restored = Some(RestoredCheckpoint {
            id: checkpoint.id,
            kind: checkpoint.kind,
            at: now,
            directory: checkpoint.directory.clone(),
        });
    }

    pub(crate) fn history(&self) -> Vec<CheckpointEntry> {
        self.history.iter().cloned().collect()
    }

    fn entry(&mut self, id: CheckpointId) -> Option<&mut CheckpointEntry> {
        self.history.iter_mut().find(|entry| entry.id == id)
    }

    fn shorten(&mut self) {
        let mut left = self.length;
        self.history.retain(|entry| {
            let keep = entry.status == CheckpointStatus::InProgress || left > 0;
            left -= usize::from(keep && entry.status != CheckpointStatus::InProgress);
            keep
        });
    }
}

/// What a completed checkpoint says of itself: how long its parts took is not among it.
fn entry_of(checkpoint: &CompletedCheckpoint) -> CheckpointEntry {
    let completed = Timestamp(checkpoint.completed_ms);
    let vertices = checkpoint.vertices.iter().map(|vertex| {
        let subtasks = vertex.subtasks.iter().map(|snapshot| {
            Some(SubtaskCheckpoint {
                acknowledged: completed,
                end_to_end_ms: completed.since(Timestamp(checkpoint.triggered_ms)),
                state_bytes: snapshot.bytes(),
                times: SnapshotTimes::default(),
            })
        });
        VertexCheckpoint { vertex: vertex.vertex, subtasks: subtasks.collect() }
    });
    CheckpointEntry {
        id: checkpoint.id,
        kind: checkpoint.kind,
        status: CheckpointStatus::Completed,
        triggered: Timestamp(checkpoint.triggered_ms),
        latest_ack: Some(completed),
        end: Some(completed),
        directory: checkpoint.directory.clone(),
        discarded: false,
        state_bytes: checkpoint.handles().map(|handle| handle.length).sum(),
        written_bytes: 0,
        vertices: vertices.collect(),
    }
}
