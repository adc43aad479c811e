//! Writing the state of one subtask.
//!
//! A subtask collects all sections of its private state in one file per checkpoint: files are what a NameNode counts. A
//! section of few bytes goes into the metadata instead; where all sections are small there is no file at all.

use std::mem;
use std::sync::Arc;

use bytes::Bytes;
use flumen_fs::{CreateOptions, FileSystem, FileSystems, FileWriter, FsError, FsPath};
use flumen_model::checkpoint::{StateHandle, StateLocation};
use tracing::debug;
use xxhash_rust::xxh3::Xxh3;

/// A file of private state that is being written. Its name is unlike any other, so that a subtask that was started again
/// never writes into what its predecessor wrote.
pub struct StateFile {
    fs: Arc<dyn FileSystem>,
    path: FsPath,
    threshold: u64,
    /// Made when the first bytes come that are too many for the metadata.
    writer: Option<Box<dyn FileWriter>>,
    written: u64,
    /// A write failed: what the file holds isn't known.
    failed: bool,
}

impl StateFile {
    /// A file in `directory` ([`Barrier::directory`](flumen_model::checkpoint::Barrier::directory)). Sections of fewer than
    /// `inline_below` bytes (`execution.checkpointing.data-inline-threshold`) are kept in their handles.
    ///
    /// # Errors
    /// Those of [`FileSystems::get`]. Nothing is created yet.
    pub fn new(systems: &FileSystems, directory: &FsPath, inline_below: u64) -> Result<Self, FsError> {
        let path = directory.join(uuid::Uuid::new_v4().to_string());
        Ok(Self { fs: systems.get(&path)?, path, threshold: inline_below, writer: None, written: 0, failed: false })
    }

    /// Begins a section. One that is dropped unfinished leaves bytes in the file that nobody refers to.
    pub fn section(&mut self) -> Section<'_> {
        let offset = self.written;
        Section { file: self, offset, held: Vec::new(), held_bytes: 0, length: 0, hash: Xxh3::new() }
    }

    /// Writes a whole section.
    ///
    /// # Errors
    /// As [`Section::write`].
    pub async fn add(&mut self, bytes: Bytes) -> Result<StateHandle, FsError> {
        let mut section = self.section();
        section.write(bytes).await?;
        section.finish().await
    }

    /// Completes the file: only now the handles that it gave out are good. Returns its bytes, 0 when there is no file.
    ///
    /// # Errors
    /// Those of the file system; the file has been removed, as far as that was possible.
    pub async fn close(mut self) -> Result<u64, FsError> {
        let closed = match self.writer.take() {
            Some(_) | None if self.failed => {
                let source = "an earlier write to it failed".into();
                Err(FsError::Other { operation: "closing", path: self.path.to_string(), source })
            }
            Some(writer) => writer.close().await.map(|()| self.written),
            None => return Ok(0),
        };
        if closed.is_err() {
            self.remove().await;
        }
        closed
    }

    /// Gives the file up and removes it. Without this, or [`close`](Self::close), it stays until its checkpoint's directory
    /// is removed.
    pub async fn abandon(mut self) {
        if self.writer.take().is_some() || self.failed {
            self.remove().await;
        }
    }

    async fn remove(&self) {
        if let Err(error) = self.fs.delete(&self.path, false).await {
            debug!(path = %self.path, %error, "an unfinished state file stays until its checkpoint is removed");
        }
    }

    async fn append(&mut self, pieces: Vec<Bytes>) -> Result<(), FsError> {
        let length = pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
        if length == 0 {
            return Ok(());
        }
        // Until the write has succeeded.
        let failed_before = mem::replace(&mut self.failed, true);
        let writer = match &mut self.writer {
            Some(writer) => writer,
            None => self.writer.insert(self.fs.create(&self.path, &CreateOptions::default()).await?),
        };
        writer.write_all(pieces).await?;
        self.failed = failed_before;
        self.written += length;
        Ok(())
    }
}

/// Some bytes of a [`StateFile`] that are read together.
pub struct Section<'a> {
    file: &'a mut StateFile,
    offset: u64,
    /// What may still become inline.
    held: Vec<Bytes>,
    held_bytes: u64,
    length: u64,
    hash: Xxh3,
}

impl Section<'_> {
    /// Appends bytes.
    ///
    /// # Errors
    /// Those of the file system; after one the whole file is of no use.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), FsError> {
        self.write_all(vec![bytes]).await
    }

    /// Appends several pieces, one behind the other.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub async fn write_all(&mut self, mut pieces: Vec<Bytes>) -> Result<(), FsError> {
        let mut length = 0;
        for piece in &pieces {
            self.hash.update(piece);
            length += piece.len() as u64;
        }
        self.length += length;
        if self.length < self.file.threshold || length == 0 {
            self.held_bytes += length;
            self.held.append(&mut pieces);
            return Ok(());
        }
        self.release().await?;
        self.file.append(pieces).await
    }

    /// Bytes written to it so far: where the next item begins.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether nothing has been written to it.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Ends the section. The handle is good when the file has been closed.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub async fn finish(mut self) -> Result<StateHandle, FsError> {
        let inline = self.held_bytes == self.length && (self.length < self.file.threshold || self.length == 0);
        let location = if inline {
            StateLocation::Inline(self.held.concat())
        } else {
            self.release().await?;
            StateLocation::File { path: self.file.path.to_string(), offset: self.offset, shared: false }
        };
        Ok(StateHandle { location, length: self.length, checksum: self.hash.digest() })
    }

    async fn release(&mut self) -> Result<(), FsError> {
        self.file.append(mem::take(&mut self.held)).await?;
        self.held_bytes = 0;
        Ok(())
    }
}

