//! The operator for tumbling and sliding windows that are folded, with the default trigger and without evictor.
//!
//! Time is cut into slices where windows begin and end ([`Slicing`]); a window is some slices. A record changes one
//! accumulator, that of its slice, however many windows it is in. When a window fires, its newest slices join the key's past
//! ([`past`]), which knows at any time what the slices of the next window come to.
//!
//! State by key: the slices that have not been in a window that fired, and the past. They are apart so that a record of
//! a backend that serialises values reads and writes the few open slices alone. Accumulators of slices are merged in no
//! promised order: folding has to be associative and commutative, as Flink demands of session windows. Tumbling windows merge
//! nothing.
//!
//! **Which keys are due** is known in memory, by the end of the window: a timer per key and window would be looked up, written and
//! removed each time that a window fires, which costs more than the firing itself. A key moves from list to list. So that the
//! lists can be made again after a restore, each key is registered once for as long as it has state (in [`Timers`], the
//! one kind of state that can be listed), and its entry says when it is due. Keys with open windows are in memory also when
//! the state itself is in RocksDB.

mod open;
mod past;
mod shape;

use std::collections::BTreeMap;

use flumen_model::ids::OperatorId;
use flumen_state::{StateError, Timers, ValueState, ValueStateDescriptor};

use crate::batch::{Batch, EventTime, NO_TIME};
use crate::keyed::KeySelector;
use crate::operator::{Data, Push, Signal, TaskResult};
use crate::subtask::SubtaskContext;

use super::assigner::{InEventTime, TimeDomain as _};
use super::contents::Fold;
use super::function::ProcessWindowFunction;
use super::output::{Firing, WindowOutputs};
use super::window::TimeWindow;

use open::OpenSlices;
use past::PastSlices;
pub use shape::{RegularWindows, Slicing};

/// See the module.
pub struct SliceOperator<T, S, C, F, Out>
where
    S: KeySelector<T>,
    C: Fold<T>,
    F: ProcessWindowFunction<S::Key, TimeWindow, C::Item, Out>,
{
    selector: S,
    fold: C,
    slicing: Slicing,
    open: ValueState<S::Key, OpenSlices<C::Acc>>,
    past: ValueState<S::Key, PastSlices<C::Acc>>,
    /// Keys that have state.
    keys: Timers<S::Key, ()>,
    /// Keys by when something has to be done for them. A key may stand in several lists: its entry says which one counts.
    due: BTreeMap<EventTime, Vec<S::Key>>,
    /// Windows up to this end have fired; slices up to it are past.
    fired_upto: EventTime,
    /// The slice of the last record: mostly that of the next one, too.
    slice: (EventTime, EventTime),
    /// Slices of the key that is being worked on.
    taken: Vec<(EventTime, C::Acc)>,
    firing: Firing<S::Key, TimeWindow, T, C::Item, F, Out>,
}

/// What became of a key for which something was due.
enum Woken<A> {
    /// It was in the list in vain.
    NotDue,
    /// Its window comes to that, if there is anything in it; something is due then again; or it is gone, and was
    /// registered with that.
    Done { fires: Option<A>, next: Result<EventTime, EventTime> },
}

