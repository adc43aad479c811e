//! One worker as a child process: started with a socket as its standard input, its output captured, watched to its end.
//!
//! A worker ends when its socket closes; that is the contract which holds even when this process is killed. On every other
//! way out of here it is killed as well.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use flumen_log::SharedFile;
use flumen_model::ids::JobId;
use flumen_wire::control::{FromWorker, ProgramSetup, ROLE_VARIABLE, ToWorker};
use flumen_wire::frame::{self, FrameError};
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use crate::output::{self, Tail};
use crate::tmp_dirs::WorkerDirs;

/// Messages that may wait for a worker. It takes them at once while it lives; one that does not is hung.
const MESSAGES_MAX: usize = 1024;

/// Time for a worker to exit after it has closed its control socket.
const EXIT_GRACE: Duration = Duration::from_secs(5);

/// Time to take the last messages and lines of a worker that has exited. Only a process that it started itself and that
/// holds the other end makes this last.
const DRAIN_LIMIT: Duration = Duration::from_millis(500);

/// A worker counts as silent when so many parts of the time for that passed one after the other without a word. So a stop of
/// this process itself, which makes one of them as long as you like, is no silence of the worker.
const SILENT_PARTS: u32 = 4;

/// Which worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerKey {
    /// Of which job.
    pub job: JobId,
    /// Which of its workers on this TaskExecutor.
    pub instance: u32,
}

impl fmt::Display for WorkerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "worker {} of job {}", self.instance, self.job)
    }
}

/// How a worker is started.
pub struct Launch {
    /// Which worker.
    pub key: WorkerKey,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Its working directory.
    pub directory: PathBuf,
    /// The first frame that it reads.
    pub setup: ProgramSetup,
    /// Once it has said something, it is killed when it says nothing for so long.
    pub silence_max: Duration,
    /// Removed when the worker is gone.
    pub dirs: WorkerDirs,
    /// Where its standard output goes.
    pub stdout: SharedFile,
    /// Where its standard error goes.
    pub stderr: SharedFile,
}

/// What happens to a worker.
#[derive(Debug)]
pub enum WorkerEvent {
    /// Its program was fetched, and it was started.
    Started,
    /// It says something.
    Said(FromWorker),
    /// It is gone: reaped, its last messages delivered, its directories removed. The last event of a worker.
    Ended(Ending),
}

/// How a worker ended.
#[derive(Debug)]
pub struct Ending {
    /// The process's exit, or why it can't be told.
    pub exit: Result<ExitStatus, String>,
    /// Why the worker was killed from within this module, if it was.
    pub killed: Option<String>,
    /// The last lines of its standard error.
    pub stderr: String,
}

impl Ending {
    fn without_process(reason: String) -> Self {
        Self { exit: Err(reason), killed: None, stderr: String::new() }
    }
}

/// The worker did not take its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it did not take its messages: {MESSAGES_MAX} were waiting")]
pub struct NotTaken;

/// A started worker. Dropping it kills the process.
#[derive(Debug)]
pub struct WorkerProcess {
    pid: Arc<OnceLock<u32>>,
    outbox: mpsc::Sender<ToWorker>,
    kill: Option<oneshot::Sender<()>>,
}

impl WorkerProcess {
    /// Starts the worker. Whatever becomes of it, also that it can't be started, is told through `events`.
    pub fn start(launch: Launch, program: &Path, events: mpsc::Sender<(WorkerKey, WorkerEvent)>) -> Self {
        let (outbox, messages) = mpsc::channel(MESSAGES_MAX);
        let (kill, killed) = oneshot::channel();
        let key = launch.key;
        match spawn(launch, program, messages, &events) {
            Ok(running) => {
                let pid = running.child.id().map_or_else(OnceLock::new, OnceLock::from).into();
                tokio::spawn(async move {
                    let ending = running.watch(killed).await;
                    let _ = events.send((key, WorkerEvent::Ended(ending))).await;
                });
                Self { pid, outbox, kill: Some(kill) }
            }
            Err(reason) => Self::not_started(key, reason, events),
        }
    }

