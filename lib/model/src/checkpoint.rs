//! What a checkpoint consists of: who wrote which bytes where. The control plane carries and keeps these values; the bytes
//! behind a [`StateHandle`] are known to the state backend that wrote them alone.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::ids::{OperatorId, SubtaskId, VertexId};

/// The number of a checkpoint or savepoint of a job, from 1, never given twice in the life of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default)]
pub struct CheckpointId(pub u64);

impl fmt::Display for CheckpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Why a snapshot is taken, and what follows for the subtasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SnapshotKind {
    /// For recovery. May refer to files of earlier checkpoints.
    Checkpoint,
    /// A checkpoint that refers to no earlier file.
    FullCheckpoint,
    /// For the user: self-contained, in the canonical format.
    Savepoint,
    /// A savepoint after which every subtask ends, without emitting what an end of input would.
    StopWithSavepoint,
}

impl SnapshotKind {
    /// Whether files of earlier checkpoints may be referred to.
    pub fn may_share(self) -> bool {
        self == Self::Checkpoint
    }

    /// Whether it belongs to the user: never removed by a newer one.
    pub fn is_savepoint(self) -> bool {
        matches!(self, Self::Savepoint | Self::StopWithSavepoint)
    }
}

/// How a barrier passes records that wait on other channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Alignment {
    /// Channels that have delivered the barrier wait for the others.
    Aligned,
    /// No channel waits: records behind the barrier may be in the snapshot (at least once).
    Unblocked,
    /// The barrier overtakes records, which become part of the checkpoint.
    Unaligned,
    /// Aligned, but unaligned where the barrier still waits, before or behind an exchange, when so many milliseconds have
    /// passed since the checkpoint was triggered (`execution.checkpointing.aligned-checkpoint-timeout`).
    AlignedUntil(u64),
}

impl Alignment {
    /// Whether the barrier overtakes records, at once or when it has waited for too long.
    pub fn may_overtake(self) -> bool {
        matches!(self, Self::Unaligned | Self::AlignedUntil(_))
    }
}

/// What travels with the records of a checkpoint: everything that a subtask has to know to take its part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Barrier {
    /// Which checkpoint.
    pub checkpoint: CheckpointId,
    /// Why.
    pub kind: SnapshotKind,
    /// How it passes records.
    pub alignment: Alignment,
    /// When the JobMaster asked for it: milliseconds since 1970.
    pub triggered_ms: u64,
    /// Where files of this checkpoint alone are written: a directory.
    pub directory: String,
    /// Where files that later checkpoints may refer to are written: a directory.
    pub shared_directory: String,
}

impl Barrier {
    /// How long the barrier may still wait behind records before it overtakes them; `None` when it never does. `now` is
    /// compared with the JobMaster's clock: a clock that is behind makes this longer, but never longer than the whole
    /// time-out; one that is ahead makes it shorter.
    pub fn patience(&self, now: SystemTime) -> Option<Duration> {
        match self.alignment {
            Alignment::Aligned | Alignment::Unblocked => None,
            Alignment::Unaligned => Some(Duration::ZERO),
            Alignment::AlignedUntil(ms) => {
                let triggered = SystemTime::UNIX_EPOCH + Duration::from_millis(self.triggered_ms);
                let age = now.duration_since(triggered).unwrap_or_default();
                Some(Duration::from_millis(ms).saturating_sub(age))
            }
        }
    }
}

/// Where some bytes of state are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateHandle {
    /// Where.
    pub location: StateLocation,
    /// How many bytes.
    pub length: u64,
    /// XXH3 (64 bits, seed 0) of the bytes.
    pub checksum: u64,
}

/// See [`StateHandle`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StateLocation {
    /// Right here: few bytes (`state.storage.fs.memory-threshold`).
    Inline(#[serde(with = "hex")] Vec<u8>),
    /// In a file.
    File {
        /// Its full path.
        path: String,
        /// Where in it the bytes begin.
        offset: u64,
        /// True when it lies in the shared directory and other checkpoints may refer to it.
        shared: bool,
    },
}

/// The key groups that one subtask owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KeyGroupRange {
    /// The first.
    pub start: u32,
    /// The one after the last.
    pub end: u32,
}

impl KeyGroupRange {
    /// The groups of one subtask: those that [`subtask_of`](crate::key_group::subtask_of) leads to it.
    pub fn of_subtask(index: u32, parallelism: u32, max_parallelism: u32) -> Self {
        let first =
            |index: u32| (u64::from(index) * u64::from(max_parallelism)).div_ceil(u64::from(parallelism.max(1))) as u32;
        Self { start: first(index), end: first(index + 1) }
    }

    /// As a range of numbers.
    pub fn groups(self) -> Range<u32> {
        self.start..self.end
    }

    /// Whether it holds the group.
    pub fn contains(self, group: u32) -> bool {
        self.groups().contains(&group)
    }

    /// Whether both hold some group.
    pub fn overlaps(self, other: Self) -> bool {
        self.start < other.end && other.start < self.end
    }
}

