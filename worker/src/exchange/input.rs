//! What a subtask takes from its gate: the channels' watermarks, idleness and barriers brought together.
//!
//! A checkpoint's barriers are *aligned*: a channel that has delivered its barrier is held until the others have. Or they
//! *overtake*: the subtask takes its snapshot as soon as the first barrier arrives, and what the other channels deliver in
//! front of theirs is copied into the checkpoint. A barrier may also be aligned at first, and overtake when it has waited
//! for too long: for the other channels' barriers, or behind records that are not taken.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use flumen_model::checkpoint::{Alignment, Barrier, CheckpointId};

use crate::batch::{Batch, EventTime, NO_TIME};
use crate::checkpoint::Overtaken;
use crate::exchange::codec;
use crate::exchange::gate::{Control, Gate, Item, Queue};
use crate::operator::{BATCH_RECORDS, Data, TaskResult};
use crate::subtask::IoCounters;

/// Checkpoints that were given up while an older one may be under way: far more than are ever under way at once.
const ABORTED_MAX: usize = 64;

/// What a subtask has to act on.
pub(crate) enum Taken {
    /// Records; they are in the batch that was given.
    Records,
    /// The event time of the whole input has come to that point.
    Watermark(EventTime),
    /// All channels are idle, or one no longer is.
    Idle(bool),
    /// Every channel has delivered the barrier, or it has overtaken the others.
    Barrier(Arc<Barrier>, BarrierTimes),
    /// A barrier that was waited for will not come: a newer one has.
    Overrun(CheckpointId),
    /// No more records.
    EndOfData,
    /// Nothing follows on any channel.
    Closed,
}

/// How long a barrier took to arrive everywhere.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BarrierTimes {
    /// When the first channel delivered it, or when it was seen behind the records that it overtakes.
    pub(crate) first: Instant,
    /// Whether it overtook records.
    pub(crate) unaligned: bool,
}

#[derive(Debug, Clone, Copy)]
struct Channel {
    watermark: EventTime,
    idle: bool,
    ended: bool,
    closed: bool,
}

/// A barrier on its way through the channels.
struct Alignments {
    barrier: Arc<Barrier>,
    arrived: Vec<bool>,
    /// When it was first seen, perhaps behind records that were not taken yet.
    seen: Instant,
    /// When it loses its patience and overtakes records.
    overtakes: Option<Instant>,
    /// When the first channel delivered it.
    first: Option<Instant>,
    /// Set once it has overtaken.
    overtaken: Option<Overtaking>,
}

/// Records in front of barriers that are still to come.
struct Overtaking {
    records: Overtaken,
    /// Number of the first item of the queue that was not looked at yet.
    next: u64,
}

impl Alignments {
    fn times(&self, unaligned: bool) -> BarrierTimes {
        BarrierTimes { first: self.first.unwrap_or(self.seen), unaligned }
    }

    /// Whether it is more than seen.
    fn has_begun(&self) -> bool {
        self.first.is_some() || self.overtaken.is_some()
    }
}

/// Records of one buffer that did not fit into one batch.
struct Rest {
    channel: u32,
    bytes: bytes::Bytes,
    timed: bool,
}

/// A subtask's side of its gate.
pub(crate) struct Input<T> {
    gate: Arc<Gate<T>>,
    io: Arc<IoCounters>,
    channels: Vec<Channel>,
    /// What a held channel delivered, in order, and then what was released: older than everything in the gate.
    held: VecDeque<(u32, Item<T>)>,
    released: VecDeque<(u32, Item<T>)>,
    rest: Option<Rest>,
    alignment: Option<Alignments>,
    /// Barriers of these and older checkpoints are of no interest any more.
    done: CheckpointId,
    /// Newer ones that were given up, while older ones may still be under way.
    aborted: BTreeSet<CheckpointId>,
    watermark: EventTime,
    idle: bool,
    end_told: bool,
    close_told: bool,
}

impl<T: Data> Input<T> {
    pub(crate) fn new(gate: Arc<Gate<T>>, io: Arc<IoCounters>) -> Self {
        let channel = Channel { watermark: NO_TIME, idle: false, ended: false, closed: false };
        Self {
            channels: vec![channel; gate.channels()],
            gate,
            io,
            held: VecDeque::new(),
            released: VecDeque::new(),
            rest: None,
            alignment: None,
            done: CheckpointId(0),
            aborted: BTreeSet::new(),
            watermark: NO_TIME,
            idle: false,
            end_told: false,
            close_told: false,
        }
    }

