//! The receiving side of a subtask: one queue for all its channels, bounded by the channels' credits.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use flumen_model::failure::Blame;
use flumen_wire::data::ChannelId;

use crate::exchange::credit::Credit;
use crate::operator::{TaskError, TaskResult};
use crate::subtask::SubtaskHandle;

/// What arrives on a channel: `(Batch | Bytes)* End`.
#[derive(Debug)]
pub enum Item<T> {
    /// Records of a sender in this process.
    Batch(Vec<T>),
    /// Serialised records of a sender in another process.
    Bytes(Bytes),
    /// No more records on this channel.
    End,
}

/// How a channel's sender hears that a buffer was processed.
#[derive(Debug)]
pub enum CreditReturn {
    /// It is in this process.
    Local(Arc<Credit>),
    /// It is at the other end of that connection.
    Remote {
        /// Takes what the connection sends back; bounded by the credit itself.
        connection: tokio::sync::mpsc::Sender<ChannelId>,
        /// The channel's name on the connection.
        channel: ChannelId,
    },
}

struct Queue<T> {
    items: VecDeque<(u32, Item<T>)>,
    failure: Option<TaskError>,
}

struct Channel {
    credit_return: OnceLock<CreditReturn>,
    /// Buffers from another process that are not processed yet.
    outstanding: AtomicU32,
}

/// A subtask's input.
pub struct Gate<T> {
    queue: Mutex<Queue<T>>,
    channels: Vec<Channel>,
    credit: u32,
    receiver: Arc<SubtaskHandle>,
}

impl<T> Gate<T> {
    /// A gate with that many channels, each with that credit.
    pub fn new(channels: usize, credit: u32, receiver: Arc<SubtaskHandle>) -> Self {
        let channel = |_| Channel { credit_return: OnceLock::new(), outstanding: AtomicU32::new(0) };
        Self {
            queue: Mutex::new(Queue { items: VecDeque::new(), failure: None }),
            channels: (0..channels).map(channel).collect(),
            credit,
            receiver,
        }
    }

    /// Number of channels.
    pub fn channels(&self) -> usize {
        self.channels.len()
    }

    /// Credit of each channel.
    pub fn credit(&self) -> u32 {
        self.credit
    }

    /// Tells how the sender of a channel hears of processed buffers. The first call for a channel counts.
    pub fn connect(&self, channel: u32, credit_return: CreditReturn) {
        if let Some(channel) = self.channels.get(channel as usize) {
            let _ = channel.credit_return.set(credit_return);
        }
    }

    /// A sender in this process hands something over. It has taken credit for it.
    pub fn put(&self, channel: u32, item: Item<T>) {
        self.lock().items.push_back((channel, item));
        self.receiver.wake();
    }

    /// The oldest thing that arrived, if any.
    ///
    /// # Errors
    /// A sender is gone before its channels ended.
    pub fn take(&self) -> TaskResult<Option<(u32, Item<T>)>> {
        let mut queue = self.lock();
        match queue.items.pop_front() {
            Some(item) => Ok(Some(item)),
            None => queue.failure.clone().map_or(Ok(None), Err),
        }
    }

    /// A buffer of that channel was processed.
    pub fn give_back(&self, channel: u32) {
        let Some(channel) = self.channels.get(channel as usize) else { return };
        match channel.credit_return.get() {
            Some(CreditReturn::Local(credit)) => credit.give(1),
            Some(CreditReturn::Remote { connection, channel: id }) => {
                channel.outstanding.fetch_sub(1, Ordering::AcqRel);
                // The queue holds the credit of all channels of the connection; a send fails only when it is closed.
                let _ = connection.try_send(*id);
            }
            None => {}
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Queue<T>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A gate as a connection sees it: without the records' type.
pub trait RemoteGate: Send + Sync {
    /// See [`Gate::connect`].
    fn connect(&self, channel: u32, credit_return: CreditReturn);
    /// Serialised records arrived on a channel.
    ///
    /// # Errors
    /// The sender had no credit for them.
    fn bytes(&self, channel: u32, bytes: Bytes) -> Result<(), CreditExceeded>;
    /// The end of a channel arrived.
    fn end(&self, channel: u32);
    /// The connection broke before all its channels ended.
    fn fail(&self, error: TaskError);
}

/// A peer that sends more than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sender exceeded its credit of {credit} buffers on a channel")]
pub struct CreditExceeded {
    /// What it may have on the way.
    pub credit: u32,
}

impl<T: Send> RemoteGate for Gate<T> {
    fn connect(&self, channel: u32, credit_return: CreditReturn) {
        Gate::connect(self, channel, credit_return);
    }

    fn bytes(&self, channel: u32, bytes: Bytes) -> Result<(), CreditExceeded> {
        let exceeded = CreditExceeded { credit: self.credit };
        let outstanding = &self.channels.get(channel as usize).ok_or(exceeded)?.outstanding;
        if outstanding.fetch_add(1, Ordering::AcqRel) >= self.credit {
            return Err(exceeded);
        }
        self.put(channel, Item::Bytes(bytes));
        Ok(())
    }

    fn end(&self, channel: u32) {
        self.put(channel, Item::End);
    }

    fn fail(&self, error: TaskError) {
        self.lock().failure.get_or_insert(error);
        self.receiver.wake();
    }
}

/// The failure of a receiver whose sender is gone.
pub fn sender_gone(why: impl std::fmt::Display) -> TaskError {
    TaskError::failed(Blame::Peer, format!("the connection from a sending worker broke: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_exceeds_its_credit_is_refused() {
        let gate = Gate::<u64>::new(2, 2, Arc::default());
        let (connection, mut credits) = tokio::sync::mpsc::channel(4);
        let channel = ChannelId { attempt: Default::default(), edge: 0, source: 0, target: 0 };
        RemoteGate::connect(&gate, 0, CreditReturn::Remote { connection, channel });
        assert!(gate.bytes(0, Bytes::new()).is_ok() && gate.bytes(0, Bytes::new()).is_ok());
        assert_eq!(gate.bytes(0, Bytes::new()), Err(CreditExceeded { credit: 2 }));
        assert!(gate.bytes(1, Bytes::new()).is_ok(), "another channel has its own credit");
        assert!(gate.bytes(7, Bytes::new()).is_err(), "a channel that does not exist has none");
        gate.give_back(0);
        assert_eq!(credits.try_recv(), Ok(channel));
    }

    #[test]
    fn what_arrived_before_a_connection_broke_is_still_delivered() {
        let gate = Gate::<u64>::new(1, 2, Arc::default());
        gate.put(0, Item::Batch(vec![1]));
        gate.fail(sender_gone("test"));
        assert!(matches!(gate.take(), Ok(Some((0, Item::Batch(_))))));
        assert!(matches!(gate.take(), Err(TaskError::Failed { blame: Blame::Peer, .. })));
    }
}
