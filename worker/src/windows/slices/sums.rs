//! What keys have, by their numbers: accumulators next to each other, and beside them one bit each that says whether it counts.
//!
//! An accumulator of its own size, not one that says by itself whether it is there: that would make a number of eight bytes one of
//! sixteen, and records wait for this memory. The bits of all keys fit into the processor's first caches.

use std::hint::select_unpredictable;
use std::ops::Range;

use super::super::contents::Fold;
use super::bits::{Bits, bit, ones, place, words, words_of};

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Sums<A> {
    has: Bits,
    /// Of types for which nothing is done when they go: what stands here without its bit is what `empty` says. If that says nothing, it
    /// is some other key's, or was the key's before. No places for other types.
    plain: Vec<A>,
    /// Of other types: there without its bit is nothing. Most of them have bit patterns to spare, and take no more room like this.
    owning: Vec<Option<A>>,
    /// The accumulator of no record ([`Fold::EMPTY`]).
    empty: Option<A>,
}

impl<A> Sums<A> {
    const PLAIN: bool = !std::mem::needs_drop::<A>();

    pub(super) fn new() -> Self {
        Self::with_empty(None)
    }

    /// For records to be added, with what [`Fold::EMPTY`] makes.
    pub(super) fn with_empty(empty: Option<A>) -> Self {
        Self { has: Bits::default(), plain: Vec::new(), owning: Vec::new(), empty }
    }

    /// Whether places without their bits hold the accumulator of no record.
    pub(super) fn has_empty(&self) -> bool {
        self.empty.is_some()
    }

    /// Numbers that have a place.
    #[inline]
    pub(super) fn places(&self) -> usize {
        if Self::PLAIN { self.plain.len() } else { self.owning.len() }
    }

    pub(super) fn count(&self) -> usize {
        self.has.count()
    }

    #[inline]
    pub(super) fn has(&self, number: usize) -> bool {
        self.has.contains(number)
    }

    /// Bit by bit, which numbers have something, at a place that [`words`] gave.
    #[inline]
    pub(super) fn word(&self, at: usize) -> u64 {
        self.has.word(at)
    }

    /// All numbers that have something are below this one.
    #[inline]
    pub(super) fn end(&self) -> usize {
        self.has.end()
    }

    #[inline]
    pub(super) fn get(&self, number: usize) -> Option<&A> {
        self.get_in(self.has.word_of(number), number)
    }

    /// What a number has; `word` is the one that its bit is in.
    #[inline]
    pub(super) fn get_in(&self, word: u64, number: usize) -> Option<&A> {
        if word & bit(number) == 0 {
            None
        } else if Self::PLAIN {
            self.plain.get(number)
        } else {
            self.owning.get(number)?.as_ref()
        }
    }

    #[inline]
    pub(super) fn get_mut(&mut self, number: usize) -> Option<&mut A> {
        if !self.has(number) {
            None
        } else if Self::PLAIN {
            self.plain.get_mut(number)
        } else {
            self.owning.get_mut(number)?.as_mut()
        }
    }

    /// What a number has, of a type for which nothing is done when it goes: it may be copied and written over.
    #[inline]
    pub(super) fn plain_mut(&mut self, number: usize) -> Option<&mut A> {
        if Self::PLAIN { self.get_mut(number) } else { None }
    }

    /// There are so many numbers only.
    pub(super) fn truncate(&mut self, numbers: usize) {
        self.has.truncate(numbers);
        self.plain.truncate(numbers);
        self.plain.shrink_to_fit();
        self.owning.truncate(numbers);
        self.owning.shrink_to_fit();
    }
}

