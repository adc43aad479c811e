//! A snapshot in the first version of the format, which all later versions have to read.

use std::path::PathBuf;

use super::*;
use crate::descriptor::{ListStateDescriptor, MapStateDescriptor, TableDescriptor, ValueStateDescriptor};
use crate::keyed::Keyed;

fn directory() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "fixtures", "rocksdb-v1"].iter().collect()
}

/// What the fixture holds, for 100 keys.
fn fill(keyed: &mut Keyed<String>) {
    let value = keyed.value(ValueStateDescriptor::<u64>::new("value")).unwrap();
    let list = keyed.list(ListStateDescriptor::<String>::new("list")).unwrap();
    let map = keyed.map(MapStateDescriptor::<u32, String>::new("map")).unwrap();
    let table = keyed.table::<i64, (u64, f64)>(TableDescriptor::new("table")).unwrap();
    let timers = keyed.timers::<i64>("timers").unwrap();
    for number in 0..100u64 {
        let key = format!("key {number}");
        keyed.set_current_key(&key);
        value.set(number).unwrap();
        list.add(format!("first {number}")).unwrap();
        list.add(format!("second {number}")).unwrap();
        map.put(1, "one".to_owned()).unwrap();
        map.put(number as u32, number.to_string()).unwrap();
        table.put(&key, &-1, (number, 0.5)).unwrap();
        timers.register(number as i64 - 50, &key, &7).unwrap();
    }
}

fn check(keyed: &mut Keyed<String>, own: impl Fn(&String) -> bool) {
    let value = keyed.value(ValueStateDescriptor::<u64>::new("value")).unwrap();
    let list = keyed.list(ListStateDescriptor::<String>::new("list")).unwrap();
    let map = keyed.map(MapStateDescriptor::<u32, String>::new("map")).unwrap();
    let table = keyed.table::<i64, (u64, f64)>(TableDescriptor::new("table")).unwrap();
    let timers = keyed.timers::<i64>("timers").unwrap();
    for number in 0..100u64 {
        let key = format!("key {number}");
        keyed.set_current_key(&key);
        let is_own = own(&key);
        assert_eq!(value.get().unwrap(), is_own.then_some(number));
        let mut items = Vec::new();
        list.for_each(|item| items.push(item.clone())).unwrap();
        let expected = [format!("first {number}"), format!("second {number}")];
        assert_eq!(items, if is_own { &expected[..] } else { &[] });
        assert_eq!(map.get(&(number as u32)).unwrap(), is_own.then(|| number.to_string()));
        assert_eq!(table.get(&key, &-1).unwrap(), is_own.then_some((number, 0.5)));
        let timer = own(&key).then(|| (number as i64 - 50, key, 7));
        if timer.is_some() {
            assert_eq!(timers.pop_due(1_000).unwrap(), timer);
        }
    }
    assert_eq!(timers.peek().unwrap(), None);
}

fn stored() -> RestoredKeyed {
    let mut parts = PartsInMemory::default();
    for entry in std::fs::read_dir(directory()).unwrap() {
        let entry = entry.unwrap();
        parts.0.insert(entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap());
    }
    let handle = |(name, bytes): (&String, &Vec<u8>)| {
        let location = StateLocation::Inline(vec![]);
        (name.clone(), StateHandle { location, length: bytes.len() as u64, checksum: 0 })
    };
    let handles = parts.0.iter().map(handle).collect();
    let state = KeyedState { format: KeyedFormat::RocksDb, groups: ALL, parts: handles };
    RestoredKeyed { state, reader: Box::new(parts) }
}

/// How the files were made: `FLUMEN_WRITE_FIXTURES=1 cargo test -p flumen-state --features rocksdb fixture`. Never for a
/// released version.
fn write() {
    let local = local_directory();
    let mut keyed = Keyed::open(&options(local.path()), ALL, 128, vec![]).unwrap();
    fill(&mut keyed);
    let pending = keyed.snapshot(SnapshotKind::FullCheckpoint).unwrap();
    let SnapshotBytes::Files(mut source) = pending.source else { panic!("not files") };
    std::fs::create_dir_all(directory()).unwrap();
    for file in source.files().unwrap() {
        std::fs::copy(&file.path, directory().join(&file.name)).unwrap();
    }
}

#[test]
fn a_snapshot_of_version_1_is_read() {
    if std::env::var_os("FLUMEN_WRITE_FIXTURES").is_some() {
        write();
    }
    let local = local_directory();
    let options = options(local.path());
    check(&mut Keyed::open(&options, ALL, 128, vec![stored()]).unwrap(), |_| true);
    for subtask in 0..3 {
        let groups = KeyGroupRange::of_subtask(subtask, 3, 128);
        let own = |key: &String| {
            let mut bytes = Vec::new();
            crate::codec::encode(key, &mut bytes).unwrap();
            groups.contains(flumen_model::key_group::key_group(flumen_model::key_group::key_hash(&bytes), 128))
        };
        check(&mut Keyed::open(&options, groups, 128, vec![stored()]).unwrap(), own);
    }
}
