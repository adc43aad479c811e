//! The REST interface of one application, as far as the client uses it.

use std::time::Duration;

use reqwest::{Client, RequestBuilder, StatusCode};
use serde::Deserialize;
use serde_json::json;

mod operation;

pub use operation::OperationError;

/// A request to the ApplicationMaster that did not succeed. It may be starting, ending or restarting.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// Nobody answers, or not in time, or not as expected.
    #[error("the JobManager at {address} does not answer")]
    Unreachable {
        /// `host:port`.
        address: String,
        /// Why.
        #[source]
        cause: reqwest::Error,
    },
    /// It answers with an error.
    #[error("the JobManager at {address} answered {status}: {message}")]
    Refused {
        /// `host:port`.
        address: String,
        /// The status.
        status: StatusCode,
        /// What it said.
        message: String,
    },
}

/// `GET /jobs/:jobid`, what is read of it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct JobView {
    /// Flink's name of the job's state.
    pub state: String,
    /// Milliseconds since its start, or from its start to its end.
    #[serde(default)]
    pub duration: i64,
    /// Its vertices.
    #[serde(default)]
    pub vertices: Vec<VertexView>,
}

/// One vertex of it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct VertexView {
    /// Flink's name of its state.
    #[serde(default)]
    pub status: String,
    /// Its subtasks.
    #[serde(default)]
    pub parallelism: u64,
}

/// `GET /jobs/:jobid/exceptions`, what is read of it.
#[derive(Debug, Default, Deserialize)]
struct Exceptions {
    #[serde(rename = "root-exception", default)]
    root: Option<String>,
    #[serde(rename = "exceptionHistory", default)]
    history: History,
}

#[derive(Debug, Default, Deserialize)]
struct History {
    #[serde(default)]
    entries: Vec<HistoryEntry>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct HistoryEntry {
    stacktrace: Option<String>,
}

/// One job of one ApplicationMaster.
#[derive(Clone)]
pub struct JobClient {
    http: Client,
    address: String,
    job: String,
    token: String,
}

/// An HTTP client for the ApplicationMaster. `timeout` limits one request.
///
/// # Errors
/// When the system does not let one be made.
pub fn http_client(timeout: Duration) -> reqwest::Result<Client> {
    // Without certificates of others: the interface is plain HTTP, and reading the system's store takes time.
    Client::builder().timeout(timeout).no_proxy().tls_certs_only([]).build()
}

impl JobClient {
    /// Speaks to the ApplicationMaster at `address` (`host:port`) about `job`, with the application's token.
    pub fn new(http: Client, address: &str, job: &str, token: &str) -> Self {
        Self { http, address: address.to_owned(), job: job.to_owned(), token: token.to_owned() }
    }

    /// Where the ApplicationMaster is.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// How the job is.
    ///
    /// # Errors
    /// [`JobError`].
    pub async fn details(&self) -> Result<JobView, JobError> {
        self.ask(self.http.get(self.url(""))).await?.json().await.map_err(|cause| self.unreachable(cause))
    }

    /// The failure that ended the job, if the ApplicationMaster tells one.
    ///
    /// # Errors
    /// [`JobError`].
    pub async fn root_exception(&self) -> Result<Option<String>, JobError> {
        let answer = self.ask(self.http.get(self.url("/exceptions"))).await?;
        let exceptions: Exceptions = answer.json().await.map_err(|cause| self.unreachable(cause))?;
        let latest = exceptions.history.entries.into_iter().find_map(|entry| entry.stacktrace);
        Ok(exceptions.root.or(latest).filter(|text| !text.trim().is_empty()))
    }

    /// Cancels the job.
    ///
    /// # Errors
    /// [`JobError`].
    pub async fn cancel(&self) -> Result<(), JobError> {
        let request = self.http.patch(self.url("?mode=cancel")).bearer_auth(&self.token);
        self.ask(request).await.map(drop)
    }

    /// Says that the attached client is alive, and until when it is to be believed so, in milliseconds since 1970.
    ///
    /// # Errors
    /// [`JobError`].
    pub async fn heartbeat(&self, expires_ms: u64) -> Result<(), JobError> {
        let request = self.http.patch(self.url("/clientHeartbeat")).bearer_auth(&self.token);
        self.ask(request.json(&json!({ "expiredTimestamp": expires_ms }))).await.map(drop)
    }

    fn url(&self, rest: &str) -> String {
        format!("http://{}/jobs/{}{rest}", self.address, self.job)
    }

    async fn ask(&self, request: RequestBuilder) -> Result<reqwest::Response, JobError> {
        let answer = request.send().await.map_err(|cause| self.unreachable(cause))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let message = answer.text().await.unwrap_or_default();
        Err(JobError::Refused { address: self.address.clone(), status, message: first_line(&message) })
    }

    fn unreachable(&self, cause: reqwest::Error) -> JobError {
        JobError::Unreachable { address: self.address.clone(), cause }
    }
}

/// The first line, so that a page of HTML does not fill the terminal.
fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(300).collect()
}
