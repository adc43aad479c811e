//! A map per key.

use std::rc::Rc;

use crate::context::Context;
use crate::error::StateError;
use crate::memory::{MapOf, MemoryTable, Stamped, StampedMap, UserMap};
use crate::rows::RowMap;
use crate::traits::{Key, StateValue};
use crate::ttl::StateTtlConfig;

/// The map of the current key. A cheap clone of a handle. An empty map is the same as none.
pub struct MapState<K, UK: Key, UV: StateValue> {
    pub(crate) context: Rc<Context<K>>,
    pub(crate) inner: MapInner<K, UK, UV>,
}

pub(crate) enum MapInner<K, UK: Key, UV: StateValue> {
    Memory(MemoryTable<K, (), MapOf<UK, UV>>),
    Expiring(MemoryTable<K, (), StampedMap<UK, UV>>, StateTtlConfig),
    Rows(RowMap<K, UK, UV>),
}

impl<K, UK: Key, UV: StateValue> Clone for MapState<K, UK, UV> {
    fn clone(&self) -> Self {
        let inner = match &self.inner {
            MapInner::Memory(table) => MapInner::Memory(table.clone()),
            MapInner::Expiring(table, ttl) => MapInner::Expiring(table.clone(), *ttl),
            MapInner::Rows(map) => MapInner::Rows(map.clone()),
        };
        Self { context: Rc::clone(&self.context), inner }
    }
}

impl<K: Key, UK: Key, UV: StateValue> MapState<K, UK, UV> {
    /// The value of a key of the map.
    ///
    /// # Errors
    /// The store failed, as in all of these.
    #[inline]
    pub fn get(&self, user_key: &UK) -> Result<Option<UV>, StateError> {
        self.with(user_key, |value| value.cloned())
    }

    /// Looks at the value of a key of the map.
    ///
    /// # Errors
    /// See [`Self::get`].
    #[inline]
    pub fn with<R>(&self, user_key: &UK, f: impl FnOnce(Option<&UV>) -> R) -> Result<R, StateError> {
        let context = &*self.context;
        context.with_current(|key| {
            let hash = context.current_hash();
            match &self.inner {
                MapInner::Memory(table) => {
                    Ok(table.with(hash, key, &(), |map| f(map.and_then(|map| map.get(user_key)))))
                }
                MapInner::Expiring(table, ttl) => {
                    let now = context.now();
                    if ttl.reading_is_use() {
                        table.change(hash, key, &(), |map| touch(map.get_mut(user_key), ttl, now));
                    }
                    let seen = |stored: &&Stamped<UV>| ttl.visible(stored.used_ms, now);
                    let value = |map: Option<&UserMap<UK, Stamped<UV>>>| {
                        f(map.and_then(|map| map.get(user_key)).filter(seen).map(|stored| &stored.value))
                    };
                    Ok(table.with(hash, key, &(), value))
                }
                MapInner::Rows(map) => map.with(user_key, f),
            }
        })
    }

    /// Whether the map has the key.
    ///
    /// # Errors
    /// See [`Self::get`].
    #[inline]
    pub fn contains(&self, user_key: &UK) -> Result<bool, StateError> {
        self.with(user_key, |value| value.is_some())
    }

    /// Sets the value of a key of the map.
    ///
    /// # Errors
    /// See [`Self::get`].
    #[inline]
    pub fn put(&self, user_key: UK, value: UV) -> Result<(), StateError> {
        let context = &*self.context;
        context.with_current(|key| {
            let hash = context.current_hash();
            match &self.inner {
                MapInner::Memory(table) => {
                    table.upsert(hash, key, &(), UserMap::default, |map| drop(map.insert(user_key, value)));
                }
                MapInner::Expiring(table, ttl) => {
                    let now = context.now();
                    table.upsert(hash, key, &(), UserMap::default, |map| {
                        if map.len() == map.capacity() {
                            map.retain(|_, stored| !ttl.expired(stored.used_ms, now));
                        }
                        map.insert(user_key, Stamped { used_ms: now, value });
                    });
                }
                MapInner::Rows(map) => map.put(&user_key, &value)?,
            }
            Ok(())
        })
    }

    /// Changes the value of a key of the map, which may be nothing before and after.
    ///
    /// # Errors
    /// See [`Self::get`].
    pub fn update<R>(&self, user_key: UK, f: impl FnOnce(&mut Option<UV>) -> R) -> Result<R, StateError> {
        let mut value = self.get(&user_key)?;
        let was = value.is_some();
        let result = f(&mut value);
        match value {
            Some(value) => self.put(user_key, value)?,
            None if was => self.remove(&user_key)?,
            None => {}
        }
        Ok(result)
    }

