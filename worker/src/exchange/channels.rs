//! The buffers of an output: they fill until they are sent, and wait for credit without stopping the subtask at once.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use flumen_model::checkpoint::{Alignment, Barrier, InFlight};
use flumen_model::failure::Blame;
use flumen_wire::data::{ChannelId, FrameKind, HEADER_BYTES, Header, PAYLOAD_BYTES_MAX};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use crate::batch::{Batch, EventTime, NO_TIME};
use crate::checkpoint::{Overtaken, Snapshot, decode_records, encode_batch};
use crate::exchange::codec;
use crate::exchange::credit::Credit;
use crate::exchange::gate::{ChannelOrigin, Control, Gate, Item};
use crate::operator::{BATCH_RECORDS, Data, Signal, TaskError, TaskResult};
use crate::subtask::{Backlog, IoCounters, SubtaskContext};

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
    /// Index of its edge in the JobGraph.
    pub edge: u32,
    /// The receiving subtask.
    pub subtask: u32,
    /// Where it leads.
    pub target: ChannelTarget<G>,
    /// Buffers that may be sent.
    pub credit: Arc<Credit>,
}

/// Buffers of one channel that may wait for credit before the subtask itself waits. One input batch makes seldom more;
/// what waits is what an overtaking barrier overtakes.
const WAITING_MAX: usize = 64;

enum Buffer {
    Local,
    Remote { frame: Vec<u8>, records: u64, timed: bool },
}

/// Something to send, in the order in which it was made.
enum Outgoing<T> {
    Batch(Batch<T>),
    Frame { frame: Bytes, timed: bool, records: u64 },
    Control(Control),
}

struct Channel<T> {
    edge: u32,
    subtask: u32,
    target: ChannelTarget<Arc<Gate<T>>>,
    credit: Arc<Credit>,
    /// Records of a local channel.
    batch: Batch<T>,
    buffer: Buffer,
    waiting: VecDeque<Outgoing<T>>,
    patience: Option<Patience>,
}

/// A barrier among what waits, that overtakes when it has waited for too long.
struct Patience {
    barrier: Arc<Barrier>,
    until: Instant,
    /// Where the snapshot waits for what it overtakes.
    overtaken: oneshot::Sender<Overtaken>,
}

/// The buffers of all channels of one output.
pub struct Channels<T> {
    channels: Vec<Channel<T>>,
    source: u32,
    batch_records: usize,
    segment_bytes: usize,
    /// Bytes that a new frame gets room for: it is as long as former ones were, so that it need not grow (and be copied)
    /// for its last record.
    room: usize,
    timeout: Duration,
    last_flush: Instant,
    io: Arc<IoCounters>,
    backlog: Arc<Backlog>,
    /// Records that were in flight at the checkpoint that the subtask starts from: sent before anything else.
    in_flight: Vec<(InFlight, Bytes)>,
}

