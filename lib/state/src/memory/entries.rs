//! The entries of a table in memory: a hash table and, beside it, which snapshots have what is in each bucket.
//!
//! The versions stand beside the entries, not in them: while no snapshot runs nobody looks at them, and an entry takes no
//! more room, and so no more of the processor's caches, than its key and value.

use std::any::TypeId;
use std::rc::Rc;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Slot;

use crate::canonical::SmallRow;
use crate::context::Context;
use crate::prefetch::prefetch;
use crate::traits::{Key, Namespace};
use crate::ttl::StateTtlConfig;

use super::{SKIPPED_PER_ENTRY, Shape};

struct Entry<K, N, T> {
    key: K,
    namespace: N,
    stored: T,
}

/// Entries that a walk makes rows of before it writes them: their memory is waited for together.
const TOGETHER: usize = 32;
/// Buckets that a walk looks at before it asks again how much it may do.
const LOOKED_AT: usize = 1024;
/// A row that is not small takes the time of so many.
const LONG_ROW: usize = 4;
/// A smaller table is in the processor's own caches anyway.
const LARGE_BYTES: usize = 512 << 10;

pub(super) struct Entries<K, N, S: Shape> {
    pub(super) context: Rc<Context<K>>,
    table: HashTable<Entry<K, N, S::Stored>>,
    /// By bucket: snapshots up to this one have its entry already, or began before it was there. Kept while a snapshot
    /// runs; otherwise it says something about older snapshots, or is too short, which is all the same to the next one.
    versions: Vec<u32>,
    /// Which of the backend's states it is.
    state: usize,
    ttl: Option<StateTtlConfig>,
    /// The next bucket of the walk.
    cursor: usize,
}

impl<K: Key, N: Namespace, S: Shape> Entries<K, N, S> {
    pub(super) fn new(context: Rc<Context<K>>, state: usize, ttl: Option<StateTtlConfig>) -> Self {
        Self { context, table: HashTable::new(), versions: Vec::new(), state, ttl, cursor: 0 }
    }

    #[inline]
    fn is_walked(&self) -> bool {
        self.context.cut.get() > 0
    }

    #[inline]
    pub(super) fn find(&self, hash: u64, key: &K, namespace: &N) -> Option<&S::Stored> {
        let entry = self.table.find(hash, |entry| entry.key == *key && entry.namespace == *namespace);
        entry.map(|entry| &entry.stored)
    }

    /// What is about to be changed.
    #[inline]
    pub(super) fn find_mut(&mut self, hash: u64, key: &K, namespace: &N) -> Option<&mut S::Stored> {
        if self.is_walked() {
            return self.find_saved(hash, key, namespace);
        }
        let entry = self.table.find_mut(hash, |entry| entry.key == *key && entry.namespace == *namespace);
        entry.map(|entry| &mut entry.stored)
    }

    /// As [`Self::find_mut`], while a snapshot runs. Out of line, as all that is not done for each record: the less
    /// instructions an access has, the more records the processor works on while it waits for memory.
    #[inline(never)]
    fn find_saved(&mut self, hash: u64, key: &K, namespace: &N) -> Option<&mut S::Stored> {
        let equal = |entry: &Entry<K, N, S::Stored>| entry.key == *key && entry.namespace == *namespace;
        let bucket = self.table.find_bucket_index(hash, equal)?;
        self.cover();
        let Self { context, table, versions, state, .. } = self;
        let entry = table.get_bucket_mut(bucket)?;
        if versions[bucket] < context.cut.get() {
            save::<K, N, S>(context, *state, entry, &mut versions[bucket]);
        }
        Some(&mut entry.stored)
    }

    /// Makes room for the versions of all buckets. What was there before the running snapshots is in none of them.
    #[inline]
    fn cover(&mut self) {
        if self.versions.len() < self.table.num_buckets() {
            self.versions.resize(self.table.num_buckets(), 0);
        }
    }

    /// Changes what is kept, which may be nothing before and after.
    #[inline]
    pub(super) fn update<R>(
        &mut self,
        hash: u64,
        key: &K,
        namespace: &N,
        f: impl FnOnce(&mut Option<S::Stored>) -> R,
    ) -> R {
        if self.is_walked() {
            self.find_saved(hash, key, namespace);
        }
        let Ok(found) = self.table.find_entry(hash, |entry| entry.key == *key && entry.namespace == *namespace) else {
            let mut stored = None;
            let result = f(&mut stored);
            if let Some(stored) = stored {
                self.insert(hash, key, namespace, stored);
            }
            return result;
        };
        let mut result = None;
        found.replace_entry_with(|entry| {
            let Entry { key, namespace, stored } = entry;
            let mut stored = Some(stored);
            result = Some(f(&mut stored));
            stored.map(|stored| Entry { key, namespace, stored })
        });
        match result {
            Some(result) => result,
            None => unreachable!("an occupied slot is always replaced"),
        }
    }

