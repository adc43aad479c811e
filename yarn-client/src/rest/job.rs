//! One job of an ApplicationMaster.

use reqwest::{Method, RequestBuilder};
use serde::Deserialize;
use serde_json::json;

use super::{Master, RestError};

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
    pub(super) master: Master,
    job: String,
}

impl JobClient {
    pub(super) fn new(master: Master, job: &str) -> Self {
        Self { master, job: job.to_owned() }
    }

    /// Where the ApplicationMaster is.
    pub fn address(&self) -> &str {
        self.master.address()
    }

    /// How the job is.
    ///
    /// # Errors
    /// [`RestError`].
    pub async fn details(&self) -> Result<JobView, RestError> {
        self.master.read(self.get("")).await
    }

    /// The failure that ended the job, if the ApplicationMaster tells one.
    ///
    /// # Errors
    /// [`RestError`].
    pub async fn root_exception(&self) -> Result<Option<String>, RestError> {
        let exceptions: Exceptions = self.master.read(self.get("/exceptions")).await?;
        let latest = exceptions.history.entries.into_iter().find_map(|entry| entry.stacktrace);
        Ok(exceptions.root.or(latest).filter(|text| !text.trim().is_empty()))
    }

    /// Cancels the job.
    ///
    /// # Errors
    /// [`RestError`].
    pub async fn cancel(&self) -> Result<(), RestError> {
        self.master.ask(self.change(Method::PATCH, "?mode=cancel")).await.map(drop)
    }

    /// Says that the attached client is alive, and until when it is to be believed so, in milliseconds since 1970.
    ///
    /// # Errors
    /// [`RestError`].
    pub async fn heartbeat(&self, expires_ms: u64) -> Result<(), RestError> {
        let request = self.change(Method::PATCH, "/clientHeartbeat").json(&json!({ "expiredTimestamp": expires_ms }));
        self.master.ask(request).await.map(drop)
    }

    pub(super) fn get(&self, path: &str) -> RequestBuilder {
        self.master.request(Method::GET, &self.path(path))
    }

    pub(super) fn change(&self, method: Method, path: &str) -> RequestBuilder {
        self.master.change(method, &self.path(path))
    }

    /// The full path of one below the job.
    pub(super) fn path(&self, below: &str) -> String {
        format!("/jobs/{}{below}", self.job)
    }
}
