//! Slices in memory: keys have numbers, and what belongs to them stands in the order of these.
//!
//! When a window fires, keys are gone through in the order of their numbers, so what belongs to them is read in the order in
//! which it stands in memory, and none is looked up. A record looks up its key's number in a table that is small.
//!
//! To other backends and in snapshots it looks like what [`StoredSlices`](super::stored::StoredSlices) keeps.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::hash::BuildHasher as _;
use std::hint::black_box;
use std::rc::Rc;

use flumen_state::{Keyed, LaidOut, Layout, StateValue, ValueStateDescriptor};
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::batch::{EventTime, NO_TIME};
use crate::keyed::{Key, KeySelector};
use crate::operator::{Data, TaskResult};

use super::super::contents::Fold;
use super::super::function::ProcessWindowFunction;
use super::super::output::Firing;
use super::super::window::TimeWindow;
use super::past::PastSlices;
use super::recent::{More, Recent, Wake};
use super::shape::Slicing;
use super::{KEYS, OPEN, PAST};

/// Keys whose memory is asked for at once when a window fires: what belongs to a key stands in a place of its own, and the
/// processor can wait for several at a time.
const AHEAD: usize = 16;

/// The number of a key that has none.
pub(super) const UNKNOWN: u32 = u32::MAX;

/// What belongs to keys, by number.
pub(super) struct Places<K, A> {
    hasher: RandomState,
    numbers: HashTable<u32>,
    /// Of a number that is free: the last key that had it.
    keys: Vec<K>,
    recent: Vec<Recent<A>>,
    wake: Vec<Wake>,
    /// Empty until some key has more open slices than two, and from then on at most as long as the others.
    more: Vec<More<A>>,
    /// Shorter than the others where a key has no past.
    past: Vec<PastSlices<A>>,
    free: Vec<u32>,
}

impl<K: Key, A: StateValue> Layout<K> for Places<K, A> {
    fn numbers(&self) -> usize {
        self.keys.len()
    }

    fn key(&self, number: usize) -> Option<&K> {
        self.is_taken(number).then(|| &self.keys[number])
    }

    fn number(&mut self, key: K) -> usize {
        let found = self.find(&key);
        match found {
            Some(number) => number as usize,
            None => self.add(key) as usize,
        }
    }
}

impl<K: Key, A: StateValue> Places<K, A> {
    fn new() -> Self {
        Self {
            hasher: RandomState::default(),
            numbers: HashTable::new(),
            keys: Vec::new(),
            recent: Vec::new(),
            wake: Vec::new(),
            more: Vec::new(),
            past: Vec::new(),
            free: Vec::new(),
        }
    }

    /// Whether the key of a number has state.
    fn is_taken(&self, number: usize) -> bool {
        self.wake[number].registered != NO_TIME
    }

    #[inline]
    fn find(&self, key: &K) -> Option<u32> {
        let hash = self.hasher.hash_one(key);
        self.numbers.find(hash, |number| self.keys[*number as usize] == *key).copied()
    }

    /// Gives a key that has no number one.
    #[cold]
    fn add(&mut self, key: K) -> u32 {
        let Self { hasher, numbers, keys, recent, wake, free, .. } = self;
        let number = match free.pop() {
            Some(number) => {
                keys[number as usize] = key;
                number
            }
            None => {
                keys.push(key);
                recent.push(Recent::default());
                wake.push(Wake::default());
                (keys.len() - 1) as u32
            }
        };
        let hash = hasher.hash_one(&keys[number as usize]);
        // Keys are compared so that equal ones are found; this one is none of those that are there.
        if let Entry::Vacant(slot) = numbers.entry(hash, |_| false, |at| hasher.hash_one(&keys[*at as usize])) {
            slot.insert(number);
        }
        number
    }

