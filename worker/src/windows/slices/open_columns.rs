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

/// Which slice a record is in: one of the newest two, which with records a little out of order get all of them, or another one.
type Which = u8;
const OLDER: Which = 0;
const NEWER: Which = 1;
const OTHER: Which = 3;

/// Which slices the records of a batch are in.
///
/// Found out beforehand, so that nothing but this is left to be looked at when they are added: which of the two newest it is can't be
/// foreseen, and a branch that depends on it costs more than everything else that is done with a record.
#[derive(Default)]
pub(super) struct Found {
    ends: [EventTime; 2],
    which: Vec<Which>,
}

/// See [`Found`]: of some records that follow one another.
#[derive(Clone, Copy)]
pub(super) struct FoundPart<'a> {
    /// Of the older, and of the newer slice.
    pub(super) ends: [EventTime; 2],
    which: &'a [Which],
}

impl Found {
    /// Finds it out for so many records, by their times. Those without one are as the last of the others. The newest two slices are from
    /// `before` to `start`, and from there to `end`. Returns whether all times are in these.
    pub(super) fn find(&mut self, times: &[EventTime], [before, start, end]: [EventTime; 3], records: usize) -> bool {
        self.ends = [start, end];
        // Earlier than everything else is no time at all.
        let before = before.max(NO_TIME + 1);
        let (one, both) = (start.wrapping_sub(before) as u64, end.saturating_sub(before).max(0) as u64);
        let mut any = 0;
        self.which.clear();
        self.which.extend(times.iter().map(|time| {
            let after = time.wrapping_sub(before) as u64;
            let is_newer = Which::from(after >= one);
            let which = is_newer | (Which::from(after >= both) * OTHER);
            any |= which;
            which
        }));
        let last = self.which.last().copied();
        self.which.resize(records, last.unwrap_or(OTHER));
        !times.is_empty() && any != OTHER
    }

    /// So many records at a time.
    pub(super) fn chunks(&self, records: usize) -> impl Iterator<Item = FoundPart<'_>> {
        let ends = self.ends;
        self.which.chunks(records).map(move |which| FoundPart { ends, which })
    }
}

/// The newest two slices, for records to be added. What is not there, or has no place for every number, has none.
pub(super) struct Newest<'a, A> {
    older: OpenSums<'a, A>,
    newer: OpenSums<'a, A>,
}

impl<'a, A> Newest<'a, A> {
    /// Begins to bring what keys with these numbers have in the slices into the processor's caches.
    #[inline]
    pub(super) fn prefetch(&mut self, numbers: &[u32], found: FoundPart<'_>) {
        if let Some((_, slice)) = self.only_one() {
            return numbers.iter().for_each(|number| slice.prefetch(*number as usize));
        }
        let [mut older, mut newer] = self.of_same_places();
        for (number, which) in numbers.iter().zip(found.which) {
            OpenSums::select(*which == NEWER, &mut newer, &mut older).prefetch(*number as usize);
        }
    }

    /// Adds records, by the numbers of their keys, from `next` on. Returns the first one that is in another slice, or whose key has no
    /// place: the one before `next`.
    #[inline]
    pub(super) fn add_all<T, F: Fold<T, Acc = A>>(
        &mut self,
        records: &mut impl Iterator<Item = T>,
        numbers: &[u32],
        found: FoundPart<'_>,
        next: &mut usize,
        fold: &mut F,
    ) -> Option<T> {
        if let Some((only, slice)) = self.only_one() {
            return found.try_each(records, numbers, next, |which, number, record| {
                if which == only { slice.add(number, record, fold) } else { Err(record) }
            });
        }
        let [mut older, mut newer] = self.of_same_places();
        found.try_each(records, numbers, next, |which, number, record| {
            if which == OTHER {
                return Err(record);
            }
            OpenSums::select(which == NEWER, &mut newer, &mut older).add(number, record, fold)
        })
    }

    /// The slice that has places, if the other one has none: it has had no record, or its windows have fired.
    #[inline]
    fn only_one(&mut self) -> Option<(Which, &mut OpenSums<'a, A>)> {
        if self.older.places() == 0 {
            Some((NEWER, &mut self.newer))
        } else if self.newer.places() == 0 {
            Some((OLDER, &mut self.older))
        } else {
            None
        }
    }

    /// Both with as many places, so that the compiler sees it: then nothing is to be chosen for a record but where they begin,
    /// and the loop fits into registers. No place is lost: each number has one in both.
    #[inline]
    fn of_same_places(&mut self) -> [OpenSums<'_, A>; 2] {
        let Self { older, newer } = self;
        let places = older.places().min(newer.places());
        [older.upto(places), newer.upto(places)]
    }
}

impl FoundPart<'_> {
    /// Calls with records and the numbers of their keys, from `next` on, until one is given back. Returns that one, which is the
    /// one before `next` then.
    #[allow(
        clippy::needless_range_loop,
        reason = "what a loop over three iterators remembers does not fit into registers"
    )]
    #[inline]
    fn try_each<T>(
        self,
        records: &mut impl Iterator<Item = T>,
        numbers: &[u32],
        next: &mut usize,
        mut f: impl FnMut(Which, usize, T) -> Result<(), T>,
    ) -> Option<T> {
        let which = &self.which[..numbers.len()];
        for at in std::mem::replace(next, numbers.len())..numbers.len() {
            if let Err(record) = f(which[at], numbers[at] as usize, records.next()?) {
                *next = at + 1;
                return Some(record);
            }
        }
        None
    }
}

