//! Writing: a writer outlives a restart or failover of the NameNode, within the retry budget.
//!
//! hdfs-native's writer forgets its last block when a call to the NameNode fails at a block's end or at the file's end. The
//! bytes are safe on the DataNodes by then, so the NameNode is asked to recover the file's end (its lease); after that the
//! file is complete, or is opened again for appending. Pieces never span two blocks, so it is known what was taken.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use hdfs_native::file::FileWriter as NativeWriter;
use tracing::{info, warn};

use super::connection::Connection;
use super::errors::{Failure, Outcome};
use super::retry::Replay;
use crate::{FileWriter, FsError, FsPath};

/// The longest piece that is written at once; each has the time limit of a call to itself.
const MAX_PIECE: u64 = 4 << 20;
/// Until the block size is known: `dfs.namenode.fs-limits.min-block-size` is 1 MiB.
const MIN_BLOCK_SIZE: u64 = 1 << 20;

/// First time between two looks whether the NameNode knows of a file's last block; the next ones are twice as long each.
const REPORT_POLL: Duration = Duration::from_millis(5);
/// Time for an answer that was sent before the one to a later question.
const ANSWER_UNDERWAY: Duration = Duration::from_millis(5);

pub(super) struct HdfsWriter {
    connection: Arc<Connection>,
    path: FsPath,
    /// `None` after it failed and could not be opened again.
    native: Option<NativeWriter>,
    written: u64,
    /// Told by the NameNode at the first write; files without content need no more calls.
    made: Option<Made>,
}

/// What the NameNode said of the file when it was new.
#[derive(Debug, Clone, Copy)]
struct Made {
    /// Tells it from one that replaced it.
    modified_ms: u64,
    block_size: u64,
}

impl HdfsWriter {
    pub(super) fn new(connection: Arc<Connection>, path: FsPath, native: NativeWriter) -> Self {
        Self { connection, path, native: Some(native), written: 0, made: None }
    }

    /// Length, and what tells the file from another of its name.
    async fn look(&self, operation: &'static str) -> Result<(u64, Made), Failure> {
        let path = self.path.path();
        let doing = self.connection.doing(operation, &self.path);
        let answer =
            self.connection.call(doing, Replay::Idempotent, |client| async move { client.get_file_info(path).await });
        let status = answer.await?.value;
        let block_size = status.blocksize.filter(|size| *size > 0).unwrap_or(MIN_BLOCK_SIZE);
        Ok((status.length as u64, Made { modified_ms: status.modification_time, block_size }))
    }

    /// Bytes that the next piece may have: up to the end of the block.
    fn room(&self) -> usize {
        let block_size = self.made.map_or(MIN_BLOCK_SIZE, |made| made.block_size);
        (block_size - self.written % block_size).min(MAX_PIECE) as usize
    }

    fn at_block_start(&self) -> bool {
        self.made.is_some_and(|made| self.written.is_multiple_of(made.block_size))
    }

    async fn append(&mut self, piece: Bytes) -> Result<(), Failure> {
        let len = piece.len() as u64;
        let doing = self.connection.doing("writing", &self.path);
        let Some(native) = &mut self.native else {
            let source = "the writer failed before and could not be opened again".into();
            let error = FsError::Other { operation: "writing", path: self.path.to_string(), source };
            return Err(Failure { error, outcome: Outcome::Refused });
        };
        self.connection.limited(doing, Box::pin(native.write_bytes(piece))).await?;
        self.written += len;
        Ok(())
    }

    /// Appends a piece that lies in one block. A new block is asked for before any byte of the piece is taken, so such a
    /// failure can be mended.
    async fn append_mending(&mut self, piece: Bytes) -> Result<(), FsError> {
        let begun = Instant::now();
        let mut failed = 0;
        loop {
            let Err(failure) = self.append(piece.clone()).await else { return Ok(()) };
            if !self.at_block_start() || !was_lost(&failure) {
                return Err(failure.error);
            }
            failed += 1;
            let policy = &self.connection.policy;
            let outcome = if failure.outcome == Outcome::Full { Outcome::Full } else { Outcome::NotExecuted };
            let next = policy.next_wait(outcome, Replay::IfNotExecuted, failed, begun.elapsed());
            let Some(wait) = next else { return Err(failure.error) };
            warn!(error = %failure.error, attempt = failed, ?wait, "asking for a block is repeated");
            tokio::time::sleep(wait).await;
            // Should bytes of the piece have got through after all, the recovered length shows it and the write fails.
            self.recover("writing", failure).await?;
            self.reopen().await?;
        }
    }

