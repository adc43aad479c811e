//! The keyed state of one operator subtask.

use std::any::Any;
use std::cell::Ref;
use std::collections::BTreeMap;
use std::rc::Rc;

use flumen_model::checkpoint::{KeyGroupRange, SnapshotKind};

use crate::aggregate::AggregateFunction;
use crate::context::Context;
use crate::descriptor::{
    AggregatingStateDescriptor, ListStateDescriptor, MapStateDescriptor, ReducingStateDescriptor, TableDescriptor,
    ValueStateDescriptor,
};
use crate::error::StateError;
use crate::handles::{
    AggregatingState, ListInner, ListState, MapInner, MapState, ReducingState, ValueInner, ValueState,
};
use crate::memory::{Memory, MemoryTable, MemoryTimers};
use crate::meta::StateMeta;
use crate::options::{BackendKind, BackendOptions};
use crate::restore::RestoredKeyed;
use crate::rows::{self, RowContext, RowList, RowMap, RowStore, RowTable, RowTimers};
use crate::snapshot::{PendingSnapshot, SnapshotStep};
use crate::table::{self, Table};
use crate::timers::Timers;
use crate::traits::{Key, Namespace, StateValue};
use crate::typed::Typed;

/// See the module. Stays in the thread that opened it; the handles it gives are cheap clones.
pub struct Keyed<K> {
    context: Rc<Context<K>>,
    pub(crate) backend: Backend<K>,
    /// Handles by state name: asking again for the same state gives the same.
    handles: BTreeMap<String, (StateMeta, Box<dyn Any>)>,
    /// Hashes of the keys of a [`LookAhead`]; it is used again.
    ahead: Vec<u64>,
}

/// Keys that will be current next: see [`Keyed::look_ahead`].
pub struct LookAhead<'a, K> {
    context: &'a Context<K>,
    memory: &'a Memory<K>,
    hashes: &'a mut Vec<u64>,
}

impl<K: Key> LookAhead<'_, K> {
    /// Names one.
    #[inline]
    pub fn add(&mut self, key: &K) {
        self.hashes.push(self.context.hash_of(key));
    }

    /// Begins to fetch what is kept of them, and waits for nothing.
    pub fn fetch(self) {
        self.memory.fetch(self.hashes);
    }
}

pub(crate) enum Backend<K> {
    Memory(Memory<K>),
    Rows(Rc<RowContext<K>>),
}

impl<K: Key> Keyed<K> {
    /// Opens the state of the key groups of a subtask, out of max_parallelism: empty, or with what is in the pieces of former
    /// subtasks for these groups.
    ///
    /// # Errors
    /// A piece can't be read, is damaged, or has another type of key; the backend's store failed.
    pub fn open(
        options: &BackendOptions,
        groups: KeyGroupRange,
        max_parallelism: u32,
        restore: Vec<RestoredKeyed>,
    ) -> Result<Self, StateError> {
        match options.kind {
            BackendKind::HashMap => {
                let context = Rc::new(Context::new(options, groups, max_parallelism));
                let memory = Memory::open(Rc::clone(&context), restore)?;
                Ok(Self { context, backend: Backend::Memory(memory), handles: BTreeMap::new(), ahead: Vec::new() })
            }
            #[cfg(feature = "rocksdb")]
            BackendKind::RocksDb => {
                let store = crate::rocksdb::open(options, groups, max_parallelism, restore)?;
                Ok(Self::over(store, options, groups, max_parallelism))
            }
            #[cfg(not(feature = "rocksdb"))]
            BackendKind::RocksDb => Err(crate::error::StateErrorKind::NotBuiltIn("rocksdb").into()),
        }
    }

    /// State over a store of rows.
    pub fn over(
        store: Rc<dyn RowStore>,
        options: &BackendOptions,
        groups: KeyGroupRange,
        max_parallelism: u32,
    ) -> Self {
        let context = Rc::new(Context::new(options, groups, max_parallelism));
        let rows = RowContext::new(Rc::clone(&context), store);
        Self { context, backend: Backend::Rows(Rc::new(rows)), handles: BTreeMap::new(), ahead: Vec::new() }
    }

    /// From now on the handles are about this key. No allocation for a key whose `clone_from` makes none.
    #[inline]
    pub fn set_current_key(&mut self, key: &K) {
        self.context.set_current(key);
    }

