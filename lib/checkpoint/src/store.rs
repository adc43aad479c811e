//! Completing a checkpoint, and reading it back.

use bytes::Bytes;
use flumen_fs::{CreateOptions, FileSystem, FileSystems, FsError, FsPath};
use flumen_model::checkpoint::CompletedCheckpoint;
use tracing::{debug, warn};

use crate::format::{Origin, decode, encode};
use crate::handles::{absolute, relative};
use crate::{CheckpointError, layout};

/// The longest metadata file that is read: far above what inline state of thousands of subtasks takes.
const METADATA_MAX: usize = 1 << 30;
/// How often the rename is tried while its answers are lost. Each try is repeated within the file system's own budget.
const RENAMES: u32 = 3;

/// A checkpoint or savepoint as found in its metadata file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The checkpoint; its directory and paths are full and name where it was found.
    pub checkpoint: CompletedCheckpoint,
    /// Who completed it.
    pub origin: Origin,
}

/// Completes a checkpoint in its directory: from the moment that its metadata file has its name, it counts (CP-1).
///
/// Repeating it after a crash or a lost answer does no harm. Returns the bytes of the metadata file.
///
/// # Errors
/// [`CheckpointError::AlreadyCompleted`] when another leader has completed one there; those of the file system, after which
/// it may be complete all the same (CP-3).
pub async fn store(
    systems: &FileSystems,
    origin: Origin,
    checkpoint: &CompletedCheckpoint,
) -> Result<u64, CheckpointError> {
    let directory: FsPath = checkpoint.directory.parse()?;
    let fs = systems.get(&directory)?;
    let content = Bytes::from(encode(origin, &relative(checkpoint)?));
    let metadata = directory.join(layout::METADATA);
    let unique = uuid::Uuid::new_v4().simple();
    let temporary = directory.join(format!(".{}.{unique}.tmp", layout::METADATA));
    fs.write_fully(&temporary, content.clone(), &CreateOptions::default()).await?;
    let renamed = publish(&*fs, &temporary, &metadata, &content).await;
    if renamed.is_err() {
        // Left behind, it would be no more than a file in a directory without metadata.
        if let Err(error) = fs.delete(&temporary, false).await {
            debug!(path = %temporary, %error, "a temporary file stays behind");
        }
    }
    renamed.map(|()| content.len() as u64)
}

async fn publish(
    fs: &dyn FileSystem,
    temporary: &FsPath,
    metadata: &FsPath,
    content: &Bytes,
) -> Result<(), CheckpointError> {
    let mut tries = 1;
    loop {
        let Err(error) = fs.rename(temporary, metadata, false).await else { return Ok(()) };
        // Whatever the answer, what stands there tells whether the rename took place.
        match fs.read_fully(metadata, METADATA_MAX).await {
            Ok(found) if found == *content => {
                if fs.delete(temporary, false).await.is_ok_and(|left| left) {
                    warn!(path = %metadata, "the same metadata was there already");
                }
                return Ok(());
            }
            Ok(found) => {
                let path = metadata.parent().unwrap_or_else(|| metadata.clone()).to_string();
                let (origin, _) = decode(&metadata.to_string(), &found)?;
                return Err(CheckpointError::AlreadyCompleted { path, by: origin.epoch });
            }
            Err(missing) if missing.is_not_found() && error.is_retryable() && tries < RENAMES => tries += 1,
            Err(missing) if missing.is_not_found() => return Err(error.into()),
            Err(unknown) => return Err(unknown.into()),
        }
    }
}

