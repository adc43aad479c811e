//! Windows of every kind, beside what they come to by definition.

use std::collections::BTreeMap;
use std::time::Duration;

use flumen::windows::{
    Apply, ContinuousEventTimeTrigger, CountEvictor, CountTrigger, Elements, EventTimeSessionWindows, EventTimeTrigger,
    GlobalWindows, PurgingTrigger, SlidingEventTimeWindows, TimeWindow, TumblingEventTimeWindows, WindowContext,
};
use flumen::{AggregateFunction, Collector, OutputTag};

use crate::world::{env, one_by_one, run, second_field, seen, sorted};

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Key and event time of record `i`: a little out of order.
fn record(i: u64) -> (u64, i64) {
    (i % 7, i as i64 * 3 + i64::from(i.is_multiple_of(2)) * 20)
}

const N: u64 = 3000;

#[derive(Clone)]
struct Average;

impl AggregateFunction for Average {
    type In = (u64, i64);
    type Acc = (i64, i64);
    type Out = i64;

    fn create_accumulator(&self) -> (i64, i64) {
        (0, 0)
    }

    fn add(&self, acc: &mut (i64, i64), (_, value): (u64, i64)) {
        *acc = (acc.0 + value, acc.1 + 1);
    }

    fn get_result(&self, (sum, count): &(i64, i64)) -> i64 {
        sum / count
    }

    fn merge(&self, a: (i64, i64), b: (i64, i64)) -> (i64, i64) {
        (a.0 + b.0, a.1 + b.1)
    }
}

/// By key and start of the window: its records.
fn windows_by_definition(size: i64, slide: i64) -> BTreeMap<(u64, i64), Vec<i64>> {
    let mut windows: BTreeMap<_, Vec<i64>> = BTreeMap::new();
    for (key, time) in (0..N).map(record) {
        let mut start = time - time.rem_euclid(slide);
        while start > time - size {
            windows.entry((key, start)).or_default().push(time);
            start -= slide;
        }
    }
    windows
}

#[test]
fn tumbling_and_sliding_windows_have_the_records_of_their_time_however_they_are_folded() {
    for (size, slide) in [(100, 100), (100, 20), (90, 40)] {
        let expected = windows_by_definition(size, slide);
        let (size, slide) = (ms(size as u64), ms(slide as u64));
        for parallelism in [1, 3] {
            let env = env(parallelism);
            let keyed = || {
                let stream = env.generate(N, None, record).assign_timestamps_and_watermarks(second_field(20));
                stream.key_by_ref(|(key, _)| key).window(SlidingEventTimeWindows::of(size, slide))
            };
            let averages = keyed().aggregate_with(
                Average,
                Apply(|key: &u64, window: &TimeWindow, results: Elements<'_, i64>, out: &mut Collector<_>| {
                    results.for_each(|average| out.collect((*key, window.start, average)));
                }),
            );
            let greatest = keyed().reduce_with(
                |value: &mut (u64, i64), record| value.1 = value.1.max(record.1),
                |key: &u64,
                 ctx: &mut WindowContext<'_, u64, TimeWindow>,
                 values: Elements<'_, _>,
                 out: &mut Collector<_>| {
                    let start = ctx.window().start;
                    values.for_each(|(_, greatest): (u64, i64)| out.collect((*key, start, greatest)));
                    Ok(())
                },
            );
            let counts = keyed().apply(|key, window, records, out| out.collect((*key, window.start, records.len())));
            let (averages, greatest, counts) = (seen(averages), seen(greatest), seen(counts));
            env.execute("windows").unwrap();
            let by = |f: fn(&Vec<i64>) -> i64| -> Vec<(u64, i64, i64)> {
                expected.iter().map(|((key, start), times)| (*key, *start, f(times))).collect()
            };
            assert_eq!(sorted(&averages), by(|times| times.iter().sum::<i64>() / times.len() as i64));
            assert_eq!(sorted(&greatest), by(|times| times.iter().copied().max().unwrap()));
            let counted: Vec<_> =
                sorted(&counts).into_iter().map(|(k, s, n): (u64, i64, usize)| (k, s, n as i64)).collect();
            assert_eq!(counted, by(|times| times.len() as i64));
        }
    }
}

#[test]
fn a_session_lasts_until_nothing_came_for_its_gap() {
    let env = env(2);
    let input = [("a", 1i64), ("b", 1), ("b", 3), ("b", 5), ("c", 6), ("a", 10), ("c", 11)];
    let stream = env.from_collection(input.map(|(key, time)| (key.to_owned(), time)));
    let sessions = stream
        .assign_timestamps_and_watermarks(second_field(0))
        .key_by_ref(|(key, _)| key)
        .window(EventTimeSessionWindows::with_gap(ms(3)))
        .apply(|key, window, records, out| out.collect((key.clone(), window.start, window.end, records.len())));
    let expected = [("a", 1, 4, 1), ("a", 10, 13, 1), ("b", 1, 8, 3), ("c", 6, 9, 1), ("c", 11, 14, 1)];
    assert_eq!(run(&env, sessions).unwrap(), expected.map(|(k, s, e, n)| (k.to_owned(), s, e, n)));
}

