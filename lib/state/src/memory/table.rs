//! A table in memory: key and namespace → what a [`Shape`] keeps.

use std::cell::RefCell;
use std::rc::Rc;

use crate::canonical::Row;
use crate::codec;
use crate::context::Context;
use crate::traits::{Key, Namespace};
use crate::ttl::StateTtlConfig;

use super::entries::Entries;
use super::{AnyTable, Shape, restore_each};

/// A handle of a table.
pub(crate) struct MemoryTable<K, N, S: Shape>(Rc<RefCell<Entries<K, N, S>>>);

impl<K, N, S: Shape> Clone for MemoryTable<K, N, S> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<K: Key, N: Namespace, S: Shape> MemoryTable<K, N, S> {
    pub(crate) fn new(context: Rc<Context<K>>, state: usize, ttl: Option<StateTtlConfig>) -> Self {
        Self(Rc::new(RefCell::new(Entries::new(context, state, ttl))))
    }

    pub(crate) fn erased(&self) -> Rc<dyn AnyTable> {
        Rc::clone(&self.0) as Rc<dyn AnyTable>
    }

    /// What is kept, if anything.
    #[inline]
    pub(crate) fn with<R>(&self, hash: u64, key: &K, namespace: &N, f: impl FnOnce(Option<&S::Stored>) -> R) -> R {
        f(self.0.borrow().find(hash, key, namespace))
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
        self.0.borrow_mut().find_mut(hash, key, namespace).map(f)
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
        if let Some(stored) = table.find_mut(hash, key, namespace) {
            return f(stored);
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
        self.0.borrow_mut().remove(hash, key, namespace)
    }

    /// Replaces what is kept.
    #[inline]
    pub(crate) fn put(&self, hash: u64, key: &K, namespace: &N, stored: S::Stored) {
        let mut table = self.0.borrow_mut();
        match table.find_mut(hash, key, namespace) {
            Some(known) => *known = stored,
            None => table.insert(hash, key, namespace, stored),
        }
    }

    #[inline]
    pub(crate) fn hash(&self, key: &K, namespace: &N) -> u64 {
        self.0.borrow().context.hash(key, namespace)
    }
}

impl<K: Key, N: Namespace, S: Shape> AnyTable for RefCell<Entries<K, N, S>> {
    fn walk(&self, budget: &mut usize) -> bool {
        self.borrow_mut().walk(budget)
    }

    fn rewind(&self) {
        self.borrow_mut().rewind();
    }

    fn is_large(&self) -> bool {
        self.borrow().is_large()
    }

    fn fetch(&self, hashes: &[u64]) {
        self.borrow().fetch(hashes);
    }

    fn reserve(&self, rows: usize) {
        if S::ONE_ROW {
            self.borrow_mut().reserve(rows);
        }
    }

    fn restore(&self, rows: &[Row<'_>]) -> Result<(), (usize, postcard::Error)> {
        let mut table = self.borrow_mut();
        // First all keys: where their entries belong is fetched together.
        let mut keys = Vec::with_capacity(rows.len());
        restore_each(rows, |row| {
            let (key, namespace) = (codec::decode::<K>(row.key)?, codec::decode::<N>(row.namespace)?);
            keys.push((table.context.hash(&key, &namespace), key, namespace));
            Ok(())
        })?;
        table.fetch_places(keys.iter().map(|(hash, ..)| *hash));
        let mut keys = keys.into_iter();
        restore_each(rows, |row| match keys.next() {
            Some((hash, key, namespace)) => {
                table.restore(hash, key, namespace, |stored| S::read(stored, row.user_key, row.value))
            }
            None => Ok(()),
        })
    }
}
