//! Sources that a program writes itself.

use std::collections::VecDeque;
use std::time::Duration;

use flumen_model::checkpoint::Redistribution;
use flumen_model::ids::OperatorId;
use flumen_worker::batch::{Batch, EventTime, NO_TIME};
use flumen_worker::exchange::codec;
use flumen_worker::functions::{FunctionResult, RuntimeContext};
use flumen_worker::operator::{Data, SplitChange, TaskResult};
use flumen_worker::operator_state::schema_of;
use flumen_worker::sources::{Position, Source, SourceStatus};
use flumen_worker::subtask::SubtaskContext;

use crate::function_error::failed;

/// A source of the program's own, which can be read again from any place that it has reached.
///
/// Its input consists of splits. A split is a value that says what is to be read *from now on*: where the input is and how
/// far it has been read. [`read`](Self::read) moves it on past the records that it emits. Checkpoints store splits, and after
/// a failure they are read again from there; so for the same split `read` must emit the same records, in the same order.
///
/// ```
/// use flumen::{FunctionResult, ReadStatus, RuntimeContext, SourceFunction, SourceOutput};
///
/// /// The numbers up to a million, in four splits.
/// #[derive(Clone)]
/// struct Numbers;
///
/// impl SourceFunction for Numbers {
///     type Out = u64;
///     /// What is left: from, to.
///     type Split = (u64, u64);
///     type State = ();
///
///     fn splits(&self) -> Vec<(u64, u64)> {
///         (0..4).map(|i| (i * 250_000, (i + 1) * 250_000)).collect()
///     }
///
///     fn open(&self, _: &RuntimeContext) -> FunctionResult {
///         Ok(())
///     }
///
///     fn read(
///         &mut self,
///         (next, end): &mut (u64, u64),
///         _: &mut (),
///         out: &mut SourceOutput<'_, u64>,
///     ) -> FunctionResult<ReadStatus> {
///         while *next < *end && !out.is_full() {
///             out.collect(*next);
///             *next += 1;
///         }
///         Ok(if next == end { ReadStatus::Finished } else { ReadStatus::More })
///     }
/// }
/// ```
pub trait SourceFunction: Clone + Send + Sync + 'static {
    /// What it emits.
    type Out: Data;
    /// A part of the input, with the place where reading goes on. Its type may change between two versions of the program as
    /// that of any state may.
    type Split: Data;
    /// What [`open`](Self::open) makes, and `read` works with: a connection, files by split.
    type State: 'static;

    /// Whether the input has an end. In batch execution it must have one.
    fn is_bounded(&self) -> bool {
        true
    }

    /// The whole input. Called in every subtask, each of which takes its share: it must say the same in all. Not called after
    /// a restore, when the splits are those of the checkpoint.
    fn splits(&self) -> Vec<Self::Split>;

    /// Called once in each subtask, before everything but [`splits`](Self::splits).
    ///
    /// # Errors
    /// Any: the subtask fails.
    fn open(&self, context: &RuntimeContext) -> FunctionResult<Self::State>;

    /// Emits some records of a split (until [`SourceOutput::is_full`], which allows fewer where records are slow) and moves the split on past them. It should come back
    /// within a few milliseconds: checkpoints and cancellations wait for it. When there is nothing to read yet, it says so
    /// instead of waiting.
    ///
    /// # Errors
    /// Any: the subtask fails.
    fn read(
        &mut self,
        split: &mut Self::Split,
        state: &mut Self::State,
        out: &mut SourceOutput<'_, Self::Out>,
    ) -> FunctionResult<ReadStatus>;
}

/// What a source says after it has read from a split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadStatus {
    /// There is more.
    More,
    /// Nothing now; look again after that time.
    Idle(Duration),
    /// The split has been read to its end.
    Finished,
}

/// Takes the records of a source.
pub struct SourceOutput<'a, T> {
    batch: &'a mut Batch<T>,
    /// Records after which it is full.
    limit: usize,
}

impl<T> SourceOutput<'_, T> {
    /// Emits a record without event time.
    pub fn collect(&mut self, record: T) {
        self.batch.push(record, NO_TIME);
    }

    /// Emits a record with its event time, milliseconds since 1970.
    pub fn collect_with_timestamp(&mut self, record: T, timestamp: EventTime) {
        self.batch.push(record, timestamp);
    }

    /// Whether it is time to come back.
    pub fn is_full(&self) -> bool {
        self.batch.len() >= self.limit
    }
}

