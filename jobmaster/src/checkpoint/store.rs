//! The completed checkpoints that a job can be restored from.

use std::collections::VecDeque;
use std::sync::Arc;

use flumen_model::checkpoint::{CheckpointId, CompletedCheckpoint};

use super::files::Needs;

/// One that is kept.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) checkpoint: Arc<CompletedCheckpoint>,
    pub(crate) needs: Needs,
    /// Whether the job may remove it; else it is the user's.
    pub(crate) owned: bool,
    /// A file of it was found to be missing, torn or altered.
    pub(crate) damaged: bool,
}

/// Oldest first.
#[derive(Debug, Default)]
pub(crate) struct Store {
    kept: VecDeque<Kept>,
}

impl Store {
    /// Adds the newest one, and takes out those that are needed no longer: damaged ones, and all older than the
    /// `retained` newest.
    pub(crate) fn add(&mut self, newest: Kept, retained: u32) -> Vec<Kept> {
        let (mut out, kept): (Vec<_>, Vec<_>) = self.kept.drain(..).partition(|kept| kept.damaged);
        self.kept.extend(kept);
        self.kept.push_back(newest);
        while self.kept.len() > retained.max(1) as usize {
            out.extend(self.kept.pop_front());
        }
        out
    }

    /// The one to restore from (CC-5).
    pub(crate) fn newest(&self) -> Option<&Arc<CompletedCheckpoint>> {
        self.newest_kept().map(|kept| &kept.checkpoint)
    }

    /// As [`Self::newest`].
    pub(crate) fn newest_kept(&self) -> Option<&Kept> {
        self.kept.iter().rev().find(|kept| !kept.damaged)
    }

    /// Notes that one can't be restored from. False when it is not here.
    pub(crate) fn damage(&mut self, id: CheckpointId) -> bool {
        let found = self.kept.iter_mut().find(|kept| kept.checkpoint.id == id);
        found.map(|kept| kept.damaged = true).is_some()
    }

    /// Whether there are damaged ones and nothing else.
    pub(crate) fn is_lost(&self) -> bool {
        !self.kept.is_empty() && self.newest().is_none()
    }

    /// All, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Kept> {
        self.kept.iter()
    }

    /// Takes all out.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Kept> {
        self.kept.drain(..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flumen_model::checkpoint::SnapshotKind;

    fn kept(id: u64) -> Kept {
        let checkpoint = CompletedCheckpoint {
            life: None,
            id: CheckpointId(id),
            kind: SnapshotKind::Checkpoint,
            triggered_ms: 0,
            completed_ms: 0,
            directory: String::new(),
            vertices: vec![],
        };
        Kept { checkpoint: Arc::new(checkpoint), needs: Needs::default(), owned: true, damaged: false }
    }

    fn ids(kept: &[Kept]) -> Vec<u64> {
        kept.iter().map(|kept| kept.checkpoint.id.0).collect()
    }

    #[test]
    fn the_newest_are_kept_and_the_newest_undamaged_is_restored() {
        let mut store = Store::default();
        assert!(store.newest().is_none() && !store.is_lost());
        assert!(store.add(kept(1), 2).is_empty());
        assert!(store.add(kept(2), 2).is_empty());
        assert_eq!(ids(&store.add(kept(3), 2)), [1]);
        assert!(store.damage(CheckpointId(3)) && !store.damage(CheckpointId(1)));
        assert_eq!(store.newest().unwrap().id, CheckpointId(2));
        store.damage(CheckpointId(2));
        assert!(store.is_lost());
        assert_eq!(ids(&store.add(kept(4), 2)), [2, 3], "damaged ones do not count");
        assert_eq!(store.newest().unwrap().id, CheckpointId(4));
    }
}
