//! Applications as the ResourceManager reports them.

use std::fmt;

use serde::Deserialize;

use super::or_default;
use crate::yarn::{ApplicationAttemptId, ApplicationId};

/// Where an application is in its life (`YarnApplicationState`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApplicationState {
    /// Created.
    New,
    /// Being written to the state store.
    NewSaving,
    /// Submitted.
    Submitted,
    /// Taken by the scheduler; waits for its ApplicationMaster.
    Accepted,
    /// The ApplicationMaster is registered.
    Running,
    /// The ApplicationMaster has unregistered; see the final status.
    Finished,
    /// No attempt came to an end by itself.
    Failed,
    /// Killed by a user or administrator.
    Killed,
    /// A state that this library does not know.
    Other,
}

impl ApplicationState {
    /// Whether nothing will change any more.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Finished | Self::Failed | Self::Killed)
    }

    /// YARN's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "NEW",
            Self::NewSaving => "NEW_SAVING",
            Self::Submitted => "SUBMITTED",
            Self::Accepted => "ACCEPTED",
            Self::Running => "RUNNING",
            Self::Finished => "FINISHED",
            Self::Failed => "FAILED",
            Self::Killed => "KILLED",
            Self::Other => "OTHER",
        }
    }

    pub(super) fn parse(text: &str) -> Self {
        let all = [
            Self::New,
            Self::NewSaving,
            Self::Submitted,
            Self::Accepted,
            Self::Running,
            Self::Finished,
            Self::Failed,
            Self::Killed,
        ];
        all.into_iter().find(|state| state.as_str() == text).unwrap_or(Self::Other)
    }
}

/// How an application ended by its own account (`FinalApplicationStatus`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ApplicationFinalStatus {
    /// It has not ended yet, or did not say.
    #[default]
    Undefined,
    /// It succeeded.
    Succeeded,
    /// It failed.
    Failed,
    /// It was killed.
    Killed,
    /// It ended, in a way that YARN should not judge.
    Ended,
}

impl ApplicationFinalStatus {
    /// YARN's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Undefined => "UNDEFINED",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::Killed => "KILLED",
            Self::Ended => "ENDED",
        }
    }

    fn parse(text: &str) -> Self {
        let all = [Self::Succeeded, Self::Failed, Self::Killed, Self::Ended];
        all.into_iter().find(|status| status.as_str() == text).unwrap_or_default()
    }
}

/// An application.
#[derive(Debug, Clone, PartialEq)]
pub struct ApplicationReport {
    /// Its id.
    pub id: ApplicationId,
    /// Its name.
    pub name: String,
    /// Its type, as given at submission.
    pub application_type: String,
    /// The user that it runs as.
    pub user: String,
    /// The queue that it runs in; the full path or the last part, as YARN shows it.
    pub queue: String,
    /// Tags given at submission.
    pub tags: Vec<String>,
    /// Where it is in its life.
    pub state: ApplicationState,
    /// How it ended.
    pub final_status: ApplicationFinalStatus,
    /// Progress, 0 to 100.
    pub progress_percent: f64,
    /// Why it failed or waits; may be empty.
    pub diagnostics: String,
    /// The ApplicationMaster's web address through YARN's proxy; empty before it runs.
    pub tracking_url: String,
    /// `host:port` that the ApplicationMaster gave at its registration; `None` before, or if it gave none.
    pub am_rpc_address: Option<String>,
    /// Where the ApplicationMaster's logs are; empty before it runs.
    pub am_container_logs: String,
    /// Submission, milliseconds since 1970.
    pub started_ms: u64,
    /// End, milliseconds since 1970; 0 before.
    pub finished_ms: u64,
    /// Memory of its containers now, in mebibytes.
    pub allocated_mb: u64,
    /// Virtual cores of its containers now.
    pub allocated_vcores: u32,
    /// Its containers now.
    pub running_containers: u32,
}

/// An attempt of an application: one life of its ApplicationMaster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptReport {
    /// From 1.
    pub number: u32,
    /// YARN's name of its state: `RUNNING`, `FINISHED`, `FAILED` …
    pub state: String,
    /// Why it failed; may be empty.
    pub diagnostics: String,
}

/// One line, with the first of its diagnostics: `attempt 2 FAILED: AM Container for … exited with exitCode: 137`.
impl fmt::Display for AttemptReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = self.diagnostics.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("no reason is known");
        write!(f, "attempt {} {}: {why}", self.number, self.state)
    }
}

/// The form on the wire.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct AttemptJson {
    #[serde(deserialize_with = "or_default")]
    pub(super) app_attempt_id: String,
    #[serde(deserialize_with = "or_default")]
    app_attempt_state: String,
    #[serde(deserialize_with = "or_default")]
    diagnostics_info: String,
}

impl AttemptJson {
    /// The report, or `None` when the id is none.
    pub(super) fn into_report(self) -> Option<AttemptReport> {
        let id: ApplicationAttemptId = self.app_attempt_id.parse().ok()?;
        Some(AttemptReport {
            number: u32::try_from(id.attempt).ok()?,
            state: self.app_attempt_state,
            diagnostics: self.diagnostics_info,
        })
    }
}

/// Which applications to list. The default is all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApplicationFilter {
    /// Of this user only.
    pub user: Option<String>,
    /// In one of these states; empty: in any.
    pub states: Vec<ApplicationState>,
    /// With one of these tags; empty: any. YARN keeps tags in lower case.
    pub tags: Vec<String>,
    /// Of one of these types; empty: any.
    pub types: Vec<String>,
    /// At most so many.
    pub limit: Option<u32>,
}

