//! One slice of all keys: what each key has in it, by the key's number.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::batch::EventTime;

use super::super::contents::Fold;
use super::bits::{Bits, ones, words};
use super::sums::{OpenSums, Sums};

/// What a key has in a slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cell<A> {
    Empty,
    /// What its records come to; in an older past slice, what its newer ones among the older come to.
    Sum(A),
    /// In an older past slice: there is no newer one among the older.
    Last,
}

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Column<A> {
    pub(super) end: EventTime,
    cells: Cells<A>,
}

/// Where many keys have something: a place for every number, so that a record finds it at once and firing reads memory from
/// end to end. Where few have: those.
#[derive(Debug, Clone)]
enum Cells<A> {
    Dense(Dense<A>),
    Sparse(BTreeMap<u32, Cell<A>>),
}

/// A number is in one of both, or has nothing.
#[derive(Debug, Clone)]
struct Dense<A> {
    sums: Sums<A>,
    lasts: Bits,
}

/// A column becomes sparse when less than a part of so many is filled: it takes less memory then.
const THIN: usize = 3;
/// A sparse one becomes dense when more than a part of so many is filled, and there are keys enough to tell.
const THICK: usize = 2;
const TELLING: usize = 64;

impl<A: Clone> Column<A> {
    /// An empty one with a place for every number; `sums` are empty, too.
    pub(super) fn dense(end: EventTime, sums: Sums<A>) -> Self {
        Self { end, cells: Cells::Dense(Dense { sums, lasts: Bits::default() }) }
    }

    /// An empty one with places for few.
    pub(super) fn sparse(end: EventTime) -> Self {
        Self { end, cells: Cells::Sparse(BTreeMap::new()) }
    }

    /// What a key has in it.
    #[inline]
    pub(super) fn get(&self, number: u32) -> Cell<&A> {
        match &self.cells {
            Cells::Dense(Dense { sums, lasts }) => match sums.get(number as usize) {
                Some(sum) => Cell::Sum(sum),
                None if lasts.contains(number as usize) => Cell::Last,
                None => Cell::Empty,
            },
            Cells::Sparse(cells) => cells.get(&number).map_or(Cell::Empty, Cell::as_ref),
        }
    }

    /// The sum that a key has in it.
    #[inline]
    pub(super) fn sum_mut(&mut self, number: u32) -> Option<&mut A> {
        match &mut self.cells {
            Cells::Dense(Dense { sums, .. }) => sums.get_mut(number as usize),
            Cells::Sparse(cells) => match cells.get_mut(&number)? {
                Cell::Sum(sum) => Some(sum),
                Cell::Empty | Cell::Last => None,
            },
        }
    }

