//! A table in memory: key and namespace → what a [`Shape`] keeps.

use std::cell::RefCell;
use std::rc::Rc;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Slot;

use crate::codec;
use crate::context::Context;
use crate::traits::{Key, Namespace};
use crate::ttl::StateTtlConfig;

use super::{AnyTable, SKIPPED_PER_ENTRY, Shape};

struct Entry<K, N, T> {
    key: K,
    namespace: N,
    stored: T,
    /// Snapshots up to this one have it already, or began before it was there.
    version: u32,
}

pub(crate) struct Entries<K, N, S: Shape> {
    context: Rc<Context<K>>,
    entries: HashTable<Entry<K, N, S::Stored>>,
    /// Which of the backend's states it is.
    state: usize,
    ttl: Option<StateTtlConfig>,
    /// The next bucket of the walk.
    cursor: usize,
}

/// A handle of a table.
pub(crate) struct MemoryTable<K, N, S: Shape>(Rc<RefCell<Entries<K, N, S>>>);

impl<K, N, S: Shape> Clone for MemoryTable<K, N, S> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<K: Key, N: Namespace, S: Shape> Entries<K, N, S> {
    #[inline]
    fn find_mut(&mut self, hash: u64, key: &K, namespace: &N) -> Option<&mut Entry<K, N, S::Stored>> {
        let Self { context, entries, state, .. } = self;
        let entry = entries.find_mut(hash, |entry| entry.key == *key && entry.namespace == *namespace)?;
        if entry.version < context.cut.get() {
            save::<K, N, S>(context, *state, entry);
        }
        Some(entry)
    }

    #[inline]
    fn slot(&mut self, hash: u64, key: &K, namespace: &N) -> Slot<'_, Entry<K, N, S::Stored>> {
        if self.entries.len() == self.entries.capacity() {
            self.grow();
        }
        let Self { context, entries, .. } = self;
        entries.entry(
            hash,
            |entry| entry.key == *key && entry.namespace == *namespace,
            |entry| context.hash(&entry.key, &entry.namespace),
        )
    }

    #[inline]
    fn update<R>(&mut self, hash: u64, key: &K, namespace: &N, f: impl FnOnce(&mut Option<S::Stored>) -> R) -> R {
        if self.context.cut.get() > 0 {
            self.find_mut(hash, key, namespace);
        }
        let version = self.context.latest.get();
        match self.slot(hash, key, namespace) {
            Slot::Occupied(slot) => {
                let mut result = None;
                slot.replace_entry_with(|entry| {
                    let Entry { key, namespace, stored, version } = entry;
                    let mut stored = Some(stored);
                    result = Some(f(&mut stored));
                    stored.map(|stored| Entry { key, namespace, stored, version })
                });
                match result {
                    Some(result) => result,
                    None => unreachable!("an occupied slot is always replaced"),
                }
            }
            Slot::Vacant(slot) => {
                let mut stored = None;
                let result = f(&mut stored);
                if let Some(stored) = stored {
                    slot.insert(Entry { key: key.clone(), namespace: namespace.clone(), stored, version });
                }
                result
            }
        }
    }

    /// Adds what was not there. Out of line, so that changing what is there takes few instructions: the processor then waits
    /// for the memory of several records at once.
    #[cold]
    #[inline(never)]
    fn insert(&mut self, hash: u64, key: &K, namespace: &N, stored: S::Stored) {
        let version = self.context.latest.get();
        if let Slot::Vacant(slot) = self.slot(hash, key, namespace) {
            slot.insert(Entry { key: key.clone(), namespace: namespace.clone(), stored, version });
        }
    }

    /// Makes room, which moves all entries: a walk has to begin anew. What it had written is not written again.
    #[cold]
    fn grow(&mut self) {
        self.cursor = 0;
        let context = &self.context;
        self.entries.reserve(1, |entry| context.hash(&entry.key, &entry.namespace));
    }
}

/// Writes an entry to the running snapshots that need it, before it changes.
#[cold]
#[inline(never)]
fn save<K: Key, N: Namespace, S: Shape>(context: &Context<K>, state: usize, entry: &mut Entry<K, N, S::Stored>) {
    let Entry { key, namespace, stored, version } = entry;
    context.running.borrow_mut().write::<K, N, S>(context, state, *version, key, namespace, stored);
    *version = context.cut.get();
}

