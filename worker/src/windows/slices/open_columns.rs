//! The slices that records are still coming for, of all keys.

use crate::batch::{EventTime, NO_TIME};

use super::super::contents::Fold;
use super::column::{Cell, Column, Spare};

/// See the module.
pub(super) struct OpenColumns<A> {
    /// By end.
    columns: Vec<Column<A>>,
}

/// As many of the newest have a place for every number, however few of those are filled.
const DENSE: usize = 3;

/// The newest two slices, which with records a little out of order get all of them.
pub(super) struct Newest<C> {
    /// [`NO_TIME`] for one that is not there.
    ends: [EventTime; 2],
    cells: [C; 2],
    /// How many cells were filled.
    filled: [usize; 2],
}

impl<C> Newest<C> {
    #[inline]
    fn new(ends: [EventTime; 2], cells: [C; 2]) -> Self {
        Self { ends, cells, filled: [0; 2] }
    }

    /// Which of them is the slice with that end.
    #[inline]
    fn index(&self, end: EventTime) -> Option<usize> {
        // No branch: which of the two it is can't be foreseen.
        let at = usize::from(self.ends[1] == end);
        (self.ends[at] == end).then_some(at)
    }
}

impl<A> Newest<&[Cell<A>]> {
    /// What a key has in the slice with that end, if that is one of them.
    #[inline]
    pub(super) fn cell(&self, end: EventTime, number: u32) -> Option<&Cell<A>> {
        self.cells[self.index(end)?].get(number as usize)
    }
}

impl<A> Newest<&mut [Cell<A>]> {
    /// Adds a record of a key to the slice with that end; gives it back if that is none of them. Keys that had nothing there are added
    /// to `begun`.
    #[inline]
    pub(super) fn add<T, F: Fold<T, Acc = A>>(
        &mut self,
        end: EventTime,
        number: u32,
        begun: &mut Vec<u32>,
        record: T,
        fold: &mut F,
    ) -> Result<(), T> {
        let Some(at) = self.index(end) else { return Err(record) };
        let Some(cell) = self.cells[at].get_mut(number as usize) else { return Err(record) };
        if let Cell::Sum(acc) = cell {
            fold.add(acc, record);
        } else {
            *cell = Cell::Sum(fold.first(record));
            self.filled[at] += 1;
            begun.push(number);
        }
        Ok(())
    }

    /// How many cells were filled, to be told to [`OpenColumns::filled`].
    pub(super) fn into_filled(self) -> [usize; 2] {
        self.filled
    }
}

impl<A> OpenColumns<A> {
    pub(super) fn new() -> Self {
        Self { columns: Vec::new() }
    }

    #[inline]
    pub(super) fn newest(&self) -> Newest<&[Cell<A>]> {
        match self.columns.as_slice() {
            [.., a, b] => Newest::new([a.end, b.end], [a.places(), b.places()]),
            [b] => Newest::new([NO_TIME, b.end], [&[], b.places()]),
            [] => Newest::new([NO_TIME; 2], [&[], &[]]),
        }
    }

    #[inline]
    pub(super) fn newest_mut(&mut self) -> Newest<&mut [Cell<A>]> {
        match self.columns.as_mut_slice() {
            [.., a, b] => Newest::new([a.end, b.end], [a.places_mut(), b.places_mut()]),
            [b] => Newest::new([NO_TIME, b.end], [&mut [], b.places_mut()]),
            [] => Newest::new([NO_TIME; 2], [&mut [], &mut []]),
        }
    }

    /// So many cells of the newest slices were filled.
    pub(super) fn filled(&mut self, filled: [usize; 2]) {
        for (column, filled) in self.columns.iter_mut().rev().zip(filled.into_iter().rev()) {
            column.filled(filled);
        }
    }

    /// Adds a record to the slice with that end; true when it is the first one of its key there.
    pub(super) fn add<T, F: Fold<T, Acc = A>>(
        &mut self,
        end: EventTime,
        number: u32,
        numbers: usize,
        spare: &mut Spare<A>,
        record: T,
        fold: &mut F,
    ) -> bool {
        let column = self.column(end, numbers, spare);
        if let Some(Cell::Sum(acc)) = column.get_mut(number) {
            fold.add(acc, record);
            return false;
        }
        column.fill(number, Cell::Sum(fold.first(record)), numbers);
        true
    }

    /// The slice with that end, which is begun if it is not there.
    pub(super) fn column(&mut self, end: EventTime, numbers: usize, spare: &mut Spare<A>) -> &mut Column<A> {
        let at = match self.columns.binary_search_by_key(&end, |column| column.end) {
            Ok(at) => at,
            Err(at) => {
                self.begin(at, end, numbers, spare);
                at
            }
        };
        &mut self.columns[at]
    }

    #[cold]
    fn begin(&mut self, at: usize, end: EventTime, numbers: usize, spare: &mut Spare<A>) {
        let is_new = at + DENSE > self.columns.len();
        self.columns.insert(at, if is_new { Column::dense(end, spare.take()) } else { Column::sparse(end) });
        // One of those before is not new any more.
        if is_new && let Some(at) = self.columns.len().checked_sub(DENSE + 1) {
            spare.give(self.columns[at].thin(numbers));
        }
    }

    /// Takes the slices out that end by then, the oldest first.
    pub(super) fn take_upto(&mut self, upto: EventTime) -> Vec<Column<A>> {
        let old = self.columns.partition_point(|column| column.end <= upto);
        self.columns.drain(..old).collect()
    }

    /// The end of the oldest one.
    pub(super) fn oldest(&self) -> Option<EventTime> {
        self.columns.first().map(|column| column.end)
    }

    /// What a key has in them, the oldest first.
    pub(super) fn of(&self, number: u32) -> impl Iterator<Item = (EventTime, &A)> {
        self.columns.iter().filter_map(move |column| Some((column.end, column.get(number)?.sum()?)))
    }
}