impl<T: Data> Channels<T> {
    /// Empty buffers for these channels, in the order of the receiving subtasks.
    pub fn new(outputs: Vec<OutputChannel<Arc<Gate<T>>>>, context: &SubtaskContext) -> Self {
        let channel = |output: OutputChannel<Arc<Gate<T>>>| Channel {
            edge: output.edge,
            subtask: output.subtask,
            buffer: match output.target {
                ChannelTarget::Local { .. } => Buffer::Local,
                ChannelTarget::Remote { .. } => Buffer::Remote { frame: Vec::new(), records: 0, timed: false },
            },
            batch: Batch::new(),
            target: output.target,
            credit: output.credit,
            waiting: VecDeque::new(),
            patience: None,
        };
        let channels: Vec<Channel<T>> = outputs.into_iter().map(channel).collect();
        let edge = channels.first().map(|channel| channel.edge);
        Self {
            in_flight: edge.map_or_else(Vec::new, |edge| context.take_in_flight(edge)),
            channels,
            source: context.id.index,
            batch_records: (context.worker.segment_bytes / size_of::<T>().max(1)).clamp(16, BATCH_RECORDS),
            segment_bytes: context.worker.segment_bytes,
            room: context.worker.segment_bytes + HEADER_BYTES,
            timeout: context.worker.buffer_timeout,
            last_flush: Instant::now(),
            io: Arc::clone(&context.io),
            backlog: Arc::clone(&context.backlog),
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
    pub fn emit(&mut self, channel: usize, record: T, time: EventTime) -> TaskResult {
        let Channel { batch, buffer, .. } = &mut self.channels[channel];
        match buffer {
            Buffer::Local => {
                if batch.capacity() == 0 {
                    batch.reserve(self.batch_records);
                }
                batch.push(record, time);
                if batch.len() < self.batch_records {
                    return Ok(());
                }
            }
            Buffer::Remote { frame, records, timed } => {
                if *timed != (time != NO_TIME) && *records > 0 {
                    self.send(channel)?;
                    return self.emit(channel, record, time);
                }
                if frame.is_empty() {
                    frame.reserve_exact(self.room);
                    frame.extend_from_slice(&[0; HEADER_BYTES]);
                    *timed = time != NO_TIME;
                }
                if *timed {
                    codec::encode_time(time, frame);
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

    /// Puts all records of a batch into the buffer of the only channel. A batch that makes a buffer becomes one.
    pub fn emit_all(&mut self, from: &mut Batch<T>) -> TaskResult {
        let Channel { batch, buffer, .. } = &mut self.channels[0];
        let records = from.len();
        if matches!(buffer, Buffer::Remote { .. }) || records > self.batch_records {
            return from.drain().try_for_each(|(record, time)| self.emit(0, record, time));
        }
        if batch.len() + records > self.batch_records {
            self.send(0)?;
        }
        let batch = &mut self.channels[0].batch;
        if batch.is_empty() && records > self.batch_records / 2 {
            let room = from.capacity();
            *batch = std::mem::replace(from, Batch::with_capacity(room));
            return self.send(0);
        }
        if batch.capacity() == 0 {
            batch.reserve(self.batch_records);
        }
        from.append_to(batch);
        if batch.len() < self.batch_records { Ok(()) } else { self.send(0) }
    }

    /// What every writer does with a signal: buffered records go first.
    ///
    /// # Errors
    /// The receiver is gone, or the subtask was cancelled.
    pub fn signal(&mut self, signal: Signal<'_>) -> TaskResult {
        match signal {
            Signal::Flush => self.flush(),
            Signal::Resume => (0..self.channels.len()).try_for_each(|channel| self.resume(channel)),
            Signal::Watermark(time) => self.control(&Control::Watermark(time)),
            Signal::Idle(idle) => self.control(&Control::Idle(idle)),
            Signal::Barrier(snapshot) => self.barrier(snapshot),
            Signal::End => self.control(&Control::EndOfData),
            Signal::Close => {
                self.control(&Control::Close)?;
                // Nobody will ask again: what still waits has to go now.
                while (0..self.channels.len()).any(|channel| !self.channels[channel].waiting.is_empty()) {
                    (0..self.channels.len()).try_for_each(|channel| self.wait(channel))?;
                }
                Ok(())
            }
            Signal::Aborted(checkpoint) => {
                for channel in &mut self.channels {
                    channel.patience.take_if(|patience| patience.barrier.checkpoint <= checkpoint);
                }
                Ok(())
            }
            Signal::Split(_) | Signal::Completed(_) | Signal::Time(_) | Signal::Align(..) | Signal::Background(_) => {
                Ok(())
            }
        }
    }

    /// Called once per batch: sends everything when the oldest buffered record may have waited for the buffer timeout.
    pub fn flush_if_due(&mut self) -> TaskResult {
        if self.last_flush.elapsed() < self.timeout { Ok(()) } else { self.flush() }
    }

    /// Sends everything.
    fn flush(&mut self) -> TaskResult {
        (0..self.channels.len()).try_for_each(|channel| self.send(channel))?;
        self.last_flush = Instant::now();
        Ok(())
    }

    /// Sends records that were in flight at the checkpoint that the subtask starts from, each through the channel that it
    /// had, or through the one that `route` gives when the number of channels has changed.
    ///
    /// # Errors
    /// The bytes are no records of this type.
    pub fn resend(&mut self, mut route: impl FnMut(&T, usize) -> TaskResult<usize>) -> TaskResult {
        for (flight, bytes) in std::mem::take(&mut self.in_flight) {
            let known = self.channels.iter().position(|channel| channel.subtask == flight.target);
            decode_records::<T>(&bytes, flight.timed, |record, time| {
                let channel = match known {
                    Some(channel) => channel,
                    None => route(&record, self.channels.len())?,
                };
                self.emit(channel, record, time)
            })?;
        }
        Ok(())
    }

    fn control(&mut self, control: &Control) -> TaskResult {
        for channel in 0..self.channels.len() {
            self.send(channel)?;
            self.hand_over(channel, Outgoing::Control(control.clone()))?;
        }
        Ok(())
    }

    fn barrier(&mut self, snapshot: &mut Snapshot) -> TaskResult {
        let barrier = Arc::new(snapshot.barrier().clone());
        if barrier.alignment != Alignment::Unaligned {
            self.control(&Control::Barrier(Arc::clone(&barrier)))?;
            if let Some(patience) = barrier.patience(SystemTime::now()) {
                self.be_patient(snapshot, &barrier, Instant::now() + patience);
            }
            return Ok(());
        }
        for channel in 0..self.channels.len() {
            self.send(channel)?;
            self.resume(channel)?;
            self.overtake(channel, snapshot, &barrier)?;
        }
        Ok(())
    }

    /// Sends the barrier in front of all that waits for credit, which is copied into the snapshot.
    fn overtake(&mut self, channel: usize, snapshot: &mut Snapshot, barrier: &Arc<Barrier>) -> TaskResult {
        snapshot.overtaken(self.copy_waiting(channel, usize::MAX)?);
        self.deliver(channel, Outgoing::Control(Control::Barrier(Arc::clone(barrier))))
    }

    /// Notes on which channels the barrier waits behind records.
    fn be_patient(&mut self, snapshot: &mut Snapshot, barrier: &Arc<Barrier>, until: Instant) {
        for channel in self.channels.iter_mut().filter(|channel| !channel.waiting.is_empty()) {
            let (overtaken, later) = oneshot::channel();
            snapshot.overtaken_later(later);
            channel.patience = Some(Patience { barrier: Arc::clone(barrier), until, overtaken });
        }
    }

    /// Sends a barrier that has waited for too long in front of the records that it waits behind.
    fn lose_patience(&mut self, index: usize) -> TaskResult {
        let Channel { waiting, patience, .. } = &mut self.channels[index];
        let Some(over) = patience.take_if(|patience| patience.until <= Instant::now()) else { return Ok(()) };
        let id = over.barrier.checkpoint;
        let is_it = |o: &Outgoing<T>| matches!(o, Outgoing::Control(Control::Barrier(b)) if b.checkpoint == id);
        let Some(at) = waiting.iter().position(is_it) else { return Ok(()) };
        waiting.remove(at);
        self.backlog.remove();
        // A snapshot that is not written any more does not want it.
        let _ = over.overtaken.send(self.copy_waiting(index, at)?);
        let barrier = Barrier { alignment: Alignment::Unaligned, ..(*over.barrier).clone() };
        self.deliver(index, Outgoing::Control(Control::Barrier(Arc::new(barrier))))
    }

    /// The records among the first `count` things that wait.
    fn copy_waiting(&self, channel: usize, count: usize) -> TaskResult<Overtaken> {
        let Channel { edge, subtask, waiting, .. } = &self.channels[channel];
        let origin = ChannelOrigin { edge: *edge, source: self.source };
        let mut overtaken = Overtaken::default();
        let mut bytes = Vec::new();
        for outgoing in waiting.iter().take(count) {
            match outgoing {
                Outgoing::Batch(batch) => {
                    bytes.clear();
                    encode_batch(batch, &mut bytes)?;
                    overtaken.sent(origin, *subtask, batch.is_timed(), &bytes);
                }
                Outgoing::Frame { frame, timed, .. } => {
                    overtaken.sent(origin, *subtask, *timed, &frame[HEADER_BYTES..]);
                }
                Outgoing::Control(_) => {}
            }
        }
        Ok(overtaken)
    }

    /// Closes the buffer of a channel and sends it.
    fn send(&mut self, channel: usize) -> TaskResult {
        let Channel { buffer, batch, target, .. } = &mut self.channels[channel];
        let outgoing = match buffer {
            Buffer::Local if !batch.is_empty() => Outgoing::Batch(std::mem::take(batch)),
            Buffer::Remote { frame, records, timed } if !frame.is_empty() => {
                let ChannelTarget::Remote { channel, .. } = target else { return Ok(()) };
                let length = frame.len() - HEADER_BYTES;
                if length > PAYLOAD_BYTES_MAX as usize {
                    let text = format!("a record of {length} bytes is too large; the limit is {PAYLOAD_BYTES_MAX}");
                    return Err(TaskError::failed(Blame::User, text));
                }
                let kind = if *timed { FrameKind::TimedRecords } else { FrameKind::Records };
                let header = Header { kind, channel: *channel, length: length as u32 };
                frame[..HEADER_BYTES].copy_from_slice(&header.encode());
                self.room = self.room.max(frame.len().min(2 * self.segment_bytes));
                let records = std::mem::take(records);
                Outgoing::Frame { frame: std::mem::take(frame).into(), timed: *timed, records }
            }
            Buffer::Local | Buffer::Remote { .. } => return Ok(()),
        };
        self.hand_over(channel, outgoing)
    }

    /// Delivers in order: at once when nothing waits and there is credit, else later.
    fn hand_over(&mut self, index: usize, outgoing: Outgoing<T>) -> TaskResult {
        self.resume(index)?;
        let channel = &mut self.channels[index];
        if channel.waiting.is_empty() && channel.may_send(&outgoing)? {
            return self.deliver(index, outgoing);
        }
        match (channel.waiting.back_mut(), &outgoing) {
            (Some(Outgoing::Control(Control::Watermark(before))), Outgoing::Control(Control::Watermark(time))) => {
                *before = *time;
            }
            _ => {
                channel.waiting.push_back(outgoing);
                self.backlog.add();
            }
        }
        if self.channels[index].waiting.len() < WAITING_MAX { Ok(()) } else { self.wait(index) }
    }

    /// Delivers what waits, as far as there is credit.
    fn resume(&mut self, index: usize) -> TaskResult {
        while let Some(next) = self.channels[index].waiting.pop_front() {
            if !self.channels[index].may_send(&next)? {
                self.channels[index].waiting.push_front(next);
                return self.lose_patience(index);
            }
            self.backlog.remove();
            self.deliver(index, next)?;
        }
        Ok(())
    }

    /// Delivers the oldest thing that waits, waiting for its credit.
    fn wait(&mut self, index: usize) -> TaskResult {
        let Some(next) = self.channels[index].waiting.pop_front() else { return Ok(()) };
        if next.needs_credit() {
            self.channels[index].credit.take()?;
        }
        self.backlog.remove();
        self.deliver(index, next)
    }

    fn deliver(&mut self, index: usize, outgoing: Outgoing<T>) -> TaskResult {
        if let Outgoing::Control(Control::Barrier(barrier)) = &outgoing
            && let Some(kept) = self.channels[index].patience.take_if(|p| p.barrier.checkpoint == barrier.checkpoint)
        {
            // It came to its turn, and overtook nothing.
            let _ = kept.overtaken.send(Overtaken::default());
        }
        match (&self.channels[index].target, outgoing) {
            (ChannelTarget::Local { gate, channel }, Outgoing::Batch(batch)) => {
                self.io.records_out.fetch_add(batch.len() as u64, Ordering::Relaxed);
                gate.put(*channel, Item::Batch(batch));
            }
            (ChannelTarget::Local { gate, channel }, Outgoing::Control(control)) => {
                gate.put(*channel, Item::Control(control));
            }
            (ChannelTarget::Remote { connection, .. }, Outgoing::Frame { frame, records, .. }) => {
                self.io.records_out.fetch_add(records, Ordering::Relaxed);
                self.io.bytes_out.fetch_add(frame.len() as u64, Ordering::Relaxed);
                send_frame(connection, frame)?;
            }
            (ChannelTarget::Remote { connection, channel }, Outgoing::Control(control)) => {
                send_frame(connection, control_frame(*channel, &control)?)?;
            }
            (ChannelTarget::Local { .. }, Outgoing::Frame { .. })
            | (ChannelTarget::Remote { .. }, Outgoing::Batch(_)) => {
                unreachable!("a channel's buffers are of the kind of its target")
            }
        }
        Ok(())
    }
}

impl<T> Outgoing<T> {
    fn needs_credit(&self) -> bool {
        match self {
            Self::Batch(_) | Self::Frame { .. } => true,
            Self::Control(_) => false,
        }
    }
}

impl<T> Channel<T> {
    fn may_send(&self, outgoing: &Outgoing<T>) -> TaskResult<bool> {
        Ok(!outgoing.needs_credit() || self.credit.try_take()?)
    }
}

fn control_frame(channel: ChannelId, control: &Control) -> TaskResult<Bytes> {
    let (kind, length, payload) = match control {
        Control::Watermark(time) => (FrameKind::Watermark, 8, time.to_le_bytes().to_vec()),
        Control::Idle(idle) => (FrameKind::Idle, u32::from(*idle), Vec::new()),
        Control::Barrier(barrier) => {
            let payload = serde_json::to_vec(&**barrier)
                .map_err(|error| TaskError::caused_by(Blame::Flumen, "serialising a barrier", &error))?;
            (FrameKind::Barrier, payload.len() as u32, payload)
        }
        Control::EndOfData => (FrameKind::EndOfData, 0, Vec::new()),
        Control::Close => (FrameKind::EndOfInput, 0, Vec::new()),
    };
    let header = Header { kind, channel, length };
    Ok([&header.encode()[..], &payload].concat().into())
}

/// The queue into a connection is longer than the credit of all its channels, so this seldom waits, and never for longer
/// than the connection needs to send.
fn send_frame(connection: &mpsc::Sender<Bytes>, frame: Bytes) -> TaskResult {
    let gone = || TaskError::failed(Blame::Peer, "the connection to a receiving worker broke");
    match connection.try_send(frame) {
        Ok(()) => Ok(()),
        Err(TrySendError::Full(frame)) => connection.blocking_send(frame).map_err(|_| gone()),
        Err(TrySendError::Closed(_)) => Err(gone()),
    }
}
