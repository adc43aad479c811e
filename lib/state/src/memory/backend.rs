//! All tables of one operator subtask in memory.

use std::rc::Rc;

use crate::canonical::{self, Writer};
use crate::context::Context;
use crate::error::StateError;
use crate::meta::StateMeta;
use crate::restore::RestoredKeyed;
use crate::snapshot::{self, PendingSnapshot, SnapshotBytes, SnapshotStep};
use crate::traits::Key;
use crate::typed::{RowConverter, Typed};

use super::AnyTable;
use super::restored::{Piece, Restored, Target};

pub(crate) struct Memory<K> {
    context: Rc<Context<K>>,
    /// By state number.
    states: Vec<State>,
    /// Of the snapshot to begin with; empty once a state that is in it was asked for.
    unread: Vec<Piece>,
    /// The table that the walk is in.
    walked: usize,
    /// The snapshot that the walk was begun for, by its version: the oldest one. Those that began later have nothing of what
    /// the walk had passed by then.
    walked_for: u32,
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

impl<K: Key> Memory<K> {
    pub(crate) fn open(context: Rc<Context<K>>, restore: Vec<RestoredKeyed>) -> Result<Self, StateError> {
        let mut states: Vec<State> = Vec::new();
        let mut unread = Vec::new();
        for piece in restore.into_iter().filter(|piece| piece.state.groups.overlaps(context.groups)) {
            unread.push(Piece::open(piece, context.groups, context.max_parallelism, |meta| {
                states.iter().position(|state| state.meta == *meta).unwrap_or_else(|| {
                    states.push(State { meta: meta.clone(), rows: Rows::Unclaimed(Vec::new()) });
                    states.len() - 1
                })
            })?);
        }
        Ok(Self { context, states, unread, walked: 0, walked_for: 0 })
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
        if !restored.is_empty() {
            self.claim(&restored, &Target { table: &*table, name: &typed.meta.name, now_ms: self.context.now() })?;
        }
        self.states.push(State { meta: typed.meta, rows: Rows::Table(table) });
        Ok(handle)
    }

    /// Puts what was restored of these states into a table. What is read on the way of other states is kept for them.
    fn claim(&mut self, claimed: &[(usize, RowConverter)], target: &Target<'_>) -> Result<(), StateError> {
        let Self { states, unread, .. } = self;
        let rows = |at: usize| -> usize {
            let read = match &states[at].rows {
                Rows::Unclaimed(chunks) => chunks.iter().map(|chunk| chunk.chunk.rows_at_most()).sum(),
                _ => 0,
            };
            read + unread.iter().map(|piece| piece.rows_of(at)).sum::<usize>()
        };
        target.table.reserve(claimed.iter().map(|(at, _)| rows(*at)).sum());
        for (at, convert) in claimed {
            let Rows::Unclaimed(chunks) = std::mem::replace(&mut states[*at].rows, Rows::Gone) else { continue };
            for Restored { chunk, bytes } in chunks {
                target.restore(convert, &chunk, &bytes)?;
            }
        }
        for piece in std::mem::take(unread) {
            piece.read(|at, chunk, bytes| match claimed.iter().find(|(claimed, _)| *claimed == at) {
                Some((_, convert)) => target.restore(convert, chunk, bytes),
                None => {
                    if let Rows::Unclaimed(chunks) = &mut states[at].rows {
                        chunks.push(Restored { chunk: *chunk, bytes: std::mem::take(bytes) });
                    }
                    Ok(())
                }
            })?;
        }
        Ok(())
    }

    pub(crate) fn snapshot(&mut self) -> Result<PendingSnapshot, StateError> {
        // What nobody has asked for goes on into this snapshot; the one that it comes from may be removed after it.
        for piece in std::mem::take(&mut self.unread) {
            piece.read(|at, chunk, bytes| {
                if let Rows::Unclaimed(chunks) = &mut self.states[at].rows {
                    chunks.push(Restored { chunk: *chunk, bytes: std::mem::take(bytes) });
                }
                Ok(())
            })?;
        }
        let Context { groups, max_parallelism, latest, running, .. } = &*self.context;
        let metas = self.states.iter().map(|state| state.meta.clone()).collect();
        let spare = running.borrow().spare();
        let (sender, blocks) = snapshot::blocks();
        let mut writer = Writer::new(metas, *groups, *max_parallelism).reusing(spare.clone());
        for (at, state) in self.states.iter().enumerate() {
            let Rows::Unclaimed(chunks) = &state.rows else { continue };
            for Restored { chunk, bytes } in chunks {
                for row in canonical::rows(bytes).flatten() {
                    writer.row(at, chunk.group, row.key, row.namespace, row.user_key, row.value);
                }
            }
        }
        latest.set(latest.get() + 1);
        running.borrow_mut().begin(latest.get(), writer, sender);
        let groups = *groups;
        self.walk_for_the_oldest();
        Ok(PendingSnapshot { groups, source: SnapshotBytes::Canonical(blocks.reusing(spare)) })
    }

    /// Called when snapshots have begun or gone: complete, or given up in the middle of a walk, which then begins anew.
    fn walk_for_the_oldest(&mut self) {
        let (oldest, newest) = self.context.running.borrow().versions();
        self.context.cut.set(newest);
        if self.walked_for != oldest {
            self.walked_for = oldest;
            self.walked = 0;
            self.tables().for_each(AnyTable::rewind);
        }
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

    pub(crate) fn step(&mut self, mut budget: usize) -> SnapshotStep {
        let context = Rc::clone(&self.context);
        context.running.borrow_mut().pump(false);
        self.walk_for_the_oldest();
        while context.cut.get() > 0 && !context.running.borrow().is_congested() {
            if !self.walk(&mut budget) {
                return SnapshotStep::More;
            }
            context.running.borrow_mut().complete_oldest();
            context.running.borrow_mut().pump(false);
            self.walk_for_the_oldest();
        }
        if context.running.borrow().has_more() { SnapshotStep::Waits } else { SnapshotStep::Done }
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
        while self.step(SLICE) > SnapshotStep::Done {
            self.context.running.borrow_mut().pump(true);
        }
    }
}
