//! Writers: which channel a record goes to.

use flumen_model::failure::Blame;

use crate::batch::Batch;
use crate::exchange::channels::Channels;
use crate::operator::{Data, Push, Signal, TaskError, TaskResult};

/// Chooses the channel of each record.
pub trait Route<T> {
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
    fn push(&mut self, batch: &mut Batch<T>) -> TaskResult {
        let channels = self.channels.len();
        if channels == 1 {
            self.channels.emit_all(batch)?;
            return self.channels.flush_if_due();
        }
        for (record, time) in batch.drain() {
            let channel = self.route.route(&record, channels)?;
            self.channels.emit(channel, record, time)?;
        }
        self.channels.flush_if_due()
    }

    fn signal(&mut self, signal: Signal<'_>) -> TaskResult {
        if let Signal::Resume = signal {
            let route = &mut self.route;
            self.channels.resend(|record, channels| route.route(record, channels))?;
        }
        self.channels.signal(signal)
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
    fn push(&mut self, batch: &mut Batch<T>) -> TaskResult {
        let last = self.channels.len() - 1;
        for (record, time) in batch.drain() {
            for channel in 0..last {
                self.channels.emit(channel, record.clone(), time)?;
            }
            self.channels.emit(last, record, time)?;
        }
        self.channels.flush_if_due()
    }

    fn signal(&mut self, signal: Signal<'_>) -> TaskResult {
        if let Signal::Resume = signal {
            self.channels.resend(|_, _| {
                let text = "records in flight to all subtasks can't be divided anew: restore with the same parallelism, or from a savepoint";
                Err(TaskError::failed(Blame::User, text))
            })?;
        }
        self.channels.signal(signal)
    }
}
