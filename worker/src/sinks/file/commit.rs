//! A finished part that waits for its checkpoint: how it is kept in state, and how it gets its final name.

use flumen_fs::{FileSystem, FsError, FsPath};
use flumen_model::failure::Blame;
use serde::{Deserialize, Serialize};

use super::MissingParts;
use crate::operator::{TaskError, TaskResult};
use crate::sources::file_failure;

/// A part that is complete and has its temporary name, unless it was committed already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PendingPart {
    pub(super) in_progress: FsPath,
    pub(super) target: FsPath,
    /// Bytes of the complete file.
    pub(super) length: u64,
}

/// As it stands in a checkpoint, behind the version. New fields need a new version.
#[derive(Serialize, Deserialize)]
struct Stored {
    in_progress: String,
    target: String,
    length: u64,
}

const VERSION: u8 = 1;

impl PendingPart {
    /// As an item of list state.
    pub(super) fn to_item(&self) -> TaskResult<Vec<u8>> {
        let stored =
            Stored { in_progress: self.in_progress.to_string(), target: self.target.to_string(), length: self.length };
        postcard::to_extend(&stored, vec![VERSION])
            .map_err(|error| TaskError::caused_by(Blame::Flumen, format!("keeping `{}` in state", self.target), &error))
    }

    /// Reads an item of list state.
    pub(super) fn from_item(item: &[u8]) -> TaskResult<Self> {
        let unreadable =
            |what: String| TaskError::Restore { message: format!("a part of the file sink in the checkpoint {what}") };
        let stored: Stored = match item.split_first() {
            Some((&VERSION, stored)) => {
                postcard::from_bytes(stored).map_err(|error| unreadable(format!("can't be read: {error}")))?
            }
            Some((version, _)) => {
                return Err(unreadable(format!("has the format {version}, and this program reads format {VERSION}")));
            }
            None => return Err(unreadable("is empty".to_owned())),
        };
        let path = |text: &str| text.parse().map_err(|error: FsError| unreadable(format!("has no path: {error}")));
        Ok(Self { in_progress: path(&stored.in_progress)?, target: path(&stored.target)?, length: stored.length })
    }
}

/// What a commit found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Committed {
    /// It gave the part its name.
    Renamed,
    /// The part had it already.
    Before,
    /// The part is gone, and that is no failure.
    Consumed,
}

/// Gives a part its final name, or finds that it has it. Several may do so at the same time: an execution that is cut off
/// but not dead, and the one that replaces it.
///
/// `after_restore` says whether an earlier life may have committed the part.
pub(super) async fn commit(
    fs: &dyn FileSystem,
    part: &PendingPart,
    after_restore: bool,
    missing: MissingParts,
) -> TaskResult<Committed> {
    let outside = |error: FsError| file_failure(format!("committing `{}`", part.target), &error);
    if after_restore {
        match length(fs, &part.in_progress).await.map_err(outside)? {
            Some(length) if length != part.length => return Err(altered(part, &part.in_progress, length)),
            Some(_) | None => {}
        }
    }
    match fs.rename(&part.in_progress, &part.target, false).await {
        Ok(()) => return Ok(Committed::Renamed),
        Err(error) if error.is_not_found() || error.is_already_exists() => {}
        Err(error) => return Err(outside(error)),
    }
    let source = length(fs, &part.in_progress).await.map_err(outside)?;
    let target = length(fs, &part.target).await.map_err(outside)?;
    match (source, target) {
        (None, Some(length)) if length == part.length => Ok(Committed::Before),
        (None, Some(length)) => Err(altered(part, &part.target, length)),
        (None, None) if after_restore && missing == MissingParts::Consumed => {
            tracing::warn!(part = %part.target, "a committed part is gone: taken as consumed by a reader");
            Ok(Committed::Consumed)
        }
        (None, None) => Err(failed(format!(
            "the part `{}` is lost: it is neither there nor in progress as `{}`. If readers move or remove finished \
             parts, say so with `with_missing_parts(MissingParts::Consumed)`; else restore the file or begin from an \
             earlier savepoint",
            part.target, part.in_progress
        ))),
        (Some(_), Some(_)) => Err(failed(format!(
            "the part `{}` can't be committed from `{}`: another file has its name. Move that file away",
            part.target, part.in_progress
        ))),
        // Renaming said that one of the two was missing or in the way, and now it is not so.
        (Some(_), None) => Err(failed(format!(
            "the part `{}` can't be committed from `{}`: somebody else changes the directory",
            part.target, part.in_progress
        ))),
    }
}

