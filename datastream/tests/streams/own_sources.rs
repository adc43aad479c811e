//! Sources and sinks that a program writes itself.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use flumen::windows::TumblingEventTimeWindows;
use flumen::{
    FunctionResult, ReadStatus, RuntimeContext, SinkContext, SinkFunction, SourceFunction, SourceOutput,
    WatermarkStrategy,
};

use crate::world::{env, run};

/// Splits with `count` numbers each, of which some come only after a while.
#[derive(Clone)]
struct Numbers {
    splits: u64,
    count: u64,
}

impl SourceFunction for Numbers {
    type Out = (u64, u64);
    /// Which one, and the next number.
    type Split = (u64, u64);
    /// How often there was nothing to read.
    type State = u64;

    fn splits(&self) -> Vec<(u64, u64)> {
        (0..self.splits).map(|split| (split, 0)).collect()
    }

    fn open(&self, context: &RuntimeContext) -> FunctionResult<u64> {
        assert!(context.index_of_this_subtask() < context.number_of_parallel_subtasks());
        Ok(0)
    }

    fn read(
        &mut self,
        (split, next): &mut (u64, u64),
        nothing: &mut u64,
        out: &mut SourceOutput<'_, (u64, u64)>,
    ) -> FunctionResult<ReadStatus> {
        if *next == self.count / 2 && *nothing < 3 {
            *nothing += 1;
            return Ok(ReadStatus::Idle(Duration::from_millis(1)));
        }
        while *next < self.count && !out.is_full() {
            out.collect_with_timestamp((*split, *next), *next as i64);
            *next += 1;
            if *next == self.count / 2 {
                break;
            }
        }
        Ok(if *next == self.count { ReadStatus::Finished } else { ReadStatus::More })
    }
}

#[test]
fn every_split_is_read_once_by_one_of_the_subtasks() {
    for (parallelism, splits) in [(1, 1), (2, 5), (4, 3)] {
        let env = env(parallelism);
        let numbers = env.add_source(Numbers { splits, count: 3000 });
        let expected: Vec<_> = (0..splits).flat_map(|split| (0..3000).map(move |n| (split, n))).collect();
        assert_eq!(run(&env, numbers).unwrap(), expected);
    }
}

#[test]
fn watermarks_are_held_back_by_the_split_that_is_behind() {
    let env = env(1);
    let numbers = env.add_source(Numbers { splits: 3, count: 5000 });
    let counts = numbers
        .assign_timestamps_and_watermarks(WatermarkStrategy::for_monotonous_timestamps())
        .key_by(|_| 0u8)
        .window(TumblingEventTimeWindows::of(Duration::from_millis(1000)))
        .apply(|_, window, records, out| out.collect((window.start, records.len())));
    let expected: Vec<_> = (0..5).map(|n| (n * 1000, 3000)).collect();
    assert_eq!(run(&env, counts).unwrap(), expected, "no record was late");
}

#[derive(Clone)]
struct Log(Arc<Mutex<Vec<String>>>);

impl SinkFunction<u64> for Log {
    type State = u64;

    fn open(&self, context: &RuntimeContext) -> FunctionResult<u64> {
        self.0.lock().unwrap().push(format!("open {}", context.attempt_number()));
        Ok(0)
    }

    fn invoke(&mut self, record: u64, sum: &mut u64, context: &SinkContext) -> FunctionResult {
        assert_eq!(context.timestamp(), None);
        if record == 13 {
            return Err("13 is unlucky".into());
        }
        *sum += record;
        Ok(())
    }

    fn finish(&mut self, sum: &mut u64) -> FunctionResult {
        self.0.lock().unwrap().push(format!("finish {sum}"));
        Ok(())
    }

    fn close(&mut self, sum: u64) {
        self.0.lock().unwrap().push(format!("close {sum}"));
    }
}

#[test]
fn a_sink_is_opened_finished_and_closed_and_closed_also_after_a_failure() {
    let log = Arc::default();
    let environment = env(1);
    environment.generate(5, None, |i| i).add_sink(Log(Arc::clone(&log)));
    environment.execute("sink").unwrap();
    assert_eq!(std::mem::take(&mut *log.lock().unwrap()), ["open 0", "finish 10", "close 10"]);

    environment.set_parallelism(1);
    environment.generate(20, None, |i| i).add_sink(Log(Arc::clone(&log))).name("Log");
    let error = environment.execute("sink").unwrap_err().to_string();
    assert!(error.contains("Log") && error.contains("13 is unlucky"), "{error}");
    assert_eq!(*log.lock().unwrap(), ["open 0", "close 78"]);
}
