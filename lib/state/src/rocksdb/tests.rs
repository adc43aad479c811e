//! The store against sorted maps, through snapshots and with other key groups.

#![allow(clippy::unwrap_used, reason = "test helper")]

mod conformance;
mod fixture;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::rc::Rc;

use flumen_model::checkpoint::{KeyGroupRange, KeyedFormat, KeyedState, SnapshotKind, StateHandle, StateLocation};

use super::{SharedRocksDb, open};
use crate::meta::{StateKind, StateMeta};
use crate::options::{BackendKind, BackendOptions};
use crate::restore::{PartsInMemory, RestoredKeyed, SnapshotReader};
use crate::rows::RowStore;
use crate::snapshot::{PendingSnapshot, SnapshotBytes};

const ALL: KeyGroupRange = KeyGroupRange { start: 0, end: 128 };

/// In memory if there is such a place: RocksDB waits for the disk again and again.
fn local_directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn options(directory: &Path) -> BackendOptions {
    BackendOptions {
        kind: BackendKind::RocksDb,
        directories: vec![directory.to_owned()],
        name: "test".to_owned(),
        incremental: true,
        rocksdb: Some(SharedRocksDb::new(16 << 20)),
        ..BackendOptions::default()
    }
}

fn meta(name: &str, kind: StateKind) -> StateMeta {
    let text = |text: &str| text.to_owned();
    StateMeta {
        name: text(name),
        kind,
        key: text("u64"),
        namespace: text("()"),
        user_key: String::new(),
        value: text("u64"),
        ttl: None,
    }
}

/// A row of key and empty namespace.
fn row(group: u16, key: u32) -> Vec<u8> {
    let mut row = group.to_be_bytes().to_vec();
    row.push(4);
    row.extend_from_slice(&key.to_be_bytes());
    row.push(0);
    row
}

fn group(key: u32) -> u16 {
    (key.wrapping_mul(0x9E37_79B9) >> 25) as u16
}

fn all(store: &dyn RowStore, state: usize) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut rows = BTreeMap::new();
    store
        .scan(state, &[], &[], &mut |row, value| {
            rows.insert(row.to_vec(), value.to_vec());
            ControlFlow::Continue(())
        })
        .unwrap();
    rows
}

/// Files somewhere else, as a checkpoint's storage has them.
#[derive(Default)]
struct Storage {
    directory: Option<tempfile::TempDir>,
    /// Files that were copied by the last snapshot.
    copied: usize,
}

struct StoredParts(std::path::PathBuf);

impl SnapshotReader for StoredParts {
    fn read_exact_at(&mut self, part: &str, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        File::open(self.0.join(part))?.read_exact_at(buffer, offset)
    }
}

impl Storage {
    fn path(&mut self) -> std::path::PathBuf {
        self.directory.get_or_insert_with(local_directory).path().to_owned()
    }

    /// Copies what is not there yet.
    fn store(&mut self, pending: PendingSnapshot) -> KeyedState {
        let path = self.path();
        let format = pending.format();
        let mut parts = BTreeMap::new();
        self.copied = 0;
        let mut add = |name: String, length| {
            let location = StateLocation::Inline(vec![]);
            parts.insert(name, StateHandle { location, length, checksum: 0 });
        };
        match pending.source {
            SnapshotBytes::Files(mut source) => {
                for file in source.files().unwrap() {
                    let target = path.join(&file.name);
                    if file.shared_as.is_none() || !target.try_exists().unwrap() {
                        std::fs::copy(&file.path, &target).unwrap();
                        self.copied += usize::from(file.name.ends_with(".sst"));
                    }
                    add(file.name.clone(), file.length);
                }
            }
            SnapshotBytes::Canonical(blocks) => {
                let bytes: Vec<u8> = blocks.flat_map(|block| block.unwrap()).collect();
                std::fs::write(path.join("state"), &bytes).unwrap();
                add("state".to_owned(), bytes.len() as u64);
            }
        }
        KeyedState { format, groups: pending.groups, parts }
    }