async fn length(fs: &dyn FileSystem, path: &FsPath) -> Result<Option<u64>, FsError> {
    match fs.status(path).await {
        Ok(status) => Ok(Some(status.len)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

fn altered(part: &PendingPart, path: &FsPath, length: u64) -> TaskError {
    failed(format!(
        "`{path}` has {length} bytes, and the checkpoint says {}: somebody else changed the part `{}`",
        part.length, part.target
    ))
}

fn failed(message: String) -> TaskError {
    TaskError::failed(Blame::Outside, message)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use bytes::Bytes;
    use flumen_fs::{CreateOptions, FileSystems, FsOptions};

    use super::*;

    fn part(dir: &Path) -> (Arc<dyn FileSystem>, PendingPart) {
        let dir = FsPath::local(dir, dir).unwrap();
        let fs = FileSystems::new(FsOptions::default()).unwrap().get(&dir).unwrap();
        let part = PendingPart { in_progress: dir.join(".part.inprogress.1"), target: dir.join("part"), length: 3 };
        (fs, part)
    }

    async fn put(fs: &dyn FileSystem, path: &FsPath, content: &'static str) {
        fs.write_fully(path, Bytes::from(content), &CreateOptions::overwriting()).await.unwrap();
    }

    #[tokio::test]
    async fn what_a_commit_finds_decides_what_it_says() {
        // In progress, in place; after a restore, what missing parts mean; the result or a word of the error.
        let cases = [
            (Some("abc"), None, false, MissingParts::Lost, Ok(Committed::Renamed)),
            (Some("abc"), None, true, MissingParts::Lost, Ok(Committed::Renamed)),
            (Some("ab"), None, true, MissingParts::Lost, Err("has 2 bytes")),
            (None, Some("abc"), false, MissingParts::Lost, Ok(Committed::Before)),
            (None, Some("abc"), true, MissingParts::Lost, Ok(Committed::Before)),
            (None, Some("abcd"), true, MissingParts::Lost, Err("has 4 bytes")),
            (None, None, false, MissingParts::Consumed, Err("is lost")),
            (None, None, true, MissingParts::Lost, Err("is lost")),
            (None, None, true, MissingParts::Consumed, Ok(Committed::Consumed)),
            (Some("abc"), Some("xyz"), false, MissingParts::Lost, Err("another file has its name")),
            (Some("abc"), Some("xyz"), true, MissingParts::Consumed, Err("another file has its name")),
        ];
        for (source, target, after_restore, missing, expected) in cases {
            let dir = tempfile::tempdir().unwrap();
            let (fs, part) = part(dir.path());
            if let Some(content) = source {
                put(&*fs, &part.in_progress, content).await;
            }
            if let Some(content) = target {
                put(&*fs, &part.target, content).await;
            }
            let found = commit(&*fs, &part, after_restore, missing).await;
            match (&found, expected) {
                (Ok(found), Ok(expected)) => {
                    assert_eq!(*found, expected);
                    assert!(!fs.exists(&part.in_progress).await.unwrap());
                }
                (Err(TaskError::Failed { message, .. }), Err(word)) => assert!(message.contains(word), "{message}"),
                _ => panic!("{source:?} {target:?} {after_restore} {missing:?}: {found:?}"),
            }
            if let Some(content) = target {
                assert_eq!(fs.read_fully(&part.target, 10).await.unwrap(), content, "nothing is overwritten");
            }
        }
    }

    #[test]
    fn a_part_in_a_checkpoint_is_read_back_and_its_bytes_never_change() {
        let dir: FsPath = "hdfs://nn:8020/out".parse().unwrap();
        let part = PendingPart { in_progress: dir.join(".p.inprogress.u"), target: dir.join("p"), length: 300 };
        let item = part.to_item().unwrap();
        let mut pinned = vec![1, 33];
        pinned.extend_from_slice(b"hdfs://nn:8020/out/.p.inprogress.u");
        pinned[1] = 34;
        pinned.push(20);
        pinned.extend_from_slice(b"hdfs://nn:8020/out/p");
        pinned.extend_from_slice(&[0xac, 0x02]);
        assert_eq!(item, pinned);
        assert_eq!(PendingPart::from_item(&item).unwrap(), part);
        for wrong in [&[][..], &[9, 1], &item[..5], &[1, 1, b'x', 1, b'y', 0]] {
            let error = PendingPart::from_item(wrong).unwrap_err();
            assert!(matches!(error, TaskError::Restore { .. }), "{error:?}");
        }
    }
}
