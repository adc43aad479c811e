//! The TaskExecutor itself: one loop that owns all state and takes one event after another.
//!
//! It lives as long as its connection to the JobManager: when that closes or falls silent, all workers are stopped and the
//! process ends.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use flumen_log::{Logging, RollingFile, SharedFile};
use flumen_model::config::Configuration;
use flumen_model::failure::Failure;
use flumen_model::ids::{Epoch, JobId};
use flumen_model::options::yarn;
use flumen_wire::control::{
    ExecutorCommand, ExecutorInfo, ExecutorReport, FromExecutor, FromWorker, PROTOCOL_VERSION, ProgramSetup,
    StartWorker, ToExecutor, ToWorker, WorkerSetup,
};
use flumen_wire::frame::FrameError;
use flumen_wire::tls::InternalTls;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::connection::{self, ConnectError, Connection, Registered};
use crate::exit::{self, Cause, Phase};
use crate::memory;
use crate::settings::{Settings, SettingsError};
use crate::slots::{StartDecision, on_start};
use crate::tmp_dirs::PrivateDirs;
use crate::worker_process::{Ending, Launch, WorkerEvent, WorkerKey, WorkerProcess};

/// How often workers' memory is looked at. YARN looks every 3 s, so a worker has to grow by the container's margin within
/// this time for YARN to be first.
const WATCH_INTERVAL: Duration = Duration::from_millis(200);

/// Events of workers that may wait for this loop; then the workers wait.
const WORKER_EVENTS_MAX: usize = 256;

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
    /// The operating system's user or the NodeManager said so.
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
    Worker(WorkerKey, WorkerEvent),
    Tick,
}

/// Registers at the JobManager and obeys it until the end. `terminate` is done when the process has to end at once. Runs on
/// a current-thread runtime.
pub async fn run(options: Options, terminate: impl Future<Output = ()>) -> Result<Outcome, ExecutorError> {
    let mut terminate = std::pin::pin!(terminate);
    let budget = Configuration::new().get(&yarn::REGISTRATION_TIMEOUT).map_err(SettingsError::from)?;
    let registered = tokio::select! {
        registered = connection::register(&options.jobmanager, &options.tls, &options.info, budget) => registered?,
        () = &mut terminate => return Ok(Outcome::Terminated),
    };
    let Registered { mut connection, epoch, configuration, hadoop } = registered;
    tracing::info!(id = %options.info.id, jobmanager = options.jobmanager, %epoch, "registered");
    let mut executor = Executor::new(options, epoch, configuration, hadoop)?;
    let ended = executor.serve(&mut connection, &mut terminate).await;
    let limit = if matches!(ended, Ok(Outcome::Terminated)) { STOP_LIMIT_TERMINATED } else { STOP_LIMIT };
    executor.stop_all(limit).await;
    ended
}

/// A job's place on this TaskExecutor. It stays when its worker is gone, for the sake of `greatest`.
struct JobPlace {
    /// The greatest number of a worker so far.
    greatest: u32,
    /// The worker that has not ended yet.
    live: Option<Worker>,
    /// What is started when that one has ended.
    next: Option<Box<StartWorker>>,
}

struct Worker {
    instance: u32,
    process: WorkerProcess,
    phase: Phase,
    /// When it must have said something, while it has not.
    due: Instant,
    fate: Fate,
}

/// Why a worker ends.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    /// Nobody here has brought it about.
    Own,
    /// Its end was ordered: nobody has to be told.
    Stopped,
    /// It was killed for this reason, which the JobManager has to be told.
    Killed(String),
}

struct Executor {
    options: Options,
    settings: Settings,
    configuration: Configuration,
    hadoop: BTreeMap<String, String>,
    /// The greatest that was seen.
    epoch: Epoch,
    last_heard: Instant,
    last_watch: Instant,
    jobs: BTreeMap<JobId, JobPlace>,
    stdout: SharedFile,
    worker_events: mpsc::Sender<(WorkerKey, WorkerEvent)>,
    incoming: mpsc::Receiver<(WorkerKey, WorkerEvent)>,
}

