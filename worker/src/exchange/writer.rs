//! The sending side of a subtask: which channel a record goes to, and the buffers that fill until they are sent.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use flumen_model::failure::Blame;
use flumen_wire::data::{ChannelId, FrameKind, HEADER_BYTES, Header, PAYLOAD_BYTES_MAX};
use tokio::sync::mpsc;

use crate::exchange::codec;
use crate::exchange::credit::Credit;
use crate::exchange::gate::{Gate, Item};
use crate::operator::{BATCH_RECORDS, Data, Push, TaskError, TaskResult};
use crate::subtask::{IoCounters, SubtaskContext};

/// Where a channel leads.
#[derive(Debug)]
pub enum ChannelTarget<G> {
    /// To a gate in this process.
    Local {
        /// The gate.
        gate: G,
        /// The channel's index in it.
        channel: u32,
    },
    /// Into a connection to another worker.
    Remote {
        /// Takes whole frames.
        connection: mpsc::Sender<Bytes>,
        /// The channel's name on the connection.
        channel: ChannelId,
    },
}

/// A channel that is ready to be written to.
#[derive(Debug)]
pub struct OutputChannel<G> {
    /// Where it leads.
    pub target: ChannelTarget<G>,
    /// Buffers that may be sent.
    pub credit: Arc<Credit>,
}

enum Buffer<T> {
    Local { gate: Arc<Gate<T>>, channel: u32, records: Vec<T> },
    Remote { connection: mpsc::Sender<Bytes>, channel: ChannelId, frame: Vec<u8>, records: u64 },
}

struct Channel<T> {
    buffer: Buffer<T>,
    credit: Arc<Credit>,
}

/// The buffers of all channels of one output.
pub struct Channels<T> {
    channels: Vec<Channel<T>>,
    batch_records: usize,
    segment_bytes: usize,
    timeout: Duration,
    last_flush: Instant,
    io: Arc<IoCounters>,
}

impl<T: Data> Channels<T> {
    /// Empty buffers for these channels, in the order of the receiving subtasks.
    pub fn new(outputs: Vec<OutputChannel<Arc<Gate<T>>>>, context: &SubtaskContext) -> Self {
        let channel = |output: OutputChannel<Arc<Gate<T>>>| Channel {
            buffer: match output.target {
                ChannelTarget::Local { gate, channel } => Buffer::Local { gate, channel, records: Vec::new() },
                ChannelTarget::Remote { connection, channel } => {
                    Buffer::Remote { connection, channel, frame: Vec::new(), records: 0 }
                }
            },
            credit: output.credit,
        };
        Self {
            channels: outputs.into_iter().map(channel).collect(),
            batch_records: (context.worker.segment_bytes / size_of::<T>().max(1)).clamp(16, BATCH_RECORDS),
            segment_bytes: context.worker.segment_bytes,
            timeout: context.worker.buffer_timeout,
            last_flush: Instant::now(),
            io: Arc::clone(&context.io),
        }
    }

    /// Number of channels.
    pub fn len(&self) -> usize {
        self.channels.len()
    }

    /// True when there is no channel.
    pub fn is_empty(&self) -> bool {
        self.channels.is_empty()
    }

    /// Puts a record into the buffer of a channel, and sends the buffer when it is full.
    #[inline]
    pub fn emit(&mut self, channel: usize, record: T) -> TaskResult {
        match &mut self.channels[channel].buffer {
            Buffer::Local { records, .. } => {
                if records.capacity() == 0 {
                    records.reserve_exact(self.batch_records);
                }
                records.push(record);
                if records.len() < self.batch_records {
                    return Ok(());
                }
            }
            Buffer::Remote { frame, records, .. } => {
                if frame.is_empty() {
                    frame.reserve(self.segment_bytes + HEADER_BYTES);
                    frame.extend_from_slice(&[0; HEADER_BYTES]);
                }
                codec::encode(&record, frame)?;
                *records += 1;
                if frame.len() < self.segment_bytes {
                    return Ok(());
                }
            }
        }
        self.send(channel)
    }

    fn send(&mut self, channel: usize) -> TaskResult {
        let Channel { buffer, credit } = &mut self.channels[channel];
        match buffer {
            Buffer::Local { gate, channel, records } if !records.is_empty() => {
                credit.take()?;
                self.io.records_out.fetch_add(records.len() as u64, Ordering::Relaxed);
                gate.put(*channel, Item::Batch(std::mem::take(records)));
            }
            Buffer::Remote { connection, channel, frame, records } if !frame.is_empty() => {
                let length = frame.len() - HEADER_BYTES;
                if length > PAYLOAD_BYTES_MAX as usize {
                    let text = format!("a record of {length} bytes is too large; the limit is {PAYLOAD_BYTES_MAX}");
                    return Err(TaskError::failed(Blame::User, text));
                }
                let header = Header { kind: FrameKind::Records, channel: *channel, length: length as u32 };
                frame[..HEADER_BYTES].copy_from_slice(&header.encode());
                credit.take()?;
                self.io.records_out.fetch_add(std::mem::take(records), Ordering::Relaxed);
                self.io.bytes_out.fetch_add(frame.len() as u64, Ordering::Relaxed);
                send_frame(connection, std::mem::take(frame).into())?;
            }
            Buffer::Local { .. } | Buffer::Remote { .. } => {}
        }
        Ok(())
    }