    /// Takes a key's number away.
    fn remove(&mut self, number: u32) {
        let hash = self.hasher.hash_one(&self.keys[number as usize]);
        if let Ok(found) = self.numbers.find_entry(hash, |at| *at == number) {
            found.remove();
        }
        self.recent[number as usize] = Recent::default();
        self.wake[number as usize] = Wake::default();
        if let Some(more) = self.more.get_mut(number as usize) {
            *more = More::new();
        }
        if let Some(past) = self.past.get_mut(number as usize) {
            *past = PastSlices::default();
        }
        self.free.push(number);
    }

    fn more_of(&mut self, number: u32) -> &mut More<A> {
        let number = number as usize;
        if self.more.len() <= number {
            self.more.resize_with(self.keys.len().max(number + 1), More::new);
        }
        &mut self.more[number]
    }

    fn past_of(&mut self, number: u32) -> &mut PastSlices<A> {
        let number = number as usize;
        if self.past.len() <= number {
            self.past.resize_with(self.keys.len().max(number + 1), PastSlices::default);
        }
        &mut self.past[number]
    }
}

/// See the module.
pub(super) struct SlicesInMemory<K, A> {
    places: Rc<RefCell<Places<K, A>>>,
    state: States<K, A>,
    lists: Lists,
}

/// The places, as states.
struct States<K, A> {
    open: LaidOut<K, Places<K, A>>,
    past: LaidOut<K, Places<K, A>>,
    keys: LaidOut<K, Places<K, A>>,
}

/// Numbers by when something has to be done for their keys. A number may stand in several lists: its entry says which counts.
#[derive(Default)]
pub(super) struct Lists(BTreeMap<EventTime, Vec<u32>>);

impl<K: Key, A: StateValue> SlicesInMemory<K, A> {
    /// Opens the state, empty or restored.
    pub(super) fn open(keyed: &mut Keyed<K>) -> TaskResult<Self> {
        let places = Rc::new(RefCell::new(Places::new()));
        let state = States {
            open: keyed.value_of_layout(
                ValueStateDescriptor::new(OPEN),
                &places,
                |places, number| Some(places.recent[number].to_open(&places.wake[number], places.more.get(number))),
                |places, number, open| {
                    let more;
                    (places.recent[number], places.wake[number], more) = Recent::from_open(open);
                    if !more.is_empty() {
                        *places.more_of(number as u32) = more;
                    }
                },
            )?,
            past: keyed.value_of_layout(
                ValueStateDescriptor::new(PAST),
                &places,
                |places, number| places.past.get(number).filter(|past| !past.is_empty()).cloned(),
                |places, number, past| *places.past_of(number as u32) = past,
            )?,
            keys: keyed.timers_of_layout(
                KEYS,
                &places,
                |places, number| Some(places.wake[number].registered),
                |_, _, _| {},
            )?,
        };
        let mut this = Self { places, state, lists: Lists::default() };
        this.list_keys();
        Ok(this)
    }

    /// Makes the lists after a restore.
    fn list_keys(&mut self) {
        let mut places = self.places.borrow_mut();
        for number in 0..places.keys.len() {
            if places.is_taken(number) {
                self.lists.0.entry(places.wake[number].due).or_default().push(number as u32);
            } else {
                places.remove(number as u32);
            }
        }
    }

    /// The first time at which something has to be done.
    pub(super) fn first_due(&self) -> Option<EventTime> {
        self.lists.0.first_key_value().map(|(time, _)| *time)
    }

    /// The numbers of the records' keys; [`UNKNOWN`] for keys that have none.
    ///
    /// For all records of a batch at once: the processor then waits for the memory of several keys at a time.
    pub(super) fn find<T, S: KeySelector<T, Key = K>>(&self, selector: &S, records: &[T], numbers: &mut Vec<u32>) {
        let places = &*self.places.borrow();
        let number = |record| selector.with_key(record, |key| places.find(key)).unwrap_or(UNKNOWN);
        numbers.clear();
        numbers.extend(records.iter().map(number));
    }

