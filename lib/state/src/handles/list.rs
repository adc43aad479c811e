//! A list per key.

use std::rc::Rc;

use crate::context::Context;
use crate::error::StateError;
use crate::memory::{ListOf, MemoryTable, Stamped, StampedList};
use crate::rows::RowList;
use crate::traits::{Key, StateValue};
use crate::ttl::StateTtlConfig;

/// The list of the current key. A cheap clone of a handle. An empty list is the same as none.
pub struct ListState<K, V: StateValue> {
    pub(crate) context: Rc<Context<K>>,
    pub(crate) inner: ListInner<K, V>,
}

pub(crate) enum ListInner<K, V: StateValue> {
    Memory(MemoryTable<K, (), ListOf<V>>),
    Expiring(MemoryTable<K, (), StampedList<V>>, StateTtlConfig),
    Rows(RowList<K, V>),
}

impl<K, V: StateValue> Clone for ListState<K, V> {
    fn clone(&self) -> Self {
        let inner = match &self.inner {
            ListInner::Memory(table) => ListInner::Memory(table.clone()),
            ListInner::Expiring(table, ttl) => ListInner::Expiring(table.clone(), *ttl),
            ListInner::Rows(list) => ListInner::Rows(list.clone()),
        };
        Self { context: Rc::clone(&self.context), inner }
    }
}

impl<K: Key, V: StateValue> ListState<K, V> {
    /// The items.
    ///
    /// # Errors
    /// The store failed, as in all of these.
    pub fn get(&self) -> Result<Vec<V>, StateError> {
        let mut items = Vec::new();
        self.for_each(|item| items.push(item.clone()))?;
        Ok(items)
    }

    /// Looks at each item in order.
    ///
    /// # Errors
    /// See [`Self::get`].
    pub fn for_each(&self, mut f: impl FnMut(&V)) -> Result<(), StateError> {
        let context = &*self.context;
        context.with_current(|key| {
            let hash = context.current_hash();
            match &self.inner {
                ListInner::Memory(table) => {
                    table.with(hash, key, &(), |items| items.into_iter().flatten().for_each(f));
                }
                ListInner::Expiring(table, ttl) => {
                    let now = context.now();
                    if ttl.reading_is_use() {
                        table.change(hash, key, &(), |items| {
                            for item in items.iter_mut().filter(|item| !ttl.expired(item.used_ms, now)) {
                                item.used_ms = now;
                            }
                        });
                    }
                    table.with(hash, key, &(), |items| {
                        let items = items.into_iter().flatten().filter(|item| ttl.visible(item.used_ms, now));
                        items.for_each(|item| f(&item.value));
                    });
                }
                ListInner::Rows(list) => list.for_each(f)?,
            }
            Ok(())
        })
    }

    /// Adds an item at the end.
    ///
    /// # Errors
    /// See [`Self::get`].
    #[inline]
    pub fn add(&self, item: V) -> Result<(), StateError> {
        let context = &*self.context;
        context.with_current(|key| {
            let hash = context.current_hash();
            match &self.inner {
                ListInner::Memory(table) => table.upsert(hash, key, &(), Vec::new, |items| items.push(item)),
                ListInner::Expiring(table, ttl) => {
                    let now = context.now();
                    table.upsert(hash, key, &(), Vec::new, |items| {
                        // Those that were not used for longest stand first: what is expired goes before the list grows.
                        if items.len() == items.capacity() {
                            items.retain(|item| !ttl.expired(item.used_ms, now));
                        }
                        items.push(Stamped { used_ms: now, value: item });
                    });
                }
                ListInner::Rows(list) => list.add(&item)?,
            }
            Ok(())
        })
    }

    /// Adds items at the end.
    ///
    /// # Errors
    /// See [`Self::get`].
    pub fn add_all(&self, items: impl IntoIterator<Item = V>) -> Result<(), StateError> {
        items.into_iter().try_for_each(|item| self.add(item))
    }

    /// Replaces the list.
    ///
    /// # Errors
    /// See [`Self::get`].
    pub fn update(&self, items: impl IntoIterator<Item = V>) -> Result<(), StateError> {
        self.clear()?;
        self.add_all(items)
    }

    /// Forgets all items.
    ///
    /// # Errors
    /// See [`Self::get`].
    pub fn clear(&self) -> Result<(), StateError> {
        let context = &*self.context;
        context.with_current(|key| {
            match &self.inner {
                ListInner::Memory(table) => drop(table.remove(context.current_hash(), key, &())),
                ListInner::Expiring(table, _) => drop(table.remove(context.current_hash(), key, &())),
                ListInner::Rows(list) => list.clear()?,
            }
            Ok(())
        })
    }
}