    /// Called once per batch: sends everything when the oldest buffered record may have waited for the buffer timeout.
    fn flush_if_due(&mut self) -> TaskResult {
        if self.last_flush.elapsed() < self.timeout { Ok(()) } else { self.flush() }
    }

    /// Sends everything.
    pub fn flush(&mut self) -> TaskResult {
        (0..self.channels.len()).try_for_each(|channel| self.send(channel))?;
        self.last_flush = Instant::now();
        Ok(())
    }

    /// Sends everything, and the end of each channel.
    pub fn end(&mut self) -> TaskResult {
        self.flush()?;
        for Channel { buffer, .. } in &mut self.channels {
            match buffer {
                Buffer::Local { gate, channel, .. } => gate.put(*channel, Item::End),
                Buffer::Remote { connection, channel, .. } => {
                    let header = Header { kind: FrameKind::EndOfInput, channel: *channel, length: 0 };
                    send_frame(connection, Bytes::copy_from_slice(&header.encode()))?;
                }
            }
        }
        Ok(())
    }
}

/// The queue into a connection is as long as the credit of all its channels, so this does not wait in practice.
fn send_frame(connection: &mpsc::Sender<Bytes>, frame: Bytes) -> TaskResult {
    let gone = |_| TaskError::failed(Blame::Peer, "the connection to a receiving worker broke");
    connection.blocking_send(frame).map_err(gone)
}

/// Chooses the channel of each record.
pub trait Route<T>: Send {
    /// The channel of a record, one of `channels`.
    fn route(&mut self, record: &T, channels: usize) -> TaskResult<usize>;
}

/// Writes every record to one channel.
pub struct RoutingWriter<T, R> {
    channels: Channels<T>,
    route: R,
}

impl<T: Data, R: Route<T>> RoutingWriter<T, R> {
    /// A writer to these channels.
    pub fn new(channels: Channels<T>, route: R) -> Self {
        Self { channels, route }
    }
}

impl<T: Data, R: Route<T>> Push<T> for RoutingWriter<T, R> {
    fn push(&mut self, batch: &mut Vec<T>) -> TaskResult {
        let channels = self.channels.len();
        for record in batch.drain(..) {
            let channel = self.route.route(&record, channels)?;
            self.channels.emit(channel, record)?;
        }
        self.channels.flush_if_due()
    }

    fn flush(&mut self) -> TaskResult {
        self.channels.flush()
    }

    fn end(&mut self) -> TaskResult {
        self.channels.end()
    }
}

/// To the only channel.
#[derive(Debug)]
pub struct Forward;

impl<T> Route<T> for Forward {
    #[inline]
    fn route(&mut self, _: &T, _: usize) -> TaskResult<usize> {
        Ok(0)
    }
}

/// To one channel after another.
#[derive(Debug)]
pub struct Rebalance {
    /// The channel of the next record.
    pub next: usize,
}

impl<T> Route<T> for Rebalance {
    #[inline]
    fn route(&mut self, _: &T, channels: usize) -> TaskResult<usize> {
        let channel = self.next;
        self.next = if channel + 1 == channels { 0 } else { channel + 1 };
        Ok(channel.min(channels - 1))
    }
}

/// To a channel at random (xorshift64*; the sequence follows from the seed).
#[derive(Debug)]
pub struct Shuffle {
    /// Not zero.
    pub state: u64,
}

impl<T> Route<T> for Shuffle {
    #[inline]
    fn route(&mut self, _: &T, channels: usize) -> TaskResult<usize> {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        let random = self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        Ok(((random * channels as u64) >> 32) as usize)
    }
}

/// Writes every record to every channel.
pub struct BroadcastWriter<T> {
    channels: Channels<T>,
}

impl<T: Data> BroadcastWriter<T> {
    /// A writer to these channels.
    pub fn new(channels: Channels<T>) -> Self {
        Self { channels }
    }
}

impl<T: Data> Push<T> for BroadcastWriter<T> {
    fn push(&mut self, batch: &mut Vec<T>) -> TaskResult {
        let last = self.channels.len() - 1;
        for record in batch.drain(..) {
            for channel in 0..last {
                self.channels.emit(channel, record.clone())?;
            }
            self.channels.emit(last, record)?;
        }
        self.channels.flush_if_due()
    }

    fn flush(&mut self) -> TaskResult {
        self.channels.flush()
    }

    fn end(&mut self) -> TaskResult {
        self.channels.end()
    }
}
