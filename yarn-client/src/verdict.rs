//! How an application stands, decided from what ResourceManager and JobManager say. Pure.

use crate::cluster::{AppReport, AppState, FinalStatus};
use crate::rest::JobView;

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// All input was processed.
    Finished {
        /// Milliseconds, when the JobManager told it.
        runtime_ms: Option<u64>,
    },
    /// It failed, or its application did.
    Failed {
        /// The root cause.
        cause: String,
    },
    /// Somebody ended it.
    Canceled {
        /// What is known of it.
        cause: String,
    },
}

/// Where an application is on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stand {
    /// Accepted at most; the text says in which state.
    Waiting,
    /// Its ApplicationMaster registered with this address (`host:port`).
    Running(String),
    /// It ended.
    Over(Verdict),
}

/// Reads a report of the ResourceManager.
pub fn stand(report: &AppReport) -> Stand {
    let diagnostics = report.diagnostics.trim();
    let diagnostics =
        |otherwise: &str| if diagnostics.is_empty() { otherwise.to_owned() } else { diagnostics.to_owned() };
    match (report.state, report.final_status) {
        (AppState::Waiting, _) => Stand::Waiting,
        (AppState::Running, _) => report.master.clone().map_or(Stand::Waiting, Stand::Running),
        (AppState::Finished, FinalStatus::Succeeded) => Stand::Over(Verdict::Finished { runtime_ms: None }),
        (AppState::Finished, FinalStatus::Killed) | (AppState::Killed, _) => {
            Stand::Over(Verdict::Canceled { cause: diagnostics("the application was killed") })
        }
        (AppState::Finished, FinalStatus::Failed | FinalStatus::Undefined) | (AppState::Failed, _) => {
            Stand::Over(Verdict::Failed { cause: diagnostics("the application failed; YARN gives no reason") })
        }
    }
}

/// How the job ended, by the JobManager's own account; `None` while it has not.
pub fn job_verdict(view: &JobView) -> Option<Verdict> {
    match view.state.as_str() {
        "FINISHED" => Some(Verdict::Finished { runtime_ms: u64::try_from(view.duration).ok() }),
        "FAILED" => Some(Verdict::Failed { cause: "the job failed".to_owned() }),
        "CANCELED" => Some(Verdict::Canceled { cause: "the job was cancelled".to_owned() }),
        _ => None,
    }
}

/// What the end of a session means for a job that ran in it.
pub fn session_verdict(application: &str, end: Verdict) -> Verdict {
    match end {
        Verdict::Finished { .. } => Verdict::Canceled { cause: format!("session {application} was stopped") },
        Verdict::Canceled { cause } => Verdict::Canceled { cause: format!("session {application} was ended: {cause}") },
        Verdict::Failed { cause } => Verdict::Failed { cause: format!("session {application} failed: {cause}") },
    }
}

/// A failure with how each attempt of the application ended, as far as the cause does not say it already: the
/// ApplicationMaster's own account has those before it, and is itself that of the last.
pub fn with_history(verdict: Verdict, attempts: &[String]) -> Verdict {
    let Verdict::Failed { cause } = verdict else { return verdict };
    let mut untold: Vec<&str> = attempts.iter().map(String::as_str).collect();
    let of_cause = cause.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    if untold.last().is_some_and(|last| last.split_once(": ").is_some_and(|(_, why)| why == of_cause)) {
        untold.pop();
    }
    untold.retain(|attempt| !cause.lines().any(|line| line.trim() == *attempt));
    if untold.is_empty() {
        return Verdict::Failed { cause };
    }
    Verdict::Failed { cause: format!("{cause}\nIts attempts:\n  {}", untold.join("\n  ")) }
}

