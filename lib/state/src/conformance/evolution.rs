//! Types that change between a snapshot and its restore.

use std::fmt::Debug;

use serde::{Deserialize, Serialize};

use super::{Backend, KINDS, Stored, open_all, snapshot_of};
use crate::descriptor::{ListStateDescriptor, MapStateDescriptor, TableDescriptor, ValueStateDescriptor};
use crate::keyed::Keyed;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Old {
    count: u32,
    gone: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct New {
    added: Option<u8>,
    count: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Narrow {
    count: u16,
}

pub(super) fn check(backend: &impl Backend) {
    for kind in KINDS {
        let mut keyed: Keyed<u32> = open_all(backend, &[]).unwrap();
        let value = keyed.value(ValueStateDescriptor::<Old>::new("value")).unwrap();
        let list = keyed.list(ListStateDescriptor::<Old>::new("list")).unwrap();
        let map = keyed.map(MapStateDescriptor::<u8, Old>::new("map")).unwrap();
        let table = keyed.table::<u8, Old>(TableDescriptor::new("table")).unwrap();
        let old = |count| Old { count, gone: "x".repeat(count as usize) };
        for key in 0..100 {
            keyed.set_current_key(&key);
            value.set(old(key)).unwrap();
            list.add_all([old(key), old(1)]).unwrap();
            map.put_all([(1, old(key)), (2, old(2))]).unwrap();
            table.put(&key, &3, old(key)).unwrap();
        }
        let stored = snapshot_of(&mut keyed, kind);
        changed_values_are_read(backend, &stored);
        what_can_not_be_read_is_refused(backend, &stored);
        // A second snapshot has the new schemas.
        let mut again: Keyed<u32> = open_all(backend, &[stored]).unwrap();
        again.value(ValueStateDescriptor::<New>::new("value")).unwrap();
        again.list(ListStateDescriptor::<New>::new("list")).unwrap();
        let stored = snapshot_of(&mut again, kind);
        changed_values_are_read(backend, &stored);
    }
}

fn changed_values_are_read(backend: &impl Backend, stored: &Stored) {
    let mut keyed: Keyed<u32> = open_all(backend, std::slice::from_ref(stored)).unwrap();
    let value = keyed.value(ValueStateDescriptor::<New>::new("value")).unwrap();
    let list = keyed.list(ListStateDescriptor::<New>::new("list")).unwrap();
    let map = keyed.map(MapStateDescriptor::<u8, New>::new("map")).unwrap();
    let table = keyed.table::<u8, New>(TableDescriptor::new("table")).unwrap();
    let new = |count| New { added: None, count };
    for key in 0..100 {
        keyed.set_current_key(&key);
        let key64 = u64::from(key);
        assert_eq!(value.get().unwrap(), Some(new(key64)));
        assert_eq!(list.get().unwrap(), [new(key64), new(1)]);
        assert_eq!(map.get(&1).unwrap(), Some(new(key64)));
        assert_eq!(map.get(&2).unwrap(), Some(new(2)));
        assert_eq!(table.get(&key, &3).unwrap(), Some(new(key64)));
    }
}

fn what_can_not_be_read_is_refused(backend: &impl Backend, stored: &Stored) {
    let stored = std::slice::from_ref(stored);
    let mut keyed: Keyed<u32> = open_all(backend, stored).unwrap();
    let narrow = "state `value`, field `count`: it was written as u32 and is now u16";
    assert_error(keyed.value(ValueStateDescriptor::<Narrow>::new("value")), narrow);
    assert_error(
        keyed.value(ValueStateDescriptor::<Narrow>::new("list")),
        "state `list`: it was written as List state",
    );
    assert_error(keyed.map(MapStateDescriptor::<u16, New>::new("map")), "state `map`: the map key was written as u8");
    assert_error(
        keyed.table::<u16, New>(TableDescriptor::new("table")),
        "state `table`: the namespace was written as u8",
    );
    // What was refused is still there.
    assert!(keyed.value(ValueStateDescriptor::<New>::new("value")).is_ok());

    let other = open_all::<u64>(backend, stored).and_then(|mut keyed| {
        keyed.value(ValueStateDescriptor::<New>::new("value"))?;
        Ok(())
    });
    assert_error(other, "state `value`: the key was written as u32 and is now u64");
}

fn assert_error<T>(result: Result<T, impl Debug + ToString>, beginning: &str) {
    let error = result.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(error.starts_with(beginning), "{error:?} does not begin with {beginning:?}");
}