impl Executor {
    fn new(
        options: Options,
        epoch: Epoch,
        configuration: Configuration,
        hadoop: BTreeMap<String, String>,
    ) -> Result<Self, ExecutorError> {
        let settings = Settings::read(&configuration, options.info.memory, options.local_dirs.as_deref())?;
        if let Some(logging) = &options.logging {
            logging.reconfigure(&settings.log_level, settings.log_limits)?;
        }
        let stdout = RollingFile::lazy(&options.log_dir.join("taskmanager.out"), settings.log_limits);
        let (worker_events, incoming) = mpsc::channel(WORKER_EVENTS_MAX);
        let now = Instant::now();
        Ok(Self {
            options,
            settings,
            configuration,
            hadoop,
            epoch,
            last_heard: now,
            last_watch: now,
            jobs: BTreeMap::new(),
            stdout: SharedFile::new(stdout),
            worker_events,
            incoming,
        })
    }

    async fn serve(
        &mut self,
        connection: &mut Connection,
        terminate: &mut (impl Future<Output = ()> + Unpin),
    ) -> Result<Outcome, ExecutorError> {
        let reports = connection.reports.clone();
        loop {
            let wake = self.next_wake();
            let event = tokio::select! {
                // A SIGTERM often goes to the workers as well: their ends are then no news.
                biased;
                () = &mut *terminate => Event::Terminated,
                command = connection.commands.recv() => match command {
                    Some(Ok(command)) => Event::Command(command),
                    Some(Err(error)) => Event::ConnectionLost(ExecutorError::Broken(error)),
                    None => Event::ConnectionLost(ExecutorError::Closed),
                },
                Some((key, event)) = reportable(&reports, &mut self.incoming) => Event::Worker(key, event),
                () = sleep_until(wake) => Event::Tick,
            };
            match event {
                Event::Terminated => return Ok(Outcome::Terminated),
                Event::ConnectionLost(error) => return Err(error),
                Event::Command(command) => {
                    if let Some(outcome) = self.on_command(command, &reports) {
                        return Ok(outcome);
                    }
                }
                Event::Worker(key, event) => {
                    if let Some(report) = self.on_worker(key, event) {
                        self.report(&reports, report);
                    }
                }
                Event::Tick => self.on_tick()?,
            }
        }
    }

    /// When something is due though nothing happens.
    fn next_wake(&self) -> Instant {
        let silence = self.last_heard + self.settings.heartbeat_timeout;
        if self.live().next().is_some() { silence.min(self.last_watch + WATCH_INTERVAL) } else { silence }
    }

    fn live(&self) -> impl Iterator<Item = (JobId, &Worker)> {
        self.jobs.iter().filter_map(|(job, place)| place.live.as_ref().map(|worker| (*job, worker)))
    }

    fn worker(&mut self, key: WorkerKey) -> Option<&mut Worker> {
        self.jobs.get_mut(&key.job)?.live.as_mut().filter(|worker| worker.instance == key.instance)
    }

