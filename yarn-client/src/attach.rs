//! Follows a submitted job: until it runs (detached), or until it ends (attached).

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use flumen_model::options::deployment;

mod slots;
mod waiting;

pub use slots::Slots;
pub use waiting::Waiting;

use crate::cluster::{Cluster, ClusterError};
use crate::leader::LeaderLookup;
use crate::report::Reporter;
use crate::rest::{JobClient, JobView, Master, RestError};
use crate::timings::Timings;
use crate::verdict::{Stand, Verdict, job_verdict, joined, session_verdict, stand, with_history};

/// Time between two looks at a JobManager that has just been met: its job is about to run.
const QUICK_POLL: Duration = Duration::from_millis(20);

/// Time for which that holds.
const QUICK_PHASE: Duration = Duration::from_secs(2);

/// Time between two looks while things move fast.
const POLL: Duration = Duration::from_millis(100);

/// Time between two looks at a job that runs for long.
const SLOW_POLL: Duration = Duration::from_millis(500);

/// After this time looks become rarer.
const FAST_PHASE: Duration = Duration::from_secs(30);

/// Time that ResourceManager and JobManager may both be silent: a restart of either takes less.
const SILENCE_LIMIT: Duration = Duration::from_secs(300);

/// Time from the job's end to the application's: its last words to YARN.
const FAREWELL: Duration = Duration::from_secs(15);

/// Why nothing more can be said of a job.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// Neither ResourceManager nor JobManager answers.
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
    /// The JobManager does not answer, and nothing is known of its application.
    #[error("lost contact with the session for {} s; the job may still be running", SILENCE_LIMIT.as_secs())]
    LostSession {
        /// The last answer.
        #[source]
        cause: RestError,
    },
}

/// Where the job runs.
#[derive(Clone)]
pub enum Home<'a> {
    /// In an application of its own, which ends with it.
    Own(Application<'a>),
    /// In a session; its application, when it is known.
    Session(Option<Application<'a>>),
}

/// A YARN application.
#[derive(Clone, Copy)]
pub struct Application<'a> {
    /// Its ResourceManager.
    pub cluster: &'a Cluster,
    /// Its id.
    pub id: &'a str,
    /// Where its leader is found when YARN does not know, if there may be one.
    pub leader: Option<&'a LeaderLookup>,
}

/// What to follow, and how.
pub struct Follow<'a> {
    /// Where the job runs.
    pub home: Home<'a>,
    /// For the JobManager.
    pub http: reqwest::Client,
    /// The job's id.
    pub job: &'a str,
    /// The application's token.
    pub token: Option<&'a str>,
    /// Whether signs of life are sent, and how often and with which limit.
    pub heartbeat: Option<Heartbeat>,
    /// Tells why slots are waited for.
    pub slots: Slots,
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
    waiting: Waiting,
    /// Last time that either side answered.
    answered: Instant,
    /// The JobManager, since its address is known, and since when.
    job: Option<(JobClient, Instant)>,
    /// Whether the store named a leader at the last look: it knows better than YARN.
    announced: bool,
    state: String,
    beat: Option<Instant>,
}

impl Seen {
    /// Nothing yet.
    pub fn nothing() -> Self {
        let (waiting, answered) = (Waiting::begun(), Instant::now());
        Self { waiting, answered, job: None, announced: false, state: String::new(), beat: None }
    }

    /// The job's JobManager.
    pub fn master(master: &Master, job: &str) -> Self {
        Self { job: Some((master.job(job), Instant::now())), ..Self::nothing() }
    }
}

