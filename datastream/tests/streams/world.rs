//! How a test runs a program and looks at what came out.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use flumen::{
    BoundedOutOfOrderness, Configuration, Data, DataStream, Error, StreamExecutionEnvironment, WatermarkStrategy,
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

/// Event times are the second field; no record comes later than `bound` milliseconds.
pub(crate) fn second_field<A: 'static>(
    bound: u64,
) -> WatermarkStrategy<(A, i64), BoundedOutOfOrderness, impl Fn(&(A, i64), i64) -> i64 + Clone + Send + Sync> {
    WatermarkStrategy::for_bounded_out_of_orderness(Duration::from_millis(bound))
        .with_timestamp_assigner(|record: &(A, i64), _| record.1)
}
