//! A list of the current key, as a row to which items are appended.

use std::marker::PhantomData;
use std::rc::Rc;

use crate::codec;
use crate::error::StateError;
use crate::memory::{Stamped, each_item};
use crate::traits::{Key, StateValue};
use crate::ttl::StateTtlConfig;

use super::RowContext;
use super::current::{not_read, not_serialisable};

/// A handle of lists as rows.
pub(crate) struct RowList<K, V>(Rc<Inner<K, V>>);

struct Inner<K, V> {
    rows: Rc<RowContext<K>>,
    name: String,
    state: usize,
    ttl: Option<StateTtlConfig>,
    types: PhantomData<V>,
}

impl<K, V> Clone for RowList<K, V> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<K: Key, V: StateValue> RowList<K, V> {
    pub(crate) fn new(rows: Rc<RowContext<K>>, name: String, state: usize, ttl: Option<StateTtlConfig>) -> Self {
        Self(Rc::new(Inner { rows, name, state, ttl, types: PhantomData }))
    }

    pub(crate) fn add(&self, item: &V) -> Result<(), StateError> {
        let Inner { rows, name, state, ttl, .. } = &*self.0;
        let row = rows.current_row(name)?;
        rows.with_buffer(|one| {
            if ttl.is_some() {
                one.extend_from_slice(&rows.context.now().to_le_bytes());
            }
            codec::encode(item, one).map_err(not_serialisable::<V>(name))?;
            rows.with_buffer(|bytes| {
                codec::put_bytes(one, bytes);
                rows.store.append(*state, &row, bytes)
            })
        })
    }

    pub(crate) fn for_each(&self, mut f: impl FnMut(&V)) -> Result<(), StateError> {
        let Inner { rows, name, state, ttl, .. } = &*self.0;
        let row = rows.current_row(name)?;
        rows.with_buffer(|bytes| {
            if !rows.store.get(*state, &row, bytes)? {
                return Ok(());
            }
            let Some(ttl) = ttl else {
                let items = each_item(bytes, |item| {
                    f(&codec::decode(item)?);
                    Ok(())
                });
                return items.map_err(not_read::<V>(name));
            };
            let now = rows.context.now();
            // What is left, when items have expired or were used by this.
            let (mut left, mut changed) = (Vec::new(), false);
            let mut one = Vec::new();
            let items = each_item(bytes, |item| {
                let mut stored = Stamped::<V>::decode(item)?;
                if ttl.visible(stored.used_ms, now) {
                    f(&stored.value);
                }
                if ttl.expired(stored.used_ms, now) {
                    changed = true;
                    return Ok(());
                }
                if ttl.reading_is_use() && stored.used_ms != now {
                    stored.used_ms = now;
                    changed = true;
                }
                one.clear();
                stored.encode(&mut one)?;
                codec::put_bytes(&one, &mut left);
                Ok(())
            });
            items.map_err(not_read::<V>(name))?;
            match (changed, left.is_empty()) {
                (false, _) => Ok(()),
                (true, true) => rows.store.delete(*state, &row),
                (true, false) => rows.store.put(*state, &row, &left),
            }
        })
    }

    pub(crate) fn clear(&self) -> Result<(), StateError> {
        let Inner { rows, name, state, .. } = &*self.0;
        rows.store.delete(*state, &rows.current_row(name)?)
    }
}
