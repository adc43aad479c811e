//! The operator for tumbling and sliding windows that are folded, with the default trigger and without evictor.
//!
//! Time is cut into slices where windows begin and end ([`Slicing`]); a window is some slices. A record changes one
//! accumulator, that of its slice, however many windows it is in. When a window fires, its newest slices join the key's past
//! ([`past`]), which knows at any time what the slices of the next window come to.
//!
//! State by key: the slices that have not been in a window that fired, and the past. In memory ([`places`]) keys are numbered, and
//! slices are columns by these numbers; a backend that serialises values keeps two of them for each key ([`stored`]). Snapshots
//! look the same.
//!
//! Accumulators of slices are merged in no promised order: folding has to be associative and commutative, as Flink demands of
//! session windows. Tumbling windows merge nothing.

mod bits;
mod column;
mod kept_columns;
mod numbers;
mod open;
mod open_columns;
mod past;
mod past_columns;
mod places;
mod shape;
mod stored;
mod sums;

use flumen_model::ids::OperatorId;
use flumen_state::StateValue;

use crate::batch::{Batch, EventTime, NO_TIME};
use crate::keyed::{Key, KeySelector};
use crate::operator::{Data, Push, Signal, TaskResult};
use crate::subtask::SubtaskContext;

use super::assigner::{InEventTime, TimeDomain as _};
use super::contents::Fold;
use super::function::ProcessWindowFunction;
use super::output::{Firing, WindowOutputs};
use super::window::TimeWindow;

use open_columns::Found;
use places::{Numbered, SlicesInMemory, UNKNOWN};
pub use shape::{RegularWindows, Slicing};
use stored::StoredSlices;

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
    slices: Slices<S::Key, C::Acc>,
    /// Windows up to this end have fired; slices up to it are past.
    fired_upto: EventTime,
    /// The slice that got the newest record, and the one before it: start, start, end. Mostly the next record is in one of them.
    newest: [EventTime; 3],
    /// The numbers of the keys of a batch, and which slices its records are in.
    numbers: Vec<u32>,
    found: Found,
    firing: Firing<S::Key, TimeWindow, T, C::Item, F, Out>,
}

/// The names of the states: keys' open slices, their past, and the keys that have any.
const OPEN: &str = "window-open-slices";
const PAST: &str = "window-past-slices";
const KEYS: &str = "window-keys";

/// Records whose memory is asked for at once: what they need fits into the processor's first cache.
const TOUCHED: usize = 128;

