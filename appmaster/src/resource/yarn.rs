//! The line to YARN: carries out what [`super::manager`] decides and brings back what YARN says.
//!
//! Heartbeats are frequent while containers are awaited, slow otherwise, and at once when there is something to tell.
//! NodeManagers are told in tasks of their own, a bounded number at a time, so that a dead node holds nothing up.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use flumen_hadoop::token::Token;
use flumen_hadoop::yarn::{
    AllocateRequest, AllocateResponse, AmError, ApplicationMasterClient, Container, ContainerAsk, ContainerId,
    FinalStatus, LaunchContext, NmOptions, NodeId, NodeManagerClient, Registration, RegistrationRequest,
};
use flumen_model::text::with_causes;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::fit::Cluster;
use super::standby;

/// Containers that are being started at the same time: enough that a slow node delays few others, few enough for a small
/// process.
const LAUNCHES_MAX: usize = 32;

/// A heartbeat without an answer for so long is told, and again after as long.
pub(crate) const SILENCE: Duration = Duration::from_secs(5);

/// Limit of one look at the cluster.
const INSPECTION_LIMIT: Duration = Duration::from_secs(10);

/// How often YARN is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intervals {
    /// While containers are awaited (`yarn.heartbeat.container-request-interval`).
    pub awaiting: Duration,
    /// Otherwise (`yarn.heartbeat.interval`).
    pub idle: Duration,
}

/// What YARN said.
#[derive(Debug)]
pub enum YarnEvent {
    /// The answer to a heartbeat.
    Answered(AllocateResponse),
    /// It refused the asks of a heartbeat, with this text.
    AskRefused(String),
    /// A NodeManager took a container over, or why not.
    Launched {
        /// The container.
        id: ContainerId,
        /// The failure's text.
        result: Result<(), String>,
    },
    /// How large the cluster is; `None` when YARN did not tell.
    Inspected(Option<Cluster>),
    /// A heartbeat has had no answer for a while, and it is tried further: YARN is away, or this attempt is cut off from it and
    /// may have a successor already.
    Silent,
    /// This application attempt is over: stop all work and leave without a word.
    AttemptOver(String),
    /// YARN can't be reached, or can't be understood, and that will not change.
    Lost(AmError),
}

/// Something that is under way, kept between two calls of [`Yarn::next`].
type Waiting<T> = Pin<Box<dyn Future<Output = T>>>;

/// What of the line to the ResourceManager is used while the application runs.
pub trait Scheduler {
    /// One heartbeat. Can be dropped at any time.
    fn allocate(&mut self, request: &AllocateRequest) -> impl Future<Output = Result<AllocateResponse, AmError>>;
    /// The newest token for a node.
    fn nm_token(&self, node: &NodeId) -> Option<&Token>;
}

impl Scheduler for ApplicationMasterClient {
    async fn allocate(&mut self, request: &AllocateRequest) -> Result<AllocateResponse, AmError> {
        Box::pin(ApplicationMasterClient::allocate(self, request)).await
    }

    fn nm_token(&self, node: &NodeId) -> Option<&Token> {
        ApplicationMasterClient::nm_token(self, node)
    }
}

/// See the module. One owner, which calls [`Yarn::next`] in its loop.
pub struct Yarn<S = ApplicationMasterClient> {
    scheduler: Arc<Mutex<S>>,
    context: Arc<LaunchContext>,
    /// What a standby JobManager's container runs.
    standby: Option<Arc<LaunchContext>>,
    intervals: Intervals,
    /// True while containers are awaited.
    awaiting: bool,
    /// What the next heartbeat tells.
    pending: AllocateRequest,
    beat: Option<Waiting<Result<AllocateResponse, AmError>>>,
    last_beat: Instant,
    /// When the heartbeat that is under way is told to have no answer.
    silent_at: Instant,
    nm_tokens: HashMap<NodeId, Token>,
    waiting: VecDeque<Container>,
    launches: JoinSet<(ContainerId, Result<(), String>)>,
    inspection: Option<Waiting<Option<Cluster>>>,
}

