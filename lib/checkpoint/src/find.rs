//! The newest checkpoint that is whole.

use flumen_fs::{FileSystems, FsError, FsPath};
use flumen_model::checkpoint::{CheckpointId, CompletedCheckpoint};
use tracing::warn;

use crate::lead::{Counting, counting};
use crate::{CheckpointError, Depth, Stored, layout, load, validate};

/// What [`newest_valid`] found.
#[derive(Debug)]
pub struct Newest {
    /// The newest checkpoint that is whole.
    pub found: Option<Stored>,
    /// Older ones that count and can still be read, newest first: they were retained. What they refer to was not looked at.
    pub older: Vec<Stored>,
    /// Those that can't be used, newest first.
    pub rejected: Vec<Rejected>,
    /// The highest number of any checkpoint that was begun, 0 if none: a new one gets a higher one.
    pub highest: CheckpointId,
}

/// A checkpoint that can't be used.
#[derive(Debug)]
pub struct Rejected {
    /// Its directory.
    pub directory: String,
    /// Why: names the file.
    pub reason: CheckpointError,
}

/// Looks in a job's directory for the newest checkpoint that counts and is whole. One that is torn, altered or has lost a file
/// is rejected by name, and the one before it is tried (CP-6). Names those that were retained behind it. Finds nothing where
/// there is no such directory.
///
/// # Errors
/// Those of the file system: as long as it doesn't answer, no older checkpoint is taken for the newest.
pub async fn newest_valid(
    systems: &FileSystems,
    job_directory: &FsPath,
    depth: Depth,
) -> Result<Newest, CheckpointError> {
    let fs = systems.get(job_directory)?;
    let begun = match begun(systems, job_directory).await {
        Ok(begun) => begun,
        Err(CheckpointError::Fs(FsError::NotFound { .. })) => Vec::new(),
        Err(error) => return Err(error),
    };
    let highest = begun.iter().map(|(id, _)| *id).max().unwrap_or_default();
    let candidates = match counting(&*fs, job_directory).await? {
        Some(candidates) => candidates,
        None => {
            let mut here: Vec<_> =
                begun.into_iter().filter(|(_, path)| path.parent().as_ref() == Some(job_directory)).collect();
            here.sort();
            Counting { newest: None, older: here.into_iter().rev().map(|(_, path)| path).collect() }
        }
    };
    let mut newest = Newest { found: None, older: Vec::new(), rejected: Vec::new(), highest };
    let must_be = candidates.newest.clone();
    for directory in candidates.newest.into_iter().chain(candidates.older) {
        let is_older = newest.found.is_some();
        let whole = async {
            let stored = load(systems, &directory).await?;
            if !is_older {
                validate(systems, &stored.checkpoint, depth).await?;
            }
            Ok::<_, CheckpointError>(stored)
        };
        match whole.await {
            Ok(stored) if is_older => newest.older.push(stored),
            Ok(stored) => newest.found = Some(stored),
            // Not finished, or already removed: never there, unless it is the one that has to be.
            Err(CheckpointError::Missing { .. }) if must_be.as_ref() != Some(&directory) => {}
            Err(reason) if reason.is_about_the_checkpoint() => {
                warn!(%directory, %reason, "the checkpoint is not used");
                newest.rejected.push(Rejected { directory: directory.to_string(), reason });
            }
            Err(error) => return Err(error),
        }
    }
    Ok(newest)
}

/// Of checkpoints that are known, newest first, the index of the first that is whole, and those before it that are not.
///
/// # Errors
/// As [`newest_valid`].
pub async fn newest_valid_of(
    systems: &FileSystems,
    checkpoints: &[CompletedCheckpoint],
    depth: Depth,
) -> Result<(Option<usize>, Vec<Rejected>), CheckpointError> {
    let mut rejected = Vec::new();
    for (index, checkpoint) in checkpoints.iter().enumerate() {
        match validate(systems, checkpoint, depth).await {
            Ok(()) => return Ok((Some(index), rejected)),
            Err(reason) if reason.is_about_the_checkpoint() => {
                warn!(directory = %checkpoint.directory, %reason, "the checkpoint is not used");
                rejected.push(Rejected { directory: checkpoint.directory.clone(), reason });
            }
            Err(error) => return Err(error),
        }
    }
    Ok((None, rejected))
}

