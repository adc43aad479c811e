//! One slice of all keys: what each key has in it, by the key's number.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::batch::EventTime;

use super::super::contents::Fold;

/// What a key has in a slice.
#[derive(Debug, Clone)]
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
    filled: usize,
}

/// Where many keys have something: a place for every number, so that a record finds it at once and firing reads memory from
/// end to end. Where few have: those.
#[derive(Debug, Clone)]
enum Cells<A> {
    Dense(Vec<Cell<A>>),
    Sparse(BTreeMap<u32, Cell<A>>),
}

/// A column becomes sparse when less than a part of so many is filled: it takes less memory then.
const THIN: usize = 3;
/// A sparse one becomes dense when more than a part of so many is filled, and there are keys enough to tell.
const THICK: usize = 2;
const TELLING: usize = 64;

impl<A> Column<A> {
    /// An empty one with a place for every number; `cells` are empty, too.
    pub(super) fn dense(end: EventTime, cells: Vec<Cell<A>>) -> Self {
        Self { end, cells: Cells::Dense(cells), filled: 0 }
    }

    /// An empty one with places for few.
    pub(super) fn sparse(end: EventTime) -> Self {
        Self { end, cells: Cells::Sparse(BTreeMap::new()), filled: 0 }
    }

    /// What a key has in it, if it has a place there.
    #[inline]
    pub(super) fn get(&self, number: u32) -> Option<&Cell<A>> {
        match &self.cells {
            Cells::Dense(cells) => cells.get(number as usize),
            Cells::Sparse(cells) => cells.get(&number),
        }
    }

    /// As [`Self::get`].
    #[inline]
    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut Cell<A>> {
        match &mut self.cells {
            Cells::Dense(cells) => cells.get_mut(number as usize),
            Cells::Sparse(cells) => cells.get_mut(&number),
        }
    }

    /// The places of all numbers, as far as there are any; none of a sparse one.
    #[inline]
    pub(super) fn places(&self) -> &[Cell<A>] {
        match &self.cells {
            Cells::Dense(cells) => cells,
            Cells::Sparse(_) => &[],
        }
    }

    /// As [`Self::places`].
    #[inline]
    pub(super) fn places_mut(&mut self) -> &mut [Cell<A>] {
        match &mut self.cells {
            Cells::Dense(cells) => cells,
            Cells::Sparse(_) => &mut [],
        }
    }

    /// So many of its [places](Self::places_mut) were filled, which were empty.
    pub(super) fn filled(&mut self, cells: usize) {
        self.filled += cells;
    }

    /// Fills the cell of a key that has nothing in it. There are so many `numbers` of keys.
    pub(super) fn fill(&mut self, number: u32, cell: Cell<A>, numbers: usize) {
        self.filled += 1;
        if numbers >= TELLING && self.filled > numbers / THICK {
            self.thicken();
        }
        match &mut self.cells {
            Cells::Dense(cells) => {
                if cells.len() <= number as usize {
                    cells.resize_with(number as usize + 1, || Cell::Empty);
                }
                cells[number as usize] = cell;
            }
            Cells::Sparse(cells) => {
                cells.insert(number, cell);
            }
        }
    }

    fn thicken(&mut self) {
        let Cells::Sparse(sparse) = &mut self.cells else { return };
        let mut cells = Vec::new();
        for (number, cell) in std::mem::take(sparse) {
            cells.resize_with(number as usize, || Cell::Empty);
            cells.push(cell);
        }
        self.cells = Cells::Dense(cells);
    }

    /// Makes it sparse if there is little in it. Returns the places that it had then; they are empty.
    pub(super) fn thin(&mut self, numbers: usize) -> Option<Vec<Cell<A>>> {
        let Cells::Dense(dense) = &mut self.cells else { return None };
        if self.filled >= numbers / THIN {
            return None;
        }
        let mut dense = std::mem::take(dense);
        let cells = dense.iter_mut().enumerate().filter(|(_, cell)| !matches!(cell, Cell::Empty));
        let sparse = cells.map(|(number, cell)| (number as u32, std::mem::replace(cell, Cell::Empty))).collect();
        self.cells = Cells::Sparse(sparse);
        Some(dense)
    }

