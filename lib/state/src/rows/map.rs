//! A map of the current key: a row for each of its entries.

use std::marker::PhantomData;
use std::ops::ControlFlow;
use std::rc::Rc;

use crate::codec;
use crate::error::StateError;
use crate::memory::Stamped;
use crate::traits::{Key, StateValue};
use crate::ttl::StateTtlConfig;

use super::RowContext;
use super::current::{not_read, not_serialisable};

/// A handle of maps as rows.
pub(crate) struct RowMap<K, UK, UV>(Rc<Inner<K, UK, UV>>);

struct Inner<K, UK, UV> {
    rows: Rc<RowContext<K>>,
    name: String,
    state: usize,
    ttl: Option<StateTtlConfig>,
    types: PhantomData<(UK, UV)>,
}

impl<K, UK, UV> Clone for RowMap<K, UK, UV> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<K: Key, UK: Key, UV: StateValue> RowMap<K, UK, UV> {
    pub(crate) fn new(rows: Rc<RowContext<K>>, name: String, state: usize, ttl: Option<StateTtlConfig>) -> Self {
        Self(Rc::new(Inner { rows, name, state, ttl, types: PhantomData }))
    }

    pub(crate) fn with<R>(&self, user_key: &UK, f: impl FnOnce(Option<&UV>) -> R) -> Result<R, StateError> {
        let Inner { rows, state, ttl, .. } = &*self.0;
        let value = self.at(user_key, |row| {
            let found = rows.with_buffer(|bytes| {
                if !rows.store.get(*state, row, bytes)? {
                    return Ok(None);
                }
                self.decode(bytes).map(Some)
            })?;
            let (Some(stored), Some(ttl)) = (&found, ttl) else { return Ok(found) };
            let now = rows.context.now();
            if ttl.expired(stored.used_ms, now) {
                rows.store.delete(*state, row)?;
            } else if ttl.reading_is_use() && stored.used_ms != now {
                self.put_row(row, &stored.value)?;
            }
            Ok(found.filter(|stored| ttl.visible(stored.used_ms, now)))
        })?;
        Ok(f(value.as_ref().map(|stored| &stored.value)))
    }

    pub(crate) fn put(&self, user_key: &UK, value: &UV) -> Result<(), StateError> {
        self.at(user_key, |row| self.put_row(row, value))
    }

    pub(crate) fn remove(&self, user_key: &UK) -> Result<(), StateError> {
        self.at(user_key, |row| self.0.rows.store.delete(self.0.state, row))
    }

    pub(crate) fn for_each(&self, mut f: impl FnMut(&UK, &UV)) -> Result<(), StateError> {
        let Inner { rows, state, ttl, .. } = &*self.0;
        let now = ttl.map(|_| rows.context.now()).unwrap_or_default();
        // Rows that expired or were used by this: the store isn't changed while it is scanned.
        let (mut expired, mut used) = (Vec::new(), Vec::new());
        self.scan(|row, user_key, stored| {
            let Some(ttl) = ttl else {
                f(&user_key, &stored.value);
                return ControlFlow::Continue(());
            };
            if ttl.visible(stored.used_ms, now) {
                f(&user_key, &stored.value);
            }
            if ttl.expired(stored.used_ms, now) {
                expired.push(row.to_vec());
            } else if ttl.reading_is_use() && stored.used_ms != now {
                used.push((row.to_vec(), stored.value));
            }
            ControlFlow::Continue(())
        })?;
        expired.iter().try_for_each(|row| rows.store.delete(*state, row))?;
        used.iter().try_for_each(|(row, value)| self.put_row(row, value))
    }

    pub(crate) fn is_empty(&self) -> Result<bool, StateError> {
        let Inner { rows, ttl, .. } = &*self.0;
        let now = ttl.map(|_| rows.context.now()).unwrap_or_default();
        let mut empty = true;
        self.scan(|_, _, stored| {
            if ttl.is_none_or(|ttl| ttl.visible(stored.used_ms, now)) {
                empty = false;
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        Ok(empty)
    }

    pub(crate) fn clear(&self) -> Result<(), StateError> {
        let Inner { rows, name, state, .. } = &*self.0;
        let prefix = rows.current_row(name)?;
        let mut all = Vec::new();
        rows.store.scan(*state, &prefix, &prefix, &mut |row, _| {
            all.push(row.to_vec());
            ControlFlow::Continue(())
        })?;
        all.iter().try_for_each(|row| rows.store.delete(*state, row))
    }

    /// Calls with each entry of the current key.
    fn scan(&self, mut each: impl FnMut(&[u8], UK, Stamped<UV>) -> ControlFlow<()>) -> Result<(), StateError> {
        let Inner { rows, name, state, .. } = &*self.0;
        let prefix = rows.current_row(name)?;
        let mut failed = Ok(());
        rows.store.scan(*state, &prefix, &prefix, &mut |row, value| {
            let user_key = row.get(prefix.len()..).unwrap_or_default();
            let read = codec::decode(user_key).map_err(not_read::<UK>(name));
            match read.and_then(|user_key| Ok((user_key, self.decode(value)?))) {
                Ok((user_key, stored)) => each(row, user_key, stored),
                Err(error) => {
                    failed = Err(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        failed
    }

    fn at<R>(&self, user_key: &UK, f: impl FnOnce(&[u8]) -> Result<R, StateError>) -> Result<R, StateError> {
        let Inner { rows, name, .. } = &*self.0;
        rows.with_buffer(|row| {
            row.extend_from_slice(&rows.current_row(name)?);
            codec::encode(user_key, row).map_err(not_serialisable::<UK>(name))?;
            f(row)
        })
    }

    /// A value, with the time of its last use if there is one.
    fn decode(&self, bytes: &[u8]) -> Result<Stamped<UV>, StateError> {
        let Inner { name, ttl, .. } = &*self.0;
        let decoded = match ttl {
            Some(_) => Stamped::decode(bytes),
            None => codec::decode(bytes).map(|value| Stamped { used_ms: 0, value }),
        };
        decoded.map_err(not_read::<UV>(name))
    }

    fn put_row(&self, row: &[u8], value: &UV) -> Result<(), StateError> {
        let Inner { rows, name, state, ttl, .. } = &*self.0;
        rows.with_buffer(|bytes| {
            if ttl.is_some() {
                bytes.extend_from_slice(&rows.context.now().to_le_bytes());
            }
            codec::encode(value, bytes).map_err(not_serialisable::<UV>(name))?;
            rows.store.put(*state, row, bytes)
        })
    }
}