/// Joins what the JobManager said at the end with the ResourceManager's last word, which names the cause.
pub fn joined(job: Option<Verdict>, exception: Option<String>, application: Option<Verdict>) -> Option<Verdict> {
    let told = match &application {
        Some(Verdict::Failed { cause } | Verdict::Canceled { cause }) => Some(cause.clone()),
        Some(Verdict::Finished { .. }) | None => None,
    };
    match job {
        Some(Verdict::Failed { cause }) => Some(Verdict::Failed { cause: exception.or(told).unwrap_or(cause) }),
        Some(verdict) => Some(verdict),
        None => application,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(state: AppState, final_status: FinalStatus, diagnostics: &str) -> AppReport {
        let master = Some("node1:4000".to_owned());
        AppReport { state, final_status, diagnostics: diagnostics.into(), tracking_url: String::new(), master }
    }

    #[test]
    fn a_report_is_read_as_yarn_means_it() {
        use AppState::*;
        use FinalStatus::*;
        let failed = |cause: &str| Stand::Over(Verdict::Failed { cause: cause.into() });
        for (state, status, diagnostics, expected) in [
            (Waiting, Undefined, "", Stand::Waiting),
            (Running, Undefined, "", Stand::Running("node1:4000".into())),
            (Finished, Succeeded, "", Stand::Over(Verdict::Finished { runtime_ms: None })),
            (Finished, FinalStatus::Failed, "boom\n", failed("boom")),
            (AppState::Failed, FinalStatus::Failed, "unknown queue", failed("unknown queue")),
            (
                AppState::Killed,
                FinalStatus::Killed,
                "by alice",
                Stand::Over(Verdict::Canceled { cause: "by alice".into() }),
            ),
            (Finished, FinalStatus::Killed, "cancelled", Stand::Over(Verdict::Canceled { cause: "cancelled".into() })),
        ] {
            assert_eq!(stand(&report(state, status, diagnostics)), expected, "{state:?} {status:?}");
        }
        let unregistered = AppReport { master: None, ..report(Running, Undefined, "") };
        assert_eq!(stand(&unregistered), Stand::Waiting);
    }

    #[test]
    fn the_cause_of_a_failure_comes_from_whoever_knows_it() {
        let failed = |cause: &str| Some(Verdict::Failed { cause: cause.into() });
        let finished = Some(Verdict::Finished { runtime_ms: Some(5) });
        assert_eq!(
            joined(failed("the job failed"), Some("Map (1/2): boom".into()), failed("x")),
            failed("Map (1/2): boom")
        );
        assert_eq!(joined(failed("the job failed"), None, failed("x")), failed("x"));
        assert_eq!(joined(failed("the job failed"), None, None), failed("the job failed"));
        assert_eq!(joined(None, None, failed("x")), failed("x"));
        assert_eq!(joined(finished.clone(), None, Some(Verdict::Finished { runtime_ms: None })), finished);
        assert_eq!(joined(None, None, None), None);
    }

    #[test]
    fn a_job_does_not_outlive_its_session() {
        let canceled = |cause: &str| Verdict::Canceled { cause: cause.into() };
        assert_eq!(session_verdict("a", Verdict::Finished { runtime_ms: None }), canceled("session a was stopped"));
        assert_eq!(session_verdict("a", canceled("by bob")), canceled("session a was ended: by bob"));
        let failed = session_verdict("a", Verdict::Failed { cause: "x".into() });
        assert_eq!(failed, Verdict::Failed { cause: "session a failed: x".into() });
    }

    #[test]
    fn a_failure_is_told_with_all_attempts() {
        let failed = |cause: &str| Verdict::Failed { cause: cause.into() };
        let attempts = ["attempt 1 FAILED: x".to_owned(), "attempt 2 FAILED: y".to_owned()];
        let told = with_history(failed("boom"), &attempts);
        assert_eq!(told, failed("boom\nIts attempts:\n  attempt 1 FAILED: x\n  attempt 2 FAILED: y"));
        // The ApplicationMaster told of the first, and of its own end.
        let own = failed("y\nattempt 1 FAILED: x");
        assert_eq!(with_history(own.clone(), &attempts), own);
        // Ends that are alike are counted.
        let alike = ["attempt 1 FAILED: x".to_owned(), "attempt 2 FAILED: x".to_owned()];
        assert_eq!(with_history(failed("x"), &alike), failed("x\nIts attempts:\n  attempt 1 FAILED: x"));
        let half = failed("boom\nattempt 1 FAILED: x");
        let told = with_history(half, &attempts);
        assert_eq!(told, failed("boom\nattempt 1 FAILED: x\nIts attempts:\n  attempt 2 FAILED: y"));
        assert_eq!(with_history(failed("boom"), &[]), failed("boom"));
        let finished = Verdict::Finished { runtime_ms: None };
        assert_eq!(with_history(finished.clone(), &attempts), finished);
    }

    #[test]
    fn only_the_last_states_of_a_job_end_it() {
        let view = |state: &str| JobView { state: state.into(), duration: 1200, vertices: vec![] };
        assert_eq!(job_verdict(&view("FINISHED")), Some(Verdict::Finished { runtime_ms: Some(1200) }));
        assert!(matches!(job_verdict(&view("FAILED")), Some(Verdict::Failed { .. })));
        assert!(matches!(job_verdict(&view("CANCELED")), Some(Verdict::Canceled { .. })));
        for state in ["INITIALIZING", "CREATED", "RUNNING", "FAILING", "CANCELLING", "RESTARTING"] {
            assert_eq!(job_verdict(&view(state)), None, "{state}");
        }
    }
}
