//! The REST interface of one ApplicationMaster, as far as the client uses it: Flink's paths and shapes.

use std::time::Duration;

use flumen_wire::application::JobSubmission;
use reqwest::header::{AUTHORIZATION, HeaderMap};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;

mod headers;
mod jars;
mod job;
mod operation;

pub use headers::variable_authorizes;
pub use job::{JobClient, JobView};
pub use operation::OperationError;

/// The longest error message that is shown.
const MESSAGE_MAX: usize = 4000;

/// A request to the ApplicationMaster that did not succeed. It may be starting, ending or restarting.
#[derive(Debug, thiserror::Error)]
pub enum RestError {
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
    /// A change needs the application's token, and none, or a wrong one, was sent.
    #[error(
        "the JobManager at {address} takes changes only with its application's token: name the application with -yid <id> \
         (the token is in its staging directory), name a file with the token (-D rest.client.token-file=…), or put the line \
         `Authorization:Bearer <token>` into FLINK_REST_CLIENT_HEADERS"
    )]
    Unauthorized {
        /// `host:port`.
        address: String,
    },
}

impl RestError {
    /// Whether the JobManager can't do this now, and the next one can.
    pub fn is_not_yet(&self) -> bool {
        matches!(self, Self::Refused { status, .. } if *status == StatusCode::SERVICE_UNAVAILABLE)
    }

    /// Whether what was asked for is not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status, .. } if *status == StatusCode::NOT_FOUND)
    }
}

/// `GET /jobs/overview`, one job of it, what is read of it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct JobSummary {
    /// Its id.
    pub jid: String,
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// Flink's name of its state.
    pub state: String,
    /// Its start, in milliseconds since 1970.
    #[serde(rename = "start-time", default)]
    pub start_ms: i64,
    /// Milliseconds since its start, or from its start to its end.
    #[serde(default)]
    pub duration: i64,
}

#[derive(Debug, Deserialize)]
struct JobsOverview {
    #[serde(default)]
    jobs: Vec<JobSummary>,
}

/// One ApplicationMaster. Cheap to clone.
#[derive(Clone)]
pub struct Master {
    http: Client,
    address: String,
    token: Option<String>,
}

/// An HTTP client for the ApplicationMaster; it sends the headers of `FLINK_REST_CLIENT_HEADERS`. `timeout` limits one
/// request.
///
/// # Errors
/// When the variable can't be understood, or the system does not let a client be made.
pub fn http_client(timeout: Duration) -> anyhow::Result<Client> {
    Ok(client_with(headers::from_environment()?, timeout)?)
}

fn client_with(headers: HeaderMap, timeout: Duration) -> reqwest::Result<Client> {
    // Fails when it was done before, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // Without certificates of others: the interface is plain HTTP, and reading the system's store takes time.
    Client::builder().timeout(timeout).no_proxy().tls_certs_only([]).default_headers(headers).build()
}

impl Master {
    /// The ApplicationMaster at `address` (`host:port`), with the application's token if it is known.
    pub fn new(http: Client, address: &str, token: Option<&str>) -> Self {
        Self { http, address: address.to_owned(), token: token.map(str::to_owned) }
    }

    /// The same application's JobManager at another address.
    pub fn moved_to(&self, address: &str) -> Self {
        Self { address: address.to_owned(), ..self.clone() }
    }

    /// Where it is.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The token of its application, when it is known.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// One of its jobs.
    pub fn job(&self, job: &str) -> JobClient {
        JobClient::new(self.clone(), job)
    }

    /// Whether it answers.
    ///
    /// # Errors
    /// [`RestError`].
    pub async fn ping(&self) -> Result<(), RestError> {
        self.ask(self.request(Method::GET, "/overview")).await.map(drop)
    }

    /// Its jobs, those that are over included as long as it remembers them.
    ///
    /// # Errors
    /// [`RestError`].
    pub async fn jobs(&self) -> Result<Vec<JobSummary>, RestError> {
        let overview: JobsOverview = self.read(self.request(Method::GET, "/jobs/overview")).await?;
        Ok(overview.jobs)
    }

    /// Submits a job to a session. The same job again is the same submission.
    ///
    /// # Errors
    /// [`RestError`].
    pub async fn submit(&self, job: &JobSubmission) -> Result<(), RestError> {
        self.ask(self.change(Method::POST, "/jobs").json(job)).await.map(drop)
    }

    /// Ends a session with all of its jobs.
    ///
    /// # Errors
    /// [`RestError`].
    pub async fn shut_down(&self) -> Result<(), RestError> {
        self.ask(self.change(Method::DELETE, "/cluster")).await.map(drop)
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("http://{}{path}", self.address))
    }

    /// A request that changes something.
    fn change(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.request(method, path);
        match &self.token {
            None => request,
            // Over the variable's: the token that is known is this application's, whatever the variable was set for.
            Some(token) => match format!("Bearer {token}").parse() {
                Ok(value) => request.headers(HeaderMap::from_iter([(AUTHORIZATION, value)])),
                Err(_) => request,
            },
        }
    }

    async fn read<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, RestError> {
        self.ask(request).await?.json().await.map_err(|cause| self.unreachable(cause))
    }

    async fn ask(&self, request: RequestBuilder) -> Result<Response, RestError> {
        let answer = request.send().await.map_err(|cause| self.unreachable(cause))?;
        let (status, address) = (answer.status(), self.address.clone());
        if status.is_success() {
            return Ok(answer);
        }
        if status == StatusCode::UNAUTHORIZED {
            return Err(RestError::Unauthorized { address });
        }
        let message = message(&answer.text().await.unwrap_or_default());
        Err(RestError::Refused { address, status, message })
    }

    fn unreachable(&self, cause: reqwest::Error) -> RestError {
        RestError::Unreachable { address: self.address.clone(), cause }
    }
}

#[derive(Deserialize)]
struct Errors {
    errors: Vec<String>,
}

/// What an error's body says: Flink's form, or the first line of something else, so that no page of HTML fills the terminal.
fn message(body: &str) -> String {
    match serde_json::from_str::<Errors>(body) {
        Ok(Errors { errors }) => errors.join("\n").chars().take(MESSAGE_MAX).collect(),
        Err(_) => body.lines().next().unwrap_or_default().chars().take(300).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_told_in_the_masters_words() {
        assert_eq!(message("{\"errors\":[\"no such job\",\"really\"]}"), "no such job\nreally");
        assert_eq!(message("<html>\n<body>"), "<html>");
        assert_eq!(message(""), "");
    }

    #[test]
    fn a_change_carries_the_applications_token_and_not_the_variables() {
        let headers = headers::parsed("Authorization:Bearer other\nX-A:1").unwrap();
        let http = client_with(headers, Duration::from_secs(1)).unwrap();
        let request = Master::new(http, "h:1", Some("own")).change(Method::POST, "/jobs").build().unwrap();
        let sent: Vec<_> = request.headers().get_all(AUTHORIZATION).iter().collect();
        assert_eq!(sent, ["Bearer own"]);
    }
}
