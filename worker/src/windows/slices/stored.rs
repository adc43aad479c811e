//! Slices in value states, for a backend that serialises values.
//!
//! The slices that have not been in a window that fired, and the past, are apart so that a record reads and writes the few
//! open slices alone.
//!
//! **Which keys are due** is known in memory, by the end of the window: a timer per key and window would be looked up, written and
//! removed each time that a window fires. A key moves from list to list. So that the lists can be made again after a restore,
//! each key is registered once for as long as it has state (in [`Timers`], the one kind of state that can be listed), and its
//! entry says when it is due.

use std::collections::BTreeMap;

use flumen_state::{Keyed, StateError, Timers, ValueState, ValueStateDescriptor};

use crate::batch::EventTime;
use crate::keyed::{Key, KeySelector};
use crate::operator::{Data, TaskResult};

use super::super::contents::Fold;
use super::super::function::ProcessWindowFunction;
use super::super::output::Firing;
use super::super::window::TimeWindow;
use super::open::OpenSlices;
use super::past::PastSlices;
use super::shape::Slicing;
use super::{KEYS, OPEN, PAST};

/// See the module.
pub(super) struct StoredSlices<K, A: flumen_state::StateValue> {
    open: ValueState<K, OpenSlices<A>>,
    past: ValueState<K, PastSlices<A>>,
    /// Keys that have state.
    keys: Timers<K, ()>,
    /// Keys by when something has to be done for them. A key may stand in several lists: its entry says which one counts.
    due: BTreeMap<EventTime, Vec<K>>,
    /// Slices of the key that is being worked on.
    taken: Vec<(EventTime, A)>,
}

/// What became of a key for which something was due.
enum Woken<A> {
    /// It was in the list in vain.
    NotDue,
    /// Its window comes to that, if there is anything in it; something is due then again; or it is gone, and was
    /// registered with that.
    Done { fires: Option<A>, next: Result<EventTime, EventTime> },
}

impl<K: Key, A: flumen_state::StateValue> StoredSlices<K, A> {
    /// Opens the state, empty or restored.
    pub(super) fn open(keyed: &mut Keyed<K>) -> TaskResult<Self> {
        let mut this = Self {
            open: keyed.value(ValueStateDescriptor::new(OPEN))?,
            past: keyed.value(ValueStateDescriptor::new(PAST))?,
            keys: keyed.timers(KEYS)?,
            due: BTreeMap::new(),
            taken: Vec::new(),
        };
        this.list_keys(keyed)?;
        Ok(this)
    }

    /// Makes the lists of keys anew after a restore.
    fn list_keys(&mut self, keyed: &mut Keyed<K>) -> TaskResult {
        let mut registered = Vec::new();
        while let Some((at, key, ())) = self.keys.pop_due(EventTime::MAX)? {
            registered.push((at, key));
        }
        for (at, key) in registered {
            keyed.set_current_key(&key);
            if let Some(due) = self.open.with(|open| open.map(|open| open.due))? {
                self.keys.register(at, &key, &())?;
                self.due.entry(due).or_default().push(key);
            }
        }
        Ok(())
    }

    /// The first time at which something has to be done.
    pub(super) fn first_due(&self) -> Option<EventTime> {
        self.due.first_key_value().map(|(time, _)| *time)
    }

    /// Adds a record to the slice with that end.
    pub(super) fn add<T, S: KeySelector<T, Key = K>, F: Fold<T, Acc = A>>(
        &mut self,
        keyed: &mut Keyed<K>,
        selector: &S,
        record: T,
        end: EventTime,
        slicing: &Slicing,
        fold: &mut F,
    ) -> TaskResult {
        selector.with_key(&record, |key| keyed.set_current_key(key));
        let is_first = self.open.upsert(OpenSlices::default, |open| open.add(end, record, fold))?;
        if is_first { self.wake_current_key(keyed, slicing.first_window_end(end)) } else { Ok(()) }
    }

