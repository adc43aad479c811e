//! Functions that wait for others: a database, a service.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::functions::{FunctionError, FunctionResult, RuntimeContext};

/// Makes the results of a record without stopping the subtask meanwhile. Its futures run on the worker's threads for I/O:
/// they must not block.
///
/// A closure `|record| async move { Ok(vec![…]) }` is one, too.
pub trait AsyncFunction<In, Out>: Clone + Send + Sync + 'static {
    /// Called once in each subtask, before everything else.
    ///
    /// # Errors
    /// Any: the subtask fails.
    fn open(&mut self, _runtime: &RuntimeContext) -> FunctionResult {
        Ok(())
    }

    /// What becomes of a record. An error is tried again as the [`AsyncRetryStrategy`] says, and then ends the subtask.
    fn async_invoke(&self, record: In) -> impl Future<Output = FunctionResult<Vec<Out>>> + Send;

    /// What becomes of a record whose results did not come in time.
    ///
    /// # Errors
    /// Any: the subtask fails. So it does unless this is implemented.
    fn timeout(&self, _record: In) -> FunctionResult<Vec<Out>> {
        Err("an asynchronous call took longer than its time limit: raise it, or implement AsyncFunction::timeout"
            .into())
    }
}

impl<In, Out, F, R> AsyncFunction<In, Out> for F
where
    F: Fn(In) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = FunctionResult<Vec<Out>>> + Send,
{
    fn async_invoke(&self, record: In) -> impl Future<Output = FunctionResult<Vec<Out>>> + Send {
        self(record)
    }
}

/// Which order results have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AsyncMode {
    /// That of the records.
    Ordered,
    /// As they come; but no result crosses a watermark.
    Unordered,
}

/// How asynchronous calls are made.
#[derive(Clone)]
pub struct AsyncOptions<Out> {
    /// In which order results are emitted.
    pub mode: AsyncMode,
    /// For how long a record may take, repetitions included. In processing time.
    pub timeout: Duration,
    /// How many records may be on their way in one subtask; when there are as many, it takes no input.
    pub capacity: usize,
    /// Whether a call is repeated.
    pub retry: AsyncRetryStrategy<Out>,
}

impl<Out> AsyncOptions<Out> {
    /// Without repetitions, and with Flink's default capacity of 100.
    pub fn new(mode: AsyncMode, timeout: Duration) -> Self {
        Self { mode, timeout, capacity: 100, retry: AsyncRetryStrategy::no_retry() }
    }
}

type ErrorPredicate = Arc<dyn Fn(&FunctionError) -> bool + Send + Sync>;
type ResultPredicate<Out> = Arc<dyn Fn(&[Out]) -> bool + Send + Sync>;

/// Whether, and after which delay, an asynchronous call is repeated.
pub struct AsyncRetryStrategy<Out> {
    max_attempts: u32,
    initial_delay: Duration,
    max_delay: Duration,
    multiplier: f64,
    if_error: Option<ErrorPredicate>,
    if_result: Option<ResultPredicate<Out>>,
}

impl<Out> Clone for AsyncRetryStrategy<Out> {
    fn clone(&self) -> Self {
        Self { if_error: self.if_error.clone(), if_result: self.if_result.clone(), ..*self }
    }
}

impl<Out> AsyncRetryStrategy<Out> {
    /// Never.
    pub fn no_retry() -> Self {
        Self::exponential_backoff(1, Duration::ZERO, Duration::ZERO, 1.0)
    }

    /// Until there were so many attempts, always after the same delay.
    pub fn fixed_delay(max_attempts: u32, delay: Duration) -> Self {
        Self::exponential_backoff(max_attempts, delay, delay, 1.0)
    }

    /// Until there were so many attempts; each delay is the one before times `multiplier`, at most `max_delay`.
    pub fn exponential_backoff(
        max_attempts: u32,
        initial_delay: Duration,
        max_delay: Duration,
        multiplier: f64,
    ) -> Self {
        Self { max_attempts, initial_delay, max_delay, multiplier, if_error: None, if_result: None }
    }

    /// After errors for which that holds, instead of after all.
    #[must_use]
    pub fn if_error(mut self, predicate: impl Fn(&FunctionError) -> bool + Send + Sync + 'static) -> Self {
        self.if_error = Some(Arc::new(predicate));
        self
    }

    /// Also after results for which that holds.
    #[must_use]
    pub fn if_result(mut self, predicate: impl Fn(&[Out]) -> bool + Send + Sync + 'static) -> Self {
        self.if_result = Some(Arc::new(predicate));
        self
    }

    /// The delay before the next attempt after so many, of which the last had that result; `None`: there is none.
    pub(crate) fn delay_after(&self, attempts: u32, result: &FunctionResult<Vec<Out>>) -> Option<Duration> {
        let wanted = match result {
            Ok(results) => self.if_result.as_ref().is_some_and(|predicate| predicate(results)),
            Err(error) => self.if_error.as_ref().is_none_or(|predicate| predicate(error)),
        };
        if !wanted || attempts >= self.max_attempts {
            return None;
        }
        let factor = self.multiplier.max(0.0).powi(i32::try_from(attempts - 1).unwrap_or(i32::MAX));
        let max = self.max_delay.as_secs_f64();
        let delay = (self.initial_delay.as_secs_f64() * factor).min(max);
        Some(Duration::try_from_secs_f64(delay).unwrap_or(self.max_delay))
    }
}
