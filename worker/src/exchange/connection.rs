//! One direction between two workers of a job: frames one way, credit the other.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use flumen_model::checkpoint::Barrier;
use flumen_model::ids::{ExecutionAttempt, JobId};
use flumen_wire::control::{RegionId, WorkerAddress};
use flumen_wire::data::{ChannelId, FrameKind, HEADER_BYTES, Header};
use flumen_wire::tls::{InternalTls, Stream};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::batch::EventTime;
use crate::exchange::credit::Credit;
use crate::exchange::frames::{FrameReader, write_frames};
use crate::exchange::gate::{Control, CreditReturn, RemoteGate, sender_gone};
use crate::exchange::network::connect_socket;

/// To reach a worker that has said that it listens.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Frames, or returned credits, that are sent on together.
const TOGETHER: usize = 64;

/// The first frame of a connection: who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello {
    /// The job.
    pub job: JobId,
    /// The part of the job whose records follow.
    pub region: RegionId,
    /// Its execution.
    pub attempt: ExecutionAttempt,
    /// The sending worker's index in the deployment.
    pub sender: u32,
}

const HELLO_BYTES: usize = 20;

impl Hello {
    /// The whole frame.
    pub fn encode(&self) -> Vec<u8> {
        let channel = ChannelId { attempt: self.attempt, edge: self.region, source: 0, target: 0 };
        let header = Header { kind: FrameKind::Hello, channel, length: HELLO_BYTES as u32 };
        [&header.encode()[..], &self.job.0.to_le_bytes(), &self.sender.to_le_bytes()].concat()
    }

    /// Reads the frame.
    ///
    /// # Errors
    /// `InvalidData` when the first frame is something else.
    pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Self> {
        let header = read_header(stream).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if header.kind != FrameKind::Hello || header.length as usize != HELLO_BYTES {
            return Err(invalid("the first frame is no hello"));
        }
        let mut job = [0; 16];
        stream.read_exact(&mut job).await?;
        let sender = stream.read_u32_le().await?;
        Ok(Self {
            job: JobId(u128::from_le_bytes(job)),
            region: header.channel.edge,
            attempt: header.channel.attempt,
            sender,
        })
    }
}

