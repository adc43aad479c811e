//! Measures windows: how many events of each key there are in every ten seconds of event time.
//!
//! ```text
//! window-count --probe DIRECTORY [--events N] [--keys K] [--rate R] [--evrate E] [--name NAME]
//! ```
//!
//! Event `i` has the key `splitmix64(i) mod K`. Each of the `p` subtasks of the source has a range of `N / p` events, all of
//! which cover the same span of event time, with `E` events per second together. The sum of all counts is `N`. State backend
//! and checkpoints are those of the configuration; what comes out is in the files of the
//! [probe sink](flumen_examples::probe).

use std::time::Duration;

use clap::Parser as _;
use flumen::windows::{Elements, TimeWindow, TumblingEventTimeWindows};
use flumen::{AggregateFunction, Collector, StreamExecutionEnvironment, WatermarkStrategy};
use flumen_examples::bench::Arguments;
use flumen_examples::probe::ProbeSink;

/// Counts events.
#[derive(Clone)]
struct Count;

impl AggregateFunction for Count {
    type In = (u64, u64);
    type Acc = u64;
    type Out = u64;

    fn create_accumulator(&self) -> u64 {
        0
    }

    #[inline]
    fn add(&self, count: &mut u64, _: (u64, u64)) {
        *count += 1;
    }

    fn get_result(&self, count: &u64) -> u64 {
        *count
    }

    fn merge(&self, a: u64, b: u64) -> u64 {
        a + b
    }
}

fn main() -> flumen::Result<()> {
    let arguments = Arguments::parse();
    let env = StreamExecutionEnvironment::get()?;
    let key = arguments.key();
    let subtasks = u64::from(env.parallelism()?);
    let (per_subtask, evrate) = ((arguments.events / subtasks).max(1), arguments.evrate.max(1));
    let times = WatermarkStrategy::for_bounded_out_of_orderness(Duration::from_secs(1))
        .with_timestamp_assigner(move |(_, i): &(u64, u64), _| ((i % per_subtask) * subtasks * 1000 / evrate) as i64);
    env.generate(arguments.events, arguments.per_second(), move |i| (key(i), i))
        .uid("events")
        .assign_timestamps_and_watermarks(times)
        .uid("times")
        .key_by_ref(|(key, _)| key)
        .window(TumblingEventTimeWindows::of(Duration::from_secs(10)))
        .aggregate_with(Count, flumen::windows::Apply(emit))
        .uid("windows")
        .add_sink(ProbeSink::new(&arguments.probe, arguments.rate > 0, |(_, _, count): &(u64, i64, u64)| *count));
    env.execute(arguments.name.as_deref().unwrap_or("window-count"))?;
    Ok(())
}

/// Key, start of the window, count.
fn emit(key: &u64, window: &TimeWindow, counts: Elements<'_, u64>, out: &mut Collector<(u64, i64, u64)>) {
    counts.for_each(|count| out.collect((*key, window.start, count)));
}
