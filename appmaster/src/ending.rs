//! What YARN is told about the end of the job. Pure.

use flumen_hadoop::yarn::FinalStatus;
use flumen_jobmaster::JobResult;
use flumen_model::status::JobStatus;

use crate::text;

/// The application's end as YARN shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Its final status.
    pub status: FinalStatus,
    /// Why, in words; empty after success.
    pub diagnostics: String,
}

/// How the application ended, by how its job did.
pub fn verdict(result: &JobResult) -> Verdict {
    let failure = || result.failure.as_ref().map(text::diagnostics);
    match result.status {
        JobStatus::Finished => Verdict { status: FinalStatus::Succeeded, diagnostics: String::new() },
        JobStatus::Canceled => Verdict {
            status: FinalStatus::Killed,
            diagnostics: failure().unwrap_or_else(|| format!("job `{}` was cancelled", result.name)),
        },
        JobStatus::Failed
        | JobStatus::Created
        | JobStatus::Running
        | JobStatus::Failing
        | JobStatus::Cancelling
        | JobStatus::Restarting => Verdict {
            status: FinalStatus::Failed,
            diagnostics: failure().unwrap_or_else(|| format!("job `{}` ended in state {}", result.name, result.status)),
        },
    }
}

#[cfg(test)]
mod tests {
    use flumen_jobmaster::Timestamp;
    use flumen_model::failure::{Blame, FailedSubtask, Failure};
    use flumen_model::ids::{ExecutorId, JobId, SubtaskId, VertexId};

    use super::*;

    fn result(status: JobStatus, failure: Option<Failure>) -> JobResult {
        let start = Timestamp(1);
        JobResult { job: JobId(1), name: "count".into(), status, failure, start, runtime_ms: 5, restarts: 0 }
    }

    #[test]
    fn the_final_status_is_true_and_the_cause_is_named() {
        let failure = Failure::new(Blame::User, "panicked: boom")
            .in_subtask(FailedSubtask {
                id: SubtaskId { vertex: VertexId(1), index: 1 },
                vertex_name: "Map".into(),
                parallelism: 4,
            })
            .on(&ExecutorId("container_1".into()));
        for (status, failure, expected, diagnostics) in [
            (JobStatus::Finished, None, FinalStatus::Succeeded, ""),
            (JobStatus::Failed, Some(failure), FinalStatus::Failed, "Map (2/4) on container_1: panicked: boom"),
            (JobStatus::Canceled, None, FinalStatus::Killed, "job `count` was cancelled"),
            (JobStatus::Running, None, FinalStatus::Failed, "job `count` ended in state RUNNING"),
        ] {
            let verdict = verdict(&result(status, failure));
            assert_eq!((verdict.status, verdict.diagnostics.as_str()), (expected, diagnostics));
        }
    }
}