/// A header, or `None` at an end between frames.
async fn read_header(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Header>> {
    let mut bytes = [0; HEADER_BYTES];
    if stream.read(&mut bytes[..1]).await? == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut bytes[1..]).await?;
    Header::decode(&bytes).map(Some).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

fn invalid(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// Everything that the sending end of a connection needs.
pub struct Outbound {
    /// Who sends.
    pub hello: Hello,
    /// The receiving worker.
    pub peer: WorkerAddress,
    /// This worker's host: the peer's socket is tried when it is the same.
    pub host: String,
    /// The application's TLS.
    pub tls: InternalTls,
    /// Frames to send; closed when all sending subtasks have ended.
    pub frames: mpsc::Receiver<Bytes>,
    /// Where credit goes.
    pub credits: HashMap<ChannelId, Arc<Credit>>,
}

impl Outbound {
    /// Sends until all frames are sent and the peer has closed. When that fails, all channels are broken off.
    pub async fn run(mut self) {
        if let Err(error) = self.pump().await {
            tracing::warn!(peer = %self.peer.host, port = self.peer.port, %error, "connection to a worker broke");
        }
        self.credits.values().for_each(|credit| credit.break_off());
    }

    async fn pump(&mut self) -> io::Result<()> {
        let connect = timeout(CONNECT_LIMIT, self.connect());
        let stream = connect.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        let (read, mut write) = tokio::io::split(stream);
        write.write_all(&self.hello.encode()).await?;
        write.flush().await?;
        let all_sent = AtomicBool::new(false);
        let receive = receive_credits(BufReader::new(read), &self.credits);
        let send = send_frames(&mut self.frames, self.credits.len(), write, &all_sent);
        tokio::pin!(receive);
        tokio::select! {
            received = &mut receive => {
                received?;
                // The peer closes as soon as it has the end of every channel, and not before.
                if all_sent.load(Ordering::Acquire) { Ok(()) } else { Err(io::ErrorKind::ConnectionAborted.into()) }
            }
            sent = send => { sent?; receive.await }
        }
    }

    async fn connect(&self) -> io::Result<Stream> {
        if let Some(path) = self.peer.socket.as_ref().filter(|_| self.peer.host == self.host) {
            match connect_socket(path.as_ref()).await {
                Ok(stream) => return Ok(Box::new(stream)),
                // Two containers of one host may not see each other's directories.
                Err(error) => tracing::debug!(%path, %error, "falling back to TCP"),
            }
        }
        self.tls.connect(TcpStream::connect((self.peer.host.as_str(), self.peer.port)).await?).await
    }
}

/// Sends until the end of each of that many channels is sent, or the sending subtasks are gone.
async fn send_frames(
    frames: &mut mpsc::Receiver<Bytes>,
    mut channels: usize,
    mut write: impl AsyncWrite + Unpin,
    all_sent: &AtomicBool,
) -> io::Result<()> {
    let mut batch = Vec::with_capacity(TOGETHER);
    let mut waiting = VecDeque::with_capacity(TOGETHER);
    while channels > 0 {
        if frames.recv_many(&mut batch, TOGETHER).await == 0 {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        channels -= batch.iter().filter(|frame| frame.first() == Some(&(FrameKind::EndOfInput as u8))).count();
        all_sent.store(channels == 0, Ordering::Release);
        waiting.extend(batch.drain(..));
        write_frames(&mut write, &mut waiting).await?;
        if frames.is_empty() {
            write.flush().await?;
        }
    }
    write.shutdown().await
}

async fn receive_credits(
    mut read: impl AsyncRead + Unpin,
    credits: &HashMap<ChannelId, Arc<Credit>>,
) -> io::Result<()> {
    while let Some(header) = read_header(&mut read).await? {
        match (header.kind, credits.get(&header.channel)) {
            (FrameKind::Credit, Some(credit)) => credit.give(header.length),
            _ => return Err(invalid("something else than credit for one of our channels came back")),
        }
    }
    Ok(())
}

/// A channel of an inbound connection.
#[derive(Clone)]
pub struct InboundChannel {
    /// Where it ends.
    pub gate: Arc<dyn RemoteGate>,
    /// Its index there.
    pub index: u32,
}

/// Receives a peer's frames until all its channels have ended. When the connection breaks before, their gates fail.
pub async fn receive(stream: Stream, mut open: HashMap<ChannelId, InboundChannel>, credit: u32) {
    let (read, write) = tokio::io::split(stream);
    let mut read = FrameReader::new(read);
    // Room for every credit that can be on its way back, so that giving one back never waits.
    let (returns, mut returned) = mpsc::channel((open.len() * credit as usize).max(1));
    for (id, channel) in &open {
        channel.gate.connect(channel.index, CreditReturn::Remote { connection: returns.clone(), channel: *id });
    }
    drop(returns);
    let result = tokio::select! {
        result = receive_frames(&mut read, &mut open) => result,
        result = return_credits(&mut returned, write) => result,
    };
    if !open.is_empty() {
        let error = sender_gone(result.err().map_or("it closed".to_owned(), |error| error.to_string()));
        open.values().for_each(|channel| channel.gate.fail(error.clone()));
    }
}

async fn receive_frames(
    read: &mut FrameReader<impl AsyncRead + Unpin>,
    open: &mut HashMap<ChannelId, InboundChannel>,
) -> io::Result<()> {
    while let Some((header, payload)) = read.next().await? {
        let channel = open.get(&header.channel).ok_or_else(|| invalid("records for a channel that is not open"))?;
        let exceeded = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        let control = match header.kind {
            FrameKind::Records | FrameKind::TimedRecords => {
                let timed = header.kind == FrameKind::TimedRecords;
                channel.gate.bytes(channel.index, payload, timed).map_err(exceeded)?;
                continue;
            }
            FrameKind::Watermark => {
                let time = payload[..].try_into().map_err(|_| invalid("a watermark of the wrong size"))?;
                Control::Watermark(EventTime::from_le_bytes(time))
            }
            FrameKind::Idle => Control::Idle(header.length != 0),
            FrameKind::Barrier => {
                let barrier: Barrier = serde_json::from_slice(&payload)?;
                Control::Barrier(Arc::new(barrier))
            }
            FrameKind::EndOfData => Control::EndOfData,
            FrameKind::EndOfInput => Control::Close,
            FrameKind::Hello | FrameKind::Credit => return Err(invalid("a frame out of place")),
        };
        let last = control == Control::Close;
        channel.gate.control(channel.index, control).map_err(exceeded)?;
        if last {
            open.remove(&header.channel);
            if open.is_empty() {
                return Ok(());
            }
        }
    }
    Ok(())
}

async fn return_credits(
    returned: &mut mpsc::Receiver<(ChannelId, u32)>,
    mut write: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    let mut batch = Vec::with_capacity(TOGETHER);
    let mut bytes = Vec::new();
    while returned.recv_many(&mut batch, TOGETHER).await > 0 {
        bytes.clear();
        batch.sort_unstable_by_key(|(channel, _)| *channel);
        for group in batch.chunk_by(|(one, _), (other, _)| one == other) {
            let buffers = group.iter().map(|(_, buffers)| buffers).sum();
            bytes.extend_from_slice(&Header { kind: FrameKind::Credit, channel: group[0].0, length: buffers }.encode());
        }
        batch.clear();
        write.write_all(&bytes).await?;
        write.flush().await?;
    }
    // No gate can give anything back any more; the receiving side decides when the connection ends.
    std::future::pending().await
}
