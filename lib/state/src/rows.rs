//! Keyed state as rows of bytes in a [`RowStore`], such as RocksDB: what such a backend provides, and the typed states over it.
//!
//! A row's key begins with the key group (two bytes, big-endian), so that the rows of a group stand together:
//!
//! ```text
//! group │ length of key (varint) │ key │ length of namespace (varint) │ namespace │ a map's own key
//! group │ time (8 bytes, sorted) │ length of key (varint) │ key │ namespace        of timers
//! ```
//!
//! A row's value is the value, a list's items (each after its length), or nothing for timers; where state expires, value and
//! items are preceded by the time of their last use (8 bytes, little-endian, milliseconds since 1970).

#[cfg(any(test, feature = "conformance"))]
pub mod btree;
mod current;
mod key;
mod list;
mod map;
mod store;
mod table;
mod timers;

pub use key::{KeyParts, row_key, take_apart};
pub use store::{EachRow, RowStore};

pub(crate) use current::RowContext;
pub(crate) use list::RowList;
pub(crate) use map::RowMap;
pub(crate) use table::RowTable;
pub(crate) use timers::RowTimers;

use std::ops::ControlFlow;

use crate::error::StateError;
use crate::traits::Key;
use crate::typed::{RowConverter, Typed};

/// The number of a state: a new one, or a restored one, whose rows are made to be of its types.
pub(crate) fn add<K: Key>(rows: &RowContext<K>, typed: Typed) -> Result<usize, StateError> {
    let store = &*rows.store;
    let states = store.states();
    let Some(state) = states.iter().position(|meta| meta.name == typed.meta.name) else {
        return store.create(typed.meta);
    };
    let written = &states[state];
    if *written == typed.meta {
        return Ok(state);
    }
    let convert = typed.converter(written)?;
    if !convert.is_identity() {
        rewrite(store, state, &typed, &convert, rows.context.now())?;
    }
    store.describe(state, typed.meta)?;
    Ok(state)
}

/// Rewrites all rows of a state, some at a time, because the store isn't changed while it is scanned.
fn rewrite(
    store: &dyn RowStore,
    state: usize,
    typed: &Typed,
    convert: &RowConverter,
    now_ms: i64,
) -> Result<(), StateError> {
    const SLICE: usize = 1000;
    let name = &typed.meta.name;
    let mut from = Vec::new();
    loop {
        let mut rows = Vec::with_capacity(SLICE);
        store.scan(state, &[], &from, &mut |row, value| {
            rows.push((row.to_vec(), value.to_vec()));
            if rows.len() < SLICE { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        let Some((last, _)) = rows.last() else { return Ok(()) };
        // The row after the last one.
        from.clone_from(last);
        from.push(0);
        for (row, value) in &rows {
            let mut put = Ok(());
            let converted = convert.value(value, now_ms, |value| {
                put = store.put(state, row, value);
                Ok(())
            });
            converted.map_err(|error| {
                error.or_damaged(|error| StateError::corrupt(name, 0, format!("a row can't be read: {error}")))
            })?;
            put?;
        }
    }
}
