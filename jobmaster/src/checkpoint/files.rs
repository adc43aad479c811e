//! Which files checkpoints need, and which may be removed.

use std::collections::{BTreeMap, BTreeSet};

use flumen_model::checkpoint::{CheckpointId, CompletedCheckpoint, StateHandle, StateLocation, SubtaskSnapshot};

/// Name of the metadata file in the directory of a checkpoint.
const METADATA: &str = "_metadata";
/// How the names of the directories of checkpoints begin.
const CHECKPOINT: &str = "chk-";

/// What one checkpoint needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    /// Its own directory first; others hold snapshots of subtasks that had finished before.
    directories: Vec<String>,
    shared: Vec<String>,
}

impl Needs {
    /// Whether there is anything outside of its own directory.
    pub(crate) fn is_shared(&self) -> bool {
        self.directories.len() > 1 || !self.shared.is_empty()
    }
}

/// Counts for each file and directory the checkpoints that need it, complete or not.
///
/// Files of one checkpoint alone are removed with its directory, once nobody needs anything in it. Shared files that nobody
/// needs any more are condemned first: a subtask that has not yet heard of the newest checkpoint may be about to refer to
/// one. They go when a checkpoint that was triggered later has completed without them, and none that was triggered earlier
/// is pending (CC-4).
#[derive(Debug, Default)]
pub(crate) struct Files {
    directories: BTreeMap<String, u32>,
    shared: BTreeMap<String, u32>,
    /// With the number of the first checkpoint that was triggered after they were condemned.
    condemned: BTreeMap<String, CheckpointId>,
    /// Not the job's, or part of a savepoint.
    pinned: BTreeSet<String>,
}

impl Files {
    /// A checkpoint begins: it needs its directory.
    pub(crate) fn begin(&mut self, directory: &str) -> Needs {
        let mut needs = Needs::default();
        self.need_directory(&mut needs, directory);
        needs
    }

    /// A checkpoint needs what a snapshot refers to.
    pub(crate) fn need(&mut self, needs: &mut Needs, snapshot: &SubtaskSnapshot) {
        for (path, shared) in snapshot.handles().filter_map(file) {
            if shared {
                self.condemned.remove(path);
                *self.shared.entry(path.to_owned()).or_default() += 1;
                needs.shared.push(path.to_owned());
            } else if let Some(home) = self.home(path).map(str::to_owned) {
                self.need_directory(needs, &home);
            }
        }
    }

    /// What a checkpoint of a former life needs.
    pub(crate) fn adopt(&mut self, checkpoint: &CompletedCheckpoint) -> Needs {
        let mut needs = self.begin(&checkpoint.directory);
        for (path, _) in checkpoint.handles().filter_map(file).filter(|(_, shared)| !shared) {
            let directory = path.rsplit_once('/').map(|(directory, _)| directory);
            let of_a_checkpoint =
                |directory: &&str| directory.rsplit_once('/').is_some_and(|(_, name)| name.starts_with(CHECKPOINT));
            if let Some(directory) = directory.filter(of_a_checkpoint) {
                self.need_directory(&mut needs, directory);
            }
        }
        for snapshot in checkpoint.vertices.iter().flat_map(|vertex| &vertex.subtasks) {
            self.need(&mut needs, snapshot);
        }
        needs
    }

    /// Nothing of this is ever removed.
    pub(crate) fn pin(&mut self, needs: &Needs) {
        self.pinned.extend(needs.directories.iter().chain(&needs.shared).cloned());
    }

    /// A checkpoint is not needed any more. Gives what can be removed at once; `next` is the number of the next one.
    pub(crate) fn release(&mut self, needs: Needs, next: CheckpointId) -> Vec<String> {
        let mut removed = Vec::new();
        for (position, directory) in needs.directories.into_iter().enumerate() {
            let gone = count_down(&mut self.directories, &directory);
            if self.pinned.contains(&directory) {
                continue;
            }
            match (gone, position) {
                (true, _) => removed.push(directory),
                // What others need in it is left, but it is no checkpoint any more.
                (false, 0) => removed.push(format!("{directory}/{METADATA}")),
                (false, _) => {}
            }
        }
        for path in needs.shared {
            if count_down(&mut self.shared, &path) {
                self.condemn(path, next);
            }
        }
        removed
    }

