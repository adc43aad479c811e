//! The snapshots that are being taken of tables in memory.

use std::collections::VecDeque;

use crate::canonical::{SmallRow, Writer};
use crate::codec;
use crate::context::Context;
use crate::error::{StateError, StateErrorKind};
use crate::snapshot::ChunkSender;
use crate::traits::{Key, Namespace};

use super::Shape;
use super::shape::Scratch;

/// See the module. Newer ones are at the back.
#[derive(Default)]
pub(crate) struct Running {
    snapshots: VecDeque<Snapshot>,
    /// Complete ones whose bytes were not all taken yet.
    draining: VecDeque<(Writer, ChunkSender)>,
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

    /// Whether some table still has to be walked.
    pub(crate) fn is_walking(&self) -> bool {
        !self.snapshots.is_empty()
    }

    /// Whether there is anything left to do.
    pub(crate) fn has_more(&self) -> bool {
        self.is_walking() || !self.draining.is_empty()
    }

    /// Whether the writers hold so much that the walk should wait for whoever takes the bytes.
    pub(crate) fn is_congested(&self) -> bool {
        self.snapshots.iter().any(|snapshot| snapshot.writer.waiting_bytes() > 0)
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
            self.write_small(context, state, version, &row);
        } else {
            self.write_long::<K, N, S>(context, state, version, key, namespace, stored);
        }
    }

    /// As [`Self::write`], for an entry that has become a row.
    #[inline]
    pub(crate) fn write_small<K: Key>(&mut self, context: &Context<K>, state: usize, version: u32, row: &SmallRow) {
        let group = context.group_of(row.key());
        for snapshot in self.snapshots.iter_mut().filter(|snapshot| snapshot.version > version) {
            snapshot.writer.small_row(state, group, row);
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

    /// The version of the newest one that is walking; 0 when there is none.
    pub(crate) fn cut(&self) -> u32 {
        self.snapshots.back().map_or(0, |snapshot| snapshot.version)
    }
}

impl Snapshot {
    /// Gives on what is ready, as far as there is room for it.
    #[inline]
    fn give(&mut self) {
        if self.writer.waiting_bytes() > 0 {
            self.sender.send(&mut self.writer, false);
        }
    }
}

fn not_serialisable<T>(state: String, source: postcard::Error) -> StateError {
    StateErrorKind::NotSerialisable { state, type_name: std::any::type_name::<T>(), source }.into()
}
