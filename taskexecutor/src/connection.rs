//! The connection to the JobManager: dialled with a budget, then two tasks and two bounded queues.

use std::io;
use std::time::Duration;

use flumen_model::config::Configuration;
use flumen_model::ids::Epoch;
use flumen_wire::control::{ExecutorCommand, ExecutorInfo, ExecutorReport, FromExecutor, ToExecutor};
use flumen_wire::frame::{self, FrameError};
use flumen_wire::tls::{InternalTls, Stream};
use tokio::io::{ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// One attempt, from the first packet to the JobManager's answer.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(10);
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

enum Answer {
    Yes(Box<Registered>),
    No(String),
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
    let mut backoff = BACKOFF_FIRST;
    let mut attempts = 0;
    loop {
        attempts += 1;
        let attempt = timeout(ATTEMPT_LIMIT, attempt(address, tls, info)).await;
        let cause = match attempt.unwrap_or(Err(AttemptError::Slow)) {
            Ok(Answer::Yes(registered)) => return Ok(*registered),
            Ok(Answer::No(reason)) => return Err(ConnectError::Refused { address: address.to_owned(), reason }),
            Err(cause) => cause,
        };
        if Instant::now() + backoff >= deadline {
            return Err(ConnectError::Unreachable { address: address.to_owned(), budget, attempts, cause });
        }
        tracing::warn!(jobmanager = address, attempts, error = &cause as &dyn std::error::Error, "not registered yet");
        sleep(backoff).await;
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
}

async fn attempt(address: &str, tls: &InternalTls, info: &ExecutorInfo) -> Result<Answer, AttemptError> {
    let tcp = TcpStream::connect(address).await.map_err(AttemptError::Connect)?;
    let mut stream = tls.connect(tcp).await.map_err(AttemptError::Connect)?;
    // No leader was seen yet.
    let report = FromExecutor {
        epoch: Epoch::default(),
        report: ExecutorReport::Register { info: info.clone(), workers: Vec::new() },
    };
    frame::write(&mut stream, &report).await.map_err(AttemptError::Talk)?;
    let answer: ToExecutor = frame::read(&mut stream).await.map_err(AttemptError::Talk)?.ok_or(AttemptError::Closed)?;
    match answer.command {
        ExecutorCommand::Registered { configuration, hadoop } => Ok(Answer::Yes(Box::new(Registered {
            connection: Connection::over(stream),
            epoch: answer.epoch,
            configuration,
            hadoop,
        }))),
        ExecutorCommand::Shutdown { reason } => Ok(Answer::No(reason)),
        ExecutorCommand::StartWorker(_)
        | ExecutorCommand::StopWorker { .. }
        | ExecutorCommand::Worker { .. }
        | ExecutorCommand::Heartbeat => Err(AttemptError::OutOfTurn),
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
