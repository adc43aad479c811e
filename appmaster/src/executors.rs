//! The JobManager's side of all TaskExecutors' connections.
//!
//! In: connections, and commands by [`ExecutorServer::send`]. Out: [`ExecutorEvent`]s, for each TaskExecutor in the order
//! `Registered`, `Report`s, `Lost`. Heartbeats are sent and watched here. One task per connection; what they share is the
//! table of who is connected.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use flumen_model::config::{BadConfiguration, Configuration};
use flumen_model::failure::{Blame, Failure};
use flumen_model::ids::{Epoch, ExecutorId};
use flumen_model::options::deployment;
use flumen_wire::control::{ExecutorCommand, ExecutorInfo, ExecutorReport, FromExecutor, PROTOCOL_VERSION, ToExecutor};
use flumen_wire::frame::{self, FrameError};
use flumen_wire::report::WorkerReport;
use flumen_wire::standby::StandbyInfo;
use flumen_wire::tls::{InternalTls, Stream};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout, timeout_at};

use crate::elsewhere::Elsewhere;
use crate::executor_logs::{ExecutorLogs, OpenQuestions};
use crate::high_availability::Lead;

/// Time from the connection to the registration. A TaskExecutor says who it is at once.
const REGISTRATION_LIMIT: Duration = Duration::from_secs(10);

/// Connections that have not registered yet; further ones wait in the operating system's queue.
const UNREGISTERED_MAX: usize = 256;

/// Registered TaskExecutors: more than any queue of a cluster gives, fewer than a process has file descriptors.
const EXECUTORS_MAX: usize = 10_000;

/// Events that may wait for the JobManager's loop; then TaskExecutors wait.
const EVENTS_MAX: usize = 1024;

/// Commands that may wait for one TaskExecutor; one that lets more wait is taken for lost.
const COMMANDS_MAX: usize = 1024;

/// Pause after a connection that could not be accepted: mostly for want of file descriptors, which come back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a loss waits for the answer whether there is a newer leader.
const DOUBT_LIMIT: Duration = Duration::from_secs(2);

/// How often the table is looked at while everybody is shutting down.
const TABLE_POLL: Duration = Duration::from_millis(10);

/// What a TaskExecutor's connection brings.
#[derive(Debug)]
pub enum ExecutorEvent {
    /// It registered, and can be sent commands.
    Registered {
        /// Who.
        info: ExecutorInfo,
        /// What it runs since before this leader.
        workers: Vec<WorkerReport>,
    },
    /// It says something.
    Report {
        /// Who.
        id: ExecutorId,
        /// What.
        report: ExecutorReport,
    },
    /// It is gone: its connection was closed or broke, or it was silent too long. It may register anew.
    Lost {
        /// Who.
        id: ExecutorId,
        /// Why.
        failure: Failure,
    },
    /// A standby JobManager registered, and can be sent commands.
    StandbyRegistered(ExecutorId),
    /// It is gone. It may register anew.
    StandbyLost(ExecutorId),
    /// There is a newer leader, for this reason: whoever is lost now is lost to that one.
    Superseded(String),
}

/// The JobManager that listens.
#[derive(Clone)]
pub struct Me {
    /// The number with which it fences earlier leaders.
    pub epoch: Epoch,
    /// Which attempt of the application it is.
    pub attempt: u32,
    /// Asked before a loss is told, if another one may lead without YARN knowing of it.
    pub doubts: Option<Lead>,
}

impl From<Epoch> for Me {
    /// The leader of that number, beside whom nobody leads.
    fn from(epoch: Epoch) -> Self {
        Self { epoch, attempt: 1, doubts: None }
    }
}

/// Accepts TaskExecutors; dropping it closes all their connections, whereupon they end.
pub struct ExecutorServer {
    events: mpsc::Receiver<ExecutorEvent>,
    handle: ExecutorHandle,
    open_questions: OpenQuestions,
    elsewhere: Elsewhere,
    _accepting: JoinSet<()>,
}

/// Sends commands to TaskExecutors; cheap to clone.
#[derive(Debug, Clone)]
pub struct ExecutorHandle(Arc<Mutex<BTreeMap<ExecutorId, Outbox>>>);