impl<A: Clone> Sums<A> {
    /// For records of so many numbers to be added. Each of them gets a place, unless there is nothing yet that could stand there. `None` if
    /// the fold needs another accumulator of no record than there is.
    #[inline]
    pub(super) fn open<T, F: Fold<T, Acc = A>>(&mut self, numbers: usize) -> Option<OpenSums<'_, A>> {
        if self.empty.is_some() != F::EMPTY.is_some() {
            return None;
        }
        if self.places() < numbers {
            self.cover(numbers, None);
        }
        Some(OpenSums { has: self.has.words_mut(), plain: &mut self.plain, owning: &mut self.owning })
    }

    /// Sets what a number has; it gets a place if it has none.
    #[inline]
    pub(super) fn put(&mut self, number: usize, acc: A) {
        if let Some(sum) = self.get_mut(number) {
            // Its bit stays: numbers that follow one another would wait for each other's.
            *sum = acc;
            return;
        }
        if number >= self.places() {
            self.cover(number + 1, Some(&acc));
        }
        self.set(number, acc);
    }

    /// As [`Self::put`], for a number that has a place.
    #[inline]
    fn set(&mut self, number: usize, acc: A) {
        if Self::PLAIN {
            self.plain[number] = acc;
        } else {
            self.owning[number] = Some(acc);
        }
        self.has.insert(number);
    }

    /// Gives so many numbers a place. Of a plain type something has to stand there, `any` if there is nothing yet: without that, no place
    /// is made.
    #[cold]
    #[inline(never)]
    fn cover(&mut self, numbers: usize, any: Option<&A>) {
        let Self { has, plain, owning, empty } = self;
        if !Self::PLAIN {
            owning.resize_with(numbers, || None);
        } else if let Some(any) = empty.as_ref().or(plain.first()).or(any).cloned() {
            plain.resize(numbers, any);
        } else {
            return;
        }
        has.cover(numbers);
    }

    /// What a number had; it has nothing then.
    #[inline]
    pub(super) fn take(&mut self, number: usize) -> Option<A> {
        if self.has.remove(number) { self.take_place(number) } else { None }
    }

    /// What stands at the place of a number that has lost its bit.
    #[inline]
    fn take_place(&mut self, number: usize) -> Option<A> {
        if Self::PLAIN {
            let place = self.plain.get_mut(number)?;
            // A copy of some bytes, for a type like that.
            let next = self.empty.as_ref().unwrap_or(place).clone();
            Some(std::mem::replace(place, next))
        } else {
            self.owning.get_mut(number)?.take()
        }
    }

    /// Adds to what a number has.
    #[inline]
    pub(super) fn add<T, F: Fold<T, Acc = A>>(&mut self, number: usize, acc: A, fold: &mut F) {
        if let Some(sum) = self.plain_mut(number) {
            // Its bit stays.
            *sum = fold.merge(sum.clone(), acc);
            return;
        }
        let sum = match self.take(number) {
            Some(sum) => fold.merge(sum, acc),
            None => acc,
        };
        self.put(number, sum);
    }

    /// Takes out what the numbers have whose bits stand at a place that [`words`] gave.
    #[inline]
    pub(super) fn take_word(&mut self, at: usize, mut f: impl FnMut(usize, A)) {
        for number in ones(at, self.has.take_word(at)) {
            self.take_place(number).into_iter().for_each(|acc| f(number, acc));
        }
    }

    /// Takes out what the numbers of a range have.
    pub(super) fn clear_range(&mut self, range: Range<usize>) {
        let end = range.end.min(self.end());
        for (at, mask) in words(range.start.min(end)..end) {
            ones(at, self.word(at) & mask).for_each(|number| drop(self.take(number)));
        }
    }
}

/// [`Sums`] that records are added to: as slices, of which the processor keeps beginning and length in registers.
pub(super) struct OpenSums<'a, A> {
    has: &'a mut [u64],
    plain: &'a mut [A],
    owning: &'a mut [Option<A>],
}

impl<A> Default for OpenSums<'_, A> {
    /// No number has a place.
    fn default() -> Self {
        Self { has: &mut [], plain: &mut [], owning: &mut [] }
    }
}

