//! A snapshot on its way from the subtask that takes it to whoever writes it to a file system.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use flumen_model::checkpoint::{KeyGroupRange, KeyedFormat};

use crate::canonical::Writer;
use crate::error::{StateError, StateErrorKind};

/// Blocks that may be on their way: 4 MiB, so that a slow file system does not make the subtask hold much more.
const BLOCKS_MAX: usize = 64;
/// A writer that holds more than this, because entries change faster than blocks are taken, makes the subtask wait.
const WAITING_BYTES_MAX: usize = 64 << 20;

/// The part of a snapshot that is left to do elsewhere: give it to another thread, which takes its bytes or files.
///
/// Dropping it gives the snapshot up.
#[derive(Debug)]
pub struct PendingSnapshot {
    /// The key groups in it.
    pub groups: KeyGroupRange,
    /// What it consists of.
    pub source: SnapshotBytes,
}

/// See [`PendingSnapshot`].
#[derive(Debug)]
pub enum SnapshotBytes {
    /// One part, `state`, in the canonical format: blocks that follow one another.
    Canonical(CanonicalBlocks),
    /// Files of a RocksDB instance, one part each.
    Files(Box<dyn FileSource>),
}

/// Files that exist until this is dropped.
pub trait FileSource: Send + std::fmt::Debug {
    /// The files. Waits until they are made.
    ///
    /// # Errors
    /// They can't be made.
    fn files(&mut self) -> Result<&[SnapshotFile], StateError>;
}

/// A local file that is one part of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotFile {
    /// The part's name.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// Its length, bytes.
    pub length: u64,
    /// Under this name the same content was, or will be, part of other snapshots of this instance; `None` for a file that
    /// only this snapshot has.
    pub shared_as: Option<String>,
}

impl PendingSnapshot {
    /// The format of the parts.
    pub fn format(&self) -> KeyedFormat {
        match self.source {
            SnapshotBytes::Canonical(_) => KeyedFormat::Canonical,
            SnapshotBytes::Files(_) => KeyedFormat::RocksDb,
        }
    }
}

/// The blocks of a snapshot in the canonical format; ends after the last or the first error. Each may wait for the subtask.
#[derive(Debug)]
pub struct CanonicalBlocks {
    receiver: Receiver<Message>,
    complete: bool,
}

enum Message {
    Block(Vec<u8>),
    Failed(StateError),
    Complete,
}

impl Iterator for CanonicalBlocks {
    type Item = Result<Vec<u8>, StateError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.complete {
            return None;
        }
        match self.receiver.recv() {
            Ok(Message::Block(block)) => Some(Ok(block)),
            Ok(Message::Complete) => {
                self.complete = true;
                None
            }
            Ok(Message::Failed(error)) => {
                self.complete = true;
                Some(Err(error))
            }
            Err(_) => {
                self.complete = true;
                Some(Err(StateErrorKind::SubtaskGone.into()))
            }
        }
    }
}

/// The sending end of [`CanonicalBlocks`].
pub(crate) struct ChunkSender {
    sender: SyncSender<Message>,
    /// What didn't find room.
    held: Option<Message>,
    failed: bool,
    abandoned: bool,
}

/// Both ends for the blocks of one snapshot.
pub(crate) fn blocks() -> (ChunkSender, CanonicalBlocks) {
    let (sender, receiver) = sync_channel(BLOCKS_MAX);
    (ChunkSender { sender, held: None, failed: false, abandoned: false }, CanonicalBlocks { receiver, complete: false })
}

/// The blocks of a writer that has finished.
#[cfg(any(test, feature = "conformance"))]
pub(crate) fn whole(mut writer: Writer) -> CanonicalBlocks {
    let (sender, receiver) = sync_channel(writer.waiting_blocks() + 1);
    let mut sender = ChunkSender { sender, held: None, failed: false, abandoned: false };
    sender.send(&mut writer, false);
    CanonicalBlocks { receiver, complete: false }
}

impl ChunkSender {
    /// Gives on what the writer has ready; true when there is, or will be, more to give.
    ///
    /// Waits when it shall, or when the writer holds too much: until a block is taken, or the reader is gone.
    pub(crate) fn send(&mut self, writer: &mut Writer, wait: bool) -> bool {
        while !self.abandoned {
            let message = match self.held.take() {
                Some(message) => message,
                None if self.failed => return false,
                None => match writer.pop() {
                    Some(block) => Message::Block(block),
                    None if writer.is_finished() => {
                        self.failed = true;
                        writer.stray().map_or(Message::Complete, Message::Failed)
                    }
                    None => return true,
                },
            };
            if wait || writer.waiting_bytes() > WAITING_BYTES_MAX {
                self.abandoned = self.sender.send(message).is_err();
                continue;
            }
            match self.sender.try_send(message) {
                Ok(()) => {}
                Err(TrySendError::Full(message)) => {
                    self.held = Some(message);
                    return true;
                }
                Err(TrySendError::Disconnected(_)) => self.abandoned = true,
            }
        }
        false
    }

    /// The snapshot can't be completed.
    pub(crate) fn fail(&mut self, error: StateError) {
        if !self.failed {
            self.failed = true;
            self.held = Some(Message::Failed(error));
        }
    }

    /// Whether nobody takes the blocks any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.abandoned
    }
}