/// Where a connected TaskExecutor's commands go; `None` once it has let too many wait and is being given up.
type Outbox = Option<mpsc::Sender<ExecutorCommand>>;

/// What all connections know.
struct Shared {
    tls: InternalTls,
    me: Me,
    configuration: Configuration,
    hadoop: BTreeMap<String, String>,
    heartbeat: Heartbeat,
    connected: ExecutorHandle,
    open_questions: OpenQuestions,
    /// The page of who stands by.
    elsewhere: Elsewhere,
    events: mpsc::Sender<ExecutorEvent>,
}

#[derive(Debug, Clone, Copy)]
struct Heartbeat {
    interval: Duration,
    timeout: Duration,
}

impl Heartbeat {
    fn read(configuration: &Configuration) -> Result<Self, BadConfiguration> {
        let interval = configuration.get(&deployment::HEARTBEAT_INTERVAL)?;
        // An interval of zero would be nothing but heartbeats.
        Ok(Self {
            interval: interval.max(Duration::from_millis(1)),
            timeout: configuration.get(&deployment::HEARTBEAT_TIMEOUT)?,
        })
    }
}

/// Why a TaskExecutor is not taken.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("it was slow: no registration within {} s", REGISTRATION_LIMIT.as_secs())]
    Slow,
    #[error("no connection with the application's certificate")]
    Handshake(#[source] io::Error),
    #[error("its registration could not be read")]
    Unreadable(#[source] FrameError),
    #[error("it did not say who it is")]
    Nameless,
    #[error(
        "it speaks protocol {theirs}, the JobManager speaks {PROTOCOL_VERSION}: all files of one application must come from one distribution"
    )]
    Protocol { theirs: u32 },
    #[error("a TaskExecutor of the same name is connected")]
    Duplicate,
    #[error("{EXECUTORS_MAX} TaskExecutors are connected")]
    TooMany,
}

/// Why a registered TaskExecutor is lost.
#[derive(Debug, thiserror::Error)]
enum Loss {
    #[error("the TaskExecutor closed its connection: it was stopped or killed, or it gave up")]
    Closed,
    #[error("the connection to the TaskExecutor was lost: {0}")]
    Broken(String),
    #[error("the TaskExecutor was silent for {} s (heartbeat.timeout)", .0.as_secs_f32())]
    Silent(Duration),
    #[error("the TaskExecutor did not take its commands, for {} s (heartbeat.timeout) or {COMMANDS_MAX} of them", .0.as_secs_f32())]
    Stuck(Duration),
    #[error("the TaskExecutor obeys a newer JobManager, of epoch {0}")]
    NewerLeader(Epoch),
}

