//! The cache against a map, with a store behind it that is one as well.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

type Rows = BTreeMap<(u16, Vec<u8>), Vec<u8>>;

#[derive(Debug, Clone)]
enum Step {
    Get,
    Put(Vec<u8>),
    Append(Vec<u8>),
    Delete,
    Write,
}

fn step() -> impl Strategy<Value = (u16, Vec<u8>, Step)> {
    let value = prop_oneof![
        4 => proptest::collection::vec(any::<u8>(), 0..20),
        1 => proptest::collection::vec(any::<u8>(), 20..200),
        1 => Just(vec![1; KEPT_BYTES_MAX]),
    ];
    let what = prop_oneof![
        4 => Just(Step::Get),
        4 => value.clone().prop_map(Step::Put),
        2 => value.prop_map(Step::Append),
        2 => Just(Step::Delete),
        1 => Just(Step::Write),
    ];
    (0..2u16, 0..40u32, what).prop_map(|(state, row, what)| (state, row.to_be_bytes().to_vec(), what))
}

fn write(cache: &mut RowCache, store: &mut Rows) {
    while !cache.is_clean() {
        write_batch(cache, store);
    }
}

fn write_batch(cache: &mut RowCache, store: &mut Rows) {
    let mut last = None;
    cache.take_batch(|state, row, change| {
        let at = (state, row.to_vec());
        assert!(last.as_ref().is_none_or(|last| *last < at), "changes are sorted, each row comes once");
        match change {
            Change::Put(value) => {
                store.insert(at.clone(), value.to_vec());
            }
            Change::Append(value) => store.entry(at.clone()).or_default().extend_from_slice(value),
            Change::Delete => {
                store.remove(&at);
            }
        }
        last = Some(at);
    });
}

fn get(cache: &mut RowCache, store: &Rows, state: u16, row: &[u8]) -> Option<Vec<u8>> {
    let stored = store.get(&(state, row.to_vec()));
    match cache.get(state, row) {
        Cached::Value(value) => Some(value.to_vec()),
        Cached::Absent => None,
        Cached::Appended(value) => Some([stored.map_or(&[][..], Vec::as_slice), value].concat()),
        Cached::Unknown => {
            cache.keep(state, row, stored.map(Vec::as_slice));
            stored.cloned()
        }
    }
}

proptest! {
    #[test]
    fn a_cache_and_its_store_are_a_map(steps in proptest::collection::vec(step(), 0..400), bytes in 0usize..200_000) {
        let mut cache = RowCache::new(RowShare::of(bytes));
        let (mut store, mut expected) = (Rows::new(), Rows::new());
        for (state, row, step) in steps {
            let at = (state, row.clone());
            match step {
                Step::Get => {
                    prop_assert_eq!(get(&mut cache, &store, state, &row), expected.get(&at).cloned());
                }
                Step::Put(value) => {
                    cache.put(state, &row, &value);
                    expected.insert(at, value);
                }
                Step::Append(value) => {
                    cache.append(state, &row, &value);
                    expected.entry(at).or_default().extend(value);
                }
                Step::Delete => {
                    cache.delete(state, &row);
                    expected.remove(&at);
                }
                Step::Write => write(&mut cache, &mut store),
            }
            if cache.is_full() {
                write_batch(&mut cache, &mut store);
            }
        }
        write(&mut cache, &mut store);
        prop_assert_eq!(store, expected);
    }
}

#[test]
fn a_row_that_comes_and_goes_between_two_writes_is_never_written() {
    let mut cache = RowCache::new(RowShare::of(1 << 20));
    cache.keep(0, b"row", None);
    cache.put(0, b"row", b"value");
    cache.delete(0, b"row");
    cache.put_new(0, b"other", b"value");
    cache.delete(0, b"other");
    cache.take_batch(|_, row, change| panic!("{row:?} {change:?}"));
}

#[test]
fn the_memory_for_rows_is_kept_to() {
    let bytes = 1 << 20;
    let mut cache = RowCache::new(RowShare::of(bytes));
    for number in 0..100_000u32 {
        cache.put(0, &number.to_be_bytes(), &[1; 100]);
        if cache.is_full() {
            cache.take_batch(|_, _, _| {});
        }
        let used = cache.chunks.len() * CHUNK_SLOTS * SLOT_BYTES + cache.heap;
        assert!(used <= bytes + CHUNK_SLOTS * SLOT_BYTES, "{used}");
    }
    assert!(cache.len() > 3000, "{}", cache.len());
    assert_ne!(cache.get(0, &99_999u32.to_be_bytes()), Cached::Unknown, "the newest are kept");
}
