//! Slices in memory: keys have numbers, and a slice is a column with a place for each of them.
//!
//! A record looks up its key's number, and changes one place of one column. When a window fires, all columns are gone through in the
//! order of the numbers, so what belongs to keys is read in the order in which it stands in memory, and none is looked up. That
//! costs a key that has nothing new as much as one that has: its windows fire all the same, as long as there is anything in them.
//!
//! All keys are at the same time, so nothing has to be known of each about when its next window fires.
//!
//! To other backends and in snapshots it looks like what [`StoredSlices`](super::stored::StoredSlices) keeps.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use flumen_state::{Keyed, LaidOut, Layout, StateValue, ValueStateDescriptor};

use crate::batch::{END_OF_TIME, EventTime};
use crate::keyed::{Key, KeySelector};
use crate::operator::{Data, TaskResult};

use super::super::contents::Fold;
use super::super::function::ProcessWindowFunction;
use super::super::output::Firing;
use super::super::window::TimeWindow;
use super::column::{Cell, Column, Spare};
use super::kept_columns::KeptColumns;
use super::numbers::Numbers;
use super::open::OpenSlices;
use super::open_columns::{FoundPart, OpenColumns};
use super::past::PastSlices;
use super::past_columns::PastColumns;
use super::shape::Slicing;
use super::sums::Sums;
use super::{KEYS, OPEN, PAST};

/// The number of a key that has none.
pub(super) const UNKNOWN: u32 = u32::MAX;

/// A record, its time, and the number of its key.
pub(super) struct Numbered<T> {
    pub(super) record: T,
    pub(super) time: EventTime,
    pub(super) number: u32,
}

/// What belongs to keys.
pub(super) struct Places<K, A> {
    slicing: Slicing,
    numbers: Numbers<K>,
    open: OpenColumns<A>,
    past: PastColumns<A>,
    kept: KeptColumns<A>,
    /// When the next window fires that past slices are in, if there are any.
    past_due: Option<EventTime>,
    /// Keys whose next window is a later one. Only after a restore where subtasks were at different watermarks.
    ahead: BTreeMap<u32, EventTime>,
    spare: Spare<A>,
    /// Keys that may have nothing any more.
    gone: Vec<u32>,
    restored: Restored<A>,
}

/// What was read of a snapshot, as long as it has not found its place.
struct Restored<A> {
    past: Vec<(u32, PastSlices<A>)>,
    due: BTreeMap<u32, EventTime>,
}

impl<K: Key, A: StateValue> Layout<K> for Places<K, A> {
    fn numbers(&self) -> usize {
        self.numbers.len()
    }

    fn key(&self, number: usize) -> Option<&K> {
        self.numbers.key(number)
    }

    fn number(&mut self, key: K) -> usize {
        let found = self.numbers.find(&key);
        found.unwrap_or_else(|| self.numbers.add(key, END_OF_TIME)) as usize
    }
}

impl<K: Key, A: StateValue> Places<K, A> {
    /// `empty` is what [`Fold::EMPTY`] makes.
    fn new(slicing: Slicing, empty: Option<A>) -> Self {
        Self {
            slicing,
            numbers: Numbers::new(),
            open: OpenColumns::new(),
            past: PastColumns::new(),
            kept: KeptColumns::new(),
            past_due: None,
            ahead: BTreeMap::new(),
            spare: Spare::new(empty),
            gone: Vec::new(),
            restored: Restored { past: Vec::new(), due: BTreeMap::new() },
        }
    }

    /// A key's open slices, as other backends keep them.
    fn open_of(&self, number: usize) -> OpenSlices<A> {
        let mut slices = self.open.of(number as u32).map(|(end, acc)| (end, acc.clone()));
        let (one, other) = (slices.next(), slices.next());
        let more: Vec<_> = slices.collect();
        let due = match self.ahead.get(&(number as u32)) {
            Some(due) => *due,
            None => self.due_of(number as u32, one.as_ref().map(|(end, _)| *end)),
        };
        OpenSlices { due, registered: self.numbers.registered(number), one, other, more }
    }

    /// When something has to be done for a key, whose oldest open slice that is.
    fn due_of(&self, number: u32, oldest: Option<EventTime>) -> EventTime {
        let open = oldest.map(|end| self.slicing.first_window_end(end));
        let past = self.past_due.filter(|_| self.past.has(number));
        let due = open.into_iter().chain(past).min();
        let forgotten = || self.kept.of(number).last().map(|(end, _)| self.slicing.forgotten_at(*end));
        due.or_else(forgotten).unwrap_or(END_OF_TIME)
    }