    /// Adds what was not there.
    #[cold]
    #[inline(never)]
    pub(super) fn insert(&mut self, hash: u64, key: &K, namespace: &N, stored: S::Stored) {
        if self.table.len() == self.table.capacity() {
            self.grow();
        }
        let walked = self.is_walked();
        if walked {
            self.cover();
        }
        let Self { context, table, versions, .. } = self;
        let slot = table.entry(
            hash,
            |entry| entry.key == *key && entry.namespace == *namespace,
            |entry| context.hash(&entry.key, &entry.namespace),
        );
        if let Slot::Vacant(slot) = slot {
            let slot = slot.insert(Entry { key: key.clone(), namespace: namespace.clone(), stored });
            if walked {
                versions[slot.bucket_index()] = context.latest.get();
            }
        }
    }

    /// Makes room for so many entries more.
    pub(super) fn reserve(&mut self, entries: usize) {
        if !self.is_walked() {
            let Self { context, table, .. } = self;
            table.reserve(entries, |entry| context.hash(&entry.key, &entry.namespace));
        }
    }

    /// Reads a row of a snapshot into its entry, which may be there already.
    pub(super) fn restore(
        &mut self,
        hash: u64,
        key: K,
        namespace: N,
        read: impl FnOnce(&mut Option<S::Stored>) -> postcard::Result<()>,
    ) -> postcard::Result<()> {
        if self.is_walked() || self.find(hash, &key, &namespace).is_some() {
            return self.update(hash, &key, &namespace, read);
        }
        let mut stored = None;
        read(&mut stored)?;
        if let Some(stored) = stored {
            let Self { context, table, .. } = self;
            let hasher = |entry: &Entry<K, N, S::Stored>| context.hash(&entry.key, &entry.namespace);
            table.insert_unique(hash, Entry { key, namespace, stored }, hasher);
        }
        Ok(())
    }

    /// Lets the processor fetch where entries of these hashes are, or would be.
    pub(super) fn fetch_places(&self, hashes: impl Iterator<Item = u64>) {
        hashes.filter_map(|hash| self.table.find(hash, |_| true)).for_each(prefetch);
    }

    /// Forgets what is kept, and returns it.
    #[inline]
    pub(super) fn remove(&mut self, hash: u64, key: &K, namespace: &N) -> Option<S::Stored> {
        if self.is_walked() {
            self.find_saved(hash, key, namespace)?;
        }
        let equal = |entry: &Entry<K, N, S::Stored>| entry.key == *key && entry.namespace == *namespace;
        let entry = self.table.find_entry(hash, equal).ok()?;
        Some(entry.remove().0.stored)
    }

    /// Makes room, which moves all entries: a walk has to begin anew. What it had written is not written again.
    #[cold]
    fn grow(&mut self) {
        self.cursor = 0;
        let walked = self.is_walked();
        let Self { context, table, versions, .. } = self;
        let hasher = |entry: &Entry<K, N, S::Stored>| context.hash(&entry.key, &entry.namespace);
        if !walked {
            return table.reserve(1, hasher);
        }
        // As `reserve` does it, but the versions have to move with their entries. Half as much again makes twice the
        // buckets when all are full, and as many when most are free but marked as deleted.
        let mut grown = HashTable::with_capacity(table.len() + table.len() / 2 + 1);
        let mut moved = vec![0; grown.num_buckets()];
        for bucket in 0..table.num_buckets() {
            if let Ok(entry) = table.get_bucket_entry(bucket) {
                let entry = entry.remove().0;
                let slot = grown.insert_unique(hasher(&entry), entry, hasher);
                moved[slot.bucket_index()] = versions.get(bucket).copied().unwrap_or(0);
            }
        }
        *table = grown;
        *versions = moved;
    }

    /// See [`super::AnyTable::walk`].
    pub(super) fn walk(&mut self, budget: &mut usize) -> bool {
        self.cover();
        let mut skipped = 0;
        // Everything before this bucket was looked at for what is expired.
        let mut fresh = if self.ttl.is_some() { self.cursor } else { usize::MAX };
        let (mut found, mut rows) = ([0; TOGETHER], [SmallRow::default(); TOGETHER]);
        while self.cursor < self.table.num_buckets() {
            if *budget == 0 || self.context.running.borrow().is_congested() {
                return true;
            }
            if self.cursor >= fresh {
                fresh = self.expire();
            }
            let count = self.find_unsaved(&mut found[..TOGETHER.min(*budget)], fresh, &mut skipped);
            let long = self.save_all(&found[..count], &mut rows);
            *budget = budget.saturating_sub(count + long * (LONG_ROW - 1) + skipped / SKIPPED_PER_ENTRY);
            skipped %= SKIPPED_PER_ENTRY;
        }
        false
    }

