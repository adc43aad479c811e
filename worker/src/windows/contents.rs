//! What is kept of the records in a window: a value that they are folded into, or all of them.
//!
//! All records are kept in blocks of [`BLOCK`]: adding one changes one block, so that a backend that serialises values
//! writes a bounded number of bytes per record, however many are in the window.

use std::cell::{Cell, RefCell};
use std::marker::PhantomData;

use flumen_state::{AggregateFunction, Keyed, StateValue, Table, TableDescriptor};

use crate::batch::EventTime;
use crate::keyed::Key;
use crate::operator::{Data, TaskResult};
use crate::operators::reduce::Reduce;

use super::evictor::{Evictor, EvictorContext, TimestampedValue};
use super::window::Window;

/// Folds records into an accumulator.
pub trait Fold<T>: 'static {
    /// What is kept.
    type Acc: StateValue;
    /// What the window's function gets.
    type Item;

    /// Makes the accumulator of no record, if there is such a thing: with a record added, it is what [`Self::first`] makes of that.
    /// `None` by default. Folds that have one need not be told which record is the first.
    const EMPTY: Option<fn(&Self) -> Self::Acc> = None;

    /// The accumulator of one record.
    fn first(&mut self, record: T) -> Self::Acc;
    /// Adds a record.
    fn add(&mut self, acc: &mut Self::Acc, record: T);
    /// The accumulator of what both had seen. Must be associative and commutative: sliding windows merge slices in no promised
    /// order.
    fn merge(&mut self, a: Self::Acc, b: Self::Acc) -> Self::Acc;
    /// The result.
    fn item(&mut self, acc: &Self::Acc) -> Self::Item;
}

/// Folds by a function `|sum, record| ...` of two records.
#[derive(Clone)]
pub struct Reducing<F>(pub F);

impl<T: Data, F: Reduce<T>> Fold<T> for Reducing<F> {
    type Acc = T;
    type Item = T;

    #[inline]
    fn first(&mut self, record: T) -> T {
        record
    }

    #[inline]
    fn add(&mut self, acc: &mut T, record: T) {
        (self.0)(acc, record);
    }

    #[inline]
    fn merge(&mut self, mut a: T, b: T) -> T {
        (self.0)(&mut a, b);
        a
    }

    #[inline]
    fn item(&mut self, acc: &T) -> T {
        acc.clone()
    }
}

/// Folds by an [`AggregateFunction`].
#[derive(Clone)]
pub struct Aggregating<A>(pub A);

impl<T, A: AggregateFunction<In = T>> Fold<T> for Aggregating<A> {
    type Acc = A::Acc;
    type Item = A::Out;

    const EMPTY: Option<fn(&Self) -> A::Acc> = Some(|this| this.0.create_accumulator());

    #[inline]
    fn first(&mut self, record: T) -> A::Acc {
        let mut acc = self.0.create_accumulator();
        self.0.add(&mut acc, record);
        acc
    }

    #[inline]
    fn add(&mut self, acc: &mut A::Acc, record: T) {
        self.0.add(acc, record);
    }

    #[inline]
    fn merge(&mut self, a: A::Acc, b: A::Acc) -> A::Acc {
        self.0.merge(a, b)
    }

    #[inline]
    fn item(&mut self, acc: &A::Acc) -> A::Out {
        self.0.get_result(acc)
    }
}

/// Keeps all records.
#[derive(Debug, Clone, Copy, Default)]
pub struct Collecting;

/// Keeps all records, and removes some by an evictor before (or after) the rest is given to the function, folded or not.
#[derive(Clone)]
pub struct Evicting<E, I> {
    /// Removes.
    pub evictor: E,
    /// What becomes of the rest: [`Collecting`], [`Reducing`] or [`Aggregating`].
    pub inner: I,
}