impl From<FrameError> for Loss {
    /// A process that is killed says no goodbye, neither in TLS nor in TCP.
    fn from(error: FrameError) -> Self {
        use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
        if let FrameError::Io(cause) = &error
            && matches!(cause.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
        {
            return Self::Closed;
        }
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        Self::Broken(format!("{error}{cause}"))
    }
}

impl ExecutorServer {
    /// Listens at `address`; the port that was bound is returned, which matters for port 0. TaskExecutors get
    /// `configuration` and `hadoop` (expanded properties) in answer to their registration.
    ///
    /// # Errors
    /// The address can't be bound, or the options of the heartbeat are of the wrong form.
    pub async fn bind(
        address: SocketAddr,
        tls: InternalTls,
        me: impl Into<Me>,
        configuration: Configuration,
        hadoop: BTreeMap<String, String>,
    ) -> io::Result<(Self, u16)> {
        let heartbeat =
            Heartbeat::read(&configuration).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let listener = TcpListener::bind(address).await?;
        let port = listener.local_addr()?.port();
        let handle = ExecutorHandle(Arc::default());
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        let connected = handle.clone();
        let open_questions = OpenQuestions::default();
        let elsewhere = Elsewhere::default();
        let shared = Shared {
            tls,
            me: me.into(),
            configuration,
            hadoop,
            heartbeat,
            connected,
            open_questions: open_questions.clone(),
            elsewhere: elsewhere.clone(),
            events: sender,
        };
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, Arc::new(shared)));
        Ok((Self { events, handle, open_questions, elsewhere, _accepting: accepting }, port))
    }

    /// The next event. Safe to cancel.
    pub async fn next(&mut self) -> ExecutorEvent {
        match self.events.recv().await {
            Some(event) => event,
            // The accepting task holds a sender as long as this exists.
            None => std::future::pending().await,
        }
    }

    /// [`ExecutorHandle::send`].
    pub fn send(&self, id: &ExecutorId, command: ExecutorCommand) {
        self.handle.send(id, command);
    }

    /// For sending from elsewhere.
    pub fn handle(&self) -> ExecutorHandle {
        self.handle.clone()
    }

    /// For reading their log files.
    pub fn logs(&self) -> ExecutorLogs {
        ExecutorLogs::new(self.handle(), self.open_questions.clone())
    }

    /// The web page of the standby JobManager that is connected.
    pub fn elsewhere(&self) -> Elsewhere {
        self.elsewhere.clone()
    }

    /// Tells all TaskExecutors to shut down and waits until they have closed their connections, at most `limit`. Events
    /// are thrown away meanwhile.
    pub async fn shut_down(&mut self, reason: &str, limit: Duration) {
        let deadline = Instant::now() + limit;
        for id in self.handle.ids() {
            self.send(&id, ExecutorCommand::Shutdown { reason: reason.to_owned() });
        }
        loop {
            let ids = self.handle.ids();
            if ids.is_empty() {
                return;
            }
            if Instant::now() >= deadline {
                tracing::warn!(executors = ?ids, "did not shut down within {} s", limit.as_secs_f32());
                return;
            }
            // A name leaves the table shortly after its last event.
            let _ = timeout_at(deadline.min(Instant::now() + TABLE_POLL), self.next()).await;
        }
    }
}

impl ExecutorHandle {
    /// Sends a command, without waiting. To a TaskExecutor that is not connected it goes nowhere: its loss is or will be an
    /// event.
    pub fn send(&self, id: &ExecutorId, command: ExecutorCommand) {
        let mut connected = self.lock();
        let Some(outbox) = connected.get_mut(id) else {
            tracing::debug!(%id, "is not connected: a command for it is dropped");
            return;
        };
        if let Some(queue) = outbox
            && let Err(mpsc::error::TrySendError::Full(_)) = queue.try_send(command)
        {
            // Ends the connection's writer.
            *outbox = None;
        }
    }

    /// Whether it is there.
    pub fn is_connected(&self, id: &ExecutorId) -> bool {
        self.lock().contains_key(id)
    }

    fn enter(&self, id: &ExecutorId, outbox: mpsc::Sender<ExecutorCommand>) -> Result<(), Refusal> {
        let mut connected = self.lock();
        if connected.contains_key(id) {
            return Err(Refusal::Duplicate);
        }
        if connected.len() >= EXECUTORS_MAX {
            return Err(Refusal::TooMany);
        }
        connected.insert(id.clone(), Some(outbox));
        Ok(())
    }

    fn leave(&self, id: &ExecutorId) {
        self.lock().remove(id);
    }

    fn ids(&self) -> Vec<ExecutorId> {
        self.lock().keys().cloned().collect()
    }

