//! Sums by key in value state in memory, beside the same hash table without state around it.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints its figures")]

use std::hash::BuildHasher;
use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use flumen_model::checkpoint::{KeyGroupRange, SnapshotKind};
use flumen_state::{BackendOptions, Keyed, SnapshotBytes, ValueState, ValueStateDescriptor};
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

const KEYS: u64 = 1_000_000;
const EVENTS: u64 = 10_000_000;
const BATCH: u64 = 1024;

fn key_of(event: u64) -> u64 {
    let mut z = event.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (z ^ (z >> 31)) % KEYS
}

fn bare(table: &mut HashTable<(u64, u64)>, hasher: &RandomState) -> Duration {
    let begin = Instant::now();
    for event in 0..EVENTS {
        let key = key_of(event);
        match table.entry(hasher.hash_one(key), |entry| entry.0 == key, |entry| hasher.hash_one(entry.0)) {
            Entry::Occupied(mut entry) => entry.get_mut().1 += event,
            Entry::Vacant(entry) => drop(entry.insert((key, event))),
        }
    }
    black_box(table);
    begin.elapsed()
}

fn state(keyed: &mut Keyed<u64>, sum: &ValueState<u64, u64>, mut after_batch: impl FnMut(&mut Keyed<u64>)) -> Duration {
    let begin = Instant::now();
    for batch in 0..EVENTS / BATCH {
        for event in batch * BATCH..(batch + 1) * BATCH {
            keyed.set_current_key(&key_of(event));
            black_box(
                sum.upsert(
                    || 0,
                    |sum| {
                        *sum += event;
                        *sum
                    },
                )
                .unwrap(),
            );
        }
        after_batch(keyed);
    }
    begin.elapsed()
}

fn main() {
    let hasher = RandomState::default();
    let mut table = HashTable::new();
    let all = KeyGroupRange { start: 0, end: 128 };
    let mut keyed = Keyed::open(&BackendOptions::default(), all, 128, vec![]).unwrap();
    let sum = keyed.value(ValueStateDescriptor::new("sum")).unwrap();
    bare(&mut table, &hasher);
    state(&mut keyed, &sum, |_| {});
    for _ in 0..3 {
        let bare = bare(&mut table, &hasher);
        let plain = state(&mut keyed, &sum, |_| {});
        let per = |time: Duration| time.as_nanos() as f64 / EVENTS as f64;
        // One snapshot while the events pass.
        let SnapshotBytes::Canonical(blocks) = keyed.snapshot(SnapshotKind::Checkpoint).unwrap().source else {
            unreachable!("state in memory writes the canonical format")
        };
        let reader = thread::spawn(|| blocks.map(|block| block.unwrap().len()).sum::<usize>());
        let (mut more, mut batches) = (true, 0);
        let with_snapshot = state(&mut keyed, &sum, |keyed| {
            if more {
                more = keyed.snapshot_step(1024);
                batches += 1;
            }
        });
        keyed.finish_snapshots();
        let bytes = reader.join().unwrap();
        println!(
            "bare {:.1} ns, state {:.1} ns ({:.2}), with a snapshot {:.1} ns: {:.1} ms for {} MB in {batches} batches",
            per(bare),
            per(plain),
            per(plain) / per(bare),
            per(with_snapshot),
            (with_snapshot.saturating_sub(plain)).as_secs_f64() * 1e3,
            bytes / 1_000_000,
        );
    }
}
