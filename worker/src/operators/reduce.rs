//! Keyed aggregates: a value per key that records are folded into.

use std::hash::BuildHasher as _;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::batch::Batch;
use crate::keyed::{Key, KeySelector};
use crate::operator::{Data, Push, Signal, TaskResult};

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
    Into(&'a T),
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
                Folded::Into(value)
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

/// Streaming execution: emits the new value of a key on every record.
pub struct StreamingReduce<T, S: KeySelector<T>, F> {
    selector: S,
    reduce: F,
    table: ReduceTable<S::Key, T>,
    output: Box<dyn Push<T>>,
    batch: Batch<T>,
}

impl<T: Data, S: KeySelector<T>, F: Reduce<T>> StreamingReduce<T, S, F> {
    /// Pushes the updates into `output`.
    pub fn new(selector: S, reduce: F, output: Box<dyn Push<T>>) -> Self {
        Self { selector, reduce, table: ReduceTable::new(), output, batch: Batch::new() }
    }
}

impl<T: Data, S: KeySelector<T>, F: Reduce<T>> Push<T> for StreamingReduce<T, S, F> {
    fn push(&mut self, batch: &mut Batch<T>) -> TaskResult {
        for (record, time) in batch.drain() {
            let (Folded::Into(value) | Folded::First(_, value)) =
                self.table.fold(record, &self.selector, &mut self.reduce);
            self.batch.push(value.clone(), time);
        }
        self.output.push(&mut self.batch)
    }

    fn signal(&mut self, signal: Signal<'_>) -> TaskResult {
        self.output.signal(signal)
    }
}
