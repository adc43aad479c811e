//! What flows through a chain, and what an operator is.

use flumen_model::checkpoint::CheckpointId;
use flumen_model::failure::Blame;
pub use flumen_state::SnapshotStep;
use flumen_state::{StateError, StateErrorKind};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::batch::{Batch, EventTime};
use crate::checkpoint::Snapshot;
use crate::restore::condemns;

/// A type whose values can be records of a stream: any record may have to cross to another process.
pub trait Data: Clone + Send + Serialize + DeserializeOwned + 'static {}
impl<T: Clone + Send + Serialize + DeserializeOwned + 'static> Data for T {}

/// Records that a batch holds at most by intention: enough that a virtual call, a lock and a wake-up per batch vanish,
/// few enough that a batch of small records stays in the first-level caches while it passes through a chain.
pub const BATCH_RECORDS: usize = 1024;

/// Why a subtask stops before the end of its input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskError {
    /// It was told to.
    Canceled,
    /// It can't go on.
    Failed {
        /// Whose fault.
        blame: Blame,
        /// What happened, with causes.
        message: String,
    },
    /// It can't begin with the checkpoint that it was given: a file is missing, torn or altered.
    Restore {
        /// Which file, and what is wrong with it.
        message: String,
    },
}

impl From<StateError> for TaskError {
    fn from(error: StateError) -> Self {
        match error.kind() {
            StateErrorKind::Corrupt { .. } => Self::Restore { message: error_chain(&error) },
            StateErrorKind::Read { source, .. } if condemns(source) => Self::Restore { message: error_chain(&error) },
            _ => Self::Failed { blame: error.blame(), message: error_chain(&error) },
        }
    }
}

/// An error with all its causes.
fn error_chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let what = error.to_string();
        // Some say themselves what caused them.
        if !text.ends_with(&what) {
            text.push_str(&format!(": {what}"));
        }
        cause = error.source();
    }
    text
}

impl TaskError {
    /// A failure with the whole chain of an error's causes.
    pub fn caused_by(blame: Blame, what: impl std::fmt::Display, error: &(dyn std::error::Error + 'static)) -> Self {
        let message = format!("{what}: {}", error_chain(error));
        Self::Failed { blame, message }
    }

    /// A failure without a cause of its own.
    pub fn failed(blame: Blame, message: impl Into<String>) -> Self {
        Self::Failed { blame, message: message.into() }
    }
}

/// The result of a step of a subtask.
pub type TaskResult<T = ()> = Result<T, TaskError>;

/// The receiving end of an operator in a chain: records are pushed from the head to the writers and sinks.
///
/// What one subtask is given, and gives to each of its outputs, follows the grammar
/// `(Records | Signal)* Watermark(END_OF_TIME) End Barrier* Close`. After an error nothing more is called. All calls come
/// from the subtask's own thread.
pub trait Push<T> {
    /// Takes all records out of the batch, which comes back empty with its capacity.
    fn push(&mut self, batch: &mut Batch<T>) -> TaskResult;

    /// Takes notice of something that is no record, and passes it on. An operator that holds records back for its own
    /// sake (and not for a timer's) emits them before it passes anything on.
    fn signal(&mut self, signal: Signal<'_>) -> TaskResult;
}

/// What passes through a chain between records.
#[derive(Debug)]
pub enum Signal<'a> {
    /// No record with this or an earlier event time follows. Never goes back.
    Watermark(EventTime),
    /// Whether records and watermarks are not to be expected for now (true), or are again.
    Idle(bool),
    /// The records that follow come from this split, of the source's own numbering: a source that reads several in
    /// turn says so for the sake of watermarks per split. Not passed on beyond the operator that makes watermarks.
    Split(SplitChange),
    /// The place of a checkpoint in the stream: take a snapshot, and pass it on.
    Barrier(&'a mut Snapshot),
    /// A checkpoint is complete: commit what was prepared up to it.
    Completed(CheckpointId),
    /// A checkpoint will never be complete. What was prepared for it is committed with a later one.
    Aborted(CheckpointId),
    /// The processing time: fire timers that are due, and say when the next one is.
    Time(&'a mut Clock),
    /// How far the slowest of a group with aligned watermarks is; `None`: nobody has a watermark.
    Align(&'a str, Option<EventTime>),
    /// Pass on whatever waits in a buffer: the subtask has nothing else to do.
    Flush,
    /// Try to send what waits for credit.
    Resume,
    /// Do a piece of work that does not belong to any record (a running snapshot), and say what is needed next.
    Background(&'a mut SnapshotStep),
    /// No more records and watermarks: emit what is left.
    End,
    /// Nothing follows, not even barriers.
    Close,
}

/// See [`Signal::Split`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SplitChange {
    /// What follows is from that split.
    Current(u64),
    /// Nothing of that split follows.
    Finished(u64),
}

/// See [`Signal::Time`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// Now, in milliseconds since 1970.
    pub now: EventTime,
    /// When somebody next wants to be called.
    pub next: Option<EventTime>,
}

impl Clock {
    /// Asks for a call at that time or soon after.
    pub fn call_at(&mut self, time: EventTime) {
        self.next = Some(self.next.map_or(time, |next| next.min(time)));
    }
}

impl Signal<'_> {
    /// The same signal once more, for another receiver.
    pub fn again(&mut self) -> Signal<'_> {
        match self {
            Self::Watermark(time) => Signal::Watermark(*time),
            Self::Idle(idle) => Signal::Idle(*idle),
            Self::Split(split) => Signal::Split(*split),
            Self::Barrier(snapshot) => Signal::Barrier(snapshot),
            Self::Completed(checkpoint) => Signal::Completed(*checkpoint),
            Self::Aborted(checkpoint) => Signal::Aborted(*checkpoint),
            Self::Time(clock) => Signal::Time(clock),
            Self::Align(group, least) => Signal::Align(group, *least),
            Self::Flush => Signal::Flush,
            Self::Resume => Signal::Resume,
            Self::Background(more) => Signal::Background(more),
            Self::End => Signal::End,
            Self::Close => Signal::Close,
        }
    }
}

/// The end of a chain whose records nobody wants.
#[derive(Debug)]
pub struct Discard;

impl<T> Push<T> for Discard {
    fn push(&mut self, batch: &mut Batch<T>) -> TaskResult {
        batch.clear();
        Ok(())
    }

    fn signal(&mut self, _: Signal<'_>) -> TaskResult {
        Ok(())
    }
}

/// Gives every record to several consumers.
pub struct Tee<T> {
    outputs: Vec<Box<dyn Push<T>>>,
    copy: Batch<T>,
}

impl<T> Tee<T> {
    /// One end for all these outputs.
    pub fn new(outputs: Vec<Box<dyn Push<T>>>) -> Self {
        Self { outputs, copy: Batch::new() }
    }
}

impl<T: Clone> Push<T> for Tee<T> {
    fn push(&mut self, batch: &mut Batch<T>) -> TaskResult {
        let Some((last, others)) = self.outputs.split_last_mut() else {
            batch.clear();
            return Ok(());
        };
        for output in others {
            self.copy.extend_from(batch);
            output.push(&mut self.copy)?;
        }
        last.push(batch)
    }

    fn signal(&mut self, mut signal: Signal<'_>) -> TaskResult {
        self.outputs.iter_mut().try_for_each(|output| output.signal(signal.again()))
    }
}