/// Describes what windows keep.
pub trait WindowContents<K: Key, T, W: Window>: 'static {
    /// What the window's function gets.
    type Item: 'static;
    /// It, with its state.
    type Opened: OpenContents<K, T, W, Item = Self::Item>;

    /// Opens the state.
    ///
    /// # Errors
    /// What was restored is of another type; the backend failed.
    fn open(self, keyed: &mut Keyed<K>) -> TaskResult<Self::Opened>;
}

/// The contents of all windows of all keys of a subtask.
pub trait OpenContents<K: Key, T, W: Window>: 'static {
    /// What the window's function gets.
    type Item: 'static;

    /// Adds a record.
    ///
    /// # Errors
    /// The backend failed, as in all of these.
    fn add(&mut self, key: &K, window: &W, record: T, time: EventTime) -> TaskResult;

    /// Adds what is in other windows, which are empty afterwards.
    ///
    /// # Errors
    /// See [`Self::add`].
    fn merge(&mut self, key: &K, into: &W, from: &[W]) -> TaskResult;

    /// Adds to `items` what the function gets; false when the window is empty.
    ///
    /// # Errors
    /// See [`Self::add`].
    fn fire(&mut self, key: &K, window: &W, context: &EvictorContext, items: &mut Vec<Self::Item>) -> TaskResult<bool>;

    /// The function was called.
    ///
    /// # Errors
    /// See [`Self::add`].
    fn fired(&mut self, _key: &K, _window: &W, _context: &EvictorContext) -> TaskResult {
        Ok(())
    }

    /// Empties a window.
    ///
    /// # Errors
    /// See [`Self::add`].
    fn clear(&mut self, key: &K, window: &W) -> TaskResult;
}

/// One accumulator per key and window.
pub struct Folded<K, W, A: StateValue, F> {
    fold: F,
    table: Table<K, W, A>,
}

/// The name of the state of windows' contents.
pub(crate) const CONTENTS: &str = "window-contents";

impl<K: Key, T: Data, W: Window, F: Reduce<T>> WindowContents<K, T, W> for Reducing<F> {
    type Item = T;
    type Opened = Folded<K, W, T, Self>;

    fn open(self, keyed: &mut Keyed<K>) -> TaskResult<Self::Opened> {
        Ok(Folded { fold: self, table: keyed.table(TableDescriptor::new(CONTENTS))? })
    }
}

impl<K: Key, T, W: Window, A: AggregateFunction<In = T>> WindowContents<K, T, W> for Aggregating<A>
where
    A::Out: 'static,
{
    type Item = A::Out;
    type Opened = Folded<K, W, A::Acc, Self>;

    fn open(self, keyed: &mut Keyed<K>) -> TaskResult<Self::Opened> {
        Ok(Folded { fold: self, table: keyed.table(TableDescriptor::new(CONTENTS))? })
    }
}

impl<K: Key, T, W: Window, F: Fold<T>> OpenContents<K, T, W> for Folded<K, W, F::Acc, F>
where
    F::Item: 'static,
{
    type Item = F::Item;

    #[inline]
    fn add(&mut self, key: &K, window: &W, record: T, _: EventTime) -> TaskResult {
        // Only one of the two functions is given the record; which one is known to the table alone.
        let (fold, record) = (RefCell::new(&mut self.fold), Cell::new(Some(record)));
        let first = || match record.take() {
            Some(record) => fold.borrow_mut().first(record),
            None => unreachable!("an accumulator is begun once"),
        };
        Ok(self.table.upsert(key, window, first, |acc| {
            if let Some(record) = record.take() {
                fold.borrow_mut().add(acc, record);
            }
        })?)
    }

    fn merge(&mut self, key: &K, into: &W, from: &[W]) -> TaskResult {
        let Self { fold, table } = self;
        let mut merged = None;
        for window in from {
            if let Some(acc) = table.take(key, window)? {
                merged = Some(match merged {
                    None => acc,
                    Some(so_far) => fold.merge(so_far, acc),
                });
            }
        }
        if let Some(merged) = merged {
            table.update(key, into, |acc| {
                *acc = Some(match acc.take() {
                    None => merged,
                    Some(acc) => fold.merge(acc, merged),
                });
            })?;
        }
        Ok(())
    }

    fn fire(&mut self, key: &K, window: &W, _: &EvictorContext, items: &mut Vec<F::Item>) -> TaskResult<bool> {
        let Self { fold, table } = self;
        let item = table.with(key, window, |acc| acc.map(|acc| fold.item(acc)))?;
        let is_there = item.is_some();
        items.extend(item);
        Ok(is_there)
    }

    fn clear(&mut self, key: &K, window: &W) -> TaskResult {
        Ok(self.table.remove(key, window)?)
    }
}

