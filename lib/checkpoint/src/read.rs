//! Reading the bytes behind a handle. What is returned is what was written: length and checksum are compared.

use bytes::{Bytes, BytesMut};
use flumen_fs::{FileReader, FileSystems, FsError, FsPath};
use flumen_model::checkpoint::{StateHandle, StateLocation};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::CheckpointError;

/// Bytes read at once.
const PIECE: usize = 1 << 20;

/// Reads everything behind a handle into memory.
///
/// # Errors
/// [`CheckpointError::StateMissing`], [`CheckpointError::StateShort`] or [`CheckpointError::StateAltered`], with the file;
/// those of the file system.
pub async fn read_handle(systems: &FileSystems, handle: &StateHandle) -> Result<Bytes, CheckpointError> {
    let mut reader = open_handle(systems, handle).await?;
    let Some(first) = reader.next().await? else { return Ok(Bytes::new()) };
    if first.len() as u64 == handle.length {
        // Also compares the checksum.
        reader.next().await?;
        return Ok(first);
    }
    // The file is known to be that long.
    let mut content = BytesMut::with_capacity(handle.length as usize);
    content.extend_from_slice(&first);
    while let Some(piece) = reader.next().await? {
        content.extend_from_slice(&piece);
    }
    Ok(content.freeze())
}

/// Opens what is behind a handle, to read it piece by piece.
///
/// # Errors
/// As [`read_handle`].
pub async fn open_handle(systems: &FileSystems, handle: &StateHandle) -> Result<HandleReader, CheckpointError> {
    let source = match &handle.location {
        StateLocation::Inline(_) => Source::Inline(inline(handle).transpose()?),
        StateLocation::File { path, offset, .. } => {
            let file = open_state_file(systems, path, offset.saturating_add(handle.length)).await?;
            Source::File { file, offset: *offset }
        }
    };
    Ok(HandleReader { source, handle: handle.clone(), read: 0, hash: Xxh3::new() })
}

/// Opens a file of state, to read anywhere in it. It has at least the `needed` bytes; checksums are compared by nobody.
///
/// # Errors
/// [`CheckpointError::StateMissing`] or [`CheckpointError::StateShort`], with the file; those of the file system.
pub async fn open_state_file(
    systems: &FileSystems,
    path: &str,
    needed: u64,
) -> Result<Box<dyn FileReader>, CheckpointError> {
    let file: FsPath = path.parse()?;
    let file = systems.get(&file)?.open(&file).await.map_err(|error| match error {
        FsError::NotFound { .. } | FsError::NotADirectory { .. } => {
            CheckpointError::StateMissing { path: path.to_owned() }
        }
        error => error.into(),
    })?;
    if file.len() < needed {
        return Err(CheckpointError::StateShort { path: path.to_owned(), found: file.len(), needed });
    }
    Ok(file)
}

/// The bytes of an inline handle, compared with its length and checksum; `None` when it is in a file.
pub(crate) fn inline(handle: &StateHandle) -> Option<Result<Bytes, CheckpointError>> {
    let StateLocation::Inline(bytes) = &handle.location else { return None };
    let same = bytes.len() as u64 == handle.length && xxh3_64(bytes) == handle.checksum;
    Some(if same { Ok(Bytes::copy_from_slice(bytes)) } else { Err(altered(handle)) })
}

fn altered(handle: &StateHandle) -> CheckpointError {
    let (path, offset) = match &handle.location {
        StateLocation::Inline(_) => ("the metadata itself".to_owned(), 0),
        StateLocation::File { path, offset, .. } => (path.clone(), *offset),
    };
    CheckpointError::StateAltered { path, offset, end: offset.saturating_add(handle.length) }
}

enum Source {
    Inline(Option<Bytes>),
    File { file: Box<dyn FileReader>, offset: u64 },
}

/// What is behind a handle, piece by piece. That the bytes are right is known only when [`next`](Self::next) has returned
/// `None`: until then nothing irrevocable may be done with them.
pub struct HandleReader {
    source: Source,
    handle: StateHandle,
    read: u64,
    hash: Xxh3,
}

