//! The receiving side of a subtask: one queue for all its channels, bounded by the channels' credits.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use flumen_model::checkpoint::Barrier;
use flumen_model::failure::Blame;
use flumen_wire::data::ChannelId;

use crate::batch::{Batch, EventTime};
use crate::exchange::credit::Credit;
use crate::operator::{TaskError, TaskResult};
use crate::subtask::SubtaskHandle;

/// What arrives on a channel: `(Batch | Bytes | Control)*`, see [`Control`] for the order.
#[derive(Debug)]
pub enum Item<T> {
    /// Records of a sender in this process.
    Batch(Batch<T>),
    /// Serialised records of a sender in another process.
    Bytes {
        /// One after the other.
        bytes: Bytes,
        /// Whether each stands behind its event time.
        timed: bool,
    },
    /// Something between records.
    Control(Control),
}

/// What travels between records: `(Watermark | Idle | Barrier)* EndOfData Barrier* Close`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    /// No record of this or an earlier event time follows on this channel.
    Watermark(EventTime),
    /// Nothing is to be expected on this channel for now (true), or something is again.
    Idle(bool),
    /// The place of a checkpoint.
    Barrier(Arc<Barrier>),
    /// No more records and watermarks.
    EndOfData,
    /// Nothing at all follows.
    Close,
}

/// Where a channel comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelOrigin {
    /// Index into the JobGraph's edges.
    pub edge: u32,
    /// The sending subtask.
    pub source: u32,
}

/// How a channel's sender hears that a buffer was processed.
#[derive(Debug)]
pub enum CreditReturn {
    /// It is in this process.
    Local(Arc<Credit>),
    /// It is at the other end of that connection.
    Remote {
        /// Takes what the connection sends back, and how many buffers; bounded by the credit itself.
        connection: tokio::sync::mpsc::Sender<(ChannelId, u32)>,
        /// The channel's name on the connection.
        channel: ChannelId,
    },
}

/// The items that wait, each with its channel.
pub(crate) struct Queue<T> {
    pub(crate) items: VecDeque<(u32, Item<T>)>,
    /// Items that were ever taken out at the front: gives each item a number that does not change.
    pub(crate) taken: u64,
    failure: Option<TaskError>,
}

struct Channel {
    origin: ChannelOrigin,
    credit_return: OnceLock<CreditReturn>,
    /// Buffers from another process that its sender does not know to be processed.
    outstanding: AtomicU32,
    /// Those of them that are processed. Changed by the receiver alone.
    processed: AtomicU32,
    /// Controls from another process that are not taken yet.
    controls: AtomicU32,
}

/// Processed buffers of another process are told of in parts of the credit.
const CREDIT_PARTS: u32 = 4;

/// Watermarks and barriers of one channel that may wait. A watermark directly behind another replaces it, so there are
/// hardly more than the channel has buffers.
const CONTROLS_MAX: u32 = 1024;

/// A subtask's input.
pub struct Gate<T> {
    queue: Mutex<Queue<T>>,
    /// Set while a barrier that overtakes records, or will when its time is over, may wait in the queue.
    urgent: AtomicBool,
    channels: Vec<Channel>,
    credit: u32,
    receiver: Arc<SubtaskHandle>,
}