#[test]
fn windows_of_a_count_need_no_time() {
    let environment = env(2);
    let sums = environment.generate(20, None, |i| (i % 2, i)).key_by_ref(|t| &t.0).count_window(4).sum(|t| &mut t.1);
    // Both subtasks of the source send, so which numbers are in a window is not fixed, but how many windows there are is.
    let sums = run(&environment, sums.map(|t| t.0)).unwrap();
    assert_eq!(sums, [0, 0, 1, 1], "of ten numbers for each key, two windows of four");

    let environment = env(1);
    let stream = environment.generate(8, None, |i| (0u64, i));
    let last_three = stream.key_by_ref(|t| &t.0).sliding_count_window(3, 2).apply(|_, _, records, out| {
        out.collect(records.map(|(_, i)| i).collect::<Vec<_>>());
    });
    assert_eq!(run(&environment, last_three).unwrap(), [vec![0, 1], vec![1, 2, 3], vec![3, 4, 5], vec![5, 6, 7]]);
}

#[test]
fn a_window_over_the_whole_stream_has_one_subtask() {
    let env = env(3);
    let stream = env.generate(N, None, record).assign_timestamps_and_watermarks(second_field(20));
    let sums = stream.window_all(TumblingEventTimeWindows::of(ms(1000))).apply(|(), window, records, out| {
        out.collect((window.start, records.len() as u64));
    });
    let all: Vec<(i64, u64)> = run(&env, sums).unwrap();
    assert_eq!(all.iter().map(|(_, n)| n).sum::<u64>(), N);
    let starts: Vec<i64> = all.iter().map(|(start, _)| *start).collect();
    let mut once = starts.clone();
    once.dedup();
    assert_eq!(starts, once, "each window fired once");
}

#[test]
fn late_records_change_a_window_while_it_is_allowed_and_go_to_the_side_output_afterwards() {
    let env = env(1);
    // With a watermark for every record: 25 closes the first window, 40 ends its lateness of 10.
    let input = [1i64, 5, 25, 7, 40, 8, 41].map(|time| (0u64, time));
    let late = OutputTag::new("late");
    let counts = one_by_one(&env, input.to_vec())
        .key_by_ref(|(key, _)| key)
        .window(TumblingEventTimeWindows::of(ms(20)))
        .allowed_lateness(ms(10))
        .side_output_late_data(&late)
        .apply(|_, window, records, out| out.collect((window.start, records.len())));
    let late = seen(counts.get_side_output(&late));
    assert_eq!(run(&env, counts).unwrap(), [(0, 2), (0, 3), (20, 1), (40, 2)]);
    assert_eq!(sorted(&late), [(0, 8)]);
}

#[test]
fn triggers_and_evictors_decide_when_a_window_fires_and_with_what() {
    let env = env(1);
    let keyed = |env: &flumen::StreamExecutionEnvironment| {
        let stream = env.generate(10, None, |i| (0u64, i as i64)).assign_timestamps_and_watermarks(second_field(0));
        stream.key_by_ref(|(key, _)| key)
    };
    let times = |_: &u64, _: &TimeWindow, records: Elements<'_, (u64, i64)>, out: &mut Collector<Vec<i64>>| {
        out.collect(records.map(|(_, time)| time).collect());
    };
    let windowed = || keyed(&env).window(TumblingEventTimeWindows::of(ms(100)));
    let by_count = seen(windowed().trigger(CountTrigger::of(4)).apply(times));
    let purged = seen(windowed().trigger(PurgingTrigger::of(CountTrigger::of(4))).apply(times));
    let evicted = seen(windowed().evictor(CountEvictor::of(2)).apply(times));
    let default = seen(windowed().trigger(EventTimeTrigger).apply(times));
    let continuous = seen(windowed().trigger(ContinuousEventTimeTrigger::of(ms(50))).apply(times));
    let global = keyed(&env).window(GlobalWindows::create()).trigger(CountTrigger::of(5));
    let global = seen(global.reduce(|value, record| value.1 += record.1));
    env.execute("triggers").unwrap();
    assert_eq!(sorted(&by_count), [(0..4).collect::<Vec<_>>(), (0..8).collect()]);
    assert_eq!(sorted(&purged), [(0..4).collect::<Vec<_>>(), (4..8).collect()]);
    assert_eq!(sorted(&evicted), [vec![8, 9]]);
    assert_eq!(sorted(&default), [(0..10).collect::<Vec<_>>()]);
    assert!(sorted(&continuous).iter().all(|times| *times == (0..10).collect::<Vec<_>>()));
    assert_eq!(sorted(&global), [(0, 10), (0, 45)]);
}