    /// As [`Self::set_current_key`], with a key that nobody else needs.
    #[inline]
    pub fn set_current_key_to(&mut self, key: K) {
        self.context.set_current_to(key);
    }

    /// A place to name the keys that will be current next, as many as there are in a batch: their entries are fetched from
    /// main memory together, not one after the other. `None` where that wouldn't help, which is looked at once per batch.
    ///
    /// It is only a hint: other keys may become current, in any order.
    #[inline]
    pub fn look_ahead(&mut self) -> Option<LookAhead<'_, K>> {
        let Backend::Memory(memory) = &self.backend else { return None };
        if !memory.is_large() {
            return None;
        }
        self.ahead.clear();
        Some(LookAhead { context: &self.context, memory, hashes: &mut self.ahead })
    }

    /// The current key, if there is one.
    pub fn current_key(&self) -> Option<Ref<'_, K>> {
        Ref::filter_map(self.context.current().borrow(), Option::as_ref).ok()
    }

    /// The key groups of this subtask.
    pub fn groups(&self) -> KeyGroupRange {
        self.context.groups
    }

    /// One value per key.
    ///
    /// # Errors
    /// What was restored under this name is of another kind or of a type that this one can't take the place of; the state was
    /// asked for with other types before; the type can't be state; the store failed. The same in the following ones.
    pub fn value<V: StateValue>(
        &mut self,
        descriptor: ValueStateDescriptor<V>,
    ) -> Result<ValueState<K, V>, StateError> {
        let ValueStateDescriptor { name, ttl, .. } = descriptor;
        let context = Rc::clone(&self.context);
        self.state(Typed::value::<K, (), V>(&name, ttl)?, |backend, typed| {
            let inner = match backend {
                Backend::Memory(memory) => match ttl {
                    None => ValueInner::Memory(memory.add(typed, |context, state| {
                        let table = MemoryTable::new(context, state, None);
                        (table.clone(), table.erased())
                    })?),
                    Some(ttl) => {
                        let table = memory.add(typed, |context, state| {
                            let table = MemoryTable::new(context, state, Some(ttl));
                            (table.clone(), table.erased())
                        })?;
                        ValueInner::Expiring(table, ttl)
                    }
                },
                Backend::Rows(rows) => {
                    let state = rows::add(rows, typed)?;
                    ValueInner::Rows(RowTable::new(Rc::clone(rows), name, state, ttl))
                }
            };
            Ok(ValueState { context, inner })
        })
    }

    /// A list per key.
    ///
    /// # Errors
    /// See [`Self::value`].
    pub fn list<V: StateValue>(&mut self, descriptor: ListStateDescriptor<V>) -> Result<ListState<K, V>, StateError> {
        let ListStateDescriptor { name, ttl, .. } = descriptor;
        let context = Rc::clone(&self.context);
        self.state(Typed::list::<K, V>(&name, ttl)?, |backend, typed| {
            let inner = match backend {
                Backend::Memory(memory) => match ttl {
                    None => ListInner::Memory(memory.add(typed, |context, state| {
                        let table = MemoryTable::new(context, state, None);
                        (table.clone(), table.erased())
                    })?),
                    Some(ttl) => {
                        let table = memory.add(typed, |context, state| {
                            let table = MemoryTable::new(context, state, Some(ttl));
                            (table.clone(), table.erased())
                        })?;
                        ListInner::Expiring(table, ttl)
                    }
                },
                Backend::Rows(rows) => {
                    let state = rows::add(rows, typed)?;
                    ListInner::Rows(RowList::new(Rc::clone(rows), name, state, ttl))
                }
            };
            Ok(ListState { context, inner })
        })
    }

    /// A map per key.
    ///
    /// # Errors
    /// See [`Self::value`].
    pub fn map<UK: Key, UV: StateValue>(
        &mut self,
        descriptor: MapStateDescriptor<UK, UV>,
    ) -> Result<MapState<K, UK, UV>, StateError> {
        let MapStateDescriptor { name, ttl, .. } = descriptor;
        let context = Rc::clone(&self.context);
        self.state(Typed::map::<K, UK, UV>(&name, ttl)?, |backend, typed| {
            let inner = match backend {
                Backend::Memory(memory) => match ttl {
                    None => MapInner::Memory(memory.add(typed, |context, state| {
                        let table = MemoryTable::new(context, state, None);
                        (table.clone(), table.erased())
                    })?),
                    Some(ttl) => {
                        let table = memory.add(typed, |context, state| {
                            let table = MemoryTable::new(context, state, Some(ttl));
                            (table.clone(), table.erased())
                        })?;
                        MapInner::Expiring(table, ttl)
                    }
                },
                Backend::Rows(rows) => {
                    let state = rows::add(rows, typed)?;
                    MapInner::Rows(RowMap::new(Rc::clone(rows), name, state, ttl))
                }
            };
            Ok(MapState { context, inner })
        })
    }

    /// One value per key, into which others are folded.
    ///
    /// # Errors
    /// See [`Self::value`].
    pub fn reducing<V: StateValue, F: Fn(V, V) -> V>(
        &mut self,
        descriptor: ReducingStateDescriptor<V, F>,
    ) -> Result<ReducingState<K, V, F>, StateError> {
        Ok(ReducingState::new(self.value(descriptor.value)?, descriptor.reduce))
    }

    /// One accumulator per key.
    ///
    /// # Errors
    /// See [`Self::value`].
    pub fn aggregating<A: AggregateFunction>(
        &mut self,
        descriptor: AggregatingStateDescriptor<A>,
    ) -> Result<AggregatingState<K, A>, StateError> {
        let AggregatingStateDescriptor { name, ttl, function } = descriptor;
        let mut accumulator = ValueStateDescriptor::new(name);
        accumulator.ttl = ttl;
        Ok(AggregatingState::new(self.value(accumulator)?, function))
    }

    /// Values by key and namespace, for operators.
    ///
    /// # Errors
    /// See [`Self::value`].
    pub fn table<N: Namespace, V: StateValue>(
        &mut self,
        descriptor: TableDescriptor<V>,
    ) -> Result<Table<K, N, V>, StateError> {
        let name = descriptor.name;
        self.state(Typed::value::<K, N, V>(&name, None)?, |backend, typed| {
            Ok(Table(match backend {
                Backend::Memory(memory) => table::Inner::Memory(memory.add(typed, |context, state| {
                    let table = MemoryTable::new(context, state, None);
                    (table.clone(), table.erased())
                })?),
                Backend::Rows(rows) => {
                    let state = rows::add(rows, typed)?;
                    table::Inner::Rows(RowTable::new(Rc::clone(rows), name, state, None))
                }
            }))
        })
    }

    /// Timers.
    ///
    /// # Errors
    /// See [`Self::value`].
    pub fn timers<N: Namespace + Ord>(&mut self, name: &str) -> Result<Timers<K, N>, StateError> {
        self.state(Typed::timers::<K, N>(name)?, |backend, typed| {
            Ok(match backend {
                Backend::Memory(memory) => Timers::in_memory(memory.add(typed, |context, state| {
                    let timers = MemoryTimers::new(context, state);
                    (timers.clone(), timers.erased())
                })?),
                Backend::Rows(rows) => {
                    let state = rows::add(rows, typed)?;
                    Timers::in_rows(RowTimers::new(Rc::clone(rows), name.to_owned(), state)?)
                }
            })
        })
    }

    /// The handle that was given for a state before, or a new one.
    pub(crate) fn state<H: Clone + 'static>(
        &mut self,
        typed: Typed,
        make: impl FnOnce(&mut Backend<K>, Typed) -> Result<H, StateError>,
    ) -> Result<H, StateError> {
        let meta = typed.meta.clone();
        if let Some((known, handle)) = self.handles.get(&meta.name) {
            let handle = handle.downcast_ref::<H>().filter(|_| *known == meta);
            return handle.cloned().ok_or_else(|| {
                let name = &meta.name;
                StateError::misuse(format!("state `{name}` is used twice with different types: give each its own name"))
            });
        }
        let handle = make(&mut self.backend, typed)?;
        self.handles.insert(meta.name.clone(), (meta, Box::new(handle.clone())));
        Ok(handle)
    }

    /// The states that were asked for so far, by name.
    pub fn states(&self) -> impl Iterator<Item = &StateMeta> {
        self.handles.values().map(|(meta, _)| meta)
    }

    /// Begins a snapshot of what there is now: the synchronous part, which is short. [`Self::snapshot_step`] does the rest in
    /// slices, while records go on being processed.
    ///
    /// # Errors
    /// The store failed; what was restored and nobody has asked for can't be read.
    pub fn snapshot(&mut self, kind: SnapshotKind) -> Result<PendingSnapshot, StateError> {
        match &mut self.backend {
            Backend::Memory(memory) => memory.snapshot(),
            Backend::Rows(rows) => rows.store.snapshot(kind),
        }
    }

    /// Goes on with the snapshots that were begun: about so many entries. Has to be called again, in the thread that began them,
    /// until all is done.
    pub fn snapshot_step(&mut self, budget_entries: usize) -> SnapshotStep {
        match &mut self.backend {
            Backend::Memory(memory) => memory.step(budget_entries),
            Backend::Rows(_) => SnapshotStep::Done,
        }
    }

    /// Completes the snapshots that were begun, as fast as their bytes are taken: at the end of a subtask.
    pub fn finish_snapshots(&mut self) {
        if let Backend::Memory(memory) = &mut self.backend {
            memory.finish();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::restore::PartsInMemory;
    use crate::snapshot::SnapshotBytes;
    use flumen_model::checkpoint::{KeyedState, StateHandle, StateLocation};

    fn restored(pending: PendingSnapshot) -> RestoredKeyed {
        let groups = pending.groups;
        let format = pending.format();
        let SnapshotBytes::Canonical(blocks) = pending.source else { panic!("not canonical") };
        let bytes: Vec<u8> = std::thread::spawn(|| blocks.flat_map(|block| block.unwrap()).collect()).join().unwrap();
        let handle = StateHandle { location: StateLocation::Inline(vec![]), length: bytes.len() as u64, checksum: 0 };
        RestoredKeyed {
            state: KeyedState { format, groups, parts: [("state".to_owned(), handle)].into() },
            reader: Box::new(PartsInMemory([("state".to_owned(), bytes)].into())),
        }
    }

    #[test]
    fn a_snapshot_holds_what_was_there_when_it_began() {
        let all = KeyGroupRange { start: 0, end: 128 };
        let options = BackendOptions::default();
        let mut keyed = Keyed::<u64>::open(&options, all, 128, vec![]).unwrap();
        let sum = keyed.value(ValueStateDescriptor::<u64>::new("sum")).unwrap();
        for key in 0..1000 {
            keyed.set_current_key(&key);
            sum.upsert(|| 0, |sum| *sum += key).unwrap();
        }
        let pending = keyed.snapshot(SnapshotKind::Checkpoint).unwrap();
        for key in 500..2000 {
            keyed.set_current_key(&key);
            sum.upsert(|| 0, |sum| *sum += 1).unwrap();
            let _ = keyed.snapshot_step(1);
        }
        keyed.finish_snapshots();
        let mut again = Keyed::<u64>::open(&options, all, 128, vec![restored(pending)]).unwrap();
        let sum = again.value(ValueStateDescriptor::<u64>::new("sum")).unwrap();
        for key in 0..2000 {
            again.set_current_key(&key);
            assert_eq!(sum.get().unwrap(), (key < 1000).then_some(key), "{key}");
        }
    }

    #[test]
    fn a_subtask_whose_blocks_nobody_takes_waits_and_is_woken_when_they_are_taken() {
        let limit = std::time::Duration::from_secs(60);
        let mut keyed =
            Keyed::<u64>::open(&BackendOptions::default(), KeyGroupRange { start: 0, end: 128 }, 128, vec![]).unwrap();
        let texts = keyed.value(ValueStateDescriptor::<String>::new("text")).unwrap();
        for key in 0..1000 {
            keyed.set_current_key(&key);
            texts.set("x".repeat(20_000)).unwrap();
        }
        let pending = keyed.snapshot(SnapshotKind::Checkpoint).unwrap();
        let SnapshotBytes::Canonical(blocks) = pending.source else { panic!("not canonical") };
        assert_eq!(keyed.snapshot_step(usize::MAX), SnapshotStep::More, "it goes no further than there is room");
        while keyed.snapshot_step(10) == SnapshotStep::More {}
        assert_eq!(keyed.snapshot_step(10), SnapshotStep::Waits, "it holds more than may be on the way");
        let taken = std::thread::spawn(|| blocks.map(|block| block.unwrap().len()).sum::<usize>());
        loop {
            match keyed.snapshot_step(10) {
                SnapshotStep::Done => break,
                SnapshotStep::More => {}
                SnapshotStep::Waits => {
                    let begun = std::time::Instant::now();
                    std::thread::park_timeout(limit);
                    assert!(begun.elapsed() < limit, "nobody woke the subtask");
                }
            }
        }
        assert!(taken.join().unwrap() > 20_000_000);
    }
}