impl<T> Gate<T> {
    /// A gate with a channel from each of these senders, each with that credit.
    pub fn new(origins: &[ChannelOrigin], credit: u32, receiver: Arc<SubtaskHandle>) -> Self {
        let channel = |origin: &ChannelOrigin| Channel {
            origin: *origin,
            credit_return: OnceLock::new(),
            outstanding: AtomicU32::new(0),
            processed: AtomicU32::new(0),
            controls: AtomicU32::new(0),
        };
        Self {
            queue: Mutex::new(Queue { items: VecDeque::new(), taken: 0, failure: None }),
            urgent: AtomicBool::new(false),
            channels: origins.iter().map(channel).collect(),
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

    /// Where a channel comes from.
    pub(crate) fn origin(&self, channel: u32) -> ChannelOrigin {
        self.channels[channel as usize].origin
    }

    /// Tells how the sender of a channel hears of processed buffers. The first call for a channel counts.
    pub fn connect(&self, channel: u32, credit_return: CreditReturn) {
        if let Some(channel) = self.channels.get(channel as usize) {
            let _ = channel.credit_return.set(credit_return);
        }
    }

    /// A sender in this process hands something over. It has taken credit for it if it holds records.
    pub fn put(&self, channel: u32, item: Item<T>) {
        let urgent = matches!(&item, Item::Control(Control::Barrier(b)) if b.alignment.may_overtake());
        {
            let mut queue = self.lock();
            match (queue.items.back_mut(), item) {
                (Some((last, Item::Control(Control::Watermark(before)))), Item::Control(Control::Watermark(time)))
                    if *last == channel =>
                {
                    *before = time;
                    self.control_taken(channel);
                }
                (_, item) => queue.items.push_back((channel, item)),
            }
        }
        if urgent {
            self.urgent.store(true, Ordering::Release);
        }
        self.receiver.wake();
    }

    /// The oldest thing that arrived, if any.
    ///
    /// # Errors
    /// A sender is gone before its channels ended.
    pub fn take(&self) -> TaskResult<Option<(u32, Item<T>)>> {
        self.take_after(|_| Ok(()))
    }

    /// The same, after a look at all that waits: nothing arrives between the two.
    pub(crate) fn take_after(&self, look: impl FnOnce(&Queue<T>) -> TaskResult) -> TaskResult<Option<(u32, Item<T>)>> {
        let mut queue = self.lock();
        look(&queue)?;
        match queue.items.pop_front() {
            Some((channel, item)) => {
                queue.taken += 1;
                if matches!(item, Item::Control(_)) {
                    self.control_taken(channel);
                }
                Ok(Some((channel, item)))
            }
            None => queue.failure.clone().map_or(Ok(None), Err),
        }
    }

    /// Whether a barrier that may overtake records may have arrived since the last call.
    #[inline]
    pub(crate) fn take_urgent(&self) -> bool {
        self.urgent.load(Ordering::Acquire) && self.urgent.swap(false, Ordering::AcqRel)
    }

    /// A buffer of that channel was processed.
    pub fn give_back(&self, channel: u32) {
        let Some(channel) = self.channels.get(channel as usize) else { return };
        match channel.credit_return.get() {
            Some(CreditReturn::Local(credit)) => credit.give(1),
            Some(CreditReturn::Remote { connection, channel: id }) => {
                // Said of several at once. Fewer than a quarter of the credit is held back, so a sender that has none left
                // hears of what was processed as soon as the rest of it is.
                let processed = channel.processed.load(Ordering::Relaxed) + 1;
                let told = processed >= (self.credit / CREDIT_PARTS).max(1);
                channel.processed.store(if told { 0 } else { processed }, Ordering::Relaxed);
                if told {
                    channel.outstanding.fetch_sub(processed, Ordering::AcqRel);
                    // The queue holds the credit of all channels of the connection; a send fails only when it is closed.
                    let _ = connection.try_send((*id, processed));
                }
            }
            None => {}
        }
    }

    /// A control is out of the queue.
    pub(crate) fn control_taken(&self, channel: u32) {
        if let Some(channel) = self.channels.get(channel as usize)
            && matches!(channel.credit_return.get(), Some(CreditReturn::Remote { .. }))
        {
            channel.controls.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// The receiver has ended, perhaps before its senders: those in this process, which no connection tells it, fail
    /// when they next want to send.
    pub(crate) fn leave(&self) {
        for channel in &self.channels {
            if let Some(CreditReturn::Local(credit)) = channel.credit_return.get() {
                credit.break_off();
            }
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Queue<T>> {
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
    fn bytes(&self, channel: u32, bytes: Bytes, timed: bool) -> Result<(), CreditExceeded>;
    /// Something between records arrived on a channel.
    ///
    /// # Errors
    /// The sender sends more of them than anybody could mean.
    fn control(&self, channel: u32, control: Control) -> Result<(), CreditExceeded>;
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

    fn bytes(&self, channel: u32, bytes: Bytes, timed: bool) -> Result<(), CreditExceeded> {
        let exceeded = CreditExceeded { credit: self.credit };
        let outstanding = &self.channels.get(channel as usize).ok_or(exceeded)?.outstanding;
        if outstanding.fetch_add(1, Ordering::AcqRel) >= self.credit {
            return Err(exceeded);
        }
        self.put(channel, Item::Bytes { bytes, timed });
        Ok(())
    }

    fn control(&self, channel: u32, control: Control) -> Result<(), CreditExceeded> {
        let exceeded = CreditExceeded { credit: CONTROLS_MAX };
        let controls = &self.channels.get(channel as usize).ok_or(exceeded)?.controls;
        if controls.fetch_add(1, Ordering::AcqRel) >= CONTROLS_MAX {
            return Err(exceeded);
        }
        self.put(channel, Item::Control(control));
        Ok(())
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

    fn gate(channels: u32) -> Gate<u64> {
        let origins: Vec<_> = (0..channels).map(|source| ChannelOrigin { edge: 0, source }).collect();
        Gate::new(&origins, 2, Arc::default())
    }

    #[test]
    fn a_peer_that_exceeds_its_credit_is_refused() {
        let gate = gate(2);
        let (connection, mut credits) = tokio::sync::mpsc::channel(4);
        let channel = ChannelId { attempt: Default::default(), edge: 0, source: 0, target: 0 };
        RemoteGate::connect(&gate, 0, CreditReturn::Remote { connection, channel });
        let bytes = |channel| RemoteGate::bytes(&gate, channel, Bytes::new(), false);
        assert!(bytes(0).is_ok() && bytes(0).is_ok());
        assert_eq!(bytes(0), Err(CreditExceeded { credit: 2 }));
        assert!(bytes(1).is_ok(), "another channel has its own credit");
        assert!(bytes(7).is_err(), "a channel that does not exist has none");
        gate.give_back(0);
        assert_eq!(credits.try_recv(), Ok((channel, 1)));
    }

    #[test]
    fn processed_buffers_are_told_of_in_parts_of_the_credit() {
        let gate = Gate::<u64>::new(&[ChannelOrigin { edge: 0, source: 0 }], 8, Arc::default());
        let (connection, mut credits) = tokio::sync::mpsc::channel(8);
        let channel = ChannelId { attempt: Default::default(), edge: 0, source: 0, target: 0 };
        RemoteGate::connect(&gate, 0, CreditReturn::Remote { connection, channel });
        let mut told = 0;
        for _ in 0..8 {
            RemoteGate::bytes(&gate, 0, Bytes::new(), false).unwrap();
        }
        for processed in 1..=8 {
            gate.give_back(0);
            told += credits.try_recv().map_or(0, |(_, buffers)| buffers);
            assert_eq!(told, processed / 2 * 2, "a quarter of the credit at a time");
        }
        for _ in 0..8 {
            assert!(RemoteGate::bytes(&gate, 0, Bytes::new(), false).is_ok(), "all of the credit came back");
        }
        assert!(RemoteGate::bytes(&gate, 0, Bytes::new(), false).is_err());
    }

    #[test]
    fn a_peer_that_floods_with_controls_is_refused_but_watermarks_replace_each_other() {
        let gate = gate(1);
        let (connection, _credits) = tokio::sync::mpsc::channel(4);
        let channel = ChannelId { attempt: Default::default(), edge: 0, source: 0, target: 0 };
        RemoteGate::connect(&gate, 0, CreditReturn::Remote { connection, channel });
        for time in 0..10 * EventTime::from(CONTROLS_MAX) {
            gate.control(0, Control::Watermark(time)).unwrap();
        }
        let last = Control::Watermark(10 * EventTime::from(CONTROLS_MAX) - 1);
        assert!(matches!(gate.take(), Ok(Some((0, Item::Control(control)))) if control == last));
        assert!(matches!(gate.take(), Ok(None)));
        for _ in 0..CONTROLS_MAX {
            gate.control(0, Control::Idle(true)).unwrap();
        }
        assert!(gate.control(0, Control::Idle(true)).is_err());
    }

    #[test]
    fn what_arrived_before_a_connection_broke_is_still_delivered() {
        let gate = gate(1);
        gate.put(0, Item::Batch(vec![1].into()));
        gate.fail(sender_gone("test"));
        assert!(matches!(gate.take(), Ok(Some((0, Item::Batch(_))))));
        assert!(matches!(gate.take(), Err(TaskError::Failed { blame: Blame::Peer, .. })));
    }
}
