//! One running subtask as others see it: how it is woken and cancelled, what it has counted, what it knows of itself.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use flumen_fs::FileSystems;
use flumen_model::checkpoint::{Barrier, CheckpointId, InFlight};
use flumen_model::config::Configuration;
use flumen_model::ids::{ExecutionAttempt, OperatorId, SubtaskId};
use flumen_wire::control::{FromWorker, SubtaskIo};
use tokio::sync::{Notify, mpsc};

use crate::batch::EventTime;
use crate::keyed_state::StateSettings;
use crate::operator::{TaskError, TaskResult};
use crate::restore::Restored;
use crate::sources::SplitRequests;

/// Wakes and cancels the thread of a subtask. Everything that a subtask waits for (input, credit, a split, cancellation)
/// changes some state and then calls [`wake`](Self::wake); the thread looks at the state again.
#[derive(Debug, Default)]
pub struct SubtaskHandle {
    thread: OnceLock<Thread>,
    canceled: AtomicBool,
    canceled_async: Notify,
}

/// Wake-ups can't be lost, so this only bounds the harm of a mistake.
const PARK_MAX: Duration = Duration::from_millis(500);

impl SubtaskHandle {
    /// Called first by the subtask's own thread.
    pub fn attach_current_thread(&self) {
        let _ = self.thread.set(std::thread::current());
    }

    /// Lets the thread look again.
    pub fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// Tells the thread to stop as soon as it looks.
    pub fn cancel(&self) {
        self.canceled.store(true, Ordering::Release);
        self.canceled_async.notify_waiters();
        self.wake();
    }

    /// The thread's look at the cancellation.
    #[inline]
    pub fn check(&self) -> TaskResult {
        if self.canceled.load(Ordering::Acquire) { Err(TaskError::Canceled) } else { Ok(()) }
    }

    /// Waits in the subtask's thread until `ready` gives a value, or the subtask is cancelled. Whoever changes what
    /// `ready` looks at must call [`wake`](Self::wake) afterwards.
    pub fn wait_for<R>(&self, mut ready: impl FnMut() -> Option<R>) -> TaskResult<R> {
        loop {
            if let Some(value) = ready() {
                return Ok(value);
            }
            self.check()?;
            std::thread::park_timeout(PARK_MAX);
        }
    }

    /// Sleeps until something happens, at most for `limit`.
    pub fn park(&self, limit: Duration) {
        std::thread::park_timeout(limit.min(PARK_MAX));
    }

    async fn canceled(&self) {
        let notified = self.canceled_async.notified();
        if self.check().is_ok() {
            notified.await;
        }
    }
}

/// What the control plane tells a running subtask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mail {
    /// The answer to a request for a split; `None`: there are no more.
    Split(Option<String>),
    /// Take a snapshot and send the barrier on.
    Trigger(Barrier),
    /// A checkpoint is complete.
    Completed(CheckpointId),
    /// A checkpoint will never be complete.
    Aborted(CheckpointId),
    /// A source is to end as if it had no more input.
    Drain,
    /// How far the slowest of a group with aligned watermarks is.
    Align {
        /// The group's name.
        group: String,
        /// Its least watermark; `None`: nobody has one.
        least: Option<EventTime>,
    },
}

/// Mails to one subtask, worked on between two batches in the order in which they came. Few at a time: answers to requests
/// and steps of checkpoints.
#[derive(Debug, Default)]
pub struct Mailbox {
    mails: Mutex<VecDeque<Mail>>,
    /// Looked at once per batch, so that the lock is not.
    waiting: AtomicBool,
}

impl Mailbox {
    /// Puts a mail in. The subtask has to be woken afterwards.
    pub fn put(&self, mail: Mail) {
        self.mails.lock().unwrap_or_else(PoisonError::into_inner).push_back(mail);
        self.waiting.store(true, Ordering::Release);
    }

    /// Takes the oldest mail out.
    #[inline]
    pub fn take(&self) -> Option<Mail> {
        if !self.waiting.load(Ordering::Acquire) {
            return None;
        }
        let mut mails = self.mails.lock().unwrap_or_else(PoisonError::into_inner);
        let mail = mails.pop_front();
        self.waiting.store(!mails.is_empty(), Ordering::Release);
        mail
    }
}

/// Number of buffers that wait for credit in the writers of a subtask, and whether it is too far ahead of others. While
/// there are any, or it is, it takes no input.
#[derive(Debug, Default)]
pub struct Backlog {
    waiting: AtomicUsize,
    held: AtomicBool,
}

impl Backlog {
    /// Another one waits.
    pub fn add(&self) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
    }

    /// One waits no more.
    pub fn remove(&self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether the subtask is to take no input although nothing waits.
    pub fn hold(&self, held: bool) {
        self.held.store(held, Ordering::Relaxed);
    }

    /// Whether no buffer waits: what is not full yet may be sent.
    pub fn may_send(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) == 0
    }

    /// Whether none waits, and the subtask is not held.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.may_send() && !self.held.load(Ordering::Relaxed)
    }
}

/// Where a subtask reads the processing time.
#[derive(Debug, Clone, Default)]
pub enum TimeSource {
    /// The system's clock.
    #[default]
    System,
    /// A clock that somebody sets, in milliseconds since 1970.
    Manual(Arc<AtomicI64>),
}

impl TimeSource {
    /// Now, in milliseconds since 1970.
    #[inline]
    pub fn now(&self) -> EventTime {
        match self {
            Self::System => SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64),
            Self::Manual(clock) => clock.load(Ordering::Relaxed),
        }
    }
}

