//! A running sum per key through the public API, beside a hand-written loop over batches with the same hash map, in the same
//! invocation; with and without checkpoints, and in RocksDB where it is built in.
//!
//! ```text
//! cargo bench -p flumen --bench keyed_sum -- [--events 20000000] [--long-events 200000000] [--keys 1000000] [--runs 3]
//! cargo bench -p flumen --features rocksdb --bench keyed_sum
//! ```
//!
//! What checkpoints cost is measured in runs of `--long-events`, which see several of them. Their speed is that until the last
//! sum came out: the end of a bounded job then waits for one more checkpoint, however long it ran, whose CPU time counts.
//!
//! Event `i` has the key `splitmix64(i) mod K` and the value `i`; a pair (key, sum) comes out for every event. One subtask of
//! each operator, so that the speeds are those of two threads at most; the ratio that counts is that of CPU times.

#![allow(clippy::print_stdout, reason = "a benchmark reports on its standard output")]

#[path = "shared/own_process.rs"]
mod own_process;

use std::collections::BTreeMap;
use std::hash::BuildHasher as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use flumen::{
    CheckpointingMode, Collector, Configuration, FunctionResult, KeyedContext, KeyedProcessFunction, OpenContext,
    RuntimeContext, SinkContext, SinkFunction, StreamExecutionEnvironment, ValueState, ValueStateDescriptor,
};
use own_process::Task;

const BATCH: usize = 1024;

fn main() {
    if let Some(task) = own_process::task() {
        return own_process::run(|| run(&task));
    }
    let arguments: Vec<String> = std::env::args().collect();
    let value = |name: &str, default: u64| {
        arguments.iter().position(|a| a == name).map_or(default, |at| arguments[at + 1].parse().expect("a number"))
    };
    let (events, keys, runs) = (value("--events", 20_000_000), value("--keys", 1_000_000), value("--runs", 3));
    let long = value("--long-events", 10 * events);
    println!("{:.1} M keys, best of {runs} runs that take turns", keys as f64 / 1e6);
    println!("{:<44} {:>8} {:>11} {:>13} {:>12}", "", "M events", "M events/s", "CPU µs/event", "ratio of CPU");
    compare(&["hand", "hashmap"], events, keys, runs);
    compare(&["hand", "hashmap", "hashmap with a checkpoint each second"], long, keys, runs);
    if cfg!(feature = "rocksdb") {
        compare(&["hand", "rocksdb", "rocksdb with a checkpoint each second"], events, keys, runs);
    }
}

/// Measures programs on the same events in turns: the first is what the others are compared with, the last may be the one
/// before it with checkpoints.
fn compare(programs: &[&str], events: u64, keys: u64, runs: u64) {
    let input = format!("{events}-{keys}");
    let mut all = vec![Vec::new(); programs.len()];
    for _ in 0..runs {
        for (what, measured) in programs.iter().zip(&mut all) {
            let (times, took_ms) = watched(|| own_process::measure(what, Path::new(&input), 1));
            measured.push(Measured { times, stream: Stream::take(std::process::id()), took_ms });
        }
    }
    let best: Vec<Measured> =
        all.iter().map(|runs| runs.iter().min_by_key(|one| one.times.cpu).expect("at least one run").clone()).collect();
    let cpu_seconds = |one: &Measured| one.times.cpu.as_secs_f64();
    let seconds = |one: &Measured| one.stream.as_ref().map_or(one.times.wall.as_secs_f64(), |stream| stream.seconds);
    for (what, one) in programs.iter().zip(&best) {
        let cpu = cpu_seconds(one) * 1e6 / events as f64;
        let ratio = cpu_seconds(&best[0]) / cpu_seconds(one);
        let (millions, speed) = (events as f64 / 1e6, events as f64 / seconds(one) / 1e6);
        let name = if *what == "hand" { "hand-written loop" } else { what };
        println!("{name:<44} {millions:>8.1} {speed:>11.2} {cpu:>13.4} {ratio:>12.2}");
    }
    if let ([.., without, with], [.., best]) = (&all[..], &best[..])
        && let Some(Stream { checkpoints: count @ 1.., .. }) = &best.stream
    {
        // A difference of two runs says less than either: their speeds differ by where the kernel puts their memory.
        let (cpu, cpu_without) = (median(with, cpu_seconds), median(without, cpu_seconds));
        println!(
            "    {count} checkpoints; medians of all runs: {:.0} ms of CPU each; together {:+.1} % CPU, {:+.1} % time until the last sum",
            (cpu - cpu_without) * 1e3 / *count as f64,
            (cpu / cpu_without - 1.0) * 1e2,
            (median(with, seconds) / median(without, seconds) - 1.0) * 1e2,
        );
        if let [least, .., greatest] = best.took_ms[..] {
            let median = best.took_ms[best.took_ms.len() / 2];
            println!("    from trigger to complete: {median:.0} ms ({least:.0}–{greatest:.0})");
        }
    }
}

