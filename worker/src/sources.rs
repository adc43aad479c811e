//! Sources: where records begin.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use flumen_model::failure::Blame;
use flumen_model::ids::{ExecutionAttempt, SubtaskId};
use flumen_wire::control::FromWorker;
use tokio::sync::mpsc;

use flumen_model::checkpoint::{CheckpointId, Redistribution};

use crate::batch::Batch;
use crate::operator::{SplitChange, TaskError, TaskResult};
use crate::subtask::SubtaskContext;
pub use crate::task_state::Position;

pub mod collection;
pub mod generator;
pub(crate) mod pace;
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

/// A source of one subtask. Everything is called between two batches, in the subtask's own thread.
pub trait Source<T> {
    /// Appends about [`SubtaskContext::batch_records`] records, all of one split. It may wait for I/O through [`SubtaskContext::block_on`],
    /// which a cancellation ends, but not for records or splits that may never come: then it is idle.
    fn poll(&mut self, context: &mut SubtaskContext, out: &mut Batch<T>) -> TaskResult<SourceStatus>;

    /// What has to be read after a restore: everything that [`poll`](Self::poll) has not given out yet of what this
    /// subtask is responsible for, including splits that were handed out and not begun. It comes back, redistributed,
    /// through [`SubtaskContext::restored_list`] under the source's operator and the name [`Position::NAME`].
    fn snapshot(&mut self, context: &SubtaskContext) -> TaskResult<Position>;

    /// A change of splits since the last call, told right after [`poll`](Self::poll) and in front of its records.
    fn split_change(&mut self) -> Option<SplitChange> {
        None
    }

    /// A checkpoint is complete: what was read before it will not be asked for again.
    fn checkpoint_completed(&mut self, _: CheckpointId) -> TaskResult {
        Ok(())
    }
}

impl Position {
    /// Name of the list state that it is kept in.
    pub const NAME: &str = "source-position";

    /// The position of a source that begins anew after every restore.
    pub fn none() -> Self {
        Self { items: Vec::new(), schema: String::new(), redistribution: Redistribution::Split }
    }
}

/// How a source subtask asks the JobMaster for pieces of input.
#[derive(Clone)]
pub struct SplitRequests {
    subtask: SubtaskId,
    attempt: ExecutionAttempt,
    reports: mpsc::Sender<FromWorker>,
    answers: Arc<Mutex<VecDeque<Option<String>>>>,
}

impl SplitRequests {
    /// Requests on behalf of that subtask.
    pub fn new(subtask: SubtaskId, attempt: ExecutionAttempt, reports: mpsc::Sender<FromWorker>) -> Self {
        Self { subtask, attempt, reports, answers: Arc::default() }
    }

    /// Asks for the next split without waiting for it.
    ///
    /// # Errors
    /// The worker is shutting down.
    pub fn request(&self) -> TaskResult {
        let request = FromWorker::RequestSplit { attempt: self.attempt, subtask: self.subtask };
        self.reports.blocking_send(request).map_err(|_| TaskError::Canceled)
    }

    /// The answer to the oldest request, if it has come: `Some(None)` when there is no more input.
    pub fn take(&self) -> Option<Option<String>> {
        self.lock().pop_front()
    }

    /// Splits that have come and were not taken yet.
    pub fn waiting(&self) -> Vec<String> {
        self.lock().iter().flatten().cloned().collect()
    }

    /// The JobMaster's answer.
    pub fn answer(&self, split: Option<String>) {
        self.lock().push_back(split);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Option<String>>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file system's error as a failure of the subtask.
pub(crate) fn file_failure(what: impl std::fmt::Display, error: &flumen_fs::FsError) -> TaskError {
    TaskError::caused_by(Blame::Outside, what, error)
}
