//! Keyed state in memory that an operator lays out itself.
//!
//! Where many keys are worked on together, as when windows fire, looking each of them up costs more than the work. Such an operator
//! gives its keys numbers and keeps what belongs to them where it likes ([`Layout`]). What makes that state is here: rows of
//! value states and timers like those of [`Keyed::value`] and [`Keyed::timers`], so that any backend reads them, and snapshots that
//! are taken while the operator goes on.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::canonical::Row;
use crate::codec;
use crate::context::Context;
use crate::descriptor::ValueStateDescriptor;
use crate::error::StateError;
use crate::keyed::{Backend, Keyed};
use crate::memory::{AnyTable, Memory, Plain, SKIPPED_PER_ENTRY, Shape, TimerRow, restore_each};
use crate::traits::{Key, StateValue};
use crate::typed::Typed;

/// Keys that an operator has given numbers.
pub trait Layout<K>: 'static {
    /// All numbers are below this one.
    fn numbers(&self) -> usize;
    /// The key that has a number, if there is one.
    fn key(&self, number: usize) -> Option<&K>;
    /// The number of a key, which gets one if it has none.
    fn number(&mut self, key: K) -> usize;
}

/// One state of a [`Layout`]. A cheap clone of a handle.
pub struct LaidOut<K, L> {
    context: Rc<Context<K>>,
    part: Rc<dyn Save<L>>,
}

impl<K, L> Clone for LaidOut<K, L> {
    fn clone(&self) -> Self {
        Self { context: Rc::clone(&self.context), part: Rc::clone(&self.part) }
    }
}

impl<K: Key, L: Layout<K>> LaidOut<K, L> {
    /// Has to be called before what belongs to a number changes or goes, and before the number gets another key.
    #[inline]
    pub fn before_change(&self, layout: &L, number: usize) {
        // A virtual call per record, but only while a snapshot is being taken.
        if self.is_snapshot_running() {
            self.part.save(layout, number);
        }
    }

    /// Has to be called when a key got a number.
    #[inline]
    pub fn added(&self, number: usize) {
        if self.is_snapshot_running() {
            self.part.added(number);
        }
    }

    /// Whether the calls above are needed at all now. That does not change while the operator works on a batch or signal.
    #[inline]
    pub fn is_snapshot_running(&self) -> bool {
        self.context.cut.get() > 0
    }
}

impl<K: Key> Keyed<K> {
    /// Whether states can be laid out by the operator: values are kept as such in memory.
    pub fn is_in_memory(&self) -> bool {
        matches!(self.backend, Backend::Memory(_))
    }

    /// A value per key, of a layout: `get` clones it, `put` takes one in that was restored.
    ///
    /// # Errors
    /// Those of [`Self::value`]; the backend is not one in memory.
    pub fn value_of_layout<L: Layout<K>, V: StateValue>(
        &mut self,
        descriptor: ValueStateDescriptor<V>,
        layout: &Rc<RefCell<L>>,
        get: fn(&L, usize) -> Option<V>,
        put: fn(&mut L, usize, V),
    ) -> Result<LaidOut<K, L>, StateError> {
        let typed = Typed::value::<K, (), V>(&descriptor.name, None)?;
        self.state(typed, |backend, typed| add::<K, L, Plain<V>>(backend, typed, layout, get, put))
    }

    /// A timer per key, of a layout.
    ///
    /// # Errors
    /// See [`Self::value_of_layout`].
    pub fn timers_of_layout<L: Layout<K>>(
        &mut self,
        name: &str,
        layout: &Rc<RefCell<L>>,
        get: fn(&L, usize) -> Option<i64>,
        put: fn(&mut L, usize, i64),
    ) -> Result<LaidOut<K, L>, StateError> {
        let typed = Typed::timers::<K, ()>(name)?;
        self.state(typed, |backend, typed| add::<K, L, TimerRow>(backend, typed, layout, get, put))
    }
}

fn add<K: Key, L: Layout<K>, S: Shape>(
    backend: &mut Backend<K>,
    typed: Typed,
    layout: &Rc<RefCell<L>>,
    get: fn(&L, usize) -> Option<S::Stored>,
    put: fn(&mut L, usize, S::Stored),
) -> Result<LaidOut<K, L>, StateError> {
    let memory: &mut Memory<K> = match backend {
        Backend::Memory(memory) => memory,
        Backend::Rows(_) => return Err(StateError::misuse("only state in memory has a layout of its own".to_owned())),
    };
    memory.add(typed, |context, state| {
        let part = Rc::new(Part::<K, L, S> {
            context: Rc::clone(&context),
            layout: Rc::clone(layout),
            state,
            get,
            put,
            versions: RefCell::default(),
            cursor: Cell::new(0),
        });
        (LaidOut { context, part: Rc::clone(&part) as Rc<dyn Save<L>> }, part as Rc<dyn AnyTable>)
    })
}

