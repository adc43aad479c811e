//! Whole programs in the embedded cluster that lose what they did since their newest checkpoint, and nothing else.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use flumen::{
    Collector, Configuration, Error, FunctionResult, KeyedContext, KeyedProcessFunction, OpenContext,
    StreamExecutionEnvironment, ValueState, ValueStateDescriptor,
};

const EVENTS: u64 = 20_000;
const KEYS: u64 = 16;
/// Events per second: the job runs for longer than a few checkpoints.
const RATE: f64 = 20_000.0;

/// Adds up the values of each key.
#[derive(Clone)]
struct RunningSum;

impl KeyedProcessFunction<u64, (u64, u64), (u64, u64)> for RunningSum {
    type State = ValueState<u64, u64>;

    fn open(&self, context: &mut OpenContext<'_, u64>) -> FunctionResult<Self::State> {
        Ok(context.value_state(ValueStateDescriptor::new("sum"))?)
    }

    fn process_element(
        &mut self,
        (key, value): (u64, u64),
        sum: &Self::State,
        _: &mut KeyedContext<'_, u64>,
        out: &mut Collector<(u64, u64)>,
    ) -> FunctionResult {
        let sum = sum.upsert(u64::default, |sum| {
            *sum += value;
            *sum
        })?;
        out.collect((key, sum));
        Ok(())
    }
}

/// What a run of [`sums`] saw.
#[derive(Default)]
struct Seen {
    /// By key, the last sum.
    sums: BTreeMap<u64, u64>,
    /// How often the first event was read.
    first_read: u64,
}

/// Adds up 0, 1, 2, … by key. When `fail` is set and there are checkpoints in `directory`, the program panics, once.
fn sums(directory: &Path, options: &[(&str, &str)], fail: bool) -> (Result<(), Error>, Seen) {
    let mut configuration = Configuration::new();
    configuration.set("state.checkpoints.dir", directory.to_str().unwrap());
    configuration.set("execution.checkpointing.interval", "50 ms");
    for (key, value) in options {
        configuration.set(*key, *value);
    }
    let env = StreamExecutionEnvironment::get_with(&configuration).unwrap();
    env.set_parallelism(2);
    let first = Arc::new(AtomicU64::new(0));
    let failing = Arc::new(AtomicBool::new(fail));
    let last: Arc<Mutex<BTreeMap<u64, u64>>> = Arc::default();
    let (reads, sink, watched) = (Arc::clone(&first), Arc::clone(&last), directory.to_owned());
    env.generate(EVENTS, Some(RATE), |i| (i % KEYS, i))
        .uid("events")
        .map(move |event| {
            if event.1 == 0 {
                reads.fetch_add(1, Ordering::Relaxed);
            }
            event
        })
        .uid("watch")
        .key_by(|(key, _)| *key)
        .process(RunningSum)
        .uid("sum")
        .map(move |(key, sum)| {
            if sum % 64 == 0
                && failing.load(Ordering::Relaxed)
                && !completed(&watched).is_empty()
                && newest(&watched) > 2
            {
                failing.store(false, Ordering::Relaxed);
                panic!("as the test wants it");
            }
            let mut last = sink.lock().unwrap();
            let known = last.entry(key).or_default();
            *known = sum.max(*known);
        })
        .uid("sink");
    let result = env.execute("sums").map(drop);
    let sums = std::mem::take(&mut *last.lock().unwrap());
    (result, Seen { sums, first_read: first.load(Ordering::Relaxed) })
}

fn expected() -> BTreeMap<u64, u64> {
    let mut sums = BTreeMap::new();
    for i in 0..EVENTS {
        *sums.entry(i % KEYS).or_default() += i;
    }
    sums
}

/// The directories of all completed checkpoints.
fn completed(directory: &Path) -> Vec<PathBuf> {
    let list = |path: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
    };
    let jobs = list(directory);
    let checkpoints = jobs.iter().flat_map(|job| list(job));
    checkpoints.filter(|path| path.join("_metadata").try_exists().unwrap_or(false)).collect()
}

fn newest(directory: &Path) -> u64 {
    let number = |path: &PathBuf| path.file_name()?.to_str()?.strip_prefix("chk-")?.parse::<u64>().ok();
    completed(directory).iter().filter_map(number).max().unwrap_or(0)
}

#[test]
fn a_job_that_fails_goes_on_from_its_newest_checkpoint_and_leaves_none_behind() {
    let directory = tempfile::tempdir().unwrap();
    let restart = [("restart-strategy.type", "fixed-delay"), ("restart-strategy.fixed-delay.delay", "10 ms")];
    let (result, seen) = sums(directory.path(), &restart, true);
    result.unwrap();
    assert_eq!(seen.sums, expected());
    assert_eq!(seen.first_read, 1, "it did not begin again");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "{:?}", completed(directory.path()));
}

#[test]
fn a_job_starts_from_a_checkpoint_that_a_failed_one_left() {
    let directory = tempfile::tempdir().unwrap();
    let options = [
        ("restart-strategy.type", "none"),
        ("execution.checkpointing.externalized-checkpoint-retention", "RETAIN_ON_CANCELLATION"),
    ];
    let (result, _) = sums(directory.path(), &options, true);
    assert!(result.unwrap_err().to_string().contains("as the test wants it"));
    let left = completed(directory.path());
    let [left] = &left[..] else { panic!("one is retained: {left:?}") };

    let other = tempfile::tempdir().unwrap();
    let from = [("execution.state-recovery.path", left.to_str().unwrap())];
    let (result, seen) = sums(other.path(), &from, false);
    result.unwrap();
    assert_eq!(seen.sums, expected());
    assert_eq!(seen.first_read, 0, "the first event was read by the other job");
    assert_eq!(completed(directory.path()), std::slice::from_ref(left), "it stays its user's");
}

#[test]
fn what_a_job_is_to_start_from_must_be_there_and_whole() {
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in [("absent", None), ("torn", Some("FLUMENCP"))] {
        let path = directory.path().join(name);
        if let Some(content) = content {
            std::fs::create_dir(&path).unwrap();
            std::fs::write(path.join("_metadata"), content).unwrap();
        }
        let from = [("execution.state-recovery.path", path.to_str().unwrap())];
        let (result, seen) = sums(directory.path(), &from, false);
        let error = format!("{:?}", result.unwrap_err());
        assert!(error.contains(path.to_str().unwrap()), "{error}");
        assert!(seen.sums.is_empty());
    }
}
