//! Rows in front of RocksDB: those that were used last, and those that were changed and are not yet in RocksDB.
//!
//! Most accesses of a stream go to rows that were used shortly before. Here, one costs a look into a hash table instead of one
//! into several sorted files; and a row that changes often, or is created and deleted, is written once or never. Changes go to
//! RocksDB in sorted batches, before a scan or a snapshot, and when there are too many.

mod slot;

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::shared::RowShare;
use slot::{Known, Slot};

/// Slots are allocated so many at a time.
const CHUNK_SLOTS: usize = 1 << CHUNK_BITS;
const CHUNK_BITS: u32 = 10;
/// A slot with its part of the hash table.
const SLOT_BYTES: usize = size_of::<Slot>() + 10;
/// So many changed rows are written at once.
const BATCH_ROWS: usize = 16 << 10;
/// So many bytes of changed rows are written at once.
const BATCH_BYTES: usize = 4 << 20;
/// Larger rows are not kept after they were written.
const KEPT_BYTES_MAX: usize = 4 << 10;

/// What is known of a row here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cached<'a> {
    /// Nothing: RocksDB knows.
    Unknown,
    /// It is not there.
    Absent,
    /// It has this value.
    Value(&'a [u8]),
    /// This is to be appended to the value in RocksDB.
    Appended(&'a [u8]),
}

/// A change that RocksDB does not have yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change<'a> {
    Put(&'a [u8]),
    Append(&'a [u8]),
    Delete,
}

pub(super) struct RowCache {
    index: HashTable<u32>,
    chunks: Vec<Box<[Slot]>>,
    free: Vec<u32>,
    /// Where the next slot is looked for that was not used lately.
    hand: u32,
    /// Slots that may be dirty.
    dirty: Vec<u32>,
    dirty_bytes: usize,
    /// Bytes outside of slots.
    heap: usize,
    share: RowShare,
    hasher: RandomState,
}

impl RowCache {
    pub(super) fn new(share: RowShare) -> Self {
        Self {
            index: HashTable::new(),
            chunks: Vec::new(),
            free: Vec::new(),
            hand: 0,
            dirty: Vec::new(),
            dirty_bytes: 0,
            heap: 0,
            share,
            hasher: RandomState::default(),
        }
    }

    /// What is known of a row.
    #[inline]
    pub(super) fn get(&mut self, state: u16, row: &[u8]) -> Cached<'_> {
        let Some(at) = self.find(state, row) else { return Cached::Unknown };
        let slot = self.slot_mut(at);
        slot.used = true;
        match slot.known {
            Known::Value => Cached::Value(slot.value()),
            Known::Appended => Cached::Appended(slot.value()),
            Known::Absent | Known::Free => Cached::Absent,
        }
    }

    /// Keeps what RocksDB says of a row of which nothing was known.
    pub(super) fn keep(&mut self, state: u16, row: &[u8], value: Option<&[u8]>) {
        if row.len() + value.map_or(0, <[u8]>::len) > KEPT_BYTES_MAX {
            return;
        }
        let known = if value.is_some() { Known::Value } else { Known::Absent };
        self.insert(state, row, known, value.unwrap_or_default(), value.is_some());
    }

    /// Sets a row.
    #[inline]
    pub(super) fn put(&mut self, state: u16, row: &[u8], value: &[u8]) {
        match self.find(state, row) {
            Some(at) => self.change(at, Known::Value, value),
            None => self.insert_dirty(state, row, Known::Value, value, true),
        }
    }

    /// Sets a row of which is known that RocksDB does not have it.
    pub(super) fn put_new(&mut self, state: u16, row: &[u8], value: &[u8]) {
        match self.find(state, row) {
            Some(at) => self.change(at, Known::Value, value),
            None => self.insert_dirty(state, row, Known::Value, value, false),
        }
    }

    /// Appends to a row.
    pub(super) fn append(&mut self, state: u16, row: &[u8], value: &[u8]) {
        let Some(at) = self.find(state, row) else {
            return self.insert_dirty(state, row, Known::Appended, value, true);
        };
        let slot = self.slot_mut(at);
        match slot.known {
            // RocksDB is told of what is new, not of everything.
            Known::Value if !slot.dirty => self.change(at, Known::Appended, value),
            Known::Value | Known::Appended => {
                slot.used = true;
                let before = slot.heap();
                slot.extend(value);
                let after = slot.heap();
                self.heap = self.heap + after - before;
                self.dirty_bytes += value.len();
            }
            Known::Absent | Known::Free => self.change(at, Known::Value, value),
        }
    }

    /// Deletes a row.
    #[inline]
    pub(super) fn delete(&mut self, state: u16, row: &[u8]) {
        let Some(at) = self.find(state, row) else {
            return self.insert_dirty(state, row, Known::Absent, &[], true);
        };
        let slot = self.slot_mut(at);
        if slot.stored {
            self.change(at, Known::Absent, &[]);
        } else {
            slot.dirty = false;
            self.set(at, Known::Absent, &[]);
        }
    }

    /// Whether so much waits that it should be written.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.dirty.len() >= BATCH_ROWS.min(self.most_dirty()) || self.dirty_bytes >= BATCH_BYTES
    }

    /// Whether so much waits that it has to be written, because it takes half of the memory.
    #[inline]
    pub(super) fn is_overfull(&self) -> bool {
        self.dirty.len() >= self.most_dirty() || self.dirty_bytes >= self.share.bytes() / 2
    }

    fn most_dirty(&self) -> usize {
        self.chunks.len() * (CHUNK_SLOTS / 2)
    }

    /// Whether nothing waits to be written.
    pub(super) fn is_clean(&self) -> bool {
        self.dirty.is_empty()
    }

    /// Calls with changes that wait: those of one batch, sorted by state and row, which then count as written.
    pub(super) fn take_batch(&mut self, mut each: impl FnMut(u16, &[u8], Change<'_>)) {
        let rest = self.dirty.split_off(self.dirty.len().min(BATCH_ROWS));
        let mut batch = std::mem::replace(&mut self.dirty, rest);
        batch.sort_unstable_by(|a, b| {
            let (a, b) = (self.slot(*a), self.slot(*b));
            (a.state, a.row()).cmp(&(b.state, b.row()))
        });
        for at in batch {
            let slot = self.slot_mut(at);
            if !std::mem::take(&mut slot.dirty) {
                continue;
            }
            let change = match slot.known {
                Known::Value => Change::Put(slot.value()),
                Known::Appended => Change::Append(slot.value()),
                Known::Absent | Known::Free => Change::Delete,
            };
            each(slot.state, slot.row(), change);
            slot.stored = change != Change::Delete;
            let (length, known) = (slot.len(), slot.known);
            self.dirty_bytes = self.dirty_bytes.saturating_sub(length);
            if known == Known::Appended || length > KEPT_BYTES_MAX {
                self.forget(at);
            }
        }
        if self.dirty.is_empty() {
            self.dirty_bytes = 0;
        }
    }

    /// Rows that are kept.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    fn slot(&self, at: u32) -> &Slot {
        &self.chunks[at as usize >> CHUNK_BITS][at as usize % CHUNK_SLOTS]
    }

    fn slot_mut(&mut self, at: u32) -> &mut Slot {
        &mut self.chunks[at as usize >> CHUNK_BITS][at as usize % CHUNK_SLOTS]
    }

    #[inline]
    fn find(&self, state: u16, row: &[u8]) -> Option<u32> {
        self.index.find(hash(&self.hasher, state, row), |at| self.slot(*at).is(state, row)).copied()
    }

    /// Changes a row that is here.
    fn change(&mut self, at: u32, known: Known, value: &[u8]) {
        let slot = self.slot_mut(at);
        let (was_dirty, bytes) = (std::mem::replace(&mut slot.dirty, true), slot.row().len() + value.len());
        if !was_dirty {
            self.dirty.push(at);
            self.dirty_bytes += bytes;
        }
        self.set(at, known, value);
    }

    fn set(&mut self, at: u32, known: Known, value: &[u8]) {
        let slot = self.slot_mut(at);
        slot.known = known;
        slot.used = true;
        let before = slot.heap();
        slot.set_value(value);
        let after = slot.heap();
        self.heap = self.heap + after - before;
    }

    fn insert_dirty(&mut self, state: u16, row: &[u8], known: Known, value: &[u8], stored: bool) {
        let at = self.insert(state, row, known, value, stored);
        self.slot_mut(at).dirty = true;
        self.dirty.push(at);
        self.dirty_bytes += row.len() + value.len();
    }

    /// Adds a row that is not here.
    fn insert(&mut self, state: u16, row: &[u8], known: Known, value: &[u8], stored: bool) -> u32 {
        let at = self.free_slot();
        let slot = self.slot_mut(at);
        slot.fill(state, row, value);
        (slot.known, slot.stored, slot.dirty, slot.used) = (known, stored, false, true);
        self.heap += self.slot(at).heap();
        let Self { index, chunks, hasher, .. } = self;
        let slot = |at: u32| &chunks[at as usize >> CHUNK_BITS][at as usize % CHUNK_SLOTS];
        index.insert_unique(hash(hasher, state, row), at, |at| hash(hasher, slot(*at).state, slot(*at).row()));
        at
    }

    /// A slot for another row. When the memory is used up, that of a row that was not used lately.
    fn free_slot(&mut self) -> u32 {
        let allowed = self.share.bytes();
        let mut over = self.chunks.len() * CHUNK_SLOTS * SLOT_BYTES + self.heap > allowed;
        while over && self.forget_one() {
            over = self.heap > 0 && self.chunks.len() * CHUNK_SLOTS * SLOT_BYTES + self.heap > allowed;
        }
        if let Some(at) = self.free.pop() {
            return at;
        }
        let grown = (self.chunks.len() + 1) * CHUNK_SLOTS * SLOT_BYTES + self.heap;
        if grown > allowed
            && !self.chunks.is_empty()
            && self.forget_one()
            && let Some(at) = self.free.pop()
        {
            return at;
        }
        let first = (self.chunks.len() * CHUNK_SLOTS) as u32;
        self.chunks.push(std::iter::repeat_with(Slot::default).take(CHUNK_SLOTS).collect());
        self.free.extend((first..first + CHUNK_SLOTS as u32).rev());
        self.free.pop().unwrap_or(first)
    }

    /// Forgets a row that RocksDB has as well; false when there is none.
    fn forget_one(&mut self) -> bool {
        let slots = (self.chunks.len() * CHUNK_SLOTS) as u32;
        for _ in 0..slots.saturating_mul(2) {
            self.hand = if self.hand + 1 < slots { self.hand + 1 } else { 0 };
            let at = self.hand;
            let slot = self.slot_mut(at);
            if slot.known == Known::Free || slot.dirty || std::mem::take(&mut slot.used) {
                continue;
            }
            self.forget(at);
            return true;
        }
        false
    }

    fn forget(&mut self, at: u32) {
        let slot = self.slot(at);
        let hash = hash(&self.hasher, slot.state, slot.row());
        if let Ok(entry) = self.index.find_entry(hash, |other| *other == at) {
            entry.remove();
        }
        self.heap -= self.slot(at).heap();
        *self.slot_mut(at) = Slot::default();
        self.free.push(at);
    }
}

#[inline]
fn hash(hasher: &RandomState, state: u16, row: &[u8]) -> u64 {
    let mut hasher = hasher.build_hasher();
    hasher.write_u16(state);
    hasher.write(row);
    hasher.finish()
}

#[cfg(test)]
mod tests;