/// Reads a checkpoint or savepoint. `path` is its directory or its `_metadata` file.
///
/// # Errors
/// [`CheckpointError::Missing`], [`CheckpointError::Damaged`] or [`CheckpointError::Version`] with the name of the file;
/// those of the file system.
pub async fn load(systems: &FileSystems, path: &FsPath) -> Result<Stored, CheckpointError> {
    let metadata = layout::metadata_file(path);
    let fs = systems.get(&metadata)?;
    let content = match fs.read_fully(&metadata, METADATA_MAX).await {
        Ok(content) => content,
        Err(FsError::NotFound { .. } | FsError::NotADirectory { .. }) => {
            return Err(CheckpointError::Missing { path: path.to_string() });
        }
        Err(error) => return Err(error.into()),
    };
    let name = metadata.to_string();
    let (origin, checkpoint) = decode(&name, &content)?;
    let directory = metadata.parent().unwrap_or_else(|| metadata.root());
    let checkpoint = absolute(checkpoint, &directory)
        .map_err(|error| CheckpointError::Damaged { path: name, reason: error.to_string() })?;
    Ok(Stored { checkpoint, origin })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Scratch, example, origin};
    use flumen_model::ids::Epoch;

    #[tokio::test]
    async fn a_stored_checkpoint_is_loaded_from_its_directory_or_its_file() {
        let scratch = Scratch::new();
        let checkpoint = example(&scratch.path("job/chk-3").to_string());
        let bytes = store(&scratch.systems, origin(), &checkpoint).await.unwrap();
        let stored = Stored { checkpoint, origin: origin() };
        assert_eq!(load(&scratch.systems, &scratch.path("job/chk-3")).await.unwrap(), stored);
        assert_eq!(load(&scratch.systems, &scratch.path("job/chk-3/_metadata")).await.unwrap(), stored);
        assert_eq!(scratch.names("job/chk-3").await, ["_metadata"], "nothing temporary is left");
        let status = scratch.fs().status(&scratch.path("job/chk-3/_metadata")).await.unwrap();
        assert_eq!(status.len, bytes);
    }

    #[tokio::test]
    async fn a_directory_can_be_moved() {
        let scratch = Scratch::new();
        store(&scratch.systems, origin(), &example(&scratch.path("a").to_string())).await.unwrap();
        scratch.fs().rename(&scratch.path("a"), &scratch.path("b"), false).await.unwrap();
        let moved = load(&scratch.systems, &scratch.path("b")).await.unwrap().checkpoint;
        assert_eq!(moved.directory, scratch.path("b").to_string());
        let text = format!("{moved:?}");
        assert!(text.contains(&scratch.path("b/state-1").to_string()), "{text}");
    }

    #[tokio::test]
    async fn storing_the_same_again_is_no_error() {
        let scratch = Scratch::new();
        let checkpoint = example(&scratch.path("chk-3").to_string());
        store(&scratch.systems, origin(), &checkpoint).await.unwrap();
        store(&scratch.systems, origin(), &checkpoint).await.unwrap();
        assert_eq!(scratch.names("chk-3").await, ["_metadata"]);
    }

    #[tokio::test]
    async fn two_leaders_do_not_complete_the_same_checkpoint() {
        let scratch = Scratch::new();
        let checkpoint = example(&scratch.path("chk-3").to_string());
        store(&scratch.systems, origin(), &checkpoint).await.unwrap();
        let second = Origin { epoch: Epoch(9), ..origin() };
        let error = store(&scratch.systems, second, &checkpoint).await.unwrap_err();
        assert!(matches!(&error, CheckpointError::AlreadyCompleted { by: Epoch(2), .. }), "{error}");
        assert_eq!(load(&scratch.systems, &scratch.path("chk-3")).await.unwrap().origin, origin(), "not replaced");
        assert_eq!(scratch.names("chk-3").await, ["_metadata"]);
    }

    #[tokio::test]
    async fn of_leaders_that_race_one_wins() {
        let scratch = Scratch::new();
        let checkpoint = example(&scratch.path("chk-3").to_string());
        let race =
            (1..=8).map(|epoch| store(&scratch.systems, Origin { epoch: Epoch(epoch), ..origin() }, &checkpoint));
        let results = futures::future::join_all(race).await;
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{results:?}");
    }

    #[tokio::test]
    async fn what_is_no_checkpoint_is_missing_by_name() {
        let scratch = Scratch::new();
        for path in ["nothing", "nothing/_metadata"] {
            let error = load(&scratch.systems, &scratch.path(path)).await.unwrap_err();
            assert!(matches!(&error, CheckpointError::Missing { path: named } if named.ends_with(path)), "{error}");
        }
    }
}
