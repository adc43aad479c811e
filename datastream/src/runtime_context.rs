//! What a function of the program knows of where it runs.

use flumen_model::config::Configuration;
use flumen_model::failure::Blame;
use flumen_worker::operator::TaskError;
use flumen_worker::subtask::SubtaskContext;

/// An error of the program's own code. Everything that implements [`Error`](std::error::Error) becomes one with `?`.
pub type FunctionError = Box<dyn std::error::Error + Send + Sync>;

/// The surroundings of one subtask, as Flink's `RuntimeContext`.
#[derive(Clone)]
pub struct RuntimeContext {
    subtask: SubtaskContext,
}

impl RuntimeContext {
    pub(crate) fn new(subtask: &SubtaskContext) -> Self {
        Self { subtask: subtask.clone() }
    }

    /// The name of the vertex: those of its operators joined by ` -> `.
    pub fn task_name(&self) -> &str {
        &self.subtask.vertex_name
    }

    /// Which of the parallel subtasks this is, from 0.
    pub fn index_of_this_subtask(&self) -> u32 {
        self.subtask.id.index
    }

    /// How many parallel subtasks there are.
    pub fn number_of_parallel_subtasks(&self) -> u32 {
        self.subtask.parallelism
    }

    /// The number of key groups.
    pub fn max_number_of_parallel_subtasks(&self) -> u32 {
        self.subtask.max_parallelism
    }

    /// How often the job, or its part with this subtask, was restarted before: from 0.
    pub fn attempt_number(&self) -> u32 {
        self.subtask.attempt.0
    }

    /// The job's effective configuration.
    pub fn configuration(&self) -> &Configuration {
        &self.subtask.worker.configuration
    }

    /// The processing time: milliseconds since 1970.
    pub fn current_processing_time(&self) -> i64 {
        self.subtask.worker.time.now()
    }
}

/// An error of the program's code as that of its subtask.
pub(crate) fn failed(what: &str, error: &(dyn std::error::Error + Send + Sync + 'static)) -> TaskError {
    TaskError::caused_by(Blame::User, what, error)
}
