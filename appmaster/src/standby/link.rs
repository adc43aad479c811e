//! The connection of a standby JobManager to its leader.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use flumen_hadoop::yarn::Container;
use flumen_model::ids::Epoch;
use flumen_wire::control::{ExecutorCommand, ExecutorReport, FromExecutor, ToExecutor};
use flumen_wire::frame::{self, FrameError};
use flumen_wire::standby::StandbyInfo;
use flumen_wire::tls::{InternalTls, Stream};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::resource::standby;

/// One attempt, from the first packet to the leader's answer.
const DIAL_LIMIT: Duration = Duration::from_secs(2);

/// A live connection, and what was told over it.
pub struct Link {
    address: String,
    stream: Stream,
    epoch: Epoch,
    attempt: u32,
    containers: BTreeMap<String, Container>,
    last_heard: Instant,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// Nobody listens there any more: the process is dead.
    #[error("nobody listens")]
    Gone,
    /// It does not want this standby.
    #[error("it does not want this standby: {0}")]
    Unwanted(String),
    /// No connection, or not with the application's certificate.
    #[error("no connection")]
    Connect(#[source] io::Error),
    /// The connection broke.
    #[error("no answer to the registration")]
    Talk(#[source] FrameError),
    /// It closed the connection, or said something else than yes or no.
    #[error("no answer to the registration")]
    OutOfTurn,
    /// Too slow.
    #[error("no answer within {} s", DIAL_LIMIT.as_secs())]
    Slow,
}

/// How a connection ends.
#[derive(Debug)]
pub enum LinkEnd {
    /// The leader said that this standby is to end, for this reason.
    Shutdown(String),
    /// It is closed, broken or silent.
    Lost(String),
}

impl Link {
    /// Dials the leader at `address` (`host:port`) and registers. `seen` is the greatest epoch of any leader.
    ///
    /// # Errors
    /// [`DialError`].
    pub async fn dial(address: &str, tls: &InternalTls, me: &StandbyInfo, seen: Epoch) -> Result<Self, DialError> {
        let attempt = async {
            let tcp = TcpStream::connect(address).await.map_err(|error| match error.kind() {
                io::ErrorKind::ConnectionRefused => DialError::Gone,
                _ => DialError::Connect(error),
            })?;
            let mut stream = tls.connect(tcp).await.map_err(DialError::Connect)?;
            let report = FromExecutor { epoch: seen, report: ExecutorReport::StandBy(me.clone()) };
            frame::write(&mut stream, &report).await.map_err(DialError::Talk)?;
            let answer: Option<ToExecutor> = frame::read(&mut stream).await.map_err(DialError::Talk)?;
            let ToExecutor { epoch, command } = answer.ok_or(DialError::OutOfTurn)?;
            match command {
                ExecutorCommand::StandingBy { attempt } => Ok(Self {
                    address: address.to_owned(),
                    stream,
                    epoch,
                    attempt,
                    containers: BTreeMap::new(),
                    last_heard: Instant::now(),
                }),
                ExecutorCommand::Shutdown { reason } => Err(DialError::Unwanted(reason)),
                _ => Err(DialError::OutOfTurn),
            }
        };
        timeout(DIAL_LIMIT, attempt).await.unwrap_or(Err(DialError::Slow))
    }

    /// `host:port` of the leader.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The leader's number.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Which attempt of the application the leader is.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// When the leader was last heard.
    pub fn last_heard(&self) -> Instant {
        self.last_heard
    }

    /// The containers of the TaskExecutors that the leader has.
    pub fn containers(&self) -> Vec<Container> {
        self.containers.values().cloned().collect()
    }

    /// What was told over a connection to the same leader before: it tells all of it again, but may die before it has.
    pub fn knows(&mut self, former: &Self) {
        self.containers = former.containers.clone();
    }

    /// Listens to the leader until it is lost, or silent for `limit`.
    pub async fn follow(&mut self, limit: Duration) -> LinkEnd {
        loop {
            let command = match timeout(limit, frame::read::<ToExecutor>(&mut self.stream)).await {
                Err(_) => {
                    return LinkEnd::Lost(format!("it was silent for {} s (heartbeat.timeout)", limit.as_secs_f32()));
                }
                Ok(Err(error)) => return LinkEnd::Lost(error.to_string()),
                Ok(Ok(None)) => return LinkEnd::Lost("it closed the connection".to_owned()),
                Ok(Ok(Some(message))) => message.command,
            };
            self.last_heard = Instant::now();
            match command {
                ExecutorCommand::Shutdown { reason } => return LinkEnd::Shutdown(reason),
                ExecutorCommand::Containers { here, gone } => {
                    gone.iter().for_each(|id| drop(self.containers.remove(id)));
                    let here = here.into_iter().filter_map(standby::known);
                    self.containers.extend(here.map(|container| (container.id.to_string(), container)));
                }
                ExecutorCommand::Heartbeat => {
                    let report = FromExecutor { epoch: self.epoch, report: ExecutorReport::Heartbeat { resident: 0 } };
                    match timeout(limit, frame::write(&mut self.stream, &report)).await {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => return LinkEnd::Lost(error.to_string()),
                        Err(_) => return LinkEnd::Lost("it takes no heartbeats".to_owned()),
                    }
                }
                other => tracing::warn!(?other, "told what concerns TaskExecutors only"),
            }
        }
    }
}
