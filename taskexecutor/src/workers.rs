//! All workers of this TaskExecutor: at most one live one for each job.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use flumen_log::{RollingFile, SharedFile};
use flumen_model::failure::Failure;
use flumen_model::ids::JobId;
use flumen_model::text::with_causes;
use flumen_wire::control::{
    ExecutorInfo, ExecutorReport, FromWorker, PROTOCOL_VERSION, ProgramSetup, StartWorker, ToWorker, WorkerSetup,
};
use flumen_wire::report::WorkerReport;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::exit::{self, Cause, Phase};
use crate::memory;
use crate::over::Over;
use crate::programs::Programs;
use crate::settings::Settings;
use crate::slots::{StartDecision, fit, on_start};
use crate::tmp_dirs::{PrivateDirs, WorkerDirs};
use crate::worker_process::{Ending, Launch, WorkerEvent, WorkerKey, WorkerProcess};

/// How often workers' memory is looked at. YARN looks every 3 s, so a worker would have to outgrow the container within
/// this time for YARN to be first.
const WATCH_INTERVAL: Duration = Duration::from_millis(200);

/// Events of workers that may wait to be taken; then the workers wait.
const EVENTS_MAX: usize = 256;

/// How long the end of a worker is remembered while there is a JobManager to which it was told.
const ENDED_KEPT: Duration = Duration::from_secs(60);

/// Where all workers' standard output goes, as Flink's.
const STDOUT_FILE: &str = "taskmanager.out";

/// What all workers have in common.
pub struct Common {
    /// The TaskExecutor.
    pub info: ExecutorInfo,
    /// Absolute path of the security file; `None`: no TLS.
    pub security: Option<String>,
    /// The working directory.
    pub directory: PathBuf,
    /// The jobs' executables.
    pub programs: Programs,
    /// Where their output goes.
    pub log_dir: PathBuf,
    /// Limits.
    pub settings: Settings,
    /// Expanded Hadoop properties.
    pub hadoop: BTreeMap<String, String>,
}

/// The workers; see the module.
pub struct Workers {
    common: Common,
    jobs: BTreeMap<JobId, JobPlace>,
    over: Over,
    stdout: SharedFile,
    last_watch: Instant,
    events: mpsc::Sender<(WorkerKey, WorkerEvent)>,
    incoming: mpsc::Receiver<(WorkerKey, WorkerEvent)>,
}

/// A job's place on this TaskExecutor. It stays for a while when its worker is gone, for the sake of `greatest`.
struct JobPlace {
    /// The greatest number of a worker so far.
    greatest: u32,
    /// The worker that has not ended yet.
    live: Option<Worker>,
    /// What is started when that one has ended, and there are slots for it.
    next: Option<Box<StartWorker>>,
    /// The last worker that ended without being told to, and when: a JobManager may have died before it heard of it.
    ended: Option<(WorkerReport, Instant)>,
}

struct Worker {
    instance: u32,
    /// Slots that it has the memory of.
    slots: u32,
    process: WorkerProcess,
    phase: Phase,
    /// When it must have said something; `None` while its program is being fetched.
    due: Option<Instant>,
    /// Bytes that it may use when the others use theirs.
    share: u64,
    fate: Fate,
    /// What a new JobManager is told of it.
    report: WorkerReport,
}

/// Who brings a worker's end about.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    /// Nobody here.
    Own,
    /// It was ordered: nobody has to be told.
    Stopped,
    /// This TaskExecutor, for this reason, which the JobManager has to be told.
    Killed(String),
}

impl Workers {
    /// None yet.
    pub fn new(common: Common) -> Self {
        let stdout = RollingFile::lazy(&common.log_dir.join(STDOUT_FILE), common.settings.log_limits);
        let (events, incoming) = mpsc::channel(EVENTS_MAX);
        let last_watch = Instant::now();
        let over = Over::new(common.settings.logs_kept as usize);
        Self { common, jobs: BTreeMap::new(), over, stdout: SharedFile::new(stdout), last_watch, events, incoming }
    }

