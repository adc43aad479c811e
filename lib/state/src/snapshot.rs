//! A snapshot on its way from the subtask that takes it to whoever writes it to a file system.

use std::ops::BitOrAssign;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle, Thread};

use flumen_model::checkpoint::{KeyGroupRange, KeyedFormat};

use crate::canonical::{SpareBlocks, Writer};
use crate::error::{StateError, StateErrorKind};

/// Messages that may be on their way: 4 MiB, so that a slow file system does not make the subtask hold much more.
const MESSAGES_MAX: usize = 64;
/// Blocks of so many bytes go together: each message may wake the thread that takes them.
pub(crate) const MESSAGE_BYTES: usize = 64 << 10;
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

/// What the snapshots that a subtask has begun need of it next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
#[must_use]
pub enum SnapshotStep {
    /// Nothing: all was done and taken.
    #[default]
    Done,
    /// Nothing until more of their bytes were taken. Whoever takes them unparks the thread of the subtask then.
    Waits,
    /// Another step, after the next batch of records or at once.
    More,
}

/// Several states of one subtask: what any of them needs.
impl BitOrAssign for SnapshotStep {
    fn bitor_assign(&mut self, other: Self) {
        *self = (*self).max(other);
    }
}

/// The blocks of a snapshot in the canonical format; ends after the last or the first error. Each may wait for the subtask.
#[derive(Debug)]
pub struct CanonicalBlocks {
    /// `None` only while it is dropped.
    receiver: Option<Receiver<Message>>,
    /// The thread that makes the blocks, if it does nothing else.
    maker: Option<JoinHandle<()>>,
    complete: bool,
    /// Of the last message, those that nobody has asked for yet.
    ready: std::vec::IntoIter<Vec<u8>>,
    /// Messages that were taken since the subtask was last told.
    taken: usize,
    subtask: Arc<Subtask>,
    spare: SpareBlocks,
}

/// The thread that makes the blocks, if it does not wait for room.
#[derive(Debug)]
struct Subtask {
    thread: Thread,
    /// It found no room for a block.
    waits: AtomicBool,
}

impl Subtask {
    fn wake_if_it_waits(&self) {
        if self.waits.swap(false, Ordering::SeqCst) {
            self.thread.unpark();
        }
    }
}

enum Message {
    Blocks(Vec<Vec<u8>>),
    Failed(StateError),
    Complete,
}

impl Iterator for CanonicalBlocks {
    type Item = Result<Vec<u8>, StateError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(block) = self.ready.next() {
            return Some(Ok(block));
        }
        if self.complete {
            return None;
        }
        let receiver = self.receiver.as_ref()?;
        self.taken += 1;
        let ready = match receiver.try_recv() {
            // When there is room for several, so that the subtask isn't woken for each.
            Ok(message) if self.taken < MESSAGES_MAX / 4 => Ok(message),
            first => {
                self.taken = 0;
                self.subtask.wake_if_it_waits();
                first.or_else(|_| receiver.recv())
            }
        };
        match ready {
            Ok(Message::Blocks(blocks)) => {
                self.ready = blocks.into_iter();
                self.next()
            }
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

impl Drop for CanonicalBlocks {
    fn drop(&mut self) {
        // Whoever makes the blocks finds out that nobody takes them any more.
        self.receiver = None;
        self.subtask.wake_if_it_waits();
        if let Some(maker) = self.maker.take() {
            // A panic in it ended the blocks too early, which was seen.
            let _ = maker.join();
        }
    }
}

impl CanonicalBlocks {
    /// Takes back the memory of blocks that nobody needs any more.
    pub fn spare(&self) -> &SpareBlocks {
        &self.spare
    }

    /// Says where the memory of the blocks comes from.
    pub(crate) fn reusing(self, spare: SpareBlocks) -> Self {
        // A destructor stands in the way of taking it apart.
        let mut this = self;
        this.spare = spare;
        this
    }

    /// Says which thread makes the blocks: it has ended when these are gone.
    #[cfg(feature = "rocksdb")]
    pub(crate) fn made_by(mut self, maker: JoinHandle<()>) -> Self {
        self.maker = Some(maker);
        self
    }
}

/// The sending end of [`CanonicalBlocks`].
pub(crate) struct ChunkSender {
    sender: SyncSender<Message>,
    subtask: Arc<Subtask>,
    /// What didn't find room.
    held: Option<Message>,
    failed: bool,
    abandoned: bool,
}

/// Both ends for the blocks of one snapshot.
///
/// The current thread is the one that is unparked when there is room again, so it makes the blocks; any other one has to send
/// them with `wait`, and its handle is given to [`CanonicalBlocks::made_by`].
pub(crate) fn blocks() -> (ChunkSender, CanonicalBlocks) {
    with_room(MESSAGES_MAX)
}

fn with_room(messages: usize) -> (ChunkSender, CanonicalBlocks) {
    let (sender, receiver) = sync_channel(messages);
    let subtask = Arc::new(Subtask { thread: thread::current(), waits: AtomicBool::new(false) });
    (
        ChunkSender { sender, subtask: Arc::clone(&subtask), held: None, failed: false, abandoned: false },
        CanonicalBlocks {
            receiver: Some(receiver),
            maker: None,
            complete: false,
            ready: Vec::new().into_iter(),
            taken: 0,
            subtask,
            spare: SpareBlocks::default(),
        },
    )
}

/// The blocks of a writer that has finished.
#[cfg(any(test, feature = "conformance"))]
pub(crate) fn whole(mut writer: Writer) -> CanonicalBlocks {
    let (mut sender, blocks) = with_room(writer.waiting_blocks() + 1);
    sender.send(&mut writer, false);
    blocks
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
                None => match writer.pop_together(MESSAGE_BYTES) {
                    Some(blocks) => Message::Blocks(blocks),
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
                // Looks again once whoever takes the blocks knows: all may have been taken in between.
                Err(TrySendError::Full(message)) if !self.subtask.waits.swap(true, Ordering::SeqCst) => {
                    self.held = Some(message);
                }
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

    /// Whether it holds what didn't find room.
    pub(crate) fn is_full(&self) -> bool {
        self.held.is_some()
    }

    /// Whether nobody takes the blocks any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.abandoned
    }
}
