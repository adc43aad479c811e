//! Files of every version of the format that was ever released are still read.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;
use std::thread;

use flumen_model::checkpoint::{KeyGroupRange, KeyedFormat, KeyedState, SnapshotKind, StateHandle, StateLocation};
use flumen_state::{
    BackendOptions, Keyed, ListStateDescriptor, MapStateDescriptor, PartsInMemory, RestoredKeyed, SnapshotBytes,
    StateTtlConfig, TableDescriptor, ValueStateDescriptor,
};
use serde::{Deserialize, Serialize};

const ALL: KeyGroupRange = KeyGroupRange { start: 0, end: 8 };

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Order {
    New,
    Paid { cents: u64, by: Option<String> },
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/keyed-state-v1.bin")
}

fn options() -> BackendOptions {
    BackendOptions { clock: || 1_000, ..BackendOptions::default() }
}

fn orders() -> ValueStateDescriptor<Order> {
    ValueStateDescriptor::new("orders")
}

fn expiring() -> ListStateDescriptor<i16> {
    ListStateDescriptor::new("expiring").with_ttl(StateTtlConfig::new(10))
}

fn names() -> MapStateDescriptor<u8, String> {
    MapStateDescriptor::new("names")
}

fn windows() -> TableDescriptor<f64> {
    TableDescriptor::new("windows")
}

fn order(key: u64) -> Order {
    match key % 2 {
        0 => Order::New,
        _ => Order::Paid { cents: key * 100, by: key.is_multiple_of(3).then(|| key.to_string()) },
    }
}

/// How the file was made: `FLUMEN_WRITE_FIXTURES=1 cargo test -p flumen-state --test fixtures`. Never for a released version.
fn write() {
    let mut keyed = Keyed::<String>::open(&options(), ALL, ALL.end, vec![]).unwrap();
    let (value, list) = (keyed.value(orders()).unwrap(), keyed.list(expiring()).unwrap());
    let (map, table) = (keyed.map(names()).unwrap(), keyed.table::<(i64, i64), f64>(windows()).unwrap());
    let timers = keyed.timers::<u8>("timers").unwrap();
    for key in 0..20 {
        let name = format!("key {key}");
        keyed.set_current_key(&name);
        value.set(order(key)).unwrap();
        list.add_all([-1, key as i16]).unwrap();
        map.put(key as u8, name.clone()).unwrap();
        map.put(255, String::new()).unwrap();
        table.put(&name, &(0, 10), key as f64 / 2.0).unwrap();
        timers.register(key as i64 - 10, &name, &7).unwrap();
    }
    let SnapshotBytes::Canonical(blocks) = keyed.snapshot(SnapshotKind::Savepoint).unwrap().source else {
        panic!("state in memory writes the canonical format")
    };
    let blocks = thread::spawn(|| blocks.map(Result::unwrap).collect::<Vec<_>>());
    keyed.finish_snapshots();
    std::fs::write(path(), blocks.join().unwrap().concat()).unwrap();
}

#[test]
fn keyed_state_of_version_1_is_read() {
    if std::env::var_os("FLUMEN_WRITE_FIXTURES").is_some() {
        write();
    }
    let bytes = std::fs::read(path()).unwrap();
    let handle = StateHandle { location: StateLocation::Inline(vec![]), length: bytes.len() as u64, checksum: 0 };
    let parts = [("state".to_owned(), handle)].into();
    let state = KeyedState { format: KeyedFormat::Canonical, groups: ALL, parts };
    let reader = Box::new(PartsInMemory([("state".to_owned(), bytes)].into()));
    let mut keyed = Keyed::<String>::open(&options(), ALL, ALL.end, vec![RestoredKeyed { state, reader }]).unwrap();
    let (value, list) = (keyed.value(orders()).unwrap(), keyed.list(expiring()).unwrap());
    let (map, table) = (keyed.map(names()).unwrap(), keyed.table::<(i64, i64), f64>(windows()).unwrap());
    let timers = keyed.timers::<u8>("timers").unwrap();
    for key in 0..20 {
        let name = format!("key {key}");
        keyed.set_current_key(&name);
        assert_eq!(value.get().unwrap(), Some(order(key)));
        assert_eq!(list.get().unwrap(), [-1, key as i16]);
        assert_eq!(map.get(&(key as u8)).unwrap(), Some(name.clone()));
        assert_eq!(map.get(&255).unwrap(), Some(String::new()));
        assert_eq!(table.get(&name, &(0, 10)).unwrap(), Some(key as f64 / 2.0));
        assert_eq!(timers.pop_due(i64::MAX).unwrap(), Some((key as i64 - 10, name, 7)));
    }
}