impl<A: Clone> OpenColumns<A> {
    pub(super) fn new() -> Self {
        Self { columns: Vec::new() }
    }

    /// The two slices with these ends, for records of so many keys to be added.
    pub(super) fn newest<T, F: Fold<T, Acc = A>>(
        &mut self,
        [older, newer]: [EventTime; 2],
        numbers: usize,
    ) -> Newest<'_, A> {
        let mut found = Newest { older: OpenSums::default(), newer: OpenSums::default() };
        for column in self.columns.iter_mut().rev() {
            if column.end == newer {
                found.newer = column.open::<T, F>(numbers).unwrap_or_default();
            } else if column.end == older {
                found.older = column.open::<T, F>(numbers).unwrap_or_default();
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

    type Pair = (u64, u64);
    type Sum = Reducing<fn(&mut Pair, Pair)>;

    /// Slices, and which of the records, each of a key, had to be added to them one by one.
    fn add(
        open: &mut OpenColumns<Pair>,
        newest: [EventTime; 3],
        records: &[(EventTime, u32)],
        numbers: usize,
    ) -> Vec<usize> {
        let mut fold: Sum = Reducing(|sum, record| sum.1 += record.1);
        let (mut spare, mut found, mut others) = (Spare::new(None), Found::default(), Vec::new());
        let (times, keys): (Vec<_>, Vec<_>) = records.iter().copied().unzip();
        found.find(&times, newest, times.len());
        let part = found.chunks(100).next().unwrap();
        let (mut pairs, mut next) = ((0..records.len()).map(|at| (0, 1 << at)), 0);
        while let Some(pair) =
            open.newest::<Pair, Sum>(part.ends, numbers).add_all(&mut pairs, &keys, part, &mut next, &mut fold)
        {
            let (time, key) = records[next - 1];
            let end = if time == NO_TIME { 10 } else { time / 10 * 10 + 10 };
            open.add(end, key, numbers, &mut spare, pair, &mut fold);
            others.push(next - 1);
        }
        assert_eq!((next, pairs.next()), (records.len(), None));
        others
    }

    fn sums_of(open: &OpenColumns<Pair>, key: u32) -> Vec<(EventTime, u64)> {
        open.of(key).map(|(end, sum)| (end, sum.1)).collect()
    }

    #[test]
    fn records_are_added_to_their_slices_when_one_begins_among_them() {
        let mut open = OpenColumns::new();
        let records = [15, 25, 19, 9, 10, NO_TIME, 29, 30].map(|time| (time, 5));
        let others = add(&mut open, [10, 20, 30], &records, 6);
        assert_eq!(sums_of(&open, 5), [(10, 0b10_1000), (20, 0b1_0101), (30, 0b100_0010), (40, 0b1000_0000)]);
        assert_eq!(others, [0, 1, 3, 5, 7], "two begin a slice, and three are for neither of the newest two");
        assert!(open.has(5) && !open.has(4));
    }

    #[test]
    fn keys_have_a_place_in_a_slice_from_its_first_record_on() {
        let mut open = OpenColumns::new();
        assert_eq!(add(&mut open, [10, 20, 30], &[(11, 0), (21, 0)], 1), [0, 1]);
        let of_new_keys = [(12, 7), (22, 5), (22, 6), (12, 6), (12, 5)];
        assert_eq!(add(&mut open, [10, 20, 30], &of_new_keys, 8), [0; 0], "one that was there makes room");
        assert_eq!(sums_of(&open, 5), [(20, 0b1_0000), (30, 0b10)]);
    }

    #[test]
    fn records_of_the_one_slice_that_is_there_are_added_at_once() {
        let mut open = OpenColumns::new();
        assert_eq!(add(&mut open, [10, 20, 30], &[(11, 0), (12, 1), (13, 2), (21, 1), (14, 2), (22, 2)], 3), [0, 3]);
        drop(open.take_upto(20));
        assert_eq!(add(&mut open, [10, 20, 30], &[(21, 0), (22, 1), (23, 2)], 3), [0; 0]);
        assert_eq!(sums_of(&open, 1), [(30, 0b1010)]);
        assert_eq!(add(&mut open, [10, 20, 30], &[(21, 0), (15, 0), (23, 0)], 3), [1]);
    }

    #[test]
    fn it_is_known_which_slices_records_are_in() {
        let mut found = Found::default();
        let mut find = |times: &[EventTime], records| {
            let all = found.find(times, [10, 20, 30], records);
            (all, found.which.clone())
        };
        assert_eq!(find(&[20, 29], 2), (true, vec![NEWER, NEWER]));
        assert_eq!(find(&[20, 19, 10], 3), (true, vec![NEWER, OLDER, OLDER]));
        assert_eq!(find(&[25], 3), (true, vec![NEWER; 3]), "one moment for all");
        assert_eq!(find(&[20, 30, 9, NO_TIME], 4), (false, vec![NEWER, OTHER, OTHER, OTHER]));
        assert_eq!(find(&[], 2), (false, vec![OTHER; 2]), "no record has a time");
        assert!(!found.find(&[5, NO_TIME], [NO_TIME; 3], 2), "before the first record");
        assert_eq!(found.which, [OTHER, OTHER]);
    }
}
