//! Sums by key in value state in memory, beside the same hash table without state around it. CPU time of the one thread,
//! best of the runs, which take turns.
//!
//! ```text
//! cargo bench -p flumen-state --bench hashmap
//! ```

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints its figures")]

use std::hash::BuildHasher;
use std::hint::black_box;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use flumen_model::checkpoint::{KeyGroupRange, SnapshotKind};
use flumen_state::{BackendOptions, Keyed, SnapshotBytes, SnapshotStep, ValueState, ValueStateDescriptor};
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

const KEYS: u64 = 1_000_000;
const EVENTS: u64 = 10_000_000;
const BATCH: u64 = 1024;
const RUNS: usize = 5;
/// Entries of a snapshot between two batches: what operators ask for.
const STEP: usize = 16 << 10;

/// What this thread has used of a processor.
fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

fn key_of(event: u64) -> u64 {
    let mut z = event.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (z ^ (z >> 31)) % KEYS
}

fn bare(table: &mut HashTable<(u64, u64)>, hasher: &RandomState) -> Duration {
    let begin = cpu_time();
    for event in 0..EVENTS {
        let key = key_of(event);
        match table.entry(hasher.hash_one(key), |entry| entry.0 == key, |entry| hasher.hash_one(entry.0)) {
            Entry::Occupied(mut entry) => entry.get_mut().1 += event,
            Entry::Vacant(entry) => drop(entry.insert((key, event))),
        }
    }
    black_box(table);
    cpu_time() - begin
}

/// How the state is told of keys.
#[derive(Clone, Copy, PartialEq)]
enum Keys {
    /// One after the other, each when it is the current one.
    OneByOne,
    /// First those of a batch, as operators do.
    Ahead,
}

fn state(
    keyed: &mut Keyed<u64>,
    sum: &ValueState<u64, u64>,
    keys: Keys,
    mut after_batch: impl FnMut(&mut Keyed<u64>),
) -> Duration {
    let begin = cpu_time();
    let mut batch = Vec::with_capacity(BATCH as usize);
    for number in 0..EVENTS / BATCH {
        batch.extend((number * BATCH..(number + 1) * BATCH).map(|event| (key_of(event), event)));
        if keys == Keys::Ahead
            && let Some(mut ahead) = keyed.look_ahead()
        {
            batch.iter().for_each(|(key, _)| ahead.add(key));
            ahead.fetch();
        }
        for (key, event) in batch.drain(..) {
            keyed.set_current_key(&key);
            let add = |sum: &mut u64| {
                *sum += event;
                *sum
            };
            black_box(sum.upsert(|| 0, add).unwrap());
        }
        after_batch(keyed);
    }
    cpu_time() - begin
}

fn main() {
    let hasher = RandomState::default();
    let mut table = HashTable::new();
    let all = KeyGroupRange { start: 0, end: 128 };
    let mut keyed = Keyed::open(&BackendOptions::default(), all, 128, vec![]).unwrap();
    let sum = keyed.value(ValueStateDescriptor::new("sum")).unwrap();
    bare(&mut table, &hasher);
    state(&mut keyed, &sum, Keys::Ahead, |_| {});
    let per = |time: Duration| time.as_nanos() as f64 / EVENTS as f64;
    let mut best = [Duration::MAX; 5];
    let mut bytes = 0;
    for _ in 0..RUNS {
        let bare = bare(&mut table, &hasher);
        let one_by_one = state(&mut keyed, &sum, Keys::OneByOne, |_| {});
        let ahead = state(&mut keyed, &sum, Keys::Ahead, |_| {});
        // One snapshot alone, and one while events pass.
        let reader = begin_snapshot(&mut keyed);
        let begin = cpu_time();
        while keyed.snapshot_step(STEP) > SnapshotStep::Done {}
        let alone = cpu_time() - begin;
        bytes = reader.join().unwrap();
        let reader = begin_snapshot(&mut keyed);
        let mut more = SnapshotStep::More;
        let step = |keyed: &mut Keyed<u64>| {
            if more > SnapshotStep::Done {
                more = keyed.snapshot_step(STEP);
            }
        };
        let with_snapshot = state(&mut keyed, &sum, Keys::Ahead, step);
        keyed.finish_snapshots();
        reader.join().unwrap();
        for (best, time) in best.iter_mut().zip([bare, one_by_one, ahead, alone, with_snapshot]) {
            *best = time.min(*best);
        }
    }
    let [bare, one_by_one, ahead, alone, with_snapshot] = best;
    println!("{KEYS} keys, {EVENTS} events, best of {RUNS} runs:");
    println!("hash table alone          {:6.1} ns per event", per(bare));
    println!("value state, key by key   {:6.1} ns per event: {:.2}", per(one_by_one), per(one_by_one) / per(bare));
    println!("value state, keys ahead   {:6.1} ns per event: {:.2}", per(ahead), per(ahead) / per(bare));
    println!("a snapshot, no events     {:6.1} ms for {} MB", alone.as_secs_f64() * 1e3, bytes / 1_000_000);
    let added = with_snapshot.saturating_sub(ahead).as_secs_f64() * 1e3;
    println!("a snapshot with events    {added:6.1} ms more than without");
}

/// Begins one whose bytes another thread takes and counts.
fn begin_snapshot(keyed: &mut Keyed<u64>) -> JoinHandle<usize> {
    let SnapshotBytes::Canonical(blocks) = keyed.snapshot(SnapshotKind::Checkpoint).unwrap().source else {
        unreachable!("state in memory writes the canonical format")
    };
    let spare = blocks.spare().clone();
    thread::spawn(move || blocks.map(|block| spare.lend(block.unwrap()).as_ref().len()).sum())
}
