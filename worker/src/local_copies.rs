//! Local recovery: copies of the newest checkpoint's state on this host's own disks.
//!
//! A copy is named by the content behind a handle (checksum and length), so a restore needs no bookkeeping: whatever process
//! of the job runs here next finds what it is looking for, or reads it from the checkpoint. Copies live as long as the
//! directory that the TaskExecutor gave the job, and are removed when no complete checkpoint of their subtask has them, or when
//! the subtask fails by something outside of the program, which may be what they are on.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flumen_model::checkpoint::StateHandle;
use flumen_model::ids::SubtaskId;

const DIRECTORY: &str = "local-state";

/// The copies of one subtask, by content.
#[derive(Debug, Clone)]
pub(crate) struct LocalCopies {
    root: Arc<Path>,
    own: Arc<Path>,
}

/// A copy that is being written. Dropped unfinished it is removed.
pub(crate) struct LocalCopy {
    file: File,
    path: PathBuf,
    finished: bool,
}

fn name(handle: &StateHandle) -> String {
    format!("{:016x}-{}", handle.checksum, handle.length)
}

impl LocalCopies {
    /// The copies of a subtask under a directory of the job.
    pub(crate) fn new(directory: &Path, subtask: SubtaskId) -> Self {
        let root = directory.join(DIRECTORY);
        let own = root.join(subtask.to_string().replace('#', "-"));
        Self { root: root.into(), own: own.into() }
    }

    /// The copy of what is behind a handle, made by any subtask of the job here.
    pub(crate) fn find(&self, handle: &StateHandle) -> Option<PathBuf> {
        let name = name(handle);
        let whole = |path: &PathBuf| path.metadata().is_ok_and(|found| found.is_file() && found.len() == handle.length);
        let own = self.own.join(&name);
        if whole(&own) {
            return Some(own);
        }
        // After a restart with another placement it is another subtask's.
        let others = self.root.read_dir().ok()?.filter_map(Result::ok).map(|entry| entry.path().join(&name));
        others.into_iter().find(whole)
    }

    /// Begins a copy.
    ///
    /// # Errors
    /// Those of the disk.
    pub(crate) fn create(&self) -> io::Result<LocalCopy> {
        std::fs::create_dir_all(&self.own)?;
        let path = self.own.join(format!("{}.tmp", uuid::Uuid::new_v4()));
        Ok(LocalCopy { file: File::create_new(&path)?, path, finished: false })
    }

    /// Keeps a file that will not change any more, without copying it.
    ///
    /// # Errors
    /// Those of the disk; the file may lie on another one.
    pub(crate) fn link(&self, file: &Path, handle: &StateHandle) -> io::Result<()> {
        std::fs::create_dir_all(&self.own)?;
        match std::fs::hard_link(file, self.own.join(name(handle))) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            result => result,
        }
    }

    /// Removes the copies of these handles, because something that was read from them may be damaged; whether there were any.
    pub(crate) fn forget<'a>(&self, handles: impl IntoIterator<Item = &'a StateHandle>) -> bool {
        let mut any = false;
        for handle in handles {
            while let Some(path) = self.find(handle) {
                if let Err(error) = std::fs::remove_file(&path) {
                    tracing::warn!(path = %path.display(), %error, "a damaged local copy can't be removed");
                    break;
                }
                any = true;
            }
        }
        any
    }

    /// Removes all copies but those of these handles.
    pub(crate) fn retain<'a>(&self, handles: impl IntoIterator<Item = &'a StateHandle>) {
        let keep: HashSet<String> = handles.into_iter().map(name).collect();
        let Ok(entries) = self.own.read_dir() else { return };
        for entry in entries.filter_map(Result::ok) {
            let kept = entry.file_name().to_str().is_some_and(|name| keep.contains(name) || name.ends_with(".tmp"));
            if !kept && let Err(error) = std::fs::remove_file(entry.path()) {
                tracing::debug!(path = %entry.path().display(), %error, "a local copy of old state stays behind");
            }
        }
    }
}

impl LocalCopy {
    /// Appends bytes.
    ///
    /// # Errors
    /// Those of the disk.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Gives the copy its name.
    ///
    /// # Errors
    /// Those of the disk.
    pub(crate) fn finish(mut self, handle: &StateHandle) -> io::Result<()> {
        let directory = self.path.parent().map_or_else(PathBuf::new, Path::to_path_buf);
        std::fs::rename(&self.path, directory.join(name(handle)))?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for LocalCopy {
    fn drop(&mut self) {
        if !self.finished {
            // It is of no use to anybody, and goes with the directory at the latest.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use flumen_model::checkpoint::StateLocation;
    use flumen_model::ids::VertexId;

    use super::*;

    fn handle(checksum: u64, length: u64) -> StateHandle {
        StateHandle { location: StateLocation::Inline(Vec::new()), length, checksum }
    }

    #[test]
    fn a_copy_is_found_by_its_content_also_by_another_subtask_until_it_is_found_damaged() {
        let directory = tempfile::tempdir().unwrap();
        let copies = |index| LocalCopies::new(directory.path(), SubtaskId { vertex: VertexId(1), index });
        let (first, second) = (copies(0), copies(1));
        let mut copy = first.create().unwrap();
        copy.write(b"state").unwrap();
        copy.finish(&handle(7, 5)).unwrap();
        assert_eq!(std::fs::read(first.find(&handle(7, 5)).unwrap()).unwrap(), b"state");
        assert!(second.find(&handle(7, 5)).is_some());
        assert!(first.find(&handle(8, 5)).is_none() && first.find(&handle(7, 4)).is_none());
        second.retain([]);
        first.retain([&handle(7, 5)]);
        assert!(first.find(&handle(7, 5)).is_some(), "it is still needed");
        assert!(!second.forget([&handle(8, 5)]));
        assert!(first.find(&handle(7, 5)).is_some(), "another one was damaged");
        assert!(second.forget([&handle(7, 5)]));
        assert!(first.find(&handle(7, 5)).is_none(), "it is damaged, whoever made it");
    }

    #[test]
    fn a_copy_goes_when_it_is_no_longer_needed() {
        let directory = tempfile::tempdir().unwrap();
        let copies = LocalCopies::new(directory.path(), SubtaskId { vertex: VertexId(1), index: 0 });
        let mut copy = copies.create().unwrap();
        copy.write(b"state").unwrap();
        copy.finish(&handle(7, 5)).unwrap();
        copies.retain([]);
        assert!(copies.find(&handle(7, 5)).is_none());
    }

    #[test]
    fn what_was_not_finished_is_not_found_and_does_not_stay() {
        let directory = tempfile::tempdir().unwrap();
        let copies = LocalCopies::new(directory.path(), SubtaskId { vertex: VertexId(1), index: 0 });
        let mut copy = copies.create().unwrap();
        copy.write(b"state").unwrap();
        drop(copy);
        assert_eq!(copies.own.read_dir().unwrap().count(), 0);
    }

    #[test]
    fn a_torn_copy_is_not_taken() {
        let directory = tempfile::tempdir().unwrap();
        let copies = LocalCopies::new(directory.path(), SubtaskId { vertex: VertexId(1), index: 0 });
        let mut copy = copies.create().unwrap();
        copy.write(b"sta").unwrap();
        copy.finish(&handle(7, 5)).unwrap();
        assert!(copies.find(&handle(7, 5)).is_none());
    }
}
