//! A program that adds up numbers by key: slowly, until the test has seen what it waits for, and it may fail then.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flumen::{
    Collector, Configuration, Error, FunctionResult, KeyedContext, KeyedProcessFunction, OpenContext,
    StreamExecutionEnvironment, ValueState, ValueStateDescriptor,
};

/// So many that the slow job lasts for longer than a test may wait.
const EVENTS: u64 = 100_000;
const KEYS: u64 = 16;
/// What the source takes for an event at least while it is slow: the work itself, nothing waits for it.
const WORK: Duration = Duration::from_millis(1);

/// What the program is to do next.
pub(crate) enum Next {
    /// Stay slow: what the test waits for has not come yet.
    Wait,
    /// Fail.
    Fail,
    /// Do the rest at full speed.
    Finish,
}

/// Adds up the values of each key.
struct RunningSum<F> {
    next: Arc<Mutex<F>>,
    slow: Arc<AtomicBool>,
}

impl<F> Clone for RunningSum<F> {
    fn clone(&self) -> Self {
        Self { next: Arc::clone(&self.next), slow: Arc::clone(&self.slow) }
    }
}

impl<F> KeyedProcessFunction<u64, (u64, u64), (u64, u64)> for RunningSum<F>
where
    F: FnMut() -> Next + Send + 'static,
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
        if sum % 64 == 0 {
            match (self.next.lock().unwrap())() {
                Next::Wait => {}
                Next::Fail => return Err("as the test wants it".into()),
                Next::Finish => self.slow.store(false, Ordering::Relaxed),
            }
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

/// Adds up 0, 1, 2, … by key, with checkpoints in `directory`. From time to time it asks what is `next`.
pub(crate) fn sums(
    directory: &Path,
    options: &[(&str, &str)],
    next: impl FnMut() -> Next + Send + 'static,
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
    let slow = Arc::new(AtomicBool::new(true));
    let source_is_slow = Arc::clone(&slow);
    env.generate(EVENTS, None, move |i| event(i, &source_is_slow))
        .uid("events")
        .map(move |event| {
            if event.1 == 0 {
                reads.fetch_add(1, Ordering::Relaxed);
            }
            event
        })
        .uid("watch")
        .key_by(|(key, _)| *key)
        .process(RunningSum { next: Arc::new(Mutex::new(next)), slow })
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

#[allow(clippy::disallowed_methods, reason = "it is the source's work that takes its time: nothing waits here")]
fn event(i: u64, slow: &AtomicBool) -> (u64, u64) {
    if slow.load(Ordering::Relaxed) {
        std::thread::sleep(WORK);
    }
    (i % KEYS, i)
}

/// Fails once, as soon as there is a reason, and does the rest at full speed.
pub(crate) fn once(when: impl Fn() -> bool + Send + 'static) -> impl FnMut() -> Next + Send + 'static {
    let mut failed = false;
    move || {
        if failed {
            return Next::Finish;
        }
        failed = when();
        if failed { Next::Fail } else { Next::Wait }
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
