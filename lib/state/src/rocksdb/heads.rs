//! The first rows of each key group of a sorted state, in memory: timers are taken from there without a look into RocksDB.

use std::collections::BTreeSet;
use std::ops::Bound;

use flumen_model::checkpoint::KeyGroupRange;

use crate::rows::EachRow;

/// Rows that a head holds at most.
const ROWS_MAX: usize = 512;

/// The heads of one state.
pub(super) struct Heads {
    groups: KeyGroupRange,
    heads: Vec<Head>,
}

/// The first rows of one key group.
pub(super) struct Head {
    rows: BTreeSet<Box<[u8]>>,
    /// All rows before this one are in `rows`; `None` when all there are.
    end: Option<Box<[u8]>>,
}

impl Heads {
    /// Of a state that is empty, or of which nothing was read yet.
    pub(super) fn new(groups: KeyGroupRange, is_empty: bool) -> Self {
        let head = |group: u32| {
            let first: Box<[u8]> = (group as u16).to_be_bytes().into();
            Head { rows: BTreeSet::new(), end: (!is_empty).then_some(first) }
        };
        Self { groups, heads: groups.groups().map(head).collect() }
    }

    /// The head of the group that a row, or its beginning, is in.
    pub(super) fn of(&mut self, row: &[u8]) -> Option<&mut Head> {
        let group = u32::from(u16::from_be_bytes(*row.first_chunk()?));
        self.heads.get_mut(group.checked_sub(self.groups.start)? as usize)
    }
}

impl Head {
    fn covers(&self, row: &[u8]) -> bool {
        self.end.as_ref().is_none_or(|end| row < &**end)
    }

    /// Whether the row is there; `None` when it lies behind the head.
    pub(super) fn get(&self, row: &[u8]) -> Option<bool> {
        self.covers(row).then(|| self.rows.contains(row))
    }

    /// Adds a row that was put; true when it is known not to have been there.
    pub(super) fn put(&mut self, row: &[u8]) -> bool {
        if !self.covers(row) {
            return false;
        }
        let new = self.rows.insert(row.into());
        if self.rows.len() > ROWS_MAX
            && let Some(middle) = self.rows.iter().nth(ROWS_MAX / 2).cloned()
        {
            self.rows.split_off(&middle);
            self.end = Some(middle);
        }
        new
    }

    /// Removes a row that was deleted.
    pub(super) fn delete(&mut self, row: &[u8]) {
        self.rows.remove(row);
    }

    /// Calls with the rows from there on; false when it was told to stop.
    pub(super) fn scan(&self, from: &[u8], each: &mut EachRow<'_>) -> bool {
        let mut rows = self.rows.range::<[u8], _>((Bound::Included(from), Bound::Unbounded));
        rows.all(|row| each(row, &[]).is_continue())
    }

    /// Where rows are missing from, if any.
    pub(super) fn end(&self) -> Option<&[u8]> {
        self.end.as_deref()
    }

    /// Takes in the rows that follow, of which there are no more when there are less than [`Self::REFILL`].
    pub(super) fn refill(&mut self, rows: Vec<Box<[u8]>>) {
        self.end = match rows.last() {
            Some(last) if rows.len() >= Self::REFILL => {
                // The first row that can come after the last one.
                Some(last.iter().copied().chain([0]).collect())
            }
            _ => None,
        };
        self.rows.extend(rows);
    }

    /// How many rows are read when those of a head were used up.
    pub(super) const REFILL: usize = ROWS_MAX / 2;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ops::ControlFlow;

    use proptest::prelude::*;

    const GROUPS: KeyGroupRange = KeyGroupRange { start: 0, end: 1 };

    fn row(number: u32) -> Vec<u8> {
        [&[0, 0][..], &number.to_be_bytes()].concat()
    }

    fn first(heads: &mut Heads, stored: &BTreeSet<Vec<u8>>) -> Option<Vec<u8>> {
        loop {
            let head = heads.of(&[0, 0]).unwrap();
            let mut first = None;
            if !head.scan(&[0, 0], &mut |row, _| {
                first = Some(row.to_vec());
                ControlFlow::Break(())
            }) {
                return first;
            }
            let end = head.end()?.to_vec();
            head.refill(stored.range(end..).take(Head::REFILL).map(|row| row.clone().into()).collect());
        }
    }

    proptest! {
        #[test]
        fn a_head_and_what_is_stored_are_a_sorted_set(
            steps in proptest::collection::vec((0..3u8, 0..3000u32), 0..3000),
            before in proptest::collection::btree_set(0..3000u32, 0..1500),
        ) {
            let mut stored: BTreeSet<Vec<u8>> = before.into_iter().map(row).collect();
            let mut heads = Heads::new(GROUPS, stored.is_empty());
            for (step, number) in steps {
                let row = row(number);
                let head = heads.of(&row).unwrap();
                match step {
                    0 => {
                        let is_there = stored.contains(&row);
                        prop_assert!(head.get(&row).is_none_or(|known| known == is_there));
                        prop_assert!(!(head.put(&row) && is_there));
                        stored.insert(row);
                    }
                    1 => {
                        head.delete(&row);
                        stored.remove(&row);
                    }
                    _ => {
                        let found = first(&mut heads, &stored);
                        prop_assert_eq!(&found, &stored.first().cloned());
                        if let Some(row) = found {
                            heads.of(&row).unwrap().delete(&row);
                            stored.remove(&row);
                        }
                    }
                }
                prop_assert!(heads.of(&[0, 0]).unwrap().rows.len() <= ROWS_MAX);
            }
        }
    }
}