    /// A snapshot came for a checkpoint that was given up. Gives what can be removed at once: files of `lost`, the
    /// directories of such checkpoints.
    pub(crate) fn refuse(&mut self, snapshot: &SubtaskSnapshot, lost: &[String], next: CheckpointId) -> Vec<String> {
        let mut removed = Vec::new();
        for (path, shared) in snapshot.handles().filter_map(file) {
            if shared {
                if !self.shared.contains_key(path) {
                    self.condemn(path.to_owned(), next);
                }
            } else if self.home(path).is_none() && lost.iter().any(|directory| is_within(path, directory)) {
                removed.push(path.to_owned());
            }
        }
        removed.dedup();
        removed
    }

    /// A checkpoint has completed: gives the shared files that can be removed now. `oldest` is the first that is pending.
    pub(crate) fn sweep(&mut self, completed: CheckpointId, oldest: Option<CheckpointId>) -> Vec<String> {
        let safe = |since: &CheckpointId| *since <= completed && oldest.is_none_or(|oldest| oldest >= *since);
        let (gone, kept) = std::mem::take(&mut self.condemned).into_iter().partition(|(_, since)| safe(since));
        self.condemned = kept;
        let gone: BTreeMap<String, CheckpointId> = gone;
        gone.into_keys().collect()
    }

    /// The job is over: gives all that is condemned.
    pub(crate) fn clear(&mut self) -> Vec<String> {
        std::mem::take(&mut self.condemned).into_keys().collect()
    }

    /// Whether something within a directory must not be removed.
    pub(crate) fn is_pinned_within(&self, directory: &str) -> bool {
        self.pinned.iter().any(|path| path == directory || is_within(path, directory))
    }

    fn need_directory(&mut self, needs: &mut Needs, directory: &str) {
        if !needs.directories.iter().any(|known| known == directory) {
            needs.directories.push(directory.to_owned());
            *self.directories.entry(directory.to_owned()).or_default() += 1;
        }
    }

    /// The directory of a checkpoint in which a file lies.
    fn home(&self, path: &str) -> Option<&str> {
        let mut rest = path;
        while let Some((directory, _)) = rest.rsplit_once('/') {
            if let Some((known, _)) = self.directories.get_key_value(directory) {
                return Some(known);
            }
            rest = directory;
        }
        None
    }

    fn condemn(&mut self, path: String, next: CheckpointId) {
        if !self.pinned.contains(&path) {
            self.condemned.insert(path, next);
        }
    }
}

fn is_within(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'))
}

fn file(handle: &StateHandle) -> Option<(&str, bool)> {
    match &handle.location {
        StateLocation::File { path, shared, .. } => Some((path, *shared)),
        StateLocation::Inline(_) => None,
    }
}

/// True when it was the last.
fn count_down(counts: &mut BTreeMap<String, u32>, key: &str) -> bool {
    let Some(count) = counts.get_mut(key) else { return false };
    *count -= 1;
    let gone = *count == 0;
    if gone {
        counts.remove(key);
    }
    gone
}

#[cfg(test)]
mod tests {
    use super::*;
    use flumen_model::checkpoint::{KeyGroupRange, KeyedFormat, KeyedState, OperatorSnapshot};
    use flumen_model::ids::OperatorId;

    /// Files whose path contains `shared` are shared.
    fn snapshot(paths: &[&str]) -> SubtaskSnapshot {
        let handle = |path: &&str| {
            let location =
                StateLocation::File { path: (*path).to_owned(), offset: 0, shared: path.contains("/shared/") };
            ((*path).to_owned(), StateHandle { location, length: 1, checksum: 0 })
        };
        let keyed = KeyedState {
            format: KeyedFormat::RocksDb,
            groups: KeyGroupRange { start: 0, end: 1 },
            parts: paths.iter().map(handle).collect(),
        };
        let operator = OperatorSnapshot { keyed: vec![keyed], lists: BTreeMap::new() };
        SubtaskSnapshot { operators: BTreeMap::from([(OperatorId(1), operator)]), in_flight: vec![] }
    }

    fn checkpoint(files: &mut Files, number: u32, paths: &[&str]) -> Needs {
        let mut needs = files.begin(&format!("/c/chk-{number}"));
        files.need(&mut needs, &snapshot(paths));
        needs
    }

    const fn id(number: u64) -> CheckpointId {
        CheckpointId(number)
    }