    fn restore(&mut self, state: &KeyedState) -> RestoredKeyed {
        RestoredKeyed { state: state.clone(), reader: Box::new(StoredParts(self.path())) }
    }
}

/// A store with 20 000 rows, in memory and in several files.
fn filled(options: &BackendOptions) -> (Rc<dyn RowStore>, BTreeMap<Vec<u8>, Vec<u8>>) {
    let store = open(options, ALL, 128, vec![]).unwrap();
    let state = store.create(meta("sum", StateKind::Value)).unwrap();
    let list = store.create(meta("list", StateKind::List)).unwrap();
    let mut expected = BTreeMap::new();
    for step in 0..60_000u32 {
        let key = step % 20_000;
        let row = row(group(key), key);
        if step % 7 == 3 {
            store.delete(state, &row).unwrap();
            expected.remove(&row);
        } else {
            store.put(state, &row, &step.to_le_bytes()).unwrap();
            expected.insert(row.clone(), step.to_le_bytes().to_vec());
        }
        if key < 100 {
            store.append(list, &row, &[step as u8]).unwrap();
        }
    }
    (store, expected)
}

#[test]
fn rows_are_read_back_from_memory_and_from_disk() {
    let local = local_directory();
    let (store, expected) = filled(&options(local.path()));
    let mut value = Vec::new();
    for key in 0..20_000 {
        let row = row(group(key), key);
        let found = store.get(0, &row, &mut value).unwrap();
        assert_eq!(found.then_some(&value), expected.get(&row));
    }
    assert_eq!(all(&*store, 0), expected);
    store.get(1, &row(group(5), 5), &mut value).unwrap();
    assert_eq!(value, [5, 20_005u32 as u8, 40_005u32 as u8]);
    store.append(1, &row(group(5), 5), b"x").unwrap();
    store.get(1, &row(group(5), 5), &mut value).unwrap();
    assert_eq!(value, [5, 20_005u32 as u8, 40_005u32 as u8, b'x']);
}

#[test]
fn a_checkpoint_is_what_was_there_and_the_next_one_copies_only_what_is_new() {
    let local = local_directory();
    let options = options(local.path());
    let (store, mut expected) = filled(&options);
    let mut storage = Storage::default();
    let first = storage.store(store.snapshot(SnapshotKind::Checkpoint).unwrap());
    assert!(storage.copied > 0);
    let row = row(7, 1_000_000);
    store.put(0, &row, b"later").unwrap();
    let second = storage.store(store.snapshot(SnapshotKind::Checkpoint).unwrap());
    assert_eq!(storage.copied, 1);
    drop(store);

    let store = open(&options, ALL, 128, vec![storage.restore(&first)]).unwrap();
    assert_eq!(all(&*store, 0), expected);
    assert_eq!(store.states(), [meta("sum", StateKind::Value), meta("list", StateKind::List)]);
    drop(store);
    let store = open(&options, ALL, 128, vec![storage.restore(&second)]).unwrap();
    expected.insert(row.clone(), b"later".to_vec());
    assert_eq!(all(&*store, 0), expected);
    // The restored instance goes on with the files that are stored already.
    store.put(0, &row, b"still later").unwrap();
    let third = storage.store(store.snapshot(SnapshotKind::Checkpoint).unwrap());
    assert_eq!(storage.copied, 1);
    let store = open(&options, ALL, 128, vec![storage.restore(&third)]).unwrap();
    expected.insert(row, b"still later".to_vec());
    assert_eq!(all(&*store, 0), expected);
}

#[test]
fn a_full_checkpoint_shares_nothing() {
    let local = local_directory();
    let (store, _) = filled(&options(local.path()));
    let pending = store.snapshot(SnapshotKind::FullCheckpoint).unwrap();
    let SnapshotBytes::Files(mut source) = pending.source else { panic!("not files") };
    assert!(source.files().unwrap().iter().all(|file| file.shared_as.is_none()));
}

