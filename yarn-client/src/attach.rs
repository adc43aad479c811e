//! Follows a submitted application: until its job runs (detached), or until it ends (attached).

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use flumen_model::options::deployment;

use crate::cluster::{AppReport, Cluster, ClusterError};
use crate::job::{JobClient, JobView};
use crate::report::Reporter;
use crate::timings::Timings;
use crate::verdict::{Stand, Verdict, job_verdict, joined, stand};

/// Time between two looks while things move fast.
const POLL: Duration = Duration::from_millis(100);

/// Time between two looks at a job that runs for long.
const SLOW_POLL: Duration = Duration::from_millis(500);

/// After this time looks become rarer.
const FAST_PHASE: Duration = Duration::from_secs(30);

/// A submission that waits for longer is told why.
const PATIENCE: Duration = Duration::from_secs(5);

/// Time that ResourceManager and JobManager may both be silent: a restart of either takes less.
const SILENCE_LIMIT: Duration = Duration::from_secs(300);

/// Time from the job's end to the application's: its last words to YARN.
const FAREWELL: Duration = Duration::from_secs(15);

/// Why nothing more can be said of an application.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// Neither of the two answers.
    #[error(
        "lost contact with application {application} for {} s; it may still be running: look with `yarn application -status \
         {application}`", SILENCE_LIMIT.as_secs()
    )]
    Lost {
        /// The application's id.
        application: String,
        /// What the ResourceManager's last answer was.
        #[source]
        cause: ClusterError,
    },
}

/// What to follow, and how.
pub struct Follow<'a> {
    /// The ResourceManager.
    pub cluster: &'a Cluster,
    /// For the JobManager.
    pub http: reqwest::Client,
    /// The application's id.
    pub application: &'a str,
    /// The job's id.
    pub job: &'a str,
    /// The application's token.
    pub token: &'a str,
    /// Whether signs of life are sent, and how often and with which limit.
    pub heartbeat: Option<Heartbeat>,
    /// Tells the user.
    pub reporter: &'a Reporter,
    /// Keeps points in time.
    pub timings: &'a Timings,
    /// What has been seen so far.
    pub seen: Seen,
}

/// Signs of life of an attached client.
#[derive(Debug, Clone, Copy)]
pub struct Heartbeat {
    /// Time between two.
    pub interval: Duration,
    /// Silence after which the client counts as dead.
    pub timeout: Duration,
}

impl Heartbeat {
    /// From `client.heartbeat.interval` and `client.heartbeat.timeout`.
    ///
    /// # Errors
    /// When one of them is malformed.
    pub fn of(conf: &flumen_model::config::Configuration) -> Result<Self, flumen_model::config::BadConfiguration> {
        Ok(Self {
            interval: conf.get(&deployment::CLIENT_HEARTBEAT_INTERVAL)?,
            timeout: conf.get(&deployment::CLIENT_HEARTBEAT_TIMEOUT)?,
        })
    }
}

/// What a follower has seen so far.
pub struct Seen {
    start: Instant,
    /// Last time that either side answered.
    answered: Instant,
    /// The JobManager, since YARN told its address.
    job: Option<JobClient>,
    state: String,
    explained: String,
    beat: Option<Instant>,
}

impl Seen {
    /// Nothing yet.
    pub fn nothing() -> Self {
        let now = Instant::now();
        Self { start: now, answered: now, job: None, state: String::new(), explained: String::new(), beat: None }
    }
}