impl HandleReader {
    /// The next bytes, at most 1 MiB from a file; `None` when all have been read and the checksum is right.
    ///
    /// # Errors
    /// As [`read_handle`]. After one the reader is of no use.
    pub async fn next(&mut self) -> Result<Option<Bytes>, CheckpointError> {
        let (file, offset) = match &mut self.source {
            Source::Inline(bytes) => return Ok(bytes.take().filter(|bytes| !bytes.is_empty())),
            Source::File { file, offset } => (file, *offset),
        };
        let left = self.handle.length - self.read;
        if left == 0 {
            return if self.hash.digest() == self.handle.checksum { Ok(None) } else { Err(altered(&self.handle)) };
        }
        let wanted = left.min(PIECE as u64) as usize;
        let piece = file.read_at(offset + self.read, wanted).await?;
        if piece.len() < wanted {
            let found = offset + self.read + piece.len() as u64;
            let StateLocation::File { path, .. } = &self.handle.location else { return Err(altered(&self.handle)) };
            return Err(CheckpointError::StateShort { path: path.clone(), found, needed: offset + self.handle.length });
        }
        self.hash.update(&piece);
        self.read += piece.len() as u64;
        Ok(Some(piece))
    }

    /// Bytes that are left to read.
    pub fn remaining(&self) -> u64 {
        self.handle.length - self.read
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Scratch, in_file};

    #[tokio::test]
    async fn a_handle_reads_its_own_bytes_of_a_file() {
        let scratch = Scratch::new();
        scratch.put("f", b"0123456789").await;
        let path = scratch.path("f").to_string();
        for (offset, bytes) in [(0, &b"0123456789"[..]), (3, b"345"), (10, b""), (9, b"9")] {
            let handle = in_file(path.clone(), offset, bytes);
            assert_eq!(read_handle(&scratch.systems, &handle).await.unwrap(), bytes);
        }
        for (offset, bytes) in [(8, &b"890"[..]), (11, b""), (u64::MAX, b"x")] {
            let handle = in_file(path.clone(), offset, bytes);
            let error = read_handle(&scratch.systems, &handle).await.unwrap_err();
            assert!(matches!(&error, CheckpointError::StateShort { path: named, .. } if *named == path), "{error}");
        }
        let error = read_handle(&scratch.systems, &in_file(path.clone(), 3, b"346")).await.unwrap_err();
        assert!(matches!(&error, CheckpointError::StateAltered { path: named, .. } if *named == path), "{error}");
    }

    #[tokio::test]
    async fn bytes_in_the_handle_itself_are_compared_as_well() {
        let scratch = Scratch::new();
        let inline = |bytes: &[u8]| StateHandle {
            location: StateLocation::Inline(bytes.to_vec()),
            length: 3,
            checksum: xxh3_64(b"abc"),
        };
        assert_eq!(read_handle(&scratch.systems, &inline(b"abc")).await.unwrap(), &b"abc"[..]);
        for altered in [&b"abd"[..], b"ab", b""] {
            let error = read_handle(&scratch.systems, &inline(altered)).await.unwrap_err();
            assert!(matches!(error, CheckpointError::StateAltered { .. }), "{error}");
        }
    }

    #[tokio::test]
    async fn a_long_state_is_read_in_pieces_and_compared_at_its_end() {
        let scratch = Scratch::new();
        let content: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
        let content: &'static [u8] = content.leak();
        scratch.put("f", content).await;
        let mut handle = in_file(scratch.path("f").to_string(), 7, &content[7..]);
        assert_eq!(read_handle(&scratch.systems, &handle).await.unwrap(), &content[7..]);
        handle.checksum ^= 1;
        let mut reader = open_handle(&scratch.systems, &handle).await.unwrap();
        while reader.remaining() > 0 {
            assert!(reader.next().await.unwrap().unwrap().len() <= PIECE);
        }
        assert!(matches!(reader.next().await, Err(CheckpointError::StateAltered { .. })));
    }
}
