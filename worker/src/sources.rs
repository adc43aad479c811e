//! Sources: where records begin.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use flumen_model::failure::Blame;
use flumen_model::ids::{ExecutionAttempt, SubtaskId};
use flumen_wire::control::FromWorker;
use tokio::sync::mpsc;

use crate::operator::{TaskError, TaskResult};
use crate::subtask::{SubtaskContext, SubtaskHandle};

pub mod collection;
pub mod generator;
pub mod socket;
pub mod text_file;

/// What a source says after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceStatus {
    /// Ask again at once.
    More,
    /// Nothing now: ask again when the subtask is woken, or after that time.
    Idle(Duration),
    /// There will be no more.
    End,
}

/// A source of one subtask.
pub trait Source<T>: Send {
    /// Appends about a batch of records. It may wait for I/O through [`SubtaskContext::block_on`], which a cancellation
    /// ends, but not for records that may never come: then it is idle.
    fn poll(&mut self, context: &mut SubtaskContext, out: &mut Vec<T>) -> TaskResult<SourceStatus>;
}

/// How a source subtask asks the JobMaster for pieces of input.
#[derive(Clone)]
pub struct SplitRequests {
    subtask: SubtaskId,
    attempt: ExecutionAttempt,
    handle: Arc<SubtaskHandle>,
    reports: mpsc::Sender<FromWorker>,
    answers: Arc<Mutex<VecDeque<Option<String>>>>,
}

impl SplitRequests {
    /// Requests on behalf of that subtask.
    pub fn new(
        subtask: SubtaskId,
        attempt: ExecutionAttempt,
        handle: Arc<SubtaskHandle>,
        reports: mpsc::Sender<FromWorker>,
    ) -> Self {
        Self { subtask, attempt, handle, reports, answers: Arc::default() }
    }

    /// Asks for the next split without waiting for it.
    ///
    /// # Errors
    /// The worker is shutting down.
    pub fn request(&self) -> TaskResult {
        let request = FromWorker::RequestSplit { attempt: self.attempt, subtask: self.subtask };
        self.reports.blocking_send(request).map_err(|_| TaskError::Canceled)
    }

    /// The answer to the oldest request: `None` when there is no more input.
    pub fn wait(&self) -> TaskResult<Option<String>> {
        self.handle.wait_for(|| self.lock().pop_front())
    }

    /// The JobMaster's answer.
    pub fn answer(&self, split: Option<String>) {
        self.lock().push_back(split);
        self.handle.wake();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Option<String>>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file system's error as a failure of the subtask.
pub(crate) fn file_failure(what: impl std::fmt::Display, error: &flumen_fs::FsError) -> TaskError {
    TaskError::caused_by(Blame::Outside, what, error)
}
