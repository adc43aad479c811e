//! A program that adds up numbers by key, and fails once when the test says so.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
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
struct RunningSum<F> {
    fails: Arc<Mutex<F>>,
}

impl<F> Clone for RunningSum<F> {
    fn clone(&self) -> Self {
        Self { fails: Arc::clone(&self.fails) }
    }
}

impl<F> KeyedProcessFunction<u64, (u64, u64), (u64, u64)> for RunningSum<F>
where
    F: FnMut() -> bool + Send + 'static,
{
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
        if sum % 64 == 0 && (self.fails.lock().unwrap())() {
            return Err("as the test wants it".into());
        }
        out.collect((key, sum));
        Ok(())
    }
}

/// What a run of [`sums`] saw.
#[derive(Default)]
pub(crate) struct Seen {
    /// By key, the last sum.
    pub(crate) sums: BTreeMap<u64, u64>,
    /// How often the first event was read.
    pub(crate) first_read: u64,
}

/// Adds up 0, 1, 2, … by key, with checkpoints in `directory`. From time to time it asks `fails`, and fails when that says so.
pub(crate) fn sums(
    directory: &Path,
    options: &[(&str, &str)],
    fails: impl FnMut() -> bool + Send + 'static,
) -> (Result<(), Error>, Seen) {
    crate::log::capture();
    let mut configuration = Configuration::new();
    configuration.set("state.checkpoints.dir", directory.to_str().unwrap());
    configuration.set("execution.checkpointing.interval", "50 ms");
    for (key, value) in options {
        configuration.set(*key, *value);
    }
    let env = StreamExecutionEnvironment::get_with(&configuration).unwrap();
    env.set_parallelism(2);
    let first = Arc::new(AtomicU64::new(0));
    let last: Arc<Mutex<BTreeMap<u64, u64>>> = Arc::default();
    let (reads, sink) = (Arc::clone(&first), Arc::clone(&last));
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
        .process(RunningSum { fails: Arc::new(Mutex::new(fails)) })
        .uid("sum")
        .map(move |(key, sum)| {
            let mut last = sink.lock().unwrap();
            let known = last.entry(key).or_default();
            *known = sum.max(*known);
        })
        .uid("sink");
    let result = env.execute("sums").map(drop);
    let sums = std::mem::take(&mut *last.lock().unwrap());
    (result, Seen { sums, first_read: first.load(Ordering::Relaxed) })
}

/// True once, as soon as the other is.
pub(crate) fn once(when: impl Fn() -> bool + Send + 'static) -> impl FnMut() -> bool + Send + 'static {
    let mut over = false;
    move || {
        let now = !over && when();
        over |= now;
        now
    }
}

/// The sums of all events.
pub(crate) fn expected() -> BTreeMap<u64, u64> {
    let mut sums = BTreeMap::new();
    for i in 0..EVENTS {
        *sums.entry(i % KEYS).or_default() += i;
    }
    sums
}
