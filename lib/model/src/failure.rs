//! Why something failed, and whose doing it was: what decides between a restart and the end of the job.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::{ExecutorId, SubtaskId};

/// Whose fault a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Blame {
    /// The user's code returned an error or panicked: running it again will most likely do the same.
    User,
    /// Something outside (file system, container, node, network) went away or refused: it may work the next time.
    Outside,
    /// The connection to another subtask broke. The cause is with that other one; on its own this says nothing.
    Peer,
    /// An invariant of Flumen itself was broken.
    Flumen,
}

/// One failure, as it is shown to the user: `<vertex> (<subtask>/<parallelism>) on <executor>: <message>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Whose fault.
    pub blame: Blame,
    /// What happened, with its causes, as one text of possibly several lines.
    pub message: String,
    /// The subtask in which it happened, if it was one.
    #[serde(default)]
    pub subtask: Option<FailedSubtask>,
    /// The TaskExecutor on which it happened, if it was one.
    #[serde(default)]
    pub executor: Option<ExecutorId>,
}

/// Where in the job a failure happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedSubtask {
    /// The subtask.
    pub id: SubtaskId,
    /// The vertex's name, as in the JobGraph.
    pub vertex_name: String,
    /// The vertex's parallelism.
    pub parallelism: u32,
}

impl Failure {
    /// A failure that belongs to no subtask.
    pub fn new(blame: Blame, message: impl Into<String>) -> Self {
        Self { blame, message: message.into(), subtask: None, executor: None }
    }

    /// The same failure, on that TaskExecutor.
    pub fn on(mut self, executor: &ExecutorId) -> Self {
        self.executor = Some(executor.clone());
        self
    }

    /// The same failure, in that subtask.
    pub fn in_subtask(mut self, subtask: FailedSubtask) -> Self {
        self.subtask = Some(subtask);
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(at) = &self.subtask {
            write!(f, "{} ({}/{})", at.vertex_name, at.id.index + 1, at.parallelism)?;
        }
        if let Some(executor) = &self.executor {
            write!(f, "{}on {executor}", if self.subtask.is_some() { " " } else { "" })?;
        }
        if self.subtask.is_some() || self.executor.is_some() {
            f.write_str(": ")?;
        }
        f.write_str(&self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::VertexId;

    #[test]
    fn a_failure_names_vertex_subtask_and_executor() {
        let failure = Failure::new(Blame::User, "panicked: boom")
            .in_subtask(FailedSubtask {
                id: SubtaskId { vertex: VertexId(1), index: 1 },
                vertex_name: "Map".into(),
                parallelism: 4,
            })
            .on(&ExecutorId("container_1".into()));
        assert_eq!(failure.to_string(), "Map (2/4) on container_1: panicked: boom");
        assert_eq!(Failure::new(Blame::Outside, "gone").to_string(), "gone");
    }
}