/// Records in a block.
const BLOCK: u64 = 32;

/// A list per key and window, in blocks.
pub(crate) struct Blocks<K, W, V: StateValue> {
    /// Items in the list.
    counts: Table<K, W, u64>,
    blocks: Table<K, (W, u64), Vec<V>>,
}

impl<K: Key, W: Window, V: StateValue> Blocks<K, W, V> {
    pub(crate) fn open(keyed: &mut Keyed<K>) -> TaskResult<Self> {
        let counts = keyed.table(TableDescriptor::new("window-lengths"))?;
        Ok(Self { counts, blocks: keyed.table(TableDescriptor::new(CONTENTS))? })
    }

    pub(crate) fn add(&self, key: &K, window: &W, item: V) -> TaskResult {
        let before = self.counts.upsert(key, window, || 0, |count| std::mem::replace(count, *count + 1))?;
        Ok(self.blocks.upsert(key, &(window.clone(), before / BLOCK), Vec::new, |block| block.push(item))?)
    }

    /// Adds the items to `items`.
    pub(crate) fn read<U>(&self, key: &K, window: &W, items: &mut Vec<U>, each: impl Fn(&V) -> U) -> TaskResult<bool> {
        let Some(count) = self.counts.get(key, window)? else { return Ok(false) };
        for block in 0..count.div_ceil(BLOCK) {
            self.blocks.with(key, &(window.clone(), block), |block| {
                items.extend(block.into_iter().flatten().map(&each));
            })?;
        }
        Ok(true)
    }

    /// Takes all items out.
    pub(crate) fn take(&self, key: &K, window: &W) -> TaskResult<Vec<V>> {
        let mut items = Vec::new();
        let count = self.counts.take(key, window)?.unwrap_or(0);
        for block in 0..count.div_ceil(BLOCK) {
            items.extend(self.blocks.take(key, &(window.clone(), block))?.into_iter().flatten());
        }
        Ok(items)
    }

    pub(crate) fn clear(&self, key: &K, window: &W) -> TaskResult {
        let count = self.counts.take(key, window)?.unwrap_or(0);
        for block in 0..count.div_ceil(BLOCK) {
            self.blocks.remove(key, &(window.clone(), block))?;
        }
        Ok(())
    }

    pub(crate) fn merge(&self, key: &K, into: &W, from: &[W]) -> TaskResult {
        for window in from {
            for item in self.take(key, window)? {
                self.add(key, into, item)?;
            }
        }
        Ok(())
    }
}

/// All records per key and window.
pub struct Collected<K, W, T: StateValue>(Blocks<K, W, T>);

impl<K: Key, T: Data, W: Window> WindowContents<K, T, W> for Collecting {
    type Item = T;
    type Opened = Collected<K, W, T>;

    fn open(self, keyed: &mut Keyed<K>) -> TaskResult<Self::Opened> {
        Ok(Collected(Blocks::open(keyed)?))
    }
}

impl<K: Key, T: Data, W: Window> OpenContents<K, T, W> for Collected<K, W, T> {
    type Item = T;

    fn add(&mut self, key: &K, window: &W, record: T, _: EventTime) -> TaskResult {
        self.0.add(key, window, record)
    }

    fn merge(&mut self, key: &K, into: &W, from: &[W]) -> TaskResult {
        self.0.merge(key, into, from)
    }

