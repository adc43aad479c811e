//! One value per key.

use std::rc::Rc;

use crate::context::Context;
use crate::error::StateError;
use crate::memory::{MemoryTable, Plain, Stamped, StampedValue};
use crate::rows::RowTable;
use crate::traits::{Key, StateValue};
use crate::ttl::StateTtlConfig;

/// One value of the current key. A cheap clone of a handle.
///
/// Using it inside of a function that was given to itself panics.
pub struct ValueState<K, V: StateValue> {
    pub(crate) context: Rc<Context<K>>,
    pub(crate) inner: ValueInner<K, V>,
}

pub(crate) enum ValueInner<K, V: StateValue> {
    Memory(MemoryTable<K, (), Plain<V>>),
    Expiring(MemoryTable<K, (), StampedValue<V>>, StateTtlConfig),
    Rows(RowTable<K, (), V>),
}

impl<K, V: StateValue> Clone for ValueState<K, V> {
    fn clone(&self) -> Self {
        let inner = match &self.inner {
            ValueInner::Memory(table) => ValueInner::Memory(table.clone()),
            ValueInner::Expiring(table, ttl) => ValueInner::Expiring(table.clone(), *ttl),
            ValueInner::Rows(table) => ValueInner::Rows(table.clone()),
        };
        Self { context: Rc::clone(&self.context), inner }
    }
}

impl<K: Key, V: StateValue> ValueState<K, V> {
    /// The value.
    ///
    /// # Errors
    /// The store failed, as in all of these.
    #[inline]
    pub fn get(&self) -> Result<Option<V>, StateError> {
        self.with(|value| value.cloned())
    }

    /// Looks at the value.
    ///
    /// # Errors
    /// See [`Self::get`].
    #[inline]
    pub fn with<R>(&self, f: impl FnOnce(Option<&V>) -> R) -> Result<R, StateError> {
        let context = &*self.context;
        context.with_current(|key| match &self.inner {
            ValueInner::Memory(table) => Ok(table.with(context.current_hash(), key, &(), f)),
            ValueInner::Expiring(table, ttl) => {
                let (hash, now) = (context.current_hash(), context.now());
                let seen = |stored: &&Stamped<V>| ttl.visible(stored.used_ms, now);
                if ttl.reading_is_use() {
                    let mut f = Some(f);
                    let read = table.change(hash, key, &(), |stored| {
                        let visible = Some(&*stored).filter(seen).is_some();
                        if visible && !ttl.expired(stored.used_ms, now) {
                            stored.used_ms = now;
                        }
                        f.take().map(|f| f(visible.then_some(&stored.value)))
                    });
                    return Ok(match (read.flatten(), f) {
                        (Some(read), _) => read,
                        (None, Some(f)) => f(None),
                        (None, None) => unreachable!("the function is used once"),
                    });
                }
                Ok(table.with(hash, key, &(), |stored| f(stored.filter(seen).map(|stored| &stored.value))))
            }
            ValueInner::Rows(table) => table.with_current(f),
        })
    }

    /// Changes the value, which may be nothing before and after.
    ///
    /// # Errors
    /// See [`Self::get`].
    #[inline]
    pub fn update<R>(&self, f: impl FnOnce(&mut Option<V>) -> R) -> Result<R, StateError> {
        let context = &*self.context;
        context.with_current(|key| match &self.inner {
            ValueInner::Memory(table) => Ok(table.update(context.current_hash(), key, &(), f)),
            ValueInner::Expiring(table, ttl) => {
                let now = context.now();
                Ok(table.update(context.current_hash(), key, &(), |stored| {
                    let mut value = stored.take().filter(|s| ttl.visible(s.used_ms, now)).map(|s| s.value);
                    let result = f(&mut value);
                    *stored = value.map(|value| Stamped { used_ms: now, value });
                    result
                }))
            }
            ValueInner::Rows(table) => table.update_current(f),
        })
    }

    /// Changes the value, beginning with `initial`. In memory the fastest way to change one.
    ///
    /// # Errors
    /// See [`Self::get`].
    #[inline]
    pub fn upsert<R>(&self, initial: impl FnOnce() -> V, f: impl FnOnce(&mut V) -> R) -> Result<R, StateError> {
        if let ValueInner::Memory(table) = &self.inner {
            let context = &*self.context;
            return context.with_current(|key| Ok(table.upsert(context.current_hash(), key, &(), initial, f)));
        }
        self.update(|value| f(value.get_or_insert_with(initial)))
    }

    /// Replaces the value.
    ///
    /// # Errors
    /// See [`Self::get`].
    #[inline]
    pub fn set(&self, value: V) -> Result<(), StateError> {
        match &self.inner {
            ValueInner::Rows(table) => self.context.with_current(|_| table.put_current(&value)),
            ValueInner::Memory(table) => {
                let context = &*self.context;
                context.with_current(|key| {
                    table.put(context.current_hash(), key, &(), value);
                    Ok(())
                })
            }
            ValueInner::Expiring(..) => self.update(|stored| *stored = Some(value)),
        }
    }

    /// Forgets the value.
    ///
    /// # Errors
    /// See [`Self::get`].
    #[inline]
    pub fn clear(&self) -> Result<(), StateError> {
        let context = &*self.context;
        context.with_current(|key| {
            match &self.inner {
                ValueInner::Memory(table) => drop(table.remove(context.current_hash(), key, &())),
                ValueInner::Expiring(table, _) => drop(table.remove(context.current_hash(), key, &())),
                ValueInner::Rows(table) => table.remove_current()?,
            }
            Ok(())
        })
    }
}
