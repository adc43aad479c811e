//! The TaskExecutor itself: one loop that owns all state and takes one event after another.
//!
//! It lives as long as its connection to the JobManager: when that closes or falls silent, all workers are stopped and the
//! process ends.

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use flumen_fs::{FileSystems, FsError, FsOptions};
use flumen_log::Logging;
use flumen_model::config::Configuration;
use flumen_model::ids::Epoch;
use flumen_model::options::yarn;
use flumen_wire::control::{ExecutorCommand, ExecutorInfo, ExecutorReport, FromExecutor, ToExecutor};
use flumen_wire::frame::FrameError;
use flumen_wire::tls::InternalTls;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::connection::{self, ConnectError, Connection, Registered};
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
    /// Nothing came.
    #[error("the JobManager was silent for {} s (heartbeat.timeout)", .0.as_secs_f32())]
    Silent(Duration),
}

/// Everything that can happen to a registered TaskExecutor.
enum Event {
    Terminated,
    Command(ToExecutor),
    ConnectionLost(ExecutorError),
    Tick,
    Worker(WorkerKey, WorkerEvent),
}

/// Registers at the JobManager and obeys it until the end. `terminate` is done when the process has to end at once. Runs
/// on a current-thread runtime.
pub async fn run(options: Options, terminate: impl Future<Output = ()>) -> Result<Outcome, ExecutorError> {
    let mut terminate = std::pin::pin!(terminate);
    let budget = Configuration::new().get(&yarn::REGISTRATION_TIMEOUT).map_err(SettingsError::from)?;
    let Registered { mut connection, epoch, configuration, hadoop } = tokio::select! {
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
    let programs = Programs::new(options.directory.clone(), files, settings.worker_start_timeout);
    let mut executor = Executor {
        epoch,
        last_heard: Instant::now(),
        heartbeat_timeout: settings.heartbeat_timeout,
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
    let ended = executor.serve(&mut connection, &mut terminate).await;
    let limit = if matches!(ended, Ok(Outcome::Terminated)) { STOP_LIMIT_TERMINATED } else { STOP_LIMIT };
    executor.workers.stop_all(limit).await;
    ended
}

struct Executor {
    /// The greatest that was seen.
    epoch: Epoch,
    last_heard: Instant,
    heartbeat_timeout: Duration,
    workers: Workers,
}

impl Executor {
    async fn serve(
        &mut self,
        connection: &mut Connection,
        terminate: &mut (impl Future<Output = ()> + Unpin),
    ) -> Result<Outcome, ExecutorError> {
        let reports = connection.reports.clone();
        loop {
            let wake = self.next_wake();
            let event = tokio::select! {
                // SIGTERM first: it often goes to the workers as well, and their ends are then no news. Commands before the
                // tick: what waits to be read breaks the silence. The tick before workers: they must not hide their memory
                // behind their messages.
                biased;
                () = &mut *terminate => Event::Terminated,
                command = connection.commands.recv() => match command {
                    Some(Ok(command)) => Event::Command(command),
                    Some(Err(error)) => Event::ConnectionLost(ExecutorError::Broken(error)),
                    None => Event::ConnectionLost(ExecutorError::Closed),
                },
                () = sleep_until(wake) => Event::Tick,
                (key, event) = reportable(&reports, &mut self.workers) => Event::Worker(key, event),
            };
            match event {
                Event::Terminated => return Ok(Outcome::Terminated),
                Event::ConnectionLost(error) => return Err(error),
                Event::Command(command) => {
                    if let Some(outcome) = self.on_command(command, &reports) {
                        return Ok(outcome);
                    }
                }
                Event::Tick => self.on_tick()?,
                Event::Worker(key, event) => {
                    if let Some(report) = self.workers.on_event(key, event) {
                        self.report(&reports, report);
                    }
                }
            }
        }
    }

    /// When something is due though nothing happens.
    fn next_wake(&self) -> Instant {
        let silence = self.last_heard + self.heartbeat_timeout;
        self.workers.next_watch().map_or(silence, |watch| silence.min(watch))
    }

    /// There is room: [`reportable`] has seen to it, and a heartbeat that finds none may be left out, because what fills
    /// the queue is a sign of life as well.
    fn report(&self, reports: &mpsc::Sender<FromExecutor>, report: ExecutorReport) {
        if reports.try_send(FromExecutor { epoch: self.epoch, report }).is_err() {
            tracing::debug!("a report found no room on its way to the JobManager");
        }
    }

    fn on_command(&mut self, command: ToExecutor, reports: &mpsc::Sender<FromExecutor>) -> Option<Outcome> {
        if command.epoch < self.epoch {
            tracing::warn!(epoch = %command.epoch, greatest = %self.epoch, "stale leader: its command is refused");
            return None;
        }
        self.epoch = command.epoch;
        self.last_heard = Instant::now();
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
                self.report(reports, ExecutorReport::Heartbeat { resident });
            }
            ExecutorCommand::Shutdown { reason } => {
                tracing::info!(reason, "told to shut down");
                return Some(Outcome::Shutdown);
            }
        }
        None
    }

    fn on_tick(&mut self) -> Result<(), ExecutorError> {
        let now = Instant::now();
        if now >= self.last_heard + self.heartbeat_timeout {
            return Err(ExecutorError::Silent(self.heartbeat_timeout));
        }
        self.workers.watch(now);
        Ok(())
    }
}

/// The next event of a worker, once there is room for the report that it may cause: a slow JobManager slows workers down
/// instead of filling this process's memory. Safe to cancel.
async fn reportable(reports: &mpsc::Sender<FromExecutor>, workers: &mut Workers) -> (WorkerKey, WorkerEvent) {
    match reports.reserve().await {
        // Given back at once: the loop is the only sender, so the room stays.
        Ok(_room) => workers.next_event().await,
        // Nothing can be written any more; the reading side ends the loop.
        Err(_) => std::future::pending().await,
    }
}