    /// Calls with what each key of a range has in it, in the order of the numbers, until that fails.
    #[inline]
    pub(super) fn try_each<E>(
        &mut self,
        range: Range<usize>,
        mut f: impl FnMut(u32, &mut Cell<A>) -> Result<(), E>,
    ) -> Result<(), E> {
        match &mut self.cells {
            Cells::Dense(cells) => {
                let range = range.start.min(cells.len())..range.end.min(cells.len());
                for (number, cell) in range.clone().zip(&mut cells[range]) {
                    if !matches!(cell, Cell::Empty) {
                        f(number as u32, cell)?;
                    }
                }
            }
            Cells::Sparse(cells) => {
                for (number, cell) in cells.range_mut(range.start as u32..range.end as u32) {
                    f(*number, cell)?;
                }
            }
        }
        Ok(())
    }

    /// As [`Self::try_each`].
    #[inline]
    pub(super) fn each(&mut self, range: Range<usize>, mut f: impl FnMut(u32, &mut Cell<A>)) {
        let Ok(()) = self.try_each(range, |number, cell| {
            f(number, cell);
            Ok::<(), std::convert::Infallible>(())
        });
    }

    /// Calls with all that there is in it. Returns its places, if it has one for every number: they are empty.
    #[inline]
    pub(super) fn take(self, mut f: impl FnMut(u32, Cell<A>)) -> Option<Vec<Cell<A>>> {
        match self.cells {
            Cells::Dense(mut cells) => {
                for (number, cell) in cells.iter_mut().enumerate() {
                    if !matches!(cell, Cell::Empty) {
                        f(number as u32, std::mem::replace(cell, Cell::Empty));
                    }
                }
                Some(cells)
            }
            Cells::Sparse(cells) => {
                cells.into_iter().for_each(|(number, cell)| f(number, cell));
                None
            }
        }
    }
}

/// The places of columns that are gone, for those that come.
pub(super) struct Spare<A>(Vec<Vec<Cell<A>>>);

impl<A> Spare<A> {
    /// As many as come and go at once.
    const KEPT: usize = 3;

    pub(super) fn new() -> Self {
        Self(Vec::new())
    }

    pub(super) fn give(&mut self, cells: Option<Vec<Cell<A>>>) {
        self.0.extend(cells.filter(|_| self.0.len() < Self::KEPT));
    }

    pub(super) fn take(&mut self) -> Vec<Cell<A>> {
        self.0.pop().unwrap_or_default()
    }
}

impl<A> Cell<A> {
    /// The accumulator of an open slice.
    pub(super) fn sum(&self) -> Option<&A> {
        match self {
            Self::Sum(acc) => Some(acc),
            Self::Empty | Self::Last => None,
        }
    }

    /// Adds to it.
    pub(super) fn add<T, F: Fold<T, Acc = A>>(&mut self, acc: A, fold: &mut F) {
        *self = Self::Sum(match std::mem::replace(self, Self::Empty) {
            Self::Sum(sum) => fold.merge(sum, acc),
            Self::Empty | Self::Last => acc,
        });
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
            let mut column = if dense { Column::dense(10, Vec::new()) } else { Column::sparse(10) };
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
                            assert!(places.iter().all(|cell| matches!(cell, Cell::Empty)));
                        }
                    }
                }
                assert_eq!(column.filled, expected.len());
            }
            for number in 0..200 {
                assert_eq!(column.get(number).and_then(Cell::sum), expected.get(&number));
                if let Some(cell) = column.places().get(number as usize) {
                    assert_eq!(cell.sum(), expected.get(&number));
                }
            }
            let range = range.0..range.0.max(range.1);
            let mut seen = Vec::new();
            column.each(range.clone(), |number, cell| seen.push((number, *cell.sum().unwrap())));
            assert_eq!(seen, expected.iter().map(|(n, v)| (*n, *v)).filter(|(n, _)| range.contains(&(*n as usize))).collect::<Vec<_>>());
            let mut taken = Vec::new();
            let places = column.take(|number, cell| taken.push((number, *cell.sum().unwrap())));
            assert_eq!(taken, expected.into_iter().collect::<Vec<_>>());
            assert!(places.into_iter().flatten().all(|cell| matches!(cell, Cell::Empty)));
        }
    }
}
