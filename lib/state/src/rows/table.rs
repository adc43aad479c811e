//! One value for a key and namespace, as a row.

use std::marker::PhantomData;
use std::rc::Rc;

use crate::codec;
use crate::error::StateError;
use crate::memory::Stamped;
use crate::traits::{Key, Namespace, StateValue};
use crate::ttl::StateTtlConfig;

use super::RowContext;
use super::current::{not_read, not_serialisable};

/// A handle of a table of rows.
pub(crate) struct RowTable<K, N, V>(Rc<Inner<K, N, V>>);

struct Inner<K, N, V> {
    rows: Rc<RowContext<K>>,
    name: String,
    state: usize,
    ttl: Option<StateTtlConfig>,
    types: PhantomData<(N, V)>,
}

impl<K, N, V> Clone for RowTable<K, N, V> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<K: Key, N: Namespace, V: StateValue> RowTable<K, N, V> {
    pub(crate) fn new(rows: Rc<RowContext<K>>, name: String, state: usize, ttl: Option<StateTtlConfig>) -> Self {
        Self(Rc::new(Inner { rows, name, state, ttl, types: PhantomData }))
    }

    pub(crate) fn with<R>(&self, key: &K, namespace: &N, f: impl FnOnce(Option<&V>) -> R) -> Result<R, StateError> {
        self.at(key, namespace, |row| self.with_row(row, f))
    }

    pub(crate) fn update<R>(
        &self,
        key: &K,
        namespace: &N,
        f: impl FnOnce(&mut Option<V>) -> R,
    ) -> Result<R, StateError> {
        self.at(key, namespace, |row| self.update_row(row, f))
    }

    pub(crate) fn put(&self, key: &K, namespace: &N, value: &V) -> Result<(), StateError> {
        self.at(key, namespace, |row| self.put_row(row, value))
    }

    pub(crate) fn remove(&self, key: &K, namespace: &N) -> Result<(), StateError> {
        self.at(key, namespace, |row| self.0.rows.store.delete(self.0.state, row))
    }

    fn at<R>(&self, key: &K, namespace: &N, f: impl FnOnce(&[u8]) -> Result<R, StateError>) -> Result<R, StateError> {
        let Inner { rows, name, .. } = &*self.0;
        rows.with_buffer(|row| {
            rows.row(name, key, namespace, row)?;
            f(row)
        })
    }

    fn read(&self, row: &[u8]) -> Result<Option<V>, StateError> {
        let Inner { rows, name, state, ttl, .. } = &*self.0;
        rows.with_buffer(|bytes| {
            if !rows.store.get(*state, row, bytes)? {
                return Ok(None);
            }
            let Some(ttl) = ttl else {
                return codec::decode(bytes).map(Some).map_err(not_read::<V>(name));
            };
            let stored = Stamped::<V>::decode(bytes).map_err(not_read::<V>(name))?;
            let now = rows.context.now();
            if ttl.expired(stored.used_ms, now) {
                rows.store.delete(*state, row)?;
            }
            Ok(ttl.visible(stored.used_ms, now).then_some(stored.value))
        })
    }

    fn with_row<R>(&self, row: &[u8], f: impl FnOnce(Option<&V>) -> R) -> Result<R, StateError> {
        let value = self.read(row)?;
        if let (Some(value), Some(ttl)) = (&value, &self.0.ttl)
            && ttl.reading_is_use()
        {
            self.put_row(row, value)?;
        }
        Ok(f(value.as_ref()))
    }

    fn update_row<R>(&self, row: &[u8], f: impl FnOnce(&mut Option<V>) -> R) -> Result<R, StateError> {
        let mut value = self.read(row)?;
        let was = value.is_some();
        let result = f(&mut value);
        match value {
            Some(value) => self.put_row(row, &value)?,
            None if was => self.0.rows.store.delete(self.0.state, row)?,
            None => {}
        }
        Ok(result)
    }

    fn put_row(&self, row: &[u8], value: &V) -> Result<(), StateError> {
        let Inner { rows, name, state, ttl, .. } = &*self.0;
        rows.with_buffer(|bytes| {
            if ttl.is_some() {
                bytes.extend_from_slice(&rows.context.now().to_le_bytes());
            }
            codec::encode(value, bytes).map_err(not_serialisable::<V>(name))?;
            rows.store.put(*state, row, bytes)
        })
    }
}

/// Of the current key.
impl<K: Key, V: StateValue> RowTable<K, (), V> {
    pub(crate) fn with_current<R>(&self, f: impl FnOnce(Option<&V>) -> R) -> Result<R, StateError> {
        self.with_row(&self.0.rows.current_row(&self.0.name)?, f)
    }

    pub(crate) fn update_current<R>(&self, f: impl FnOnce(&mut Option<V>) -> R) -> Result<R, StateError> {
        self.update_row(&self.0.rows.current_row(&self.0.name)?, f)
    }

    pub(crate) fn put_current(&self, value: &V) -> Result<(), StateError> {
        self.put_row(&self.0.rows.current_row(&self.0.name)?, value)
    }

    pub(crate) fn remove_current(&self) -> Result<(), StateError> {
        self.0.rows.store.delete(self.0.state, &self.0.rows.current_row(&self.0.name)?)
    }
}
