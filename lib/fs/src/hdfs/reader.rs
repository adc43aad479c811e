//! Reading: one stream from a DataNode while the reads are sequential, reopened wherever it breaks.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};
use hdfs_native::HdfsError;
use hdfs_native::file::FileReader as NativeReader;
use tracing::warn;

use super::connection::Connection;
use super::errors::Failure;
use super::retry::Replay;
use crate::{FileReader, FsError, FsPath};

type Chunks = Pin<Box<dyn Stream<Item = Result<Bytes, HdfsError>> + Send>>;

pub(super) struct HdfsReader {
    connection: Arc<Connection>,
    path: FsPath,
    native: NativeReader,
    /// Where the next sequential read would start.
    position: u64,
    /// Delivers the bytes from `position` on, `rest` first.
    stream: Option<Chunks>,
    rest: Bytes,
}

impl HdfsReader {
    pub(super) async fn open(connection: Arc<Connection>, path: FsPath) -> Result<Self, Failure> {
        let native = open(&connection, &path).await?;
        Ok(Self { connection, path, native, position: 0, stream: None, rest: Bytes::new() })
    }

    /// Makes the stream deliver from `offset`; `len` bytes for a single read, all up to the end for a sequential one.
    fn seek(&mut self, offset: u64, len: u64) {
        let sequential = offset == self.position;
        if sequential && self.stream.is_some() {
            return;
        }
        let wanted = if sequential { self.len() - offset } else { len };
        // hdfs-native panics on ranges past the end; `offset + len` is within `self.len()` here.
        self.stream = Some(Box::pin(self.native.read_range_stream(offset as usize, wanted as usize)));
        self.rest = Bytes::new();
        self.position = offset;
    }

    /// Adds to `content` until it holds `len` bytes, which the stream has. What was read before an error is kept.
    async fn fill(&mut self, content: &mut BytesMut, len: usize) -> Result<(), Failure> {
        while content.len() < len {
            if self.rest.is_empty() {
                let Some(stream) = &mut self.stream else { return Ok(()) };
                let next = async { stream.next().await.transpose() };
                match self.connection.limited(self.connection.doing("reading", &self.path), next).await? {
                    Some(chunk) => self.rest = chunk,
                    // The NameNode's length and the blocks disagree.
                    None => return Ok(()),
                }
            }
            let piece = self.rest.split_to(self.rest.len().min(len - content.len()));
            content.extend_from_slice(&piece);
            self.position += piece.len() as u64;
        }
        Ok(())
    }
}

async fn open(connection: &Connection, path: &FsPath) -> Result<NativeReader, Failure> {
    let doing = connection.doing("opening", path);
    let answer = connection.call(doing, Replay::Idempotent, |client| async move { client.read(path.path()).await });
    answer.await.map(|answer| answer.value)
}

#[async_trait]
impl FileReader for HdfsReader {
    fn len(&self) -> u64 {
        self.native.file_length() as u64
    }

    async fn read_at(&mut self, offset: u64, len: usize) -> Result<Bytes, FsError> {
        let available = self.len().saturating_sub(offset);
        let wanted = usize::try_from(available).unwrap_or(usize::MAX).min(len);
        let mut content = BytesMut::new();
        let begun = Instant::now();
        let mut failed = 0;
        while content.len() < wanted {
            let before = content.len();
            self.seek(offset + before as u64, (wanted - before) as u64);
            let failure = match self.fill(&mut content, wanted).await {
                Ok(()) if content.len() > before => continue,
                Ok(()) => break,
                Err(failure) => failure,
            };
            self.stream = None;
            failed = if content.len() > before { 1 } else { failed + 1 };
            let next = self.connection.policy.next_wait(failure.outcome, Replay::Idempotent, failed, begun.elapsed());
            let Some(wait) = next else { return Err(failure.error) };
            warn!(error = %failure.error, attempt = failed, ?wait, "the read is repeated with fresh block locations");
            tokio::time::sleep(wait).await;
            self.native = open(&self.connection, &self.path).await.map_err(|failure| failure.error)?;
            if self.len() < offset + wanted as u64 {
                let source = "it became shorter while it was being read".into();
                return Err(FsError::Other { operation: "reading", path: self.path.to_string(), source });
            }
        }
        Ok(content.freeze())
    }
}
