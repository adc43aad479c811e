//! The connection to the JobManager: dialled with a budget, then two tasks and two bounded queues.

use std::io;
use std::time::Duration;

use flumen_model::config::Configuration;
use flumen_model::ids::Epoch;
use flumen_wire::control::{ExecutorCommand, ExecutorInfo, ExecutorReport, FromExecutor, ToExecutor};
use flumen_wire::frame::{self, FrameError};
use flumen_wire::report::WorkerReport;
use flumen_wire::tls::{InternalTls, Stream};
use tokio::io::{AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// One attempt, from the first packet to the JobManager's answer.
pub const ATTEMPT_LIMIT: Duration = Duration::from_secs(10);
/// Between two attempts, doubled each time …
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
/// … up to this.
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// Reports that may wait for the JobManager; then workers' messages wait with the workers.
const REPORTS_MAX: usize = 256;
/// Commands that may wait for this process.
const COMMANDS_MAX: usize = 256;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The budget is spent.
    #[error("the JobManager at {address} did not accept this TaskExecutor within {} s ({attempts} attempts)", budget.as_secs())]
    Unreachable {
        /// Where it should be.
        address: String,
        /// The time that was tried.
        budget: Duration,
        /// How often.
        attempts: u32,
        /// What happened the last time.
        #[source]
        cause: AttemptError,
    },
    /// It does not want this TaskExecutor.
    #[error("the JobManager at {address} refused this TaskExecutor: {reason}")]
    Refused {
        /// Where it is.
        address: String,
        /// Its words.
        reason: String,
    },
}

