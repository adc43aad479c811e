//! A set of numbers, one bit for each.

use std::ops::Range;

/// See the module.
#[derive(Debug, Clone, Default)]
pub(super) struct Bits(Vec<u64>);

/// Numbers that have their bits together.
const WORD: usize = u64::BITS as usize;

/// Where a number's bit is: the word, and the bit in it.
#[inline]
pub(super) fn place(number: usize) -> (usize, u64) {
    (number / WORD, bit(number))
}

/// A number's bit in its word.
#[inline]
pub(super) fn bit(number: usize) -> u64 {
    1 << (number % WORD)
}

/// Words that have the bits of so many numbers.
#[inline]
pub(super) fn words_of(numbers: usize) -> usize {
    numbers.div_ceil(WORD)
}

impl Bits {
    #[inline]
    pub(super) fn contains(&self, number: usize) -> bool {
        self.word_of(number) & bit(number) != 0
    }

    /// The word that a number's bit is in; 0 behind the end.
    #[inline]
    pub(super) fn word_of(&self, number: usize) -> u64 {
        let (at, _) = place(number);
        self.word(at)
    }

    #[inline]
    pub(super) fn insert(&mut self, number: usize) {
        self.cover(number + 1);
        let (at, bit) = place(number);
        self.0[at] |= bit;
    }

    /// Makes room for the numbers below that one.
    #[inline]
    pub(super) fn cover(&mut self, numbers: usize) {
        let words = words_of(numbers);
        if self.0.len() < words {
            self.0.resize(words, 0);
        }
    }

    /// What stands at the places that [`place`] gives, of numbers that there is room for.
    #[inline]
    pub(super) fn words_mut(&mut self) -> &mut [u64] {
        &mut self.0
    }

    /// Returns whether it was there.
    #[inline]
    pub(super) fn remove(&mut self, number: usize) -> bool {
        let (at, bit) = place(number);
        let Some(word) = self.0.get_mut(at) else { return false };
        let was = *word & bit != 0;
        *word &= !bit;
        was
    }

    /// Takes out all whose bits stand at a place that [`words`] gave, and returns these.
    #[inline]
    pub(super) fn take_word(&mut self, at: usize) -> u64 {
        self.0.get_mut(at).map_or(0, std::mem::take)
    }

    pub(super) fn count(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Only numbers below that one stay.
    pub(super) fn truncate(&mut self, numbers: usize) {
        if let Some(last) = self.0.get_mut(numbers / WORD) {
            *last &= (1 << (numbers % WORD)) - 1;
        }
        self.0.truncate(words_of(numbers));
        self.0.shrink_to_fit();
    }

    /// All numbers in it are below this one.
    #[inline]
    pub(super) fn end(&self) -> usize {
        self.0.len() * WORD
    }

    /// What stands at a place that [`words`] gave; 0 behind the end.
    #[inline]
    pub(super) fn word(&self, at: usize) -> u64 {
        self.0.get(at).copied().unwrap_or(0)
    }
}

/// The places at which the bits of a range stand, and which bits of the word are in the range.
#[inline]
pub(super) fn words(range: Range<usize>) -> impl Iterator<Item = (usize, u64)> {
    (range.start / WORD..range.end.div_ceil(WORD)).map(move |at| {
        let first = at * WORD;
        let from = u64::MAX << range.start.saturating_sub(first);
        let upto = u64::MAX >> WORD.saturating_sub(range.end.saturating_sub(first));
        (at, from & upto)
    })
}

/// The numbers of a word that stands at a place, upwards.
#[inline]
pub(super) fn ones(at: usize, word: u64) -> Ones {
    Ones { first: at * WORD, word }
}

/// See [`ones`].
pub(super) struct Ones {
    first: usize,
    word: u64,
}

impl Iterator for Ones {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        let word = self.word;
        self.word &= word.wrapping_sub(1);
        (word != 0).then(|| self.first + word.trailing_zeros() as usize)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn bits_are_a_set_of_numbers(
            steps in prop::collection::vec((any::<bool>(), 0..200usize), 0..100),
            range in (0..220usize, 0..220usize),
            rest in 0..220usize,
        ) {
            let mut bits = Bits::default();
            let mut expected = BTreeSet::new();
            for (insert, number) in steps {
                if insert {
                    bits.insert(number);
                    expected.insert(number);
                } else {
                    prop_assert_eq!(bits.remove(number), expected.remove(&number));
                }
            }
            prop_assert_eq!(bits.count(), expected.len());
            prop_assert!((0..300).all(|number| bits.contains(number) == expected.contains(&number)));
            let range = range.0..range.0.max(range.1);
            let in_range: Vec<_> = words(range.clone()).flat_map(|(at, mask)| ones(at, bits.word(at) & mask)).collect();
            prop_assert_eq!(in_range, expected.range(range).copied().collect::<Vec<_>>());
            prop_assert!(expected.last().is_none_or(|last| *last < bits.end()));
            bits.truncate(rest);
            prop_assert!((0..300).all(|number| bits.contains(number) == (number < rest && expected.contains(&number))));
        }
    }
}
