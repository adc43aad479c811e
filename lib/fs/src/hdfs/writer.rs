//! Writing: as far as hdfs-native allows, a writer outlives a restart of the NameNode.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use hdfs_native::file::FileWriter as NativeWriter;
use tracing::warn;

use super::connection::Connection;
use super::errors::{Failure, Outcome};
use super::retry::Replay;
use super::stat;
use crate::{FileWriter, FsError, FsPath};

/// The first write asks for the first block before it takes any byte, so it can be repeated if it is no longer than a
/// block can be (`dfs.namenode.fs-limits.min-block-size` is 1 MiB).
const FIRST_WRITE: usize = 64 << 10;

/// Each piece has the time limit of a call to itself.
const WRITE_PIECE: usize = 4 << 20;

pub(super) struct HdfsWriter {
    connection: Arc<Connection>,
    path: FsPath,
    native: NativeWriter,
    written: u64,
    /// Modification time of the file just made: tells it from one that replaced it.
    created_ms: Option<u64>,
}

impl HdfsWriter {
    pub(super) fn new(connection: Arc<Connection>, path: FsPath, native: NativeWriter) -> Self {
        Self { connection, path, native, written: 0, created_ms: None }
    }

    async fn append(&mut self, data: Bytes) -> Result<(), Failure> {
        let len = data.len() as u64;
        let doing = self.connection.doing("writing", &self.path);
        self.connection.limited(doing, Box::pin(self.native.write_bytes(data))).await?;
        self.written += len;
        Ok(())
    }

    /// The first bytes, repeated while no block can be had.
    async fn begin(&mut self, data: Bytes) -> Result<(), FsError> {
        self.created_ms = stat(&self.connection, "writing", &self.path).await.ok().map(|status| status.modified_ms);
        let begun = Instant::now();
        let mut failed = 0;
        loop {
            let Err(failure) = self.append(data.clone()).await else { return Ok(()) };
            failed += 1;
            let policy = &self.connection.policy;
            let next = policy.next_wait(failure.outcome, Replay::IfNotExecuted, failed, begun.elapsed());
            let Some(wait) = next else { return Err(failure.error) };
            warn!(error = %failure.error, attempt = failed, ?wait, "the first write is repeated");
            tokio::time::sleep(wait).await;
        }
    }

    /// After `complete` failed although the DataNodes hold all bytes: looks whether the NameNode completed the file all
    /// the same, else lets it recover the file's end. hdfs-native has forgotten the last block by then and can't ask again.
    async fn recover(&mut self, failure: Failure) -> Result<(), FsError> {
        let begun = Instant::now();
        let mut failed = 0;
        loop {
            let status = stat(&self.connection, "closing", &self.path).await.map_err(|failure| failure.error)?;
            if status.len == self.written {
                return Ok(());
            }
            // Recovering a file that somebody else put there would take it away from them.
            if self.created_ms != Some(status.modified_ms) {
                return Err(failure.error);
            }
            let path = &self.path;
            let doing = self.connection.doing("closing", path);
            let recovery = self
                .connection
                .call(doing, Replay::Idempotent, |client| async move { client.recover_lease(path.path()).await });
            recovery.await.map_err(|failure| failure.error)?;
            failed += 1;
            let policy = &self.connection.policy;
            match policy.next_wait(Outcome::NotExecuted, Replay::Idempotent, failed, begun.elapsed()) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return Err(failure.error),
            }
        }
    }
}

#[async_trait]
impl FileWriter for HdfsWriter {
    async fn write(&mut self, mut data: Bytes) -> Result<(), FsError> {
        while !data.is_empty() {
            if self.written == 0 {
                let first = data.split_to(data.len().min(FIRST_WRITE));
                self.begin(first).await?;
            } else {
                let piece = data.split_to(data.len().min(WRITE_PIECE));
                self.append(piece).await.map_err(|failure| failure.error)?;
            }
        }
        Ok(())
    }

    async fn close(mut self: Box<Self>) -> Result<(), FsError> {
        let begun = Instant::now();
        let mut failed = 0;
        loop {
            let doing = self.connection.doing("closing", &self.path);
            let Err(failure) = self.connection.limited(doing, Box::pin(self.native.close())).await else {
                return Ok(());
            };
            let lost = matches!(failure.outcome, Outcome::NotExecuted | Outcome::Unknown);
            if self.written > 0 {
                return if lost { self.recover(failure).await } else { Err(failure.error) };
            }
            // Completing an empty file twice does no harm.
            failed += 1;
            let policy = &self.connection.policy;
            let Some(wait) = policy.next_wait(failure.outcome, Replay::Idempotent, failed, begun.elapsed()) else {
                return Err(failure.error);
            };
            warn!(error = %failure.error, attempt = failed, ?wait, "closing is repeated");
            tokio::time::sleep(wait).await;
        }
    }
}
