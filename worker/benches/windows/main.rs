//! What a record costs in windows: tumbling 10 s, and sliding 60 s by 1 s, of the same records. Also tumbling 1 s: as many slices and
//! results as the sliding ones.
//!
//! 100,000 keys, a million records per second of event time, up to a second out of order: a sum per key and window, of an aggregate
//! function, which knows what nothing comes to, and of a reduce function, which does not. Beside it, the same windows by hand. All are
//! measured in turns, in rounds of 10 s of event time: on a machine that others use, too, the best round of each is nearest to the truth.
//! `cargo bench -p flumen-worker --bench windows [rounds] [general]`. Prints nanoseconds of CPU per record, and ratios.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark speaks to a terminal")]

mod by_hand;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use flumen_fs::{FileSystems, FsOptions};
use flumen_model::ids::{ExecutionAttempt, OperatorId, SubtaskId, VertexId};
use flumen_state::AggregateFunction;
use flumen_worker::batch::Batch;
use flumen_worker::keyed::{KeySelector, OwnedKey};
use flumen_worker::operator::{BATCH_RECORDS, Push, Signal, TaskResult};
use flumen_worker::operators::Collector;
use flumen_worker::subtask::{SubtaskContext, WorkerContext};
use flumen_worker::windows::{
    Aggregating, Apply, Elements, Fold, ProcessWindowFunction, Reducing, RegularWindows, SliceOperator, Slicing,
    SlidingEventTimeWindows, TimeWindow, TumblingEventTimeWindows, WindowOperator, WindowOutputs, Windowing,
};

const KEYS: u64 = 100_000;
const PER_MS: i64 = 1000;

/// Seconds of event time of a round: each operator fires as often in one as in another.
const ROUND: i64 = 10;
/// Seconds until sliding windows have all their slices, and a queue of these has turned over.
const WARM_UP: i64 = 65;

type Record = (u64, u64);
type Out = (u64, i64, u64);

struct Count(Arc<AtomicI64>);

impl Push<Out> for Count {
    fn push(&mut self, batch: &mut Batch<Out>) -> TaskResult {
        self.0.fetch_add(batch.len() as i64, Ordering::Relaxed);
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
    let (reports, _) = tokio::sync::mpsc::channel(1);
    let id = SubtaskId { vertex: VertexId(1), index: 0 };
    let worker = WorkerContext::new(FileSystems::new(FsOptions::default()).unwrap(), runtime.handle().clone());
    SubtaskContext {
        vertex_name: "windows".into(),
        max_parallelism: 128,
        ..SubtaskContext::new(id, ExecutionAttempt(0), 1, reports, worker)
    }
}

/// CPU seconds of this thread.
fn cpu() -> f64 {
    // The scheduler counts when it is called. Else it does at its ticks, which may be 4 ms apart.
    std::thread::yield_now();
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    stat.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
}

/// An operator, and how far it is.
struct Run {
    name: &'static str,
    /// Without one, records are made and thrown away.
    head: Option<Box<dyn Push<Record>>>,
    out: Arc<AtomicI64>,
    batch: Batch<Record>,
    checked: u64,
    ms: i64,
    /// CPU seconds of each round, and how many of them it was firing.
    rounds: Vec<(f64, f64)>,
    results: i64,
}

impl Run {
    fn new(name: &'static str, out: &Arc<AtomicI64>, head: Option<Box<dyn Push<Record>>>) -> Self {
        let batch = Batch::with_capacity(BATCH_RECORDS);
        let out = Arc::clone(out);
        Self { name, head, out, batch, checked: 0, ms: 0, rounds: Vec::new(), results: 0 }
    }

    /// Goes on for so many seconds of event time.
    fn go_on(&mut self, seconds: i64) {
        let Self { head, batch, checked, .. } = self;
        let begun = cpu();
        let mut firing = 0.0;
        let results = self.out.load(Ordering::Relaxed);
        for ms in self.ms..self.ms + seconds * 1000 {
            for number in ms * PER_MS..(ms + 1) * PER_MS {
                let random = splitmix(number as u64);
                batch.push((random % KEYS, 1), (ms - ((random >> 40) % 1000) as i64).max(0));
                if batch.len() == BATCH_RECORDS {
                    match head {
                        Some(head) => head.push(batch).unwrap(),
                        None => {
                            *checked += batch.drain().map(|(record, time)| record.0 ^ time as u64).sum::<u64>();
                        }
                    }
                }
            }
            // As a generator of watermarks does it: every 200 ms of processing time; here of event time.
            if ms % 200 == 199
                && let Some(head) = head
            {
                head.push(batch).unwrap();
                let before = cpu();
                head.signal(Signal::Watermark(ms - 1001)).unwrap();
                firing += cpu() - before;
            }
        }
        self.ms += seconds * 1000;
        self.rounds.push((cpu() - begun, firing));
        self.results += self.out.load(Ordering::Relaxed) - results;
    }

    /// Forgets what was measured.
    fn warmed_up(&mut self) {
        std::hint::black_box(self.checked);
        self.rounds.clear();
        self.results = 0;
    }

    /// Nanoseconds of CPU per record in the best round, and how many of them it was firing.
    fn best(&self) -> (f64, f64) {
        let ns = 1e9 / (ROUND * 1000 * PER_MS) as f64;
        let (all, firing) = self.rounds.iter().copied().min_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
        (all * ns, firing * ns)
    }