    fn fire(&mut self, key: &K, window: &W, _: &EvictorContext, items: &mut Vec<T>) -> TaskResult<bool> {
        self.0.read(key, window, items, T::clone)
    }

    fn clear(&mut self, key: &K, window: &W) -> TaskResult {
        self.0.clear(key, window)
    }
}

/// Makes of all records of a window what its function gets.
pub trait FoldAll<T>: 'static {
    /// What the window's function gets.
    type Item: 'static;

    /// Adds the items of these records.
    fn fold_all(&mut self, records: impl Iterator<Item = T>, items: &mut Vec<Self::Item>);
}

impl<T: 'static> FoldAll<T> for Collecting {
    type Item = T;

    fn fold_all(&mut self, records: impl Iterator<Item = T>, items: &mut Vec<T>) {
        items.extend(records);
    }
}

impl<T: Data, F: Reduce<T>> FoldAll<T> for Reducing<F> {
    type Item = T;

    fn fold_all(&mut self, records: impl Iterator<Item = T>, items: &mut Vec<T>) {
        fold_all(self, records, items);
    }
}

impl<T, A: AggregateFunction<In = T>> FoldAll<T> for Aggregating<A>
where
    A::Out: 'static,
{
    type Item = A::Out;

    fn fold_all(&mut self, records: impl Iterator<Item = T>, items: &mut Vec<A::Out>) {
        fold_all(self, records, items);
    }
}

fn fold_all<T, F: Fold<T>>(fold: &mut F, mut records: impl Iterator<Item = T>, items: &mut Vec<F::Item>) {
    let Some(first) = records.next() else { return };
    let mut acc = fold.first(first);
    records.for_each(|record| fold.add(&mut acc, record));
    items.push(fold.item(&acc));
}

/// All records with their times per key and window, less those that an evictor removes.
pub struct Evicted<K, W, T: StateValue, E, I> {
    blocks: Blocks<K, W, TimestampedValue<T>>,
    evictor: E,
    inner: I,
    /// Of the window that is firing: what is left.
    left: Vec<TimestampedValue<T>>,
    types: PhantomData<K>,
}

impl<K: Key, T: Data, W: Window, E: Evictor<T, W>, I: FoldAll<T>> WindowContents<K, T, W> for Evicting<E, I> {
    type Item = I::Item;
    type Opened = Evicted<K, W, T, E, I>;

    fn open(self, keyed: &mut Keyed<K>) -> TaskResult<Self::Opened> {
        let Self { evictor, inner } = self;
        Ok(Evicted { blocks: Blocks::open(keyed)?, evictor, inner, left: Vec::new(), types: PhantomData })
    }
}

impl<K: Key, T: Data, W: Window, E: Evictor<T, W>, I: FoldAll<T>> OpenContents<K, T, W> for Evicted<K, W, T, E, I> {
    type Item = I::Item;

    fn add(&mut self, key: &K, window: &W, record: T, time: EventTime) -> TaskResult {
        self.blocks.add(key, window, TimestampedValue { value: record, time })
    }

    fn merge(&mut self, key: &K, into: &W, from: &[W]) -> TaskResult {
        self.blocks.merge(key, into, from)
    }

    fn fire(&mut self, key: &K, window: &W, context: &EvictorContext, items: &mut Vec<I::Item>) -> TaskResult<bool> {
        self.left.clear();
        if !self.blocks.read(key, window, &mut self.left, Clone::clone)? {
            return Ok(false);
        }
        self.evictor.evict_before(&mut self.left, window, context);
        self.inner.fold_all(self.left.iter().map(|element| element.value.clone()), items);
        Ok(true)
    }

    fn fired(&mut self, key: &K, window: &W, context: &EvictorContext) -> TaskResult {
        self.evictor.evict_after(&mut self.left, window, context);
        self.blocks.clear(key, window)?;
        self.left.drain(..).try_for_each(|element| self.blocks.add(key, window, element))
    }

    fn clear(&mut self, key: &K, window: &W) -> TaskResult {
        self.blocks.clear(key, window)
    }
}