    fn restore_open(&mut self, number: usize, open: OpenSlices<A>) {
        let Self { numbers, open: columns, spare, restored, .. } = self;
        numbers.register(number, open.registered);
        restored.due.insert(number as u32, open.due);
        for (end, acc) in [open.one, open.other].into_iter().flatten().chain(open.more) {
            columns.column(end, numbers.len(), spare).fill(number as u32, Cell::Sum(acc), numbers.len());
        }
    }

    /// What other backends keep of a key's past slices.
    fn past_of(&self, number: usize) -> Option<PastSlices<A>> {
        let mut past = self.past.of(number as u32);
        past.kept = self.kept.of(number as u32);
        (!past.is_empty()).then_some(past)
    }

    /// Puts what was restored where it belongs.
    fn settle<T, F: Fold<T, Acc = A>>(&mut self, fold: &mut F) {
        let Self { slicing, numbers, open, past, kept, past_due, ahead, restored, .. } = self;
        let Restored { past: mut pasts, due } = std::mem::replace(restored, Restored { past: vec![], due: [].into() });
        for (number, past) in &mut pasts {
            let slices = std::mem::take(&mut past.kept);
            kept.restore(*number, slices, numbers.len());
        }
        pasts.retain(|(_, past)| !slicing.is_tumbling() && !past.slices.is_empty());
        let due = |number: u32| due.get(&number).copied().unwrap_or(END_OF_TIME);
        *past_due = pasts.iter().map(|(number, _)| due(*number)).min();
        let later = pasts.iter().map(|(number, _)| (*number, due(*number))).filter(|(_, due)| Some(*due) > *past_due);
        ahead.extend(later);
        past.restore(pasts, numbers.len(), fold);
        for number in 0..numbers.len() as u32 {
            if !(open.has(number) || past.has(number) || kept.has(number)) {
                numbers.remove(number);
            }
        }
    }

    /// Forgets keys that have nothing any more.
    fn remove_gone(&mut self) {
        let Self { numbers, open, past, kept, ahead, gone, .. } = self;
        for number in gone.drain(..) {
            let has_any = open.has(number) || past.has(number) || kept.has(number);
            if !has_any && numbers.key(number as usize).is_some() {
                numbers.remove(number);
                ahead.remove(&number);
            }
        }
        if self.numbers.shrink() {
            self.past.shrink(self.numbers.len());
            self.spare.clear();
        }
    }
}

/// See the module.
pub(super) struct SlicesInMemory<K, A> {
    places: Rc<RefCell<Places<K, A>>>,
    state: States<K, A>,
}

/// The places, as states.
struct States<K, A> {
    open: LaidOut<K, Places<K, A>>,
    past: LaidOut<K, Places<K, A>>,
    keys: LaidOut<K, Places<K, A>>,
}

impl<K: Key, A: StateValue> SlicesInMemory<K, A> {
    /// Opens the state, empty or restored.
    pub(super) fn open<T, F: Fold<T, Acc = A>>(
        keyed: &mut Keyed<K>,
        slicing: Slicing,
        fold: &mut F,
    ) -> TaskResult<Self> {
        let places = Rc::new(RefCell::new(Places::new(slicing, F::EMPTY.map(|empty| empty(fold)))));
        let state = States {
            open: keyed.value_of_layout(
                ValueStateDescriptor::new(OPEN),
                &places,
                |places, number| Some(places.open_of(number)),
                Places::restore_open,
            )?,
            past: keyed.value_of_layout(ValueStateDescriptor::new(PAST), &places, Places::past_of, {
                |places, number, past| places.restored.past.push((number as u32, past))
            })?,
            keys: keyed.timers_of_layout(
                KEYS,
                &places,
                |places, number| Some(places.numbers.registered(number)),
                |_, _, _| {},
            )?,
        };
        places.borrow_mut().settle(fold);
        Ok(Self { places, state })
    }

    /// The first time at which something has to be done.
    pub(super) fn first_due(&self) -> Option<EventTime> {
        let Places { slicing, open, kept, past_due, .. } = &*self.places.borrow();
        let open = open.oldest().map(|end| slicing.first_window_end(end));
        let kept = kept.oldest().map(|end| slicing.forgotten_at(end));
        [open, kept, *past_due].into_iter().flatten().min()
    }

