//! The slices that records are still coming for, of all keys.

use crate::batch::{EventTime, NO_TIME};

use super::super::contents::Fold;
use super::column::{Cell, Column, Spare};
use super::sums::OpenSums;

/// See the module.
pub(super) struct OpenColumns<A> {
    /// By end.
    columns: Vec<Column<A>>,
}

/// As many of the newest have a place for every number, however few of those are filled.
const DENSE: usize = 3;

/// Which slice a record is in: the older (0) or the newer (1) of the newest two, which with records a little out of order get all of
/// them, or another one ([`OTHER`]).
type Which = u8;
const OTHER: Which = 3;

/// The two slices by [`Which`]. One that is not there, or has no place for every number, has none.
type ByWhich<S> = [S; 4];

const OLDER: usize = 0;
pub(super) const NEWER: usize = 1;

/// The place of a slice: no other number, as can be seen.
#[inline]
pub(super) fn index(which: Which) -> usize {
    usize::from(which & OTHER)
}

/// Which slices the records of a batch are in.
///
/// Found out beforehand, so that nothing but an index is left to be looked at when they are added: which of the two newest it is can't be
/// foreseen, and a branch that depends on it costs more than everything else that is done with a record.
#[derive(Default)]
pub(super) struct Found {
    ends: [EventTime; 2],
    which: Vec<Which>,
    is_one: bool,
}

/// See [`Found`]: of some records that follow one another.
#[derive(Clone, Copy)]
pub(super) struct FoundPart<'a> {
    /// Of the older, and of the newer slice.
    pub(super) ends: [EventTime; 2],
    pub(super) which: &'a [Which],
    /// All records of the batch are in the newer one.
    pub(super) is_one: bool,
}

impl Found {
    /// Finds it out for so many records, by their times. Those without one are as the last of the others. The newest two slices are from
    /// `before` to `start`, and from there to `end`. Returns whether all times are in these.
    pub(super) fn find(&mut self, times: &[EventTime], [before, start, end]: [EventTime; 3], records: usize) -> bool {
        self.ends = [start, end];
        // Earlier than everything else is no time at all.
        let before = before.max(NO_TIME + 1);
        let (one, both) = (start.wrapping_sub(before) as u64, end.saturating_sub(before).max(0) as u64);
        let (mut any, mut all) = (0, !0);
        self.which.clear();
        self.which.extend(times.iter().map(|time| {
            let after = time.wrapping_sub(before) as u64;
            let is_newer = Which::from(after >= one);
            let which = is_newer | (Which::from(after >= both) * OTHER);
            any |= which;
            all &= which;
            which
        }));
        let last = self.which.last().copied();
        self.which.resize(records, last.unwrap_or(OTHER));
        self.is_one = !times.is_empty() && any == 1 && all == 1;
        !times.is_empty() && any & 2 == 0
    }

    /// So many records at a time.
    pub(super) fn chunks(&self, records: usize) -> impl Iterator<Item = FoundPart<'_>> {
        let Self { ends, is_one, .. } = *self;
        self.which.chunks(records).map(move |which| FoundPart { ends, which, is_one })
    }
}

impl FoundPart<'_> {
    /// Begins to bring what keys with these numbers have in the slices into the processor's caches.
    #[inline]
    pub(super) fn prefetch<A>(self, slices: &ByWhich<OpenSums<'_, A>>, numbers: &[u32]) {
        if self.is_one {
            return numbers.iter().for_each(|number| slices[NEWER].prefetch(*number as usize));
        }
        let slices = self.which.iter().map(|which| &slices[index(*which)]);
        slices.zip(numbers).for_each(|(slice, number)| slice.prefetch(*number as usize));
    }
}

impl<A: Clone> OpenColumns<A> {
    pub(super) fn new() -> Self {
        Self { columns: Vec::new() }
    }

