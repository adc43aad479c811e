//! The files of a snapshot: hard links, so that RocksDB may go on deleting its own.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::StateError;
use crate::snapshot::{FileSource, SnapshotFile};

use super::contents::{self, Contents};
use super::instance::{Directory, Instance, db_path, io_error};

/// What the parts of a snapshot are called that are files of sorted rows. Such a file never changes, and a name never comes
/// again, in no other instance either: `<unique name of the instance>-<number of the file>.sst`.
#[derive(Debug)]
pub(super) struct PartNames {
    instance: String,
    /// Files that came with a snapshot of an earlier instance keep their names: by file.
    inherited: BTreeMap<String, String>,
}

const ROWS: &str = ".sst";

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

/// Links to what an instance has, and what it is.
#[derive(Debug)]
pub(super) struct LinkedFiles {
    directory: Directory,
    /// In which the links are.
    parent: Arc<Directory>,
}

impl LinkedFiles {
    /// Links to what there is now.
    pub(super) fn link(instance: &Instance, number: u64, contents: &Contents) -> Result<Self, StateError> {
        let parent = Arc::clone(instance.directory());
        let directory = Directory::create(parent.path().join(format!("snapshot-{number}")))?;
        instance.link_to(&db_path(&directory))?;
        contents.write(&directory.path().join(contents::PART))?;
        Ok(Self { directory, parent })
    }

    /// The directory, as that of an instance, and what has to outlive it.
    pub(super) fn into_directory(self) -> (Directory, Arc<Directory>) {
        (self.directory, self.parent)
    }

    /// As parts.
    pub(super) fn into_parts(self, names: &PartNames, shared: bool) -> Result<FileParts, StateError> {
        let path = db_path(&self.directory);
        let failed = |what: &str| io_error(format!("{what} {}", path.display()));
        let mut files = vec![file(contents::PART.to_owned(), self.directory.path().join(contents::PART), None)?];
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
        Ok(FileParts { files, _links: self })
    }
}

fn file(name: String, path: PathBuf, shared_as: Option<String>) -> Result<SnapshotFile, StateError> {
    let length = fs::metadata(&path).map_err(io_error(format!("looking at {}", path.display())))?.len();
    Ok(SnapshotFile { name, path, length, shared_as })
}

/// The parts of a snapshot.
#[derive(Debug)]
pub(super) struct FileParts {
    files: Vec<SnapshotFile>,
    _links: LinkedFiles,
}

impl FileSource for FileParts {
    fn files(&self) -> &[SnapshotFile] {
        &self.files
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