/// Every checkpoint of every leader that was begun, with its directory.
async fn begun(systems: &FileSystems, job_directory: &FsPath) -> Result<Vec<(CheckpointId, FsPath)>, CheckpointError> {
    let fs = systems.get(job_directory)?;
    let mut begun = Vec::new();
    let mut entries = fs.list(job_directory).await?;
    for entry in entries.clone() {
        if entry.is_dir && layout::epoch_of(&entry.path).is_some() {
            entries.extend(fs.list(&entry.path).await?);
        }
    }
    let directories = entries.into_iter().filter(|entry| entry.is_dir);
    begun.extend(directories.filter_map(|entry| Some((layout::checkpoint_of(&entry.path)?, entry.path))));
    Ok(begun)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Scratch, example, origin, put_example};
    use crate::{Leadership, store};
    use flumen_model::ids::Epoch;

    async fn complete(scratch: &Scratch, directory: &str) -> CompletedCheckpoint {
        put_example(scratch, directory).await;
        let checkpoint = example(&scratch.path(directory).to_string());
        store(&scratch.systems, origin(), &checkpoint).await.unwrap();
        checkpoint
    }

    async fn newest(scratch: &Scratch) -> Newest {
        newest_valid(&scratch.systems, &scratch.path("job"), Depth::Bytes).await.unwrap()
    }

    fn directory(newest: &Newest) -> Option<&str> {
        let found = newest.found.as_ref()?;
        found.checkpoint.directory.rsplit("/job/").next()
    }

    #[tokio::test]
    async fn nothing_is_found_where_nothing_is() {
        let scratch = Scratch::new();
        let found = newest(&scratch).await;
        assert!(found.found.is_none() && found.rejected.is_empty());
        assert_eq!(found.highest, CheckpointId(0));
    }

    #[tokio::test]
    async fn a_torn_missing_or_altered_file_is_named_and_the_one_before_is_used() {
        let spoil: [(&str, Option<&'static [u8]>); 5] = [
            ("job/chk-10/_metadata", Some(b"FLUMENCP")),
            ("job/chk-10/_metadata", Some(b"")),
            ("job/chk-10/state-1", None),
            ("job/chk-10/list", Some(b"a")),
            ("job/chk-10/flight", Some(b"abd")),
        ];
        for (file, content) in spoil {
            let scratch = Scratch::new();
            complete(&scratch, "job/chk-2").await;
            complete(&scratch, "job/chk-9").await;
            complete(&scratch, "job/chk-10").await;
            put_example(&scratch, "job/chk-11").await;
            let all = newest(&scratch).await;
            assert_eq!(directory(&all), Some("chk-10"), "11 is not finished");
            let older: Vec<_> = all.older.iter().map(|stored| stored.checkpoint.directory.rsplit('/').next()).collect();
            assert_eq!(older, [Some("chk-9"), Some("chk-2")]);
            match content {
                Some(content) => scratch.put(file, content).await,
                None => drop(scratch.fs().delete(&scratch.path(file), false).await.unwrap()),
            }
            let found = newest(&scratch).await;
            assert_eq!(directory(&found), Some("chk-9"), "{file}");
            assert_eq!(found.highest, CheckpointId(11));
            let [rejected] = &found.rejected[..] else { panic!("{file}: {:?}", found.rejected) };
            assert!(rejected.reason.to_string().contains(&scratch.path(file).to_string()), "{}", rejected.reason);
        }
    }

    #[tokio::test]
    async fn what_a_leader_completes_after_it_was_cut_off_does_not_count() {
        let scratch = Scratch::new();
        let job = scratch.path("job");
        let mut first = Leadership::claim(&scratch.systems, &job, Epoch(1)).await.unwrap();
        complete(&scratch, "job/chk-1").await;
        first.advance(CheckpointId(1)).await.unwrap();
        complete(&scratch, "job/chk-2").await;
        let mut second = Leadership::claim(&scratch.systems, &job, Epoch(2)).await.unwrap();
        assert!(first.advance(CheckpointId(2)).await.is_err());
        assert_eq!(directory(&newest(&scratch).await), Some("chk-1"));
        complete(&scratch, "job/e2/chk-3").await;
        assert_eq!(directory(&newest(&scratch).await), Some("chk-1"), "3 does not count yet");
        second.advance(CheckpointId(3)).await.unwrap();
        let found = newest(&scratch).await;
        assert_eq!((directory(&found), found.highest), (Some("e2/chk-3"), CheckpointId(3)));
        scratch.put("job/e2/chk-3/list", b"").await;
        assert_eq!(directory(&newest(&scratch).await), Some("chk-1"), "2 was never taken over");
    }

    #[tokio::test]
    async fn the_one_that_counts_is_named_when_it_is_gone() {
        let scratch = Scratch::new();
        let job = scratch.path("job");
        let mut leader = Leadership::claim(&scratch.systems, &job, Epoch(1)).await.unwrap();
        complete(&scratch, "job/chk-1").await;
        complete(&scratch, "job/chk-2").await;
        leader.advance(CheckpointId(2)).await.unwrap();
        scratch.fs().delete(&scratch.path("job/chk-2/_metadata"), false).await.unwrap();
        let found = newest(&scratch).await;
        assert_eq!(directory(&found), Some("chk-1"));
        assert!(matches!(&found.rejected[..], [one] if one.directory.ends_with("chk-2")), "{:?}", found.rejected);
    }

    #[tokio::test]
    async fn of_known_checkpoints_the_first_whole_one_is_taken() {
        let scratch = Scratch::new();
        let known = [complete(&scratch, "job/chk-2").await, complete(&scratch, "job/chk-1").await];
        let look = async || newest_valid_of(&scratch.systems, &known, Depth::Lengths).await.unwrap();
        assert_eq!(look().await.0, Some(0));
        scratch.put("job/chk-2/list", b"").await;
        let (index, rejected) = look().await;
        assert_eq!((index, rejected.len()), (Some(1), 1));
        scratch.put("job/chk-1/list", b"").await;
        assert_eq!(look().await.0, None);
    }
}