impl<T, S, C, F, Out> SliceOperator<T, S, C, F, Out>
where
    T: Data,
    S: KeySelector<T>,
    C: Fold<T>,
    F: ProcessWindowFunction<S::Key, TimeWindow, C::Item, Out>,
{
    /// Opens the operator's state, empty or restored.
    ///
    /// # Errors
    /// The state can't be restored; the backend or the function's `open` failed.
    #[allow(clippy::too_many_arguments, reason = "what a window consists of; each has its own type")]
    pub fn open(
        context: &SubtaskContext,
        operator: OperatorId,
        selector: S,
        slicing: Slicing,
        fold: C,
        function: F,
        outputs: WindowOutputs<T>,
        output: Box<dyn Push<Out>>,
    ) -> TaskResult<Self> {
        let mut keyed = context.open_keyed(operator)?;
        let mut this = Self {
            selector,
            fold,
            slicing,
            open: keyed.value(ValueStateDescriptor::new("window-open-slices"))?,
            past: keyed.value(ValueStateDescriptor::new("window-past-slices"))?,
            keys: keyed.timers("window-keys")?,
            due: BTreeMap::new(),
            fired_upto: NO_TIME,
            slice: (0, 0),
            taken: Vec::new(),
            firing: Firing::open(context, operator, keyed, function, outputs, output)?,
        };
        if slicing.is_event_time && this.firing.watermark != NO_TIME {
            this.fired_upto = slicing.window_end_upto(this.firing.watermark.saturating_add(1));
        }
        this.list_keys()?;
        Ok(this)
    }

    /// Records that were too late for all of their windows, and that no side output took.
    pub fn late_records_dropped(&self) -> u64 {
        self.firing.late_dropped
    }

    /// Makes the lists of keys anew after a restore.
    fn list_keys(&mut self) -> TaskResult {
        let mut registered = Vec::new();
        while let Some((at, key, ())) = self.keys.pop_due(EventTime::MAX)? {
            registered.push((at, key));
        }
        for (at, key) in registered {
            self.firing.keyed.set_current_key(&key);
            if let Some(due) = self.open.with(|open| open.map(|open| open.due))? {
                self.keys.register(at, &key, &())?;
                self.due.entry(due).or_default().push(key);
            }
        }
        Ok(())
    }

    /// The end of a moment's slice.
    #[inline]
    fn slice_end(&mut self, moment: EventTime) -> EventTime {
        if moment < self.slice.0 || moment >= self.slice.1 {
            self.slice = self.slicing.slice(moment);
        }
        self.slice.1
    }

    #[inline]
    fn element(&mut self, record: T, time: EventTime) -> TaskResult {
        let moment = if self.slicing.is_event_time {
            InEventTime::moment(time, 0)?
        } else {
            // A clock that was set back does not bring windows back.
            self.firing.now.max(self.fired_upto)
        };
        let end = self.slice_end(moment);
        if end <= self.fired_upto {
            return self.element_of_the_past(record, time, end);
        }
        let Self { selector, firing, open, fold, .. } = self;
        selector.with_key(&record, |key| firing.keyed.set_current_key(key));
        let is_first = open.upsert(OpenSlices::default, |open| open.add(end, record, fold))?;
        if is_first {
            let due = self.slicing.first_window_end(end);
            self.wake_current_key(due)?;
        }
        Ok(())
    }

    /// Something has to be done for the current key at that time at the latest.
    fn wake_current_key(&mut self, time: EventTime) -> TaskResult {
        let (register, earlier) = self.open.upsert(OpenSlices::default, |open| {
            let register = (open.registered == NO_TIME).then(|| {
                // Descending: to delete a timer that is not the first one is cheap, and keys go in the order in which they came.
                open.registered = time.saturating_neg();
                open.registered
            });
            let earlier = time < open.due;
            open.due = open.due.min(time);
            (register, earlier)
        })?;
        let key = self.firing.keyed.current_key();
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

    /// A record whose slice was in a window that has fired already.
    #[cold]
    fn element_of_the_past(&mut self, record: T, time: EventTime, slice_end: EventTime) -> TaskResult {
        let slicing = self.slicing;
        let watermark = self.firing.watermark;
        let is_late = |window_end: EventTime| (window_end - 1).saturating_add(slicing.lateness) <= watermark;
        let last = slicing.last_window_end(slice_end);
        if is_late(last) {
            return self.firing.late(record, time);
        }
        let next = self.fired_upto.saturating_add(slicing.slide);
        let Self { selector, firing, past, fold, .. } = self;
        let key = selector.key(&record);
        firing.keyed.set_current_key(&key);
        let acc = fold.first(record);
        past.upsert(PastSlices::default, |past| past.add(slice_end, acc, next, &slicing, fold))?;
        // Windows that have fired, and are not forgotten, fire again: the newest first.
        let first = slicing.first_window_end(slice_end);
        let mut end = last.min(self.fired_upto);
        while end >= first && !is_late(end) {
            let Self { firing, past, fold, .. } = self;
            if let Some(acc) = past.with(|past| past.and_then(|past| past.again(end, &slicing, fold)))? {
                firing.items.push(fold.item(&acc));
                firing.fire(&key, &TimeWindow::new(end.saturating_sub(slicing.size), end))?;
                firing.keyed.set_current_key(&key);
            }
            end = end.saturating_sub(slicing.slide);
        }
        self.wake_current_key(if last > self.fired_upto { next } else { slicing.forgotten_at(slice_end) })
    }

    /// Time has come so far that everything is over that ends by then.
    fn advance(&mut self, upto: EventTime) -> TaskResult {
        while let Some(first) = self.due.first_entry()
            && *first.key() <= upto
        {
            let (at, keys) = first.remove_entry();
            self.wake(at, keys)?;
        }
        self.fired_upto = self.fired_upto.max(self.slicing.window_end_upto(upto));
        Ok(())
    }

    /// Does what is due at a time.
    fn wake(&mut self, at: EventTime, mut keys: Vec<S::Key>) -> TaskResult {
        let slicing = self.slicing;
        let window = TimeWindow::new(at.saturating_sub(slicing.size), at);
        let fires = slicing.is_window_end(at);
        let soon = at.saturating_add(slicing.slide);
        let mut keys_of_soon = self.due.remove(&soon).unwrap_or_default();
        for key in keys.drain(..) {
            self.firing.keyed.set_current_key(&key);
            let Woken::Done { fires, next } = self.wake_key(at, fires)? else { continue };
            if let Some(acc) = fires {
                self.firing.items.push(self.fold.item(&acc));
                self.firing.fire(&key, &window)?;
                if slicing.lateness == 0 {
                    self.firing.clear(&key, &window)?;
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
    #[inline]
    fn wake_key(&mut self, at: EventTime, fires: bool) -> TaskResult<Woken<C::Acc>> {
        let Self { open, past, slicing, taken, fold, .. } = self;
        let has_past = !slicing.is_tumbling() || slicing.lateness > 0;
        Ok(open.update(|stored| {
            let Some(open) = stored.as_mut().filter(|open| open.due == at) else { return Ok(Woken::NotDue) };
            taken.clear();
            if fires {
                open.take_upto(at, taken);
            }
            let (fires, past_due) = if has_past {
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
            let open_due = open.oldest().map(|end| slicing.first_window_end(end));
            let next = match [past_due, open_due].into_iter().flatten().min() {
                Some(next) => {
                    open.due = next;
                    Ok(next)
                }
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

impl<T, S, C, F, Out> Push<T> for SliceOperator<T, S, C, F, Out>
where
    T: Data,
    S: KeySelector<T>,
    C: Fold<T>,
    F: ProcessWindowFunction<S::Key, TimeWindow, C::Item, Out>,
{
    fn push(&mut self, batch: &mut Batch<T>) -> TaskResult {
        self.firing.look_at_clock();
        for (record, time) in batch.drain() {
            self.element(record, time)?;
        }
        self.firing.finish()
    }

    fn signal(&mut self, mut signal: Signal<'_>) -> TaskResult {
        match &mut signal {
            Signal::Watermark(time) => {
                self.firing.look_at_clock();
                self.firing.watermark = self.firing.watermark.max(*time);
                if self.slicing.is_event_time {
                    self.advance(self.firing.watermark.saturating_add(1))?;
                }
            }
            Signal::Time(clock) if !self.slicing.is_event_time => {
                self.firing.now = clock.now;
                self.advance(clock.now)?;
                if let Some((next, _)) = self.due.first_key_value() {
                    clock.call_at(*next);
                }
            }
            _ => {}
        }
        self.firing.pass_on(signal)
    }
}