    #[test]
    fn a_directory_goes_with_its_checkpoint_and_a_shared_file_with_the_last_that_needs_it() {
        let mut files = Files::default();
        let first = checkpoint(&mut files, 1, &["/c/chk-1/x", "/c/shared/a", "/c/shared/b"]);
        let second = checkpoint(&mut files, 2, &["/c/chk-2/x", "/c/shared/b"]);
        assert_eq!(files.release(first, id(3)), ["/c/chk-1"]);
        assert!(files.sweep(id(2), None).is_empty(), "2 was triggered before a was condemned");
        let third = checkpoint(&mut files, 3, &["/c/shared/b"]);
        assert_eq!(files.release(second, id(4)), ["/c/chk-2"]);
        assert_eq!(files.sweep(id(3), None), ["/c/shared/a"]);
        files.release(third, id(4));
        assert_eq!(files.sweep(id(4), None), ["/c/shared/b"]);
    }

    #[test]
    fn a_condemned_file_that_a_late_confirmation_refers_to_stays() {
        let mut files = Files::default();
        let first = checkpoint(&mut files, 1, &["/c/shared/a"]);
        let mut pending = files.begin("/c/chk-3");
        files.release(first, id(4));
        assert!(files.sweep(id(4), Some(id(3))).is_empty(), "3 may still refer to it");
        files.need(&mut pending, &snapshot(&["/c/shared/a"]));
        assert!(files.sweep(id(4), None).is_empty());
    }

    #[test]
    fn the_last_snapshot_of_a_finished_subtask_keeps_the_directory_but_not_the_checkpoint() {
        let mut files = Files::default();
        let first = checkpoint(&mut files, 1, &["/c/chk-1/x"]);
        let second = checkpoint(&mut files, 2, &["/c/chk-1/x", "/c/chk-2/y"]);
        assert_eq!(files.release(first, id(3)), ["/c/chk-1/_metadata"]);
        assert_eq!(files.release(second, id(3)), ["/c/chk-2", "/c/chk-1"]);
    }

    #[test]
    fn what_is_pinned_is_never_removed() {
        let mut files = Files::default();
        let first = checkpoint(&mut files, 1, &["/c/chk-1/x", "/c/shared/a"]);
        let savepoint = {
            let mut needs = files.begin("/s/savepoint-1");
            files.need(&mut needs, &snapshot(&["/c/chk-1/x", "/c/shared/a"]));
            needs
        };
        files.pin(&savepoint);
        assert!(files.release(first, id(3)).is_empty());
        assert!(files.release(savepoint, id(3)).is_empty());
        assert!(files.sweep(id(9), None).is_empty());
        assert!(
            files.is_pinned_within("/c") && files.is_pinned_within("/s/savepoint-1") && !files.is_pinned_within("/d")
        );
    }

    #[test]
    fn what_comes_too_late_is_removed_unless_somebody_needs_it() {
        let mut files = Files::default();
        let kept = checkpoint(&mut files, 2, &["/c/chk-2/x", "/c/shared/a"]);
        let late = snapshot(&["/c/chk-1/x", "/c/shared/a", "/c/shared/b", "/elsewhere/x"]);
        assert_eq!(files.refuse(&late, &["/c/chk-1".to_owned()], id(3)), ["/c/chk-1/x"]);
        assert_eq!(files.sweep(id(3), None), ["/c/shared/b"]);
        assert!(files.refuse(&snapshot(&["/c/chk-2/x"]), &["/c/chk-2".to_owned()], id(3)).is_empty());
        assert_eq!(files.release(kept, id(3)), ["/c/chk-2"]);
    }

    #[test]
    fn a_checkpoint_of_a_former_life_brings_what_it_needs() {
        let mut files = Files::default();
        let vertex = flumen_model::checkpoint::VertexSnapshot {
            vertex: flumen_model::ids::VertexId(1),
            name: "v".into(),
            parallelism: 1,
            max_parallelism: 128,
            operators: vec![],
            subtasks: vec![snapshot(&["/o/chk-4/x", "/o/chk-2/y", "/o/misc/z", "/o/shared/a"])],
            source: None,
        };
        let former = CompletedCheckpoint {
            life: None,
            id: id(4),
            kind: flumen_model::checkpoint::SnapshotKind::Checkpoint,
            triggered_ms: 0,
            completed_ms: 0,
            directory: "/o/chk-4".into(),
            vertices: vec![vertex],
        };
        let needs = files.adopt(&former);
        assert_eq!(files.release(needs, id(5)), ["/o/chk-4", "/o/chk-2"]);
        assert_eq!(files.sweep(id(5), None), ["/o/shared/a"]);
    }
}