    /// Starts a worker, after the end of the job's former one. Whatever becomes of it is told by events.
    pub fn start(&mut self, start: Box<StartWorker>) {
        let key = WorkerKey { job: start.job, instance: start.instance };
        let fits = self.fits(&start);
        let place = self.jobs.get_mut(&start.job);
        let greatest = place.as_ref().map(|place| place.greatest);
        let live = place.as_ref().is_some_and(|place| place.live.is_some());
        match (on_start(greatest, live, fits, start.instance), place) {
            (StartDecision::Outdated, _) => tracing::warn!(%key, "an old command to start a worker is refused"),
            (StartDecision::AfterTheLiveOne, Some(place)) => {
                tracing::info!(%key, "waits for the job's former worker to end");
                place.greatest = start.instance;
                place.next = Some(start);
                if let Some(worker) = &mut place.live {
                    worker.stop(Fate::Stopped);
                }
            }
            (StartDecision::AfterOthers, _) => {
                tracing::info!(%key, slots = start.slots, "waits for the end of workers that had its slots");
                let (job, greatest) = (start.job, start.instance);
                self.jobs.insert(job, JobPlace { greatest, live: None, next: Some(start), ended: None });
            }
            (StartDecision::AfterTheLiveOne | StartDecision::Now, _) => self.start_now(*start),
        }
    }

    /// Whether no live worker of another job has the slots of this one.
    fn fits(&self, start: &StartWorker) -> bool {
        let others = self.jobs.iter().filter(|(job, _)| **job != start.job);
        let taken = others.filter_map(|(_, place)| place.live.as_ref()).map(|worker| worker.slots);
        fit(start.slots, taken, self.common.info.slots)
    }

    /// Starts what has waited for a worker to end, and has room now. JobMasters limit how long they wait for that.
    fn start_waiting(&mut self) {
        let waits = |place: &JobPlace| place.live.is_none() && place.next.is_some();
        let waiting: Vec<JobId> = self.jobs.iter().filter(|(_, place)| waits(place)).map(|(job, _)| *job).collect();
        for job in waiting {
            let next = self.jobs.get(&job).and_then(|place| place.next.as_ref());
            if next.is_some_and(|next| self.fits(next))
                && let Some(next) = self.jobs.get_mut(&job).and_then(|place| place.next.take())
            {
                self.start_now(*next);
            }
        }
    }

    fn start_now(&mut self, start: StartWorker) {
        let (job, instance, slots) = (start.job, start.instance, start.slots.min(self.common.info.slots));
        let key = WorkerKey { job, instance };
        let report = WorkerReport::starting(&start);
        let events = self.events.clone();
        let programs = &self.common.programs;
        let share = memory::share(self.common.settings.worker_memory, start.slots, self.common.info.slots);
        let mut due = Some(Instant::now() + self.common.settings.worker_start_timeout);
        let process = match WorkerDirs::make(&start, &self.common.settings.tmp_parents) {
            Ok(dirs) => match programs.localized(&start.program) {
                Some(program) => WorkerProcess::start(self.launch(start, share, dirs), &program, events),
                None => {
                    due = None;
                    let (programs, program) = (programs.clone(), start.program.clone());
                    let fetched = async move { programs.fetched(&program).await.map_err(|error| with_causes(&error)) };
                    WorkerProcess::start_after(self.launch(start, share, dirs), fetched, events)
                }
            },
            Err(error) => {
                WorkerProcess::not_started(key, format!("could not be started: {}", with_causes(&error)), events)
            }
        };
        tracing::info!(%key, pid = process.pid(), "started");
        self.over.started(job);
        let worker = Worker { instance, slots, process, phase: Phase::Starting, due, share, fate: Fate::Own, report };
        self.jobs.insert(job, JobPlace { greatest: instance, live: Some(worker), next: None, ended: None });
    }

    fn launch(&self, start: StartWorker, share: u64, dirs: WorkerDirs) -> Launch {
        let texts = |dirs: &PrivateDirs| dirs.paths().map(|dir| dir.to_string_lossy().into_owned()).collect();
        let Common { info, security, directory, log_dir, settings, hadoop, .. } = &self.common;
        let log_file = log_file(log_dir, start.job);
        let setup = WorkerSetup {
            job: start.job,
            graph: start.graph,
            host: info.host.clone(),
            security: security.clone(),
            memory: share,
            slots: start.slots,
            tmp_dirs: texts(&dirs.tmp),
            state_dirs: dirs.state.as_ref().map(texts).unwrap_or_default(),
        };
        Launch {
            key: WorkerKey { job: start.job, instance: start.instance },
            arguments: start.arguments,
            directory: directory.clone(),
            setup: ProgramSetup {
                protocol: PROTOCOL_VERSION,
                configuration: start.configuration,
                hadoop: hadoop.clone(),
                worker: Some(setup),
            },
            silence_max: settings.heartbeat_timeout,
            dirs,
            stdout: self.stdout.clone(),
            stderr: SharedFile::new(RollingFile::lazy(&log_file, settings.log_limits)),
        }
    }