impl<K: Key, N: Namespace, S: Shape> MemoryTable<K, N, S> {
    pub(crate) fn new(context: Rc<Context<K>>, state: usize, ttl: Option<StateTtlConfig>) -> Self {
        Self(Rc::new(RefCell::new(Entries { context, entries: HashTable::new(), state, ttl, cursor: 0 })))
    }

    pub(crate) fn erased(&self) -> Rc<dyn AnyTable> {
        Rc::clone(&self.0) as Rc<dyn AnyTable>
    }

    /// What is kept, if anything.
    #[inline]
    pub(crate) fn with<R>(&self, hash: u64, key: &K, namespace: &N, f: impl FnOnce(Option<&S::Stored>) -> R) -> R {
        let table = self.0.borrow();
        let entry = table.entries.find(hash, |entry| entry.key == *key && entry.namespace == *namespace);
        f(entry.map(|entry| &entry.stored))
    }

    /// Changes what is kept, where it is; `None` when there is nothing.
    #[inline]
    pub(crate) fn change<R>(
        &self,
        hash: u64,
        key: &K,
        namespace: &N,
        f: impl FnOnce(&mut S::Stored) -> R,
    ) -> Option<R> {
        self.0.borrow_mut().find_mut(hash, key, namespace).map(|entry| f(&mut entry.stored))
    }

    /// Changes what is kept, where it is; begins with `initial`.
    #[inline]
    pub(crate) fn upsert<R>(
        &self,
        hash: u64,
        key: &K,
        namespace: &N,
        initial: impl FnOnce() -> S::Stored,
        f: impl FnOnce(&mut S::Stored) -> R,
    ) -> R {
        let mut table = self.0.borrow_mut();
        if let Some(entry) = table.find_mut(hash, key, namespace) {
            return f(&mut entry.stored);
        }
        let mut stored = initial();
        let result = f(&mut stored);
        table.insert(hash, key, namespace, stored);
        result
    }

    /// Changes what is kept, which may be nothing before and after.
    #[inline]
    pub(crate) fn update<R>(
        &self,
        hash: u64,
        key: &K,
        namespace: &N,
        f: impl FnOnce(&mut Option<S::Stored>) -> R,
    ) -> R {
        self.0.borrow_mut().update(hash, key, namespace, f)
    }

    /// Forgets what is kept, and returns it.
    #[inline]
    pub(crate) fn remove(&self, hash: u64, key: &K, namespace: &N) -> Option<S::Stored> {
        let mut table = self.0.borrow_mut();
        if table.context.cut.get() > 0 {
            table.find_mut(hash, key, namespace)?;
        }
        let equal = |entry: &Entry<K, N, S::Stored>| entry.key == *key && entry.namespace == *namespace;
        let entry = table.entries.find_entry(hash, equal).ok()?;
        Some(entry.remove().0.stored)
    }

    #[inline]
    pub(crate) fn hash(&self, key: &K, namespace: &N) -> u64 {
        self.0.borrow().context.hash(key, namespace)
    }
}

impl<K: Key, N: Namespace, S: Shape> AnyTable for RefCell<Entries<K, N, S>> {
    fn walk(&self, budget: &mut usize) -> bool {
        let mut table = self.borrow_mut();
        let Entries { context, entries, state, ttl, cursor } = &mut *table;
        let cut = context.cut.get();
        let now = ttl.map(|ttl| (ttl, context.now()));
        let mut skipped = 0;
        while *cursor < entries.num_buckets() {
            if *budget == 0 {
                return true;
            }
            if let Some(entry) = entries.get_bucket_mut(*cursor)
                && entry.version < cut
            {
                *budget -= 1;
                if let Some((ttl, now)) = now
                    && S::expire(&mut entry.stored, &ttl, now)
                {
                    if let Ok(entry) = entries.get_bucket_entry(*cursor) {
                        entry.remove();
                    }
                } else {
                    save::<K, N, S>(context, *state, entry);
                }
            } else {
                skipped += 1;
                if skipped == SKIPPED_PER_ENTRY {
                    skipped = 0;
                    *budget -= 1;
                }
            }
            *cursor += 1;
        }
        false
    }

    fn rewind(&self) {
        self.borrow_mut().cursor = 0;
    }

    fn restore(&self, key: &[u8], namespace: &[u8], user_key: &[u8], value: &[u8]) -> Result<(), postcard::Error> {
        let (key, namespace) = (codec::decode::<K>(key)?, codec::decode::<N>(namespace)?);
        let mut table = self.borrow_mut();
        let hash = table.context.hash(&key, &namespace);
        table.update(hash, &key, &namespace, |stored| S::read(stored, user_key, value))
    }
}
