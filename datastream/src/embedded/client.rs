//! A job of an embedded cluster that runs while the program goes on, and what the program can tell it.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use flumen_jobmaster::{SnapshotTaken, SnapshotWish};
use flumen_model::failure::{Blame, Failure};
use flumen_model::ids::JobId;
use tokio::sync::mpsc;

use crate::environment::JobExecutionResult;
use crate::error::{Error, Result};

/// Commands that wait: a program that asks for more at a time is told so.
pub(super) const COMMANDS: usize = 16;

/// What the program wants of its job.
pub(super) enum Command {
    Cancel,
    Snapshot(SnapshotWish, Reply),
}

/// Where the answer goes. Dropped when the job is over.
pub(super) type Reply = SyncSender<Result<SnapshotTaken, Failure>>;

/// A job that runs in the background of its program, as Flink's `JobClient`: made by
/// [`execute_async`](crate::StreamExecutionEnvironment::execute_async). Dropped, it leaves the job running for as long as the
/// process lives.
///
/// ```
/// use std::time::Duration;
/// use flumen::{CheckpointingMode, StreamExecutionEnvironment};
///
/// let env = StreamExecutionEnvironment::get()?;
/// env.enable_checkpointing(Duration::from_secs(10), CheckpointingMode::ExactlyOnce);
/// env.generate(u64::MAX, Some(100.0), |i| i).uid("numbers").map(|_| ());
/// let client = env.execute_async("Numbers")?;
/// let directory = std::env::temp_dir().join("savepoints-of-numbers");
/// let path = client.stop_with_savepoint(false, directory.to_str())?;
/// client.wait()?;
/// assert!(path.contains("/savepoint-"));
/// # std::fs::remove_dir_all(directory).map_err(|error| flumen::Error::Embedded(error.into()))?;
/// # Ok::<_, flumen::Error>(())
/// ```
pub struct JobClient {
    job: JobId,
    name: String,
    commands: mpsc::Sender<Command>,
    thread: JoinHandle<Result<JobExecutionResult>>,
}

impl JobClient {
    pub(super) fn new(
        job: JobId,
        name: String,
        commands: mpsc::Sender<Command>,
        thread: JoinHandle<Result<JobExecutionResult>>,
    ) -> Self {
        Self { job, name, commands, thread }
    }

    /// The job's id.
    pub fn job_id(&self) -> JobId {
        self.job
    }

    /// Whether the job is over: then [`wait`](Self::wait) does not wait.
    pub fn is_over(&self) -> bool {
        self.thread.is_finished()
    }

    /// Has a savepoint taken below the directory, or below `state.savepoints.dir`, while the job goes on; gives its path when
    /// it is complete. Waits until the job runs.
    ///
    /// # Errors
    /// [`Error::NotTaken`]: it could not be taken, or the job is over.
    pub fn trigger_savepoint(&self, directory: Option<&str>) -> Result<String> {
        self.snapshot(SnapshotWish::Savepoint { target: directory.map(str::to_owned) })
    }

    /// Ends the job with a savepoint, from which it can be started again; gives its path when the job has ended. With `drain`
    /// sources end first, so that windows and timers fire: for a job that is not to be started again.
    ///
    /// # Errors
    /// [`Error::NotTaken`]: the savepoint could not be taken, and the job goes on; or it is over.
    pub fn stop_with_savepoint(&self, drain: bool, directory: Option<&str>) -> Result<String> {
        self.snapshot(SnapshotWish::Stop { target: directory.map(str::to_owned), drain })
    }

    /// Has the job cancelled; [`wait`](Self::wait) for its end.
    pub fn cancel(&self) {
        // Nobody listens when the job is over, and a full queue belongs to a job that is about to be.
        let _ = self.commands.try_send(Command::Cancel);
    }

    /// Waits for the end of the job.
    ///
    /// # Errors
    /// [`Error::JobFailed`], [`Error::JobCanceled`].
    pub fn wait(self) -> Result<JobExecutionResult> {
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    fn snapshot(&self, wish: SnapshotWish) -> Result<String> {
        let not_taken = |failure| Error::NotTaken { name: self.name.clone(), failure: Box::new(failure) };
        let (reply, answer) = sync_channel(1);
        self.commands.try_send(Command::Snapshot(wish, reply)).map_err(|error| {
            not_taken(match error {
                mpsc::error::TrySendError::Closed(_) => Failure::new(Blame::User, "the job is over"),
                mpsc::error::TrySendError::Full(_) => Failure::new(Blame::User, "too many requests wait already"),
            })
        })?;
        // The JobMaster answers each request within the time limit of checkpoints, or is over.
        match answer.recv() {
            Ok(Ok(taken)) => Ok(taken.directory),
            Ok(Err(failure)) => Err(not_taken(failure)),
            Err(_) => Err(not_taken(Failure::new(Blame::User, "the job is over"))),
        }
    }
}