    /// Starts the worker when its program is there, and says so with [`WorkerEvent::Started`].
    pub fn start_after(
        launch: Launch,
        program: impl Future<Output = Result<PathBuf, String>> + Send + 'static,
        events: mpsc::Sender<(WorkerKey, WorkerEvent)>,
    ) -> Self {
        let (outbox, messages) = mpsc::channel(MESSAGES_MAX);
        let (kill, mut killed) = oneshot::channel();
        let pid = Arc::new(OnceLock::new());
        let process = Self { pid: pid.clone(), outbox, kill: Some(kill) };
        let key = launch.key;
        let begun = async move |events: &mpsc::Sender<_>| {
            let program = tokio::select! {
                program = program => program.map_err(|error| format!("could not be started: {error}"))?,
                _ = &mut killed => return Err("was stopped before its program was there".to_owned()),
            };
            let running = spawn(launch, &program, messages, events)?;
            if let Some(id) = running.child.id() {
                let _ = pid.set(id);
            }
            let _ = events.send((key, WorkerEvent::Started)).await;
            Ok(running.watch(killed).await)
        };
        tokio::spawn(async move {
            let ending = begun(&events).await.unwrap_or_else(Ending::without_process);
            let _ = events.send((key, WorkerEvent::Ended(ending))).await;
        });
        process
    }

    /// A worker that could not even be tried to start, for this reason; [`WorkerEvent::Ended`] says so.
    pub fn not_started(key: WorkerKey, reason: String, events: mpsc::Sender<(WorkerKey, WorkerEvent)>) -> Self {
        let ending = Ending::without_process(reason);
        tokio::spawn(async move { events.send((key, WorkerEvent::Ended(ending))).await });
        let (outbox, _) = mpsc::channel(1);
        Self { pid: Arc::default(), outbox, kill: None }
    }

    /// Its process, `None` when it could not be started or its program is not there yet.
    pub fn pid(&self) -> Option<u32> {
        self.pid.get().copied()
    }

    /// Hands a message to the worker; nothing happens when it is just ending.
    ///
    /// # Errors
    /// [`NotTaken`]: too many are waiting.
    pub fn tell(&self, message: ToWorker) -> Result<(), NotTaken> {
        match self.outbox.try_send(message) {
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => Err(NotTaken),
        }
    }

    /// Kills the process; [`WorkerEvent::Ended`] follows when it is gone.
    pub fn kill(&mut self) {
        if let Some(kill) = self.kill.take() {
            let _ = kill.send(());
        }
    }
}

/// Why nothing more is heard of a worker that did not close its socket.
#[derive(Debug)]
enum Unheard {
    /// What it says is not understood, or the connection broke.
    Frame(FrameError),
    /// It says nothing.
    Silent(Duration),
}

impl From<FrameError> for Unheard {
    fn from(error: FrameError) -> Self {
        Self::Frame(error)
    }
}

/// A child with everything that belongs to it.
struct Running {
    child: Child,
    reader: JoinHandle<Result<(), Unheard>>,
    writer: JoinHandle<()>,
    outputs: Vec<JoinHandle<()>>,
    tail: Tail,
    dirs: WorkerDirs,
}

fn spawn(
    launch: Launch,
    program: &Path,
    messages: mpsc::Receiver<ToWorker>,
    events: &mpsc::Sender<(WorkerKey, WorkerEvent)>,
) -> Result<Running, String> {
    let setup = frame::encode(&launch.setup).map_err(|error| format!("could not be started: {error}"))?;
    let (ours, its) = socket_pair().map_err(|error| format!("could not be started: no control socket: {error}"))?;
    // It stays in this process's group: that is what the NodeManager kills when the container has to go.
    let mut child = Command::new(program)
        .args(&launch.arguments)
        .current_dir(&launch.directory)
        .env(ROLE_VARIABLE, "worker")
        .stdin(its)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("could not be started: `{}`: {error}", program.display()))?;
    let tail = Tail::default();
    let mut outputs = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        outputs.push(tokio::spawn(output::capture(stdout, launch.stdout, Tail::default())));
    }
    if let Some(stderr) = child.stderr.take() {
        outputs.push(tokio::spawn(output::capture(stderr, launch.stderr, tail.clone())));
    }
    let (read, write) = ours.into_split();
    Ok(Running {
        child,
        reader: tokio::spawn(take_messages(launch.key, read, launch.silence_max, events.clone())),
        writer: tokio::spawn(give_messages(setup, messages, write)),
        outputs,
        tail,
        dirs: launch.dirs,
    })
}