/// Why one attempt failed.
#[derive(Debug, thiserror::Error)]
pub enum AttemptError {
    /// No connection, or not with the application's certificate.
    #[error("no connection")]
    Connect(#[source] io::Error),
    /// The connection broke.
    #[error("no answer to the registration")]
    Talk(#[source] FrameError),
    /// The JobManager closed the connection.
    #[error("the connection was closed before an answer to the registration")]
    Closed,
    /// It said something else than yes or no.
    #[error("the first message was no answer to the registration")]
    OutOfTurn,
    /// Too slow.
    #[error("no answer within {} s", ATTEMPT_LIMIT.as_secs())]
    Slow,
}

/// An accepted registration.
pub struct Registered {
    /// The way to the JobManager and back.
    pub connection: Connection,
    /// The JobManager's epoch.
    pub epoch: Epoch,
    /// The application's configuration.
    pub configuration: Configuration,
    /// Expanded Hadoop properties.
    pub hadoop: std::collections::BTreeMap<String, String>,
}

/// A live connection; dropping it closes it.
pub struct Connection {
    /// Takes reports; closed when the connection can't be written any more.
    pub reports: mpsc::Sender<FromExecutor>,
    /// Gives commands; an error is the last item, and the end means that the JobManager closed the connection.
    pub commands: mpsc::Receiver<Result<ToExecutor, FrameError>>,
    _tasks: JoinSet<()>,
}

/// What a JobManager says to a registration.
pub enum Answer {
    /// Yes.
    Yes(Box<Registered>),
    /// No, and it is of no use to ask again.
    No {
        /// Whose word that is.
        epoch: Epoch,
        /// Its words.
        reason: String,
    },
}

/// Dials the JobManager at `address` (`host:port`) and registers, again and again until it is accepted or refused or the
/// budget is spent.
pub async fn register(
    address: &str,
    tls: &InternalTls,
    info: &ExecutorInfo,
    budget: Duration,
) -> Result<Registered, ConnectError> {
    let deadline = Instant::now() + budget;
    let mut backoff = Backoff::new(BACKOFF_MAX);
    let mut attempts = 0;
    loop {
        attempts += 1;
        let attempt = async {
            let stream = dial(address, tls).await?;
            // No leader was seen yet, and there are no workers.
            introduce(stream, registration(Epoch::default(), info, Vec::new())?).await
        };
        let cause = match timeout(ATTEMPT_LIMIT, attempt).await.unwrap_or(Err(AttemptError::Slow)) {
            Ok(Answer::Yes(registered)) => return Ok(*registered),
            Ok(Answer::No { reason, .. }) => return Err(ConnectError::Refused { address: address.to_owned(), reason }),
            Err(cause) => cause,
        };
        let wait = backoff.next_wait();
        if Instant::now() + wait >= deadline {
            return Err(ConnectError::Unreachable { address: address.to_owned(), budget, attempts, cause });
        }
        tracing::warn!(jobmanager = address, attempts, error = &cause as &dyn std::error::Error, "not registered yet");
        sleep(wait).await;
    }
}

/// A connection on which nothing was said yet.
pub async fn dial(address: &str, tls: &InternalTls) -> Result<Stream, AttemptError> {
    let tcp = TcpStream::connect(address).await.map_err(AttemptError::Connect)?;
    tls.connect(tcp).await.map_err(AttemptError::Connect)
}

/// The first frame. Workers for which there is no room are reported in outline.
///
/// # Errors
/// There is not even room for outlines.
pub fn registration(
    epoch: Epoch,
    info: &ExecutorInfo,
    mut workers: Vec<WorkerReport>,
) -> Result<Vec<u8>, AttemptError> {
    loop {
        let report = ExecutorReport::Register { info: info.clone(), workers };
        let error = match frame::encode(&FromExecutor { epoch, report: report.clone() }) {
            Ok(bytes) => return Ok(bytes),
            Err(error) => error,
        };
        let ExecutorReport::Register { workers: again, .. } = report else { return Err(AttemptError::Talk(error)) };
        workers = again;
        let size = |worker: &WorkerReport| frame::encode(worker).map_or(usize::MAX, |bytes| bytes.len());
        let largest = workers.iter_mut().filter(|worker| !worker.regions.is_empty()).max_by_key(|worker| size(worker));
        let Some(largest) = largest else { return Err(AttemptError::Talk(error)) };
        tracing::warn!(job = %largest.job, "there is no room to report what its worker runs: it will be restarted");
        *largest = largest.outline();
    }
}

/// Registers with that first frame.
pub async fn introduce(mut stream: Stream, registration: Vec<u8>) -> Result<Answer, AttemptError> {
    let written = async {
        stream.write_all(&registration).await?;
        stream.flush().await
    };
    written.await.map_err(|error| AttemptError::Talk(error.into()))?;
    let answer: ToExecutor = frame::read(&mut stream).await.map_err(AttemptError::Talk)?.ok_or(AttemptError::Closed)?;
    match answer.command {
        ExecutorCommand::Registered { configuration, hadoop } => Ok(Answer::Yes(Box::new(Registered {
            connection: Connection::over(stream),
            epoch: answer.epoch,
            configuration,
            hadoop,
        }))),
        ExecutorCommand::Shutdown { reason } => Ok(Answer::No { epoch: answer.epoch, reason }),
        ExecutorCommand::StartWorker(_)
        | ExecutorCommand::StopWorker { .. }
        | ExecutorCommand::Worker { .. }
        | ExecutorCommand::ReadLogs { .. }
        | ExecutorCommand::StandingBy { .. }
        | ExecutorCommand::Containers { .. }
        | ExecutorCommand::Heartbeat => Err(AttemptError::OutOfTurn),
    }
}

/// Waits between attempts that get longer.
pub struct Backoff {
    next: Duration,
    max: Duration,
}

impl Backoff {
    /// Up to `max`.
    pub fn new(max: Duration) -> Self {
        Self { next: BACKOFF_FIRST.min(max), max }
    }

    /// The next one.
    pub fn next_wait(&mut self) -> Duration {
        let next = self.next;
        self.next = (next * 2).min(self.max);
        next
    }
}

impl Connection {
    fn over(stream: Stream) -> Self {
        let (read, write) = tokio::io::split(stream);
        let (reports, to_write) = mpsc::channel(REPORTS_MAX);
        let (was_read, commands) = mpsc::channel(COMMANDS_MAX);
        let mut tasks = JoinSet::new();
        tasks.spawn(read_commands(read, was_read));
        tasks.spawn(write_reports(write, to_write));
        Self { reports, commands, _tasks: tasks }
    }
}

async fn read_commands(mut stream: ReadHalf<Stream>, commands: mpsc::Sender<Result<ToExecutor, FrameError>>) {
    loop {
        let Some(command) = frame::read(&mut stream).await.transpose() else { return };
        let last = command.is_err();
        if command.as_ref().is_err_and(is_end) || commands.send(command).await.is_err() || last {
            return;
        }
    }
}

/// A process that is killed says no goodbye, neither in TLS nor in TCP.
fn is_end(error: &FrameError) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error, FrameError::Io(cause) if matches!(cause.kind(), BrokenPipe | ConnectionReset | UnexpectedEof))
}

async fn write_reports(mut stream: WriteHalf<Stream>, mut reports: mpsc::Receiver<FromExecutor>) {
    while let Some(report) = reports.recv().await {
        if let Err(error) = frame::write(&mut stream, &report).await {
            // The reader ends as well, and with it the executor.
            tracing::debug!(error = &error as &dyn std::error::Error, "report could not be sent");
            return;
        }
    }
}