    /// For records of so many keys to be added, of a slice in which no key has something else than a sum. `None` of a sparse one,
    /// and if the fold needs another accumulator of no record than there is.
    #[inline]
    pub(super) fn open<T, F: Fold<T, Acc = A>>(&mut self, numbers: usize) -> Option<OpenSums<'_, A>> {
        match &mut self.cells {
            Cells::Dense(Dense { sums, .. }) => sums.open::<T, F>(numbers),
            Cells::Sparse(_) => None,
        }
    }

    /// How many keys have something in it.
    fn count(&self) -> usize {
        match &self.cells {
            Cells::Dense(Dense { sums, lasts }) => sums.count() + lasts.count(),
            Cells::Sparse(cells) => cells.len(),
        }
    }

    /// Fills the cell of a key that has nothing in it. There are so many `numbers` of keys.
    pub(super) fn fill(&mut self, number: u32, cell: Cell<A>, numbers: usize) {
        if let Cells::Sparse(cells) = &self.cells
            && numbers >= TELLING
            && cells.len() >= numbers / THICK
        {
            self.thicken();
        }
        self.set(number, cell);
    }

    /// Sets what a key has in it.
    fn set(&mut self, number: u32, cell: Cell<A>) {
        match &mut self.cells {
            Cells::Dense(dense) => {
                dense.take(number as usize);
                dense.put(number as usize, cell);
            }
            Cells::Sparse(cells) => {
                cells.insert(number, cell);
            }
        }
    }

    /// Adds to what a key has in it.
    pub(super) fn add<T, F: Fold<T, Acc = A>>(&mut self, number: u32, acc: A, fold: &mut F) {
        let cell = match &mut self.cells {
            Cells::Dense(dense) => dense.take(number as usize),
            Cells::Sparse(cells) => cells.remove(&number).unwrap_or(Cell::Empty),
        };
        let sum = match cell {
            Cell::Sum(sum) => fold.merge(sum, acc),
            Cell::Empty | Cell::Last => acc,
        };
        self.set(number, Cell::Sum(sum));
    }

    /// Adds to what a key has in it, which may be nothing. There are so many `numbers` of keys.
    pub(super) fn join<T, F: Fold<T, Acc = A>>(&mut self, number: u32, acc: A, numbers: usize, fold: &mut F) {
        match self.get(number) {
            Cell::Sum(_) => self.add(number, acc, fold),
            Cell::Empty | Cell::Last => self.fill(number, Cell::Sum(acc), numbers),
        }
    }

    fn thicken(&mut self) {
        let Cells::Sparse(sparse) = &mut self.cells else { return };
        let mut dense = Dense { sums: Sums::new(), lasts: Bits::default() };
        std::mem::take(sparse).into_iter().for_each(|(number, cell)| dense.put(number as usize, cell));
        self.cells = Cells::Dense(dense);
    }

    /// Makes it sparse if there is little in it. Returns the places that it had then; they are empty.
    pub(super) fn thin(&mut self, numbers: usize) -> Option<Sums<A>> {
        if self.count() >= numbers / THIN {
            return None;
        }
        let Cells::Dense(_) = &self.cells else { return None };
        let mut sparse = BTreeMap::new();
        let dense = Self { end: self.end, cells: std::mem::replace(&mut self.cells, Cells::Sparse(BTreeMap::new())) };
        let places = dense.take(|number, cell| {
            sparse.insert(number, cell);
        });
        self.cells = Cells::Sparse(sparse);
        places
    }

    /// Calls with what each key of a range has in it, in the order of the numbers, until that fails.
    #[inline]
    pub(super) fn try_each<E>(
        &self,
        range: Range<usize>,
        mut f: impl FnMut(u32, Cell<&A>) -> Result<(), E>,
    ) -> Result<(), E> {
        match &self.cells {
            Cells::Dense(dense) => {
                for (at, mask) in dense.words(range) {
                    for number in ones(at, dense.word(at) & mask) {
                        f(number as u32, dense.sums.get(number).map_or(Cell::Last, Cell::Sum))?;
                    }
                }
            }
            Cells::Sparse(cells) => {
                for (number, cell) in cells.range(range.start as u32..range.end as u32) {
                    f(*number, cell.as_ref())?;
                }
            }
        }
        Ok(())
    }

    /// As [`Self::try_each`].
    #[inline]
    pub(super) fn each(&self, range: Range<usize>, mut f: impl FnMut(u32, Cell<&A>)) {
        let Ok(()) = self.try_each(range, |number, cell| {
            f(number, cell);
            Ok::<(), std::convert::Infallible>(())
        });
    }

    /// Calls with what each key of a range has in it, in the order of the numbers, and puts what that gives in its place.
    #[inline]
    pub(super) fn replace_each(&mut self, range: Range<usize>, mut f: impl FnMut(u32, Cell<A>) -> Cell<A>) {
        match &mut self.cells {
            Cells::Dense(dense) => {
                for (at, mask) in dense.words(range) {
                    for number in ones(at, dense.word(at) & mask) {
                        let Some(sum) = dense.sums.plain_mut(number) else {
                            let cell = dense.take(number);
                            dense.put(number, f(number as u32, cell));
                            continue;
                        };
                        match f(number as u32, Cell::Sum(sum.clone())) {
                            Cell::Sum(other) => *sum = other,
                            other => {
                                dense.take(number);
                                dense.put(number, other);
                            }
                        }
                    }
                }
            }
            Cells::Sparse(cells) => {
                for (number, cell) in cells.range_mut(range.start as u32..range.end as u32) {
                    *cell = f(*number, std::mem::replace(cell, Cell::Last));
                }
            }
        }
    }

    /// Calls with all that there is in it, in the order of the numbers. Returns its places, if it has one for every number: they are
    /// empty.
    #[inline]
    pub(super) fn take(self, mut f: impl FnMut(u32, Cell<A>)) -> Option<Sums<A>> {
        match self.cells {
            Cells::Dense(mut dense) => {
                for (at, _) in dense.words(0..usize::MAX) {
                    if dense.lasts.word(at) == 0 {
                        dense.sums.take_word(at, |number, sum| f(number as u32, Cell::Sum(sum)));
                        continue;
                    }
                    for number in ones(at, dense.word(at)) {
                        f(number as u32, dense.take(number));
                    }
                }
                Some(dense.sums)
            }
            Cells::Sparse(cells) => {
                cells.into_iter().for_each(|(number, cell)| f(number, cell));
                None
            }
        }
    }
}

impl<A: Clone> Dense<A> {
    /// Takes out what a number has.
    #[inline]
    fn take(&mut self, number: usize) -> Cell<A> {
        match self.sums.take(number) {
            Some(sum) => Cell::Sum(sum),
            None if self.lasts.remove(number) => Cell::Last,
            None => Cell::Empty,
        }
    }

