//! A program whose last operator is slow for as long as the test wants, so that all channels before it are full: two sources,
//! and two stages that exchange by key.
//!
//! Both stages check the order of each key's events: whatever is lost, repeated or out of order is seen there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flumen::{
    Collector, Configuration, Error, FunctionResult, KeyedContext, KeyedProcessFunction, OpenContext,
    StreamExecutionEnvironment, ValueState, ValueStateDescriptor,
};

/// Of two sources, each of which has one half.
pub(crate) const MANY: u64 = 100_000;
const KEYS: u64 = 10;
/// What a slow stage takes for one event at least: the work itself, nothing waits for it.
const WORK: Duration = Duration::from_millis(2);

/// A number, and as many bytes that a buffer of 1 KB holds sixteen.
type Event = (u64, [u64; 7]);

type Look = Box<dyn Fn(&Control) -> Result<(), &'static str> + Send + Sync>;

/// What the test decides and sees while the program runs.
pub(crate) struct Control {
    /// The last stage takes its time.
    pub(crate) slow: AtomicBool,
    /// Events that it has worked on.
    pub(crate) worked: AtomicU64,
    /// What was lost, repeated or out of order.
    pub(crate) wrong: Mutex<Vec<String>>,
    /// By key, how many events there were and their sum.
    pub(crate) sums: Mutex<BTreeMap<u64, (u64, u64)>>,
    /// Called by the last stage now and then while it is slow; an error fails it.
    look: Look,
    /// How many there are.
    pub(crate) events: u64,
    /// How many the sources have made.
    pub(crate) made: AtomicU64,
    /// Whether each key's events stay in order: not when subtasks that send them are others after a restore.
    in_order: bool,
}

impl Control {
    pub(crate) fn new(
        (events, in_order): (u64, bool),
        look: impl Fn(&Self) -> Result<(), &'static str> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            slow: AtomicBool::new(true),
            worked: AtomicU64::new(0),
            wrong: Mutex::default(),
            sums: Mutex::default(),
            look: Box::new(look),
            events,
            made: AtomicU64::new(0),
            in_order,
        })
    }

    /// Says what is wrong with the output, if anything.
    pub(crate) fn check(&self) {
        assert_eq!(*self.wrong.lock().unwrap(), Vec::<String>::new());
        let mut expected: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
        for i in 0..self.events {
            let (count, sum) = expected.entry(i % KEYS).or_default();
            *count += 1;
            *sum += i;
        }
        assert_eq!(*self.sums.lock().unwrap(), expected);
    }
}

#[derive(Clone)]
struct Stage {
    control: Arc<Control>,
    last: bool,
}

/// By source, the last event of the key (plus one); their number and their sum.
type State = (ValueState<u64, (u64, u64)>, ValueState<u64, (u64, u64)>);

impl KeyedProcessFunction<u64, Event, Event> for Stage {
    type State = State;

    fn open(&self, context: &mut OpenContext<'_, u64>) -> FunctionResult<State> {
        let latest = context.value_state(ValueStateDescriptor::new("latest"))?;
        Ok((latest, context.value_state(ValueStateDescriptor::new("sum"))?))
    }

    fn process_element(
        &mut self,
        event: Event,
        (latest, sum): &State,
        _: &mut KeyedContext<'_, u64>,
        out: &mut Collector<Event>,
    ) -> FunctionResult {
        let (i, key, half) = (event.0, event.0 % KEYS, self.control.events / 2);
        let before = latest.upsert(u64x2, |latest| {
            let of_source = if i < half { &mut latest.0 } else { &mut latest.1 };
            std::mem::replace(of_source, i + 1)
        })?;
        let begin = if i < half { 0 } else { half };
        let follows = (i - begin).checked_sub(KEYS).map_or(0, |earlier| begin + earlier + 1);
        if self.control.in_order && before != follows {
            let stage = if self.last { "last" } else { "first" };
            let mut wrong = self.control.wrong.lock().unwrap();
            wrong.push(format!("{stage} stage: {i} follows {before}, not {follows}"));
        }
        let (count, sum) = sum.upsert(u64x2, |(count, sum)| {
            *count += 1;
            *sum += i;
            (*count, *sum)
        })?;
        if self.last {
            let mut sums = self.control.sums.lock().unwrap();
            let known = sums.entry(key).or_default();
            *known = (count, sum).max(*known);
            drop(sums);
            self.work()?;
        }
        out.collect(event);
        Ok(())
    }
}

