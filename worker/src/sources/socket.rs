//! Lines from a TCP connection, as `nc -lk` gives them.

use std::time::Duration;

use flumen_model::failure::Blame;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::batch::{Batch, NO_TIME};
use crate::operator::{BATCH_RECORDS, TaskError, TaskResult};
use crate::sources::{Position, Source, SourceStatus};
use crate::subtask::SubtaskContext;

const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Lines that are read ahead of the subtask; then TCP holds the sender back.
const LINES_AHEAD: usize = 4 * BATCH_RECORDS;
const IDLE: Duration = Duration::from_secs(1);

/// Connects when it is first asked and emits one record a line until the peer closes. Runs with parallelism 1.
pub struct SocketSource {
    host: String,
    port: u16,
    lines: Option<mpsc::Receiver<std::io::Result<String>>>,
}

impl SocketSource {
    /// A source that will connect to that address.
    pub fn new(host: String, port: u16) -> Self {
        Self { host, port, lines: None }
    }

    fn failure(&self, what: &str, error: &std::io::Error) -> TaskError {
        TaskError::caused_by(Blame::Outside, format!("{what} {}:{}", self.host, self.port), error)
    }

    fn connect(&self, context: &SubtaskContext) -> TaskResult<mpsc::Receiver<std::io::Result<String>>> {
        let connect = async {
            let connect = TcpStream::connect((self.host.as_str(), self.port));
            timeout(CONNECT_LIMIT, connect).await.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
        };
        let stream = context.block_on(connect)?.map_err(|error| self.failure("could not connect to", &error))?;
        let (sender, lines) = mpsc::channel(LINES_AHEAD);
        let handle = context.handle.clone();
        context.worker.runtime.spawn(async move {
            let mut reader = BufReader::new(stream);
            loop {
                let mut line = Vec::new();
                let item = match reader.read_until(b'\n', &mut line).await {
                    Ok(0) => break,
                    Ok(_) => Ok(line_text(&line)),
                    Err(error) => Err(error),
                };
                let last = item.is_err();
                if sender.send(item).await.is_err() || last {
                    break;
                }
                handle.wake();
            }
            drop(sender);
            handle.wake();
        });
        Ok(lines)
    }
}

/// A line without its end, `\n` or `\r\n`; what is not UTF-8 becomes U+FFFD.
pub(crate) fn line_text(line: &[u8]) -> String {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    String::from_utf8_lossy(line).into_owned()
}

impl Source<String> for SocketSource {
    fn poll(&mut self, context: &mut SubtaskContext, out: &mut Batch<String>) -> TaskResult<SourceStatus> {
        let mut lines = match self.lines.take() {
            Some(lines) => lines,
            None => self.connect(context)?,
        };
        let mut status = SourceStatus::More;
        while out.len() < context.batch_records {
            match lines.try_recv() {
                Ok(Ok(line)) => out.push(line, NO_TIME),
                Ok(Err(error)) => return Err(self.failure("could not read from", &error)),
                Err(mpsc::error::TryRecvError::Empty) => {
                    status = SourceStatus::Idle(IDLE);
                    break;
                }
                Err(mpsc::error::TryRecvError::Disconnected) => {
                    status = SourceStatus::End;
                    break;
                }
            }
        }
        self.lines = Some(lines);
        Ok(status)
    }

    fn snapshot(&mut self, _: &SubtaskContext) -> TaskResult<Position> {
        // What a socket has given can't be asked for again.
        Ok(Position::none())
    }
}