    /// Held for a look-up only, never over an await.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<ExecutorId, Outbox>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Accepts for ever; the connections' tasks end with this one.
async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let unregistered = Arc::new(Semaphore::new(UNREGISTERED_MAX));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(permit) = Arc::clone(&unregistered).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((tcp, peer)) => {
                connections.spawn(connection(tcp, peer, Arc::clone(&shared), permit));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// One connection, from its first byte to the event of its loss.
async fn connection(tcp: TcpStream, peer: SocketAddr, shared: Arc<Shared>, unregistered: OwnedSemaphorePermit) {
    let (outbox, commands) = mpsc::channel(COMMANDS_MAX);
    let (stream, who) = match timeout(REGISTRATION_LIMIT, register(tcp, &shared, outbox)).await {
        Ok(Ok(registered)) => registered,
        Ok(Err(refusal)) => return log_refusal(peer, &refusal),
        Err(_) => return log_refusal(peer, &Refusal::Slow),
    };
    drop(unregistered);
    let id = who.id().clone();
    let stands_by = matches!(who, Who::Standby(_));
    let page = who.page().map(str::to_owned);
    if let Some(page) = &page {
        shared.elsewhere.is_at(page);
    }
    shared.tell(who.registered(peer)).await;

    let (read, write) = tokio::io::split(stream);
    let loss = tokio::select! {
        loss = read_reports(read, &id, &shared) => loss,
        loss = write_commands(write, commands, &shared) => loss,
    };
    shared.open_questions.lost(&id);
    let failure = Failure::new(Blame::Outside, loss.to_string()).on(&id);
    tracing::info!(%id, "{loss}");
    if let Some(page) = &page {
        shared.elsewhere.is_gone_from(page);
    }
    if let Some(reason) = shared.superseded(&loss).await {
        shared.tell(ExecutorEvent::Superseded(reason)).await;
    }
    shared
        .tell(if stands_by {
            ExecutorEvent::StandbyLost(id.clone())
        } else {
            ExecutorEvent::Lost { id: id.clone(), failure }
        })
        .await;
    // Only now may one of the same name register: its event must come after this one's.
    shared.connected.leave(&id);
}

fn log_refusal(peer: SocketAddr, refusal: &Refusal) {
    tracing::warn!(%peer, error = refusal as &dyn std::error::Error, "connection refused");
}

impl Shared {
    async fn tell(&self, event: ExecutorEvent) {
        // It fails only when the server is being dropped, and this task with it.
        let _ = self.events.send(event).await;
    }

    /// Whether who is lost is lost to a newer leader, of whom YARN knows nothing. A JobManager that was stopped for a while must
    /// not take the TaskExecutors for dead that have found another one meanwhile: it would give their containers back.
    async fn superseded(&self, loss: &Loss) -> Option<String> {
        let lead = self.me.doubts.as_ref()?;
        if let Loss::NewerLeader(_) = loss {
            return Some(loss.to_string());
        }
        let asked = timeout(DOUBT_LIMIT, lead.still_leads()).await;
        asked.ok()?.err().map(|error| error.to_string())
    }

    fn command(&self, command: ExecutorCommand) -> ToExecutor {
        ToExecutor { epoch: self.me.epoch, command }
    }
}

/// TLS, then the registration. One that could be repaired by trying again is refused by closing the connection, any other
/// by [`ExecutorCommand::Shutdown`]. Whoever is in the table when this is cancelled is taken out again.
async fn register(
    tcp: TcpStream,
    shared: &Shared,
    outbox: mpsc::Sender<ExecutorCommand>,
) -> Result<(Stream, Who), Refusal> {
    let mut stream = shared.tls.accept(tcp).await.map_err(Refusal::Handshake)?;
    let first: Option<FromExecutor> = frame::read(&mut stream).await.map_err(Refusal::Unreadable)?;
    let who = match first.map(|first| first.report) {
        Some(ExecutorReport::Register { info, workers }) => Who::Executor { info, workers },
        Some(ExecutorReport::StandBy(info)) => Who::Standby(info),
        _ => return Err(Refusal::Nameless),
    };
    if who.protocol() != PROTOCOL_VERSION {
        let refusal = Refusal::Protocol { theirs: who.protocol() };
        let reason = refusal.to_string();
        // A peer that is gone needs no reason.
        let _ = frame::write(&mut stream, &shared.command(ExecutorCommand::Shutdown { reason })).await;
        return Err(refusal);
    }
    shared.connected.enter(who.id(), outbox)?;
    let entered = Entered(Some((&shared.connected, who.id())));
    let answer = shared.command(match &who {
        Who::Executor { .. } => {
            ExecutorCommand::Registered { configuration: shared.configuration.clone(), hadoop: shared.hadoop.clone() }
        }
        Who::Standby(_) => ExecutorCommand::StandingBy { attempt: shared.me.attempt },
    });
    frame::write(&mut stream, &answer).await.map_err(Refusal::Unreadable)?;
    entered.keep();
    Ok((stream, who))
}

/// Who has registered.
enum Who {
    /// A TaskExecutor, and what it runs.
    Executor { info: ExecutorInfo, workers: Vec<WorkerReport> },
    /// A standby JobManager.
    Standby(StandbyInfo),
}

impl Who {
    fn id(&self) -> &ExecutorId {
        match self {
            Self::Executor { info, .. } => &info.id,
            Self::Standby(info) => &info.id,
        }
    }

    /// Its web page, if it is a standby JobManager.
    fn page(&self) -> Option<&str> {
        match self {
            Self::Executor { .. } => None,
            Self::Standby(info) => info.page.as_deref(),
        }
    }

    fn protocol(&self) -> u32 {
        match self {
            Self::Executor { info, .. } => info.protocol,
            Self::Standby(info) => info.protocol,
        }
    }

    fn registered(self, peer: SocketAddr) -> ExecutorEvent {
        match self {
            Self::Executor { info, workers } => {
                let ExecutorInfo { id, host, slots, pid, .. } = &info;
                tracing::info!(%id, %peer, host, slots, pid, "TaskExecutor registered");
                ExecutorEvent::Registered { info, workers }
            }
            Self::Standby(StandbyInfo { id, host, pid, .. }) => {
                tracing::info!(%id, %peer, host, pid, "standby JobManager registered");
                ExecutorEvent::StandbyRegistered(id)
            }
        }
    }
}

/// Takes a TaskExecutor out of the table again unless its registration is completed.
struct Entered<'a>(Option<(&'a ExecutorHandle, &'a ExecutorId)>);

impl Entered<'_> {
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        if let Some((connected, id)) = self.0 {
            connected.leave(id);
        }
    }
}

