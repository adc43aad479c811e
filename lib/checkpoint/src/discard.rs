//! Removing checkpoints, savepoints and shared files.

use std::collections::BTreeSet;
use std::time::Duration;

use flumen_fs::{FileSystem, FileSystems, FsError, FsPath};
use flumen_model::checkpoint::{CompletedCheckpoint, StateLocation};
use futures::future::ready;
use futures::{FutureExt as _, StreamExt as _, stream};
use tracing::warn;

use crate::{CheckpointError, layout, load};

/// Paths that are removed at the same time.
const PARALLEL: usize = 8;
/// How often a removal is tried. Each try is repeated within the file system's own budget, so a second is for what took longer.
const TRIES: u32 = 3;
/// Time between two tries.
const PAUSE: Duration = Duration::from_millis(500);

/// A path that could not be removed.
#[derive(Debug)]
pub struct Undeleted {
    /// The path.
    pub path: String,
    /// Why.
    pub error: FsError,
}

/// Removes files, and directories with everything in them. What is gone already is no error. What can't be removed is logged
/// and returned: nothing depends on it but space.
pub async fn discard(systems: &FileSystems, paths: impl IntoIterator<Item = String>) -> Vec<Undeleted> {
    let removals = paths.into_iter().map(|path| remove_or_tell(systems.clone(), path).boxed());
    let removals: Vec<_> = removals.collect();
    stream::iter(removals).buffer_unordered(PARALLEL).filter_map(ready).collect().await
}

async fn remove_or_tell(systems: FileSystems, path: String) -> Option<Undeleted> {
    let error = remove(&systems, &path).await.err()?;
    warn!(path, %error, "a file or directory of a checkpoint that is not needed any more stays behind");
    Some(Undeleted { path, error })
}

async fn remove(systems: &FileSystems, text: &str) -> Result<(), FsError> {
    let path: FsPath = text.parse()?;
    if path.parent().is_none_or(|parent| parent.parent().is_none()) {
        let reason = "nothing that stands at the root is a checkpoint's";
        return Err(FsError::BadPath { path: text.to_owned(), reason });
    }
    let fs = systems.get(&path)?;
    // Without its metadata a checkpoint is none: nobody finds one that is half removed.
    patiently(&*fs, &path.join(layout::METADATA), false).await?;
    patiently(&*fs, &path, true).await
}