#[test]
fn the_local_directory_is_empty_when_store_and_snapshots_are_gone() {
    let local = local_directory();
    let (store, _) = filled(&options(local.path()));
    let mut pending = store.snapshot(SnapshotKind::Checkpoint).unwrap();
    drop(store);
    let SnapshotBytes::Files(source) = &mut pending.source else { panic!("not files") };
    for file in source.files().unwrap() {
        assert_eq!(std::fs::metadata(&file.path).unwrap().len(), file.length);
    }
    drop(pending);
    assert_eq!(std::fs::read_dir(local.path()).unwrap().count(), 0);
}

/// Splits into three subtasks and joins into two.
fn rescaled(kind: SnapshotKind) {
    let local = local_directory();
    let options = options(local.path());
    let (store, expected) = filled(&options);
    let list = all(&*store, 1);
    let mut storage = Storage::default();
    let one = storage.store(store.snapshot(kind).unwrap());
    let mut three = Vec::new();
    for subtask in 0..3 {
        let groups = KeyGroupRange::of_subtask(subtask, 3, 128);
        let store = open(&options, groups, 128, vec![storage.restore(&one)]).unwrap();
        let own = |row: &Vec<u8>| groups.contains(u16::from_be_bytes([row[0], row[1]]).into());
        let expected: BTreeMap<_, _> = expected.clone().into_iter().filter(|(row, _)| own(row)).collect();
        assert_eq!(all(&*store, 0), expected);
        let mut storage = Storage::default();
        let state = storage.store(store.snapshot(kind).unwrap());
        three.push((storage, state));
    }
    let mut joined = (BTreeMap::new(), BTreeMap::new());
    for subtask in 0..2 {
        let groups = KeyGroupRange::of_subtask(subtask, 2, 128);
        let pieces = three.iter_mut().map(|(storage, state)| storage.restore(state)).collect();
        let store = open(&options, groups, 128, pieces).unwrap();
        joined.0.extend(all(&*store, 0));
        joined.1.extend(all(&*store, 1));
    }
    assert_eq!(joined.0, expected);
    assert_eq!(joined.1, list);
}

#[test]
fn files_of_an_instance_are_rescaled() {
    rescaled(SnapshotKind::Checkpoint);
}

#[test]
fn with_fewer_key_groups_an_instance_keeps_its_files_and_nothing_of_other_groups() {
    let local = local_directory();
    let options = options(local.path());
    let (store, expected) = filled(&options);
    let mut storage = Storage::default();
    let one = storage.store(store.snapshot(SnapshotKind::Checkpoint).unwrap());
    let files = storage.copied;
    drop(store);
    let groups = KeyGroupRange { start: 32, end: 96 };
    let own = |row: &Vec<u8>| groups.contains(u16::from_be_bytes([row[0], row[1]]).into());
    let expected: BTreeMap<_, _> = expected.into_iter().filter(|(row, _)| own(row)).collect();
    let store = open(&options, groups, 128, vec![storage.restore(&one)]).unwrap();
    assert_eq!(all(&*store, 0), expected);
    let next = storage.store(store.snapshot(SnapshotKind::Checkpoint).unwrap());
    // One for each state says what is hidden.
    assert!(storage.copied <= 2 && files > 2, "{} of {files}", storage.copied);
    drop(store);
    // What is hidden does not come back, not even for whoever owns it.
    let store = open(&options, ALL, 128, vec![storage.restore(&next)]).unwrap();
    assert_eq!(all(&*store, 0), expected);
}

