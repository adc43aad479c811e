//! The connection to the JobManager as the executor's loop sees it: there, not there, or being made.

use std::future::Future;
use std::pin::Pin;

use flumen_wire::control::{FromExecutor, ToExecutor};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::connection::{ATTEMPT_LIMIT, Answer, AttemptError, Connection, introduce};
use crate::executor::ExecutorError;
use crate::leader::Found;

/// See the module.
pub enum Link {
    /// Registered.
    Up(Connection),
    /// A JobManager was told who this is and has not answered yet.
    Introducing {
        /// `host:port`.
        address: String,
        /// Its answer.
        answer: Pin<Box<dyn Future<Output = Result<Answer, AttemptError>> + Send>>,
    },
    /// There is no JobManager.
    Down,
}

/// What comes of a link.
pub enum Heard {
    /// The JobManager says something.
    Command(ToExecutor),
    /// The connection is closed or broken.
    Lost(ExecutorError),
    /// What came of an introduction.
    Answer {
        /// Where that JobManager is.
        address: String,
        /// What it said.
        answer: Result<Answer, AttemptError>,
    },
}

/// Whether events of workers can be taken: a slow JobManager slows workers down instead of filling this process's memory.
/// Without one they are taken as they come.
pub enum Room {
    /// When there is room in this queue.
    In(mpsc::Sender<FromExecutor>),
    /// At once.
    Always,
    /// Not now: what a worker says now is in no report yet, and there is nobody to tell.
    Never,
}

impl Link {
    /// Registers with a JobManager that was found.
    pub fn introduce(found: Found, registration: Vec<u8>) -> Self {
        let Found { address, stream, .. } = found;
        let answer =
            async { timeout(ATTEMPT_LIMIT, introduce(stream, registration)).await.unwrap_or(Err(AttemptError::Slow)) };
        Self::Introducing { address, answer: Box::pin(answer) }
    }

    /// What is heard next; never, without a JobManager. Safe to cancel.
    pub async fn next(&mut self) -> Heard {
        match self {
            Self::Up(connection) => match connection.commands.recv().await {
                Some(Ok(command)) => Heard::Command(command),
                Some(Err(error)) => Heard::Lost(ExecutorError::Broken(error)),
                None => Heard::Lost(ExecutorError::Closed),
            },
            Self::Introducing { address, answer } => {
                let answer = answer.await;
                Heard::Answer { address: std::mem::take(address), answer }
            }
            Self::Down => std::future::pending().await,
        }
    }

    /// Whether there is room for what workers say.
    pub fn room(&self) -> Room {
        match self {
            Self::Up(connection) => Room::In(connection.reports.clone()),
            Self::Introducing { .. } => Room::Never,
            Self::Down => Room::Always,
        }
    }

    /// Sends a report; false when there is no room or nobody to hear it.
    pub fn report(&self, report: FromExecutor) -> bool {
        match self {
            Self::Up(connection) => connection.reports.try_send(report).is_ok(),
            Self::Introducing { .. } | Self::Down => false,
        }
    }
}

impl Room {
    /// Waits for what comes next, once there is room for the report that it may cause. Safe to cancel if `next` is.
    pub async fn then<T>(self, next: impl Future<Output = T>) -> T {
        match self {
            Self::In(reports) => match reports.reserve().await {
                // Given back at once: the loop is the only sender, so the room stays.
                Ok(_room) => next.await,
                // Nothing can be written any more; the reading side ends the connection.
                Err(_) => std::future::pending().await,
            },
            Self::Always => next.await,
            Self::Never => std::future::pending().await,
        }
    }
}