    /// Goes on with the walk, up to bucket `end` or as many with an entry that has to be written as there is room for. Returns
    /// their number; adds that of the others to `skipped`.
    fn find_unsaved(&mut self, found: &mut [usize], end: usize, skipped: &mut usize) -> usize {
        let Self { context, table, versions, cursor, .. } = self;
        let cut = context.cut.get();
        let (mut count, begun) = (0, *cursor);
        let end = table.num_buckets().min(begun + LOOKED_AT).min(end);
        // Whether a bucket has an entry is as good as random: no branch depends on it, for the processor to guess wrong.
        for (bucket, version) in (begun..end).zip(&versions[begun..end]) {
            let Some(place) = found.get_mut(count) else { break };
            *place = bucket;
            count += usize::from((*version < cut) & table.get_bucket(bucket).is_some());
            *cursor = bucket + 1;
        }
        *skipped += *cursor - begun - count;
        count
    }

    /// Writes the entries of buckets to the snapshots that need them. First all become rows, so that the processor waits for
    /// what they point to at the same time. Returns how many rows were long.
    fn save_all(&mut self, buckets: &[usize], rows: &mut [SmallRow; TOGETHER]) -> usize {
        let Self { context, table, versions, state, .. } = self;
        let cut = context.cut.get();
        let (mut before, mut groups, mut long) = ([cut; TOGETHER], [0; TOGETHER], 0);
        for (at, bucket) in buckets.iter().enumerate() {
            let Some(entry) = table.get_bucket(*bucket) else { continue };
            let is_small = rows[at].fill(&entry.key, &entry.namespace, |parts| S::small_row(&entry.stored, parts));
            long += usize::from(!is_small);
            before[at] = std::mem::replace(&mut versions[*bucket], cut);
            groups[at] = context.group_of(rows[at].key());
        }
        let mut running = context.running.borrow_mut();
        running.write_small(*state, &rows[..buckets.len()], &before, &groups);
        if long > 0 {
            for ((bucket, row), version) in buckets.iter().zip(rows).zip(before) {
                if row.is_empty()
                    && let Some(Entry { key, namespace, stored }) = table.get_bucket(*bucket)
                {
                    running.write_long::<K, N, S>(context, *state, version, key, namespace, stored);
                }
            }
        }
        long
    }

    /// Drops what is expired of the entries that the walk comes to next, and returns the bucket behind them.
    fn expire(&mut self) -> usize {
        let Self { context, table, versions, ttl, cursor, .. } = self;
        let end = table.num_buckets().min(*cursor + LOOKED_AT);
        let Some(ttl) = ttl else { return end };
        let (cut, now) = (context.cut.get(), context.now());
        for (bucket, version) in versions.iter().enumerate().take(end).skip(*cursor) {
            if *version < cut
                && let Some(entry) = table.get_bucket_mut(bucket)
                && S::expire(&mut entry.stored, ttl, now)
                && let Ok(entry) = table.get_bucket_entry(bucket)
            {
                entry.remove();
            }
        }
        end
    }

    pub(super) fn rewind(&mut self) {
        self.cursor = 0;
    }

    /// Whether the entries of keys alone, without a namespace, are worth fetching before they are needed.
    pub(super) fn is_large(&self) -> bool {
        let bytes = self.table.num_buckets() * (size_of::<Entry<K, N, S::Stored>>() + 1);
        TypeId::of::<N>() == TypeId::of::<()>() && bytes >= LARGE_BYTES
    }

    /// Lets the processor fetch the entries of these hashes.
    pub(super) fn fetch(&self, hashes: &[u64]) {
        // Reads the table's tags, but not the entries: the first one with the right tag is almost always the one.
        if self.is_walked() {
            for hash in hashes {
                let Some(bucket) = self.table.find_bucket_index(*hash, |_| true) else { continue };
                self.table.get_bucket(bucket).into_iter().for_each(prefetch);
                self.versions.get(bucket).into_iter().for_each(prefetch);
            }
        } else {
            hashes.iter().filter_map(|hash| self.table.find(*hash, |_| true)).for_each(prefetch);
        }
    }
}

/// Writes an entry to the running snapshots that need it, before it changes.
fn save<K: Key, N: Namespace, S: Shape>(
    context: &Context<K>,
    state: usize,
    entry: &Entry<K, N, S::Stored>,
    version: &mut u32,
) {
    let Entry { key, namespace, stored } = entry;
    context.running.borrow_mut().write::<K, N, S>(context, state, *version, key, namespace, stored);
    *version = context.cut.get();
}
