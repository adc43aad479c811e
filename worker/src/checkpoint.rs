//! A subtask's part of a checkpoint, while it is collected from the operators of its chain.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use flumen_model::checkpoint::{Barrier, Redistribution, SubtaskSnapshot};
use flumen_model::ids::OperatorId;
use flumen_state::PendingSnapshot;
use tokio::sync::oneshot;

use crate::batch::{Batch, EventTime};
use crate::exchange::codec;
use crate::exchange::gate::ChannelOrigin;
use crate::operator::{Data, TaskResult};
use crate::subtask::SubtaskContext;
use crate::upload::{self, Uploaded};

/// What the operators of one subtask give to a checkpoint. It passes through the chain with the barrier; afterwards it is
/// written in the background while the subtask goes on.
pub struct Snapshot {
    barrier: Barrier,
    parts: SnapshotParts,
}

/// A piece of work that has to be done before a snapshot counts.
pub type BeforeAck = Pin<Box<dyn Future<Output = TaskResult> + Send>>;

/// What was collected.
#[derive(Default)]
pub(crate) struct SnapshotParts {
    pub(crate) lists: BTreeMap<(OperatorId, String), ListPart>,
    pub(crate) keyed: Vec<(OperatorId, PendingSnapshot)>,
    pub(crate) overtaken: Overtaken,
    /// What barriers may still overtake that wait behind records in a writer.
    pub(crate) later: Vec<oneshot::Receiver<Overtaken>>,
    pub(crate) before_ack: Vec<BeforeAck>,
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("barrier", &self.barrier).finish_non_exhaustive()
    }
}

/// Items of an operator's list state.
#[derive(Debug)]
pub(crate) struct ListPart {
    pub(crate) redistribution: Redistribution,
    pub(crate) schema: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) ends: Vec<u64>,
}

impl Snapshot {
    /// An empty one for that barrier.
    pub fn new(barrier: Barrier) -> Self {
        Self { barrier, parts: SnapshotParts::default() }
    }

    /// Which checkpoint it is for.
    pub fn barrier(&self) -> &Barrier {
        &self.barrier
    }

    /// Adds the items of a list state: each is the serialised form of one item.
    ///
    /// `schema` is that of the items (`flumen_state`), empty when they are the operator's own business.
    pub fn list<'a>(
        &mut self,
        operator: OperatorId,
        name: &str,
        redistribution: Redistribution,
        schema: &str,
        items: impl IntoIterator<Item = &'a [u8]>,
    ) {
        let mut part = ListPart { redistribution, schema: schema.to_owned(), bytes: Vec::new(), ends: Vec::new() };
        for item in items {
            part.bytes.extend_from_slice(item);
            part.ends.push(part.bytes.len() as u64);
        }
        self.parts.lists.insert((operator, name.to_owned()), part);
    }

    /// Adds keyed state.
    pub fn keyed(&mut self, operator: OperatorId, state: PendingSnapshot) {
        self.parts.keyed.push((operator, state));
    }

    /// Has something done, in the background, before the snapshot counts; an error of it declines the checkpoint.
    pub fn before_ack(&mut self, work: BeforeAck) {
        self.parts.before_ack.push(work);
    }

    /// Writes everything, outside of a running subtask: for operators under test. Waits for the operator's thread to go on
    /// with its part.
    ///
    /// # Errors
    /// Something can't be written, or the operator is gone.
    pub async fn write(self, context: &SubtaskContext) -> TaskResult<SubtaskSnapshot> {
        let (written, _) = upload::write(context, self, &Uploaded::restored(&context.restored)).await?;
        Ok(written)
    }

    /// Adds records that the barrier overtook.
    pub(crate) fn overtaken(&mut self, overtaken: Overtaken) {
        self.parts.overtaken.append(overtaken);
    }

    /// Adds records that the barrier may still overtake: the snapshot waits until it is known which. One whose sender is
    /// gone will never be complete.
    pub(crate) fn overtaken_later(&mut self, overtaken: oneshot::Receiver<Overtaken>) {
        self.parts.later.push(overtaken);
    }

    pub(crate) fn into_parts(self) -> (Barrier, SnapshotParts) {
        (self.barrier, self.parts)
    }
}

/// Records that a barrier overtook, by channel, in runs with and without event times.
#[derive(Debug, Default)]
pub(crate) struct Overtaken {
    pub(crate) runs: Vec<Run>,
}

/// See [`Overtaken`].
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) origin: ChannelOrigin,
    /// The receiving subtask; `None`: the one whose snapshot it is.
    pub(crate) target: Option<u32>,
    pub(crate) timed: bool,
    pub(crate) bytes: Vec<u8>,
}

impl Overtaken {
    fn run(&mut self, origin: ChannelOrigin, target: Option<u32>, timed: bool) -> &mut Vec<u8> {
        let same = |run: &Run| run.origin == origin && run.target == target;
        // Only the channel's last run may grow: the order within a channel is kept.
        let at = self.runs.iter().rposition(same).filter(|at| self.runs[*at].timed == timed);
        let at = at.unwrap_or_else(|| {
            self.runs.push(Run { origin, target, timed, bytes: Vec::new() });
            self.runs.len() - 1
        });
        &mut self.runs[at].bytes
    }

    /// Adds records that are serialised already.
    pub(crate) fn bytes(&mut self, origin: ChannelOrigin, bytes: &Bytes, timed: bool) {
        self.run(origin, None, timed).extend_from_slice(bytes);
    }

    /// Adds records.
    pub(crate) fn batch<T: Data>(&mut self, origin: ChannelOrigin, batch: &Batch<T>) -> TaskResult {
        encode_batch(batch, self.run(origin, None, batch.is_timed()))
    }

    /// Adds records that their sender still held.
    pub(crate) fn sent(&mut self, origin: ChannelOrigin, target: u32, timed: bool, bytes: &[u8]) {
        self.run(origin, Some(target), timed).extend_from_slice(bytes);
    }

    /// Adds everything of another one behind this.
    pub(crate) fn append(&mut self, mut other: Self) {
        self.runs.append(&mut other.runs);
    }
}

/// The records one after the other, each behind its time if the batch has times.
pub(crate) fn encode_batch<T: Data>(batch: &Batch<T>, bytes: &mut Vec<u8>) -> TaskResult {
    for (index, record) in batch.records().iter().enumerate() {
        if batch.is_timed() {
            codec::encode_time(batch.time(index), bytes);
        }
        codec::encode(record, bytes)?;
    }
    Ok(())
}

/// Reads records as [`encode_batch`] wrote them.
pub(crate) fn decode_records<T: Data>(
    mut bytes: &[u8],
    timed: bool,
    mut each: impl FnMut(T, EventTime) -> TaskResult,
) -> TaskResult {
    while !bytes.is_empty() {
        let time = if timed { codec::decode_time(&mut bytes)? } else { crate::batch::NO_TIME };
        each(codec::decode(&mut bytes)?, time)?;
    }
    Ok(())
}