/// A [`SourceFunction`] with the splits of one subtask, which are read in turn.
pub(crate) struct SplitSource<F: SourceFunction> {
    function: F,
    state: F::State,
    /// With their numbers for watermarks; the one that is read next is first.
    splits: VecDeque<(u64, F::Split)>,
    /// How many splits the operators behind know of: they hold watermarks back for all of them from the beginning.
    announced: u64,
    to_announce: u64,
    /// The split of the last records.
    current: Option<u64>,
    /// The split that the operators behind take the records to be of.
    told: Option<u64>,
    /// A split whose last records were emitted, before and after the operators behind may be told.
    finishing: Option<u64>,
    finished: Option<u64>,
    /// How many splits in a row had nothing to read, and the shortest time until one of them is looked at again.
    idle: (usize, Duration),
    /// Of a split.
    schema: String,
}

const NOT_IDLE: (usize, Duration) = (0, Duration::MAX);

impl<F: SourceFunction> SplitSource<F> {
    pub(crate) fn new(function: F, context: &SubtaskContext, operator: OperatorId) -> TaskResult<Self> {
        let splits: Vec<F::Split> = match context.restored_values(operator, Position::NAME)? {
            Some(splits) => splits,
            None => {
                let own = |index: usize| index as u32 % context.parallelism == context.id.index;
                let splits = function.splits().into_iter().enumerate().filter(|(index, _)| own(*index));
                splits.map(|(_, split)| split).collect()
            }
        };
        let state = function.open(&RuntimeContext::new(context));
        Ok(Self {
            function,
            to_announce: splits.len() as u64,
            state: state.map_err(|error| failed("the source's open() failed", &*error))?,
            splits: (0..).zip(splits).collect(),
            announced: 0,
            current: None,
            told: None,
            finishing: None,
            finished: None,
            idle: NOT_IDLE,
            schema: schema_of::<F::Split>(Position::NAME),
        })
    }
}

impl<F: SourceFunction> Source<F::Out> for SplitSource<F> {
    fn poll(&mut self, context: &mut SubtaskContext, out: &mut Batch<F::Out>) -> TaskResult<SourceStatus> {
        if let Some(number) = self.finishing.take() {
            self.finished = Some(number);
            return Ok(SourceStatus::More);
        }
        if self.announced < self.to_announce {
            self.current = Some(self.announced);
            self.announced += 1;
            return Ok(SourceStatus::More);
        }
        let Some((number, split)) = self.splits.front_mut() else { return Ok(SourceStatus::End) };
        self.current = Some(*number);
        let mut output = SourceOutput { batch: out, limit: context.batch_records };
        let status = self.function.read(split, &mut self.state, &mut output);
        match status.map_err(|error| failed("the source failed", &*error))? {
            ReadStatus::More => {
                self.splits.rotate_left(1);
                self.idle = NOT_IDLE;
            }
            ReadStatus::Finished => {
                self.finishing = self.current;
                self.splits.pop_front();
                self.idle = NOT_IDLE;
            }
            ReadStatus::Idle(limit) => {
                self.idle = (self.idle.0 + 1, self.idle.1.min(limit));
                self.splits.rotate_left(1);
                if self.idle.0 >= self.splits.len() {
                    let (_, limit) = std::mem::replace(&mut self.idle, NOT_IDLE);
                    return Ok(SourceStatus::Idle(limit));
                }
            }
        }
        Ok(SourceStatus::More)
    }

    fn snapshot(&mut self, _: &SubtaskContext) -> TaskResult<Position> {
        let encode = |(_, split): &(u64, F::Split)| {
            let mut item = Vec::new();
            codec::encode(split, &mut item).map(|()| item)
        };
        let items = self.splits.iter().map(encode).collect::<TaskResult<_>>()?;
        Ok(Position { items, schema: self.schema.clone(), redistribution: Redistribution::Split })
    }

    fn split_change(&mut self) -> Option<SplitChange> {
        if let Some(number) = self.finished.take() {
            return Some(SplitChange::Finished(number));
        }
        let current = self.current.filter(|_| self.current != self.told)?;
        self.told = Some(current);
        Some(SplitChange::Current(current))
    }
}
