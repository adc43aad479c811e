//! What a record costs in windows: tumbling 10 s, and sliding 60 s by 1 s, of the same records.
//!
//! 100,000 keys, a million records per second of event time, up to a second out of order, 90 s: a sum per key and window.
//! `cargo bench -p flumen-worker --bench windows [seconds]`. Prints nanoseconds of CPU per record, and the ratio.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark speaks to a terminal")]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::{Duration, Instant};

use flumen_fs::{FileSystems, FsOptions};
use flumen_model::config::Configuration;
use flumen_model::ids::{ExecutionAttempt, OperatorId, SubtaskId, VertexId};
use flumen_worker::batch::{Batch, END_OF_TIME};
use flumen_worker::keyed::OwnedKey;
use flumen_worker::keyed_state::StateSettings;
use flumen_worker::operator::{BATCH_RECORDS, Push, Signal, TaskResult};
use flumen_worker::operators::Collector;
use flumen_worker::subtask::{SubtaskContext, TimeSource, WorkerContext};
use flumen_worker::windows::{
    Apply, Elements, Reducing, SliceOperator, Slicing, SlidingEventTimeWindows, TimeWindow, TumblingEventTimeWindows,
    WindowOperator, WindowOutputs, Windowing,
};

const KEYS: u64 = 100_000;
const PER_MS: i64 = 1000;

type Record = (u64, u64);
type Out = (u64, i64, u64);

struct Count(Arc<AtomicI64>);

impl Push<Out> for Count {
    fn push(&mut self, batch: &mut Batch<Out>) -> TaskResult {
        self.0.fetch_add(batch.len() as i64, std::sync::atomic::Ordering::Relaxed);
        batch.clear();
        Ok(())
    }

    fn signal(&mut self, _: Signal<'_>) -> TaskResult {
        Ok(())
    }
}

fn splitmix(number: u64) -> u64 {
    let z = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn context(runtime: &tokio::runtime::Runtime) -> SubtaskContext {
    let configuration = Configuration::default();
    let tmp_dirs: Arc<[PathBuf]> = Arc::new([std::env::temp_dir()]);
    let (reports, _) = tokio::sync::mpsc::channel(1);
    let id = SubtaskId { vertex: VertexId(1), index: 0 };
    let worker = WorkerContext {
        state: StateSettings::read(&configuration, &tmp_dirs, 64 << 20, 1).unwrap(),
        configuration: Arc::new(configuration),
        files: FileSystems::new(FsOptions::default()).unwrap(),
        runtime: runtime.handle().clone(),
        operator_memory: 1 << 20,
        tmp_dirs,
        buffer_timeout: Duration::from_millis(100),
        segment_bytes: 32 << 10,
        checkpointing: false,
        time: TimeSource::System,
    };
    SubtaskContext {
        vertex_name: "windows".into(),
        max_parallelism: 128,
        ..SubtaskContext::new(id, ExecutionAttempt(0), 1, reports, worker)
    }
}

/// CPU seconds of this thread.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    stat.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
}

/// Nanoseconds of CPU per record, and records that came out.
fn run(seconds: i64, warm_up: i64, out: &Arc<AtomicI64>, mut head: Option<Box<dyn Push<Record>>>) -> (f64, i64) {
    let mut batch = Batch::with_capacity(BATCH_RECORDS);
    let mut checked = 0u64;
    let mut begun = cpu();
    let wall = Instant::now();
    let mut number = 0u64;
    let mut firing = 0.0;
    for ms in 0..seconds * 1000 {
        if ms == warm_up * 1000 {
            begun = cpu();
            firing = 0.0;
            out.store(0, std::sync::atomic::Ordering::Relaxed);
        }
        for _ in 0..PER_MS {
            let random = splitmix(number);
            number += 1;
            batch.push((random % KEYS, 1), (ms - ((random >> 40) % 1000) as i64).max(0));
            if batch.len() == BATCH_RECORDS {
                match &mut head {
                    Some(head) => head.push(&mut batch).unwrap(),
                    None => {
                        checked += batch.drain().map(|(record, time)| record.0 ^ time as u64).sum::<u64>();
                    }
                }
            }
        }
        // As a generator of watermarks does it: every 200 ms of processing time; here of event time.
        if ms % 200 == 199
            && let Some(head) = &mut head
        {
            head.push(&mut batch).unwrap();
            let before = cpu();
            head.signal(Signal::Watermark(ms - 1001)).unwrap();
            firing += cpu() - before;
        }
    }
    let records = (seconds - warm_up) * 1000 * PER_MS;
    let ns = (cpu() - begun) * 1e9 / records as f64;
    if let Some(head) = &mut head {
        head.signal(Signal::Watermark(END_OF_TIME)).unwrap();
    }
    std::hint::black_box(checked);
    println!(
        "  {:.1} s, of it firing {:.1} ns per record",
        wall.elapsed().as_secs_f64(),
        firing * 1e9 / records as f64
    );
    (ns, out.load(std::sync::atomic::Ordering::Relaxed))
}

fn emit(key: &u64, window: &TimeWindow, sums: Elements<'_, Record>, out: &mut Collector<Out>) {
    sums.for_each(|sum| out.collect((*key, window.start, sum.1)));
}

fn main() {
    let seconds = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(100);
    let warm_up = 65.min(seconds / 2);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let context = context(&runtime);
    let selector = || OwnedKey::<_, u64>::new(|record: &Record| record.0);
    let sum = || Reducing(|sum: &mut Record, record: Record| sum.1 += record.1);
    let tumbling = TumblingEventTimeWindows::of(Duration::from_secs(10));
    let sliding = SlidingEventTimeWindows::of(Duration::from_secs(60), Duration::from_secs(1));
    let sliced = |slicing: Slicing, out: &Arc<AtomicI64>| -> Box<dyn Push<Record>> {
        let output = Box::new(Count(Arc::clone(out)));
        let outputs = WindowOutputs::default();
        let operator = OperatorId(1);
        let opened = SliceOperator::open(&context, operator, selector(), slicing, sum(), Apply(emit), outputs, output);
        Box::new(opened.unwrap())
    };
    let out = Arc::new(AtomicI64::new(0));
    let (source, _) = run(seconds, warm_up, &out, None);
    println!("records alone: {source:.1} ns");
    let mut costs = Vec::new();
    for (name, slicing) in [
        ("tumbling 10 s", Slicing::of(&tumbling, Duration::ZERO, false).unwrap()),
        ("sliding 60 s by 1 s", Slicing::of(&sliding, Duration::ZERO, false).unwrap()),
    ] {
        let (ns, emitted) = run(seconds, warm_up, &out, Some(sliced(slicing, &out)));
        println!("{name}: {ns:.1} ns per record, {:.1} without making it; {emitted} results", ns - source);
        costs.push(ns);
    }
    println!(
        "sliding / tumbling: {:.2}; without making the records: {:.2}",
        costs[1] / costs[0],
        (costs[1] - source) / (costs[0] - source)
    );
    let output = Box::new(Count(Arc::clone(&out)));
    let windowing = Windowing::of::<Record>(tumbling);
    let (operator, outputs) = (OperatorId(1), WindowOutputs::default());
    let general =
        WindowOperator::open(&context, operator, selector(), windowing, sum(), Apply(emit), outputs, output).unwrap();
    let (ns, emitted) = run(seconds.min(30), 10, &out, Some(Box::new(general)));
    println!("tumbling 10 s, general operator: {ns:.1} ns per record; {emitted} results");
}
