//! Average temperatures of sensors, from a source of the program's own, in event time.
//!
//! ```text
//! sensor-average [--sensors N] [--readings N] [--window-seconds N] [--output DIRECTORY]
//! ```
//!
//! Each sensor sends a reading a second, some of them up to three seconds late. For each sensor and window it emits the
//! average and the number of readings.

use std::time::Duration;

use clap::Parser;
use flumen::windows::{Apply, Elements, TimeWindow, TumblingEventTimeWindows};
use flumen::{
    AggregateFunction, Collector, FunctionResult, ReadStatus, RuntimeContext, SourceFunction, SourceOutput,
    StreamExecutionEnvironment, WatermarkStrategy,
};
use flumen_examples::bench::splitmix64;
use serde::{Deserialize, Serialize};

#[derive(Parser)]
struct Arguments {
    /// How many sensors there are
    #[arg(long, default_value_t = 10)]
    sensors: u32,
    /// How many readings each of them sends
    #[arg(long, default_value_t = 600)]
    readings: u32,
    /// Seconds of a window
    #[arg(long, default_value_t = 60)]
    window_seconds: u64,
    /// The directory to write to; without it, averages are printed
    #[arg(long)]
    output: Option<String>,
}

/// What a sensor says.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Reading {
    sensor: u32,
    /// When it was taken: milliseconds since 1970.
    at: i64,
    /// In thousandths of a degree.
    temperature: i64,
}

/// Reads the sensors; each is a split, so that each has watermarks of its own.
#[derive(Clone)]
struct Sensors {
    sensors: u32,
    readings: u32,
}

impl SourceFunction for Sensors {
    type Out = Reading;
    /// The sensor, and its next reading.
    type Split = (u32, u32);
    type State = ();

    fn splits(&self) -> Vec<(u32, u32)> {
        (0..self.sensors).map(|sensor| (sensor, 0)).collect()
    }

    fn open(&self, _: &RuntimeContext) -> FunctionResult {
        Ok(())
    }

    fn read(
        &mut self,
        (sensor, next): &mut (u32, u32),
        (): &mut (),
        out: &mut SourceOutput<'_, Reading>,
    ) -> FunctionResult<ReadStatus> {
        while *next < self.readings && !out.is_full() {
            let random = splitmix64(u64::from(*sensor) << 32 | u64::from(*next));
            // Every tenth one is late.
            let late = if next.is_multiple_of(10) { (random >> 32) % 3000 } else { 0 };
            let at = i64::from(*next) * 1000 - late as i64;
            let temperature = 20_000 + i64::from(*sensor) * 100 + (random % 2000) as i64 - 1000;
            out.collect(Reading { sensor: *sensor, at: at.max(0), temperature });
            *next += 1;
        }
        Ok(if *next == self.readings { ReadStatus::Finished } else { ReadStatus::More })
    }
}

/// The average of temperatures and their number.
#[derive(Clone)]
struct Average;

impl AggregateFunction for Average {
    type In = Reading;
    type Acc = (i64, u64);
    type Out = (i64, u64);

    fn create_accumulator(&self) -> (i64, u64) {
        (0, 0)
    }

    fn add(&self, (sum, count): &mut (i64, u64), reading: Reading) {
        *sum += reading.temperature;
        *count += 1;
    }

    fn get_result(&self, (sum, count): &(i64, u64)) -> (i64, u64) {
        (sum / (*count).max(1) as i64, *count)
    }

    fn merge(&self, a: (i64, u64), b: (i64, u64)) -> (i64, u64) {
        (a.0 + b.0, a.1 + b.1)
    }
}

fn main() -> flumen::Result<()> {
    let arguments = Arguments::parse();
    let env = StreamExecutionEnvironment::get()?;
    let times = WatermarkStrategy::for_bounded_out_of_orderness(Duration::from_secs(3))
        .with_timestamp_assigner(|reading: &Reading, _| reading.at);
    let averages = env
        .add_source(Sensors { sensors: arguments.sensors, readings: arguments.readings })
        .uid("sensors")
        .assign_timestamps_and_watermarks(times)
        .key_by_ref(|reading| &reading.sensor)
        .window(TumblingEventTimeWindows::of(Duration::from_secs(arguments.window_seconds.max(1))))
        .aggregate_with(Average, Apply(average))
        .uid("averages");
    match &arguments.output {
        Some(output) => averages.write_as_text(output),
        None => averages.print(),
    };
    env.execute("Sensor Average")?;
    Ok(())
}

/// Sensor, start of the window, average in thousandths of a degree, number of readings.
fn average(
    sensor: &u32,
    window: &TimeWindow,
    results: Elements<'_, (i64, u64)>,
    out: &mut Collector<(u32, i64, i64, u64)>,
) {
    results.for_each(|(average, count)| out.collect((*sensor, window.start, average, count)));
}