    /// The numbers of the records' keys; [`UNKNOWN`] for keys that have none.
    pub(super) fn find<T, S: KeySelector<T, Key = K>>(&self, selector: &S, records: &[T], found: &mut Vec<u32>) {
        found.clear();
        self.places.borrow().numbers.find_all(selector, records, UNKNOWN, found);
    }

    /// Adds records as long as each is of a key that has a number, and its slice is one of the newest, as almost all are. Returns the
    /// first one that is not: the one before `next`. `next` is the first one of `numbers` and `found` that belongs to a record which is still
    /// to come. With the first of them, the memory of all is asked for.
    #[inline]
    pub(super) fn add_all<T, F: Fold<T, Acc = A>>(
        &mut self,
        records: &mut impl Iterator<Item = T>,
        numbers: &[u32],
        found: FoundPart<'_>,
        next: &mut usize,
        fold: &mut F,
    ) -> Option<T> {
        if *next == numbers.len() {
            return None;
        }
        let places = &mut *self.places.borrow_mut();
        let mut newest = places.open.newest::<T, F>(found.ends, places.numbers.len());
        if *next == 0 {
            newest.prefetch(numbers, found);
        }
        if self.state.open.is_snapshot_running() {
            *next += 1;
            return records.next();
        }
        newest.add_all(records, numbers, found, next, fold)
    }

    /// Adds a record of the key with that number to the slice with that end, whatever is there.
    pub(super) fn add<T, S: KeySelector<T, Key = K>, F: Fold<T, Acc = A>>(
        &mut self,
        number: u32,
        selector: &S,
        record: T,
        end: EventTime,
        fold: &mut F,
    ) {
        let Self { places, state, .. } = self;
        let places = &mut *places.borrow_mut();
        let number = if number == UNKNOWN { state.number(places, &selector.key(&record), end) } else { number };
        state.open.before_change(places, number as usize);
        let Places { numbers, open, spare, .. } = places;
        open.add(end, number, numbers.len(), spare, record, fold);
    }

    /// Adds to a slice that was in a window which has fired.
    pub(super) fn add_to_past<T, F: Fold<T, Acc = A>>(
        &mut self,
        key: &K,
        (slice_end, acc): (EventTime, A),
        next_window_end: EventTime,
        fold: &mut F,
    ) {
        let places = &mut *self.places.borrow_mut();
        let slicing = places.slicing;
        let number = self.state.number(places, key, slice_end);
        self.state.before_change(places, number as usize);
        let Places { numbers, past, kept, past_due, .. } = places;
        let count = numbers.len();
        if slicing.lateness > 0 {
            kept.insert(slice_end, number, acc.clone(), count, fold);
        }
        if slice_end > next_window_end.saturating_sub(slicing.size) && !slicing.is_tumbling() {
            past.insert(slice_end, number, acc, count, fold);
            *past_due = Some(past_due.map_or(next_window_end, |due| due.min(next_window_end)));
        }
    }

    /// What a window that has fired before comes to now.
    pub(super) fn again<T, F: Fold<T, Acc = A>>(&self, key: &K, end: EventTime, fold: &mut F) -> Option<A> {
        let places = self.places.borrow();
        places.kept.again(places.numbers.find(key)?, end, &places.slicing, fold)
    }

