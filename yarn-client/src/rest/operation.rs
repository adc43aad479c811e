//! Operations that take time: the JobManager gives them a number, under which their result is asked for.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;

use super::{JobClient, Master, RestError};

/// Time between two looks at an operation.
const POLL: Duration = Duration::from_millis(100);
/// Time between two looks at one that takes long.
const SLOW_POLL: Duration = Duration::from_millis(500);
/// After this time looks become rarer.
const FAST_PHASE: Duration = Duration::from_secs(10);
/// Time for which the JobManager may not answer while an operation is under way.
const SILENCE_LIMIT: Duration = Duration::from_secs(30);
/// The same where connections are refused: a JobManager that is gone does not come back, another one follows it.
const GONE_LIMIT: Duration = Duration::from_secs(3);

/// Why an operation has no result.
#[derive(Debug, thiserror::Error)]
pub enum OperationError {
    /// The JobManager refused it, or its result can't be asked for any more.
    #[error(transparent)]
    Rest(#[from] RestError),
    /// Whoever was asked answers no more, or has never heard of it.
    #[error(
        "the JobManager that was asked is not there any more, and the one that follows it knows nothing of what was under way. \
         `flink list` says whether the job still runs, and `/jobs/<id>/checkpoints` (or the directory that was named) whether \
         the snapshot was completed; if it was not, ask again"
    )]
    Forgotten(#[source] RestError),
    /// It failed.
    #[error("{0}")]
    Failed(String),
    /// The JobManager speaks otherwise than this client.
    #[error("the JobManager's answer can't be understood; is it of another version of Flumen? It was: {0}")]
    Answer(Value),
}

#[derive(Deserialize)]
struct Triggered {
    #[serde(rename = "request-id")]
    request: String,
}

impl Master {
    /// Starts an operation; `path` is that of its POST. Returns its number.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn trigger(&self, path: &str, body: &Value) -> Result<String, OperationError> {
        let triggered: Triggered = self.read(self.change(Method::POST, path).json(body)).await?;
        Ok(triggered.request)
    }

    /// Waits for the end of an operation; `path` is that of its GET, without the number. Returns what came of it.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn result(&self, path: &str, request: &str) -> Result<Value, OperationError> {
        let begun = Instant::now();
        let mut heard = begun;
        loop {
            match self.read(self.request(Method::GET, &format!("{path}/{request}"))).await {
                Ok(answer) => {
                    heard = Instant::now();
                    if let Some(operation) = finished(answer)? {
                        return Ok(operation);
                    }
                }
                Err(RestError::Unreachable { cause, .. }) if heard.elapsed() < patience(&cause) => {}
                // It was acknowledged before: only a JobManager that was not there then does not know it.
                Err(error) if error.is_not_found() || matches!(error, RestError::Unreachable { .. }) => {
                    return Err(OperationError::Forgotten(error));
                }
                Err(error) => return Err(error.into()),
            }
            tokio::time::sleep(if begun.elapsed() < FAST_PHASE { POLL } else { SLOW_POLL }).await;
        }
    }
}

impl JobClient {
    /// Starts an operation; `path` is that of its POST below the job. Returns its number.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn trigger(&self, path: &str, body: &Value) -> Result<String, OperationError> {
        self.master.trigger(&self.path(path), body).await
    }

    /// Waits for the end of an operation; `path` is that of its GET below the job, without the number. Returns what came of
    /// it.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn result(&self, path: &str, request: &str) -> Result<Value, OperationError> {
        self.master.result(&self.path(path), request).await
    }
}

fn patience(cause: &reqwest::Error) -> Duration {
    if cause.is_connect() { GONE_LIMIT } else { SILENCE_LIMIT }
}

/// The result in Flink's answer; `None` while there is none.
fn finished(mut answer: Value) -> Result<Option<Value>, OperationError> {
    match answer["status"]["id"].as_str() {
        Some("IN_PROGRESS") => return Ok(None),
        Some("COMPLETED") => {}
        _ => return Err(OperationError::Answer(answer)),
    }
    let operation = answer["operation"].take();
    let cause = operation.get("failure-cause").or_else(|| operation.get("failureCause"));
    match cause.filter(|cause| !cause.is_null()) {
        Some(cause) => {
            let text = cause["stack-trace"].as_str().map_or_else(|| cause.to_string(), str::to_owned);
            Err(OperationError::Failed(text))
        }
        None => Ok(Some(operation)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_answer_is_a_result_a_failure_or_a_reason_to_wait() {
        assert!(finished(json!({"status": {"id": "IN_PROGRESS"}, "operation": null})).unwrap().is_none());
        let done = json!({"status": {"id": "COMPLETED"}, "operation": {"location": "hdfs:///sp"}});
        assert_eq!(finished(done).unwrap(), Some(json!({"location": "hdfs:///sp"})));
        for key in ["failure-cause", "failureCause"] {
            let failed = json!({"status": {"id": "COMPLETED"}, "operation": {key: {"stack-trace": "disk full"}}});
            assert_eq!(finished(failed).unwrap_err().to_string(), "disk full");
        }
        assert!(matches!(finished(json!({"status": 1})), Err(OperationError::Answer(_))));
    }
}
