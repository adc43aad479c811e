//! Snapshots that are torn or altered.

use flumen_model::checkpoint::{KeyedFormat, SnapshotKind};

use super::{Backend, Stored, open_all, snapshot_of};
use crate::canonical::PART;
use crate::descriptor::{ListStateDescriptor, ValueStateDescriptor};
use crate::error::StateError;
use crate::keyed::Keyed;

const KEYS: u32 = 40;

pub(super) fn check(backend: &impl Backend) {
    let mut keyed: Keyed<u32> = open_all(backend, &[]).unwrap();
    let value = keyed.value(ValueStateDescriptor::<String>::new("value")).unwrap();
    let list = keyed.list(ListStateDescriptor::<u64>::new("list")).unwrap();
    for key in 0..KEYS {
        keyed.set_current_key(&key);
        value.set(format!("value of {key}")).unwrap();
        list.add_all([1, u64::MAX]).unwrap();
    }
    let stored = snapshot_of(&mut keyed, SnapshotKind::Savepoint);
    assert_eq!(stored.state.format, KeyedFormat::Canonical);
    read(backend, &stored).unwrap();
    let length = stored.parts.0[PART].len();
    // Every place would be slow on disks; a prime step meets all kinds of places.
    for at in (0..length).step_by(37).chain(length - 40..length) {
        let mut torn = stored.clone();
        torn.parts.0.get_mut(PART).unwrap().truncate(at);
        assert!(read(backend, &torn).is_err(), "torn at {at} of {length}, its length unchanged");
        torn.state.parts.get_mut(PART).unwrap().length = at as u64;
        assert!(read(backend, &torn).is_err(), "torn at {at} of {length}");

        for change in [0x01, 0x80, 0xff] {
            let mut altered = stored.clone();
            altered.parts.0.get_mut(PART).unwrap()[at] ^= change;
            // What is said twice in the file may be altered in one place; `read` compares what is read then.
            if let Err(error) = read(backend, &altered) {
                let text = error.to_string();
                assert!(text.contains("offset") || text.contains("key groups"), "{text}");
            }
        }
    }
}

/// An error, or exactly what was written.
fn read(backend: &impl Backend, stored: &Stored) -> Result<(), StateError> {
    let mut keyed: Keyed<u32> = open_all(backend, std::slice::from_ref(stored))?;
    let value = keyed.value(ValueStateDescriptor::<String>::new("value"))?;
    let list = keyed.list(ListStateDescriptor::<u64>::new("list"))?;
    for key in 0..KEYS {
        keyed.set_current_key(&key);
        assert_eq!(value.get()?, Some(format!("value of {key}")));
        assert_eq!(list.get()?, [1, u64::MAX]);
    }
    Ok(())
}