/// A file that later checkpoints may refer to, such as one of RocksDB's: a whole file with one handle.
pub struct SharedFile {
    fs: Arc<dyn FileSystem>,
    path: FsPath,
    writer: Box<dyn FileWriter>,
    length: u64,
    hash: Xxh3,
}

impl SharedFile {
    /// Creates a file in `directory`
    /// ([`Barrier::shared_directory`](flumen_model::checkpoint::Barrier::shared_directory), or, for a snapshot that may not
    /// share, its own directory).
    ///
    /// # Errors
    /// Those of the file system.
    pub async fn create(systems: &FileSystems, directory: &FsPath) -> Result<Self, FsError> {
        let path = directory.join(uuid::Uuid::new_v4().to_string());
        let fs = systems.get(&path)?;
        let writer = fs.create(&path, &CreateOptions::default()).await?;
        Ok(Self { fs, path, writer, length: 0, hash: Xxh3::new() })
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// Those of the file system; after one the file is of no use.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), FsError> {
        self.hash.update(&bytes);
        self.length += bytes.len() as u64;
        self.writer.write(bytes).await
    }

    /// Completes the file. `shared` says whether it lies in the shared directory.
    ///
    /// # Errors
    /// Those of the file system; the file has been removed, as far as that was possible.
    pub async fn close(self, shared: bool) -> Result<StateHandle, FsError> {
        let Self { fs, path, writer, length, hash } = self;
        if let Err(error) = writer.close().await {
            if let Err(left) = fs.delete(&path, false).await {
                debug!(%path, error = %left, "an unfinished shared file stays behind");
            }
            return Err(error);
        }
        let location = StateLocation::File { path: path.to_string(), offset: 0, shared };
        Ok(StateHandle { location, length, checksum: hash.digest() })
    }

    /// Gives the file up and removes it.
    pub async fn abandon(self) {
        let Self { fs, path, writer, .. } = self;
        drop(writer);
        if let Err(error) = fs.delete(&path, false).await {
            debug!(%path, %error, "an unfinished shared file stays behind");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read_handle;
    use crate::testing::Scratch;
    use proptest::prelude::*;

    #[tokio::test]
    async fn small_sections_make_no_file() {
        let scratch = Scratch::new();
        scratch.fs().mkdirs(&scratch.path("chk-1"), None).await.unwrap();
        let mut file = StateFile::new(&scratch.systems, &scratch.path("chk-1"), 4).unwrap();
        let handles = [file.add(Bytes::from_static(b"abc")).await.unwrap(), file.add(Bytes::new()).await.unwrap()];
        assert_eq!(file.close().await.unwrap(), 0);
        assert_eq!(scratch.names("chk-1").await, Vec::<String>::new());
        assert_eq!(read_handle(&scratch.systems, &handles[0]).await.unwrap(), &b"abc"[..]);
        assert_eq!(read_handle(&scratch.systems, &handles[1]).await.unwrap(), &b""[..]);
    }

    #[tokio::test]
    async fn an_abandoned_file_is_gone() {
        let scratch = Scratch::new();
        let mut file = StateFile::new(&scratch.systems, &scratch.path("chk-1"), 0).unwrap();
        file.add(Bytes::from_static(b"abc")).await.unwrap();
        assert_eq!(scratch.names("chk-1").await.len(), 1);
        file.abandon().await;
        assert_eq!(scratch.names("chk-1").await, Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_written_fails_to_close() {
        let scratch = Scratch::new();
        scratch.put("chk-1", b"a file where the directory should be").await;
        let mut file = StateFile::new(&scratch.systems, &scratch.path("chk-1"), 0).unwrap();
        assert!(file.add(Bytes::from_static(b"abc")).await.is_err());
        assert!(file.close().await.is_err());
    }

    #[tokio::test]
    async fn a_shared_file_is_one_handle() {
        let scratch = Scratch::new();
        let mut file = SharedFile::create(&scratch.systems, &scratch.path("shared")).await.unwrap();
        file.write(Bytes::from_static(b"ab")).await.unwrap();
        file.write(Bytes::from_static(b"cd")).await.unwrap();
        let handle = file.close(true).await.unwrap();
        assert!(matches!(&handle.location, StateLocation::File { offset: 0, shared: true, .. }), "{handle:?}");
        assert_eq!(read_handle(&scratch.systems, &handle).await.unwrap(), &b"abcd"[..]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_section_is_read_back(
            sections in proptest::collection::vec(proptest::collection::vec(0usize..40, 0..4), 0..6),
            threshold in 0u64..60,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(async {
                let scratch = Scratch::new();
                let mut file = StateFile::new(&scratch.systems, &scratch.path("chk-1"), threshold).unwrap();
                let mut written = Vec::new();
                for (number, pieces) in sections.iter().enumerate() {
                    let mut section = file.section();
                    let mut content = Vec::new();
                    for (index, length) in pieces.iter().enumerate() {
                        let piece = vec![(number * 16 + index) as u8; *length];
                        content.extend_from_slice(&piece);
                        section.write(piece.into()).await.unwrap();
                    }
                    written.push((section.finish().await.unwrap(), content));
                }
                let in_file: u64 = written.iter().map(|(h, _)| h).filter(|h| !is_inline(h)).map(|h| h.length).sum();
                assert_eq!(file.close().await.unwrap(), in_file);
                for (handle, content) in written {
                    assert_eq!(is_inline(&handle), handle.length < threshold || handle.length == 0);
                    assert_eq!(read_handle(&scratch.systems, &handle).await.unwrap(), content);
                }
            });
        }
    }

    fn is_inline(handle: &StateHandle) -> bool {
        matches!(handle.location, StateLocation::Inline(_))
    }
}
