//! Measures keyed state: a running sum for each key, emitted with every event.
//!
//! ```text
//! keyed-sum --probe DIRECTORY [--events N] [--keys K] [--rate R] [--name NAME]
//! ```
//!
//! Event `i` has the key `splitmix64(i) mod K` and the value `i`. State backend and checkpoints are those of the
//! configuration: `-D state.backend=rocksdb`, `-D execution.checkpointing.interval=1s`. What comes out is in the files of the
//! [probe sink](flumen_examples::probe).

use clap::Parser as _;
use flumen::{
    Collector, FunctionResult, KeyedContext, KeyedProcessFunction, OpenContext, StreamExecutionEnvironment, ValueState,
    ValueStateDescriptor,
};
use flumen_examples::bench::Arguments;
use flumen_examples::probe::ProbeSink;

/// Adds up the values of each key.
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

fn main() -> flumen::Result<()> {
    let arguments = Arguments::parse();
    let env = StreamExecutionEnvironment::get()?;
    let key = arguments.key();
    env.generate(arguments.events, arguments.per_second(), move |i| (key(i), i))
        .uid("events")
        .key_by_ref(|(key, _)| key)
        .process(RunningSum)
        .uid("sum")
        .add_sink(ProbeSink::new(&arguments.probe, arguments.rate > 0, |_: &(u64, u64)| 0));
    env.execute(arguments.name.as_deref().unwrap_or("keyed-sum"))?;
    Ok(())
}