    /// Asks for the memory that records of keys with these numbers are added to, for several at a time.
    pub(super) fn touch(&self, numbers: &[u32]) {
        let places = &*self.places.borrow();
        let recent = numbers.iter().filter_map(|number| places.recent.get(*number as usize));
        black_box(recent.fold(0, |all, recent| all ^ recent.touch()));
    }

    /// Adds a record of the key with that number to the slice with that end.
    #[inline]
    pub(super) fn add<T, S: KeySelector<T, Key = K>, F: Fold<T, Acc = A>>(
        &mut self,
        number: u32,
        selector: &S,
        record: T,
        end: EventTime,
        slicing: &Slicing,
        fold: &mut F,
    ) {
        let Self { places, state, lists } = self;
        let places = &mut *places.borrow_mut();
        if state.open.is_snapshot_running() && number != UNKNOWN {
            state.open.before_change(places, number as usize);
        }
        let (number, record) = match places.recent.get_mut(number as usize) {
            Some(recent) => match recent.add(end, record, fold) {
                Ok(()) => return,
                Err(record) => (number, record),
            },
            None => (state.number(places, selector.key(&record)), record),
        };
        state.add_elsewhere(places, lists, number, record, end, slicing, fold);
    }

    /// Adds to a slice that was in a window which has fired.
    pub(super) fn add_to_past<T, F: Fold<T, Acc = A>>(
        &mut self,
        key: &K,
        (slice_end, acc): (EventTime, A),
        next_window_end: EventTime,
        slicing: &Slicing,
        fold: &mut F,
    ) {
        let places = &mut *self.places.borrow_mut();
        let number = self.state.number(places, key.clone());
        self.state.past.before_change(places, number as usize);
        places.past_of(number).add(slice_end, acc, next_window_end, slicing, fold);
    }

    /// What a window that has fired before comes to now.
    pub(super) fn again<T, F: Fold<T, Acc = A>>(
        &self,
        key: &K,
        end: EventTime,
        slicing: &Slicing,
        fold: &mut F,
    ) -> Option<A> {
        let places = self.places.borrow();
        let past = places.past.get(places.find(key)? as usize)?;
        past.again(end, slicing, fold)
    }

    /// Something has to be done for a key at that time at the latest.
    pub(super) fn wake_key_at(&mut self, key: &K, time: EventTime) {
        let places = &mut *self.places.borrow_mut();
        if let Some(number) = places.find(key) {
            self.state.wake_at(places, &mut self.lists, number, time);
        }
    }

    /// Does what is due at a time, the first one at which something is.
    pub(super) fn wake<T, F, P, Out>(
        &mut self,
        at: EventTime,
        slicing: &Slicing,
        fold: &mut F,
        firing: &mut Firing<K, TimeWindow, T, F::Item, P, Out>,
    ) -> TaskResult
    where
        T: Data,
        F: Fold<T, Acc = A>,
        P: ProcessWindowFunction<K, TimeWindow, F::Item, Out>,
    {
        let Self { places, state, lists } = self;
        let places = &mut *places.borrow_mut();
        let window = TimeWindow::new(at.saturating_sub(slicing.size), at);
        let fires = slicing.is_window_end(at);
        let soon = at.saturating_add(slicing.slide);
        let mut numbers = lists.0.remove(&at).unwrap_or_default();
        let mut numbers_of_soon = lists.0.remove(&soon).unwrap_or_default();
        // Mostly runs of ascending numbers.
        numbers.sort();
        let mut taken = Vec::new();
        for numbers in numbers.chunks(AHEAD) {
            if slicing.has_past() {
                numbers.iter().filter_map(|number| places.past.get(*number as usize)).for_each(PastSlices::touch);
            }
            for number in numbers {
                let index = *number as usize;
                if places.wake[index].due != at || !places.is_taken(index) {
                    continue;
                }
                state.open.before_change(places, index);
                taken.clear();
                if fires {
                    places.recent[index].take_upto(places.more.get_mut(index), at, &mut taken);
                }
                let (acc, past_due) = if slicing.has_past() {
                    state.past.before_change(places, index);
                    let past = places.past_of(*number);
                    let acc = if fires { past.fire(at, &mut taken, slicing, fold) } else { None };
                    let next = past.next_due(at, slicing);
                    if next.is_none() {
                        // Its memory, too, is given back.
                        *past = PastSlices::default();
                    }
                    (acc, next)
                } else {
                    (taken.drain(..).map(|(_, acc)| acc).reduce(|a, b| fold.merge(a, b)), None)
                };
                if let Some(acc) = acc {
                    let key = &places.keys[index];
                    firing.items.push(fold.item(&acc));
                    firing.fire(key, &window)?;
                    if slicing.lateness == 0 {
                        firing.clear(key, &window)?;
                    }
                }
                let open_due = places.recent[index].next_due(places.more.get(index), slicing);
                match [past_due, open_due].into_iter().flatten().min() {
                    Some(next) => {
                        places.wake[index].due = next;
                        if next == soon {
                            numbers_of_soon.push(*number);
                        } else {
                            lists.0.entry(next).or_default().push(*number);
                        }
                    }
                    None => {
                        state.before_change(places, index);
                        places.remove(*number);
                    }
                }
            }
        }
        if !numbers_of_soon.is_empty() {
            lists.0.insert(soon, numbers_of_soon);
        }
        Ok(())
    }
}

