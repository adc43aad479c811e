//! What a function can know of where it runs.

use flumen_model::config::Configuration;

use crate::subtask::SubtaskContext;

/// The subtask that a function runs in.
#[derive(Clone)]
pub struct RuntimeContext {
    subtask: SubtaskContext,
}

impl RuntimeContext {
    /// That subtask.
    pub fn new(subtask: &SubtaskContext) -> Self {
        Self { subtask: subtask.clone() }
    }

    /// Name of the vertex: the operators of its chain.
    pub fn task_name(&self) -> &str {
        &self.subtask.vertex_name
    }

    /// Which of the parallel subtasks this is, from 0.
    pub fn index_of_this_subtask(&self) -> u32 {
        self.subtask.id.index
    }

    /// How many subtasks there are.
    pub fn number_of_parallel_subtasks(&self) -> u32 {
        self.subtask.parallelism
    }

    /// The number of key groups: as many subtasks there can be.
    pub fn max_number_of_parallel_subtasks(&self) -> u32 {
        self.subtask.max_parallelism
    }

    /// How often this part of the job was started before.
    pub fn attempt_number(&self) -> u32 {
        self.subtask.attempt.0
    }

    /// The job's configuration.
    pub fn configuration(&self) -> &Configuration {
        &self.subtask.worker.configuration
    }
}
