//! The numbers of keys.

use std::hash::BuildHasher as _;

use flumen_state::prefetch;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::batch::{EventTime, NO_TIME};
use crate::keyed::{Key, KeySelector};

use super::TOUCHED;

/// Keys have numbers, and numbers have keys. Numbers are given again when nothing belongs to them any more.
pub(super) struct Numbers<K> {
    hasher: RandomState,
    table: HashTable<u32>,
    /// Of a number that is free: the last key that had it.
    keys: Vec<K>,
    /// What keys are registered with; [`NO_TIME`] for a number that is free.
    registered: Vec<EventTime>,
    free: Vec<u32>,
    /// Whether the smallest one of those is the last.
    is_sorted: bool,
}

impl<K: Key> Numbers<K> {
    pub(super) fn new() -> Self {
        Self {
            hasher: RandomState::default(),
            table: HashTable::new(),
            keys: Vec::new(),
            registered: Vec::new(),
            free: Vec::new(),
            is_sorted: true,
        }
    }

    /// All numbers are below this one.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The key that has a number, if there is one.
    pub(super) fn key(&self, number: usize) -> Option<&K> {
        (self.registered[number] != NO_TIME).then(|| &self.keys[number])
    }

    /// What the key is registered with.
    pub(super) fn registered(&self, number: usize) -> EventTime {
        self.registered[number]
    }

    pub(super) fn register(&mut self, number: usize, at: EventTime) {
        self.registered[number] = at;
    }

    /// The keys by number.
    pub(super) fn keys(&self) -> &[K] {
        &self.keys
    }

    #[inline]
    pub(super) fn find(&self, key: &K) -> Option<u32> {
        let hash = self.hasher.hash_one(key);
        self.table.find(hash, |number| self.keys[*number as usize] == *key).copied()
    }

    /// Adds the numbers of the records' keys to `found`; `unknown` for keys that have none.
    ///
    /// For many at once, and in steps, so that the processor waits for the memory of all of them together.
    pub(super) fn find_all<T, S: KeySelector<T, Key = K>>(
        &self,
        selector: &S,
        records: &[T],
        unknown: u32,
        found: &mut Vec<u32>,
    ) {
        if S::MAKES_KEYS && std::mem::needs_drop::<K>() {
            let find = |record| selector.with_key(record, |key| self.find(key)).unwrap_or(unknown);
            found.extend(records.iter().map(find));
            return;
        }
        let mut slots = [None; TOUCHED];
        for records in records.chunks(TOUCHED) {
            for (record, slot) in records.iter().zip(&mut slots) {
                // Looks at the table's tags alone: the first one with the right tag is almost always the one.
                let hash = selector.with_key(record, |key| self.hasher.hash_one(key));
                *slot = self.table.find(hash, |_| true);
                slot.iter().for_each(|slot| prefetch(*slot));
            }
            let begin = found.len();
            found.extend(slots[..records.len()].iter().map(|slot| slot.copied().unwrap_or(unknown)));
            found[begin..].iter().filter_map(|number| self.keys.get(*number as usize)).for_each(prefetch);
            for (record, number) in records.iter().zip(&mut found[begin..]) {
                selector.with_key(record, |key| {
                    if self.keys.get(*number as usize) != Some(key) {
                        *number = self.find(key).unwrap_or(unknown);
                    }
                });
            }
        }
    }

    /// Gives a key that has no number one.
    #[cold]
    pub(super) fn add(&mut self, key: K, registered: EventTime) -> u32 {
        let Self { hasher, table, keys, free, .. } = self;
        let number = match free.pop() {
            Some(number) => {
                keys[number as usize] = key;
                self.registered[number as usize] = registered;
                number
            }
            None => {
                keys.push(key);
                self.registered.push(registered);
                (keys.len() - 1) as u32
            }
        };
        let hash = hasher.hash_one(&keys[number as usize]);
        // Keys are compared so that equal ones are found; this one is none of those that are there.
        if let Entry::Vacant(slot) = table.entry(hash, |_| false, |at| hasher.hash_one(&keys[*at as usize])) {
            slot.insert(number);
        }
        number
    }

    /// Takes the number of a key away that has nothing any more.
    pub(super) fn remove(&mut self, number: u32) {
        let hash = self.hasher.hash_one(&self.keys[number as usize]);
        if let Ok(found) = self.table.find_entry(hash, |at| *at == number) {
            found.remove();
        }
        self.registered[number as usize] = NO_TIME;
        self.free.push(number);
        self.is_sorted = false;
    }

    /// When most numbers are free, gives up those at the end, and gives the small ones first from then on. Returns whether there
    /// are less now.
    pub(super) fn shrink(&mut self) -> bool {
        let before = self.keys.len();
        if self.free.len() <= before / 2 || self.is_sorted {
            return false;
        }
        // Mostly two runs: what was sorted before, and what is new.
        self.free.sort_by(|a, b| b.cmp(a));
        self.is_sorted = true;
        let at_end = self.free.iter().zip((0..before as u32).rev()).take_while(|(free, last)| **free == *last).count();
        self.free.drain(..at_end);
        let rest = before - at_end;
        self.keys.truncate(rest);
        self.registered.truncate(rest);
        at_end > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_given_again_and_given_up_at_the_end() {
        let mut numbers = Numbers::new();
        for key in 0..100u64 {
            assert_eq!(numbers.add(key, 1), key as u32);
        }
        (0..40).chain(90..100).for_each(|number| numbers.remove(number));
        assert!(!numbers.shrink(), "half of them are in use");
        assert_eq!((numbers.find(&95), numbers.find(&50)), (None, Some(50)));
        (70..90).for_each(|number| numbers.remove(number));
        assert!(numbers.shrink());
        assert_eq!((numbers.len(), numbers.find(&69)), (70, Some(69)));
        // The smallest ones first.
        assert_eq!((numbers.add(1000, 1), numbers.add(1001, 1), numbers.find(&1000)), (0, 1, Some(0)));
        (0..2).chain(40..70).for_each(|number| numbers.remove(number));
        assert!(numbers.shrink());
        assert_eq!((numbers.len(), numbers.add(7, 1)), (0, 0));
    }
}
