//! Keyed aggregates: a value per key that records are folded into.

use std::cell::Cell;
use std::hash::BuildHasher as _;

use flumen_model::ids::OperatorId;
use flumen_state::{Keyed, ValueState, ValueStateDescriptor};
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::batch::Batch;
use crate::keyed::{BatchKeys, Key, KeySelector};
use crate::operator::{Data, Push, Signal, TaskResult};
use crate::operators::keyed_process::SNAPSHOT_STEP;
use crate::subtask::SubtaskContext;

/// Folds a record into the value that its key has so far. Must be associative and commutative: the order in which records
/// of several subtasks arrive is not fixed.
pub trait Reduce<T>: FnMut(&mut T, T) + Clone + Send + Sync + 'static {}
impl<T, F: FnMut(&mut T, T) + Clone + Send + Sync + 'static> Reduce<T> for F {}

/// One value per key. The hash is this table's own and never leaves it.
pub(crate) struct ReduceTable<K, T> {
    entries: HashTable<(K, T)>,
    hasher: RandomState,
}

/// What became of a record.
pub(crate) enum Folded<'a, K, T> {
    /// It was folded into the value of a known key.
    Into,
    /// It is the first of its key.
    First(&'a K, &'a T),
}

impl<K: Key, T: Data> ReduceTable<K, T> {
    pub(crate) fn new() -> Self {
        Self { entries: HashTable::new(), hasher: RandomState::default() }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes of the table itself, without what keys and values own elsewhere.
    pub(crate) fn table_bytes(&self) -> usize {
        self.entries.capacity() * (size_of::<(K, T)>() + 1) * 8 / 7
    }

    #[inline]
    pub(crate) fn fold<S: KeySelector<T, Key = K>>(
        &mut self,
        record: T,
        selector: &S,
        reduce: &mut impl FnMut(&mut T, T),
    ) -> Folded<'_, K, T> {
        let (entries, hasher) = (&mut self.entries, &self.hasher);
        let entry = selector.with_key(&record, |key| {
            entries.entry(hasher.hash_one(key), |(known, _)| known == key, |(known, _)| hasher.hash_one(known))
        });
        match entry {
            Entry::Occupied(entry) => {
                let (_, value) = entry.into_mut();
                reduce(value, record);
                Folded::Into
            }
            Entry::Vacant(entry) => {
                let key = selector.key(&record);
                let (key, value) = entry.insert((key, record)).into_mut();
                Folded::First(key, value)
            }
        }
    }

    /// Takes all entries out; the table keeps its room.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = (K, T)> + '_ {
        self.entries.drain()
    }

    /// Gives the room back.
    pub(crate) fn shrink(&mut self) {
        self.entries = HashTable::new();
    }
}

/// The name that the values are kept under.
const STATE: &str = "reduce";

/// Streaming execution: emits the new value of a key on every record.
pub struct StreamingReduce<T: Data, S: KeySelector<T>, F> {
    operator: OperatorId,
    selector: S,
    reduce: F,
    keyed: Keyed<S::Key>,
    keys: BatchKeys<S::Key>,
    values: ValueState<S::Key, T>,
    output: Box<dyn Push<T>>,
    batch: Batch<T>,
}

impl<T: Data, S: KeySelector<T>, F: Reduce<T>> StreamingReduce<T, S, F> {
    /// Pushes the updates into `output`.
    ///
    /// # Errors
    /// The state can't be restored.
    pub fn open(
        context: &SubtaskContext,
        operator: OperatorId,
        selector: S,
        reduce: F,
        output: Box<dyn Push<T>>,
    ) -> TaskResult<Self> {
        let mut keyed = context.open_keyed(operator)?;
        let values = keyed.value(ValueStateDescriptor::new(STATE))?;
        Ok(Self { operator, selector, reduce, keyed, keys: BatchKeys::new(), values, output, batch: Batch::new() })
    }
}

impl<T: Data, S: KeySelector<T>, F: Reduce<T>> Push<T> for StreamingReduce<T, S, F> {
    fn push(&mut self, batch: &mut Batch<T>) -> TaskResult {
        self.keys.look_ahead(&mut self.keyed, &self.selector, batch.records());
        for (record, time) in batch.drain() {
            self.keys.set_current(&mut self.keyed, &self.selector, &record);
            // The first record of a key is its value; every other is folded in.
            let record = Cell::new(Some(record));
            let first = || record.take().expect("a value is made at most once, and before it is changed");
            let value = self.values.upsert(first, |value| {
                if let Some(record) = record.take() {
                    (self.reduce)(value, record);
                }
                value.clone()
            })?;
            self.batch.push(value, time);
        }
        self.output.push(&mut self.batch)
    }

    fn signal(&mut self, mut signal: Signal<'_>) -> TaskResult {
        match &mut signal {
            Signal::Barrier(snapshot) => {
                let state = self.keyed.snapshot(snapshot.barrier().kind)?;
                snapshot.keyed(self.operator, state);
            }
            Signal::Background(more) => **more |= self.keyed.snapshot_step(SNAPSHOT_STEP),
            Signal::Close => self.keyed.finish_snapshots(),
            _ => {}
        }
        self.output.signal(signal)
    }
}
