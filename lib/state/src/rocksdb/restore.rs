//! Opens a store with what is in earlier snapshots.
//!
//! Files of an instance with the same key groups are taken as they are, and go on being shared between checkpoints. Otherwise
//! the rows of the own key groups are copied: out of the instances into new sorted files, out of the canonical format one by one.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use flumen_model::checkpoint::{KeyGroupRange, KeyedFormat, StateHandle};
use rocksdb::{SstFileWriter, WriteBatch};

use crate::canonical::{self, Reader};
use crate::error::{StateError, StateErrorKind};
use crate::meta::{StateKind, StateMeta};
use crate::options::BackendOptions;
use crate::restore::{PartCopy, RestoredKeyed};
use crate::rows::{RowStore, row_key};

use super::cache::RowCache;
use super::contents::{self, Contents};
use super::files::PartNames;
use super::instance::{Directory, Instance, backend, db_path, io_error, unique_name};
use super::shared::SharedRocksDb;
use super::store::RocksDbStore;
use super::tuning;

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
    let (instance, states) = match &mut pieces[..] {
        [piece] if piece.state.format == KeyedFormat::RocksDb && piece.state.groups == groups => {
            let contents = fetch(piece, &directory, max_parallelism, |part| names.inherit(part))?;
            (Instance::open(directory, shared.clone(), options.clock, &contents.states)?, contents.states)
        }
        pieces => {
            let mut target = Target {
                instance: Instance::open(directory, shared.clone(), options.clock, &[])?,
                states: Vec::new(),
                shared: shared.clone(),
                groups,
                max_parallelism,
                files: 0,
            };
            for piece in pieces {
                match piece.state.format {
                    KeyedFormat::Canonical => target.take_canonical(piece)?,
                    KeyedFormat::RocksDb => target.take_instance(piece)?,
                }
            }
            (target.instance, target.states)
        }
    };
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

/// Copies the parts of a piece into a directory, as the files of an instance.
fn fetch(
    piece: &mut RestoredKeyed,
    directory: &Directory,
    max_parallelism: u32,
    mut file_of: impl FnMut(&str) -> String,
) -> Result<Contents, StateError> {
    let db = db_path(directory);
    std::fs::create_dir_all(&db).map_err(io_error(format!("creating {}", db.display())))?;
    let copy = |(part, handle): (&String, &StateHandle)| {
        let path = db.join(file_of(part));
        PartCopy { part: part.clone(), length: handle.length, path }
    };
    let parts: Vec<_> = piece.state.parts.iter().map(copy).collect();
    piece.reader.copy(&parts)?;
    let path = db.join(contents::PART);
    let text =
        std::fs::read(&path).map_err(|source| StateErrorKind::Read { part: contents::PART.to_owned(), source })?;
    std::fs::remove_file(&path).map_err(io_error(format!("removing {}", path.display())))?;
    Contents::read(&text, max_parallelism)
}

/// An instance that rows are copied into.
struct Target {
    instance: Instance,
    states: Vec<StateMeta>,
    shared: SharedRocksDb,
    groups: KeyGroupRange,
    max_parallelism: u32,
    /// How many files of sorted rows were written.
    files: usize,
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

    fn take_instance(&mut self, piece: &mut RestoredKeyed) -> Result<(), StateError> {
        let parent = Arc::clone(self.instance.directory());
        let directory = Directory::create(parent.path().join("restored"))?;
        let mut names = PartNames::new(String::new());
        let contents = fetch(piece, &directory, self.max_parallelism, |part| names.inherit(part))?;
        let old = Instance::open_for_reading(directory, self.shared.clone(), &contents.states)?;
        for (state, meta) in contents.states.iter().enumerate() {
            let own = self.state(meta)?;
            self.files += 1;
            let path = parent.path().join(format!("restored-{}.sst", self.files));
            if self.copy(&old, state, meta.kind, &path)? {
                self.instance.ingest(own, vec![path])?;
            }
        }
        Ok(())
    }

    /// Copies the rows of the own key groups into a file; false when there are none.
    fn copy(&self, old: &Instance, state: usize, kind: StateKind, path: &PathBuf) -> Result<bool, StateError> {
        let options = tuning::family(&self.shared, kind, None);
        let mut writer = SstFileWriter::create(&options);
        let mut any = false;
        let mut failed = Ok(());
        old.scan(state, &[], &(self.groups.start as u16).to_be_bytes(), |row, value| {
            let group = row.first_chunk().map_or(0, |group| u16::from_be_bytes(*group));
            if u32::from(group) >= self.groups.end {
                return false;
            }
            if !std::mem::replace(&mut any, true) {
                failed = writer.open(path);
            }
            if failed.is_ok() {
                failed = writer.put(row, value);
            }
            failed.is_ok()
        })?;
        if any && failed.is_ok() {
            failed = writer.finish();
        }
        failed.map_err(backend(format!("writing restored rows to {}", path.display())))?;
        Ok(any)
    }
}