    /// The next thing to act on; `None` when nothing waits. Records are put into the empty batch.
    pub(crate) fn next(&mut self, batch: &mut Batch<T>) -> TaskResult<Option<Taken>> {
        if let Some(taken) = self.next_of_alignment()? {
            return Ok(Some(taken));
        }
        if let Some(rest) = self.rest.take() {
            self.decode(rest, batch)?;
            return Ok(Some(Taken::Records));
        }
        loop {
            if let Some(taken) = self.tell_end() {
                return Ok(Some(taken));
            }
            let item = match self.released.pop_front() {
                Some(item) => Some(item),
                None => self.take()?,
            };
            let Some((channel, item)) = item else { return Ok(None) };
            if self.is_held(channel) {
                self.held.push_back((channel, item));
                continue;
            }
            match item {
                Item::Batch(mut records) => {
                    std::mem::swap(batch, &mut records);
                    self.gate.give_back(channel);
                    return Ok(Some(Taken::Records));
                }
                Item::Bytes { bytes, timed } => {
                    self.io.bytes_in.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                    self.decode(Rest { channel, bytes, timed }, batch)?;
                    return Ok(Some(Taken::Records));
                }
                Item::Control(control) => {
                    if let Some(taken) = self.control(channel, control)? {
                        return Ok(Some(taken));
                    }
                }
            }
        }
    }

    /// The oldest thing in the gate. While a barrier overtakes, nothing is taken that was not looked at.
    fn take(&mut self) -> TaskResult<Option<(u32, Item<T>)>> {
        let Self { gate, alignment, .. } = self;
        match alignment {
            Some(alignment) if alignment.overtaken.is_some() => {
                gate.take_after(|queue| copy_new_arrivals(alignment, gate, queue))
            }
            Some(_) | None => gate.take(),
        }
    }

    /// The JobMaster asks for a checkpoint, because all senders have finished, whose barrier may overtake what they sent
    /// last: as if each channel delivered it with its end. Gives an older one back that is given up for it.
    pub(crate) fn trigger(&mut self, barrier: Barrier) -> Option<CheckpointId> {
        match self.is_wanted(&barrier).then(|| self.begin(&Arc::new(barrier))).flatten() {
            Some(Taken::Overrun(older)) => Some(older),
            _ => None,
        }
    }

    /// The part of [`next`](Self::next) that does not take records: barriers that overtake. For a subtask that may not
    /// take records now.
    pub(crate) fn next_overtaking(&mut self) -> TaskResult<Option<Taken>> {
        if self.gate.take_urgent()
            && let Some(barrier) = self.waiting_barrier()
            && let Some(overrun) = self.begin(&barrier)
        {
            return Ok(Some(overrun));
        }
        let Some(alignment) = &self.alignment else { return Ok(None) };
        if alignment.overtaken.is_some() {
            self.look()?;
            return Ok(None);
        }
        if alignment.overtakes.is_some_and(|at| at <= Instant::now()) { self.overtake().map(Some) } else { Ok(None) }
    }

    /// When [`next_overtaking`](Self::next_overtaking) has to be asked again, whatever arrives.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        let alignment = self.alignment.as_ref().filter(|a| a.overtaken.is_none())?;
        alignment.overtakes.map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// All that the last overtaking barrier overtook, once it has arrived everywhere.
    pub(crate) fn take_overtaken(&mut self) -> Option<(CheckpointId, Overtaken)> {
        let complete = self.all_arrived() && self.alignment.as_ref().is_some_and(|a| a.overtaken.is_some());
        if !complete {
            return None;
        }
        let alignment = self.alignment.take()?;
        Some((alignment.barrier.checkpoint, alignment.overtaken?.records))
    }

    /// A checkpoint will never be complete: its barriers are not waited for.
    pub(crate) fn abort(&mut self, checkpoint: CheckpointId) {
        if self.alignment.take_if(|a| a.barrier.checkpoint == checkpoint).is_some() {
            self.set_done(checkpoint);
            self.release();
        } else if checkpoint > self.done {
            self.aborted.insert(checkpoint);
            if self.aborted.len() > ABORTED_MAX
                && let Some(oldest) = self.aborted.pop_first()
            {
                self.set_done(oldest);
            }
        }
    }

    fn set_done(&mut self, checkpoint: CheckpointId) {
        self.done = self.done.max(checkpoint);
        self.aborted.retain(|aborted| *aborted > checkpoint);
    }

    /// Whether a barrier is still to be waited for. Where a newer one has come, older ones are not: some channel will not deliver
    /// them.
    fn is_wanted(&self, barrier: &Barrier) -> bool {
        let id = barrier.checkpoint;
        let overrun = self.alignment.as_ref().is_some_and(|a| a.barrier.checkpoint > id);
        id > self.done && !overrun && !self.aborted.contains(&id)
    }

    /// Whether nothing follows on any channel, and everything has been taken.
    pub(crate) fn is_closed(&self) -> bool {
        self.close_told
    }

