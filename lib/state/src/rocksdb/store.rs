//! The keyed state of one operator subtask in RocksDB.

use std::cell::RefCell;
use std::sync::Arc;

use flumen_model::checkpoint::{KeyGroupRange, SnapshotKind};
use rocksdb::WriteBatch;

use crate::error::StateError;
use crate::meta::{StateKind, StateMeta};
use crate::rows::{EachRow, RowStore};
use crate::snapshot::{PendingSnapshot, SnapshotBytes};

use super::cache::{Cached, Change, RowCache};
use super::contents::Contents;
use super::files::{self, PartNames};
use super::heads::{Head, Heads};
use super::instance::Instance;
use super::link::Linking;
use super::savepoint;
use super::shared::SharedRocksDb;

/// See the module.
pub(super) struct RocksDbStore {
    instance: Arc<Instance>,
    shared: SharedRocksDb,
    groups: KeyGroupRange,
    max_parallelism: u32,
    /// Whether checkpoints refer to files of earlier ones.
    incremental: bool,
    inner: RefCell<Inner>,
}

struct Inner {
    states: Vec<State>,
    cache: RowCache,
    names: Arc<PartNames>,
    /// How many snapshots were taken.
    snapshots: u64,
    /// Snapshots whose files are being linked: nothing is written to RocksDB meanwhile.
    linking: Linking,
}

struct State {
    meta: StateMeta,
    /// Of timers.
    heads: Option<Heads>,
}

impl RocksDbStore {
    pub(super) fn new(
        instance: Instance,
        shared: SharedRocksDb,
        cache: RowCache,
        states: Vec<StateMeta>,
        names: PartNames,
        (groups, max_parallelism, incremental): (KeyGroupRange, u32, bool),
    ) -> Self {
        let states = states.into_iter().map(|meta| State { heads: heads(&meta, groups, false), meta }).collect();
        Self {
            instance: Arc::new(instance),
            shared,
            groups,
            max_parallelism,
            incremental,
            inner: RefCell::new(Inner {
                states,
                cache,
                names: Arc::new(names),
                snapshots: 0,
                linking: Linking::default(),
            }),
        }
    }

    /// Reads a row from RocksDB, and keeps it.
    #[cold]
    fn read(&self, inner: &mut Inner, state: usize, row: &[u8], value: &mut Vec<u8>) -> Result<bool, StateError> {
        if let Some(is_there) = inner.head(state, row).and_then(|head| head.get(row)) {
            return Ok(is_there);
        }
        let found = self.instance.get(state, row)?;
        inner.cache.keep(state as u16, row, found.as_deref());
        if let Some(found) = &found {
            value.extend_from_slice(found);
        }
        Ok(found.is_some())
    }

    /// Writes all rows that have changed to RocksDB.
    #[cold]
    fn write_changes(&self, inner: &mut Inner) -> Result<(), StateError> {
        while !inner.cache.is_clean() {
            self.write_batch(inner)?;
        }
        Ok(())
    }

    /// Writes some of the rows that have changed.
    #[cold]
    fn write_batch(&self, inner: &mut Inner) -> Result<(), StateError> {
        inner.linking.wait();
        let mut batch = WriteBatch::default();
        let mut family = None;
        let mut failed = Ok(());
        inner.cache.take_batch(|state, row, change| {
            if family.as_ref().is_none_or(|(of, _)| *of != state) {
                match self.instance.family(state.into()) {
                    Ok(found) => family = Some((state, found)),
                    Err(error) => failed = Err(error),
                }
            }
            let Some((_, family)) = &family else { return };
            match change {
                Change::Put(value) => batch.put_cf(family, row, value),
                Change::Append(value) => batch.merge_cf(family, row, value),
                Change::Delete => batch.delete_cf(family, row),
            }
        });
        failed?;
        self.instance.write(batch)
    }

    #[inline]
    fn write_if_full(&self, inner: &mut Inner) -> Result<(), StateError> {
        if inner.cache.is_full() && (inner.linking.is_over() || inner.cache.is_overfull()) {
            self.write_batch(inner)?;
        }
        Ok(())
    }

    /// Scans timers of one key group: in memory, for which the next ones are read when they are used up.
    fn scan_head(
        &self,
        inner: &mut Inner,
        state: usize,
        prefix: &[u8],
        from: &[u8],
        each: &mut EachRow<'_>,
    ) -> Result<(), StateError> {
        let mut from = from.to_vec();
        loop {
            let Some(head) = inner.head(state, prefix) else { return Ok(()) };
            if !head.scan(&from, each) {
                return Ok(());
            }
            let Some(end) = head.end().map(<[u8]>::to_vec) else { return Ok(()) };
            self.write_changes(inner)?;
            let mut rows = Vec::with_capacity(Head::REFILL);
            self.instance.scan(state, prefix, &end, |row, _| {
                rows.push(row.into());
                rows.len() < Head::REFILL
            })?;
            if let Some(head) = inner.head(state, prefix) {
                head.refill(rows);
            }
            from = from.max(end);
        }
    }
}