/// The slices of all keys, by where they are kept.
enum Slices<K, A: StateValue> {
    InMemory(SlicesInMemory<K, A>),
    Stored(StoredSlices<K, A>),
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
        mut fold: C,
        function: F,
        outputs: WindowOutputs<T>,
        output: Box<dyn Push<Out>>,
    ) -> TaskResult<Self> {
        let mut keyed = context.open_keyed(operator)?;
        let slices = if keyed.is_in_memory() {
            Slices::InMemory(SlicesInMemory::open(&mut keyed, slicing, &mut fold)?)
        } else {
            Slices::Stored(StoredSlices::open(&mut keyed)?)
        };
        let mut this = Self {
            selector,
            fold,
            slicing,
            slices,
            fired_upto: NO_TIME,
            newest: [NO_TIME; 3],
            numbers: Vec::new(),
            found: Found::default(),
            firing: Firing::open(context, operator, keyed, function, outputs, output)?,
        };
        if slicing.is_event_time && this.firing.watermark != NO_TIME {
            this.fired_upto = slicing.window_end_upto(this.firing.watermark.saturating_add(1));
        }
        Ok(this)
    }

    /// Records that were too late for all of their windows, and that no side output took.
    pub fn late_records_dropped(&self) -> u64 {
        self.firing.late_dropped
    }

    /// The end of a moment's slice.
    #[inline]
    fn slice_end(&mut self, moment: EventTime) -> EventTime {
        let [before, start, end] = self.newest;
        if moment >= before && moment < end {
            // No branch: which of the two it is can't be foreseen.
            return std::hint::select_unpredictable(moment < start, start, end);
        }
        let (start, end) = self.slicing.slice(moment);
        if end > self.newest[2] {
            self.newest = [self.slicing.slice(start.saturating_sub(1)).0, start, end];
        }
        end
    }

    /// The moment that records without a time of their own are at. A clock that was set back does not bring windows back.
    fn moment_of_clock(&self) -> EventTime {
        self.firing.now.max(self.fired_upto)
    }

    /// Finds out which slices the records of a batch are in.
    fn find_slices(&mut self, batch: &Batch<T>) {
        let moment = [self.moment_of_clock()];
        let times = if self.slicing.is_event_time { batch.times() } else { &moment };
        if !self.found.find(times, self.newest, batch.len())
            && let Some(last) = times.iter().max().filter(|last| **last > NO_TIME)
        {
            // Perhaps a slice begins with this batch.
            let newest = self.newest;
            self.slice_end(*last);
            if self.newest != newest {
                self.found.find(times, self.newest, batch.len());
            }
        }
    }

    fn push_one_by_one(&mut self, batch: &mut Batch<T>) -> TaskResult {
        for (record, time) in batch.drain() {
            self.element(Numbered { record, time, number: UNKNOWN })?;
        }
        self.firing.finish()
    }

    fn element(&mut self, record: Numbered<T>) -> TaskResult {
        let Numbered { record, time, number } = record;
        let is_event_time = self.slicing.is_event_time;
        let moment = if is_event_time { InEventTime::moment(time, 0)? } else { self.moment_of_clock() };
        let end = self.slice_end(moment);
        if end <= self.fired_upto {
            return self.element_of_the_past(record, time, end);
        }
        let Self { selector, firing, slices, slicing, fold, .. } = self;
        match slices {
            Slices::InMemory(slices) => slices.add(number, selector, record, end, fold),
            Slices::Stored(slices) => slices.add(&mut firing.keyed, selector, record, end, slicing, fold)?,
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
        let Self { selector, firing, slices, fold, .. } = self;
        let key = selector.key(&record);
        let slice = (slice_end, fold.first(record));
        match slices {
            Slices::InMemory(slices) => slices.add_to_past(&key, slice, next, fold),
            Slices::Stored(slices) => slices.add_to_past(&mut firing.keyed, &key, slice, next, &slicing, fold)?,
        }
        // Windows that have fired, and are not forgotten, fire again: the newest first.
        let first = slicing.first_window_end(slice_end);
        let mut end = last.min(self.fired_upto);
        while end >= first && !is_late(end) {
            let acc = match slices {
                Slices::InMemory(slices) => slices.again(&key, end, fold),
                Slices::Stored(slices) => slices.again(&mut firing.keyed, &key, end, &slicing, fold)?,
            };
            if let Some(acc) = acc {
                let window = TimeWindow::new(end.saturating_sub(slicing.size), end);
                firing.fire_one(&key, &window, fold.item(&acc))?;
            }
            end = end.saturating_sub(slicing.slide);
        }
        let due = if last > self.fired_upto { next } else { slicing.forgotten_at(slice_end) };
        match slices {
            // It knows.
            Slices::InMemory(_) => Ok(()),
            Slices::Stored(slices) => slices.wake_key_at(&mut firing.keyed, &key, due),
        }
    }

    /// Time has come so far that everything is over that ends by then.
    fn advance(&mut self, upto: EventTime) -> TaskResult {
        let Self { slices, slicing, fold, firing, .. } = self;
        while let Some(at) = slices.first_due()
            && at <= upto
        {
            match slices {
                Slices::InMemory(slices) => slices.wake(at, fold, firing)?,
                Slices::Stored(slices) => slices.wake(at, slicing, fold, firing)?,
            }
        }
        self.fired_upto = self.fired_upto.max(self.slicing.window_end_upto(upto));
        Ok(())
    }
}

impl<K: Key, A: StateValue> Slices<K, A> {
    /// The first time at which something has to be done.
    fn first_due(&self) -> Option<EventTime> {
        match self {
            Self::InMemory(slices) => slices.first_due(),
            Self::Stored(slices) => slices.first_due(),
        }
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
        if let Slices::Stored(_) = self.slices {
            return self.push_one_by_one(batch);
        }
        self.find_slices(batch);
        let (found, mut numbers) = (std::mem::take(&mut self.found), std::mem::take(&mut self.numbers));
        if let Slices::InMemory(slices) = &self.slices {
            slices.find(&self.selector, batch.records(), &mut numbers);
        }
        let (mut records, times) = batch.drain_beside_times();
        for (part, (numbers, found)) in numbers.chunks(TOUCHED).zip(found.chunks(TOUCHED)).enumerate() {
            let mut next = 0;
            while let Slices::InMemory(slices) = &mut self.slices
                && let Some(record) = slices.add_all(&mut records, numbers, found, &mut next, &mut self.fold)
            {
                let (number, time) = (numbers[next - 1], times.get(part * TOUCHED + next - 1).copied());
                self.element(Numbered { record, time: time.unwrap_or(NO_TIME), number })?;
            }
        }
        drop(records);
        batch.clear();
        (self.found, self.numbers) = (found, numbers);
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
                if let Some(next) = self.slices.first_due() {
                    clock.call_at(next);
                }
            }
            _ => {}
        }
        self.firing.pass_on(signal)
    }
}