    /// Sets the values of several keys of the map.
    ///
    /// # Errors
    /// See [`Self::get`].
    pub fn put_all(&self, entries: impl IntoIterator<Item = (UK, UV)>) -> Result<(), StateError> {
        entries.into_iter().try_for_each(|(key, value)| self.put(key, value))
    }

    /// Forgets a key of the map.
    ///
    /// # Errors
    /// See [`Self::get`].
    #[inline]
    pub fn remove(&self, user_key: &UK) -> Result<(), StateError> {
        let context = &*self.context;
        context.with_current(|key| {
            let hash = context.current_hash();
            let emptied = match &self.inner {
                MapInner::Memory(table) => table.change(hash, key, &(), |map| {
                    map.remove(user_key);
                    map.is_empty()
                }),
                MapInner::Expiring(table, _) => table.change(hash, key, &(), |map| {
                    map.remove(user_key);
                    map.is_empty()
                }),
                MapInner::Rows(map) => return map.remove(user_key),
            };
            if emptied == Some(true) { self.clear() } else { Ok(()) }
        })
    }

    /// Looks at each entry, in no particular order.
    ///
    /// # Errors
    /// See [`Self::get`].
    pub fn for_each(&self, mut f: impl FnMut(&UK, &UV)) -> Result<(), StateError> {
        let context = &*self.context;
        context.with_current(|key| {
            let hash = context.current_hash();
            match &self.inner {
                MapInner::Memory(table) => {
                    table.with(hash, key, &(), |map| map.into_iter().flatten().for_each(|(k, v)| f(k, v)));
                }
                MapInner::Expiring(table, ttl) => {
                    let now = context.now();
                    if ttl.reading_is_use() {
                        table.change(hash, key, &(), |map| {
                            map.values_mut().for_each(|stored| touch(Some(stored), ttl, now));
                        });
                    }
                    table.with(hash, key, &(), |map| {
                        let seen = map.into_iter().flatten().filter(|(_, stored)| ttl.visible(stored.used_ms, now));
                        seen.for_each(|(key, stored)| f(key, &stored.value));
                    });
                }
                MapInner::Rows(map) => map.for_each(f)?,
            }
            Ok(())
        })
    }

    /// The entries, in no particular order.
    ///
    /// # Errors
    /// See [`Self::get`].
    pub fn entries(&self) -> Result<Vec<(UK, UV)>, StateError> {
        let mut entries = Vec::new();
        self.for_each(|key, value| entries.push((key.clone(), value.clone())))?;
        Ok(entries)
    }

    /// The keys of the map, in no particular order.
    ///
    /// # Errors
    /// See [`Self::get`].
    pub fn keys(&self) -> Result<Vec<UK>, StateError> {
        let mut keys = Vec::new();
        self.for_each(|key, _| keys.push(key.clone()))?;
        Ok(keys)
    }

    /// The values of the map, in no particular order.
    ///
    /// # Errors
    /// See [`Self::get`].
    pub fn values(&self) -> Result<Vec<UV>, StateError> {
        let mut values = Vec::new();
        self.for_each(|_, value| values.push(value.clone()))?;
        Ok(values)
    }

    /// Whether there is no entry.
    ///
    /// # Errors
    /// See [`Self::get`].
    pub fn is_empty(&self) -> Result<bool, StateError> {
        let context = &*self.context;
        context.with_current(|key| {
            let hash = context.current_hash();
            match &self.inner {
                MapInner::Memory(table) => Ok(table.with(hash, key, &(), |map| map.is_none_or(UserMap::is_empty))),
                MapInner::Expiring(table, ttl) => {
                    let now = context.now();
                    let visible = |map: &UserMap<UK, Stamped<UV>>| map.values().any(|s| ttl.visible(s.used_ms, now));
                    Ok(!table.with(hash, key, &(), |map| map.is_some_and(visible)))
                }
                MapInner::Rows(map) => map.is_empty(),
            }
        })
    }

    /// Forgets all entries.
    ///
    /// # Errors
    /// See [`Self::get`].
    pub fn clear(&self) -> Result<(), StateError> {
        let context = &*self.context;
        context.with_current(|key| {
            match &self.inner {
                MapInner::Memory(table) => drop(table.remove(context.current_hash(), key, &())),
                MapInner::Expiring(table, _) => drop(table.remove(context.current_hash(), key, &())),
                MapInner::Rows(map) => map.clear()?,
            }
            Ok(())
        })
    }
}

fn touch<V>(stored: Option<&mut Stamped<V>>, ttl: &StateTtlConfig, now_ms: i64) {
    if let Some(stored) = stored
        && !ttl.expired(stored.used_ms, now_ms)
    {
        stored.used_ms = now_ms;
    }
}
