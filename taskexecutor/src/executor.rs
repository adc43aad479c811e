//! The TaskExecutor itself: one loop that owns all state and takes one event after another.
//!
//! Without high availability it lives as long as its connection to the JobManager: when that closes or falls silent, all
//! workers are stopped and the process ends. With it, workers go on while the next JobManager is looked for, for a limited
//! time. What they say meanwhile is folded into their reports, with which this process registers again.

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use flumen_fs::{FileSystems, FsError, FsOptions};
use flumen_ha::HaError;
use flumen_log::{LogDirectory, Logging};
use flumen_model::config::Configuration;
use flumen_model::ids::Epoch;
use flumen_model::options::yarn;
use flumen_wire::control::{ExecutorCommand, ExecutorInfo, ExecutorReport, FromExecutor, ToExecutor};
use flumen_wire::frame::FrameError;
use flumen_wire::tls::InternalTls;
use tokio::time::{Instant, sleep_until};

use crate::connection::{self, Answer, AttemptError, Backoff, ConnectError, Registered};
use crate::leader::{Found, LOOK_MAX, Leaders};
use crate::link::{Heard, Link};
use crate::log_reader::LogReader;
use crate::memory;
use crate::programs::Programs;
use crate::settings::{Settings, SettingsError};
use crate::worker_process::{WorkerEvent, WorkerKey};
use crate::workers::{Common, Workers};

/// Time for killed workers to be reaped and their directories to be removed.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// The same after SIGTERM: the NodeManager sends SIGKILL 250 ms later.
const STOP_LIMIT_TERMINATED: Duration = Duration::from_millis(200);

/// What a TaskExecutor is run with.
pub struct Options {
    /// `host:port` of the JobManager.
    pub jobmanager: String,
    /// How connections are secured.
    pub tls: InternalTls,
    /// Absolute path of the security file for workers; `None`: no TLS.
    pub security: Option<String>,
    /// What it is, as it registers.
    pub info: ExecutorInfo,
    /// The container's working directory, also the workers'.
    pub directory: PathBuf,
    /// Where the workers' output goes.
    pub log_dir: PathBuf,
    /// YARN's `LOCAL_DIRS`.
    pub local_dirs: Option<String>,
    /// Changed to what the configuration says, when given.
    pub logging: Option<Logging>,
}

/// How a TaskExecutor ends well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The JobManager said so.
    Shutdown,
    /// The NodeManager or the user said so, with a signal.
    Terminated,
}