impl Follow<'_> {
    /// Follows until the job runs. `Some`: it ended before it was seen running.
    ///
    /// # Errors
    /// [`AttachError::Lost`].
    pub async fn until_running(&mut self) -> Result<Option<Verdict>, AttachError> {
        self.follow(|view| view.state == "RUNNING").await
    }

    /// Follows until the job and its application have ended.
    ///
    /// # Errors
    /// [`AttachError::Lost`].
    pub async fn until_end(&mut self) -> Result<Verdict, AttachError> {
        loop {
            if let Some(verdict) = self.follow(|_| false).await? {
                return Ok(verdict);
            }
        }
    }

    async fn follow(&mut self, enough: impl Fn(&JobView) -> bool) -> Result<Option<Verdict>, AttachError> {
        loop {
            if let Some(client) = self.seen.job.clone()
                && let Ok(view) = client.details().await
            {
                self.seen.answered = Instant::now();
                self.show_job(&view);
                if let Some(verdict) = job_verdict(&view) {
                    return Ok(Some(self.farewell(&client, verdict).await));
                }
                if enough(&view) {
                    return Ok(None);
                }
                self.beat(&client).await;
            } else {
                // No JobManager yet, or it is gone: YARN knows more.
                match self.cluster.report(self.application).await {
                    Ok(report) => {
                        self.seen.answered = Instant::now();
                        match stand(&report) {
                            Stand::Over(verdict) => return Ok(Some(verdict)),
                            Stand::Waiting => self.show_waiting(&report),
                            // It listens already: no reason to wait.
                            Stand::Running(address) if self.meet(&address) => continue,
                            Stand::Running(_) => {}
                        }
                    }
                    Err(cause) if self.seen.answered.elapsed() > SILENCE_LIMIT => {
                        return Err(AttachError::Lost { application: self.application.to_owned(), cause });
                    }
                    Err(cause) => self.reporter.progress(&format!("Waiting for an answer: {cause}")),
                }
            }
            let fast = self.seen.start.elapsed() < FAST_PHASE;
            tokio::time::sleep(if fast { POLL } else { SLOW_POLL }).await;
        }
    }

    /// Keeps the JobManager's address. Returns whether it is a new one.
    fn meet(&mut self, address: &str) -> bool {
        self.timings.reached("am_running");
        if self.seen.job.as_ref().is_some_and(|client| client.address() == address) {
            return false;
        }
        self.reporter.event(&format!("JobManager runs at {address}"));
        self.seen.job = Some(JobClient::new(self.http.clone(), address, self.job, self.token));
        true
    }

    /// The job has ended: learns the cause, and lets the application take leave of YARN.
    async fn farewell(&self, client: &JobClient, verdict: Verdict) -> Verdict {
        let exception = match &verdict {
            Verdict::Failed { .. } => client.root_exception().await.ok().flatten(),
            Verdict::Finished { .. } | Verdict::Canceled { .. } => None,
        };
        let application = self.application_end(FAREWELL).await;
        joined(Some(verdict.clone()), exception, application).unwrap_or(verdict)
    }

    /// Waits for the application's end, at most for `limit`.
    pub async fn application_end(&self, limit: Duration) -> Option<Verdict> {
        let ended = async {
            loop {
                if let Ok(report) = self.cluster.report(self.application).await
                    && let Stand::Over(verdict) = stand(&report)
                {
                    return verdict;
                }
                tokio::time::sleep(POLL).await;
            }
        };
        tokio::time::timeout(limit, ended).await.ok()
    }

    /// Cancels the job, through its JobManager or, when that does not work, by killing the application. Returns whether
    /// the application has ended.
    pub async fn cancel(&self, limit: Duration) -> bool {
        if let Ok(report) = self.cluster.report(self.application).await
            && let Stand::Running(address) = stand(&report)
        {
            let client = JobClient::new(self.http.clone(), &address, self.job, self.token);
            if client.cancel().await.is_ok() && self.application_end(limit).await.is_some() {
                return true;
            }
        }
        let _ = self.cluster.kill(self.application).await;
        self.application_end(FAREWELL).await.is_some()
    }

    async fn beat(&mut self, client: &JobClient) {
        let Some(Heartbeat { interval, timeout }) = self.heartbeat else { return };
        if self.seen.beat.is_none_or(|at| at.elapsed() >= interval) {
            let expires = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + timeout;
            // One that is lost is repeated at the next look.
            if client.heartbeat(expires.as_millis() as u64).await.is_ok() {
                self.seen.beat = Some(Instant::now());
            }
        }
    }

    fn show_waiting(&mut self, report: &AppReport) {
        self.timings.reached("accepted");
        let why = report.diagnostics.trim();
        if self.seen.start.elapsed() > PATIENCE && !why.is_empty() && self.seen.explained != why {
            self.reporter.event(&format!("Deploying cluster, application is not running yet: {why}"));
            self.seen.explained = why.to_owned();
        } else {
            let waited = self.seen.start.elapsed().as_secs();
            self.reporter.progress(&format!("Deploying cluster, current state ACCEPTED ({waited} s)"));
        }
    }

    fn show_job(&mut self, view: &JobView) {
        if matches!(view.state.as_str(), "RUNNING" | "FINISHED") {
            self.timings.reached("job_running");
        }
        if self.seen.state != view.state {
            self.reporter.event(&format!("Job state: {}", view.state));
            self.seen.state = view.state.clone();
        } else if view.state == "RUNNING" {
            let done = view.vertices.iter().filter(|vertex| vertex.status == "FINISHED").count();
            let seconds = view.duration / 1000;
            self.reporter
                .progress(&format!("Job RUNNING for {seconds} s, {done} of {} vertices finished", view.vertices.len()));
        }
    }
}