/// A state of a layout, whatever is in it.
trait Save<L> {
    /// Writes what belongs to a number to the snapshots that still need it.
    fn save(&self, layout: &L, number: usize);
    /// Says that no snapshot so far needs what belongs to a number.
    fn added(&self, number: usize);
}

struct Part<K, L, S: Shape> {
    context: Rc<Context<K>>,
    layout: Rc<RefCell<L>>,
    /// Which of the backend's states it is.
    state: usize,
    get: fn(&L, usize) -> Option<S::Stored>,
    put: fn(&mut L, usize, S::Stored),
    /// By number, as in tables; those after the end are 0.
    versions: RefCell<Vec<u32>>,
    /// The next number of the walk.
    cursor: Cell<usize>,
}

impl<K: Key, L: Layout<K>, S: Shape> Part<K, L, S> {
    /// Sets a version, and returns what it was.
    fn replace_version(&self, number: usize, version: u32) -> u32 {
        let mut versions = self.versions.borrow_mut();
        if versions.len() <= number {
            versions.resize(number + 1, 0);
        }
        std::mem::replace(&mut versions[number], version)
    }

    /// True when something was written.
    fn save_if_needed(&self, layout: &L, number: usize) -> bool {
        let cut = self.context.cut.get();
        if self.versions.borrow().get(number).is_some_and(|version| *version >= cut) {
            return false;
        }
        let version = self.replace_version(number, cut);
        let (Some(key), Some(stored)) = (layout.key(number), (self.get)(layout, number)) else { return false };
        self.context.running.borrow_mut().write::<K, (), S>(&self.context, self.state, version, key, &(), &stored);
        true
    }
}

impl<K: Key, L: Layout<K>, S: Shape> Save<L> for Part<K, L, S> {
    fn save(&self, layout: &L, number: usize) {
        self.save_if_needed(layout, number);
    }

    fn added(&self, number: usize) {
        self.replace_version(number, self.context.latest.get());
    }
}

impl<K: Key, L: Layout<K>, S: Shape> AnyTable for Part<K, L, S> {
    fn walk(&self, budget: &mut usize) -> bool {
        let layout = self.layout.borrow();
        let mut skipped = 0;
        while self.cursor.get() < layout.numbers() {
            if *budget == 0 {
                return true;
            }
            if self.save_if_needed(&layout, self.cursor.get()) {
                *budget -= 1;
            } else {
                skipped += 1;
                if skipped == SKIPPED_PER_ENTRY {
                    skipped = 0;
                    *budget -= 1;
                }
            }
            self.cursor.set(self.cursor.get() + 1);
        }
        false
    }

    fn rewind(&self) {
        self.cursor.set(0);
    }