impl<K: Key, A: StateValue> States<K, A> {
    fn before_change(&self, places: &Places<K, A>, index: usize) {
        [&self.open, &self.past, &self.keys].into_iter().for_each(|state| state.before_change(places, index));
    }

    /// Adds a record to a slice that is not one of the recent ones, or new.
    #[inline(never)]
    #[allow(clippy::too_many_arguments, reason = "the parts of what it works on, which are borrowed apart")]
    fn add_elsewhere<T, F: Fold<T, Acc = A>>(
        &self,
        places: &mut Places<K, A>,
        lists: &mut Lists,
        number: u32,
        record: T,
        end: EventTime,
        slicing: &Slicing,
        fold: &mut F,
    ) {
        let recent = &mut places.recent[number as usize];
        let Err(record) = recent.add(end, record, fold) else { return };
        if !places.more.is_empty() {
            let more = places.more_of(number);
            if let Ok(at) = more.binary_search_by_key(&end, |(known, _)| *known) {
                return fold.add(&mut more[at].1, record);
            }
        }
        let acc = fold.first(record);
        match places.recent[number as usize].begin(end, acc) {
            // Something has to be done for that one before.
            Ok(true) => return,
            Ok(false) => {}
            Err(acc) => {
                let more = places.more_of(number);
                let at = more.partition_point(|(known, _)| *known < end);
                more.insert(at, (end, acc));
            }
        }
        self.wake_at(places, lists, number, slicing.first_window_end(end));
    }

    /// The number of a key, which gets one if it has none: it may have got one from another record of the same batch.
    #[cold]
    #[inline(never)]
    fn number(&self, places: &mut Places<K, A>, key: K) -> u32 {
        if let Some(number) = places.find(&key) {
            self.open.before_change(places, number as usize);
            return number;
        }
        let number = places.add(key);
        [&self.open, &self.past, &self.keys].into_iter().for_each(|state| state.added(number as usize));
        number
    }

    /// Something has to be done for a key at that time at the latest.
    #[inline(never)]
    fn wake_at(&self, places: &mut Places<K, A>, lists: &mut Lists, number: u32, time: EventTime) {
        self.open.before_change(places, number as usize);
        let earlier = places.wake[number as usize].at(time);
        if earlier {
            lists.0.entry(time).or_default().push(number);
        }
    }
}

impl<A: Clone> PastSlices<A> {
    /// Asks for the memory that firing uses.
    #[inline]
    fn touch(&self) {
        let (oldest, newest) = self.ends();
        black_box(oldest ^ newest);
    }
}