/// What a subtask has counted. Written once per batch by its own thread, read by the reporter.
#[derive(Debug, Default)]
pub struct IoCounters {
    /// Records taken in.
    pub records_in: AtomicU64,
    /// Records given to other subtasks.
    pub records_out: AtomicU64,
    /// Serialised bytes taken in.
    pub bytes_in: AtomicU64,
    /// Serialised bytes given to other subtasks.
    pub bytes_out: AtomicU64,
}

impl IoCounters {
    /// The counts now.
    pub fn snapshot(&self) -> SubtaskIo {
        SubtaskIo {
            records_in: self.records_in.load(Ordering::Relaxed),
            records_out: self.records_out.load(Ordering::Relaxed),
            bytes_in: self.bytes_in.load(Ordering::Relaxed),
            bytes_out: self.bytes_out.load(Ordering::Relaxed),
        }
    }
}

/// What all subtasks of a worker share.
#[derive(Clone)]
pub struct WorkerContext {
    /// The job's effective configuration.
    pub configuration: Arc<Configuration>,
    /// Where files are read and written.
    pub files: FileSystems,
    /// For asynchronous I/O on behalf of subtasks.
    pub runtime: tokio::runtime::Handle,
    /// Bytes that one operator of one subtask may fill before it spills.
    pub operator_memory: usize,
    /// Directories for spilled data.
    pub tmp_dirs: Arc<[std::path::PathBuf]>,
    /// `execution.buffer-timeout`.
    pub buffer_timeout: Duration,
    /// `taskmanager.memory.segment-size`: bytes of a buffer to another process.
    pub segment_bytes: usize,
    /// Whether the job takes periodic checkpoints: subtasks then wait for a last one before they finish.
    pub checkpointing: bool,
    /// How state is kept.
    pub state: StateSettings,
    /// The processing time.
    pub time: TimeSource,
}

impl WorkerContext {
    /// For tests and benchmarks: of a job without configuration, without periodic checkpoints, and without directories for spilled data.
    /// Buffers have 32 KiB and wait 100 ms, and an operator may fill 1 MiB.
    pub fn new(files: FileSystems, runtime: tokio::runtime::Handle) -> Self {
        Self {
            configuration: Arc::default(),
            files,
            runtime,
            operator_memory: 1 << 20,
            tmp_dirs: Arc::default(),
            buffer_timeout: Duration::from_millis(100),
            segment_bytes: 32 << 10,
            checkpointing: false,
            state: StateSettings::default(),
            time: TimeSource::default(),
        }
    }
}

/// What a subtask's operators can know and use.
#[derive(Clone)]
pub struct SubtaskContext {
    /// Which one.
    pub id: SubtaskId,
    /// Name of its vertex.
    pub vertex_name: Arc<str>,
    /// Number of subtasks of its vertex.
    pub parallelism: u32,
    /// Number of key groups.
    pub max_parallelism: u32,
    /// The execution of the job.
    pub attempt: ExecutionAttempt,
    /// How it is woken and cancelled.
    pub handle: Arc<SubtaskHandle>,
    /// What it counts.
    pub io: Arc<IoCounters>,
    /// How a source asks for input.
    pub splits: SplitRequests,
    /// What it is told.
    pub mailbox: Arc<Mailbox>,
    /// What its writers have not sent yet.
    pub backlog: Arc<Backlog>,
    /// What it starts with.
    pub restored: Arc<Restored>,
    /// Where it reports to.
    pub reports: mpsc::Sender<FromWorker>,
    /// How many records a source may hand out at once now, at most [`BATCH_RECORDS`](crate::operator::BATCH_RECORDS):
    /// fewer where records are slow.
    pub batch_records: usize,
    /// What it shares with the others.
    pub worker: WorkerContext,
}

impl SubtaskContext {
    /// The context of a subtask of a vertex without a name and with as many key groups as subtasks, which starts empty.
    pub fn new(
        id: SubtaskId,
        attempt: ExecutionAttempt,
        parallelism: u32,
        reports: mpsc::Sender<FromWorker>,
        worker: WorkerContext,
    ) -> Self {
        Self {
            id,
            vertex_name: "".into(),
            parallelism,
            max_parallelism: parallelism,
            attempt,
            handle: Arc::default(),
            io: Arc::default(),
            splits: SplitRequests::new(id, attempt, reports.clone()),
            mailbox: Arc::default(),
            backlog: Arc::default(),
            restored: Arc::default(),
            reports,
            batch_records: crate::operator::BATCH_RECORDS,
            worker,
        }
    }

    /// The items of a list state at the checkpoint that the subtask starts from; `None` when it starts from none.
    pub fn restored_list(&self, operator: OperatorId, name: &str) -> Option<Vec<Bytes>> {
        self.restored.list(operator, name)
    }

    /// Takes the records out that were in flight over that edge at the checkpoint that the subtask starts from.
    pub(crate) fn take_in_flight(&self, edge: u32) -> Vec<(InFlight, Bytes)> {
        self.restored.take_in_flight(edge)
    }

    /// Tells the JobMaster something. When nobody hears it, the worker is going down and cancels this subtask.
    pub fn report(&self, report: FromWorker) {
        let _ = self.reports.blocking_send(report);
    }

    /// Runs a future to its end in the subtask's thread, or stops waiting when the subtask is cancelled.
    pub fn block_on<F: Future>(&self, future: F) -> TaskResult<F::Output> {
        self.worker.runtime.block_on(async {
            tokio::select! {
                biased;
                () = self.handle.canceled() => Err(TaskError::Canceled),
                output = future => Ok(output),
            }
        })
    }
}
