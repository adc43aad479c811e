//! The snapshots that are being taken of tables in memory.

use std::collections::VecDeque;

use crate::canonical::{SmallRow, SpareBlocks, Writer};
use crate::codec;
use crate::context::Context;
use crate::error::{StateError, StateErrorKind};
use crate::snapshot::{ChunkSender, MESSAGE_BYTES};
use crate::traits::{Key, Namespace};

use super::Shape;
use super::shape::Scratch;

/// See the module. Newer ones are at the back.
#[derive(Default)]
pub(crate) struct Running {
    snapshots: VecDeque<Snapshot>,
    /// Complete ones whose bytes were not all taken yet.
    draining: VecDeque<(Writer, ChunkSender)>,
    spare: SpareBlocks,
    row: SmallRow,
    key: Vec<u8>,
    namespace: Vec<u8>,
    scratch: Scratch,
}

struct Snapshot {
    version: u32,
    writer: Writer,
    sender: ChunkSender,
}

impl Running {
    pub(crate) fn begin(&mut self, version: u32, writer: Writer, sender: ChunkSender) {
        self.snapshots.push_back(Snapshot { version, writer, sender });
    }

    /// Where the next snapshot's blocks get their memory. What the last ones did not need is given up.
    pub(crate) fn spare(&self) -> SpareBlocks {
        self.spare.forget_unused();
        self.spare.clone()
    }

    /// Whether there is anything left to do.
    pub(crate) fn has_more(&self) -> bool {
        !self.snapshots.is_empty() || !self.draining.is_empty()
    }

    /// Whether so much is on its way that the walk should wait for whoever takes the bytes.
    pub(crate) fn is_congested(&self) -> bool {
        self.snapshots.iter().any(|snapshot| snapshot.sender.is_full())
    }

    /// Writes an entry of that version to each snapshot that needs it.
    pub(crate) fn write<K: Key, N: Namespace, S: Shape>(
        &mut self,
        context: &Context<K>,
        state: usize,
        version: u32,
        key: &K,
        namespace: &N,
        stored: &S::Stored,
    ) {
        let mut row = self.row;
        if row.fill(key, namespace, |parts| S::small_row(stored, parts)) {
            self.write_small(state, &[row], &[version], &[context.group_of(row.key())]);
        } else {
            self.write_long::<K, N, S>(context, state, version, key, namespace, stored);
        }
    }

    /// As [`Self::write`], for entries that have become rows, each with its version and key group. Leaves empty ones out.
    #[inline]
    pub(crate) fn write_small(&mut self, state: usize, rows: &[SmallRow], versions: &[u32], groups: &[u32]) {
        for snapshot in &mut self.snapshots {
            for ((row, version), group) in rows.iter().zip(versions).zip(groups) {
                if snapshot.version > *version && !row.is_empty() {
                    snapshot.writer.small_row(state, *group, row);
                }
            }
            snapshot.give();
        }
    }

    /// As [`Self::write`], for an entry of any length and any number of rows.
    pub(crate) fn write_long<K: Key, N: Namespace, S: Shape>(
        &mut self,
        context: &Context<K>,
        state: usize,
        version: u32,
        key: &K,
        namespace: &N,
        stored: &S::Stored,
    ) {
        let Self { snapshots, key: key_bytes, namespace: namespace_bytes, scratch, .. } = self;
        let mut encoded = || -> postcard::Result<()> {
            key_bytes.clear();
            let group = context.encode_key(key, key_bytes)?;
            namespace_bytes.clear();
            codec::encode(namespace, namespace_bytes)?;
            let mut row = |user_key: &[u8], value: &[u8]| {
                for snapshot in snapshots.iter_mut().filter(|snapshot| snapshot.version > version) {
                    snapshot.writer.row(state, group, key_bytes, namespace_bytes, user_key, value);
                    snapshot.give();
                }
            };
            S::rows(stored, &mut row, scratch)
        };
        if let Err(error) = encoded() {
            for snapshot in snapshots.iter_mut().filter(|snapshot| snapshot.version > version) {
                let name = snapshot.writer.state_name(state).to_owned();
                snapshot.sender.fail(not_serialisable::<S::Stored>(name, error.clone()));
            }
        }
    }

    /// The oldest snapshot has everything.
    pub(crate) fn complete_oldest(&mut self) {
        if let Some(mut snapshot) = self.snapshots.pop_front() {
            snapshot.writer.finish();
            self.draining.push_back((snapshot.writer, snapshot.sender));
        }
    }

    /// Gives on what is taken: now, or, to wait for it, all there is.
    pub(crate) fn pump(&mut self, wait: bool) {
        self.draining.retain_mut(|(writer, sender)| sender.send(writer, wait));
        self.snapshots.retain_mut(|snapshot| {
            snapshot.sender.send(&mut snapshot.writer, wait);
            !snapshot.sender.is_abandoned()
        });
    }

    /// The versions of the oldest and the newest one for which tables are walked; 0 when there is none.
    pub(crate) fn versions(&self) -> (u32, u32) {
        let version = |snapshot: Option<&Snapshot>| snapshot.map_or(0, |snapshot| snapshot.version);
        (version(self.snapshots.front()), version(self.snapshots.back()))
    }
}

impl Snapshot {
    /// Gives on what is ready, as far as there is room for it.
    #[inline]
    fn give(&mut self) {
        if self.writer.waiting_bytes() >= MESSAGE_BYTES {
            self.sender.send(&mut self.writer, false);
        }
    }
}

fn not_serialisable<T>(state: String, source: postcard::Error) -> StateError {
    StateErrorKind::NotSerialisable { state, type_name: std::any::type_name::<T>(), source }.into()
}