impl<'a, A> OpenSums<'a, A> {
    /// Numbers that have a place.
    #[inline]
    pub(super) fn places(&self) -> usize {
        if Sums::<A>::PLAIN { self.plain.len() } else { self.owning.len() }
    }

    /// Those of so many numbers, which have a place.
    #[inline]
    pub(super) fn upto(&mut self, places: usize) -> OpenSums<'_, A> {
        let has = &mut self.has[..words_of(places)];
        if Sums::<A>::PLAIN {
            OpenSums { has, plain: &mut self.plain[..places], owning: &mut [] }
        } else {
            OpenSums { has, plain: &mut [], owning: &mut self.owning[..places] }
        }
    }

    /// One of two, without a branch: for a choice that can't be foreseen.
    #[inline]
    pub(super) fn select<'b>(
        is_first: bool,
        first: &'b mut OpenSums<'a, A>,
        second: &'b mut OpenSums<'a, A>,
    ) -> OpenSums<'b, A> {
        OpenSums {
            has: select_unpredictable(is_first, &mut *first.has, &mut *second.has),
            plain: select_unpredictable(is_first, &mut *first.plain, &mut *second.plain),
            owning: select_unpredictable(is_first, &mut *first.owning, &mut *second.owning),
        }
    }

    /// Begins to bring what a number has, or will have, into the processor's caches.
    #[inline]
    pub(super) fn prefetch(&self, number: usize) {
        if Sums::<A>::PLAIN {
            self.plain.get(number).into_iter().for_each(flumen_state::prefetch);
        } else {
            self.owning.get(number).into_iter().for_each(flumen_state::prefetch);
        }
    }

    /// Adds a record of a number that has a place; gives it back if it has none.
    #[inline]
    pub(super) fn add<T, F: Fold<T, Acc = A>>(&mut self, number: usize, record: T, fold: &mut F) -> Result<(), T> {
        let (at, bit) = place(number);
        let Some(word) = self.has.get_mut(at) else { return Err(record) };
        if !Sums::<A>::PLAIN {
            match self.owning.get_mut(number) {
                Some(Some(acc)) => fold.add(acc, record),
                Some(none) => {
                    *none = Some(fold.first(record));
                    *word |= bit;
                }
                None => return Err(record),
            }
            return Ok(());
        }
        let Some(acc) = self.plain.get_mut(number) else { return Err(record) };
        if F::EMPTY.is_some() {
            // Nothing here depends on whether the record is its key's first one in the slice, which the processor can't foresee: where one in
            // ten is, that takes some 1.5 ns.
            fold.add(acc, record);
            *word |= bit;
        } else if *word & bit != 0 {
            fold.add(acc, record);
        } else {
            *acc = fold.first(record);
            *word |= bit;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fmt::Debug;

    use flumen_state::AggregateFunction;
    use proptest::prelude::*;

    use super::super::super::contents::{Aggregating, Reducing};
    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Put(usize, u32),
        Take(usize),
        Record(usize, u32),
        Add(usize, u32),
        TakeWord(usize),
        ClearRange(usize, usize),
        Truncate(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        let number = || 0..150usize;
        prop_oneof![
            8 => (number(), any::<u32>()).prop_map(|(number, value)| Step::Put(number, value)),
            4 => number().prop_map(Step::Take),
            8 => (number(), any::<u32>()).prop_map(|(number, value)| Step::Record(number, value)),
            8 => (number(), any::<u32>()).prop_map(|(number, value)| Step::Add(number, value)),
            1 => (0..3usize).prop_map(Step::TakeWord),
            1 => (number(), number()).prop_map(|(from, upto)| Step::ClearRange(from, upto.max(from))),
            1 => number().prop_map(Step::Truncate),
        ]
    }

    /// Makes the steps with records and sums of a type, beside a map.
    fn check<T: Clone, F: Fold<T>>(steps: &[Step], fold: &mut F, record: impl Fn(u32) -> T)
    where
        F::Acc: Clone + Debug + PartialEq,
    {
        let mut sums = Sums::with_empty(F::EMPTY.map(|empty| empty(fold)));
        let mut expected = BTreeMap::<usize, F::Acc>::new();
        for step in steps {
            match *step {
                Step::Put(number, of) => {
                    sums.put(number, fold.first(record(of)));
                    expected.insert(number, fold.first(record(of)));
                }
                Step::Take(number) => assert_eq!(sums.take(number), expected.remove(&number)),
                Step::Record(number, of) => {
                    let mut open = sums.open::<T, F>(100).unwrap();
                    let known = number < open.places();
                    assert!(known || number >= 100 || (F::EMPTY.is_none() && expected.is_empty()), "{number}");
                    assert_eq!(open.add(number, record(of), fold).is_ok(), known);
                    match expected.get_mut(&number) {
                        Some(sum) => fold.add(sum, record(of)),
                        None if known => drop(expected.insert(number, fold.first(record(of)))),
                        None => {}
                    }
                }
                Step::Add(number, of) => {
                    let acc = fold.first(record(of));
                    sums.add(number, acc.clone(), fold);
                    let sum = match expected.remove(&number) {
                        Some(sum) => fold.merge(sum, acc),
                        None => acc,
                    };
                    expected.insert(number, sum);
                }
                Step::TakeWord(at) => {
                    let mut taken = Vec::new();
                    sums.take_word(at, |number, acc| taken.push((number, acc)));
                    let range = at * 64..(at + 1) * 64;
                    let gone: Vec<_> =
                        expected.range(range.clone()).map(|(number, acc)| (*number, acc.clone())).collect();
                    assert_eq!(taken, gone);
                    expected.retain(|number, _| !range.contains(number));
                }
                Step::ClearRange(from, upto) => {
                    sums.clear_range(from..upto);
                    expected.retain(|number, _| !(from..upto).contains(number));
                }
                Step::Truncate(numbers) => {
                    sums.truncate(numbers);
                    expected.retain(|number, _| *number < numbers);
                }
            }
            assert_eq!(sums.count(), expected.len());
            for number in 0..200 {
                assert_eq!(sums.get(number), expected.get(&number));
                assert_eq!(sums.get_mut(number).cloned().as_ref(), expected.get(&number));
                assert_eq!(sums.has(number), expected.contains_key(&number));
            }
        }
    }

    /// How many records, and what they come to. That of no record isn't all zero.
    struct CountAndSum;

    impl AggregateFunction for CountAndSum {
        type In = u32;
        type Acc = (i64, u64);
        type Out = (i64, u64);

        fn create_accumulator(&self) -> (i64, u64) {
            (-1, 7)
        }

        fn add(&self, acc: &mut (i64, u64), record: u32) {
            *acc = (acc.0 + 1, acc.1 + u64::from(record));
        }

        fn get_result(&self, acc: &(i64, u64)) -> (i64, u64) {
            *acc
        }

        fn merge(&self, a: (i64, u64), b: (i64, u64)) -> (i64, u64) {
            (a.0 + b.0 + 1, a.1 + b.1 - 7)
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100) })]

        #[test]
        fn sums_are_a_map_by_number_whatever_they_are_made_of(steps in prop::collection::vec(step(), 0..60)) {
            let mut pairs = Reducing(|sum: &mut (u64, u64), record: (u64, u64)| sum.1 += record.1);
            check(&steps, &mut pairs, |of| (7, u64::from(of)));
            let mut texts = Reducing(|sum: &mut String, record: String| sum.push_str(&record));
            check(&steps, &mut texts, |of| of.to_string());
            check(&steps, &mut Aggregating(CountAndSum), |of| of);
        }
    }

    #[test]
    fn no_records_are_added_where_the_accumulator_of_no_record_is_missing() {
        assert!(Sums::new().open::<u32, Aggregating<CountAndSum>>(1).is_none());
    }
}
