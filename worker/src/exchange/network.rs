//! A worker's listeners, and the channels that it expects from other workers.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use flumen_model::ids::{ExecutionAttempt, JobId};
use flumen_wire::control::{RegionId, WorkerAddress};
use flumen_wire::data::ChannelId;
use flumen_wire::tls::{InternalTls, Stream};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use crate::exchange::connection::{Hello, InboundChannel, Outbound, receive};

/// For the TLS handshake and the hello of a new connection.
const HELLO_LIMIT: Duration = Duration::from_secs(10);
const SOCKET_NAME: &str = "data.sock";

/// What is expected from one worker in one execution.
#[derive(Default)]
struct Expected {
    channels: HashMap<ChannelId, InboundChannel>,
    credit: u32,
}

#[derive(Default)]
struct Attempts {
    expected: HashMap<(RegionId, ExecutionAttempt, u32), Expected>,
    connections: HashMap<(RegionId, ExecutionAttempt), Vec<AbortHandle>>,
}

/// The network side of a worker. Cheap to clone.
#[derive(Clone)]
pub struct Network {
    job: JobId,
    host: String,
    tls: InternalTls,
    attempts: Arc<Mutex<Attempts>>,
}

impl Network {
    /// Listens on a free port of `host`, and on a socket in `directory` (private to the user) for workers of the same host.
    ///
    /// # Errors
    /// Those of binding, with the address in the text.
    pub async fn listen(
        job: JobId,
        host: &str,
        tls: InternalTls,
        directory: &Path,
    ) -> io::Result<(Self, WorkerAddress)> {
        let bind = |what: String| move |error: io::Error| io::Error::new(error.kind(), format!("{what}: {error}"));
        let tcp = TcpListener::bind((host, 0)).await.map_err(bind(format!("binding to a port of {host}")))?;
        let port = tcp.local_addr()?.port();
        let path = directory.join(SOCKET_NAME);
        let socket = with_short_path(&path, |path| UnixListener::bind(path))
            .map_err(bind(format!("binding to {}", path.display())))?;
        let network = Self { job, host: host.to_owned(), tls: tls.clone(), attempts: Arc::default() };
        tokio::spawn(network.clone().accept_tcp(tcp));
        tokio::spawn(network.clone().accept_socket(socket));
        let socket = path.to_str().map(str::to_owned);
        Ok((network, WorkerAddress { host: host.to_owned(), port, socket }))
    }

    /// Announces that worker `sender` will send on this channel.
    pub fn expect(&self, region: RegionId, sender: u32, id: ChannelId, channel: InboundChannel, credit: u32) {
        let mut attempts = self.lock();
        let expected = attempts.expected.entry((region, id.attempt, sender)).or_default();
        expected.credit = credit;
        expected.channels.insert(id, channel);
    }

    /// Starts a connection to another worker.
    pub fn connect(&self, region: RegionId, attempt: ExecutionAttempt, outbound: Outbound) {
        let task = tokio::spawn(outbound.run());
        self.lock().connections.entry((region, attempt)).or_default().push(task.abort_handle());
    }

    /// This worker's host.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The application's TLS.
    pub fn tls(&self) -> &InternalTls {
        &self.tls
    }

    /// Closes the connections of an execution of a region and of all earlier ones.
    pub fn close(&self, region: RegionId, attempt: ExecutionAttempt) {
        let mut attempts = self.lock();
        attempts.expected.retain(|(part, of, _), _| *part != region || *of > attempt);
        attempts.connections.retain(|(part, of), connections| {
            let over = *part == region && *of <= attempt;
            if over {
                connections.iter().for_each(AbortHandle::abort);
            }
            !over
        });
    }

    async fn accept_tcp(self, listener: TcpListener) {
        let mut handshakes = JoinSet::new();
        loop {
            while handshakes.try_join_next().is_some() {}
            match listener.accept().await {
                Ok((tcp, _)) => {
                    let network = self.clone();
                    handshakes.spawn(async move {
                        let accepted = timeout(HELLO_LIMIT, network.tls.accept(tcp)).await;
                        match accepted.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                            Ok(stream) => network.serve(stream).await,
                            Err(error) => tracing::warn!(%error, "refused a connection"),
                        }
                    });
                }
                Err(error) => pause_after(&error).await,
            }
        }
    }

    async fn accept_socket(self, listener: UnixListener) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => drop(tokio::spawn(self.clone().serve(Box::new(stream)))),
                Err(error) => pause_after(&error).await,
            }
        }
    }

    async fn serve(self, mut stream: Stream) {
        let hello = match timeout(HELLO_LIMIT, Hello::read(&mut stream)).await {
            Ok(Ok(hello)) if hello.job == self.job => hello,
            Ok(Ok(hello)) => return tracing::warn!(job = %hello.job, "refused a connection of another job"),
            Ok(Err(error)) => return tracing::warn!(%error, "refused a connection"),
            Err(_) => return tracing::warn!("refused a connection that said nothing"),
        };
        let task = {
            let mut attempts = self.lock();
            let Some(expected) = attempts.expected.remove(&(hello.region, hello.attempt, hello.sender)) else {
                return tracing::warn!(attempt = %hello.attempt, sender = hello.sender, "refused an unexpected connection");
            };
            let task = tokio::spawn(receive(stream, expected.channels, expected.credit));
            attempts.connections.entry((hello.region, hello.attempt)).or_default().push(task.abort_handle());
            task
        };
        let _ = task.await;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Attempts> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Accepting fails for want of file descriptors, most likely: wait for some to be closed.
async fn pause_after(error: &io::Error) {
    tracing::warn!(%error, "could not accept a connection");
    tokio::time::sleep(Duration::from_millis(100)).await;
}

/// Connects to a worker's socket.
///
/// # Errors
/// Those of opening the directory and connecting.
pub async fn connect_socket(path: &Path) -> io::Result<UnixStream> {
    let directory = path.parent().map(File::open).transpose()?;
    let short = short_path(directory.as_ref(), path);
    UnixStream::connect(short).await
}

/// A socket's name may have 107 bytes, a container's directory has more: the directory is reached through its descriptor.
fn with_short_path<R>(path: &Path, open: impl FnOnce(PathBuf) -> io::Result<R>) -> io::Result<R> {
    let directory = path.parent().map(File::open).transpose()?;
    open(short_path(directory.as_ref(), path))
}

fn short_path(directory: Option<&File>, path: &Path) -> PathBuf {
    match (directory, path.file_name()) {
        (Some(directory), Some(name)) => Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name),
        _ => path.to_owned(),
    }
}