    /// Does what is due at a time, the first one at which something is.
    pub(super) fn wake<T, F, P, Out>(
        &mut self,
        at: EventTime,
        fold: &mut F,
        firing: &mut Firing<K, TimeWindow, T, F::Item, P, Out>,
    ) -> TaskResult
    where
        T: Data,
        F: Fold<T, Acc = A>,
        P: ProcessWindowFunction<K, TimeWindow, F::Item, Out>,
    {
        let places = &mut *self.places.borrow_mut();
        if self.state.open.is_snapshot_running() {
            (0..places.numbers.len()).for_each(|number| self.state.before_change(places, number));
        }
        let Places { slicing, numbers, open, past, kept, past_due, ahead, spare, gone, .. } = places;
        let (count, lateness) = (numbers.len(), slicing.lateness);
        let keys = numbers.keys();
        if slicing.is_window_end(at) {
            let window = TimeWindow::new(at.saturating_sub(slicing.size), at);
            let mut fire = |number: u32, item: F::Item| {
                let key = &keys[number as usize];
                firing.fire_one(key, &window, item)?;
                if lateness == 0 { firing.clear(key, &window) } else { Ok(()) }
            };
            let mut taken = open.take_upto(at).into_iter();
            if slicing.is_tumbling() {
                if let Some(mut column) = taken.next() {
                    // Several only when windows were shorter before a restore.
                    taken.for_each(|other| spare.give(merge(&mut column, other, count, fold)));
                    column.try_each(0..count, |number, cell| {
                        cell.sum().map_or(Ok(()), |acc| fire(number, fold.item(acc)))
                    })?;
                    if lateness > 0 {
                        kept.keep(column, count, spare, fold);
                    } else {
                        spare.give(column.take(|number, _| gone.push(number)));
                    }
                }
            } else {
                // What a key has that another backend kept may still have these.
                past.drop_upto(at.saturating_sub(slicing.size), spare, gone, fold);
                for column in taken {
                    if lateness > 0 {
                        kept.keep(column.clone(), count, spare, fold);
                    }
                    past.append(column, count, spare, fold);
                }
                past.try_each_window(count, fold, |number, acc, fold| {
                    let is_due = ahead.get(&number).is_none_or(|due| *due <= at);
                    if is_due { fire(number, fold.item(&acc)) } else { Ok(()) }
                })?;
                ahead.retain(|_, due| *due > at);
                let next = at.saturating_add(slicing.slide);
                past.drop_upto(next.saturating_sub(slicing.size), spare, gone, fold);
            }
        }
        kept.forget(at, slicing, spare, gone);
        let next = slicing.window_end_upto(at).saturating_add(slicing.slide);
        *past_due = (!past.is_empty()).then_some(next);
        places.remove_gone();
        Ok(())
    }
}

/// Adds a column to another one. Returns its places.
fn merge<T, A: Clone, F: Fold<T, Acc = A>>(
    column: &mut Column<A>,
    other: Column<A>,
    numbers: usize,
    fold: &mut F,
) -> Option<Sums<A>> {
    other.take(|number, cell| {
        if let Cell::Sum(acc) = cell {
            column.join(number, acc, numbers, fold);
        }
    })
}

impl<K: Key, A: StateValue> States<K, A> {
    fn before_change(&self, places: &Places<K, A>, number: usize) {
        [&self.open, &self.past, &self.keys].into_iter().for_each(|state| state.before_change(places, number));
    }

    /// The number of a key, which gets one if it has none: it may have got one from another record of the same batch.
    #[cold]
    #[inline(never)]
    fn number(&self, places: &mut Places<K, A>, key: &K, end: EventTime) -> u32 {
        if let Some(number) = places.numbers.find(key) {
            return number;
        }
        // Descending: to delete a timer that is not the first one is cheap, and keys go in the order in which they came.
        let registered = places.slicing.first_window_end(end).saturating_neg();
        let number = places.numbers.add(key.clone(), registered);
        [&self.open, &self.past, &self.keys].into_iter().for_each(|state| state.added(number as usize));
        number
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::super::assigner::SlidingEventTimeWindows;
    use super::super::super::contents::Reducing;
    use super::*;

    #[test]
    fn a_key_whose_windows_have_fired_further_than_those_of_others_does_not_fire_them_again() {
        let windows = SlidingEventTimeWindows::of(Duration::from_millis(30), Duration::from_millis(10));
        let mut places = Places::<String, i64>::new(Slicing::of(&windows, Duration::ZERO, false).unwrap(), None);
        for (key, end, due) in [("behind", 50, 60), ("ahead", 80, 90)] {
            let number = places.number(key.to_owned());
            let open = OpenSlices { due, registered: -due, one: Some((end + 10, 7)), ..OpenSlices::default() };
            places.restore_open(number, open);
            let past = PastSlices { slices: [(end, 5)].into(), newer_sum: Some(5), ..PastSlices::default() };
            places.restored.past.push((number as u32, past));
        }
        places.settle(&mut Reducing(|sum: &mut i64, number: i64| *sum += number));
        assert_eq!((places.past_due, places.ahead.clone()), (Some(60), [(1, 90)].into()));
        assert_eq!(places.open_of(0).due, 60);
        assert_eq!(places.open_of(1).due, 90, "it is told to the next snapshot");
        let past = places.past_of(1).unwrap();
        assert_eq!((past.slices, past.summed, past.newer_sum), ([(80, 5)].into(), 0, Some(5)));
    }
}
