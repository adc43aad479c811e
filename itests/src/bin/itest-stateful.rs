//! A stateful job for tests: sums events by key and second of event time in a window, and in all by a function of its own,
//! which tells the totals when the input ends. What it writes does not depend on the order of records.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Parser;
use flumen::files::{BasePathBucketAssigner, FileSink, SimpleStringEncoder};
use flumen::windows::{Elements, TimeWindow, TumblingEventTimeWindows, WindowContext};
use flumen::{
    AggregateFunction, Collector, EventTime, FunctionResult, KeyedContext, KeyedProcessFunction, OpenContext,
    StreamExecutionEnvironment, ValueState, ValueStateDescriptor, WatermarkStrategy,
};
use flumen_itests::stateful::{DISORDER_MS, WINDOW_MS, event, line};

/// While the gate is closed a source looks at it so often in a second …
const LOOKS: u64 = 100;
/// … and waits this long.
const PAUSE: Duration = Duration::from_millis(1000 / LOOKS);

#[derive(Clone, Parser)]
struct Arguments {
    /// How many events there are
    #[arg(long, default_value_t = 100_000)]
    count: u64,
    /// While this file does not exist, each source subtask emits no more events in a second than `rate`
    #[arg(long)]
    gate: Option<PathBuf>,
    /// The fewer there are, the longer a source takes for a batch, and until then it does not see that it is cancelled
    #[arg(long, default_value_t = 1600)]
    rate: u64,
    /// At this event the process aborts …
    #[arg(long, requires = "once")]
    abort_at: Option<u64>,
    /// … if this file does not exist, and creates it before
    #[arg(long)]
    once: Option<PathBuf>,
    /// In this directory each keyed subtask notes when it had its first record, and how long it was without one, whenever that was long
    #[arg(long)]
    gaps: Option<PathBuf>,
    /// The directory of the file sink
    #[arg(long)]
    output: String,
}

/// Key, value, time.
type Event = (u64, u64, i64);
/// Number of events, sum of their values.
type Sum = (u64, u64);

fn main() -> flumen::Result<()> {
    let arguments = Arguments::parse();
    let env = StreamExecutionEnvironment::get()?;
    let (source, checking) = (arguments.clone(), arguments.clone());
    let events = env
        .generate(arguments.count, None, move |number| {
            if number % (source.rate / LOOKS).max(1) == 0 && source.gate.as_ref().is_some_and(|gate| !gate.is_file()) {
                pause();
            }
            number
        })
        .uid("numbers")
        .map(move |number| {
            if checking.abort_at == Some(number) {
                checking.abort_once();
            }
            event(number)
        })
        .assign_timestamps_and_watermarks(
            WatermarkStrategy::for_bounded_out_of_orderness(Duration::from_millis(DISORDER_MS.unsigned_abs()))
                .with_timestamp_assigner(|event: &Event, _| event.2),
        )
        .uid("times");
    let windows = events
        .clone()
        .key_by_ref(|event: &Event| &event.0)
        .window(TumblingEventTimeWindows::of(Duration::from_millis(WINDOW_MS.unsigned_abs())))
        .aggregate_with(SumOfValues, window_row)
        .uid("windows");
    let totals = events
        .key_by_ref(|event: &Event| &event.0)
        .process(Totals(Gaps { notes: arguments.gaps.clone(), last: None }))
        .uid("totals");
    let files = FileSink::for_row_format(arguments.output.clone(), SimpleStringEncoder::new());
    windows.union(totals).sink_to(files.with_bucket_assigner(BasePathBucketAssigner)).uid("rows");
    env.execute("itest-stateful")?;
    Ok(())
}

/// Counts events and adds up their values.
#[derive(Clone)]
struct SumOfValues;

impl AggregateFunction for SumOfValues {
    type In = Event;
    type Acc = Sum;
    type Out = Sum;

    fn create_accumulator(&self) -> Sum {
        (0, 0)
    }

    fn add(&self, sum: &mut Sum, event: Event) {
        *sum = (sum.0 + 1, sum.1 + event.1);
    }

    fn get_result(&self, sum: &Sum) -> Sum {
        *sum
    }

    fn merge(&self, one: Sum, other: Sum) -> Sum {
        (one.0 + other.0, one.1 + other.1)
    }
}

fn window_row(
    key: &u64,
    ctx: &mut WindowContext<'_, u64, TimeWindow>,
    sums: Elements<'_, Sum>,
    out: &mut Collector<String>,
) -> FunctionResult {
    let start = ctx.window().start;
    sums.for_each(|(events, sum)| out.collect(line(*key, Some(start), events, sum)));
    Ok(())
}

/// Keeps the sum of each key and tells it at the end of the input.
#[derive(Clone)]
struct Totals(Gaps);

/// Times without a record. While the gate is closed records come every few milliseconds.
#[derive(Clone)]
struct Gaps {
    notes: Option<PathBuf>,
    last: Option<Instant>,
}

/// Shorter gaps are not noted.
const GAP: Duration = Duration::from_millis(20);

impl Gaps {
    /// A record is there. Adds a line to the notes if the one before was long ago: the time now and the gap, in milliseconds. The
    /// gap before the first one is 0.
    fn record(&mut self) -> std::io::Result<()> {
        let Some(notes) = &self.notes else { return Ok(()) };
        let now = Instant::now();
        let gap = match self.last.replace(now) {
            Some(last) if now - last < GAP => return Ok(()),
            Some(last) => now - last,
            None => Duration::ZERO,
        };
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let mut file = File::options().create(true).append(true).open(notes.join(std::process::id().to_string()))?;
        writeln!(file, "{time} {}", gap.as_millis())
    }
}

/// Later than every event, so that its timer fires when the input ends.
const AFTER_ALL: EventTime = EventTime::MAX - 1;

impl KeyedProcessFunction<u64, Event, String> for Totals {
    type State = ValueState<u64, Sum>;

    fn open(&self, context: &mut OpenContext<'_, u64>) -> FunctionResult<Self::State> {
        Ok(context.value_state(ValueStateDescriptor::new("total"))?)
    }

    fn process_element(
        &mut self,
        event: Event,
        total: &Self::State,
        ctx: &mut KeyedContext<'_, u64>,
        _: &mut Collector<String>,
    ) -> FunctionResult {
        self.0.record()?;
        let first = total.upsert(
            || (0, 0),
            |sum| {
                *sum = (sum.0 + 1, sum.1 + event.1);
                sum.0 == 1
            },
        )?;
        if first {
            ctx.timer_service().register_event_time_timer(AFTER_ALL)?;
        }
        Ok(())
    }

    fn on_timer(
        &mut self,
        _: EventTime,
        total: &Self::State,
        ctx: &mut KeyedContext<'_, u64>,
        out: &mut Collector<String>,
    ) -> FunctionResult {
        if let Some((events, sum)) = total.get()? {
            out.collect(line(*ctx.current_key(), None, events, sum));
        }
        Ok(())
    }
}

impl Arguments {
    fn abort_once(&self) {
        if self.once.as_ref().is_some_and(|once| File::create_new(once).is_ok()) {
            std::process::abort();
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this job is slow on purpose")]
fn pause() {
    std::thread::sleep(PAUSE);
}
