//! What windows cost in a job: a count per key in tumbling windows of 10 s, and in sliding ones of 60 s by 1 s, of the same events,
//! through the public API. Beside them the source alone, which makes the events and their times.
//!
//! ```text
//! cargo bench -p flumen --bench windows -- [--seconds 120] [--keys 100000] [--runs 3]
//! ```
//!
//! A million events per second of event time, up to a second out of order. Event `i` has the key `splitmix64(i) mod K`. One subtask of
//! each operator; each run is a process of its own, and the ratios are those of CPU times. What the operator costs by itself is measured
//! by `cargo bench -p flumen-worker --bench windows`.

#![allow(clippy::print_stdout, reason = "a benchmark reports on its standard output")]

#[path = "shared/own_process.rs"]
mod own_process;

use std::path::Path;
use std::time::Duration;

use flumen::windows::{Apply, Elements, SlidingEventTimeWindows, TimeWindow, TumblingEventTimeWindows};
use flumen::{
    AggregateFunction, Collector, Configuration, FunctionResult, RuntimeContext, SinkContext, SinkFunction,
    StreamExecutionEnvironment, WatermarkStrategy,
};
use own_process::{Measured, Task};

const PER_SECOND: u64 = 1_000_000;
/// How far events may be out of order, in milliseconds.
const LATE: u64 = 1000;

/// The programs: what each is called, and in how many windows an event is.
const PROGRAMS: [(&str, u64); 3] = [("source alone", 1), ("tumbling 10 s", 1), ("sliding 60 s by 1 s", 60)];

fn main() {
    if let Some(task) = own_process::task() {
        return own_process::run(|| run(&task));
    }
    let arguments: Vec<String> = std::env::args().collect();
    let value = |name: &str, default: u64| {
        arguments.iter().position(|a| a == name).map_or(default, |at| arguments[at + 1].parse().expect("a number"))
    };
    let (seconds, keys, runs) = (value("--seconds", 120), value("--keys", 100_000), value("--runs", 3));
    let events = seconds * PER_SECOND;
    let input = format!("{events}-{keys}");
    println!("{keys} keys, {} M events, best of {runs} runs that take turns", events / 1_000_000);
    println!("{:<24} {:>11} {:>13} {:>14}", "", "M events/s", "CPU ns/event", "/ tumbling");
    let mut all = PROGRAMS.map(|_| Vec::new());
    for _ in 0..runs {
        for ((what, _), measured) in PROGRAMS.iter().zip(&mut all) {
            measured.push(own_process::measure(what, Path::new(&input), 1));
        }
    }
    let best: Vec<Measured> =
        all.iter().map(|runs| *runs.iter().min_by_key(|one| one.cpu).expect("at least one run")).collect();
    for ((what, _), one) in PROGRAMS.iter().zip(&best) {
        let cpu = one.cpu.as_secs_f64();
        println!(
            "{what:<24} {:>11.2} {:>13.1} {:>14.2}",
            events as f64 / one.wall.as_secs_f64() / 1e6,
            cpu * 1e9 / events as f64,
            cpu / best[1].cpu.as_secs_f64()
        );
    }
}

fn splitmix64(i: u64) -> u64 {
    let z = i.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Key, and when it was.
type Event = (u64, i64);
/// Key, start of the window, count.
type Counted = (u64, i64, u64);

/// Counts events.
#[derive(Clone)]
struct Count;

impl AggregateFunction for Count {
    type In = Event;
    type Acc = u64;
    type Out = u64;

    fn create_accumulator(&self) -> u64 {
        0
    }

    #[inline]
    fn add(&self, count: &mut u64, _: Event) {
        *count += 1;
    }

    fn get_result(&self, count: &u64) -> u64 {
        *count
    }

    fn merge(&self, a: u64, b: u64) -> u64 {
        a + b
    }
}

fn emit(key: &u64, window: &TimeWindow, counts: Elements<'_, u64>, out: &mut Collector<Counted>) {
    counts.for_each(|count| out.collect((*key, window.start, count)));
}

/// Adds up what comes, which has to be so much in the end.
#[derive(Clone)]
struct Sum {
    expected: u64,
}

impl Sum {
    fn end(&self, sum: u64) {
        assert_eq!(sum, self.expected, "every event is in each of its windows");
    }
}

impl SinkFunction<Counted> for Sum {
    type State = u64;

    fn open(&self, _: &RuntimeContext) -> FunctionResult<u64> {
        Ok(0)
    }

    #[inline]
    fn invoke(&mut self, (_, _, count): Counted, sum: &mut u64, _: &SinkContext) -> FunctionResult {
        *sum += count;
        Ok(())
    }

    fn finish(&mut self, sum: &mut u64) -> FunctionResult {
        self.end(*sum);
        Ok(())
    }
}

impl SinkFunction<Event> for Sum {
    type State = u64;

    fn open(&self, _: &RuntimeContext) -> FunctionResult<u64> {
        Ok(0)
    }

    #[inline]
    fn invoke(&mut self, event: Event, sum: &mut u64, _: &SinkContext) -> FunctionResult {
        std::hint::black_box(event);
        *sum += 1;
        Ok(())
    }

    fn finish(&mut self, sum: &mut u64) -> FunctionResult {
        self.end(*sum);
        Ok(())
    }
}

fn run(task: &Task) {
    let input = task.input.to_str().and_then(|text| text.split_once('-')).expect("events and keys");
    let (events, keys): (u64, u64) = (input.0.parse().expect("a number"), input.1.parse().expect("a number"));
    let what = task.what.as_str();
    let (_, windows) = PROGRAMS.iter().find(|(name, _)| *name == what).expect("one of the programs");
    let sum = Sum { expected: events * windows };
    let env = StreamExecutionEnvironment::get_with(&Configuration::new()).expect("an environment");
    env.set_parallelism(task.parallelism);
    let times = WatermarkStrategy::for_bounded_out_of_orderness(Duration::from_millis(LATE))
        .with_timestamp_assigner(|(_, time): &Event, _| *time);
    let events = env
        .generate(events, None, move |i| {
            let random = splitmix64(i);
            (random % keys, (i * 1000 / PER_SECOND) as i64 - ((random >> 40) % LATE) as i64)
        })
        .assign_timestamps_and_watermarks(times);
    let (ten, sixty, one) = (Duration::from_secs(10), Duration::from_secs(60), Duration::from_secs(1));
    match what {
        "tumbling 10 s" => {
            let windows = events.key_by_ref(|(key, _)| key).window(TumblingEventTimeWindows::of(ten));
            windows.aggregate_with(Count, Apply(emit)).add_sink(sum)
        }
        "sliding 60 s by 1 s" => {
            let windows = events.key_by_ref(|(key, _)| key).window(SlidingEventTimeWindows::of(sixty, one));
            windows.aggregate_with(Count, Apply(emit)).add_sink(sum)
        }
        _ => events.add_sink(sum),
    };
    env.execute("windows").expect("the job finishes");
}
