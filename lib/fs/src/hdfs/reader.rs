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
    /// Delivers the bytes from `position` to `stream_end`, `rest` first.
    stream: Chunks,
    stream_end: u64,
    rest: Bytes,
}

impl HdfsReader {
    pub(super) async fn open(connection: Arc<Connection>, path: FsPath) -> Result<Self, Failure> {
        let native = open(&connection, &path).await?;
        let stream = Box::pin(futures::stream::empty());
        Ok(Self { connection, path, native, position: 0, stream, stream_end: 0, rest: Bytes::new() })
    }

    /// Makes the stream deliver from `offset`: `len` bytes for a single read, all up to the end for a sequential one.
    /// `offset + len` must not be past the end of the file, and `len` not 0.
    fn seek(&mut self, offset: u64, len: u64) {
        let sequential = offset == self.position;
        if sequential && self.position < self.stream_end {
            return;
        }
        // hdfs-native panics on ranges past the end.
        let until = if sequential { self.len() } else { offset + len };
        self.stream = Box::pin(self.native.read_range_stream(offset as usize, (until - offset) as usize));
        self.stream_end = until;
        self.rest = Bytes::new();
        self.position = offset;
    }

    /// Makes the next read open a new stream.
    fn drop_stream(&mut self) {
        self.stream = Box::pin(futures::stream::empty());
        self.stream_end = self.position;
    }

    /// Adds the stream's next bytes to `content`, at most `max`.
    async fn read_some(&mut self, content: &mut BytesMut, max: usize) -> Result<(), Failure> {
        if self.rest.is_empty() {
            let doing = self.connection.doing("reading", &self.path);
            let next = async { self.stream.next().await.transpose() };
            self.rest = match self.connection.limited(doing, next).await? {
                Some(chunk) => chunk,
                None => return Err(doing.failure(&HdfsError::BlocksNotFound("the blocks end before the file".into()))),
            };
        }
        let piece = self.rest.split_to(self.rest.len().min(max));
        content.extend_from_slice(&piece);
        self.position += piece.len() as u64;
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
            let (at, missing) = (offset + content.len() as u64, wanted - content.len());
            self.seek(at, missing as u64);
            let Err(failure) = self.read_some(&mut content, missing).await else {
                failed = 0;
                continue;
            };
            self.drop_stream();
            failed += 1;
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
