//! What keys have, by their numbers: accumulators next to each other, and beside them one bit each that says whether it counts.
//!
//! An accumulator of its own size, not one that says by itself whether it is there: that would make a number of eight bytes one of
//! sixteen, and records wait for this memory. The bits of all keys fit into the processor's first caches.

use std::ops::Range;

use super::super::contents::Fold;
use super::bits::{Bits, bit, ones, words};

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Sums<A> {
    has: Bits,
    /// Of types for which nothing is done when they go: what stands here without its bit is some other key's, or was the key's
    /// before. Empty for other types.
    plain: Vec<A>,
    /// Of other types: there without its bit is nothing. Most of them have bit patterns to spare, and take no more room like this.
    owning: Vec<Option<A>>,
}

impl<A> Sums<A> {
    const PLAIN: bool = !std::mem::needs_drop::<A>();

    pub(super) fn new() -> Self {
        Self { has: Bits::default(), plain: Vec::new(), owning: Vec::new() }
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

    /// Begins to bring what a number has, or will have, into the processor's caches.
    #[inline]
    pub(super) fn prefetch(&self, number: usize) {
        if Self::PLAIN {
            self.plain.get(number).into_iter().for_each(flumen_state::prefetch);
        } else {
            self.owning.get(number).into_iter().for_each(flumen_state::prefetch);
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
    /// Sets what a number has; it gets a place if it has none.
    #[inline]
    pub(super) fn put(&mut self, number: usize, acc: A) {
        if let Some(sum) = self.get_mut(number) {
            // Its bit stays: numbers that follow one another would wait for each other's.
            *sum = acc;
            return;
        }
        if number >= self.places() {
            self.cover(number + 1, &acc);
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

    #[cold]
    #[inline(never)]
    fn cover(&mut self, numbers: usize, any: &A) {
        if Self::PLAIN {
            self.plain.resize(numbers, any.clone());
        } else {
            self.owning.resize_with(numbers, || None);
        }
    }

    /// What a number had; it has nothing then.
    #[inline]
    pub(super) fn take(&mut self, number: usize) -> Option<A> {
        if !self.has.remove(number) {
            None
        } else if Self::PLAIN {
            // A copy of some bytes, for a type like that.
            self.plain.get(number).cloned()
        } else {
            self.owning.get_mut(number)?.take()
        }
    }

    /// Adds a record of a number that has a place; gives it back if it has none.
    #[inline]
    pub(super) fn add_record<T, F: Fold<T, Acc = A>>(
        &mut self,
        number: usize,
        record: T,
        fold: &mut F,
    ) -> Result<(), T> {
        if let Some(acc) = self.get_mut(number) {
            fold.add(acc, record);
        } else if number < self.places() {
            self.set(number, fold.first(record));
        } else {
            return Err(record);
        }
        Ok(())
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
            // A copy of some bytes, for a type like that.
            let acc = if Self::PLAIN { self.plain.get(number).cloned() } else { self.owning[number].take() };
            acc.into_iter().for_each(|acc| f(number, acc));
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fmt::Debug;

    use proptest::prelude::*;

    use super::super::super::contents::Reducing;
    use super::*;
    use crate::operator::Data;

    #[derive(Debug, Clone)]
    enum Step {
        Put(usize, u32),
        Take(usize),
        Record(usize, u32),
        Add(usize, u32),
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
            1 => (number(), number()).prop_map(|(from, upto)| Step::ClearRange(from, upto.max(from))),
            1 => number().prop_map(Step::Truncate),
        ]
    }

    /// Makes the steps with values of a type, beside a map.
    fn check<A: Data + Clone + Debug + PartialEq>(steps: &[Step], value: impl Fn(u32) -> A, add: fn(&mut A, A))
    where
        Reducing<fn(&mut A, A)>: Fold<A, Acc = A>,
    {
        let mut fold = Reducing(add);
        let mut sums = Sums::new();
        let mut expected = BTreeMap::<usize, A>::new();
        for step in steps {
            match *step {
                Step::Put(number, of) => {
                    sums.put(number, value(of));
                    expected.insert(number, value(of));
                }
                Step::Take(number) => assert_eq!(sums.take(number), expected.remove(&number)),
                Step::Record(number, of) => {
                    let known = number < sums.places();
                    assert_eq!(sums.add_record(number, value(of), &mut fold).is_ok(), known);
                    if known {
                        expected.entry(number).and_modify(|sum| add(sum, value(of))).or_insert_with(|| value(of));
                    }
                }
                Step::Add(number, of) => {
                    sums.add(number, value(of), &mut fold);
                    expected.entry(number).and_modify(|sum| add(sum, value(of))).or_insert_with(|| value(of));
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

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100) })]

        #[test]
        fn sums_are_a_map_by_number_whether_something_is_done_when_they_go_or_not(
            steps in prop::collection::vec(step(), 0..60),
        ) {
            check::<(u64, u64)>(&steps, |of| (7, u64::from(of)), |sum, of| sum.1 += of.1);
            check::<String>(&steps, |of| of.to_string(), |sum, of| sum.push_str(&of));
        }
    }
}