/// Both ends close on exec, so that no other worker keeps the socket open.
fn socket_pair() -> io::Result<(UnixStream, Stdio)> {
    let (ours, its) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    Ok((UnixStream::from_std(ours)?, Stdio::from(OwnedFd::from(its))))
}

/// Ends when the worker closes its socket, breaks the protocol, falls silent, or nobody listens any more. How long it may take
/// until its first message is not decided here. While a message waits to be taken, the worker is not listened to, so
/// that time is not its silence.
async fn take_messages(
    key: WorkerKey,
    mut socket: OwnedReadHalf,
    silence_max: Duration,
    events: mpsc::Sender<(WorkerKey, WorkerEvent)>,
) -> Result<(), Unheard> {
    let mut message = frame::read(&mut socket).await?;
    while let Some(said) = message {
        if events.send((key, WorkerEvent::Said(said))).await.is_err() {
            break;
        }
        message = heard_within(silence_max, frame::read(&mut socket)).await??;
    }
    Ok(())
}

/// What is heard, unless it takes longer than that.
async fn heard_within<T>(limit: Duration, heard: impl Future<Output = T>) -> Result<T, Unheard> {
    let mut heard = std::pin::pin!(heard);
    for _ in 0..SILENT_PARTS {
        if let Ok(heard) = timeout(limit / SILENT_PARTS, &mut heard).await {
            return Ok(heard);
        }
    }
    Err(Unheard::Silent(limit))
}

/// Ends with the handle or the worker. What can't be written any more is the reader's to notice.
async fn give_messages(setup: Vec<u8>, mut messages: mpsc::Receiver<ToWorker>, mut socket: OwnedWriteHalf) {
    if socket.write_all(&setup).await.is_err() {
        return;
    }
    drop(setup);
    while let Some(message) = messages.recv().await {
        if frame::write(&mut socket, &message).await.is_err() {
            return;
        }
    }
}

impl Running {
    /// Waits for the process's end, or brings it about: when told to, when the handle is dropped, when the worker closed
    /// its control socket and does not exit, or when it breaks the protocol or falls silent. (A reset, or an end in the middle of a frame, is
    /// what a dying process leaves: its exit tells more.)
    async fn watch(mut self, mut kill: oneshot::Receiver<()>) -> Ending {
        let mut killed = None;
        let mut kill_sent = false;
        let mut channel_open = true;
        let mut give_up = Instant::now();
        let exit = loop {
            tokio::select! {
                exit = self.child.wait() => break exit,
                _ = &mut kill, if !kill_sent => {
                    kill_sent = true;
                    start_kill(&mut self.child);
                }
                end = &mut self.reader, if channel_open => {
                    channel_open = false;
                    give_up = Instant::now() + EXIT_GRACE;
                    killed = end.ok().and_then(Result::err).as_ref().and_then(reason_to_kill);
                    if killed.is_some() {
                        give_up = Instant::now();
                    }
                }
                () = sleep_until(give_up), if !channel_open && !kill_sent => {
                    kill_sent = true;
                    killed = killed.or_else(|| Some("it closed its control socket but went on running".to_owned()));
                    start_kill(&mut self.child);
                }
            }
        };
        self.writer.abort();
        if channel_open {
            let _ = timeout(DRAIN_LIMIT, &mut self.reader).await;
            self.reader.abort();
        }
        for mut output in self.outputs {
            let _ = timeout(DRAIN_LIMIT, &mut output).await;
            output.abort();
        }
        let dirs = self.dirs;
        // May be large, and must not hold up the heartbeat.
        let _ = tokio::task::spawn_blocking(move || drop(dirs)).await;
        Ending { exit: exit.map_err(|error| format!("was lost sight of: {error}")), killed, stderr: self.tail.text() }
    }
}

fn start_kill(child: &mut Child) {
    // It fails only when the process has ended, which `wait` tells as well.
    let _ = child.start_kill();
}

/// Why a worker that is not heard any more has to be killed at once, if it has to.
fn reason_to_kill(unheard: &Unheard) -> Option<String> {
    match unheard {
        Unheard::Frame(error @ (FrameError::TooLong(_) | FrameError::Malformed(_))) => {
            let source = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
            Some(format!("{error}{source}"))
        }
        Unheard::Frame(_) => None,
        Unheard::Silent(limit) => {
            Some(format!("it was silent for {} s (heartbeat.timeout): it hangs, or was stopped", limit.as_secs_f32()))
        }
    }
}
