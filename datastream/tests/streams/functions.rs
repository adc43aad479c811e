//! Functions with keyed state and timers.

use flumen::{
    Collector, FunctionResult, KeyedContext, KeyedProcessFunction, MapState, MapStateDescriptor, OpenContext,
    TimeDomain, ValueState, ValueStateDescriptor,
};

use crate::world::{env, one_by_one, run};

/// Emits how many records of a key came within `quiet` milliseconds of each other, when no more do.
#[derive(Clone)]
struct CountBursts {
    quiet: i64,
}

impl KeyedProcessFunction<u64, (u64, i64), (u64, i64, u64)> for CountBursts {
    /// When the burst is over, and how many there were.
    type State = ValueState<u64, (i64, u64)>;

    fn open(&self, context: &mut OpenContext<'_, u64>) -> FunctionResult<Self::State> {
        Ok(context.value_state(ValueStateDescriptor::new("burst"))?)
    }

    fn process_element(
        &mut self,
        (_, time): (u64, i64),
        burst: &Self::State,
        ctx: &mut KeyedContext<'_, u64>,
        _: &mut Collector<(u64, i64, u64)>,
    ) -> FunctionResult {
        assert_eq!(ctx.timestamp(), Some(time));
        let (before, count) = burst.get()?.unwrap_or_default();
        let over = time + self.quiet;
        burst.set((over, count + 1))?;
        let mut timers = ctx.timer_service();
        timers.delete_event_time_timer(before)?;
        Ok(timers.register_event_time_timer(over)?)
    }

    fn on_timer(
        &mut self,
        time: i64,
        burst: &Self::State,
        ctx: &mut KeyedContext<'_, u64>,
        out: &mut Collector<(u64, i64, u64)>,
    ) -> FunctionResult {
        assert_eq!(ctx.time_domain(), Some(TimeDomain::EventTime));
        let (_, count) = burst.get()?.unwrap_or_default();
        burst.clear()?;
        let key = *ctx.current_key();
        out.collect((key, time, count));
        Ok(())
    }
}

#[test]
fn a_function_counts_what_comes_until_its_timer_fires() {
    for parallelism in [1, 4] {
        let env = env(parallelism);
        // Bursts of four records, 10 ms apart, every 100 ms, for each of three keys; after each, one record of another key,
        // which lets the watermark pass the timers.
        let burst = |n: i64| (0..12).map(move |i| (i as u64 % 3, n * 100 + i / 3 * 10));
        let records = (0..30).flat_map(|n| burst(n).chain([(9, n * 100 + 60)])).collect();
        let bursts = one_by_one(&env, records).key_by_ref(|(key, _)| key).process(CountBursts { quiet: 15 });
        let mut expected: Vec<_> = (0..3).flat_map(|key| (0..30).map(move |n| (key, n * 100 + 45, 4))).collect();
        expected.extend((0..30).map(|n| (9, n * 100 + 75, 1)));
        assert_eq!(run(&env, bursts).unwrap(), expected);
    }
}

/// Emits each value of a key once.
#[derive(Clone)]
struct Distinct;

impl KeyedProcessFunction<String, (String, u64), (String, u64)> for Distinct {
    type State = MapState<String, u64, ()>;

    fn open(&self, context: &mut OpenContext<'_, String>) -> FunctionResult<Self::State> {
        Ok(context.map_state(MapStateDescriptor::new("seen"))?)
    }

    fn process_element(
        &mut self,
        record: (String, u64),
        seen: &Self::State,
        _: &mut KeyedContext<'_, String>,
        out: &mut Collector<(String, u64)>,
    ) -> FunctionResult {
        if !seen.contains(&record.1)? {
            seen.put(record.1, ())?;
            out.collect(record);
        }
        Ok(())
    }
}

#[test]
fn state_is_of_the_key_of_the_record() {
    let env = env(3);
    let stream = env.generate(1000, None, |i| (format!("key {}", i % 5), i % 10));
    let distinct = stream.key_by(|(key, _)| key.clone()).process(Distinct);
    let expected: Vec<_> =
        (0..5u64).flat_map(|key| [key, key + 5].map(|value| (format!("key {key}"), value))).collect();
    assert_eq!(run(&env, distinct).unwrap(), expected);
}

#[test]
fn an_error_of_a_function_fails_the_job_with_its_text() {
    #[derive(Clone)]
    struct Fails;
    impl KeyedProcessFunction<u64, u64, u64> for Fails {
        type State = ();
        fn open(&self, _: &mut OpenContext<'_, u64>) -> FunctionResult {
            Ok(())
        }
        fn process_element(
            &mut self,
            n: u64,
            (): &(),
            _: &mut KeyedContext<'_, u64>,
            _: &mut Collector<u64>,
        ) -> FunctionResult {
            Err(format!("{n} is not wanted").into())
        }
    }
    let env = env(2);
    let error = run(&env, env.generate(10, None, |_| 7).key_by_ref(|i| i).process(Fails)).unwrap_err().to_string();
    assert!(error.contains("Keyed Process") && error.contains("7 is not wanted"), "{error}");
}