/// Tries a removal some times while the file system can't serve it.
async fn patiently(fs: &dyn FileSystem, path: &FsPath, recursive: bool) -> Result<(), FsError> {
    let mut tries = 1;
    loop {
        match fs.delete(path, recursive).await {
            Ok(_) | Err(FsError::NotADirectory { .. }) => return Ok(()),
            Err(error) if error.is_retryable() && tries < TRIES => tries += 1,
            Err(error) => return Err(error),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Removes a savepoint, or a checkpoint that was retained: the files that it names, its metadata, and its directory if nothing
/// else is in it. Shared files that a checkpoint beside it refers to are left.
///
/// It can be repeated after it failed: the metadata goes last.
///
/// # Errors
/// [`CheckpointError::Missing`], [`CheckpointError::Damaged`] or [`CheckpointError::Version`] when there is no readable
/// metadata file at `path`: nothing is removed then; those of the file system.
pub async fn dispose_savepoint(systems: &FileSystems, path: &FsPath) -> Result<(), CheckpointError> {
    let checkpoint = load(systems, path).await?.checkpoint;
    let directory: FsPath = checkpoint.directory.parse()?;
    let (own, shared): (BTreeSet<_>, BTreeSet<_>) = files(&checkpoint).partition(|(_, shared)| !shared);
    let mut doomed: BTreeSet<String> = own.into_iter().map(|(path, _)| path).collect();
    if !shared.is_empty() {
        let kept = needed_beside(systems, &directory).await?;
        doomed.extend(shared.into_iter().map(|(path, _)| path).filter(|path| !kept.contains(path)));
    }
    let removals: Vec<_> = doomed.into_iter().map(|path| delete_file(systems.clone(), path).boxed()).collect();
    let results: Vec<_> = stream::iter(removals).buffer_unordered(PARALLEL).collect().await;
    for result in results {
        result?;
    }
    let fs = systems.get(&directory)?;
    fs.delete(&directory.join(layout::METADATA), false).await?;
    match fs.delete(&directory, false).await {
        Ok(_) => Ok(()),
        Err(FsError::NotEmpty { .. }) => {
            warn!(%directory, "the directory of the savepoint stays: there is something else in it");
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

async fn delete_file(systems: FileSystems, path: String) -> Result<bool, FsError> {
    let file: FsPath = path.parse()?;
    systems.get(&file)?.delete(&file, false).await
}

/// Files that other checkpoints in the same directory refer to.
async fn needed_beside(systems: &FileSystems, directory: &FsPath) -> Result<BTreeSet<String>, CheckpointError> {
    let Some(parent) = directory.parent() else { return Ok(BTreeSet::new()) };
    let mut needed = BTreeSet::new();
    for entry in systems.get(&parent)?.list(&parent).await? {
        if !entry.is_dir || entry.path == *directory {
            continue;
        }
        match load(systems, &entry.path).await {
            Ok(beside) => needed.extend(files(&beside.checkpoint).map(|(path, _)| path)),
            Err(CheckpointError::Missing { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(needed)
}

/// Every file that a checkpoint refers to, and whether it is shared.
fn files(checkpoint: &CompletedCheckpoint) -> impl Iterator<Item = (String, bool)> {
    checkpoint.handles().filter_map(|handle| match &handle.location {
        StateLocation::File { path, shared, .. } => Some((path.clone(), *shared)),
        StateLocation::Inline(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store;
    use crate::testing::{Scratch, example, origin, put_example};

    async fn complete(scratch: &Scratch, directory: &str) {
        put_example(scratch, directory).await;
        let checkpoint = example(&scratch.path(directory).to_string());
        store(&scratch.systems, origin(), &checkpoint).await.unwrap();
    }

    #[tokio::test]
    async fn files_and_directories_are_removed_once_and_once_more() {
        let scratch = Scratch::new();
        complete(&scratch, "job/chk-1").await;
        let paths = || ["job/chk-1", "job/shared/x"].map(|name| scratch.path(name).to_string());
        assert!(discard(&scratch.systems, paths()).await.is_empty());
        assert_eq!(scratch.names("job").await, ["shared"]);
        assert_eq!(scratch.names("job/shared").await, Vec::<String>::new());
        assert!(discard(&scratch.systems, paths()).await.is_empty());
    }

    #[tokio::test]
    async fn what_cannot_be_removed_is_named_and_the_rest_is_removed() {
        let scratch = Scratch::new();
        complete(&scratch, "job/chk-1").await;
        let good = scratch.path("job/chk-1").to_string();
        let paths = ["nfs://host/x/y".to_owned(), "file:///tmp".to_owned(), "x".to_owned(), good];
        let mut undeleted: Vec<_> = discard(&scratch.systems, paths).await.into_iter().map(|u| u.path).collect();
        undeleted.sort();
        assert_eq!(undeleted, ["file:///tmp", "nfs://host/x/y", "x"]);
        assert_eq!(scratch.names("job").await, ["shared"]);
    }

    #[tokio::test]
    async fn a_savepoint_is_disposed_of_with_its_files_only() {
        let scratch = Scratch::new();
        complete(&scratch, "a/savepoint-1").await;
        scratch.put("a/savepoint-1/notes.txt", b"mine").await;
        dispose_savepoint(&scratch.systems, &scratch.path("a/savepoint-1/_metadata")).await.unwrap();
        assert_eq!(scratch.names("a/savepoint-1").await, ["notes.txt"]);
        complete(&scratch, "a/savepoint-2").await;
        dispose_savepoint(&scratch.systems, &scratch.path("a/savepoint-2")).await.unwrap();
        assert_eq!(scratch.names("a").await, ["savepoint-1", "shared"]);
    }

    #[tokio::test]
    async fn a_directory_without_readable_metadata_is_not_touched() {
        let scratch = Scratch::new();
        put_example(&scratch, "a/b").await;
        let before = scratch.names("a/b").await;
        let error = dispose_savepoint(&scratch.systems, &scratch.path("a/b")).await.unwrap_err();
        assert!(matches!(error, CheckpointError::Missing { .. }), "{error}");
        assert_eq!(scratch.names("a/b").await, before);
        scratch.put("a/b/_metadata", b"something else").await;
        let error = dispose_savepoint(&scratch.systems, &scratch.path("a/b")).await.unwrap_err();
        assert!(matches!(error, CheckpointError::Damaged { .. }), "{error}");
        assert_eq!(scratch.names("a/b").await.len(), before.len() + 1);
    }

    #[tokio::test]
    async fn shared_files_stay_while_a_checkpoint_beside_needs_them() {
        let scratch = Scratch::new();
        complete(&scratch, "job/chk-1").await;
        complete(&scratch, "job/chk-2").await;
        dispose_savepoint(&scratch.systems, &scratch.path("job/chk-1")).await.unwrap();
        assert_eq!(scratch.names("job/shared").await, ["x"]);
        dispose_savepoint(&scratch.systems, &scratch.path("job/chk-2")).await.unwrap();
        assert_eq!(scratch.names("job/shared").await, Vec::<String>::new());
    }
}