    /// Whether all channels have said that no records follow.
    pub(crate) fn has_ended(&self) -> bool {
        self.channels.iter().all(|channel| channel.ended)
    }

    fn decode(&mut self, mut rest: Rest, batch: &mut Batch<T>) -> TaskResult {
        let mut bytes = &rest.bytes[..];
        while !bytes.is_empty() && batch.len() < BATCH_RECORDS {
            let time = if rest.timed { codec::decode_time(&mut bytes)? } else { NO_TIME };
            batch.push(codec::decode(&mut bytes)?, time);
        }
        let left = bytes.len();
        if left == 0 {
            self.gate.give_back(rest.channel);
        } else {
            rest.bytes = rest.bytes.split_off(rest.bytes.len() - left);
            self.rest = Some(rest);
        }
        Ok(())
    }

    fn is_held(&self, channel: u32) -> bool {
        self.alignment.as_ref().is_some_and(|a| {
            a.overtaken.is_none() && a.barrier.alignment != Alignment::Unblocked && a.arrived[channel as usize]
        })
    }

    fn control(&mut self, index: u32, control: Control) -> TaskResult<Option<Taken>> {
        let channel = &mut self.channels[index as usize];
        match control {
            Control::Watermark(time) => {
                channel.watermark = channel.watermark.max(time);
                channel.idle = false;
                Ok(self.time_or_idleness())
            }
            Control::Idle(idle) => {
                channel.idle = idle;
                Ok(self.time_or_idleness())
            }
            Control::EndOfData => {
                channel.ended = true;
                Ok(self.time_or_idleness())
            }
            Control::Close => {
                channel.closed = true;
                Ok(self.arrived_everywhere())
            }
            Control::Barrier(barrier) => self.barrier(index, &barrier),
        }
    }

    /// The watermark of the input is the least of its channels that are neither idle nor at their end.
    fn time_or_idleness(&mut self) -> Option<Taken> {
        let open = || self.channels.iter().filter(|channel| !channel.ended);
        let idle = open().next().is_some() && open().all(|channel| channel.idle);
        if idle != self.idle {
            self.idle = idle;
            return Some(Taken::Idle(idle));
        }
        let watermark = open().filter(|channel| !channel.idle).map(|channel| channel.watermark).min()?;
        if watermark <= self.watermark {
            return None;
        }
        self.watermark = watermark;
        Some(Taken::Watermark(watermark))
    }

    fn tell_end(&mut self) -> Option<Taken> {
        // Not before what was held back has been worked on, and never in the middle of an alignment.
        if !self.released.is_empty() || self.alignment.as_ref().is_some_and(Alignments::has_begun) {
            return None;
        }
        if !self.end_told && self.has_ended() {
            self.end_told = true;
            return Some(Taken::EndOfData);
        }
        if !self.close_told && self.channels.iter().all(|channel| channel.closed) {
            self.close_told = true;
            return Some(Taken::Closed);
        }
        None
    }

    fn barrier(&mut self, channel: u32, barrier: &Arc<Barrier>) -> TaskResult<Option<Taken>> {
        if !self.is_wanted(barrier) {
            return Ok(None);
        }
        let overrun = self.begin(barrier);
        if let Some(alignment) = &mut self.alignment {
            alignment.arrived[channel as usize] = true;
            alignment.first.get_or_insert_with(Instant::now);
        }
        // What else there is to say of the new one is said with the next call.
        if overrun.is_some() { Ok(overrun) } else { self.next_of_alignment() }
    }

    fn next_of_alignment(&mut self) -> TaskResult<Option<Taken>> {
        match self.next_overtaking()? {
            None => Ok(self.arrived_everywhere()),
            taken => Ok(taken),
        }
    }

    /// Begins to wait for a barrier, unless that is done already. When an older one was waited for, that one is given up
    /// and given back.
    fn begin(&mut self, barrier: &Arc<Barrier>) -> Option<Taken> {
        let waited_for = self.alignment.as_ref().map(|a| a.barrier.checkpoint);
        let overrun = waited_for.filter(|waited_for| *waited_for < barrier.checkpoint);
        if overrun.is_some() {
            self.alignment = None;
            self.release();
        }
        let channels = self.channels.len();
        let now = Instant::now();
        let overtakes = barrier.patience(SystemTime::now()).map(|patience| now + patience);
        let alignment = self.alignment.get_or_insert_with(|| Alignments {
            barrier: Arc::clone(barrier),
            arrived: vec![false; channels],
            seen: now,
            overtakes,
            first: None,
            overtaken: None,
        });
        // Another subtask may have lost its patience: so does this one.
        if barrier.alignment == Alignment::Unaligned && alignment.overtaken.is_none() {
            alignment.barrier = Arc::clone(barrier);
            alignment.overtakes = overtakes;
        }
        overrun.map(Taken::Overrun)
    }