fn u64x2() -> (u64, u64) {
    (0, 0)
}

impl Stage {
    #[allow(clippy::disallowed_methods, reason = "it is the operator's work that takes its time: nothing waits here")]
    fn work(&self) -> FunctionResult {
        let worked = self.control.worked.fetch_add(1, Ordering::Relaxed);
        if self.control.slow.load(Ordering::Relaxed) {
            std::thread::sleep(WORK);
            if worked.is_multiple_of(16) {
                (self.control.look)(&self.control)?;
            }
        }
        Ok(())
    }
}

/// Runs it with so many subtasks of the stages, with checkpoints in `directory`.
pub(crate) fn run(
    directory: &Path,
    stages: u32,
    options: &[(&str, &str)],
    control: &Arc<Control>,
) -> Result<(), Error> {
    crate::log::capture();
    let mut configuration = Configuration::new();
    let defaults = [
        ("state.checkpoints.dir", directory.to_str().unwrap()),
        ("execution.checkpointing.interval", "100 ms"),
        // Behind a full channel no barrier arrives in this time, unless it overtakes.
        ("execution.checkpointing.timeout", "600 ms"),
        ("execution.checkpointing.tolerable-failed-checkpoints", "1000000"),
        ("taskmanager.memory.segment-size", "1 kb"),
        ("taskmanager.network.memory.buffers-per-channel", "32"),
        ("restart-strategy.type", "fixed-delay"),
        ("restart-strategy.fixed-delay.delay", "10 ms"),
    ];
    for (key, value) in defaults.iter().chain(options) {
        configuration.set(*key, *value);
    }
    let env = StreamExecutionEnvironment::get_with(&configuration).unwrap();
    env.set_parallelism(stages);
    env.set_max_parallelism(16);
    let stage = |last| Stage { control: Arc::clone(control), last };
    let made = Arc::clone(control);
    let make = move |i| {
        made.made.fetch_add(1, Ordering::Relaxed);
        (i, [i; 7])
    };
    env.generate(control.events, None, make)
        .uid("events")
        .set_parallelism(2)
        .key_by(|(i, _)| i % KEYS)
        .process(stage(false))
        .uid("first")
        // Other groups than before: every subtask sends to every other.
        .key_by(|(i, _)| i % KEYS * 1_000_003 + 17)
        .process(stage(true))
        .uid("last");
    env.execute("slow").map(drop)
}

/// Records that a checkpoint's barrier overtook: their channels, as edge, sender and receiver.
pub(crate) fn overtaken(checkpoint: &Path) -> Vec<(u32, u32, u32)> {
    let Some(checkpoint) = crate::directory::load(checkpoint) else { return Vec::new() };
    let snapshots = checkpoint.vertices.iter().flat_map(|vertex| &vertex.subtasks);
    let mut channels: Vec<_> =
        snapshots.flat_map(|s| &s.in_flight).map(|flight| (flight.edge, flight.source, flight.target)).collect();
    channels.sort_unstable();
    channels.dedup();
    channels
}

/// The newest checkpoint if its barriers overtook records on several channels of both exchanges.
pub(crate) fn newest_overtaking(directory: &Path) -> Option<PathBuf> {
    let newest = crate::directory::completed(directory).pop()?;
    let channels = overtaken(&newest);
    let of_edge = |edge| channels.iter().filter(|channel| channel.0 == edge).count();
    (of_edge(0) > 1 && of_edge(1) > 1).then_some(newest)
}