impl Inner {
    fn head(&mut self, state: usize, row: &[u8]) -> Option<&mut Head> {
        self.states.get_mut(state)?.heads.as_mut()?.of(row)
    }
}

fn heads(meta: &StateMeta, groups: KeyGroupRange, is_empty: bool) -> Option<Heads> {
    (meta.kind == StateKind::Timers).then(|| Heads::new(groups, is_empty))
}

impl RowStore for RocksDbStore {
    fn states(&self) -> Vec<StateMeta> {
        self.inner.borrow().states.iter().map(|state| state.meta.clone()).collect()
    }

    fn create(&self, meta: StateMeta) -> Result<usize, StateError> {
        let mut inner = self.inner.borrow_mut();
        let state = inner.states.len();
        if state >= u16::MAX.into() {
            return Err(StateError::misuse(format!("an operator has {state} states at most")));
        }
        inner.linking.wait();
        self.instance.create_state(state, &meta)?;
        inner.states.push(State { heads: heads(&meta, self.groups, true), meta });
        Ok(state)
    }

    fn describe(&self, state: usize, meta: StateMeta) -> Result<(), StateError> {
        let mut inner = self.inner.borrow_mut();
        let known = inner.states.get_mut(state);
        let known = known.ok_or_else(|| StateError::misuse(format!("there is no state number {state}")))?;
        self.instance.set_ttl(state, meta.ttl);
        known.meta = meta;
        Ok(())
    }

    #[inline]
    fn get(&self, state: usize, row: &[u8], value: &mut Vec<u8>) -> Result<bool, StateError> {
        let inner = &mut *self.inner.borrow_mut();
        value.clear();
        match inner.cache.get(state as u16, row) {
            Cached::Value(kept) => {
                value.extend_from_slice(kept);
                Ok(true)
            }
            Cached::Absent => Ok(false),
            Cached::Unknown => {
                let is_there = self.read(inner, state, row, value)?;
                Ok(is_there)
            }
            Cached::Appended(kept) => {
                if let Some(found) = self.instance.get(state, row)? {
                    value.extend_from_slice(&found);
                }
                value.extend_from_slice(kept);
                Ok(true)
            }
        }
    }

    #[inline]
    fn put(&self, state: usize, row: &[u8], value: &[u8]) -> Result<(), StateError> {
        let inner = &mut *self.inner.borrow_mut();
        if inner.head(state, row).is_some_and(|head| head.put(row)) {
            inner.cache.put_new(state as u16, row, value);
        } else {
            inner.cache.put(state as u16, row, value);
        }
        self.write_if_full(inner)
    }

    fn append(&self, state: usize, row: &[u8], value: &[u8]) -> Result<(), StateError> {
        let inner = &mut *self.inner.borrow_mut();
        inner.cache.append(state as u16, row, value);
        self.write_if_full(inner)
    }

    #[inline]
    fn delete(&self, state: usize, row: &[u8]) -> Result<(), StateError> {
        let inner = &mut *self.inner.borrow_mut();
        if let Some(head) = inner.head(state, row) {
            head.delete(row);
        }
        inner.cache.delete(state as u16, row);
        self.write_if_full(inner)
    }

    fn scan(&self, state: usize, prefix: &[u8], from: &[u8], each: &mut EachRow<'_>) -> Result<(), StateError> {
        let mut inner = self.inner.borrow_mut();
        if inner.head(state, prefix).is_some() {
            return self.scan_head(&mut inner, state, prefix, from, each);
        }
        self.write_changes(&mut inner)?;
        if prefix.is_empty() {
            // Its rows are being rewritten: they will be described anew.
            self.instance.set_ttl(state, None);
        }
        // A map's user may look at other states meanwhile.
        drop(inner);
        self.instance.scan(state, prefix, from, |row, value| each(row, value).is_continue())
    }

    fn snapshot(&self, kind: SnapshotKind) -> Result<PendingSnapshot, StateError> {
        let inner = &mut *self.inner.borrow_mut();
        self.write_changes(inner)?;
        inner.snapshots += 1;
        let states = inner.states.iter().map(|state| state.meta.clone()).collect();
        let contents = Contents::new(self.max_parallelism, self.groups, states);
        let link = inner.linking.begin(&self.instance, inner.snapshots, contents);
        let source = if kind.is_savepoint() {
            SnapshotBytes::Canonical(savepoint::begin(link, self.shared.clone())?)
        } else {
            let shared = self.incremental && kind.may_share();
            SnapshotBytes::Files(Box::new(files::begin(link, Arc::clone(&inner.names), shared)?))
        };
        Ok(PendingSnapshot { groups: self.groups, source })
    }
}
