//! The slices of all keys that a window which has fired had in it, and which later windows have in them, too.
//!
//! This is [`PastSlices`] for all keys at once, and the same queue out of two stacks. Each key has what its older slices come to,
//! and what the newer ones come to; a window of it is both together. An older slice has what the key's newer slices among the older
//! come to: it takes the place of the sum when the slice is dropped. So all that firing does goes through memory from end to end.

use std::collections::VecDeque;

use crate::batch::{EventTime, NO_TIME};

use super::super::contents::Fold;
use super::bits::{ones, words};
use super::column::{Cell, Column, Spare};
use super::past::PastSlices;
use super::sums::Sums;

/// See the module.
pub(super) struct PastColumns<A> {
    /// The oldest first.
    columns: VecDeque<Column<A>>,
    /// How many of them are older ones.
    summed: usize,
    /// What older ones come to, by number.
    older: Sums<A>,
    /// What the newer ones come to.
    newer: Sums<A>,
}

/// Numbers that are gone through together: what belongs to them stays in the processor's caches.
const BLOCK: usize = 1024;

impl<A: Clone> PastColumns<A> {
    pub(super) fn new() -> Self {
        Self { columns: VecDeque::new(), summed: 0, older: Sums::new(), newer: Sums::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    fn newest(&self) -> Option<EventTime> {
        self.columns.back().map(|column| column.end)
    }

    /// Whether a key has anything in them.
    pub(super) fn has(&self, number: u32) -> bool {
        self.older.has(number as usize) || self.newer.has(number as usize)
    }

    /// There are so many numbers only.
    pub(super) fn shrink(&mut self, numbers: usize) {
        self.older.truncate(numbers);
        self.newer.truncate(numbers);
    }

    /// A slice has come to its end.
    pub(super) fn append<T, F: Fold<T, Acc = A>>(
        &mut self,
        mut column: Column<A>,
        numbers: usize,
        spare: &mut Spare<A>,
        fold: &mut F,
    ) {
        if self.newest().is_some_and(|newest| newest >= column.end) {
            // Only after a restore where subtasks were at different watermarks.
            let end = column.end;
            spare.give(column.take(|number, cell| {
                if let Cell::Sum(acc) = cell {
                    self.insert(end, number, acc, numbers, fold);
                }
            }));
            return;
        }
        let newer = &mut self.newer;
        column.each(0..numbers, |number, cell| {
            if let Cell::Sum(acc) = cell {
                newer.add(number as usize, acc.clone(), fold);
            }
        });
        spare.give(column.thin(numbers));
        self.columns.push_back(column);
    }

    /// Calls with what the window that fires comes to for each key, in the order of the numbers, until that fails.
    #[inline]
    pub(super) fn try_each_window<T, F: Fold<T, Acc = A>, E>(
        &self,
        numbers: usize,
        fold: &mut F,
        mut f: impl FnMut(u32, A, &mut F) -> Result<(), E>,
    ) -> Result<(), E> {
        for (at, mask) in words(0..numbers) {
            let (older, newer) = (self.older.word(at), self.newer.word(at));
            for number in ones(at, (older | newer) & mask) {
                let window = match (self.older.get_in(older, number), self.newer.get_in(newer, number)) {
                    (Some(older), Some(newer)) => fold.merge(older.clone(), newer.clone()),
                    (Some(sum), None) | (None, Some(sum)) => sum.clone(),
                    (None, None) => continue,
                };
                f(number as u32, window, fold)?;
            }
        }
        Ok(())
    }

    /// Drops the slices that end by then, and notes the keys that are in none after them.
    pub(super) fn drop_upto<T, F: Fold<T, Acc = A>>(
        &mut self,
        upto: EventTime,
        spare: &mut Spare<A>,
        gone: &mut Vec<u32>,
        fold: &mut F,
    ) {
        while self.columns.front().is_some_and(|column| column.end <= upto) {
            if self.summed == 0 {
                self.sum_all(fold);
            }
            let Some(column) = self.columns.pop_front() else { return };
            self.summed -= 1;
            let Self { older, newer, .. } = self;
            spare.give(column.take(|number, cell| match cell {
                Cell::Sum(rest) => older.put(number as usize, rest),
                Cell::Empty | Cell::Last => {
                    older.take(number as usize);
                    if !newer.has(number as usize) {
                        gone.push(number);
                    }
                }
            }));
        }
    }

    /// Makes older ones of the newer ones, when there are no others.
    fn sum_all<T, F: Fold<T, Acc = A>>(&mut self, fold: &mut F) {
        let Self { columns, older, newer, summed } = self;
        // Whatever is in the columns is in these.
        let end = newer.end().max(older.end());
        for begin in (0..end).step_by(BLOCK) {
            let block = begin..begin + BLOCK;
            for column in columns.iter_mut().rev() {
                column.replace_each(block.clone(), |number, cell| sum_up(number, cell, older, fold));
            }
            newer.clear_range(block);
        }
        *summed = columns.len();
    }

    /// A record came after windows that its slice is in had fired.
    pub(super) fn insert<T, F: Fold<T, Acc = A>>(
        &mut self,
        end: EventTime,
        number: u32,
        acc: A,
        numbers: usize,
        fold: &mut F,
    ) {
        let at = self.column(end);
        let index = number as usize;
        if at >= self.summed {
            self.newer.add(index, acc.clone(), fold);
            return self.columns[at].join(number, acc, numbers, fold);
        }
        let mut newer = self.older.get(index).cloned();
        self.older.add(index, acc.clone(), fold);
        for column in self.columns.range_mut(..at) {
            let cell = column.get(number);
            if !matches!(cell, Cell::Empty) {
                newer = cell.sum().cloned();
                column.add(number, acc.clone(), fold);
            }
        }
        let column = &mut self.columns[at];
        if let Cell::Empty = column.get(number) {
            column.fill(number, newer.map_or(Cell::Last, Cell::Sum), numbers);
        }
    }

    /// Where the slice with that end stands, which is begun if it is not there.
    fn column(&mut self, end: EventTime) -> usize {
        match self.columns.binary_search_by_key(&end, |column| column.end) {
            Ok(at) => at,
            Err(at) => {
                self.columns.insert(at, Column::sparse(end));
                self.summed += usize::from(at < self.summed);
                at
            }
        }
    }

    /// As other backends keep it: what a key has.
    pub(super) fn of(&self, number: u32) -> PastSlices<A> {
        let mut past = PastSlices::default();
        let index = number as usize;
        // Each one has what those after it come to; there, what it and those after it come to.
        let mut sum = self.older.get(index).cloned();
        for (at, column) in self.columns.iter().enumerate() {
            let cell = column.get(number);
            if matches!(cell, Cell::Empty) {
                continue;
            }
            if at >= self.summed {
                past.slices.extend(cell.sum().map(|acc| (column.end, acc.clone())));
            } else if let Some(sum) = std::mem::replace(&mut sum, cell.sum().cloned()) {
                past.slices.push_back((column.end, sum));
                past.summed += 1;
            }
        }
        past.newer_sum = self.newer.get(index).cloned();
        past
    }

    /// From what other backends keep: what keys have. Each is in its place once.
    ///
    /// Which slices are older ones differs from key to key there, and here it doesn't: all are that are it for any key.
    pub(super) fn restore<T, F: Fold<T, Acc = A>>(
        &mut self,
        keys: Vec<(u32, PastSlices<A>)>,
        numbers: usize,
        fold: &mut F,
    ) {
        let last_older = |past: &PastSlices<A>| past.slices.range(..past.summed).next_back().map(|(end, _)| *end);
        let summed_upto = keys.iter().filter_map(|(_, past)| last_older(past)).max().unwrap_or(NO_TIME);
        for (number, past) in keys {
            let index = number as usize;
            let mut slices: Vec<(EventTime, Cell<A>)> =
                past.slices.into_iter().map(|(end, acc)| (end, Cell::Sum(acc))).collect();
            let (older, newer) = slices.split_at_mut(past.summed);
            for (end, cell) in newer.iter_mut().rev() {
                if *end > summed_upto {
                    cell.as_ref().sum().into_iter().for_each(|acc| self.newer.add(index, acc.clone(), fold));
                } else {
                    *cell = sum_up(number, std::mem::replace(cell, Cell::Last), &mut self.older, fold);
                }
            }
            // What the newer ones of these come to has to be in all of the older ones.
            let rest = self.older.get(index).cloned();
            let mut after = rest.clone().map_or(Cell::Last, Cell::Sum);
            for (_, cell) in older.iter_mut().rev() {
                if let (Cell::Sum(sum), Some(rest)) = (&*cell, &rest) {
                    *cell = Cell::Sum(fold.merge(sum.clone(), rest.clone()));
                }
                std::mem::swap(cell, &mut after);
            }
            if let (false, Cell::Sum(sum)) = (older.is_empty(), after) {
                self.older.put(index, sum);
            }
            for (end, cell) in slices {
                let at = self.column(end);
                self.columns[at].fill(number, cell, numbers);
            }
        }
        self.summed = self.columns.partition_point(|column| column.end <= summed_upto);
    }
}

/// A slice of a key becomes an older one: in `older` is what those after it come to, and then what it and they do. Returns what it has
/// as such.
#[inline]
fn sum_up<T, A: Clone, F: Fold<T, Acc = A>>(number: u32, cell: Cell<A>, older: &mut Sums<A>, fold: &mut F) -> Cell<A> {
    let newer = older.get(number as usize).cloned();
    if let Cell::Sum(acc) = cell {
        older.add(number as usize, acc, fold);
    }
    newer.map_or(Cell::Last, Cell::Sum)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::super::super::assigner::SlidingEventTimeWindows;
    use super::super::shape::Slicing;
    use super::*;

    /// The records themselves.
    struct All;

    impl Fold<u32> for All {
        type Acc = Vec<u32>;
        type Item = Vec<u32>;

        fn first(&mut self, record: u32) -> Vec<u32> {
            vec![record]
        }

        fn add(&mut self, acc: &mut Vec<u32>, record: u32) {
            acc.push(record);
        }

        fn merge(&mut self, a: Vec<u32>, b: Vec<u32>) -> Vec<u32> {
            [a, b].concat()
        }

        fn item(&mut self, acc: &Vec<u32>) -> Vec<u32> {
            let mut records = acc.clone();
            records.sort_unstable();
            records
        }
    }

    const NUMBERS: usize = 70;

    #[derive(Debug, Clone)]
    enum Step {
        /// A window ends; these keys have records in slices that are so much older.
        Fire(Vec<(u32, i64)>),
        /// A key has a record that is so late.
        Late(u32, i64),
        /// Restored from what is here, or from what each key has by itself.
        Restore(bool),
    }

    fn step() -> impl Strategy<Value = Step> {
        let number = || prop_oneof![0..4u32, 0..NUMBERS as u32];
        prop_oneof![
            8 => prop::collection::vec((number(), 0..10i64), 0..150).prop_map(Step::Fire),
            4 => (number(), 0..60i64).prop_map(|(number, by)| Step::Late(number, by)),
            1 => any::<bool>().prop_map(Step::Restore),
        ]
    }

    /// Columns, and beside them what each key has by itself.
    struct World {
        slicing: Slicing,
        columns: PastColumns<Vec<u32>>,
        keys: Vec<PastSlices<Vec<u32>>>,
        at: EventTime,
        records: u32,
    }

    impl World {
        fn record(&mut self) -> u32 {
            self.records += 1;
            self.records
        }

        fn fire(&mut self, records: &[(u32, i64)], dense: bool) {
            self.at += self.slicing.slide;
            let at = self.at;
            let mut slices = std::collections::BTreeMap::<_, std::collections::BTreeMap<u32, Vec<u32>>>::new();
            for (number, by) in records {
                let (_, end) = self.slicing.slice(at - 1 - by % self.slicing.slide);
                let record = self.record();
                slices.entry(end).or_default().entry(*number).or_default().push(record);
            }
            let mut spare = Spare::new(None);
            let had: Vec<_> = (0..NUMBERS as u32).filter(|number| self.columns.has(*number)).collect();
            let mut gone = Vec::new();
            self.columns.drop_upto(at - self.slicing.size, &mut spare, &mut gone, &mut All);
            for (end, keys) in &slices {
                let mut column = if dense { Column::dense(*end, spare.take()) } else { Column::sparse(*end) };
                for (number, acc) in keys {
                    column.fill(*number, Cell::Sum(acc.clone()), NUMBERS);
                }
                self.columns.append(column, NUMBERS, &mut spare, &mut All);
            }
            let mut windows = std::collections::BTreeMap::new();
            let Ok(()) = self.columns.try_each_window(NUMBERS, &mut All, |number, acc, _| {
                windows.insert(number as usize, acc);
                Ok::<(), std::convert::Infallible>(())
            });
            for (number, past) in self.keys.iter_mut().enumerate() {
                let own = slices.iter().filter_map(|(end, keys)| Some((*end, keys.get(&(number as u32))?.clone())));
                let expected = past.fire(at, &mut own.collect(), &self.slicing, &mut All);
                let window = windows.remove(&number);
                assert_eq!(window.map(|acc| All.item(&acc)), expected.map(|acc| All.item(&acc)), "{number} at {at}");
            }
            let next = at + self.slicing.slide;
            self.columns.drop_upto(next - self.slicing.size, &mut spare, &mut gone, &mut All);
            for (number, past) in self.keys.iter_mut().enumerate() {
                let is_there = past.next_due(at, &self.slicing).is_some();
                assert_eq!(self.columns.has(number as u32), is_there, "{number} at {at}");
                assert_eq!(is_there, !self.columns.of(number as u32).slices.is_empty());
            }
            for number in had {
                assert!(self.columns.has(number) || gone.contains(&number), "{number} is gone at {at}");
            }
        }

        fn late(&mut self, number: u32, by: i64) {
            let record = self.record();
            let next = self.at + self.slicing.slide;
            let (_, end) = self.slicing.slice(self.at - 1 - by);
            if end > next - self.slicing.size {
                self.keys[number as usize].add(end, vec![record], next, &self.slicing, &mut All);
                self.columns.insert(end, number, vec![record], NUMBERS, &mut All);
            }
        }

        fn restore(&mut self, from_keys: bool) {
            let of = |number: u32| {
                if from_keys { self.keys[number as usize].clone() } else { self.columns.of(number) }
            };
            let keys = (0..NUMBERS as u32).map(|number| (number, of(number))).filter(|(_, past)| !past.is_empty());
            let keys = keys.collect();
            self.columns = PastColumns::new();
            self.columns.restore(keys, NUMBERS, &mut All);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

        #[test]
        fn columns_come_to_what_the_slices_of_each_key_come_to(
            times in 2..6i64,
            rest in 0..10i64,
            steps in prop::collection::vec((step(), any::<bool>()), 1..40),
        ) {
            let ms = |ms: i64| Duration::from_millis(ms as u64);
            let windows = SlidingEventTimeWindows::of(ms(10 * times + rest), ms(10));
            let slicing = Slicing::of(&windows, Duration::ZERO, false).unwrap();
            let mut world = World {
                slicing,
                columns: PastColumns::new(),
                keys: vec![PastSlices::default(); NUMBERS],
                at: slicing.window_end_upto(1000),
                records: 0,
            };
            for (step, dense) in steps {
                match step {
                    Step::Fire(records) => world.fire(&records, dense),
                    Step::Late(number, by) => world.late(number, by),
                    Step::Restore(from_keys) => world.restore(from_keys),
                }
            }
        }
    }
}
