//! Keyed sums through the state API over RocksDB, beside direct use of the `rocksdb` crate for the same operations.
//!
//! ```text
//! scripts/rocksdb.sh
//! cargo bench -p flumen-state --features rocksdb --bench rocksdb -- [--keys 1000000] [--records 5000000] [--megabytes 256] [--runs 3]
//! ```
//!
//! Each record names one of so many keys, evenly at random: its sum is read, added to, and written. Both have the same budget of
//! memory, no write-ahead log, and a checkpoint (hard links to RocksDB's files) each second. The direct program sets RocksDB up
//! with the same table format and filters, has one thread, reads without copying, and puts each sum as it is. Wall time and the
//! CPU time of the whole process (RocksDB's own threads too), best of the runs, which take turns.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark reports on its standard output, and ends when something fails"
)]

use std::path::Path;
use std::time::{Duration, Instant};

use flumen_model::checkpoint::{KeyGroupRange, SnapshotKind};
use flumen_model::key_group::{key_group, key_hash};
use flumen_state::rocksdb::SharedRocksDb;
use flumen_state::{BackendKind, BackendOptions, Keyed, ValueStateDescriptor};
use rocksdb::checkpoint::Checkpoint;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DB, DataBlockIndexType, Options, WriteBufferManager, WriteOptions,
};

const MAX_PARALLELISM: u32 = 128;
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(1);
/// Records between two looks at the clock.
const BATCH: u64 = 1000;

struct Setting {
    keys: u64,
    records: u64,
    bytes: usize,
}

#[derive(Clone, Copy)]
struct Measured {
    wall: Duration,
    cpu: Duration,
    longest_pause: Duration,
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let value = |name: &str, default: u64| {
        arguments.iter().position(|a| a == name).map_or(default, |at| arguments[at + 1].parse().unwrap())
    };
    let setting = Setting {
        keys: value("--keys", 1_000_000),
        records: value("--records", 5_000_000),
        bytes: value("--megabytes", 256) as usize * 1_000_000,
    };
    let runs = value("--runs", 3);
    let Setting { keys, records, bytes } = setting;
    println!("{keys} keys, {records} records, {} MB of memory, best of {runs} runs", bytes / 1_000_000);
    let mut best: [Option<Measured>; 2] = [None, None];
    for _ in 0..runs {
        for (best, run) in best.iter_mut().zip([direct as fn(&Path, &Setting), through_state]) {
            let directory = tempfile::tempdir().unwrap();
            let measured = measure(|| run(directory.path(), &setting));
            if best.is_none_or(|best| measured.wall < best.wall) {
                *best = Some(measured);
            }
        }
    }
    let [direct, state] = best.map(Option::unwrap);
    println!("{:<28} {:>12} {:>15} {:>22} {:>8}", "", "µs/record", "CPU µs/record", "longest checkpoint ms", "ratio");
    for (name, measured) in [("rocksdb crate, directly", direct), ("state API over RocksDB", state)] {
        let per_record = |time: Duration| time.as_secs_f64() * 1e6 / records as f64;
        println!(
            "{name:<28} {:>12.3} {:>15.3} {:>22.1} {:>8.2}",
            per_record(measured.wall),
            per_record(measured.cpu),
            measured.longest_pause.as_secs_f64() * 1e3,
            direct.wall.as_secs_f64() / measured.wall.as_secs_f64(),
        );
    }
}

std::thread_local! {
    static LONGEST_PAUSE: std::cell::Cell<Duration> = const { std::cell::Cell::new(Duration::ZERO) };
}

fn measure(run: impl FnOnce()) -> Measured {
    LONGEST_PAUSE.set(Duration::ZERO);
    let (start, cpu) = (Instant::now(), cpu_time());
    run();
    Measured { wall: start.elapsed(), cpu: cpu_time() - cpu, longest_pause: LONGEST_PAUSE.get() }
}

/// CPU time of this process: Linux counts it in hundredths of a second.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<u64>().unwrap();
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}

/// Calls with each record's key, and regularly for a checkpoint.
fn records(setting: &Setting, mut each: impl FnMut(u64), mut checkpoint: impl FnMut(u64)) {
    let mut random = 0x853c_49e6_748f_ea9b_u64;
    let (mut last, mut checkpoints) = (Instant::now(), 0);
    for record in 0..setting.records {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        each(random % setting.keys);
        if record % BATCH == 0 && last.elapsed() >= CHECKPOINT_INTERVAL {
            let start = Instant::now();
            checkpoints += 1;
            checkpoint(checkpoints);
            LONGEST_PAUSE.set(LONGEST_PAUSE.get().max(start.elapsed()));
            last = Instant::now();
        }
    }
}

fn through_state(directory: &Path, setting: &Setting) {
    let options = BackendOptions {
        kind: BackendKind::RocksDb,
        directories: vec![directory.to_owned()],
        name: "sum".to_owned(),
        incremental: true,
        rocksdb: Some(SharedRocksDb::new(setting.bytes)),
        ..BackendOptions::default()
    };
    let groups = KeyGroupRange { start: 0, end: MAX_PARALLELISM };
    let mut keyed = Keyed::<u64>::open(&options, groups, MAX_PARALLELISM, vec![]).unwrap();
    let sum = keyed.value(ValueStateDescriptor::<u64>::new("sum")).unwrap();
    let keyed = std::cell::RefCell::new(keyed);
    records(
        setting,
        |key| {
            keyed.borrow_mut().set_current_key(&key);
            sum.upsert(|| 0, |sum| *sum += key).unwrap();
        },
        |_| drop(keyed.borrow_mut().snapshot(SnapshotKind::Checkpoint).unwrap()),
    );
}

fn direct(directory: &Path, setting: &Setting) {
    let write_buffers = setting.bytes / 3;
    let cache = Cache::new_hyper_clock_cache(setting.bytes / 6 * 5, 0);
    let manager = WriteBufferManager::new_write_buffer_manager_with_cache(write_buffers, false, cache.clone());
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&cache);
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    table.set_format_version(6);
    table.set_bloom_filter(10.0, false);
    table.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_write_buffer_manager(&manager);
    options.set_write_buffer_size((write_buffers / 2).min(64 << 20));
    options.set_allow_concurrent_memtable_write(false);
    options.set_enable_write_thread_adaptive_yield(false);
    options.set_block_based_table_factory(&table);
    let families = ["default", "sum"].map(|name| ColumnFamilyDescriptor::new(name, options.clone()));
    let db = DB::open_cf_descriptors(&options, directory.join("db"), families).unwrap();
    let family = db.cf_handle("sum").unwrap();
    let mut write = WriteOptions::default();
    write.disable_wal(true);
    records(
        setting,
        |key| {
            let bytes = key.to_le_bytes();
            let group = key_group(key_hash(&bytes), MAX_PARALLELISM) as u16;
            let mut row = [0; 10];
            row[..2].copy_from_slice(&group.to_be_bytes());
            row[2..].copy_from_slice(&bytes);
            let found = db.get_pinned_cf(family, row).unwrap();
            let sum = found.map_or(0, |sum| u64::from_le_bytes(*sum.first_chunk().unwrap())) + key;
            db.put_cf_opt(family, row, sum.to_le_bytes(), &write).unwrap();
        },
        |number| {
            let links = directory.join(number.to_string());
            Checkpoint::new(&db).unwrap().create_checkpoint(&links).unwrap();
            std::fs::remove_dir_all(links).unwrap();
        },
    );
}
