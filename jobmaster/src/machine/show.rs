//! What can be seen of a job.

use flumen_model::status::JobStatus;

use super::JobMaster;
use crate::checkpoint::statistics::CheckpointStatistics;
use crate::details::{JobDetails, VertexDetails};

impl JobMaster {
    /// Everything that can be shown of the job's checkpoints.
    pub fn checkpoints(&self) -> CheckpointStatistics {
        self.coordinator.statistics()
    }

    /// Everything else that can be shown of the job.
    pub fn details(&self) -> JobDetails {
        let vertices = self.graph.vertices.iter().zip(self.execution.details());
        JobDetails {
            job: self.job,
            name: self.graph.name.clone(),
            mode: self.graph.mode,
            status: self.status,
            entered: self.entered.clone(),
            start: self.start,
            end: self.entered.iter().find(|(status, _)| status.is_terminal()).map(|(_, at)| *at),
            attempt: self.last_attempt,
            restarts: self.failover.restarts(),
            restart_setting: self.settings.restarts.clone(),
            slots_needed: self.graph.slots(),
            slots_present: self.executors.slots(),
            vertices: vertices
                .map(|(vertex, subtasks)| VertexDetails {
                    id: vertex.id,
                    name: vertex.name.clone(),
                    operators: vertex.operators.clone(),
                    parallelism: vertex.parallelism,
                    max_parallelism: vertex.max_parallelism,
                    subtasks,
                    splits: self.splits.progress(vertex.id),
                })
                .collect(),
            edges: self.graph.edges.clone(),
            exceptions: self.exceptions.iter().cloned().collect(),
            exceptions_truncated: self.exceptions_dropped,
            failure: self.failure.clone(),
            progress: if self.status == JobStatus::Finished { Some(1.0) } else { self.splits.share() },
        }
    }
}