    fn report(&self, source: f64) {
        let ns = |round: &(f64, f64)| round.0 * 1e9 / (ROUND * 1000 * PER_MS) as f64;
        let (all, firing) = self.best();
        let rounds: Vec<String> = self.rounds.iter().map(|round| format!("{:.1}", ns(round))).collect();
        println!(
            "{}: {all:.1} ns per record, {:.1} without making it, {firing:.1} for firing; rounds {}; {} results",
            self.name,
            all - source,
            rounds.join(" "),
            self.results
        );
    }
}

struct Sum;

impl AggregateFunction for Sum {
    type In = Record;
    type Acc = u64;
    type Out = u64;

    fn create_accumulator(&self) -> u64 {
        0
    }

    fn add(&self, sum: &mut u64, record: Record) {
        *sum += record.1;
    }

    fn get_result(&self, sum: &u64) -> u64 {
        *sum
    }

    fn merge(&self, a: u64, b: u64) -> u64 {
        a + b
    }
}

fn emit_sum(key: &u64, window: &TimeWindow, sums: Elements<'_, u64>, out: &mut Collector<Out>) {
    sums.for_each(|sum| out.collect((*key, window.start, sum)));
}

fn emit_record(key: &u64, window: &TimeWindow, sums: Elements<'_, Record>, out: &mut Collector<Out>) {
    sums.for_each(|sum| out.collect((*key, window.start, sum.1)));
}

fn by_key() -> impl KeySelector<Record, Key = u64> {
    OwnedKey::<_, u64>::new(|record: &Record| record.0)
}

fn reduce() -> impl Fold<Record, Item = Record> {
    Reducing(|sum: &mut Record, record: Record| sum.1 += record.1)
}

/// The operator for these windows.
fn sliced<C: Fold<Record>>(
    context: &SubtaskContext,
    windows: &impl RegularWindows,
    fold: C,
    emit: impl ProcessWindowFunction<u64, TimeWindow, C::Item, Out>,
    out: &Arc<AtomicI64>,
) -> Option<Box<dyn Push<Record>>> {
    let slicing = Slicing::of(windows, Duration::ZERO, false).unwrap();
    let (outputs, output) = (WindowOutputs::default(), Box::new(Count(Arc::clone(out))));
    Some(Box::new(SliceOperator::open(context, OperatorId(1), by_key(), slicing, fold, emit, outputs, output).unwrap()))
}

fn main() {
    let rounds: usize = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(5);
    let with_general = std::env::args().any(|argument| argument == "general");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let context = context(&runtime);
    let tumbling = TumblingEventTimeWindows::of(Duration::from_secs(10));
    let short = TumblingEventTimeWindows::of(Duration::from_secs(1));
    let sliding = SlidingEventTimeWindows::of(Duration::from_secs(60), Duration::from_secs(1));
    let out = Arc::new(AtomicI64::new(0));
    let count = || Box::new(Count(Arc::clone(&out)));
    let sum = || Aggregating(Sum);
    let mut runs = [
        ("records alone", None),
        ("tumbling 10 s by hand", Some(Box::new(by_hand::Tumbling::new(10_000, count())) as Box<dyn Push<Record>>)),
        ("sliding 60 s by 1 s by hand", Some(Box::new(by_hand::Sliding::new(60_000, 1000, count())))),
        ("tumbling 10 s", sliced(&context, &tumbling, sum(), Apply(emit_sum), &out)),
        ("sliding 60 s by 1 s", sliced(&context, &sliding, sum(), Apply(emit_sum), &out)),
        ("tumbling 1 s", sliced(&context, &short, sum(), Apply(emit_sum), &out)),
        ("tumbling 10 s, reduce", sliced(&context, &tumbling, reduce(), Apply(emit_record), &out)),
        ("sliding 60 s by 1 s, reduce", sliced(&context, &sliding, reduce(), Apply(emit_record), &out)),
    ]
    .map(|(name, head)| Run::new(name, &out, head));
    for run in &mut runs {
        run.go_on(WARM_UP);
        run.warmed_up();
    }
    for _ in 0..rounds {
        runs.iter_mut().for_each(|run| run.go_on(ROUND));
    }
    let (source, _) = runs[0].best();
    runs.iter().for_each(|run| run.report(source));
    let [
        _,
        tumbling_by_hand,
        sliding_by_hand,
        tumbling_sums,
        sliding_sums,
        short_sums,
        tumbling_reduced,
        sliding_reduced,
    ] = runs.each_ref().map(|run| run.best().0);
    for (name, sliding, tumbling) in [
        ("Flumen", sliding_sums, tumbling_sums),
        ("Flumen, reduce", sliding_reduced, tumbling_reduced),
        ("by hand", sliding_by_hand, tumbling_by_hand),
    ] {
        println!(
            "{name}: sliding / tumbling: {:.2}; without making the records: {:.2}",
            sliding / tumbling,
            (sliding - source) / (tumbling - source)
        );
    }
    println!("Flumen: sliding 60 s by 1 s / tumbling 1 s: {:.2}", sliding_sums / short_sums);
    println!("tumbling: Flumen / by hand: {:.2}", tumbling_sums / tumbling_by_hand);
    println!("sliding: Flumen / by hand: {:.2}", sliding_sums / sliding_by_hand);
    if with_general {
        let (windowing, outputs) = (Windowing::of::<Record>(tumbling), WindowOutputs::default());
        let general = WindowOperator::open(
            &context,
            OperatorId(1),
            by_key(),
            windowing,
            sum(),
            Apply(emit_sum),
            outputs,
            count(),
        );
        let mut run = Run::new("tumbling 10 s, general operator", &out, Some(Box::new(general.unwrap())));
        run.go_on(ROUND);
        run.warmed_up();
        (0..2).for_each(|_| run.go_on(ROUND));
        run.report(source);
    }
}
