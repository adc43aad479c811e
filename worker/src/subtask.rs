//! One running subtask as others see it: how it is woken and cancelled, what it has counted, what it knows of itself.

use std::future::Future;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::Thread;
use std::time::Duration;

use flumen_fs::FileSystems;
use flumen_model::config::Configuration;
use flumen_model::ids::{ExecutionAttempt, SubtaskId};
use flumen_wire::control::SubtaskIo;
use tokio::sync::Notify;

use crate::operator::{TaskError, TaskResult};
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
    /// What it shares with the others.
    pub worker: WorkerContext,
}

impl SubtaskContext {
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