    /// Kills a worker. Its end is no news for anybody.
    pub fn stop(&mut self, key: WorkerKey) {
        if let Some(place) = self.jobs.get_mut(&key.job) {
            place.next = place.next.take().filter(|next| next.instance != key.instance);
            place.ended = place.ended.take().filter(|(ended, _)| ended.instance != key.instance);
            if place.live.is_none() && place.next.is_none() {
                self.over.ended(key.job);
            }
        }
        match self.worker(key) {
            Some(worker) => {
                tracing::info!(%key, "is stopped");
                worker.stop(Fate::Stopped);
            }
            None => tracing::debug!(%key, "has ended before it was told to stop"),
        }
        self.forget_over();
    }

    /// Hands a message to a worker. One that does not take its messages is killed.
    pub fn tell(&mut self, key: WorkerKey, message: ToWorker) {
        match self.worker(key) {
            Some(worker) => {
                worker.report.told(&message);
                if let Err(error) = worker.process.tell(message) {
                    worker.stop(Fate::Killed(error.to_string()));
                }
            }
            None => tracing::debug!(%key, "has ended before a message for it came"),
        }
    }

    /// What happens next to any of them; never, when there are none. Safe to cancel.
    pub async fn next_event(&mut self) -> (WorkerKey, WorkerEvent) {
        match self.incoming.recv().await {
            Some(event) => event,
            // There is always the sender in `self`.
            None => std::future::pending().await,
        }
    }

    /// Takes notice of an event; returns what the JobManager has to be told of it.
    pub fn on_event(&mut self, key: WorkerKey, event: WorkerEvent) -> Option<ExecutorReport> {
        let WorkerKey { job, instance } = key;
        match event {
            WorkerEvent::Started => {
                let due = Instant::now() + self.common.settings.worker_start_timeout;
                let worker = self.worker(key)?;
                tracing::info!(%key, pid = worker.process.pid(), "program fetched, started");
                worker.due = Some(due);
                None
            }
            // It has done its work: whatever is read of a worker shows that it lives.
            WorkerEvent::Said(FromWorker::Alive) => None,
            WorkerEvent::Said(message) => {
                // One that was told to stop is no longer listened to.
                let worker = self.worker(key).filter(|worker| worker.fate == Fate::Own)?;
                worker.phase = match message {
                    FromWorker::Refused(_) => Phase::Refused,
                    FromWorker::Ready { .. }
                    | FromWorker::Deployed { .. }
                    | FromWorker::State { .. }
                    | FromWorker::RequestSplit { .. }
                    | FromWorker::EndOfData { .. }
                    | FromWorker::CheckpointAck { .. }
                    | FromWorker::CheckpointDeclined { .. }
                    | FromWorker::GroupWatermark { .. }
                    | FromWorker::RestoreFailed { .. }
                    | FromWorker::Io { .. }
                    | FromWorker::Alive => Phase::Ready,
                };
                worker.report.said(&message);
                Some(ExecutorReport::Worker { job, instance, message })
            }
            WorkerEvent::Ended(ending) => {
                let place = self.jobs.get_mut(&job)?;
                let worker = place.live.take_if(|worker| worker.instance == instance)?;
                let mut report = worker.report.clone();
                let failure = failure_of(key, worker, ending).map(|failure| failure.on(&self.common.info.id));
                match &failure {
                    Some(failure) => {
                        tracing::warn!("{failure}");
                        report.exited(failure);
                        place.ended = Some((report, Instant::now()));
                    }
                    None => tracing::info!(%key, "is gone"),
                }
                if place.next.is_none() {
                    self.over.ended(job);
                }
                self.start_waiting();
                self.forget_over();
                failure.map(|failure| ExecutorReport::WorkerExited { job, instance, failure })
            }
        }
    }