impl Yarn {
    /// Registers this attempt; its containers will run `context`.
    ///
    /// # Errors
    /// [`AmError`] when YARN does not take the registration.
    pub async fn register(
        mut client: ApplicationMasterClient,
        request: &RegistrationRequest,
        context: LaunchContext,
        intervals: Intervals,
    ) -> Result<(Self, Registration), AmError> {
        let registration = client.register(request).await?;
        Ok((Self::new(client, context, intervals), registration))
    }

    /// Ends the application with this status and waits until YARN has stored it. YARN takes all containers back.
    ///
    /// # Errors
    /// [`AmError`] when the status may be lost.
    pub async fn finish(mut self, status: FinalStatus, diagnostics: &str, tracking_url: &str) -> Result<(), AmError> {
        self.beat = None;
        let mut client = self.scheduler.lock().await;
        Box::pin(client.finish(status, diagnostics, tracking_url)).await
    }
}

impl<S: Scheduler + 'static> Yarn<S> {
    fn new(scheduler: S, context: LaunchContext, intervals: Intervals) -> Self {
        Self {
            scheduler: Arc::new(Mutex::new(scheduler)),
            context: Arc::new(context),
            standby: None,
            intervals,
            awaiting: false,
            pending: AllocateRequest::default(),
            beat: None,
            last_beat: Instant::now(),
            silent_at: Instant::now(),
            nm_tokens: HashMap::new(),
            waiting: VecDeque::new(),
            launches: JoinSet::new(),
            inspection: None,
        }
    }

    /// Containers that were asked for with the standby JobManager's priority run `context`.
    pub fn run_standby(&mut self, context: LaunchContext) {
        self.standby = Some(Arc::new(context));
    }

    /// Tells the next heartbeat to change the table of asks.
    pub fn ask(&mut self, ask: ContainerAsk) {
        // A wish that is taken back before it was told need not be told at all, but YARN may know it from a heartbeat that is
        // under way: the later row wins.
        self.pending.asks.retain(|earlier| earlier.allocation_request_id != ask.allocation_request_id);
        self.pending.asks.push(ask);
    }

    /// Gives a container back with the next heartbeat.
    pub fn release(&mut self, id: ContainerId) {
        self.waiting.retain(|container| container.id != id);
        self.pending.releases.push(id);
    }

    /// Starts a TaskExecutor, or the standby JobManager, in a container.
    pub fn launch(&mut self, container: Container) {
        self.waiting.push_back(container);
        self.start_launches();
    }

    /// Looks how large the cluster is.
    pub fn inspect_cluster(&mut self, inspection: impl Future<Output = Option<Cluster>> + 'static) {
        self.inspection =
            Some(Box::pin(async { tokio::time::timeout(INSPECTION_LIMIT, inspection).await.unwrap_or_default() }));
    }

    /// Says whether containers are awaited: then heartbeats are frequent.
    pub fn set_awaiting(&mut self, awaiting: bool) {
        self.awaiting = awaiting;
    }

    /// Sets the application's progress, from 0 to 1, for the next heartbeats.
    pub fn set_progress(&mut self, progress: f32) {
        self.pending.progress = progress;
    }

    /// Waits for what YARN says next. Can be cancelled at any time: nothing is lost.
    pub async fn next(&mut self) -> YarnEvent {
        loop {
            let due = self.next_beat();
            tokio::select! {
                Some(done) = self.launches.join_next() => {
                    self.start_launches();
                    match done {
                        Ok((id, result)) => return YarnEvent::Launched { id, result },
                        Err(error) => tracing::error!(%error, "a task that starts containers ended abnormally"),
                    }
                }
                cluster = in_flight(&mut self.inspection) => {
                    self.inspection = None;
                    return YarnEvent::Inspected(cluster);
                }
                result = in_flight(&mut self.beat) => {
                    self.beat = None;
                    if let Some(event) = self.answered(result) {
                        return event;
                    }
                }
                () = tokio::time::sleep_until(self.silent_at), if self.beat.is_some() => {
                    self.silent_at = Instant::now() + SILENCE;
                    return YarnEvent::Silent;
                }
                () = tokio::time::sleep_until(due), if self.beat.is_none() => self.start_beat(),
            }
        }
    }

    fn next_beat(&self) -> Instant {
        let something_to_tell = !self.pending.asks.is_empty() || !self.pending.releases.is_empty();
        match (something_to_tell, self.awaiting) {
            (true, _) => self.last_beat,
            (false, true) => self.last_beat + self.intervals.awaiting,
            (false, false) => self.last_beat + self.intervals.idle,
        }
    }

    fn start_beat(&mut self) {
        let progress = self.pending.progress;
        let request = std::mem::replace(&mut self.pending, AllocateRequest { progress, ..AllocateRequest::default() });
        let scheduler = Arc::clone(&self.scheduler);
        self.last_beat = Instant::now();
        self.silent_at = self.last_beat + SILENCE;
        self.beat = Some(Box::pin(async move { scheduler.lock().await.allocate(&request).await }));
    }

    fn answered(&mut self, result: Result<AllocateResponse, AmError>) -> Option<YarnEvent> {
        match result {
            Ok(answer) => {
                self.remember_tokens(&answer.allocated);
                if let Some(preemption) = &answer.preemption {
                    tracing::warn!(?preemption, "YARN wants resources back");
                }
                Some(YarnEvent::Answered(answer))
            }
            Err(AmError::BadAsk { class, message, .. }) => Some(YarnEvent::AskRefused(format!("{class}: {message}"))),
            Err(AmError::AttemptOver { reason }) => Some(YarnEvent::AttemptOver(reason)),
            Err(error @ (AmError::BadRelease { .. } | AmError::BadBlacklist { .. })) => {
                tracing::warn!(%error, "a part of the heartbeat was refused");
                None
            }
            Err(
                error @ (AmError::Unreachable { .. }
                | AmError::Refused { .. }
                | AmError::Incomplete { .. }
                | AmError::Forgotten { .. }
                | AmError::FinishUnconfirmed { .. }
                | AmError::NotRegistered
                | AmError::NoAddress),
            ) => Some(YarnEvent::Lost(error)),
        }
    }

    fn remember_tokens(&mut self, containers: &[Container]) {
        // No beat is under way, so nobody else holds it.
        let Ok(scheduler) = self.scheduler.try_lock() else { return };
        for container in containers {
            if let Some(token) = scheduler.nm_token(&container.node) {
                self.nm_tokens.insert(container.node.clone(), token.clone());
            }
        }
    }

    fn start_launches(&mut self) {
        while self.launches.len() < LAUNCHES_MAX
            && let Some(container) = self.waiting.pop_front()
        {
            let token = self.nm_tokens.get(&container.node).cloned();
            let of_standby = self.standby.as_ref().filter(|_| container.priority == standby::PRIORITY);
            let context = Arc::clone(of_standby.unwrap_or(&self.context));
            self.launches.spawn(async move { (container.id, start(&context, &container, token).await) });
        }
    }
}

/// The result of what is under way; never, when nothing is.
async fn in_flight<T>(waiting: &mut Option<Waiting<T>>) -> T {
    match waiting {
        Some(waiting) => waiting.await,
        None => std::future::pending().await,
    }
}

async fn start(context: &LaunchContext, container: &Container, token: Option<Token>) -> Result<(), String> {
    let node = container.node.clone();
    let token = token.ok_or_else(|| format!("YARN sent no token for NodeManager {node}"))?;
    let mut client = NodeManagerClient::new(node, token, NmOptions::default());
    Box::pin(client.start_container(context, container)).await.map_err(|error| with_causes(&error))
}

#[cfg(test)]
mod tests;