    /// There is room: [`reportable`] has seen to it, and a heartbeat that finds none may be left out, because what fills the
    /// queue is a sign of life as well.
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
            ExecutorCommand::StartWorker(start) => self.on_start(start),
            ExecutorCommand::StopWorker { job, instance } => self.on_stop(WorkerKey { job, instance }),
            ExecutorCommand::Worker { job, instance, message } => self.on_message(WorkerKey { job, instance }, message),
            ExecutorCommand::Heartbeat => self.report(reports, ExecutorReport::Heartbeat { resident: self.resident() }),
            ExecutorCommand::Shutdown { reason } => {
                tracing::info!(reason, "told to shut down");
                return Some(Outcome::Shutdown);
            }
        }
        None
    }

    fn resident(&self) -> u64 {
        let workers = self.live().filter_map(|(_, worker)| worker.process.pid());
        // A process that has just gone uses nothing.
        std::iter::once(std::process::id()).chain(workers).map(|pid| memory::resident(pid).unwrap_or(0)).sum()
    }

    fn on_start(&mut self, start: Box<StartWorker>) {
        let key = WorkerKey { job: start.job, instance: start.instance };
        let place = self.jobs.get_mut(&start.job);
        let greatest = place.as_ref().map(|place| place.greatest);
        let live = place.as_ref().is_some_and(|place| place.live.is_some());
        match (on_start(greatest, live, start.instance), place) {
            (StartDecision::Outdated, _) => tracing::warn!(%key, "an old command to start a worker is refused"),
            (StartDecision::AfterTheLiveOne, Some(place)) => {
                tracing::info!(%key, "waits for the job's former worker to end");
                place.greatest = start.instance;
                place.next = Some(start);
                if let Some(worker) = &mut place.live {
                    worker.stop(Fate::Stopped);
                }
            }
            (StartDecision::AfterTheLiveOne | StartDecision::Now, _) => self.start(*start),
        }
    }

    fn start(&mut self, start: StartWorker) {
        let (job, instance) = (start.job, start.instance);
        let key = WorkerKey { job, instance };
        let process = match PrivateDirs::make(&self.settings.tmp_parents) {
            Ok(tmp_dirs) => WorkerProcess::start(self.launch(start, tmp_dirs), self.worker_events.clone()),
            Err(error) => {
                let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
                WorkerProcess::not_started(
                    key,
                    format!("could not be started: {error}{cause}"),
                    self.worker_events.clone(),
                )
            }
        };
        tracing::info!(%key, pid = process.pid(), "started");
        let due = Instant::now() + self.settings.worker_start_timeout;
        let worker = Worker { instance, process, phase: Phase::Starting, due, fate: Fate::Own };
        self.jobs.insert(job, JobPlace { greatest: instance, live: Some(worker), next: None });
    }

    fn launch(&self, start: StartWorker, tmp_dirs: PrivateDirs) -> Launch {
        let log_file = self.options.log_dir.join(format!("worker-{}.log", start.job));
        let setup = WorkerSetup {
            job: start.job,
            graph: start.graph,
            host: self.options.info.host.clone(),
            security: self.options.security.clone(),
            memory: self.settings.worker_memory,
            slots: self.options.info.slots,
            tmp_dirs: tmp_dirs.paths().iter().map(|dir| dir.to_string_lossy().into_owned()).collect(),
        };
        Launch {
            key: WorkerKey { job: start.job, instance: start.instance },
            program: self.options.directory.join(start.program),
            arguments: start.arguments,
            directory: self.options.directory.clone(),
            setup: ProgramSetup {
                protocol: PROTOCOL_VERSION,
                configuration: self.configuration.clone(),
                hadoop: self.hadoop.clone(),
                worker: Some(setup),
            },
            tmp_dirs,
            stdout: self.stdout.clone(),
            stderr: SharedFile::new(RollingFile::lazy(&log_file, self.settings.log_limits)),
        }
    }

    fn on_stop(&mut self, key: WorkerKey) {
        if let Some(place) = self.jobs.get_mut(&key.job) {
            place.next = place.next.take().filter(|next| next.instance != key.instance);
        }
        match self.worker(key) {
            Some(worker) => {
                tracing::info!(%key, "is stopped");
                worker.stop(Fate::Stopped);
            }
            None => tracing::debug!(%key, "has ended before it was told to stop"),
        }
    }

    fn on_message(&mut self, key: WorkerKey, message: ToWorker) {
        match self.worker(key) {
            Some(worker) => {
                if let Err(error) = worker.process.tell(message) {
                    worker.stop(Fate::Killed(error.to_string()));
                }
            }
            None => tracing::debug!(%key, "has ended before a message for it came"),
        }
    }

    /// What the JobManager has to be told of it.
    fn on_worker(&mut self, key: WorkerKey, event: WorkerEvent) -> Option<ExecutorReport> {
        let WorkerKey { job, instance } = key;
        match event {
            WorkerEvent::Said(message) => {
                // A worker that was told to stop is no longer listened to.
                let worker = self.worker(key).filter(|worker| worker.fate == Fate::Own)?;
                worker.phase = match message {
                    FromWorker::Refused(_) => Phase::Refused,
                    FromWorker::Ready { .. }
                    | FromWorker::Deployed { .. }
                    | FromWorker::State { .. }
                    | FromWorker::RequestSplit { .. }
                    | FromWorker::Io { .. } => Phase::Ready,
                };
                Some(ExecutorReport::Worker { job, instance, message })
            }
            WorkerEvent::Ended(ending) => {
                let place = self.jobs.get_mut(&job)?;
                let worker = place.live.take_if(|worker| worker.instance == instance)?;
                let next = place.next.take();
                let failure = failure_of(key, worker, ending).map(|failure| failure.on(&self.options.info.id));
                match &failure {
                    Some(failure) => tracing::warn!("{failure}"),
                    None => tracing::info!(%key, "is gone"),
                }
                if let Some(next) = next {
                    self.start(*next);
                }
                failure.map(|failure| ExecutorReport::WorkerExited { job, instance, failure })
            }
        }
    }

    fn on_tick(&mut self) -> Result<(), ExecutorError> {
        let now = Instant::now();
        if now >= self.last_heard + self.settings.heartbeat_timeout {
            return Err(ExecutorError::Silent(self.settings.heartbeat_timeout));
        }
        self.last_watch = now;
        let limit = self.settings.worker_start_timeout;
        let mut watched: Vec<(&mut Worker, u64)> = Vec::new();
        for worker in self.jobs.values_mut().filter_map(|place| place.live.as_mut()) {
            if worker.phase == Phase::Starting && now >= worker.due {
                let seconds = limit.as_secs_f32();
                worker.stop(Fate::Killed(format!(
                    "the program did not call `execute` within {seconds} s (worker.start.timeout)"
                )));
            }
            let resident = worker.process.pid().and_then(|pid| memory::resident(pid).ok());
            if let Some(resident) = resident {
                watched.push((worker, resident));
            }
        }
        let resident: Vec<u64> = watched.iter().map(|(_, resident)| *resident).collect();
        let budget = self.settings.worker_memory;
        if let Some((worker, used)) = memory::over_budget(budget, &resident).and_then(|victim| watched.get_mut(victim))
        {
            worker.stop(Fate::Killed(memory::over_budget_message(*used, budget, self.options.info.memory)));
        }
        Ok(())
    }

    /// Kills all workers and waits until they are gone, at most `limit`.
    async fn stop_all(&mut self, limit: Duration) {
        let deadline = Instant::now() + limit;
        for place in self.jobs.values_mut() {
            place.next = None;
            if let Some(worker) = &mut place.live {
                worker.stop(Fate::Stopped);
            }
        }
        while self.live().next().is_some() {
            match timeout_at(deadline, self.incoming.recv()).await {
                Ok(Some((key, event))) => {
                    self.on_worker(key, event);
                }
                Ok(None) | Err(_) => {
                    tracing::warn!("killed workers were not reaped within {} ms", limit.as_millis());
                    return;
                }
            }
        }
    }
}