/// The form on the wire. Negative numbers stand for "not known".
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ApplicationJson {
    pub(super) id: String,
    #[serde(deserialize_with = "or_default")]
    name: String,
    #[serde(deserialize_with = "or_default")]
    application_type: String,
    #[serde(deserialize_with = "or_default")]
    user: String,
    #[serde(deserialize_with = "or_default")]
    queue: String,
    #[serde(deserialize_with = "or_default")]
    application_tags: String,
    #[serde(deserialize_with = "or_default")]
    state: String,
    #[serde(deserialize_with = "or_default")]
    final_status: String,
    #[serde(deserialize_with = "or_default")]
    progress: f64,
    #[serde(deserialize_with = "or_default")]
    diagnostics: String,
    #[serde(deserialize_with = "or_default")]
    tracking_url: String,
    #[serde(rename = "amRPCAddress")]
    am_rpc_address: Option<String>,
    #[serde(deserialize_with = "or_default")]
    am_container_logs: String,
    #[serde(deserialize_with = "or_default")]
    started_time: i64,
    #[serde(deserialize_with = "or_default")]
    finished_time: i64,
    #[serde(rename = "allocatedMB", deserialize_with = "or_default")]
    allocated_mb: i64,
    #[serde(rename = "allocatedVCores", deserialize_with = "or_default")]
    allocated_vcores: i64,
    #[serde(deserialize_with = "or_default")]
    running_containers: i64,
}

impl ApplicationJson {
    /// The report, or `None` when the id is none.
    pub(super) fn into_report(self) -> Option<ApplicationReport> {
        let millis = |time: i64| u64::try_from(time).unwrap_or(0);
        let count = |number: i64| u32::try_from(number.max(0)).unwrap_or(u32::MAX);
        let tags = self.application_tags.split(',').map(str::trim).filter(|tag| !tag.is_empty());
        Some(ApplicationReport {
            id: self.id.parse().ok()?,
            tags: tags.map(str::to_owned).collect(),
            state: ApplicationState::parse(&self.state),
            final_status: ApplicationFinalStatus::parse(&self.final_status),
            progress_percent: self.progress,
            am_rpc_address: self.am_rpc_address.filter(|address| !address.is_empty()),
            started_ms: millis(self.started_time),
            finished_ms: millis(self.finished_time),
            allocated_mb: millis(self.allocated_mb),
            allocated_vcores: count(self.allocated_vcores),
            running_containers: count(self.running_containers),
            name: self.name,
            application_type: self.application_type,
            user: self.user,
            queue: self.queue,
            diagnostics: self.diagnostics,
            tracking_url: self.tracking_url,
            am_container_logs: self.am_container_logs,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_with_unknown_and_missing_and_negative_fields() {
        let text = r#"{"id":"application_1_0002","user":"alice","state":"RUNNING","finalStatus":"UNDEFINED","progress":50.0,
            "diagnostics":null,"applicationTags":"a,b","amRPCAddress":"host:6123","allocatedMB":-1,"allocatedVCores":2,
            "resourceSecondsMap":{"entry":{"key":"memory-mb"},"entry":{"key":"vcores"}},"new":{"x":[1]}}"#;
        let value: serde_json::Value = serde_json::from_str(text).unwrap();
        let report = serde_json::from_value::<ApplicationJson>(value).unwrap().into_report().unwrap();
        assert_eq!(report.id.to_string(), "application_1_0002");
        assert_eq!(report.state, ApplicationState::Running);
        assert_eq!(report.final_status, ApplicationFinalStatus::Undefined);
        assert_eq!(report.tags, ["a", "b"]);
        assert_eq!(report.am_rpc_address.as_deref(), Some("host:6123"));
        assert_eq!((report.allocated_mb, report.allocated_vcores, report.diagnostics.as_str()), (0, 2, ""));
    }

    #[test]
    fn an_attempt_is_read_from_its_id() {
        let text = r#"{"appAttemptId":"appattempt_1_0002_000003","appAttemptState":"FAILED","diagnosticsInfo":"killed","x":1}"#;
        let attempt = serde_json::from_str::<AttemptJson>(text).unwrap().into_report().unwrap();
        assert_eq!((attempt.number, attempt.state.as_str(), attempt.diagnostics.as_str()), (3, "FAILED", "killed"));
        assert_eq!(serde_json::from_str::<AttemptJson>("{}").unwrap().into_report(), None);
    }

    #[test]
    fn an_attempt_takes_one_line() {
        let attempt =
            |diagnostics: &str| AttemptReport { number: 2, state: "FAILED".into(), diagnostics: diagnostics.into() };
        let failed = attempt("\n AM Container exited\nFailing this attempt");
        assert_eq!(failed.to_string(), "attempt 2 FAILED: AM Container exited");
        assert_eq!(attempt("").to_string(), "attempt 2 FAILED: no reason is known");
    }

    #[test]
    fn states_have_yarns_names() {
        for (name, is_final) in [("NEW_SAVING", false), ("ACCEPTED", false), ("FINISHED", true), ("KILLED", true)] {
            assert_eq!(ApplicationState::parse(name).as_str(), name);
            assert_eq!(ApplicationState::parse(name).is_final(), is_final, "{name}");
        }
        assert_eq!(ApplicationState::parse("KILLING"), ApplicationState::Other);
        assert_eq!(ApplicationFinalStatus::parse("SUCCEEDED"), ApplicationFinalStatus::Succeeded);
        assert_eq!(ApplicationFinalStatus::parse("?"), ApplicationFinalStatus::Undefined);
    }
}