/// Keyed state of one subtask of an operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyedState {
    /// Which format the parts have.
    pub format: KeyedFormat,
    /// Key groups that the parts hold, at least those; a reader takes only its own.
    pub groups: KeyGroupRange,
    /// Named by the backend: one file of the canonical format, or the files of a RocksDB instance.
    pub parts: BTreeMap<String, StateHandle>,
}

/// See [`KeyedState`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyedFormat {
    /// By key group, readable by every backend: part `state`.
    Canonical,
    /// The files of a RocksDB instance.
    RocksDb,
}

/// A list of items that an operator keeps outside of keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListState {
    /// How it is divided among subtasks on restore.
    pub redistribution: Redistribution,
    /// Schema of the items, for the check before a restore (`lib/state`); empty when the items are opaque bytes.
    #[serde(default)]
    pub schema: String,
    /// The bytes of the items, one after another; after a restore with another parallelism, perhaps with those of other
    /// subtasks before and behind.
    pub items: StateHandle,
    /// Where the first item begins, in bytes from the start of `items`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub start: u64,
    /// Where each item ends, in bytes from the start of `items`; the next one begins there.
    pub ends: Vec<u64>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// How the items of a [`ListState`] are divided on restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Redistribution {
    /// Each item goes to one subtask.
    Split,
    /// Every subtask gets the items of all.
    Union,
    /// All subtasks have the same items: each gets those of one former subtask.
    Broadcast,
}

/// What one operator of one subtask keeps.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorSnapshot {
    /// Keyed state; after a restore with another parallelism the pieces of several former subtasks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keyed: Vec<KeyedState>,
    /// Operator state by name; several pieces under one name after a restore.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub lists: BTreeMap<String, Vec<ListState>>,
}

impl OperatorSnapshot {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.keyed.is_empty() && self.lists.is_empty()
    }
}

/// Records that a barrier overtook on one channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InFlight {
    /// Index into the JobGraph's edges.
    pub edge: u32,
    /// The subtask that had sent them.
    pub source: u32,
    /// The subtask that they were for; [`ROUTE_AGAIN`](Self::ROUTE_AGAIN) when the parallelism has changed since.
    pub target: u32,
    /// Whether each record is preceded by its event time.
    pub timed: bool,
    /// The records, serialised as on the wire.
    pub records: StateHandle,
}

/// One subtask's part of a checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubtaskSnapshot {
    /// By operator of the chain.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub operators: BTreeMap<OperatorId, OperatorSnapshot>,
    /// Records that were on their way: into this subtask, and out of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub in_flight: Vec<InFlight>,
}

impl InFlight {
    /// A [`target`](Self::target) that the sender's partitioner chooses anew for each record.
    pub const ROUTE_AGAIN: u32 = u32::MAX;
}

impl SubtaskSnapshot {
    /// Every handle in it.
    pub fn handles(&self) -> impl Iterator<Item = &StateHandle> {
        let keyed = self.operators.values().flat_map(|o| o.keyed.iter().flat_map(|k| k.parts.values()));
        let lists = self.operators.values().flat_map(|o| o.lists.values().flatten().map(|list| &list.items));
        keyed.chain(lists).chain(self.in_flight.iter().map(|f| &f.records))
    }

    /// Bytes behind all handles.
    pub fn bytes(&self) -> u64 {
        self.handles().map(|handle| handle.length).sum()
    }
}

/// How long a subtask took for its part of a checkpoint, with Flink's words for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SnapshotTimes {
    /// From the trigger to the first barrier, milliseconds.
    pub start_delay_ms: u64,
    /// From the first barrier to the last, milliseconds.
    pub alignment_ms: u64,
    /// The subtask itself was busy with it, milliseconds.
    pub sync_ms: u64,
    /// From then until everything was written, milliseconds.
    pub async_ms: u64,
    /// Bytes written for this checkpoint (without what earlier ones had written).
    pub written_bytes: u64,
    /// Whether the barrier overtook records.
    pub unaligned: bool,
}

/// What the input side of a job had handed out when a checkpoint was triggered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceProgress {
    /// Splits that no subtask has asked for yet.
    pub remaining: Vec<String>,
    /// Splits that were handed out.
    pub handed_out: u64,
}

/// A checkpoint or savepoint that every subtask has confirmed: what its metadata file holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompletedCheckpoint {
    /// Its number.
    pub id: CheckpointId,
    /// What it was taken for.
    pub kind: SnapshotKind,
    /// When it was triggered: milliseconds since 1970.
    pub triggered_ms: u64,
    /// When the last subtask confirmed: milliseconds since 1970.
    pub completed_ms: u64,
    /// The directory that holds its metadata file.
    pub directory: String,
    /// What each vertex consisted of.
    pub vertices: Vec<VertexSnapshot>,
    /// What the JobMaster knew of the job's life, for the next one; `None` of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub life: Option<Box<JobLife>>,
}