impl Worker {
    /// Kills it. The first reason counts.
    fn stop(&mut self, fate: Fate) {
        if self.fate == Fate::Own {
            self.fate = fate;
        }
        self.process.kill();
    }
}

fn failure_of(key: WorkerKey, worker: Worker, ending: Ending) -> Option<Failure> {
    let cause = match (worker.fate, ending.killed, ending.exit) {
        (Fate::Stopped, _, _) => return None,
        (Fate::Killed(reason), _, _) | (Fate::Own, Some(reason), _) => Cause::Killed(reason),
        (Fate::Own, None, Ok(status)) => Cause::Exit(status),
        (Fate::Own, None, Err(reason)) => Cause::Unknown(reason),
    };
    let who = match worker.process.pid() {
        Some(pid) => format!("{key} (pid {pid})"),
        None => key.to_string(),
    };
    Some(exit::failure(&who, worker.phase, &cause, &ending.stderr))
}

/// The next event of a worker, once there is room for the report that it may cause: a slow JobManager slows workers down
/// instead of filling this process's memory. Safe to cancel.
async fn reportable(
    reports: &mpsc::Sender<FromExecutor>,
    incoming: &mut mpsc::Receiver<(WorkerKey, WorkerEvent)>,
) -> Option<(WorkerKey, WorkerEvent)> {
    match reports.reserve().await {
        // Given back at once: this loop is the only sender, so the room stays.
        Ok(_room) => incoming.recv().await,
        // Nothing can be written any more; the reading side ends the loop.
        Err(_) => std::future::pending().await,
    }
}
