//! What became of a job: status, exceptions, result; and under which settings it runs.

use std::collections::BTreeMap;

use flumen_jobmaster::{ExceptionEntry, JobDetails, Timestamp};
use flumen_model::failure::{Blame, Failure};
use flumen_model::status::JobStatus;
use serde::Serialize;

use super::throwable::Throwable;
use super::{duration, ms};

/// `JobStatusInfo`.
#[derive(Debug, Serialize)]
pub(in crate::rest) struct Status {
    status: String,
}

impl Status {
    pub(in crate::rest) fn new(job: &JobDetails) -> Self {
        Self { status: job.status.to_string() }
    }
}

/// `JobConfigInfo`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::rest) struct JobConfig {
    jid: String,
    name: String,
    execution_config: ExecutionConfig,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct ExecutionConfig {
    execution_mode: &'static str,
    restart_strategy: String,
    job_parallelism: u32,
    object_reuse_mode: bool,
    user_config: BTreeMap<String, String>,
}

impl JobConfig {
    pub(in crate::rest) fn new(job: &JobDetails) -> Self {
        Self {
            jid: job.job.to_string(),
            name: job.name.clone(),
            execution_config: ExecutionConfig {
                execution_mode: "PIPELINED",
                restart_strategy: job.restart_setting.strategy().to_string(),
                job_parallelism: job.slots_needed,
                object_reuse_mode: true,
                user_config: BTreeMap::new(),
            },
        }
    }
}

/// `JobExceptionsInfoWithHistory` of Flink 1.20, with the older fields.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::rest) struct Exceptions {
    root_exception: Option<String>,
    timestamp: Option<i64>,
    all_exceptions: Vec<OlderException>,
    truncated: bool,
    #[serde(rename = "exceptionHistory")]
    exception_history: History,
}

#[derive(Debug, Serialize)]
struct History {
    entries: Vec<RootException>,
    truncated: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RootException {
    exception_name: &'static str,
    stacktrace: String,
    timestamp: i64,
    failure_labels: BTreeMap<&'static str, &'static str>,
    task_name: Option<String>,
    location: Option<String>,
    endpoint: Option<String>,
    task_manager_id: Option<String>,
    concurrent_exceptions: Vec<()>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct OlderException {
    exception: String,
    task: String,
    location: String,
    endpoint: String,
    timestamp: i64,
    task_manager_id: Option<String>,
}

impl Exceptions {
    /// The newest failures, `max` at most.
    pub(in crate::rest) fn new(job: &JobDetails, max: usize) -> Self {
        let shown = &job.exceptions[..job.exceptions.len().min(max)];
        let truncated = job.exceptions_truncated || shown.len() < job.exceptions.len();
        let root = job.exceptions.first();
        Self {
            root_exception: job.failure.as_ref().or(root.map(|entry| &entry.failure)).map(ToString::to_string),
            timestamp: root.map(|entry| ms(entry.at)),
            all_exceptions: shown.iter().map(|entry| OlderException::new(entry, job)).collect(),
            truncated,
            exception_history: History {
                entries: shown.iter().map(|entry| RootException::new(entry, job)).collect(),
                truncated,
            },
        }
    }
}

impl RootException {
    fn new(entry: &ExceptionEntry, job: &JobDetails) -> Self {
        let host = host_of(&entry.failure, job);
        Self {
            exception_name: class(entry.failure.blame),
            stacktrace: entry.failure.to_string(),
            timestamp: ms(entry.at),
            // As Flink's own enricher labels them.
            failure_labels: BTreeMap::from([("type", label(entry.failure.blame))]),
            task_name: task(&entry.failure),
            location: host.clone(),
            endpoint: host,
            task_manager_id: entry.failure.executor.as_ref().map(ToString::to_string),
            concurrent_exceptions: vec![],
        }
    }
}

impl OlderException {
    fn new(entry: &ExceptionEntry, job: &JobDetails) -> Self {
        let unassigned = || "(unassigned)".to_owned();
        let host = host_of(&entry.failure, job).unwrap_or_else(unassigned);
        Self {
            exception: entry.failure.to_string(),
            task: task(&entry.failure).unwrap_or_else(unassigned),
            location: host.clone(),
            endpoint: host,
            timestamp: ms(entry.at),
            task_manager_id: entry.failure.executor.as_ref().map(ToString::to_string),
        }
    }
}

/// What takes the place of an exception's class.
fn class(blame: Blame) -> &'static str {
    match blame {
        Blame::User => "UserCodeFailure",
        Blame::Outside => "EnvironmentFailure",
        Blame::Peer => "ConnectionFailure",
        Blame::Flumen => "InternalFailure",
    }
}

fn label(blame: Blame) -> &'static str {
    match blame {
        Blame::User => "USER",
        Blame::Outside | Blame::Peer | Blame::Flumen => "SYSTEM",
    }
}

fn task(failure: &Failure) -> Option<String> {
    failure.subtask.as_ref().map(|at| format!("{} ({}/{})", at.vertex_name, at.id.index + 1, at.parallelism))
}

/// The host of the failure's TaskExecutor, as long as the job still has a subtask there.
fn host_of(failure: &Failure, job: &JobDetails) -> Option<String> {
    let executor = failure.executor.as_ref()?;
    let mut subtasks = job.vertices.iter().flat_map(|vertex| &vertex.subtasks);
    subtasks.find(|subtask| subtask.executor.as_ref() == Some(executor))?.host.clone()
}

/// `JobExecutionResultResponseBody`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::rest) struct ExecutionResult {
    status: QueueStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    job_execution_result: Option<JobResult>,
}

#[derive(Debug, Serialize)]
struct QueueStatus {
    id: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct JobResult {
    id: String,
    application_status: &'static str,
    accumulator_results: BTreeMap<String, String>,
    net_runtime: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure_cause: Option<Throwable>,
}

impl ExecutionResult {
    pub(in crate::rest) fn new(job: &JobDetails, now: Timestamp) -> Self {
        let application_status = match job.status {
            JobStatus::Finished => "SUCCEEDED",
            JobStatus::Failed => "FAILED",
            JobStatus::Canceled => "CANCELED",
            JobStatus::Created
            | JobStatus::Running
            | JobStatus::Failing
            | JobStatus::Cancelling
            | JobStatus::Restarting => {
                return Self { status: QueueStatus { id: "IN_PROGRESS" }, job_execution_result: None };
            }
        };
        let cause = |failure: &Failure| Throwable::new(class(failure.blame), &failure.to_string());
        let failure_cause = job.failure.as_ref().map(cause);
        Self {
            status: QueueStatus { id: "COMPLETED" },
            job_execution_result: Some(JobResult {
                id: job.job.to_string(),
                application_status,
                accumulator_results: BTreeMap::new(),
                net_runtime: duration(Some(job.start), job.end, now),
                failure_cause,
            }),
        }
    }
}