async fn read_reports(mut stream: impl AsyncRead + Unpin, id: &ExecutorId, shared: &Shared) -> Loss {
    loop {
        // The time in which a slow receiver of events held this task up is not the TaskExecutor's silence: it starts here.
        let message = match timeout(shared.heartbeat.timeout, frame::read::<FromExecutor>(&mut stream)).await {
            Err(_) => return Loss::Silent(shared.heartbeat.timeout),
            Ok(Err(error)) => return error.into(),
            Ok(Ok(None)) => return Loss::Closed,
            Ok(Ok(Some(message))) => message,
        };
        if message.epoch > shared.me.epoch {
            return Loss::NewerLeader(message.epoch);
        }
        match message.report {
            ExecutorReport::Logs { request, answer } => shared.open_questions.answered(id, request, answer),
            report => shared.tell(ExecutorEvent::Report { id: id.clone(), report }).await,
        }
    }
}

async fn write_commands(
    mut stream: impl AsyncWrite + Unpin,
    mut commands: mpsc::Receiver<ExecutorCommand>,
    shared: &Shared,
) -> Loss {
    let mut heartbeats = interval(shared.heartbeat.interval);
    heartbeats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let command = tokio::select! {
            command = commands.recv() => match command {
                Some(command) => command,
                None => return Loss::Stuck(shared.heartbeat.timeout),
            },
            _ = heartbeats.tick() => ExecutorCommand::Heartbeat,
        };
        match timeout(shared.heartbeat.timeout, frame::write(&mut stream, &shared.command(command))).await {
            Err(_) => return Loss::Stuck(shared.heartbeat.timeout),
            Ok(Err(error)) => return error.into(),
            Ok(Ok(())) => {}
        }
    }
}

#[cfg(test)]
impl ExecutorHandle {
    /// One TaskExecutor of that name, and what it is told.
    pub(crate) fn played(id: &ExecutorId) -> (Self, mpsc::Receiver<ExecutorCommand>) {
        let (outbox, commands) = mpsc::channel(COMMANDS_MAX);
        let handle = Self(Arc::new(Mutex::new([(id.clone(), Some(outbox))].into())));
        (handle, commands)
    }
}

#[cfg(test)]
mod tests;