    /// The two slices with these ends, for records to be added.
    pub(super) fn newest<T, F: Fold<T, Acc = A>>(
        &mut self,
        [older, newer]: [EventTime; 2],
    ) -> ByWhich<OpenSums<'_, A>> {
        let mut found = ByWhich::default();
        for column in self.columns.iter_mut().rev() {
            let which = if column.end == newer { NEWER } else { OLDER };
            if column.end == newer || column.end == older {
                found[which] = column.open::<T, F>().unwrap_or_default();
            }
        }
        found
    }

    /// Adds a record to the slice with that end.
    pub(super) fn add<T, F: Fold<T, Acc = A>>(
        &mut self,
        end: EventTime,
        number: u32,
        numbers: usize,
        spare: &mut Spare<A>,
        record: T,
        fold: &mut F,
    ) {
        let column = self.column(end, numbers, spare);
        match column.sum_mut(number) {
            Some(acc) => fold.add(acc, record),
            None => column.fill(number, Cell::Sum(fold.first(record)), numbers),
        }
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

    /// Whether a key has anything in them.
    #[inline]
    pub(super) fn has(&self, number: u32) -> bool {
        self.columns.iter().rev().any(|column| !matches!(column.get(number), Cell::Empty))
    }

    /// What a key has in them, the oldest first.
    pub(super) fn of(&self, number: u32) -> impl Iterator<Item = (EventTime, &A)> {
        self.columns.iter().filter_map(move |column| Some((column.end, column.get(number).sum()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::contents::Reducing;
    use super::*;

    #[test]
    fn records_are_added_to_their_slices_when_one_begins_among_them() {
        type Pair = (u64, u64);
        type Sum = Reducing<fn(&mut Pair, Pair)>;
        let mut fold: Sum = Reducing(|sum, record| sum.1 += record.1);
        let (mut open, mut spare, mut found) = (OpenColumns::new(), Spare::new(None), Found::default());
        let times = [15, 25, 19, 9, 10, NO_TIME, 29, 30];
        assert!(!found.find(&times, [10, 20, 30], times.len()));
        let part = found.chunks(100).next().unwrap();
        assert_eq!((part.ends, part.which, part.is_one), ([20, 30], &[0, 1, 0, OTHER, 0, OTHER, 1, OTHER][..], false));
        let mut others = Vec::new();
        for (at, which) in part.which.iter().enumerate() {
            let mut newest = open.newest::<Pair, Sum>(part.ends);
            if let Err(record) = newest[index(*which)].add(5, (0, 1 << at), &mut fold) {
                let end = [20, 30, 0, 10][usize::from(*which)];
                open.add(end, 5, 6, &mut spare, record, &mut fold);
                others.push(at);
            }
        }
        let sums: Vec<_> = open.of(5).map(|(end, sum)| (end, sum.1)).collect();
        assert_eq!(sums, [(10, 0b1010_1000), (20, 0b1_0101), (30, 0b100_0010)]);
        assert_eq!(others, [0, 1, 3, 5, 7], "two begin a slice, and three are for neither of the newest two");
        assert!(open.has(5) && !open.has(4));
        assert!(open.newest::<Pair, Sum>([20, 30])[NEWER].add(5, (0, 0), &mut fold).is_ok());
        assert!(open.newest::<Pair, Sum>([30, 40])[NEWER].add(5, (0, 0), &mut fold).is_err());
    }

    #[test]
    fn it_is_known_when_all_records_are_in_the_newest_slice() {
        let mut found = Found::default();
        let mut find = |times: &[EventTime], records| {
            let all = found.find(times, [10, 20, 30], records);
            (all, found.is_one, found.which.clone())
        };
        assert_eq!(find(&[20, 29], 2), (true, true, vec![1, 1]));
        assert_eq!(find(&[20, 19], 2), (true, false, vec![1, 0]));
        assert_eq!(find(&[25], 3), (true, true, vec![1, 1, 1]), "one moment for all");
        assert_eq!(find(&[20, 30], 2), (false, false, vec![1, OTHER]));
        assert_eq!(find(&[], 2), (false, false, vec![OTHER, OTHER]), "no record has a time");
        assert!(!found.find(&[5, NO_TIME], [NO_TIME; 3], 2), "before the first record");
        assert_eq!(found.which, [OTHER, OTHER]);
    }
}
