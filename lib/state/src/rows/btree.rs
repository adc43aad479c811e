//! Rows in sorted maps in memory: for tests of what is above a [`RowStore`](super::RowStore).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use flumen_model::checkpoint::{KeyGroupRange, SnapshotKind};

use crate::canonical::{self, Reader, Writer};
use crate::error::StateError;
use crate::meta::StateMeta;
use crate::restore::RestoredKeyed;
use crate::snapshot::{self, PendingSnapshot, SnapshotBytes};

use super::{EachRow, RowStore, row_key, take_apart};

/// See the module. A snapshot is written at once.
#[derive(Debug)]
pub struct BTreeStore {
    groups: KeyGroupRange,
    max_parallelism: u32,
    states: RefCell<Vec<(StateMeta, Rows)>>,
}

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

impl BTreeStore {
    /// Opens a store with the rows of the groups.
    ///
    /// # Errors
    /// A piece is damaged.
    pub fn open(
        groups: KeyGroupRange,
        max_parallelism: u32,
        restore: Vec<RestoredKeyed>,
    ) -> Result<Rc<dyn RowStore>, StateError> {
        let mut states: Vec<(StateMeta, Rows)> = Vec::new();
        for mut piece in restore {
            let (reader, source) = Reader::of(&mut piece, max_parallelism)?;
            let (mut bytes, mut key) = (Vec::new(), Vec::new());
            for chunk in reader.chunks().iter().filter(|chunk| groups.contains(chunk.group)) {
                reader.read(source, chunk, &mut bytes)?;
                let meta = &reader.header().states[chunk.state as usize];
                let at = states.iter().position(|(known, _)| known == meta).unwrap_or_else(|| {
                    states.push((meta.clone(), Rows::new()));
                    states.len() - 1
                });
                for row in canonical::rows(&bytes) {
                    let row = row.map_err(|at| reader.damaged(chunk, at, "a row is torn"))?;
                    row_key(meta.kind, chunk.group, &row, &mut key);
                    states[at].1.insert(key.clone(), row.value.to_vec());
                }
            }
        }
        Ok(Rc::new(Self { groups, max_parallelism, states: RefCell::new(states) }))
    }
}

impl RowStore for BTreeStore {
    fn states(&self) -> Vec<StateMeta> {
        self.states.borrow().iter().map(|(meta, _)| meta.clone()).collect()
    }

    fn create(&self, meta: StateMeta) -> Result<usize, StateError> {
        let mut states = self.states.borrow_mut();
        states.push((meta, Rows::new()));
        Ok(states.len() - 1)
    }

    fn describe(&self, state: usize, meta: StateMeta) -> Result<(), StateError> {
        self.states.borrow_mut()[state].0 = meta;
        Ok(())
    }

    fn get(&self, state: usize, row: &[u8], value: &mut Vec<u8>) -> Result<bool, StateError> {
        value.clear();
        let states = self.states.borrow();
        let found = states[state].1.get(row);
        value.extend_from_slice(found.map(Vec::as_slice).unwrap_or_default());
        Ok(found.is_some())
    }

    fn put(&self, state: usize, row: &[u8], value: &[u8]) -> Result<(), StateError> {
        self.states.borrow_mut()[state].1.insert(row.to_vec(), value.to_vec());
        Ok(())
    }

    fn append(&self, state: usize, row: &[u8], value: &[u8]) -> Result<(), StateError> {
        self.states.borrow_mut()[state].1.entry(row.to_vec()).or_default().extend_from_slice(value);
        Ok(())
    }

    fn delete(&self, state: usize, row: &[u8]) -> Result<(), StateError> {
        self.states.borrow_mut()[state].1.remove(row);
        Ok(())
    }

    fn scan(&self, state: usize, prefix: &[u8], from: &[u8], each: &mut EachRow<'_>) -> Result<(), StateError> {
        let states = self.states.borrow();
        for (row, value) in states[state].1.range(from.to_vec()..) {
            if !row.starts_with(prefix) || each(row, value).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn snapshot(&self, _: SnapshotKind) -> Result<PendingSnapshot, StateError> {
        let states = self.states.borrow();
        let metas = states.iter().map(|(meta, _)| meta.clone()).collect();
        let mut writer = Writer::new(metas, self.groups, self.max_parallelism);
        for (at, (meta, rows)) in states.iter().enumerate() {
            for (row, value) in rows {
                let parts = take_apart(meta.kind, row).ok_or_else(|| StateError::corrupt(&meta.name, 0, "no row"))?;
                writer.row(at, parts.group, parts.key, parts.namespace, parts.user_key, value);
            }
        }
        writer.finish();
        Ok(PendingSnapshot { groups: self.groups, source: SnapshotBytes::Canonical(snapshot::whole(writer)) })
    }
}
