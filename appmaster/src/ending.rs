//! What YARN is told about the end of the application. Pure.

use flumen_hadoop::rest::AttemptReport;
use flumen_hadoop::yarn::FinalStatus;
use flumen_jobmaster::JobResult;
use flumen_model::status::JobStatus;

use crate::dispatcher::Outcome;
use crate::text;

/// The application's end as YARN shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Its final status.
    pub status: FinalStatus,
    /// Why, in words; empty after success.
    pub diagnostics: String,
}

/// How the application ended: a session that was told to end did what it was for, any other ends as its job did.
pub fn verdict(outcome: &Outcome) -> Verdict {
    match outcome {
        Outcome::Stopped => Verdict { status: FinalStatus::Succeeded, diagnostics: String::new() },
        Outcome::NoJob(failure) => Verdict { status: FinalStatus::Failed, diagnostics: text::diagnostics(failure) },
        Outcome::Job { result, cancelled } => of_job(result, cancelled.as_deref()),
    }
}

impl Verdict {
    /// A failure with what became of the attempts before this one.
    #[must_use]
    pub fn after(mut self, former: &[AttemptReport]) -> Self {
        if self.status == FinalStatus::Failed {
            for attempt in former {
                self.diagnostics.push_str(&format!("\n{attempt}"));
            }
        }
        self
    }
}

fn of_job(result: &JobResult, cancelled: Option<&str>) -> Verdict {
    let mut verdict = of_end(result, cancelled);
    if let Some(retained) = result.retained.as_ref().filter(|_| verdict.status != FinalStatus::Succeeded) {
        verdict.diagnostics += &format!("\nit can be resumed from its newest checkpoint: flink run -s {retained}");
    }
    verdict
}

fn of_end(result: &JobResult, cancelled: Option<&str>) -> Verdict {
    let failure = || result.failure.as_ref().map(text::diagnostics);
    match result.status {
        JobStatus::Finished => Verdict { status: FinalStatus::Succeeded, diagnostics: String::new() },
        JobStatus::Canceled => Verdict {
            status: FinalStatus::Killed,
            diagnostics: match cancelled {
                Some(reason) => format!("job `{}` was cancelled: {reason}", result.name),
                None => format!("job `{}` was cancelled", result.name),
            },
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
        let name = "count".into();
        JobResult { job: JobId(1), name, status, failure, start, runtime_ms: 5, restarts: 0, retained: None }
    }

    #[test]
    fn whoever_reads_of_a_failed_job_reads_what_it_can_be_resumed_from() {
        for (status, told) in [(JobStatus::Failed, true), (JobStatus::Canceled, true), (JobStatus::Finished, false)] {
            let retained = Some("hdfs://nn/cp/1/chk-7".to_owned());
            let result = Box::new(JobResult { retained, ..result(status, None) });
            let verdict = verdict(&Outcome::Job { result, cancelled: None });
            assert_eq!(verdict.diagnostics.contains("flink run -s hdfs://nn/cp/1/chk-7"), told, "{verdict:?}");
        }
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
        for (status, failure, cancelled, expected, diagnostics) in [
            (JobStatus::Finished, None, None, FinalStatus::Succeeded, ""),
            (JobStatus::Finished, None, Some("too late"), FinalStatus::Succeeded, ""),
            (JobStatus::Failed, Some(failure), None, FinalStatus::Failed, "Map (2/4) on container_1: panicked: boom"),
            (JobStatus::Canceled, None, Some("asked for"), FinalStatus::Killed, "job `count` was cancelled: asked for"),
            (JobStatus::Running, None, None, FinalStatus::Failed, "job `count` ended in state RUNNING"),
        ] {
            let cancelled = cancelled.map(str::to_owned);
            let verdict = verdict(&Outcome::Job { result: Box::new(result(status, failure)), cancelled });
            assert_eq!((verdict.status, verdict.diagnostics.as_str()), (expected, diagnostics));
        }
    }

    #[test]
    fn a_failure_of_a_later_attempt_tells_of_the_earlier_ones() {
        let former = [AttemptReport { number: 1, state: "FAILED".into(), diagnostics: "\nkilled\nmore".into() }];
        let failed = verdict(&Outcome::NoJob(Failure::new(Blame::User, "boom")));
        assert_eq!(failed.clone().after(&former).diagnostics, "boom\nattempt 1 FAILED: killed");
        assert_eq!(failed.clone().after(&[]), failed);
        assert_eq!(verdict(&Outcome::Stopped).after(&former).diagnostics, "");
    }

    #[test]
    fn a_program_without_a_job_says_why() {
        let verdict = verdict(&Outcome::NoJob(Failure::new(Blame::User, "it must call `execute`")));
        assert_eq!((verdict.status, verdict.diagnostics.as_str()), (FinalStatus::Failed, "it must call `execute`"));
    }

    #[test]
    fn a_session_that_was_stopped_has_succeeded() {
        let verdict = verdict(&Outcome::Stopped);
        assert_eq!((verdict.status, verdict.diagnostics.as_str()), (FinalStatus::Succeeded, ""));
    }
}