impl Follow<'_> {
    /// Follows until the job runs. `Some`: it ended before it was seen running.
    ///
    /// # Errors
    /// [`AttachError`].
    pub async fn until_running(&mut self) -> Result<Option<Verdict>, AttachError> {
        self.follow(|view| view.state == "RUNNING").await
    }

    /// Follows until the job, and its application if it has one of its own, have ended.
    ///
    /// # Errors
    /// [`AttachError`].
    pub async fn until_end(&mut self) -> Result<Verdict, AttachError> {
        loop {
            if let Some(verdict) = self.follow(|_| false).await? {
                return Ok(verdict);
            }
        }
    }

    async fn follow(&mut self, enough: impl Fn(&JobView) -> bool) -> Result<Option<Verdict>, AttachError> {
        loop {
            let mut silence = None;
            if let Some((client, _)) = self.seen.job.clone() {
                match client.details().await {
                    Ok(view) => {
                        self.seen.answered = Instant::now();
                        self.show_job(&view).await;
                        if let Some(verdict) = job_verdict(&view) {
                            return Ok(Some(self.farewell(&client, verdict).await));
                        }
                        if enough(&view) {
                            return Ok(None);
                        }
                        self.beat(&client).await;
                        self.pause().await;
                        continue;
                    }
                    Err(error) if error.is_not_found() && matches!(self.home, Home::Session(_)) => {
                        let cause = format!("the session at {} does not know the job any more", client.address());
                        return Ok(Some(Verdict::Failed { cause }));
                    }
                    Err(error) => silence = Some(error),
                }
            }
            // No JobManager yet, or it is gone: the store knows more, or YARN.
            match (self.home.clone(), silence) {
                (Home::Own(application) | Home::Session(Some(application)), silence) => {
                    if silence.is_some() && self.ask_store(application).await {
                        continue;
                    }
                    if let Some(verdict) = self.ask_yarn(application).await? {
                        return Ok(Some(verdict));
                    }
                }
                (Home::Session(None), Some(cause)) if self.seen.answered.elapsed() > SILENCE_LIMIT => {
                    return Err(AttachError::LostSession { cause });
                }
                (Home::Session(None), cause) => {
                    let cause = cause.map(|cause| cause.to_string()).unwrap_or_default();
                    self.reporter.progress(&format!("Waiting for an answer: {cause}"));
                }
            }
            self.pause().await;
        }
    }

    /// Whether the store names another leader than the one that is silent. That one is met.
    async fn ask_store(&mut self, Application { leader, .. }: Application<'_>) -> bool {
        let Some(leader) = leader else { return false };
        let address = leader.rest().await;
        self.seen.announced = address.is_some();
        match address {
            Some(address) if self.seen.job.as_ref().is_none_or(|(client, _)| client.address() != address) => {
                self.meet(&address);
                true
            }
            Some(_) | None => false,
        }
    }

    async fn ask_yarn(
        &mut self,
        Application { cluster, id, .. }: Application<'_>,
    ) -> Result<Option<Verdict>, AttachError> {
        match cluster.report(id).await {
            Ok(report) => {
                self.seen.answered = Instant::now();
                match (stand(&report), &self.home) {
                    (Stand::Over(verdict), home) => {
                        let verdict = with_history(verdict, &cluster.history(id).await);
                        return Ok(Some(match home {
                            Home::Own(_) => verdict,
                            Home::Session(_) => session_verdict(id, verdict),
                        }));
                    }
                    (Stand::Waiting, _) => {
                        self.timings.reached("accepted");
                        self.seen.waiting.show(&report, self.reporter);
                    }
                    (Stand::Running(address), _) if !self.seen.announced => self.meet(&address),
                    (Stand::Running(_), _) => {}
                }
            }
            Err(cause) if self.seen.answered.elapsed() > SILENCE_LIMIT => {
                return Err(AttachError::Lost { application: id.to_owned(), cause });
            }
            Err(cause) => self.reporter.progress(&format!("Waiting for an answer: {cause}")),
        }
        Ok(None)
    }

    async fn pause(&self) {
        let new = self.seen.job.as_ref().is_some_and(|(_, since)| since.elapsed() < QUICK_PHASE);
        let fast = self.seen.waiting.elapsed() < FAST_PHASE;
        tokio::time::sleep(if new {
            QUICK_POLL
        } else if fast {
            POLL
        } else {
            SLOW_POLL
        })
        .await;
    }

    /// Keeps the JobManager's address.
    fn meet(&mut self, address: &str) {
        self.timings.reached("am_running");
        if self.seen.job.as_ref().is_some_and(|(client, _)| client.address() == address) {
            return;
        }
        self.reporter.event(&format!("JobManager runs at {address}"));
        let master = Master::new(self.http.clone(), address, self.token);
        self.seen.job = Some((master.job(self.job), Instant::now()));
    }

    /// The job has ended: learns the cause, and lets an application of its own take leave of YARN.
    async fn farewell(&self, client: &JobClient, verdict: Verdict) -> Verdict {
        let exception = match &verdict {
            Verdict::Failed { .. } => client.root_exception().await.ok().flatten(),
            Verdict::Finished { .. } | Verdict::Canceled { .. } => None,
        };
        let application = match self.home {
            Home::Own(application) => application.end(FAREWELL).await,
            Home::Session(_) => None,
        };
        joined(Some(verdict.clone()), exception, application).unwrap_or(verdict)
    }

    /// Cancels the job: through its JobManager or, when that does not work and the application is its own, by killing that.
    /// Returns whether it has ended.
    pub async fn cancel(&self, limit: Duration) -> bool {
        match self.home {
            Home::Own(application) => self.cancel_with_application(application, limit).await,
            Home::Session(_) => {
                let Some((client, _)) = &self.seen.job else { return false };
                let ended = async {
                    while client.cancel().await.is_err() {
                        tokio::time::sleep(POLL).await;
                    }
                    while !matches!(client.details().await, Ok(view) if job_verdict(&view).is_some()) {
                        tokio::time::sleep(POLL).await;
                    }
                };
                tokio::time::timeout(limit, ended).await.is_ok()
            }
        }
    }

    async fn cancel_with_application(&self, application: Application<'_>, limit: Duration) -> bool {
        let Application { cluster, id, leader } = application;
        let announced = match leader {
            Some(leader) => leader.rest().await,
            None => None,
        };
        let address = match announced {
            Some(address) => Some(address),
            None => cluster.report(id).await.ok().and_then(|report| match stand(&report) {
                Stand::Running(address) => Some(address),
                Stand::Waiting | Stand::Over(_) => None,
            }),
        };
        if let Some(address) = address {
            let client = Master::new(self.http.clone(), &address, self.token).job(self.job);
            if client.cancel().await.is_ok() && application.end(limit).await.is_some() {
                return true;
            }
        }
        let _ = cluster.kill(id).await;
        application.end(FAREWELL).await.is_some()
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

    async fn show_job(&mut self, view: &JobView) {
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
        } else if view.state == "CREATED" {
            let cluster = match self.home {
                Home::Own(Application { cluster, .. }) | Home::Session(Some(Application { cluster, .. })) => {
                    Some(cluster)
                }
                Home::Session(None) => None,
            };
            self.slots.show(view, cluster, self.reporter).await;
        }
    }
}

impl Application<'_> {
    /// Waits for its end, at most for `limit`.
    pub async fn end(&self, limit: Duration) -> Option<Verdict> {
        let ended = async {
            loop {
                if let Ok(report) = self.cluster.report(self.id).await
                    && let Stand::Over(verdict) = stand(&report)
                {
                    return verdict;
                }
                tokio::time::sleep(POLL).await;
            }
        };
        tokio::time::timeout(limit, ended).await.ok()
    }
}