    /// Lets the NameNode complete the file from what the DataNodes hold, and checks that this is everything.
    async fn recover(&mut self, operation: &'static str, failure: Failure) -> Result<(), FsError> {
        let begun = Instant::now();
        let mut failed = 0;
        // Recovering a file that somebody else put there would take it away from them.
        let (_, found) = self.look(operation).await.map_err(|failure| failure.error)?;
        if self.made.map(|made| made.modified_ms) != Some(found.modified_ms) {
            return Err(failure.error);
        }
        loop {
            let path = &self.path;
            let doing = self.connection.doing(operation, path);
            let recovery = self
                .connection
                .call(doing, Replay::Idempotent, |client| async move { client.recover_lease(path.path()).await });
            if recovery.await.map_err(|failure| failure.error)?.value {
                break;
            }
            failed += 1;
            let policy = &self.connection.policy;
            match policy.next_wait(Outcome::NotExecuted, Replay::Idempotent, failed, begun.elapsed()) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return Err(failure.error),
            }
        }
        let (len, recovered) = self.look(operation).await.map_err(|failure| failure.error)?;
        if len != self.written {
            return Err(failure.error);
        }
        info!(path = %self.path, len, "the NameNode recovered the file after it had lost touch");
        self.made = Some(recovered);
        Ok(())
    }

    async fn reopen(&mut self) -> Result<(), FsError> {
        // The old writer ends the renewal of the file's lease when it is dropped, so it goes first.
        self.native = None;
        let path = self.path.path();
        let doing = self.connection.doing("writing", &self.path);
        let answer =
            self.connection.call(doing, Replay::IfNotExecuted, |client| async move { client.append(path).await });
        self.native = Some(answer.await.map_err(|failure| failure.error)?.value);
        Ok(())
    }
}

/// Waits until the NameNode has a DataNode's report of the last block of a file of `written` bytes; for ever when that can't
/// be told, or there is no block.
///
/// hdfs-native asks the NameNode to complete a file at once, and where the report is not there yet, as mostly with a DataNode
/// nearby, again only after 500 ms. The report takes a few. It shows in the file's length: the NameNode leaves a last block out
/// of it until it has been told the block's end by the client and of its copies by a DataNode.
async fn last_block_reported(connection: &Connection, path: &FsPath, written: u64) {
    let mut wait = REPORT_POLL;
    let mut known = 0;
    while known != written {
        tokio::time::sleep(wait).await;
        wait *= 2;
        let doing = connection.doing("closing", path);
        let answer = connection
            .call(doing, Replay::Idempotent, |client| async move { client.get_file_info(path.path()).await })
            .await;
        match answer {
            Ok(answer) => known = answer.value.length as u64,
            Err(_) => return std::future::pending().await,
        }
    }
    if written == 0 {
        std::future::pending().await
    }
}

/// Whether the NameNode was out of reach, as opposed to having said no.
fn was_lost(failure: &Failure) -> bool {
    matches!(failure.outcome, Outcome::NotExecuted | Outcome::Unknown | Outcome::Full)
}

#[async_trait]
impl FileWriter for HdfsWriter {
    async fn write(&mut self, mut data: Bytes) -> Result<(), FsError> {
        if self.made.is_none() && !data.is_empty() {
            self.made = Some(self.look("writing").await.map_err(|failure| failure.error)?.1);
        }
        while !data.is_empty() {
            let piece = data.split_to(data.len().min(self.room()));
            self.append_mending(piece).await?;
        }
        Ok(())
    }

    async fn close(mut self: Box<Self>) -> Result<(), FsError> {
        let begun = Instant::now();
        let mut failed = 0;
        loop {
            let doing = self.connection.doing("closing", &self.path);
            // Without a writer the last write has failed already.
            let Some(native) = &mut self.native else { return self.append(Bytes::new()).await.map_err(|f| f.error) };
            let closed = {
                let mut closing = std::pin::pin!(self.connection.limited(doing, Box::pin(native.close())));
                tokio::select! {
                    biased;
                    closed = &mut closing => Some(closed),
                    () = last_block_reported(&self.connection, &self.path, self.written) =>
                        tokio::time::timeout(ANSWER_UNDERWAY, closing).await.ok(),
                }
            };
            let closed = match closed {
                Some(closed) => closed,
                // Its bytes are with the DataNodes: hdfs-native only asks the NameNode once more to complete the file.
                None => match self.connection.limited(doing, Box::pin(native.close())).await {
                    Err(failure) => return self.end_lost(failure).await,
                    closed => closed,
                },
            };
            let Err(failure) = closed else { return Ok(()) };
            if !was_lost(&failure) {
                return Err(failure.error);
            }
            if self.written > 0 {
                return self.end_lost(failure).await;
            }
            // Completing an empty file twice does no harm.
            failed += 1;
            let policy = &self.connection.policy;
            let next = policy.next_wait(failure.outcome, Replay::Idempotent, failed, begun.elapsed());
            let Some(wait) = next else { return Err(failure.error) };
            warn!(error = %failure.error, attempt = failed, ?wait, "closing is repeated");
            tokio::time::sleep(wait).await;
        }
    }
}

impl HdfsWriter {
    /// The answer to `complete` was lost, or the request was refused for now: while the file is open, the NameNode leaves
    /// its last block out of its length, so the whole length means that it is complete.
    async fn end_lost(&mut self, failure: Failure) -> Result<(), FsError> {
        let (len, _) = self.look("closing").await.map_err(|failure| failure.error)?;
        if len == self.written { Ok(()) } else { self.recover("closing", failure).await }
    }
}
