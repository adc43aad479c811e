//! What a sink's subtask and its work in the background know of each other.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::watch;

use crate::operator::{TaskError, TaskResult};
use crate::subtask::SubtaskHandle;

/// The end of a piece of work in the background; `None` while it lasts.
pub(super) type Outcome = watch::Receiver<Option<TaskResult>>;

/// Waits for the end of a piece of work.
pub(super) async fn finished(mut outcome: Outcome) -> TaskResult {
    match outcome.wait_for(Option::is_some).await {
        Ok(result) => result.clone().unwrap_or(Ok(())),
        // Whoever worked on it is gone: the worker is going down.
        Err(_) => Err(TaskError::Canceled),
    }
}

/// Whether a piece of work has ended well.
pub(super) fn succeeded(outcome: &Outcome) -> bool {
    matches!(*outcome.borrow(), Some(Ok(())))
}

/// See the module.
pub(super) struct Shared {
    handle: Arc<SubtaskHandle>,
    failure: OnceLock<TaskError>,
    /// Bytes that are handed over and not written yet.
    in_flight: AtomicUsize,
}

impl Shared {
    pub(super) fn new(handle: Arc<SubtaskHandle>) -> Self {
        Self { handle, failure: OnceLock::new(), in_flight: AtomicUsize::new(0) }
    }

    /// The first failure of the work in the background.
    #[inline]
    pub(super) fn check(&self) -> TaskResult {
        self.failure.get().map_or(Ok(()), |failure| Err(failure.clone()))
    }

    /// The subtask fails as soon as it looks.
    pub(super) fn fail(&self, failure: TaskError) {
        let _ = self.failure.set(failure);
        self.handle.wake();
    }

    pub(super) fn written(&self, bytes: usize) {
        self.in_flight.fetch_sub(bytes, Ordering::AcqRel);
        self.handle.wake();
    }

    /// Waits in the subtask's thread until fewer bytes than that are under way, and adds some.
    pub(super) fn hand_over(&self, bytes: usize, below: usize) -> TaskResult {
        self.wait(|| (self.in_flight.load(Ordering::Acquire) < below).then_some(()))?;
        self.in_flight.fetch_add(bytes, Ordering::AcqRel);
        Ok(())
    }

    /// Waits in the subtask's thread for something that the background brings about.
    pub(super) fn wait<R>(&self, mut ready: impl FnMut() -> Option<R>) -> TaskResult<R> {
        self.handle.wait_for(|| ready().map(Ok).or_else(|| self.check().err().map(Err)))?
    }
}
