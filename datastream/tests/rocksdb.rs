//! Whole programs in the embedded cluster with state in RocksDB: what a restored job writes, and from what it restores.

#![cfg(feature = "rocksdb")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use flumen::{
    Collector, Configuration, Error, FunctionResult, KeyedContext, KeyedProcessFunction, OpenContext,
    StreamExecutionEnvironment, ValueState, ValueStateDescriptor,
};

const KEYS: u64 = 4_000;
const BYTES: usize = 1_000;
/// After the keys, one key changes again and again.
const EVENTS: u64 = KEYS + 40_000;
/// Events per second: the job runs for longer than a few checkpoints.
const RATE: f64 = 10_000.0;

/// Keeps a text of some length for each key.
#[derive(Clone)]
struct Keep;

impl KeyedProcessFunction<u64, u64, u64> for Keep {
    type State = ValueState<u64, String>;

    fn open(&self, context: &mut OpenContext<'_, u64>) -> FunctionResult<Self::State> {
        Ok(context.value_state(ValueStateDescriptor::new("text"))?)
    }

    fn process_element(
        &mut self,
        event: u64,
        text: &Self::State,
        _: &mut KeyedContext<'_, u64>,
        out: &mut Collector<u64>,
    ) -> FunctionResult {
        // One that does not compress.
        let mut seed = event;
        let value = (0..BYTES).map(|_| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(b'!' + (seed >> 57) as u8 % 94)
        });
        text.set(value.collect())?;
        out.collect(event);
        Ok(())
    }
}

/// Files below a directory that a checkpoint of all keys may consist of, and their bytes.
fn shared(directory: &Path) -> BTreeMap<PathBuf, u64> {
    let mut found = BTreeMap::new();
    for job in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        for file in std::fs::read_dir(job.path().join("shared")).into_iter().flatten().flatten() {
            found.insert(file.path(), file.metadata().map_or(0, |meta| meta.len()));
        }
    }
    found
}

/// The newest checkpoint that is complete.
fn newest(directory: &Path) -> Option<(u64, PathBuf)> {
    let list = |path: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
    };
    let number = |path: PathBuf| Some((path.file_name()?.to_str()?.strip_prefix("chk-")?.parse().ok()?, path));
    let all = list(directory).into_iter().flat_map(|job| list(&job)).filter_map(number);
    all.filter(|(_, path)| path.join("_metadata").try_exists().unwrap_or(false)).max()
}

#[derive(Default)]
struct Seen {
    /// When all keys were written, the newest checkpoint was this.
    full: Option<u64>,
    /// The newest checkpoint when the program panicked, and the files there were.
    failed: Option<(u64, BTreeMap<PathBuf, u64>)>,
    /// The files of the first checkpoint afterwards.
    after: Option<BTreeMap<PathBuf, u64>>,
}

/// Writes all keys, and panics once when a checkpoint has them.
fn run(directory: &Path, options: &[(&str, &str)]) -> (Result<(), Error>, Seen) {
    let mut configuration = Configuration::new();
    configuration.set("state.backend.type", "rocksdb");
    configuration.set("state.checkpoints.dir", directory.join("checkpoints").to_str().unwrap());
    configuration.set("io.tmp.dirs", directory.join("tmp").to_str().unwrap());
    configuration.set("execution.checkpointing.interval", "300 ms");
    configuration.set("restart-strategy.type", "fixed-delay");
    configuration.set("restart-strategy.fixed-delay.delay", "10 ms");
    options.iter().for_each(|(key, value)| configuration.set(*key, *value));
    let env = StreamExecutionEnvironment::get_with(&configuration).unwrap();
    env.set_parallelism(1);
    let seen = Arc::new(Mutex::new(Seen::default()));
    let (watch, checkpoints) = (Arc::clone(&seen), directory.join("checkpoints"));
    env.generate(EVENTS, Some(RATE), |i| i)
        .uid("events")
        .key_by(|event| if *event < KEYS { *event } else { 0 })
        .process(Keep)
        .uid("keep")
        .map(move |event| {
            let mut seen = watch.lock().unwrap();
            if event % 16 != 0 || event < KEYS || seen.after.is_some() {
                return;
            }
            let newest = newest(&checkpoints).map_or(0, |(id, _)| id);
            let full = *seen.full.get_or_insert(newest);
            match &seen.failed {
                // The one after the next was triggered when all keys were there.
                None if newest > full + 1 => {
                    seen.failed = Some((newest, shared(&checkpoints)));
                    drop(seen);
                    panic!("as the test wants it");
                }
                Some((failed, _)) if newest > *failed => seen.after = Some(shared(&checkpoints)),
                _ => {}
            }
        })
        .uid("watch");
    let result = env.execute("keep").map(drop);
    let seen = std::mem::take(&mut *seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    (result, seen)
}

/// The first checkpoint after a restore refers to what the one before has.
fn little_is_written_after_a_restore(options: &[(&str, &str)]) {
    let directory = tempfile::tempdir().unwrap();
    let (result, seen) = run(directory.path(), options);
    result.unwrap();
    let (_, before) = seen.failed.expect("it failed");
    let after = seen.after.expect("a checkpoint was taken after the restore");
    let new: u64 = after.iter().filter(|(path, _)| !before.contains_key(*path)).map(|(_, bytes)| bytes).sum();
    let all: u64 = before.values().sum();
    assert!(all > KEYS * BYTES as u64 / 2, "{all} bytes are not all keys");
    assert!(new < all / 4, "{new} bytes were written, of {all}");
    let left: Vec<_> = std::fs::read_dir(directory.path().join("tmp")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn the_first_checkpoint_after_a_restore_writes_only_what_is_new() {
    little_is_written_after_a_restore(&[]);
}

#[test]
fn also_a_job_that_restores_from_local_copies_writes_only_what_is_new() {
    little_is_written_after_a_restore(&[("state.backend.local-recovery", "true")]);
}

#[test]
fn an_altered_file_of_rocksdb_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let options = [
        ("restart-strategy.type", "none"),
        ("execution.checkpointing.externalized-checkpoint-retention", "RETAIN_ON_CANCELLATION"),
    ];
    run(directory.path(), &options).0.unwrap_err();
    let (_, left) = newest(&directory.path().join("checkpoints")).expect("one is retained");
    let files = shared(&directory.path().join("checkpoints"));
    let (altered, _) = files.iter().max_by_key(|(_, bytes)| **bytes).unwrap();
    let mut bytes = std::fs::read(altered).unwrap();
    bytes[1_000] ^= 1;
    std::fs::write(altered, bytes).unwrap();
    let other = tempfile::tempdir().unwrap();
    let from = [options[0], ("execution.state-recovery.path", left.to_str().unwrap())];
    let error = format!("{:?}", run(other.path(), &from).0.unwrap_err());
    let name = altered.file_name().unwrap().to_str().unwrap();
    assert!(error.contains(name), "{name}: {error}");
}