    /// Adds to a slice that was in a window which has fired.
    pub(super) fn add_to_past<T, F: Fold<T, Acc = A>>(
        &mut self,
        keyed: &mut Keyed<K>,
        key: &K,
        (slice_end, acc): (EventTime, A),
        next_window_end: EventTime,
        slicing: &Slicing,
        fold: &mut F,
    ) -> TaskResult {
        keyed.set_current_key(key);
        let add = |past: &mut PastSlices<A>| past.add(slice_end, acc, next_window_end, slicing, fold);
        Ok(self.past.upsert(PastSlices::default, add)?)
    }

    /// What a window that has fired before comes to now.
    pub(super) fn again<T, F: Fold<T, Acc = A>>(
        &self,
        keyed: &mut Keyed<K>,
        key: &K,
        end: EventTime,
        slicing: &Slicing,
        fold: &mut F,
    ) -> TaskResult<Option<A>> {
        keyed.set_current_key(key);
        Ok(self.past.with(|past| past.and_then(|past| past.again(end, slicing, fold)))?)
    }

    /// Something has to be done for a key at that time at the latest.
    pub(super) fn wake_key_at(&mut self, keyed: &mut Keyed<K>, key: &K, time: EventTime) -> TaskResult {
        keyed.set_current_key(key);
        self.wake_current_key(keyed, time)
    }

    fn wake_current_key(&mut self, keyed: &Keyed<K>, time: EventTime) -> TaskResult {
        let (register, earlier) = self.open.upsert(OpenSlices::default, |open| open.wake_at(time))?;
        let key = keyed.current_key();
        if let Some(key) = key.as_deref() {
            if let Some(at) = register {
                self.keys.register(at, key, &())?;
            }
            if earlier {
                self.due.entry(time).or_default().push(key.clone());
            }
        }
        Ok(())
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
        let mut keys = self.due.remove(&at).unwrap_or_default();
        let window = TimeWindow::new(at.saturating_sub(slicing.size), at);
        let fires = slicing.is_window_end(at);
        let soon = at.saturating_add(slicing.slide);
        let mut keys_of_soon = self.due.remove(&soon).unwrap_or_default();
        for key in keys.drain(..) {
            firing.keyed.set_current_key(&key);
            let Woken::Done { fires, next } = self.wake_current(at, fires, slicing, fold)? else { continue };
            if let Some(acc) = fires {
                firing.fire_one(&key, &window, fold.item(&acc))?;
                if slicing.lateness == 0 {
                    firing.clear(&key, &window)?;
                }
            }
            match next {
                Ok(next) if next == soon => keys_of_soon.push(key),
                Ok(next) => self.due.entry(next).or_default().push(key),
                Err(registered) => {
                    self.keys.delete(registered, &key, &())?;
                }
            }
        }
        if !keys_of_soon.is_empty() {
            self.due.insert(soon, keys_of_soon);
        }
        Ok(())
    }

    /// Does what is due at a time for the current key.
    fn wake_current<T, F: Fold<T, Acc = A>>(
        &mut self,
        at: EventTime,
        fires: bool,
        slicing: &Slicing,
        fold: &mut F,
    ) -> TaskResult<Woken<A>> {
        let Self { open, past, taken, .. } = self;
        Ok(open.update(|stored| {
            let Some(open) = stored.as_mut().filter(|open| open.due == at) else { return Ok(Woken::NotDue) };
            taken.clear();
            if fires {
                open.take_upto(at, taken);
            }
            let (fires, past_due) = if slicing.has_past() {
                past.update(|stored| {
                    let past = stored.get_or_insert_default();
                    let fires = if fires { past.fire(at, taken, slicing, fold) } else { None };
                    let next = past.next_due(at, slicing);
                    if next.is_none() {
                        *stored = None;
                    }
                    (fires, next)
                })?
            } else {
                (taken.drain(..).map(|(_, acc)| acc).reduce(|a, b| fold.merge(a, b)), None)
            };
            let next = match open.next_due(past_due, slicing) {
                Some(next) => Ok(next),
                None => {
                    let registered = open.registered;
                    *stored = None;
                    Err(registered)
                }
            };
            Ok::<_, StateError>(Woken::Done { fires, next })
        })??)
    }
}