    /// When [`Self::watch`] is due: `None` while there is nobody to watch.
    pub fn next_watch(&self) -> Option<Instant> {
        self.live().next().map(|_| self.last_watch + WATCH_INTERVAL)
    }

    /// Kills workers that are late to say something, and the one furthest above its share when all together use more
    /// memory than they may.
    pub fn watch(&mut self, now: Instant) {
        self.last_watch = now;
        let settings = &self.common.settings;
        let mut watched: Vec<(&mut Worker, u64)> = Vec::new();
        for worker in self.jobs.values_mut().filter_map(|place| place.live.as_mut()) {
            if worker.phase == Phase::Starting && worker.due.is_some_and(|due| now >= due) {
                let seconds = settings.worker_start_timeout.as_secs_f32();
                let reason = format!("the program did not call `execute` within {seconds} s (worker.start.timeout)");
                worker.stop(Fate::Killed(reason));
            }
            let resident = worker.resident();
            watched.push((worker, resident));
        }
        let budget = settings.worker_memory;
        let used: Vec<_> = watched.iter().map(|(worker, resident)| (*resident, worker.share)).collect();
        let victim = memory::over_budget(budget, &used);
        if let Some((worker, used)) = victim.and_then(|victim| watched.get_mut(victim)) {
            let reason = memory::over_budget_message(*used, worker.share, budget, self.common.info.memory);
            worker.stop(Fate::Killed(reason));
        }
    }

    /// What a new JobManager has to know, from everything that was handed on so far.
    pub fn reports(&self) -> Vec<WorkerReport> {
        let report = |place: &JobPlace| match (&place.live, &place.next) {
            (Some(live), _) if live.fate != Fate::Stopped => Some(live.report.clone()),
            (_, Some(next)) => Some(WorkerReport::starting(next)),
            (_, None) => place.ended.as_ref().map(|(report, _)| report.clone()),
        };
        self.jobs.values().filter_map(report).collect()
    }

    /// The JobManager is there, and has heard what was told it so long ago.
    pub fn forget_ended(&mut self, now: Instant) {
        for place in self.jobs.values_mut() {
            place.ended = place.ended.take().filter(|(_, at)| now.duration_since(*at) < ENDED_KEPT);
        }
        self.forget_over();
    }

    /// Forgets jobs that ended long ago, with their logs.
    fn forget_over(&mut self) {
        let waits_for_nothing =
            |place: &JobPlace| place.live.is_none() && place.next.is_none() && place.ended.is_none();
        let gone = self.over.surplus(|job| self.jobs.get(&job).is_none_or(waits_for_nothing));
        for job in gone {
            self.jobs.remove(&job);
            RollingFile::remove(&log_file(&self.common.log_dir, job), self.common.settings.log_limits);
        }
    }

    /// Resident memory of all of them in bytes.
    pub fn resident(&self) -> u64 {
        self.live().map(Worker::resident).fold(0, u64::saturating_add)
    }

    /// Kills all of them and waits until they are gone, at most `limit`.
    pub async fn stop_all(&mut self, limit: Duration) {
        let deadline = Instant::now() + limit;
        for place in self.jobs.values_mut() {
            place.next = None;
            if let Some(worker) = &mut place.live {
                worker.stop(Fate::Stopped);
            }
        }
        while self.live().next().is_some() {
            match timeout_at(deadline, self.next_event()).await {
                Ok((key, event)) => {
                    self.on_event(key, event);
                }
                Err(_) => {
                    tracing::warn!("killed workers were not reaped within {} ms", limit.as_millis());
                    return;
                }
            }
        }
    }

    fn live(&self) -> impl Iterator<Item = &Worker> {
        self.jobs.values().filter_map(|place| place.live.as_ref())
    }

    fn worker(&mut self, key: WorkerKey) -> Option<&mut Worker> {
        self.jobs.get_mut(&key.job)?.live.as_mut().filter(|worker| worker.instance == key.instance)
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

    /// In bytes; a process that has just gone uses nothing.
    fn resident(&self) -> u64 {
        self.process.pid().and_then(|pid| memory::resident(pid).ok()).unwrap_or(0)
    }
}

/// Where a job's workers say what they say on standard error.
fn log_file(log_dir: &Path, job: JobId) -> PathBuf {
    log_dir.join(format!("worker-{job}.log"))
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