/// What a JobMaster knows that neither the graph nor the state of subtasks tells: the next one goes on with it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct JobLife {
    /// When the job was accepted: milliseconds since 1970.
    pub start_ms: u64,
    /// How often it was restarted.
    pub restarts: u32,
    /// The failures that a failure rate still counts: milliseconds since 1970, oldest first.
    pub failures_ms: Vec<u64>,
    /// Failures that an exponential delay has grown by …
    pub backoff_failures: u32,
    /// … and when the restart after the last of them was due: milliseconds since 1970.
    pub backoff_restarted_ms: u64,
    /// Checkpoints and savepoints that were restored from,
    pub restored: u64,
    /// triggered
    pub triggered: u64,
    /// and completed before this one.
    pub completed: u64,
}

/// A vertex in a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VertexSnapshot {
    /// The vertex.
    pub vertex: VertexId,
    /// Its name, for messages.
    pub name: String,
    /// Its number of subtasks.
    pub parallelism: u32,
    /// Its number of key groups, which can't change.
    pub max_parallelism: u32,
    /// Its operators: what they are called and which state they declare.
    pub operators: Vec<OperatorDescription>,
    /// By subtask index.
    pub subtasks: Vec<SubtaskSnapshot>,
    /// Input that was left to hand out; `None` when the vertex has no splits.
    #[serde(default)]
    pub source: Option<SourceProgress>,
}

/// An operator in a checkpoint, for the check whether a program can be restored from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorDescription {
    /// Under this id its state is found again.
    pub id: OperatorId,
    /// As shown to the user.
    pub name: String,
    /// The user's own id, if one was set.
    #[serde(default)]
    pub uid: Option<String>,
    /// Schemas of its keyed states (`lib/state`), by state name, as they were written.
    #[serde(default)]
    pub states: BTreeMap<String, String>,
}

impl CompletedCheckpoint {
    /// Every handle in it.
    pub fn handles(&self) -> impl Iterator<Item = &StateHandle> {
        self.vertices.iter().flat_map(|v| v.subtasks.iter().flat_map(SubtaskSnapshot::handles))
    }
}

/// What a subtask starts with: for each operator of its chain the pieces of former subtasks that concern it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubtaskRestore {
    /// Which subtask.
    pub subtask: SubtaskId,
    /// The checkpoint that it comes from.
    pub checkpoint: CheckpointId,
    /// The pieces. In-flight records are those that this subtask sends again.
    pub state: SubtaskSnapshot,
}

/// Bytes as text in JSON: hexadecimal digits.
mod hex {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = String::with_capacity(bytes.len() * 2);
        for byte in bytes {
            for digit in [byte >> 4, byte & 15] {
                text.push(char::from_digit(digit.into(), 16).unwrap_or('0'));
            }
        }
        serializer.serialize_str(&text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bad = || serde::de::Error::custom("bytes are written as pairs of hexadecimal digits");
        let pairs = text.as_bytes().chunks(2);
        pairs
            .map(|pair| {
                let text = std::str::from_utf8(pair).map_err(|_| bad())?;
                let pair = (text.len() == 2 && text.bytes().all(|b| b.is_ascii_hexdigit())).then_some(text);
                u8::from_str_radix(pair.ok_or_else(bad)?, 16).map_err(|_| bad())
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key_group::subtask_of;
    use proptest::prelude::*;

    #[test]
    fn a_barrier_is_patient_for_what_is_left_of_the_time_out_of_its_checkpoint() {
        let mut barrier = Barrier {
            checkpoint: CheckpointId(1),
            kind: SnapshotKind::Checkpoint,
            alignment: Alignment::AlignedUntil(1_000),
            triggered_ms: 50_000,
            directory: String::new(),
            shared_directory: String::new(),
        };
        let at = |ms| SystemTime::UNIX_EPOCH + Duration::from_millis(ms);
        for (now, left) in [(50_000, 1_000), (50_400, 600), (51_000, 0), (90_000, 0), (10, 1_000)] {
            assert_eq!(barrier.patience(at(now)), Some(Duration::from_millis(left)), "{now}");
        }
        for (alignment, patience) in
            [(Alignment::Aligned, None), (Alignment::Unblocked, None), (Alignment::Unaligned, Some(Duration::ZERO))]
        {
            barrier.alignment = alignment;
            assert_eq!(barrier.patience(at(50_000)), patience, "{alignment:?}");
        }
    }

    #[test]
    fn bytes_in_a_handle_are_read_back_and_other_text_is_refused() {
        let inline = |bytes: &[u8]| StateLocation::Inline(bytes.to_vec());
        for bytes in [&b""[..], &[0, 255, 16, 1]] {
            let text = serde_json::to_string(&inline(bytes)).unwrap();
            assert_eq!(serde_json::from_str::<StateLocation>(&text).unwrap(), inline(bytes));
        }
        for text in [r#"{"inline":"0"}"#, r#"{"inline":"+1"}"#, r#"{"inline":"zz"}"#, r#"{"inline":"é"}"#] {
            assert!(serde_json::from_str::<StateLocation>(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_range_of_a_subtask_holds_exactly_its_groups(parallelism in 1u32..200, more in 0u32..300) {
            let max = parallelism + more;
            for group in 0..max {
                let owner = subtask_of(group, parallelism, max);
                for index in 0..parallelism {
                    let range = KeyGroupRange::of_subtask(index, parallelism, max);
                    prop_assert_eq!(range.contains(group), index == owner);
                }
            }
        }
    }
}
