//! Timers as rows, sorted by time within each key group.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::marker::PhantomData;
use std::ops::ControlFlow;
use std::rc::Rc;

use crate::codec;
use crate::error::StateError;
use crate::meta::StateKind;
use crate::timers::{time_bytes, time_of};
use crate::traits::{Key, Namespace};

use super::RowContext;
use super::current::{not_read, not_serialisable};
use super::key::{GROUP_BYTES, take_apart};

/// A handle of timers as rows.
pub(crate) struct RowTimers<K, N>(Rc<Inner<K, N>>);

struct Inner<K, N> {
    rows: Rc<RowContext<K>>,
    name: String,
    state: usize,
    heads: RefCell<Heads>,
    types: PhantomData<N>,
}

/// The first time of each key group, so that the first of all is found without reading.
struct Heads {
    first_group: u32,
    of_group: Vec<Option<i64>>,
    sorted: BTreeSet<(i64, u32)>,
}

impl Heads {
    fn get(&self, group: u32) -> Option<i64> {
        self.of_group.get(group.checked_sub(self.first_group)? as usize).copied().flatten()
    }

    fn set(&mut self, group: u32, time: Option<i64>) {
        let at = group.checked_sub(self.first_group);
        let Some(head) = at.and_then(|at| self.of_group.get_mut(at as usize)) else { return };
        if let Some(old) = *head {
            self.sorted.remove(&(old, group));
        }
        *head = time;
        if let Some(time) = time {
            self.sorted.insert((time, group));
        }
    }
}

impl<K, N> Clone for RowTimers<K, N> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<K: Key, N: Namespace + Ord> RowTimers<K, N> {
    pub(crate) fn new(rows: Rc<RowContext<K>>, name: String, state: usize) -> Result<Self, StateError> {
        let groups = rows.context.groups;
        let of_group = vec![None; groups.groups().len()];
        let heads = RefCell::new(Heads { first_group: groups.start, of_group, sorted: BTreeSet::new() });
        let timers = Self(Rc::new(Inner { rows, name, state, heads, types: PhantomData }));
        for group in groups.groups() {
            timers.find_head(group, &(group as u16).to_be_bytes())?;
        }
        Ok(timers)
    }

    pub(crate) fn register(&self, time: i64, key: &K, namespace: &N) -> Result<bool, StateError> {
        let Inner { rows, state, heads, .. } = &*self.0;
        self.at(time, key, namespace, |row, group| {
            let head = heads.borrow().get(group);
            let is_first = head.is_none_or(|head| time < head);
            // What comes before all others can't be there yet.
            if !is_first && rows.with_buffer(|value| rows.store.get(*state, row, value))? {
                return Ok(false);
            }
            rows.store.put(*state, row, &[])?;
            if is_first {
                heads.borrow_mut().set(group, Some(time));
            }
            Ok(true)
        })
    }

    pub(crate) fn delete(&self, time: i64, key: &K, namespace: &N) -> Result<bool, StateError> {
        let Inner { rows, state, heads, .. } = &*self.0;
        self.at(time, key, namespace, |row, group| {
            if !rows.with_buffer(|value| rows.store.get(*state, row, value))? {
                return Ok(false);
            }
            rows.store.delete(*state, row)?;
            if heads.borrow().get(group) == Some(time) {
                self.find_head(group, &row[..GROUP_BYTES + 8])?;
            }
            Ok(true)
        })
    }

    pub(crate) fn peek(&self) -> Result<Option<i64>, StateError> {
        Ok(self.0.heads.borrow().sorted.first().map(|(time, _)| *time))
    }

    pub(crate) fn pop_due(&self, upto: i64) -> Result<Option<(i64, K, N)>, StateError> {
        let Inner { rows, name, state, heads, .. } = &*self.0;
        let first = heads.borrow().sorted.first().copied();
        let Some((time, group)) = first.filter(|(time, _)| *time <= upto) else { return Ok(None) };
        rows.with_buffer(|row| {
            let prefix = (group as u16).to_be_bytes();
            let mut from = prefix.to_vec();
            from.extend_from_slice(&time_bytes(time));
            let mut next = None;
            rows.store.scan(*state, &prefix, &from, &mut |found, _| {
                if row.is_empty() {
                    row.extend_from_slice(found);
                    return ControlFlow::Continue(());
                }
                next = time_of_row(found);
                ControlFlow::Break(())
            })?;
            let Some(parts) = take_apart(StateKind::Timers, row) else {
                return Err(StateError::corrupt(name, 0, "a timer that was there is gone"));
            };
            let key = codec::decode(parts.key).map_err(not_read::<K>(name))?;
            let namespace = codec::decode(parts.namespace).map_err(not_read::<N>(name))?;
            rows.store.delete(*state, row)?;
            heads.borrow_mut().set(group, next);
            Ok(Some((time, key, namespace)))
        })
    }

    /// Finds the first timer of a group again, which is not before `from`.
    fn find_head(&self, group: u32, from: &[u8]) -> Result<(), StateError> {
        let Inner { rows, state, heads, .. } = &*self.0;
        let mut first = None;
        rows.store.scan(*state, &from[..GROUP_BYTES], from, &mut |row, _| {
            first = time_of_row(row);
            ControlFlow::Break(())
        })?;
        heads.borrow_mut().set(group, first);
        Ok(())
    }

    fn at<R>(
        &self,
        time: i64,
        key: &K,
        namespace: &N,
        f: impl FnOnce(&[u8], u32) -> Result<R, StateError>,
    ) -> Result<R, StateError> {
        let Inner { rows, name, .. } = &*self.0;
        rows.with_buffer(|row| {
            rows.with_buffer(|bytes| {
                let group = rows.context.encode_key(key, bytes).map_err(not_serialisable::<K>(name))?;
                row.extend_from_slice(&(group as u16).to_be_bytes());
                row.extend_from_slice(&time_bytes(time));
                codec::put_bytes(bytes, row);
                codec::encode(namespace, row).map_err(not_serialisable::<N>(name))?;
                f(row, group)
            })
        })
    }
}

fn time_of_row(row: &[u8]) -> Option<i64> {
    time_of(take_apart(StateKind::Timers, row)?.user_key).ok()
}