fn median(runs: &[Measured], of: impl Fn(&Measured) -> f64) -> f64 {
    let mut all: Vec<f64> = runs.iter().map(of).collect();
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

/// One run of a program.
#[derive(Clone)]
struct Measured {
    times: own_process::Measured,
    /// What a job tells besides.
    stream: Option<Stream>,
    /// From the trigger of each checkpoint until its metadata had its name, in order.
    took_ms: Vec<f64>,
}

/// What the sink of a job saw. The process that runs the job leaves it in a file for the one that started it.
#[derive(Clone)]
struct Stream {
    /// Barriers that came.
    checkpoints: u64,
    /// Until the last sum came out.
    seconds: f64,
}

impl Stream {
    fn file(measuring: u32) -> PathBuf {
        std::env::temp_dir().join(format!("flumen-keyed-sum-{measuring}-stream"))
    }

    fn leave(&self) {
        let file = Self::file(std::os::unix::process::parent_id());
        std::fs::write(file, format!("{} {}", self.checkpoints, self.seconds)).expect("a file for the figures");
    }

    fn take(measuring: u32) -> Option<Self> {
        let file = Self::file(measuring);
        let text = std::fs::read_to_string(&file).ok()?;
        std::fs::remove_file(&file).expect("the file of the figures can be removed");
        let mut numbers = text.split_whitespace();
        let (checkpoints, seconds) = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
        Some(Self { checkpoints, seconds })
    }
}

fn run(task: &Task) {
    let input = task.input.to_str().and_then(|text| text.split_once('-')).expect("events and keys");
    let (events, keys) = (input.0.parse().expect("a number"), input.1.parse().expect("a number"));
    match task.what.as_str() {
        "hand" => hand(events, keys),
        what => flumen(events, keys, what, task.parallelism),
    }
}

fn splitmix64(i: u64) -> u64 {
    let z = i.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Batches of events, folded into a hash map of the kind that Flumen's state has, and batches of sums that somebody looks at.
fn hand(events: u64, keys: u64) {
    let hasher = foldhash::fast::RandomState::default();
    let mut sums: hashbrown::HashTable<(u64, u64)> = hashbrown::HashTable::new();
    let (mut batch, mut out) = (Vec::with_capacity(BATCH), Vec::with_capacity(BATCH));
    let mut seen = 0u64;
    let mut next = 0;
    while next < events {
        let end = events.min(next + BATCH as u64);
        batch.extend((next..end).map(|i| (splitmix64(i) % keys, i)));
        next = end;
        for (key, value) in batch.drain(..) {
            let entry = sums.entry(hasher.hash_one(key), |(k, _)| *k == key, |(k, _)| hasher.hash_one(k));
            let sum = &mut entry.or_insert((key, 0)).into_mut().1;
            *sum = sum.wrapping_add(value);
            out.push((key, *sum));
        }
        seen += std::hint::black_box(&out).len() as u64;
        out.clear();
    }
    assert_eq!(seen, events);
}

#[derive(Clone)]
struct RunningSum;

impl KeyedProcessFunction<u64, (u64, u64), (u64, u64)> for RunningSum {
    type State = ValueState<u64, u64>;

    fn open(&self, context: &mut OpenContext<'_, u64>) -> FunctionResult<Self::State> {
        Ok(context.value_state(ValueStateDescriptor::new("sum"))?)
    }

    #[inline]
    fn process_element(
        &mut self,
        (key, value): (u64, u64),
        sum: &Self::State,
        _: &mut KeyedContext<'_, u64>,
        out: &mut Collector<(u64, u64)>,
    ) -> FunctionResult {
        let sum = sum.upsert(u64::default, |sum| {
            *sum = sum.wrapping_add(value);
            *sum
        })?;
        out.collect((key, sum));
        Ok(())
    }
}

/// Barriers that came to the sink.
static CHECKPOINTS: AtomicU64 = AtomicU64::new(0);
/// When everything had come to the sink.
static LAST_SUM: OnceLock<Instant> = OnceLock::new();

/// Where the job has its checkpoints that a process measures.
fn checkpoints_of(measuring: u32) -> PathBuf {
    std::env::temp_dir().join(format!("flumen-keyed-sum-{measuring}"))
}

/// How often is looked for checkpoints: so rarely that it takes no part of a processor.
const LOOKS: Duration = Duration::from_millis(100);

/// Measures a job, and looks at its checkpoints meanwhile: how long each one took, in order.
fn watched<R>(measure: impl FnOnce() -> R) -> (R, Vec<f64>) {
    let directory = checkpoints_of(std::process::id());
    let mut took_ms = BTreeMap::new();
    let (over, ends) = mpsc::sync_channel::<()>(1);
    let result = thread::scope(|scope| {
        let took_ms = &mut took_ms;
        scope.spawn(move || {
            while ends.recv_timeout(LOOKS) == Err(RecvTimeoutError::Timeout) {
                look_at_checkpoints(&directory, took_ms);
            }
        });
        let result = measure();
        drop(over);
        result
    });
    let mut took_ms: Vec<f64> = took_ms.into_values().collect();
    took_ms.sort_by(f64::total_cmp);
    (result, took_ms)
}

/// Reads from the metadata when the checkpoints that are there were triggered, and from the file system when they got their names.
/// One is there until the next one is complete. Done by the process that measures the job, not by the job itself.
fn look_at_checkpoints(directory: &Path, took_ms: &mut BTreeMap<PathBuf, f64>) {
    let below = |path: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
    };
    let all = below(directory).into_iter().flat_map(|job| below(&job)).map(|checkpoint| checkpoint.join("_metadata"));
    for metadata in all.filter(|metadata| !took_ms.contains_key(metadata)).collect::<Vec<_>>() {
        let Ok(named) = std::fs::metadata(&metadata) else { continue };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let systems = flumen_fs::FileSystems::new(flumen_fs::FsOptions::default()).expect("file systems");
        let path = format!("file://{}", metadata.display()).parse().expect("a path");
        let Ok(stored) = runtime.block_on(flumen_checkpoint::load(&systems, &path)) else { continue };
        let took = named.ctime() as f64 * 1e3 + named.ctime_nsec() as f64 / 1e6 - stored.checkpoint.triggered_ms as f64;
        took_ms.insert(metadata, took);
    }
}

/// Counts what it is given.
#[derive(Clone)]
struct Count {
    events: u64,
}

impl SinkFunction<(u64, u64)> for Count {
    type State = u64;

    fn open(&self, _: &RuntimeContext) -> FunctionResult<u64> {
        Ok(0)
    }

    #[inline]
    fn invoke(&mut self, sum: (u64, u64), seen: &mut u64, _: &SinkContext) -> FunctionResult {
        std::hint::black_box(sum);
        *seen += 1;
        Ok(())
    }

    fn flush(&mut self, _: &mut u64) -> FunctionResult {
        CHECKPOINTS.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn finish(&mut self, seen: &mut u64) -> FunctionResult {
        assert_eq!(*seen, self.events, "every event comes out");
        LAST_SUM.get_or_init(Instant::now);
        Ok(())
    }
}

fn flumen(events: u64, keys: u64, what: &str, parallelism: u32) {
    let directory = checkpoints_of(std::os::unix::process::parent_id());
    let mut options = Configuration::new();
    options.set("state.backend.type", what.split(' ').next().unwrap_or(what));
    options.set("execution.checkpointing.dir", format!("file://{}", directory.display()));
    let env = StreamExecutionEnvironment::get_with(&options).expect("an environment");
    env.set_parallelism(parallelism);
    if what.contains("checkpoint") {
        env.enable_checkpointing(Duration::from_secs(1), CheckpointingMode::ExactlyOnce);
    }
    env.generate(events, None, move |i| (splitmix64(i) % keys, i))
        .uid("events")
        .key_by_ref(|(key, _)| key)
        .process(RunningSum)
        .uid("sum")
        .add_sink(Count { events });
    let start = Instant::now();
    env.execute("keyed-sum").expect("the job finishes");
    let last = LAST_SUM.get().expect("the sink was finished");
    let seconds = last.duration_since(start).as_secs_f64();
    Stream { checkpoints: CHECKPOINTS.load(Ordering::Relaxed), seconds }.leave();
    // There is none without checkpoints.
    let _ = std::fs::remove_dir_all(directory);
}
