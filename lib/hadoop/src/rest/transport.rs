//! Requests to whichever ResourceManager is active, repeated while there is none.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use reqwest::redirect::Policy;
use reqwest::{Client, Method, Response, Url, header};
use serde_json::Value;
use tracing::{debug, warn};

use super::answer::{Answer, Verdict, judge};
use super::{RmError, RmOptions};

/// A list of all applications of a large cluster has some 10 MB.
const MAX_BODY_BYTES: usize = 64 << 20;
/// From standby to active, and once more if they change places meanwhile.
const MAX_REDIRECTS: usize = 4;

/// One request, which must be harmless when it is sent twice.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) method: Method,
    /// Path and query parameters, without `user.name`.
    pub(super) path: String,
    pub(super) query: Vec<(&'static str, String)>,
    pub(super) body: Option<Value>,
}

impl Request {
    pub(super) fn get(path: impl Into<String>) -> Self {
        Self { method: Method::GET, path: path.into(), query: Vec::new(), body: None }
    }

    pub(super) fn send(method: Method, path: impl Into<String>, body: Option<Value>) -> Self {
        Self { method, path: path.into(), query: Vec::new(), body }
    }

    pub(super) fn with(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.query.push((key, value.into()));
        self
    }

    /// For messages.
    pub(super) fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

pub(super) struct Transport {
    http: Client,
    options: RmOptions,
    known: Mutex<Known>,
}

/// What earlier requests taught.
#[derive(Default)]
struct Known {
    /// Base URL of the active ResourceManager.
    active: Option<String>,
    /// When a ResourceManager last failed to serve.
    last_outage: Option<Instant>,
}

/// A failed attempt.
enum Failure {
    /// Repeating may help.
    Passing(RmError),
    Final(RmError),
}

impl Transport {
    pub(super) fn new(options: RmOptions) -> Result<Self, RmError> {
        if options.addresses.is_empty() {
            return Err(RmError::Setup("no address of a ResourceManager is given".into()));
        }
        // reqwest wants a provider even for plain HTTP; a second installation is refused, which does no harm.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = Client::builder()
            .connect_timeout(options.connect_timeout)
            .timeout(options.call_timeout)
            .redirect(Policy::none())
            .build()
            .map_err(|error| RmError::Setup(Box::new(error)))?;
        Ok(Self { http, options, known: Mutex::default() })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the last answer came from, for messages.
    pub(super) fn active(&self) -> String {
        let active = self.known().active.clone();
        active.unwrap_or_else(|| self.addresses())
    }

    /// The active one is no longer to be trusted.
    fn note_outage(&self) {
        *self.known() = Known { active: None, last_outage: Some(Instant::now()) };
    }

    fn addresses(&self) -> String {
        let urls: Vec<&str> = self.options.addresses.iter().map(|rm| rm.address.as_str()).collect();
        urls.join(", ")
    }

    /// Sends the request until it is answered for good.
    pub(super) async fn call(&self, request: &Request) -> Result<Value, RmError> {
        let begun = Instant::now();
        let mut failures = 0;
        loop {
            let error = match Box::pin(self.attempt(request)).await {
                Ok(value) => return Ok(value),
                // A ResourceManager that recovers does not know its applications for a moment.
                Err(Failure::Final(error @ RmError::NotFound { .. })) if self.is_recovering() => error,
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Passing(error)) => {
                    self.note_outage();
                    error
                }
            };
            failures += 1;
            let Some(wait) = self.options.backoff.wait(failures, begun.elapsed(), rand::random()) else {
                return Err(error);
            };
            let cause: &dyn std::error::Error = &error;
            warn!(request = request.name(), error = cause, attempt = failures, ?wait, "the request is repeated");
            tokio::time::sleep(wait).await;
        }
    }

    fn is_recovering(&self) -> bool {
        self.known().last_outage.is_some_and(|outage| outage.elapsed() < self.options.recovery_time)
    }

    async fn attempt(&self, request: &Request) -> Result<Value, Failure> {
        let known = self.known().active.clone();
        let mut base = match known {
            Some(base) => base,
            None => self.find_active().await?,
        };
        for _ in 0..MAX_REDIRECTS {
            let answer = self.exchange(&base, request).await?;
            match judge(&answer, &request.name(), &base) {
                Verdict::Success(value) => {
                    self.known().active = Some(base);
                    return Ok(value);
                }
                Verdict::AskAt(active) => base = active,
                Verdict::Standby => break,
                Verdict::Unavailable(reason) => return Err(self.unreachable(reason)),
                Verdict::Failed(error) => return Err(Failure::Final(error)),
            }
        }
        Err(Failure::Passing(RmError::Standby { addresses: self.addresses() }))
    }