#[test]
fn an_altered_file_is_a_damaged_snapshot_and_no_failure_of_the_backend() {
    let local = local_directory();
    let options = options(local.path());
    let (store, _) = filled(&options);
    let mut storage = Storage::default();
    let snapshot = storage.store(store.snapshot(SnapshotKind::Checkpoint).unwrap());
    drop(store);
    for entry in std::fs::read_dir(storage.path()).unwrap().map(Result::unwrap) {
        if entry.path().extension().is_some_and(|extension| extension == "sst") {
            let mut bytes = std::fs::read(entry.path()).unwrap();
            bytes.iter_mut().take(1000).for_each(|byte| *byte ^= 1);
            std::fs::write(entry.path(), bytes).unwrap();
        }
    }
    let mut read = || {
        let store = open(&options, ALL, 128, vec![storage.restore(&snapshot)])?;
        store.scan(0, &[], &[], &mut |_, _| ControlFlow::Continue(()))
    };
    let error = read().unwrap_err();
    assert!(matches!(error.kind(), crate::StateErrorKind::Corrupt { .. }), "{error}");
}

#[test]
fn a_savepoint_is_rescaled() {
    rescaled(SnapshotKind::Savepoint);
}

#[test]
fn timers_come_in_order_from_memory_and_from_disk() {
    let local = local_directory();
    let options = options(local.path());
    let store = open(&options, ALL, 128, vec![]).unwrap();
    let state = store.create(meta("timers", StateKind::Timers)).unwrap();
    let timer = |time: u32| [&[0, 3][..], &[0, 0, 0, 0], &time.to_be_bytes(), &[1, 9]].concat();
    // Some thousands, in no order.
    let times = (0..5000u32).map(|number| number * 4_999 % 5_000);
    times.clone().for_each(|time| store.put(state, &timer(time), &[]).unwrap());
    let mut storage = Storage::default();
    let snapshot = storage.store(store.snapshot(SnapshotKind::Checkpoint).unwrap());
    for store in [store, open(&options, ALL, 128, vec![storage.restore(&snapshot)]).unwrap()] {
        for time in 0..5000 {
            let mut first = None;
            store
                .scan(state, &[0, 3], &[0, 3], &mut |row, _| {
                    first = Some(row.to_vec());
                    ControlFlow::Break(())
                })
                .unwrap();
            assert_eq!(first, Some(timer(time)));
            store.delete(state, &timer(time)).unwrap();
        }
        assert!(all(&*store, state).is_empty());
    }
}

#[test]
fn a_damaged_part_is_named() {
    let local = local_directory();
    let options = options(local.path());
    let (store, _) = filled(&options);
    let mut storage = Storage::default();
    let snapshot = storage.store(store.snapshot(SnapshotKind::Checkpoint).unwrap());
    let missing = RestoredKeyed { state: snapshot, reader: Box::new(PartsInMemory::default()) };
    let error = open(&options, ALL, 128, vec![missing]).err().unwrap().to_string();
    assert!(error.contains("part `"), "{error}");
}

#[test]
fn all_stores_together_keep_to_the_memory_they_share() {
    let local = local_directory();
    let options = options(local.path());
    let shared = options.rocksdb.clone().unwrap();
    let stores: Vec<_> = (0..3).map(|_| open(&options, ALL, 128, vec![]).unwrap()).collect();
    for store in &stores {
        for name in ["one", "two"] {
            store.create(meta(name, StateKind::Value)).unwrap();
        }
    }
    let (mut most, mut value) = (0, Vec::new());
    for key in 0..150_000u32 {
        let row = row(group(key), key);
        for store in &stores {
            store.put(key as usize % 2, &row, &[key as u8; 100]).unwrap();
            store.get(key as usize % 2, &self::row(group(key / 2), key / 2), &mut value).unwrap();
        }
        if key % 1000 == 0 {
            most = most.max(shared.used_by_rocksdb());
        }
    }
    // Three quarters of 16 MiB; the rest is for rows in front of RocksDB. 50 MB were written.
    assert!(most <= 12 << 20, "{most}");
    assert!(most > 4 << 20, "{most}");
}