/// How a TaskExecutor ends badly. All its workers are stopped then.
#[derive(Debug, thiserror::Error)]
pub enum ExecutorError {
    /// There was never a connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The configuration is of no use.
    #[error("the application's configuration can't be used")]
    Settings(#[from] SettingsError),
    /// The file systems of the application can't be set up.
    #[error("the file systems can't be set up")]
    Files(#[source] FsError),
    /// The log can't be set up.
    #[error(transparent)]
    Log(#[from] flumen_log::LogError),
    /// The JobManager closed the connection.
    #[error("the JobManager closed the connection: it ended, or took this TaskExecutor for lost")]
    Closed,
    /// The connection broke.
    #[error("the connection to the JobManager was lost")]
    Broken(#[source] FrameError),
    /// Where the next JobManager will be found can't be told.
    #[error("the options of high availability can't be used")]
    HighAvailability(#[from] HaError),
    /// The next JobManager does not want this TaskExecutor.
    #[error("the JobManager at {address} refused this TaskExecutor: {reason}")]
    Refused {
        /// Where it is.
        address: String,
        /// Its words.
        reason: String,
    },
    /// No other JobManager came.
    #[error(
        "no JobManager was found within {} s (taskexecutor.leader-lost-timeout) after the last one was lost", .0.as_secs_f32()
    )]
    LeaderLost(Duration),
    /// Nothing came.
    #[error("the JobManager was silent for {} s (heartbeat.timeout)", .0.as_secs_f32())]
    Silent(Duration),
}

/// Everything that can happen to a TaskExecutor that has once registered.
enum Event {
    Terminated,
    Heard(Heard),
    /// Another JobManager.
    Found(Found),
    Tick,
    Worker(WorkerKey, WorkerEvent),
    Logs(ExecutorReport),
}

/// Registers at the JobManager and obeys it, and those that follow it, until the end. `terminate` is done when the process
/// has to end at once. Runs on a current-thread runtime.
pub async fn run(options: Options, terminate: impl Future<Output = ()>) -> Result<Outcome, ExecutorError> {
    let mut terminate = std::pin::pin!(terminate);
    let budget = Configuration::new().get(&yarn::REGISTRATION_TIMEOUT).map_err(SettingsError::from)?;
    let Registered { connection, epoch, configuration, hadoop } = tokio::select! {
        registered = connection::register(&options.jobmanager, &options.tls, &options.info, budget) => registered?,
        () = &mut terminate => return Ok(Outcome::Terminated),
    };
    tracing::info!(id = %options.info.id, jobmanager = options.jobmanager, %epoch, "registered");
    let settings = Settings::read(&configuration, options.info.memory, options.local_dirs.as_deref())?;
    if let Some(logging) = &options.logging {
        logging.reconfigure(&settings.log_level, settings.log_limits)?;
    }
    let files = FsOptions { hadoop: (!hadoop.is_empty()).then(|| hadoop.clone()), ..FsOptions::default() };
    let files = FileSystems::new(files).map_err(ExecutorError::Files)?;
    let leaders = Leaders::of(&configuration, &files, &options.tls, &options.info.id)?;
    let programs = Programs::new(options.directory.clone(), files, settings.worker_start_timeout);
    let mut executor = Executor {
        info: options.info.clone(),
        epoch,
        link: Link::Up(connection),
        leaders,
        search: None,
        backoff: Backoff::new(LOOK_MAX),
        lost: None,
        last_heard: Instant::now(),
        heartbeat_timeout: settings.heartbeat_timeout,
        leader_lost_timeout: settings.leader_lost_timeout,
        logs: LogReader::new(LogDirectory::new(&options.log_dir)),
        workers: Workers::new(Common {
            info: options.info,
            security: options.security,
            directory: options.directory,
            programs,
            log_dir: options.log_dir,
            settings,
            hadoop,
        }),
    };
    let ended = executor.serve(&mut terminate).await;
    let limit = if matches!(ended, Ok(Outcome::Terminated)) { STOP_LIMIT_TERMINATED } else { STOP_LIMIT };
    executor.workers.stop_all(limit).await;
    ended
}

struct Executor {
    info: ExecutorInfo,
    /// The greatest that was seen.
    epoch: Epoch,
    link: Link,
    /// Where other JobManagers say that they lead; `None` without high availability.
    leaders: Option<Leaders>,
    /// For another JobManager, while there is none or it says nothing.
    search: Option<crate::leader::Search>,
    /// Between registrations that come to nothing.
    backoff: Backoff,
    /// Since when there is no JobManager.
    lost: Option<Instant>,
    last_heard: Instant,
    heartbeat_timeout: Duration,
    leader_lost_timeout: Duration,
    logs: LogReader,
    workers: Workers,
}

impl Executor {
    async fn serve(&mut self, terminate: &mut (impl Future<Output = ()> + Unpin)) -> Result<Outcome, ExecutorError> {
        loop {
            let wake = self.next_wake();
            let room = self.link.room();
            let event = tokio::select! {
                // SIGTERM first: it often goes to the workers as well, and their ends are then no news. Commands before the
                // tick: what waits to be read breaks the silence. The tick before workers: they must not hide their memory
                // behind their messages.
                biased;
                () = &mut *terminate => Event::Terminated,
                heard = self.link.next() => Event::Heard(heard),
                found = next_found(&mut self.search) => Event::Found(found),
                () = sleep_until(wake) => Event::Tick,
                event = room.then(next_event(&mut self.workers, &mut self.logs)) => event,
            };
            match event {
                Event::Terminated => return Ok(Outcome::Terminated),
                Event::Heard(Heard::Command(command)) => {
                    if let Some(outcome) = self.on_command(command) {
                        return Ok(outcome);
                    }
                }
                Event::Heard(Heard::Lost(error)) => self.on_lost(error)?,
                Event::Heard(Heard::Answer { address, answer }) => self.on_answer(address, answer)?,
                Event::Found(found) => self.on_found(found),
                Event::Tick => self.on_tick()?,
                Event::Worker(key, event) => {
                    if let Some(report) = self.workers.on_event(key, event) {
                        self.report(report);
                    }
                }
                Event::Logs(report) => self.report(report),
            }
        }
    }

    /// When something is due though nothing happens.
    fn next_wake(&self) -> Instant {
        let deadline = match self.lost {
            Some(lost) => lost + self.leader_lost_timeout,
            None if self.search.is_none() && self.leaders.is_some() => self.last_heard + self.heartbeat_timeout / 3,
            None => self.last_heard + self.heartbeat_timeout,
        };
        self.workers.next_watch().map_or(deadline, |watch| deadline.min(watch))
    }

    /// There is room: [`Room`](crate::link::Room) has seen to it, and a heartbeat that finds none may be left out, because what
    /// fills the queue is a sign of life as well. Without a JobManager, what was said is in the workers' reports.
    fn report(&self, report: ExecutorReport) {
        if !self.link.report(FromExecutor { epoch: self.epoch, report }) {
            tracing::debug!("a report found no room on its way to the JobManager, or there is none");
        }
    }

    /// The connection is of no more use: workers go on while another JobManager is looked for, if there may be one.
    fn on_lost(&mut self, error: ExecutorError) -> Result<(), ExecutorError> {
        let Some(leaders) = &self.leaders else { return Err(error) };
        let error = &error as &dyn std::error::Error;
        tracing::warn!(error, epoch = %self.epoch, "the JobManager is lost: the workers go on, and the next one is looked for");
        self.link = Link::Down;
        self.lost.get_or_insert_with(Instant::now);
        self.search = Some(leaders.search(self.epoch, Duration::ZERO));
        Ok(())
    }

    /// There is another JobManager: whatever was connected is a former one.
    fn on_found(&mut self, found: Found) {
        self.search = None;
        self.lost.get_or_insert_with(Instant::now);
        tracing::info!(epoch = %found.epoch, jobmanager = found.address, "registering with the JobManager");
        // What the reports say is all that was handed on; from here on nothing is, until there is an answer.
        match connection::registration(self.epoch, &self.info, self.workers.reports()) {
            Ok(registration) => self.link = Link::introduce(found, registration),
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "can't register");
                self.look_again();
            }
        }
    }

    /// A leader that was found is none to register with, at least for now.
    fn look_again(&mut self) {
        self.link = Link::Down;
        let wait = self.backoff.next_wait();
        self.search = self.leaders.as_ref().map(|leaders| leaders.search(self.epoch, wait));
    }

    fn on_answer(&mut self, address: String, answer: Result<Answer, AttemptError>) -> Result<(), ExecutorError> {
        let stale = |epoch: Epoch| {
            tracing::warn!(%epoch, greatest = %self.epoch, "stale leader: its answer is refused");
        };
        match answer {
            Ok(Answer::Yes(registered)) if registered.epoch >= self.epoch => {
                self.epoch = registered.epoch;
                tracing::info!(id = %self.info.id, jobmanager = address, epoch = %self.epoch, "registered again");
                self.link = Link::Up(registered.connection);
                self.last_heard = Instant::now();
                self.lost = None;
                self.backoff = Backoff::new(LOOK_MAX);
                return Ok(());
            }
            Ok(Answer::No { epoch, reason }) if epoch >= self.epoch => {
                return Err(ExecutorError::Refused { address, reason });
            }
            Ok(Answer::Yes(registered)) => stale(registered.epoch),
            Ok(Answer::No { epoch, .. }) => stale(epoch),
            Err(error) => {
                tracing::warn!(jobmanager = address, error = &error as &dyn std::error::Error, "not registered yet");
            }
        }
        self.look_again();
        Ok(())
    }

    fn on_command(&mut self, command: ToExecutor) -> Option<Outcome> {
        if command.epoch < self.epoch {
            tracing::warn!(epoch = %command.epoch, greatest = %self.epoch, "stale leader: its command is refused");
            return None;
        }
        self.epoch = command.epoch;
        self.last_heard = Instant::now();
        self.search = None;
        match command.command {
            ExecutorCommand::Registered { .. } => tracing::warn!("registered a second time on one connection"),
            ExecutorCommand::StartWorker(start) => self.workers.start(start),
            ExecutorCommand::StopWorker { job, instance } => self.workers.stop(WorkerKey { job, instance }),
            ExecutorCommand::Worker { job, instance, message } => {
                self.workers.tell(WorkerKey { job, instance }, message);
            }
            ExecutorCommand::Heartbeat => {
                // A process can always read its own size.
                let own = memory::resident(std::process::id()).unwrap_or(0);
                let resident = own.saturating_add(self.workers.resident());
                self.report(ExecutorReport::Heartbeat { resident });
                self.workers.forget_ended(Instant::now());
            }
            ExecutorCommand::StandingBy { .. } | ExecutorCommand::Containers { .. } => {
                tracing::warn!("told what concerns a standby JobManager only");
            }
            ExecutorCommand::ReadLogs { request, wish } => self.logs.ask(request, wish),
            ExecutorCommand::Shutdown { reason } => {
                tracing::info!(reason, "told to shut down");
                return Some(Outcome::Shutdown);
            }
        }
        None
    }

    fn on_tick(&mut self) -> Result<(), ExecutorError> {
        let now = Instant::now();
        match self.lost {
            Some(lost) if now >= lost + self.leader_lost_timeout => {
                return Err(ExecutorError::LeaderLost(self.leader_lost_timeout));
            }
            Some(_) => {}
            None if now >= self.last_heard + self.heartbeat_timeout => {
                self.on_lost(ExecutorError::Silent(self.heartbeat_timeout))?;
            }
            None if now >= self.last_heard + self.heartbeat_timeout / 3 && self.search.is_none() => {
                // It may hang or be cut off, and have a successor already.
                self.search =
                    self.leaders.as_ref().map(|leaders| leaders.search(Epoch(self.epoch.0 + 1), Duration::ZERO));
            }
            None => {}
        }
        self.workers.watch(now);
        Ok(())
    }
}

/// What the search finds; never, when there is none. Safe to cancel.
async fn next_found(search: &mut Option<crate::leader::Search>) -> Found {
    match search {
        Some(search) => search.await,
        None => std::future::pending().await,
    }
}

/// The next event of a worker, or answer about log files. Safe to cancel.
async fn next_event(workers: &mut Workers, logs: &mut LogReader) -> Event {
    tokio::select! {
        (key, event) = workers.next_event() => Event::Worker(key, event),
        report = logs.next() => Event::Logs(report),
    }
}
