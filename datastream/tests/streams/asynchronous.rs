//! Operators that wait for others, and joins by time.

use std::time::Duration;

use flumen::{AsyncDataStream, AsyncMode, AsyncOptions, AsyncRetryStrategy, FunctionResult};

use crate::world::{env, run, second_field, seen};

/// Answers after a while that differs from record to record.
async fn ask(i: u64) -> FunctionResult<Vec<u64>> {
    for _ in 0..(i * 7) % 5 {
        tokio::task::yield_now().await;
    }
    Ok(vec![i, i + 1000])
}

#[test]
fn answers_come_in_the_order_of_the_records_or_as_they_come() {
    let environment = env(1);
    let limit = Duration::from_secs(60);
    let stream = environment.generate(300, None, |i| i);
    let ordered = seen(AsyncDataStream::ordered_wait(stream.clone(), ask, limit, 16));
    let unordered = AsyncDataStream::unordered_wait(stream, ask, limit, 16);
    let mut expected: Vec<u64> = (0..300).flat_map(|i| [i, i + 1000]).collect();
    let came = run(&environment, unordered).unwrap();
    assert_eq!(*ordered.lock().unwrap(), expected);
    expected.sort_unstable();
    assert_eq!(came, expected);
}

#[test]
fn a_call_that_fails_is_repeated_as_the_strategy_says() {
    let environment = env(1);
    let tries = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counter = std::sync::Arc::clone(&tries);
    let flaky = move |i: u64| {
        let failed = counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < 2;
        async move { if failed { Err("not now".into()) } else { Ok(vec![i]) } }
    };
    let mut options = AsyncOptions::new(AsyncMode::Ordered, Duration::from_secs(60));
    options.retry = AsyncRetryStrategy::fixed_delay(3, Duration::from_millis(1));
    let stream = environment.generate(1, None, |i| i).async_wait(flaky.clone(), options);
    assert_eq!(run(&environment, stream).unwrap(), [0]);

    tries.store(0, std::sync::atomic::Ordering::SeqCst);
    environment.set_parallelism(1);
    let options = AsyncOptions::new(AsyncMode::Ordered, Duration::from_secs(60));
    let error = run(&environment, environment.generate(1, None, |i| i).async_wait(flaky, options)).unwrap_err();
    assert!(error.to_string().contains("not now"), "{error}");
}

#[test]
fn an_interval_join_has_the_pairs_whose_times_are_near_each_other() {
    let left = |i: u64| (i % 5, i as i64 * 4);
    let right = |i: u64| (i % 3, i as i64 * 6);
    let pairs = |lower: i64, upper: i64| {
        let pairs = (0..200).map(left).flat_map(|a| (0..200).map(right).map(move |b| (a, b)));
        let near = pairs.filter(|(a, b)| a.0 == b.0 && (lower..=upper).contains(&(b.1 - a.1)));
        let mut near: Vec<(u64, i64, i64)> = near.map(|(a, b)| (a.0, a.1, b.1)).collect();
        near.sort_unstable();
        near
    };
    for parallelism in [1, 3] {
        let env = env(parallelism);
        let streams = || {
            let left = env.generate(200, None, left).assign_timestamps_and_watermarks(second_field(0));
            let right = env.generate(200, None, right).assign_timestamps_and_watermarks(second_field(0));
            left.key_by(|a| a.0).interval_join(right.key_by(|b| b.0)).between(-20, 10)
        };
        let inclusive = seen(streams().process(|a: &(u64, i64), b: &(u64, i64), out: &mut flumen::Collector<_>| {
            out.collect((a.0, a.1, b.1));
        }));
        let exclusive = streams().lower_bound_exclusive().upper_bound_exclusive();
        let exclusive = exclusive.process(|a: &(u64, i64), b: &(u64, i64), out: &mut flumen::Collector<_>| {
            out.collect((a.0, a.1, b.1));
        });
        assert_eq!(run(&env, exclusive).unwrap(), pairs(-19, 9));
        assert_eq!(crate::world::sorted(&inclusive), pairs(-20, 10));
        assert_ne!(pairs(-19, 9), pairs(-20, 10));
    }
}