    fn unreachable(&self, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Failure {
        Failure::Passing(RmError::Unreachable { addresses: self.addresses(), cause: cause.into() })
    }

    /// Asks every ResourceManager for its state. A single one need not be asked.
    async fn find_active(&self) -> Result<String, Failure> {
        let addresses = &self.options.addresses;
        if let [only] = addresses.as_slice() {
            return Ok(only.address.clone());
        }
        let info = Request::get("/ws/v1/cluster/info");
        let mut standby = false;
        let mut last = Failure::Passing(RmError::Standby { addresses: self.addresses() });
        for rm in addresses {
            let answer = match self.exchange(&rm.address, &info).await {
                Ok(answer) => answer,
                Err(failure) => {
                    last = failure;
                    continue;
                }
            };
            match judge(&answer, &info.name(), &rm.address) {
                Verdict::Success(value) => match value.pointer("/clusterInfo/haState").and_then(Value::as_str) {
                    Some("ACTIVE") => return Ok(rm.address.clone()),
                    state => {
                        debug!(address = rm.address, state, "this ResourceManager is not active");
                        standby = true;
                    }
                },
                Verdict::AskAt(active) => return Ok(active),
                Verdict::Standby => standby = true,
                Verdict::Unavailable(reason) => last = self.unreachable(reason),
                Verdict::Failed(error) => last = Failure::Final(error),
            }
        }
        if standby {
            return Err(Failure::Passing(RmError::Standby { addresses: self.addresses() }));
        }
        Err(last)
    }

    /// Sends the request to one ResourceManager and reads the whole answer.
    async fn exchange(&self, base: &str, request: &Request) -> Result<Answer, Failure> {
        let url = self.url(base, request)?;
        let mut builder = self.http.request(request.method.clone(), url).header(header::ACCEPT, "application/json");
        if let Some(body) = &request.body {
            builder = builder.json(body);
        }
        let response = builder.send().await.map_err(|error| self.unreachable(error))?;
        let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let mut answer = Answer {
            status: response.status().as_u16(),
            location: text(header::LOCATION),
            refresh: text(header::REFRESH).is_some(),
            authenticate: text(header::WWW_AUTHENTICATE),
            body: Vec::new(),
        };
        answer.body = self.body(response, base, request).await?;
        Ok(answer)
    }

    async fn body(&self, mut response: Response, base: &str, request: &Request) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.unreachable(error))? {
            if body.len() + chunk.len() > MAX_BODY_BYTES {
                return Err(Failure::Final(RmError::Malformed {
                    request: request.name(),
                    url: base.to_owned(),
                    reason: format!("it is longer than {MAX_BODY_BYTES} bytes"),
                }));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn url(&self, base: &str, request: &Request) -> Result<Url, Failure> {
        let text = format!("{}{}", base.trim_end_matches('/'), request.path);
        let mut url = Url::parse(&text).map_err(|error| {
            Failure::Final(RmError::Malformed {
                request: request.name(),
                url: base.to_owned(),
                reason: format!("`{text}` is no URL: {error}"),
            })
        })?;
        if !request.query.is_empty() || self.options.user.is_some() {
            let mut pairs = url.query_pairs_mut();
            pairs.extend_pairs(request.query.iter().map(|(key, value)| (*key, value.as_str())));
            pairs.extend_pairs(self.options.user.iter().map(|user| ("user.name", user.as_str())));
        }
        Ok(url)
    }
}

impl Default for RmOptions {
    /// No addresses, no user; 5 s to connect, 30 s per request, 2 minutes in all, 30 s of recovery.
    fn default() -> Self {
        Self {
            addresses: Vec::new(),
            user: None,
            connect_timeout: Duration::from_secs(5),
            call_timeout: Duration::from_secs(30),
            backoff: crate::yarn::Backoff { max_wait: Duration::from_secs(120), ..Default::default() },
            recovery_time: Duration::from_secs(30),
        }
    }
}
