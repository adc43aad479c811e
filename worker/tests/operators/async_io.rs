//! Asynchronous calls.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use flumen_testkit::{Harness, end, harness, processing_time, rec, watermark};
use flumen_worker::functions::{
    AsyncFunction, AsyncMode, AsyncOptions, AsyncRetryStrategy, FunctionError, FunctionResult,
};
use flumen_worker::operator::TaskError;
use flumen_worker::operators::async_io::AsyncIo;

const LONG: Duration = Duration::from_secs(3600);

/// Gives a number as often as it says, after some turns of the runtime: the larger, the sooner.
#[derive(Clone)]
struct Repeat;

impl AsyncFunction<u32, u32> for Repeat {
    async fn async_invoke(&self, record: u32) -> FunctionResult<Vec<u32>> {
        for _ in record..10 {
            tokio::task::yield_now().await;
        }
        Ok(vec![record; record as usize])
    }
}

fn calling<F: AsyncFunction<u32, u32>>(function: F, options: AsyncOptions<u32>) -> Harness<u32, u32> {
    harness(move |context, operator, output| {
        Ok(Box::new(AsyncIo::open(context, operator, function.clone(), options.clone(), output)?))
    })
    .stateless()
}

fn with_capacity(mode: AsyncMode, capacity: usize) -> AsyncOptions<u32> {
    AsyncOptions { capacity, ..AsyncOptions::new(mode, LONG) }
}

#[test]
fn ordered_results_come_in_the_order_of_the_records_with_their_times() {
    for capacity in [1, 2, 100] {
        calling(Repeat, with_capacity(AsyncMode::Ordered, capacity))
            .input([rec(1).at(5), rec(3), rec(0).at(7), rec(2).at(8), rec(1), end()])
            .expect([rec(1).at(5), rec(3), rec(3), rec(3), rec(2).at(8), rec(2).at(8), rec(1)])
            .in_all_modes();
    }
}

#[test]
fn results_survive_rescaling() {
    calling(Repeat, with_capacity(AsyncMode::Unordered, 3))
        .input([rec(1).at(5), rec(3), rec(0).at(7), rec(2).at(8), rec(1), end()])
        .expect([rec(1).at(5), rec(3), rec(3), rec(3), rec(2).at(8), rec(2).at(8), rec(1)])
        .keyed_by(|record| *record)
        .in_any_order()
        .in_all_modes();
}

#[test]
fn no_result_crosses_a_watermark_in_either_mode() {
    for mode in [AsyncMode::Ordered, AsyncMode::Unordered] {
        calling(Repeat, with_capacity(mode, 100))
            .input([rec(1).at(5), watermark(5), rec(1).at(7), watermark(8), rec(1).at(9), end()])
            .expect([rec(1).at(5), watermark(5), rec(1).at(7), watermark(8), rec(1).at(9)])
            // A watermark that waits at a barrier comes again from the senders, which the harness does not compare.
            .except(flumen_testkit::Mode::RestoreAfterEach)
            .except(flumen_testkit::Mode::DuringCheckpoints)
            .in_all_modes();
    }
}

/// Never answers odd numbers, and adds a thousand when that is noticed.
#[derive(Clone)]
struct OnlyEven;

impl AsyncFunction<u32, u32> for OnlyEven {
    async fn async_invoke(&self, record: u32) -> FunctionResult<Vec<u32>> {
        if record % 2 == 1 {
            pending::<()>().await;
        }
        Ok(vec![record])
    }

    fn timeout(&self, record: u32) -> FunctionResult<Vec<u32>> {
        Ok(vec![record + 1000])
    }
}

#[test]
fn a_call_that_takes_too_long_gets_what_the_handler_says() {
    for mode in [AsyncMode::Ordered, AsyncMode::Unordered] {
        let timeout = Duration::from_millis(50);
        calling(OnlyEven, AsyncOptions { timeout, ..with_capacity(mode, 2) })
            .input([rec(1).at(1), rec(3), processing_time(50), processing_time(100), end()])
            .expect([rec(1001).at(1), rec(1003)])
            .in_any_order()
            .in_all_modes();
    }
}

/// Fails until the attempt of that number.
fn failing_until(succeeds: u32) -> (impl AsyncFunction<u32, u32>, Arc<AtomicU32>) {
    let attempts = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&attempts);
    let function = move |record: u32| {
        let attempt = counted.fetch_add(1, Ordering::Relaxed) + 1;
        async move {
            if attempt < succeeds { Err(FunctionError::from(format!("attempt {attempt}"))) } else { Ok(vec![record]) }
        }
    };
    (function, attempts)
}

#[test]
fn a_call_that_fails_is_repeated_as_often_as_the_strategy_says() {
    let retry = AsyncRetryStrategy::fixed_delay(3, Duration::from_millis(1));
    let (function, attempts) = failing_until(3);
    calling(function, AsyncOptions { retry: retry.clone(), ..with_capacity(AsyncMode::Ordered, 1) })
        .input([rec(7), end()])
        .expect([rec(7)])
        .except(flumen_testkit::Mode::Batched)
        .in_all_modes();
    assert!(attempts.load(Ordering::Relaxed) >= 3);

    let (function, attempts) = failing_until(4);
    let error = calling(function, AsyncOptions { retry, ..with_capacity(AsyncMode::Ordered, 1) })
        .input([rec(7), end()])
        .fails();
    assert_eq!(attempts.load(Ordering::Relaxed), 3);
    let TaskError::Failed { message, .. } = error else { panic!("{error:?}") };
    assert_eq!(message, "the asynchronous call failed: attempt 3");
}

#[test]
fn an_error_that_the_strategy_does_not_want_is_not_tried_again() {
    let retry = AsyncRetryStrategy::exponential_backoff(9, Duration::ZERO, Duration::ZERO, 2.0)
        .if_error(|error| error.to_string() != "attempt 2");
    let (function, attempts) = failing_until(5);
    calling(function, AsyncOptions { retry, ..with_capacity(AsyncMode::Ordered, 1) }).input([rec(7), end()]).fails();
    assert_eq!(attempts.load(Ordering::Relaxed), 2);
}
