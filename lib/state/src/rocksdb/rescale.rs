//! The rows of some key groups out of the instances of former subtasks.
//!
//! An instance is fetched as a whole, because nobody knows the key groups of a file before it is here. While the next one is
//! fetched, threads read the rows of those that are here and write them to sorted files: one for each state, which the new instance
//! takes in without looking at their rows.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, ScopedJoinHandle};

use flumen_model::checkpoint::KeyGroupRange;
use rocksdb::SstFileWriter;

use crate::error::{StateError, StateErrorKind};
use crate::meta::{StateKind, StateMeta};
use crate::restore::RestoredKeyed;

use super::contents::Contents;
use super::files::PartNames;
use super::instance::{Directory, Instance, backend};
use super::restore::{bound, fetch};
use super::shared::SharedRocksDb;
use super::tuning;

/// Instances that are read at the same time.
const PARALLEL: usize = 4;

/// A state, and the file of its own rows if there are any.
type OwnRows = (StateMeta, Option<PathBuf>);

/// The states of instances, and their rows of these key groups: in files below the directory, which belong to whoever calls.
pub(super) fn own_rows(
    pieces: Vec<RestoredKeyed>,
    directory: &Arc<Directory>,
    shared: &SharedRocksDb,
    groups: KeyGroupRange,
    max_parallelism: u32,
) -> Result<Vec<OwnRows>, StateError> {
    thread::scope(|scope| {
        let (mut all, mut reading) = (Vec::new(), VecDeque::new());
        for (number, mut piece) in pieces.into_iter().enumerate() {
            let old = Arc::new(Directory::create(directory.path().join(format!("restored-{number}")))?);
            let mut names = PartNames::new(String::new());
            let contents = fetch(&mut piece, &old, max_parallelism, |part| names.inherit(part))?;
            if reading.len() == PARALLEL
                && let Some(first) = reading.pop_front()
            {
                all.extend(joined(first)?);
            }
            let work = move || rows_of(contents, old, shared, groups, &directory.path().join(format!("rows-{number}")));
            let thread = thread::Builder::new().name("rescale".to_owned()).spawn_scoped(scope, work);
            reading.push_back(thread.map_err(|source| StateErrorKind::Backend {
                what: "starting a thread that reads restored rows".to_owned(),
                source: source.into(),
            })?);
        }
        for thread in reading {
            all.extend(joined(thread)?);
        }
        Ok(all)
    })
}

fn joined(thread: ScopedJoinHandle<'_, Result<Vec<OwnRows>, StateError>>) -> Result<Vec<OwnRows>, StateError> {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// The rows of one instance, whose directory goes afterwards.
fn rows_of(
    contents: Contents,
    old: Arc<Directory>,
    shared: &SharedRocksDb,
    groups: KeyGroupRange,
    files: &Path,
) -> Result<Vec<OwnRows>, StateError> {
    let old = Instance::open_for_reading(old, shared.clone(), &contents.states)?;
    let each = contents.states.into_iter().enumerate().map(|(state, meta)| {
        let path = files.with_extension(format!("{state}.sst"));
        let any = copy(&old, state, meta.kind, shared, groups, &path)?;
        Ok((meta, any.then_some(path)))
    });
    each.collect()
}

/// Copies the rows of the key groups into a file; false when there are none.
fn copy(
    old: &Instance,
    state: usize,
    kind: StateKind,
    shared: &SharedRocksDb,
    groups: KeyGroupRange,
    path: &Path,
) -> Result<bool, StateError> {
    let options = tuning::family(shared, kind, None);
    let mut writer = SstFileWriter::create(&options);
    let mut any = false;
    let mut failed = Ok(());
    old.scan(state, &[], &bound(groups.start), |row, value| {
        let group = row.first_chunk().map_or(0, |group| u16::from_be_bytes(*group));
        if u32::from(group) >= groups.end {
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
