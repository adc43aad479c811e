//! Opens a store with what is in earlier snapshots.
//!
//! Files of an instance with the same key groups are taken as they are, and go on being shared between checkpoints. With other
//! key groups, so are those of the instance that has the most of them; what else is in it is removed. The own
//! rows of other instances are copied into sorted files (`rescale`), those in the canonical format one by one.

use std::rc::Rc;
use std::sync::Arc;

use flumen_model::checkpoint::{KeyGroupRange, KeyedFormat, StateHandle};
use rocksdb::WriteBatch;

use crate::canonical::{self, Reader};
use crate::error::{StateError, StateErrorKind};
use crate::meta::{StateKind, StateMeta};
use crate::options::BackendOptions;
use crate::restore::{PartCopy, RestoredKeyed};
use crate::rows::{RowStore, row_key};

use super::cache::RowCache;
use super::contents::{self, Contents};
use super::files::{self, PartNames};
use super::instance::{Directory, Instance, db_path, io_error, unique_name};
use super::rescale;
use super::store::RocksDbStore;

/// Rows of the canonical format are written so many bytes at a time.
const BATCH_BYTES: usize = 1 << 20;

/// Opens the state of the key groups of a subtask: empty, or with what the pieces of former subtasks hold of these groups.
///
/// # Errors
/// A piece can't be read, or is damaged; the local directory can't be written; RocksDB failed.
pub fn open(
    options: &BackendOptions,
    groups: KeyGroupRange,
    max_parallelism: u32,
    restore: Vec<RestoredKeyed>,
) -> Result<Rc<dyn RowStore>, StateError> {
    let shared = options.rocksdb.clone().unwrap_or_default();
    let unique = unique_name();
    let directory = Arc::new(Directory::of(options, &unique)?);
    let mut names = PartNames::new(unique);
    let mut pieces: Vec<_> = restore.into_iter().filter(|piece| piece.state.groups.overlaps(groups)).collect();
    // Its files are the most that need not be written again.
    let most = pieces.iter().enumerate().filter(|(_, piece)| piece.state.format == KeyedFormat::RocksDb);
    let most = most.max_by_key(|(_, piece)| overlap(piece.state.groups, groups)).map(|(at, _)| at);
    let base = match most.map(|at| pieces.swap_remove(at)) {
        Some(mut piece) => {
            let contents = fetch(&mut piece, &directory, max_parallelism, |part| names.inherit(part))?;
            Some((contents.states, piece.state.groups))
        }
        None => None,
    };
    let (states, had) = base.unwrap_or((Vec::new(), groups));
    let mut target = Target {
        instance: Instance::open(Arc::clone(&directory), shared.clone(), options.clock, &states)?,
        states,
        groups,
        max_parallelism,
    };
    target.clip(had)?;
    let (instances, canonical): (Vec<_>, Vec<_>) =
        pieces.into_iter().partition(|piece| piece.state.format == KeyedFormat::RocksDb);
    for mut piece in canonical {
        target.take_canonical(&mut piece)?;
    }
    for (meta, rows) in rescale::own_rows(instances, &directory, &shared, groups, max_parallelism)? {
        let state = target.state(&meta)?;
        if let Some(rows) = rows {
            target.instance.ingest(state, vec![rows])?;
        }
    }
    let Target { instance, states, .. } = target;
    let cache = RowCache::new(shared.rows());
    Ok(Rc::new(RocksDbStore::new(
        instance,
        shared,
        cache,
        states,
        names,
        (groups, max_parallelism, options.incremental),
    )))
}

/// How many key groups two ranges have in common.
fn overlap(one: KeyGroupRange, other: KeyGroupRange) -> u32 {
    one.end.min(other.end).saturating_sub(one.start.max(other.start))
}

/// Copies the parts of a piece into a directory, as the files of an instance.
pub(super) fn fetch(
    piece: &mut RestoredKeyed,
    directory: &Arc<Directory>,
    max_parallelism: u32,
    mut file_of: impl FnMut(&str) -> String,
) -> Result<Contents, StateError> {
    let db = db_path(directory);
    std::fs::create_dir_all(&db).map_err(io_error(format!("creating {}", db.display())))?;
    let copy = |(part, handle): (&String, &StateHandle)| {
        let path = db.join(file_of(part));
        let (part, length, directory) = (part.clone(), handle.length, Arc::clone(directory));
        PartCopy { immutable: part.ends_with(files::ROWS), part, length, path, directory }
    };
    let parts: Vec<_> = piece.state.parts.iter().map(copy).collect();
    piece.reader.copy(&parts)?;
    let path = db.join(contents::PART);
    let text =
        std::fs::read(&path).map_err(|source| StateErrorKind::Read { part: contents::PART.to_owned(), source })?;
    std::fs::remove_file(&path).map_err(io_error(format!("removing {}", path.display())))?;
    Contents::read(&text, max_parallelism)
}

/// An instance that rows are taken into.
struct Target {
    instance: Instance,
    states: Vec<StateMeta>,
    groups: KeyGroupRange,
    max_parallelism: u32,
}

impl Target {
    /// The number of a state here.
    fn state(&mut self, meta: &StateMeta) -> Result<usize, StateError> {
        if let Some(state) = self.states.iter().position(|known| known.name == meta.name) {
            if self.states[state] != *meta {
                let what = "it has different types in different parts of the snapshot";
                return Err(StateError::corrupt(&meta.name, 0, what));
            }
            return Ok(state);
        }
        self.instance.create_state(self.states.len(), meta)?;
        self.states.push(meta.clone());
        Ok(self.states.len() - 1)
    }

    fn take_canonical(&mut self, piece: &mut RestoredKeyed) -> Result<(), StateError> {
        let (reader, source) = Reader::of(piece, self.max_parallelism)?;
        // A state that has no rows may have the name of another one, which took them.
        let mut states = vec![None; reader.header().states.len()];
        let (mut bytes, mut key) = (Vec::new(), Vec::new());
        let mut batch = WriteBatch::default();
        let groups = self.groups;
        for chunk in reader.chunks().iter().filter(|chunk| groups.contains(chunk.group)) {
            reader.read(source, chunk, &mut bytes)?;
            let number = chunk.state as usize;
            let state = match states[number] {
                Some(state) => state,
                None => *states[number].insert(self.state(&reader.header().states[number])?),
            };
            let kind = self.states[state].kind;
            let family = self.instance.family(state)?;
            for row in canonical::rows(&bytes) {
                let row = row.map_err(|at| reader.damaged(chunk, at, "a row is torn"))?;
                row_key(kind, chunk.group, &row, &mut key);
                match kind {
                    StateKind::List => batch.merge_cf(&family, &key, row.value),
                    _ => batch.put_cf(&family, &key, row.value),
                }
                if batch.size_in_bytes() >= BATCH_BYTES {
                    self.instance.write(std::mem::take(&mut batch))?;
                }
            }
        }
        self.instance.write(batch)
    }

    /// Removes the rows of other key groups, of those that the instance had.
    fn clip(&self, had: KeyGroupRange) -> Result<(), StateError> {
        let KeyGroupRange { start, end } = self.groups;
        for (from, to) in [(had.start, start.min(had.end)), (end.max(had.start), had.end)] {
            if from < to {
                (0..self.states.len()).try_for_each(|state| self.instance.remove(state, &bound(from), &bound(to)))?;
            }
        }
        Ok(())
    }
}

/// The first row of a key group.
pub(super) fn bound(group: u32) -> [u8; 2] {
    (group as u16).to_be_bytes()
}
