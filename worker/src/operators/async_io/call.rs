//! One call on its way.

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use crate::functions::{AsyncFunction, AsyncRetryStrategy, FunctionResult};
use crate::subtask::{SubtaskContext, SubtaskHandle};

/// Makes calls on the worker's threads for I/O.
pub(super) struct Caller<F, Out> {
    function: Arc<F>,
    retry: Arc<AsyncRetryStrategy<Out>>,
    runtime: tokio::runtime::Handle,
    handle: Arc<SubtaskHandle>,
}

/// A call whose results are to come. Given up when it is dropped.
pub(super) struct Call<Out> {
    results: oneshot::Receiver<FunctionResult<Vec<Out>>>,
    task: AbortHandle,
}

impl<F, Out: Send + 'static> Caller<F, Out> {
    pub(super) fn new(context: &SubtaskContext, function: F, retry: AsyncRetryStrategy<Out>) -> Self {
        Self {
            function: Arc::new(function),
            retry: Arc::new(retry),
            runtime: context.worker.runtime.clone(),
            handle: Arc::clone(&context.handle),
        }
    }

    pub(super) fn function(&self) -> &F {
        &self.function
    }

    pub(super) fn call<In: Clone + Send + 'static>(&self, record: In) -> Call<Out>
    where
        F: AsyncFunction<In, Out>,
    {
        let (sender, results) = oneshot::channel();
        let (function, retry, wake) =
            (Arc::clone(&self.function), Arc::clone(&self.retry), Wake(Arc::clone(&self.handle)));
        let task = self.runtime.spawn(async move {
            let mut attempts = 1;
            let results = loop {
                let results = function.async_invoke(record.clone()).await;
                match retry.delay_after(attempts, &results) {
                    None => break results,
                    Some(delay) => tokio::time::sleep(delay).await,
                }
                attempts += 1;
            };
            // Nobody takes it when the subtask has given up.
            let _ = sender.send(results);
            drop(wake);
        });
        Call { results, task: task.abort_handle() }
    }
}

/// Wakes the subtask when the call is over, also by a panic.
struct Wake(Arc<SubtaskHandle>);

impl Drop for Wake {
    fn drop(&mut self) {
        self.0.wake();
    }
}

impl<Out> Call<Out> {
    /// The results, once they have come.
    pub(super) fn take(&mut self) -> Option<FunctionResult<Vec<Out>>> {
        match self.results.try_recv() {
            Ok(results) => Some(results),
            Err(oneshot::error::TryRecvError::Empty) => None,
            Err(oneshot::error::TryRecvError::Closed) => Some(Err("the asynchronous function panicked".into())),
        }
    }

    pub(super) fn abort(&self) {
        self.task.abort();
    }
}

impl<Out> Drop for Call<Out> {
    fn drop(&mut self) {
        self.task.abort();
    }
}
