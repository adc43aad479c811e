//! The files of a snapshot: hard links, so that RocksDB may go on deleting its own.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use crate::error::StateError;
use crate::snapshot::{FileSource, SnapshotFile};

use super::contents;
use super::instance::{db_path, io_error};
use super::link::{Link, Links};

/// What the parts of a snapshot are called that are files of sorted rows. Such a file never changes, and a name never comes
/// again, in no other instance either: `<unique name of the instance>-<number of the file>.sst`.
#[derive(Debug)]
pub(super) struct PartNames {
    instance: String,
    /// Files that came with a snapshot of an earlier instance keep their names: by file.
    inherited: BTreeMap<String, String>,
}

/// How files of sorted rows end.
pub(super) const ROWS: &str = ".sst";

impl PartNames {
    pub(super) fn new(instance: String) -> Self {
        Self { instance, inherited: BTreeMap::new() }
    }

    /// The file that the part of an earlier snapshot is to be.
    pub(super) fn inherit(&mut self, part: &str) -> String {
        let Some((_, file)) = part.rsplit_once('-').filter(|_| part.ends_with(ROWS)) else { return part.to_owned() };
        self.inherited.insert(file.to_owned(), part.to_owned());
        file.to_owned()
    }

    fn part(&self, file: &str) -> String {
        self.inherited.get(file).cloned().unwrap_or_else(|| format!("{}-{file}", self.instance))
    }
}

/// Begins to make the files of a snapshot.
pub(super) fn begin(link: Link, names: Arc<PartNames>, shared: bool) -> Result<PendingFiles, StateError> {
    let made = move |link: Link| link.make().and_then(|links| LinkedFiles::of(links, &names, shared));
    let maker = link.in_thread("snapshot", made)?;
    Ok(PendingFiles { maker: Some(maker), linked: None })
}

/// The parts of a snapshot.
#[derive(Debug)]
pub(super) struct LinkedFiles {
    files: Vec<SnapshotFile>,
    _links: Links,
}

impl LinkedFiles {
    fn of(links: Links, names: &PartNames, shared: bool) -> Result<Self, StateError> {
        let path = db_path(&links.directory);
        let failed = |what: &str| io_error(format!("{what} {}", path.display()));
        let mut files = vec![file(contents::PART.to_owned(), links.directory.path().join(contents::PART), None)?];
        for entry in fs::read_dir(&path).map_err(failed("listing"))? {
            let entry = entry.map_err(failed("listing"))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with(ROWS) {
                let part = names.part(&name);
                files.push(file(part.clone(), entry.path(), shared.then_some(part))?);
            } else if name == "CURRENT" || name.starts_with("MANIFEST-") {
                files.push(file(name, entry.path(), None)?);
            }
        }
        Ok(Self { files, _links: links })
    }
}

fn file(name: String, path: PathBuf, shared_as: Option<String>) -> Result<SnapshotFile, StateError> {
    let length = fs::metadata(&path).map_err(io_error(format!("looking at {}", path.display())))?.len();
    Ok(SnapshotFile { name, path, length, shared_as })
}

/// The parts of a snapshot, whose files may still have to be made.
#[derive(Debug)]
pub(super) struct PendingFiles {
    /// The thread that makes them, until they were asked for.
    maker: Option<JoinHandle<Result<LinkedFiles, StateError>>>,
    linked: Option<LinkedFiles>,
}

impl Drop for PendingFiles {
    fn drop(&mut self) {
        if let Some(maker) = self.maker.take() {
            // Nobody wants the files: they go.
            let _ = maker.join();
        }
    }
}

impl FileSource for PendingFiles {
    fn files(&mut self) -> Result<&[SnapshotFile], StateError> {
        if let Some(maker) = self.maker.take() {
            let panicked = |_| StateError::misuse("the thread that made the files of a snapshot panicked");
            self.linked = Some(maker.join().map_err(panicked)??);
        }
        let gone = || StateError::misuse("the files of a snapshot that failed were asked for again");
        self.linked.as_ref().map(|linked| &*linked.files).ok_or_else(gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_keep_the_name_that_they_had_in_an_earlier_snapshot() {
        let mut names = PartNames::new("new".to_owned());
        assert_eq!(names.inherit("old-000012.sst"), "000012.sst");
        assert_eq!(names.inherit("MANIFEST-000005"), "MANIFEST-000005");
        assert_eq!(names.part("000012.sst"), "old-000012.sst");
        assert_eq!(names.part("000013.sst"), "new-000013.sst");
    }
}
