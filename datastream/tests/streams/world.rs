//! How a test runs a program and looks at what came out.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use flumen::{
    BoundedOutOfOrderness, Configuration, Data, DataStream, Error, FunctionResult, ReadStatus, RuntimeContext,
    SourceFunction, SourceOutput, StreamExecutionEnvironment, WatermarkGenerator, WatermarkOutput, WatermarkStrategy,
};

/// An environment with that parallelism.
pub(crate) fn env(parallelism: u32) -> StreamExecutionEnvironment {
    with_options(parallelism, &[])
}

pub(crate) fn with_options(parallelism: u32, options: &[(&str, &str)]) -> StreamExecutionEnvironment {
    let mut configuration = Configuration::new();
    for (key, value) in options {
        configuration.set(*key, *value);
    }
    let env = StreamExecutionEnvironment::get_with(&configuration).unwrap();
    env.set_parallelism(parallelism);
    env
}

/// Takes everything that comes out of a stream; records of one subtask in their order.
pub(crate) fn seen<T: Data>(stream: DataStream<T>) -> Arc<Mutex<Vec<T>>> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&seen);
    stream.map(move |record| sink.lock().unwrap().push(record));
    seen
}

/// Runs the program and gives back what came out of the stream, sorted.
pub(crate) fn run<T: Data + Ord>(env: &StreamExecutionEnvironment, stream: DataStream<T>) -> Result<Vec<T>, Error> {
    let seen = seen(stream);
    env.execute("test")?;
    Ok(sorted(&seen))
}

pub(crate) fn sorted<T: Ord>(seen: &Mutex<Vec<T>>) -> Vec<T> {
    let mut seen = std::mem::take(&mut *seen.lock().unwrap());
    seen.sort();
    seen
}

type TimeOf<A> = fn(&(A, i64), i64) -> i64;

/// Event times are the second field; no record comes later than `bound` milliseconds.
pub(crate) fn second_field<A: 'static>(bound: u64) -> WatermarkStrategy<(A, i64), BoundedOutOfOrderness, TimeOf<A>> {
    WatermarkStrategy::for_bounded_out_of_orderness(Duration::from_millis(bound))
        .with_timestamp_assigner(|record: &(A, i64), _| record.1)
}

/// Records one by one, with a watermark behind each that says that nothing earlier follows: what happens when is fixed.
pub(crate) fn one_by_one(env: &StreamExecutionEnvironment, records: Vec<(u64, i64)>) -> DataStream<(u64, i64)> {
    let strategy = WatermarkStrategy::for_generator(EveryRecord);
    let stream = env.add_source(OneByOne(records)).set_parallelism(1);
    stream.assign_timestamps_and_watermarks(strategy).set_parallelism(1)
}

#[derive(Clone)]
struct OneByOne(Vec<(u64, i64)>);

impl SourceFunction for OneByOne {
    type Out = (u64, i64);
    type Split = usize;
    type State = ();

    fn splits(&self) -> Vec<usize> {
        vec![0]
    }

    fn open(&self, _: &RuntimeContext) -> FunctionResult {
        Ok(())
    }

    fn read(
        &mut self,
        next: &mut usize,
        (): &mut (),
        out: &mut SourceOutput<'_, (u64, i64)>,
    ) -> FunctionResult<ReadStatus> {
        let Some(record) = self.0.get(*next) else { return Ok(ReadStatus::Finished) };
        out.collect_with_timestamp(*record, record.1);
        *next += 1;
        Ok(ReadStatus::More)
    }
}

#[derive(Clone)]
struct EveryRecord;

impl WatermarkGenerator<(u64, i64)> for EveryRecord {
    fn on_event(&mut self, _: &(u64, i64), time: i64, output: &mut WatermarkOutput) {
        output.emit_watermark(time - 1);
    }

    fn on_periodic_emit(&mut self, _: &mut WatermarkOutput) {}
}