    fn restore(&self, rows: &[Row<'_>]) -> Result<(), (usize, postcard::Error)> {
        let mut layout = self.layout.borrow_mut();
        restore_each(rows, |row| {
            let mut stored = None;
            S::read(&mut stored, row.user_key, row.value)?;
            if let Some(stored) = stored {
                let number = layout.number(codec::decode(row.key)?);
                (self.put)(&mut layout, number, stored);
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::BackendOptions;
    use crate::restore::{PartsInMemory, RestoredKeyed};
    use crate::snapshot::{PendingSnapshot, SnapshotBytes};
    use flumen_model::checkpoint::{KeyGroupRange, KeyedState, SnapshotKind, StateHandle, StateLocation};

    const ALL: KeyGroupRange = KeyGroupRange { start: 0, end: 128 };

    /// Key, value and time by number.
    #[derive(Default)]
    struct Places(Vec<Option<(u64, u32, i64)>>);

    impl Layout<u64> for Places {
        fn numbers(&self) -> usize {
            self.0.len()
        }

        fn key(&self, number: usize) -> Option<&u64> {
            self.0[number].as_ref().map(|(key, ..)| key)
        }

        fn number(&mut self, key: u64) -> usize {
            let found = self.0.iter().position(|place| place.is_some_and(|(known, ..)| known == key));
            found.unwrap_or_else(|| {
                self.0.push(Some((key, 0, 0)));
                self.0.len() - 1
            })
        }
    }

    struct World {
        keyed: Keyed<u64>,
        layout: Rc<RefCell<Places>>,
        values: LaidOut<u64, Places>,
        times: LaidOut<u64, Places>,
    }

    fn open(restore: Vec<RestoredKeyed>) -> World {
        let mut keyed = Keyed::open(&BackendOptions::default(), ALL, 128, restore).unwrap();
        let layout = Rc::new(RefCell::new(Places::default()));
        let get = |places: &Places, number: usize| places.0[number].map(|(_, value, _)| value);
        let put = |places: &mut Places, number: usize, value| places.0[number].as_mut().unwrap().1 = value;
        let values = keyed.value_of_layout(ValueStateDescriptor::new("value"), &layout, get, put).unwrap();
        let get = |places: &Places, number: usize| places.0[number].map(|(_, _, time)| time);
        let put = |places: &mut Places, number: usize, time| places.0[number].as_mut().unwrap().2 = time;
        let times = keyed.timers_of_layout("time", &layout, get, put).unwrap();
        World { keyed, layout, values, times }
    }

    impl World {
        /// Changes a place as an operator has to.
        fn set(&self, number: usize, place: Option<(u64, u32, i64)>) {
            let mut layout = self.layout.borrow_mut();
            if number == layout.0.len() {
                layout.0.push(None);
            }
            for part in [&self.values, &self.times] {
                part.before_change(&layout, number);
                if layout.0[number].is_none() {
                    part.added(number);
                }
            }
            layout.0[number] = place;
        }
    }

    fn restored(pending: PendingSnapshot) -> RestoredKeyed {
        let (groups, format) = (pending.groups, pending.format());
        let SnapshotBytes::Canonical(blocks) = pending.source else { panic!("not canonical") };
        let bytes: Vec<u8> = std::thread::spawn(|| blocks.flat_map(|block| block.unwrap()).collect()).join().unwrap();
        let handle = StateHandle { location: StateLocation::Inline(vec![]), length: bytes.len() as u64, checksum: 0 };
        RestoredKeyed {
            state: KeyedState { format, groups, parts: [("state".to_owned(), handle)].into() },
            reader: Box::new(PartsInMemory([("state".to_owned(), bytes)].into())),
        }
    }

    #[test]
    fn a_snapshot_of_a_layout_holds_what_was_there_when_it_began() {
        let mut world = open(vec![]);
        for key in 0..100 {
            world.set(key, Some((key as u64, 1, key as i64)));
        }
        let pending = world.keyed.snapshot(SnapshotKind::Checkpoint).unwrap();
        // While it runs: changed, removed, given to another key, added; before and behind the walk.
        for number in (0..100).rev() {
            let _ = world.keyed.snapshot_step(1);
            match number % 3 {
                0 => world.set(number, Some((number as u64, 2, -1))),
                1 => world.set(number, None),
                _ => {
                    world.set(number, None);
                    world.set(number, Some((number as u64 + 1000, 3, -1)));
                }
            }
        }
        world.set(100, Some((500, 4, -1)));
        world.keyed.finish_snapshots();

        let again = open(vec![restored(pending)]);
        let mut places = again.layout.borrow().0.clone();
        places.sort_unstable();
        assert_eq!(places, (0..100).map(|key| Some((key, 1, key as i64))).collect::<Vec<_>>());
        drop(again);

        // The next one holds what changed meanwhile, and others read it as the states that it looks like.
        let pending = world.keyed.snapshot(SnapshotKind::Checkpoint).unwrap();
        world.keyed.finish_snapshots();
        let mut plain = Keyed::<u64>::open(&BackendOptions::default(), ALL, 128, vec![restored(pending)]).unwrap();
        let values = plain.value(ValueStateDescriptor::<u32>::new("value")).unwrap();
        let timers = plain.timers::<()>("time").unwrap();
        let mut there = Vec::new();
        while let Some((time, key, ())) = timers.pop_due(i64::MAX).unwrap() {
            plain.set_current_key(&key);
            there.push(Some((key, values.get().unwrap().unwrap(), time)));
        }
        there.sort_unstable();
        let mut expected: Vec<_> = world.layout.borrow().0.iter().filter(|place| place.is_some()).copied().collect();
        expected.sort_unstable();
        assert_eq!(there, expected);
    }
}