    /// Gives a number that has nothing something.
    #[inline]
    fn put(&mut self, number: usize, cell: Cell<A>) {
        match cell {
            Cell::Empty => {}
            Cell::Sum(sum) => self.sums.put(number, sum),
            Cell::Last => self.lasts.insert(number),
        }
    }

    /// [`words`] of a range, as far as there is anything.
    #[inline]
    fn words(&self, range: Range<usize>) -> impl Iterator<Item = (usize, u64)> + use<A> {
        let end = range.end.min(self.sums.end().max(self.lasts.end()));
        words(range.start.min(end)..end)
    }

    /// Bit by bit, which numbers have something.
    #[inline]
    fn word(&self, at: usize) -> u64 {
        self.sums.word(at) | self.lasts.word(at)
    }
}

/// The places of columns that are gone, for those that come.
pub(super) struct Spare<A> {
    sums: Vec<Sums<A>>,
    /// What these are made with.
    empty: Option<A>,
}

impl<A: Clone> Spare<A> {
    /// As many as come and go at once.
    const KEPT: usize = 3;

    /// For records to be added, with what [`Fold::EMPTY`] makes.
    pub(super) fn new(empty: Option<A>) -> Self {
        Self { sums: Vec::new(), empty }
    }

    pub(super) fn give(&mut self, sums: Option<Sums<A>>) {
        let Self { sums: kept, empty } = self;
        // Those of a column that was sparse once were made without one.
        kept.extend(sums.filter(|sums| kept.len() < Self::KEPT && sums.has_empty() == empty.is_some()));
    }

    pub(super) fn take(&mut self) -> Sums<A> {
        self.sums.pop().unwrap_or_else(|| Sums::with_empty(self.empty.clone()))
    }

    /// Gives up what it has.
    pub(super) fn clear(&mut self) {
        self.sums = Vec::new();
    }
}

impl<A> Cell<A> {
    /// The accumulator of an open slice.
    pub(super) fn sum(self) -> Option<A> {
        match self {
            Self::Sum(acc) => Some(acc),
            Self::Empty | Self::Last => None,
        }
    }

    #[inline]
    pub(super) fn as_ref(&self) -> Cell<&A> {
        match self {
            Self::Empty => Cell::Empty,
            Self::Sum(acc) => Cell::Sum(acc),
            Self::Last => Cell::Last,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Fill(u32),
        Thin,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![20 => (0..150u32).prop_map(Step::Fill), 1 => Just(Step::Thin)]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100) })]

        #[test]
        fn a_column_has_what_was_put_into_it_whether_it_is_dense_or_sparse(
            dense: bool,
            steps in prop::collection::vec(step(), 0..150),
            range in (0..150usize, 0..200usize),
        ) {
            let mut column = if dense { Column::dense(10, Sums::new()) } else { Column::sparse(10) };
            let mut expected = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Fill(number) if expected.insert(number, number + 1000).is_none() => {
                        column.fill(number, Cell::Sum(number + 1000), 150);
                    }
                    Step::Fill(_) => {}
                    Step::Thin => {
                        if let Some(places) = column.thin(150) {
                            assert!(expected.len() < 150 / THIN);
                            assert_eq!(places.count(), 0);
                        }
                    }
                }
                assert_eq!(column.count(), expected.len());
            }
            for number in 0..200 {
                assert_eq!(column.get(number).sum(), expected.get(&number));
                assert_eq!(column.sum_mut(number).cloned().as_ref(), expected.get(&number));
            }
            let range = range.0..range.0.max(range.1);
            let in_range = expected.range(range.start as u32..range.end as u32).map(|(n, v)| (*n, *v));
            let mut seen = Vec::new();
            column.each(range.clone(), |number, cell| seen.extend(cell.sum().map(|value| (number, *value))));
            assert_eq!(seen, in_range.clone().collect::<Vec<_>>());
            // Every second one has no newer one now.
            let mut halved = column.clone();
            halved.replace_each(range.clone(), |number, cell| if number % 2 == 0 { Cell::Last } else { cell });
            assert_eq!(halved.count(), expected.len());
            for (number, value) in &expected {
                let is_last = number % 2 == 0 && range.contains(&(*number as usize));
                assert_eq!(halved.get(*number), if is_last { Cell::Last } else { Cell::Sum(value) });
            }
            let mut all = Vec::new();
            halved.take(|number, _| all.push(number));
            assert_eq!(all, expected.keys().copied().collect::<Vec<_>>());
            let mut taken = Vec::new();
            let places = column.take(|number, cell| taken.push((number, cell.sum().unwrap())));
            assert_eq!(taken, expected.into_iter().collect::<Vec<_>>());
            assert!(places.is_none_or(|places| places.count() == 0));
        }
    }
}