    fn all_arrived(&self) -> bool {
        self.alignment
            .as_ref()
            .is_some_and(|a| a.arrived.iter().zip(&self.channels).all(|(arrived, channel)| *arrived || channel.closed))
    }

    /// The aligned barrier, once its last channel has delivered it or closed.
    fn arrived_everywhere(&mut self) -> Option<Taken> {
        if !self.all_arrived() || self.alignment.as_ref().is_some_and(|a| a.overtaken.is_some()) {
            return None;
        }
        let alignment = self.alignment.take()?;
        self.set_done(alignment.barrier.checkpoint);
        self.release();
        let times = alignment.times(false);
        Some(Taken::Barrier(alignment.barrier, times))
    }

    /// What was held comes before anything newer, and behind what was released and not yet taken.
    fn release(&mut self) {
        self.released.append(&mut self.held);
    }

    /// The barrier overtakes: all that the channels deliver in front of theirs becomes part of the checkpoint.
    fn overtake(&mut self) -> TaskResult<Taken> {
        self.release();
        let mut records = Overtaken::default();
        let Some(alignment) = &mut self.alignment else { unreachable!("a barrier was begun before it overtakes") };
        alignment.barrier = Arc::new(Barrier { alignment: Alignment::Unaligned, ..(*alignment.barrier).clone() });
        if let Some(rest) = self.rest.as_ref().filter(|rest| !alignment.arrived[rest.channel as usize]) {
            records.bytes(self.gate.origin(rest.channel), &rest.bytes, rest.timed);
        }
        for (channel, item) in &self.released {
            copy(&mut records, &self.gate, alignment, *channel, item)?;
        }
        let next = self.gate.lock().taken;
        alignment.overtaken = Some(Overtaking { records, next });
        let times = alignment.times(true);
        let barrier = Arc::clone(&alignment.barrier);
        self.set_done(barrier.checkpoint);
        self.look()?;
        Ok(Taken::Barrier(barrier, times))
    }

    /// Copies what arrived in front of the barriers that are still to come.
    fn look(&mut self) -> TaskResult {
        let Self { gate, alignment: Some(alignment), .. } = self else { return Ok(()) };
        copy_new_arrivals(alignment, gate, &gate.lock())
    }

    /// The first barrier in the queue that overtakes and is not done yet, or else the first that may overtake.
    fn waiting_barrier(&self) -> Option<Arc<Barrier>> {
        let queue = self.gate.lock();
        let barriers = queue.items.iter().filter_map(|(_, item)| match item {
            Item::Control(Control::Barrier(barrier)) => Some(barrier),
            Item::Control(_) | Item::Batch(_) | Item::Bytes { .. } => None,
        });
        let mut wanted = barriers.filter(|b| b.alignment.may_overtake() && self.is_wanted(b)).peekable();
        let first = wanted.peek().map(|first| Arc::clone(first));
        wanted.find(|b| b.alignment == Alignment::Unaligned).cloned().or(first)
    }
}

impl<T> Drop for Input<T> {
    fn drop(&mut self) {
        self.gate.leave();
    }
}

/// Copies what arrived in front of the barriers that are still to come, if one overtakes.
fn copy_new_arrivals<T: Data>(alignment: &mut Alignments, gate: &Gate<T>, queue: &Queue<T>) -> TaskResult {
    let Some(mut overtaking) = alignment.overtaken.take() else { return Ok(()) };
    let known = usize::try_from(overtaking.next.saturating_sub(queue.taken)).unwrap_or(usize::MAX);
    for (channel, item) in queue.items.iter().skip(known) {
        copy(&mut overtaking.records, gate, alignment, *channel, item)?;
    }
    overtaking.next = queue.taken + queue.items.len() as u64;
    alignment.overtaken = Some(overtaking);
    Ok(())
}

/// Copies an item if it stands in front of its channel's barrier; notes the barrier.
fn copy<T: Data>(
    records: &mut Overtaken,
    gate: &Gate<T>,
    alignment: &mut Alignments,
    channel: u32,
    item: &Item<T>,
) -> TaskResult {
    let arrived = &mut alignment.arrived[channel as usize];
    if *arrived {
        return Ok(());
    }
    match item {
        Item::Batch(batch) => records.batch(gate.origin(channel), batch)?,
        Item::Bytes { bytes, timed } => records.bytes(gate.origin(channel), bytes, *timed),
        Item::Control(Control::Barrier(barrier)) => *arrived = barrier.checkpoint >= alignment.barrier.checkpoint,
        // Nothing follows that could be overtaken.
        Item::Control(Control::Close) => *arrived = true,
        Item::Control(Control::Watermark(_) | Control::Idle(_) | Control::EndOfData) => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests;
