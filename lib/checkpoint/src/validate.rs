//! Whether everything is there that a checkpoint refers to.

use std::collections::BTreeMap;

use flumen_fs::{FileSystems, FsError, FsPath};
use flumen_model::checkpoint::{CompletedCheckpoint, StateHandle, StateLocation};
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, stream};

use crate::{CheckpointError, open_handle};

/// Files that are looked at, or read, at the same time.
const PARALLEL: usize = 16;
/// Reasons that an error names; where many files are missing, a few tell enough.
const REASONS_MAX: usize = 5;

/// How closely a checkpoint is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Every file exists and is long enough: one call for each file.
    Lengths,
    /// Every byte is read, and compared with its checksum: what is to be known before a job is entrusted to it when a worker
    /// has found it altered.
    Bytes,
}

/// Looks for every file of every handle.
///
/// # Errors
/// [`CheckpointError::Invalid`] with the files that are missing, too short or altered; [`CheckpointError::Fs`] when that
/// could not be found out.
pub async fn validate(
    systems: &FileSystems,
    checkpoint: &CompletedCheckpoint,
    depth: Depth,
) -> Result<(), CheckpointError> {
    let mut reasons: Vec<_> = inline(checkpoint).collect();
    reasons.extend(match depth {
        Depth::Lengths => lengths(systems, checkpoint).await?,
        Depth::Bytes => bytes(systems, checkpoint).await?,
    });
    if reasons.is_empty() {
        return Ok(());
    }
    reasons.sort_by_key(ToString::to_string);
    reasons.truncate(REASONS_MAX);
    Err(CheckpointError::Invalid { checkpoint: checkpoint.directory.clone(), reasons })
}

/// What is wrong with inline handles: their bytes are here.
fn inline(checkpoint: &CompletedCheckpoint) -> impl Iterator<Item = CheckpointError> {
    checkpoint.handles().filter_map(|handle| crate::read::inline(handle)?.err())
}

async fn lengths(
    systems: &FileSystems,
    checkpoint: &CompletedCheckpoint,
) -> Result<Vec<CheckpointError>, CheckpointError> {
    let mut needed: BTreeMap<&str, u64> = BTreeMap::new();
    for handle in checkpoint.handles() {
        if let StateLocation::File { path, offset, .. } = &handle.location {
            let needed = needed.entry(path).or_default();
            *needed = (*needed).max(offset.saturating_add(handle.length));
        }
    }
    let looks = needed.into_iter().map(|(path, needed)| length(systems.clone(), path.to_owned(), needed).boxed());
    collect(looks.collect()).await
}

async fn length(systems: FileSystems, text: String, needed: u64) -> Result<(), CheckpointError> {
    let path: FsPath = text.parse()?;
    match systems.get(&path)?.status(&path).await {
        Ok(status) if status.is_dir => Err(FsError::IsADirectory { path: text }.into()),
        Ok(status) if status.len < needed => Err(CheckpointError::StateShort { path: text, found: status.len, needed }),
        Ok(_) => Ok(()),
        Err(FsError::NotFound { .. } | FsError::NotADirectory { .. }) => {
            Err(CheckpointError::StateMissing { path: text })
        }
        Err(error) => Err(error.into()),
    }
}

async fn bytes(
    systems: &FileSystems,
    checkpoint: &CompletedCheckpoint,
) -> Result<Vec<CheckpointError>, CheckpointError> {
    let in_files = checkpoint.handles().filter(|handle| matches!(handle.location, StateLocation::File { .. }));
    let reads = in_files.map(|handle| read_through(systems.clone(), handle.clone()).boxed());
    collect(reads.collect()).await
}

async fn read_through(systems: FileSystems, handle: StateHandle) -> Result<(), CheckpointError> {
    let mut reader = open_handle(&systems, &handle).await?;
    while reader.next().await?.is_some() {}
    Ok(())
}

/// Runs all looks, some at a time. What is wrong with the checkpoint is collected, anything else is an error.
async fn collect(
    looks: Vec<BoxFuture<'_, Result<(), CheckpointError>>>,
) -> Result<Vec<CheckpointError>, CheckpointError> {
    let mut results = stream::iter(looks).buffer_unordered(PARALLEL);
    let mut reasons = Vec::new();
    while let Some(result) = results.next().await {
        match result {
            Ok(()) => {}
            Err(reason) if reason.is_about_the_checkpoint() => reasons.push(reason),
            Err(error) => return Err(error),
        }
    }
    Ok(reasons)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Scratch, example, put_example};

    async fn check(scratch: &Scratch, depth: Depth) -> Result<(), String> {
        let checkpoint = example(&scratch.path("chk-3").to_string());
        validate(&scratch.systems, &checkpoint, depth).await.map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn a_whole_checkpoint_is_valid() {
        let scratch = Scratch::new();
        put_example(&scratch, "chk-3").await;
        assert_eq!(check(&scratch, Depth::Lengths).await, Ok(()));
        assert_eq!(check(&scratch, Depth::Bytes).await, Ok(()));
    }

    #[tokio::test]
    async fn every_missing_short_or_altered_file_is_named() {
        let all: [(&str, &[u8]); 4] = [
            ("chk-3/state-1", b"0123X56789"),
            ("chk-3/list", b"abX"),
            ("chk-3/flight", b"Xbc"),
            ("shared/x", b"shared bytes?"),
        ];
        for (name, altered) in all {
            let scratch = Scratch::new();
            put_example(&scratch, "chk-3").await;
            let path = scratch.path(name).to_string();
            scratch.put(name, b"01").await;
            let short = check(&scratch, Depth::Lengths).await.unwrap_err();
            assert!(short.contains(&path) && short.contains("cut off"), "{short}");
            assert_eq!(short, check(&scratch, Depth::Bytes).await.unwrap_err());
            scratch.fs().delete(&scratch.path(name), false).await.unwrap();
            let missing = check(&scratch, Depth::Lengths).await.unwrap_err();
            assert!(missing.contains(&path) && missing.contains("does not exist"), "{missing}");
            assert_eq!(missing, check(&scratch, Depth::Bytes).await.unwrap_err());
            scratch.put(name, altered).await;
            assert_eq!(check(&scratch, Depth::Lengths).await, Ok(()), "{name}: the lengths are right");
            let result = check(&scratch, Depth::Bytes).await;
            let unread = altered.starts_with(b"shared bytes") || altered.starts_with(b"0123X");
            match result {
                Ok(()) => assert!(altered == b"shared bytes?", "bytes behind the handle's end don't matter: {name}"),
                Err(error) => assert!(error.contains(&path) && error.contains("altered"), "{unread} {error}"),
            }
        }
    }

    #[tokio::test]
    async fn a_file_system_that_cannot_tell_is_no_reason_against_a_checkpoint() {
        let scratch = Scratch::new();
        let mut checkpoint = example("nfs://host/chk-3");
        let error = validate(&scratch.systems, &checkpoint, Depth::Lengths).await.unwrap_err();
        assert!(!error.is_about_the_checkpoint(), "{error}");
        checkpoint.vertices.clear();
        assert!(validate(&scratch.systems, &checkpoint, Depth::Lengths).await.is_ok());
    }
}
