//! All tables of one operator subtask in memory.

use std::rc::Rc;

use crate::canonical::{self, Reader, Writer};
use crate::context::Context;
use crate::error::StateError;
use crate::meta::StateMeta;
use crate::restore::RestoredKeyed;
use crate::snapshot::{self, PendingSnapshot, SnapshotBytes};
use crate::traits::Key;
use crate::typed::Typed;

use super::AnyTable;

pub(crate) struct Memory<K> {
    context: Rc<Context<K>>,
    /// By state number.
    states: Vec<State>,
    /// The table that the walk is in.
    walked: usize,
}

struct State {
    meta: StateMeta,
    rows: Rows,
}

enum Rows {
    /// Someone asked for it.
    Table(Rc<dyn AnyTable>),
    /// It was restored, and nobody has asked for it yet. It stays in snapshots.
    Unclaimed(Vec<Restored>),
    /// Another state took its rows.
    Gone,
}

/// The rows of a chunk.
struct Restored {
    group: u32,
    bytes: Vec<u8>,
    /// Where in its part it was.
    offset: u64,
}

impl<K: Key> Memory<K> {
    pub(crate) fn open(context: Rc<Context<K>>, restore: Vec<RestoredKeyed>) -> Result<Self, StateError> {
        let mut states: Vec<State> = Vec::new();
        for mut piece in restore.into_iter().filter(|piece| piece.state.groups.overlaps(context.groups)) {
            let (reader, source) = Reader::of(&mut piece, context.max_parallelism)?;
            for chunk in reader.chunks().iter().filter(|chunk| context.groups.contains(chunk.group)) {
                let mut bytes = Vec::new();
                reader.read(source, chunk, &mut bytes)?;
                let meta = &reader.header().states[chunk.state as usize];
                let at = states.iter().position(|state| state.meta == *meta).unwrap_or_else(|| {
                    states.push(State { meta: meta.clone(), rows: Rows::Unclaimed(Vec::new()) });
                    states.len() - 1
                });
                if let Rows::Unclaimed(chunks) = &mut states[at].rows {
                    chunks.push(Restored { group: chunk.group, bytes, offset: chunk.offset });
                }
            }
        }
        Ok(Self { context, states, walked: 0 })
    }

    /// Adds a table, and puts in it what was restored under its name.
    pub(crate) fn add<H>(
        &mut self,
        typed: Typed,
        make: impl FnOnce(Rc<Context<K>>, usize) -> (H, Rc<dyn AnyTable>),
    ) -> Result<H, StateError> {
        // Before anything changes.
        let restored = self
            .states
            .iter()
            .enumerate()
            .filter(|(_, state)| state.meta.name == typed.meta.name && matches!(state.rows, Rows::Unclaimed(_)));
        let restored: Vec<_> =
            restored.map(|(at, state)| Ok((at, typed.converter(&state.meta)?))).collect::<Result<_, StateError>>()?;
        let state = self.states.len();
        let (handle, table) = make(Rc::clone(&self.context), state);
        for (at, convert) in restored {
            let Rows::Unclaimed(chunks) = std::mem::replace(&mut self.states[at].rows, Rows::Gone) else { continue };
            let now = self.context.now();
            for Restored { bytes, offset, .. } in chunks {
                for row in canonical::rows(&bytes) {
                    let row = row.map_err(|at| StateError::corrupt(&typed.meta.name, offset + at, "a row is torn"))?;
                    let damaged = |error: postcard::Error| {
                        let what = format!("a row can't be read: {error}");
                        StateError::corrupt(&typed.meta.name, offset + row.offset, what)
                    };
                    convert
                        .value(row.value, now, |value| table.restore(row.key, row.namespace, row.user_key, value))
                        .map_err(|error| error.or_damaged(damaged))?;
                }
            }
        }
        self.states.push(State { meta: typed.meta, rows: Rows::Table(table) });
        Ok(handle)
    }

    pub(crate) fn snapshot(&mut self) -> PendingSnapshot {
        let Context { groups, max_parallelism, latest, cut, running, .. } = &*self.context;
        let metas = self.states.iter().map(|state| state.meta.clone()).collect();
        let (sender, blocks) = snapshot::blocks();
        let mut writer = Writer::new(metas, *groups, *max_parallelism);
        for (at, state) in self.states.iter().enumerate() {
            let Rows::Unclaimed(chunks) = &state.rows else { continue };
            for Restored { group, bytes, .. } in chunks {
                for row in canonical::rows(bytes).flatten() {
                    writer.row(at, *group, row.key, row.namespace, row.user_key, row.value);
                }
            }
        }
        let mut running = running.borrow_mut();
        if !running.is_walking() {
            self.walked = 0;
            self.tables().for_each(AnyTable::rewind);
        }
        latest.set(latest.get() + 1);
        cut.set(latest.get());
        running.begin(latest.get(), writer, sender);
        PendingSnapshot { groups: *groups, source: SnapshotBytes::Canonical(blocks) }
    }

    fn tables(&self) -> impl Iterator<Item = &dyn AnyTable> {
        self.states.iter().filter_map(|state| match &state.rows {
            Rows::Table(table) => Some(&**table),
            _ => None,
        })
    }

    /// Whether some table is so large that its entries should be fetched before they are needed.
    pub(crate) fn is_large(&self) -> bool {
        self.tables().any(AnyTable::is_large)
    }

    /// Lets the processor fetch the entries of the keys that have these hashes. One virtual call for each state and batch.
    pub(crate) fn fetch(&self, hashes: &[u64]) {
        self.tables().filter(|table| table.is_large()).for_each(|table| table.fetch(hashes));
    }

    pub(crate) fn step(&mut self, mut budget: usize) -> bool {
        let context = Rc::clone(&self.context);
        context.running.borrow_mut().pump(false);
        context.cut.set(context.running.borrow().cut());
        while context.cut.get() > 0 && !context.running.borrow().is_congested() {
            if !self.walk(&mut budget) {
                return true;
            }
            context.running.borrow_mut().complete_oldest();
            context.running.borrow_mut().pump(false);
            context.cut.set(context.running.borrow().cut());
            self.walked = 0;
            self.tables().for_each(AnyTable::rewind);
        }
        context.running.borrow().has_more()
    }

    /// Walks on; true when everything was seen.
    fn walk(&mut self, budget: &mut usize) -> bool {
        while let Some(state) = self.states.get(self.walked) {
            if let Rows::Table(table) = &state.rows
                && table.walk(budget)
            {
                return false;
            }
            self.walked += 1;
        }
        true
    }

    pub(crate) fn finish(&mut self) {
        const SLICE: usize = 10_000;
        while self.step(SLICE) {
            self.context.running.borrow_mut().pump(true);
        }
    }
}

impl Reader {
    /// Opens a piece.
    pub(crate) fn of(
        piece: &mut RestoredKeyed,
        max_parallelism: u32,
    ) -> Result<(Self, &mut dyn crate::SnapshotReader), StateError> {
        let length = piece.state.parts.get(canonical::PART).map_or(0, |handle| handle.length);
        let source = &mut *piece.reader;
        let reader = Self::open(source, length)?;
        let written = reader.header().max_parallelism;
        if written != max_parallelism {
            return Err(StateError::misuse(format!(
                "the snapshot has {written} key groups, this operator {max_parallelism}: set its maximum parallelism to {written}"
            )));
        }
        Ok((reader, source))
    }
}
