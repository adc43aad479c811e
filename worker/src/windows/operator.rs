//! The general operator for windows: any assigner, trigger, evictor and function.
//!
//! Per record it is put into the contents of each of its windows, and the trigger of each is asked. Timers, by key and
//! window, are the trigger's and one at which the window is forgotten: when its end and the allowed lateness are over.

use flumen_model::failure::Blame;
use flumen_model::ids::OperatorId;
use flumen_state::{Table, TableDescriptor, Timers};

use crate::batch::{Batch, END_OF_TIME, EventTime, NO_TIME};
use crate::keyed::{Key, KeySelector};
use crate::operator::{Data, Push, Signal, TaskError, TaskResult};
use crate::subtask::SubtaskContext;

use super::assigner::{WindowAssigner, millis};
use super::contents::{OpenContents, WindowContents};
use super::evictor::EvictorContext;
use super::function::ProcessWindowFunction;
use super::merging::MergingWindows;
use super::output::{Firing, WindowOutputs, merged_into_the_past};
use super::trigger::{TimerRequest, Trigger, TriggerContext, TriggerResult};
use super::window::Window;

/// Which windows there are, when they fire, and for how long they take records after their end.
#[derive(Debug, Clone)]
pub struct Windowing<A, G> {
    /// Which windows a record belongs to.
    pub assigner: A,
    /// When a window fires.
    pub trigger: G,
    /// For how long after its end a window of event time takes late records, for each of which the default trigger fires it
    /// again. Default: 0.
    pub allowed_lateness: std::time::Duration,
}

impl<A, G> Windowing<A, G> {
    /// With the trigger that the windows have by default, and no lateness.
    pub fn of<T>(assigner: A) -> Self
    where
        A: WindowAssigner<T, DefaultTrigger = G>,
    {
        let trigger = assigner.default_trigger();
        Self { assigner, trigger, allowed_lateness: std::time::Duration::ZERO }
    }
}

/// See the module.
pub struct WindowOperator<T, S, A, G, C, F, Out>
where
    S: KeySelector<T>,
    A: WindowAssigner<T>,
    G: Trigger<T, A::Window>,
    C: OpenContents<S::Key, T, A::Window>,
    F: ProcessWindowFunction<S::Key, A::Window, C::Item, Out>,
{
    selector: S,
    assigner: A,
    /// The current key.
    key: Option<S::Key>,
    /// The windows of the current record.
    windows: Vec<A::Window>,
    panes: Panes<S::Key, A::Window, T, G, C, F, Out>,
}

/// Everything that is kept by key and window.
struct Panes<K, W, T, G, C, F, Out>
where
    K: Key,
    W: Window,
    G: Trigger<T, W>,
    C: OpenContents<K, T, W>,
    F: ProcessWindowFunction<K, W, C::Item, Out>,
{
    trigger: G,
    trigger_states: Table<K, W, G::State>,
    trigger_context: TriggerContext,
    contents: C,
    event_timers: Timers<K, W>,
    processing_timers: Timers<K, W>,
    is_event_time: bool,
    allowed_lateness: i64,
    /// Only where windows grow together.
    merging: Option<MergingWindows<K, W>>,
    firing: Firing<K, W, T, C::Item, F, Out>,
}

impl<T, S, A, G, C, F, Out> WindowOperator<T, S, A, G, C, F, Out>
where
    T: Data,
    S: KeySelector<T>,
    A: WindowAssigner<T>,
    G: Trigger<T, A::Window>,
    C: OpenContents<S::Key, T, A::Window>,
    F: ProcessWindowFunction<S::Key, A::Window, C::Item, Out>,
{
    /// Opens the operator's state, empty or restored.
    ///
    /// # Errors
    /// The trigger can't be used for windows that grow together; the state can't be restored; the backend or the function's
    /// `open` failed.
    #[allow(clippy::too_many_arguments, reason = "what a window consists of; each has its own type")]
    pub fn open<D>(
        context: &SubtaskContext,
        operator: OperatorId,
        selector: S,
        windowing: Windowing<A, G>,
        contents: D,
        function: F,
        outputs: WindowOutputs<T>,
        output: Box<dyn Push<Out>>,
    ) -> TaskResult<Self>
    where
        D: WindowContents<S::Key, T, A::Window, Opened = C, Item = C::Item>,
    {
        let Windowing { assigner, trigger, allowed_lateness } = windowing;
        if assigner.is_merging() && !trigger.can_merge() {
            let message = format!(
                "the trigger {} can't be used with windows that grow together, such as sessions: implement can_merge and \
                 on_merge",
                std::any::type_name::<G>()
            );
            return Err(TaskError::failed(Blame::User, message));
        }
        let mut keyed = context.open_keyed(operator)?;
        let panes = Panes {
            trigger,
            trigger_states: keyed.table(TableDescriptor::new("window-trigger"))?,
            trigger_context: TriggerContext::new(NO_TIME, 0),
            contents: contents.open(&mut keyed)?,
            event_timers: keyed.timers("window-event-timers")?,
            processing_timers: keyed.timers("window-processing-timers")?,
            is_event_time: assigner.is_event_time(),
            allowed_lateness: millis(allowed_lateness),
            merging: if assigner.is_merging() { Some(MergingWindows::open(&mut keyed)?) } else { None },
            firing: Firing::open(context, operator, keyed, function, outputs, output)?,
        };
        Ok(Self { selector, assigner, key: None, windows: Vec::new(), panes })
    }

    /// Records that were too late for all of their windows, and that no side output took.
    pub fn late_records_dropped(&self) -> u64 {
        self.panes.firing.late_dropped
    }

    fn element(&mut self, record: T, time: EventTime) -> TaskResult {
        let Self { selector, assigner, key, windows, panes } = self;
        let key = match key {
            Some(key) => {
                selector.with_key(&record, |new| key.clone_from(new));
                key
            }
            none => none.insert(selector.key(&record)),
        };
        windows.clear();
        assigner.assign(&record, time, panes.firing.now, windows)?;
        let mut skipped = true;
        let mut record = Some(record);
        let last = windows.len().saturating_sub(1);
        for (at, window) in windows.drain(..).enumerate() {
            let window = if panes.merging.is_some() { panes.add_window(assigner, key, window)? } else { window };
            if panes.is_late(&window) {
                panes.retire(key, &window)?;
                continue;
            }
            skipped = false;
            let taken = if at == last { record.take() } else { record.clone() };
            if let Some(taken) = taken {
                panes.add(key, &window, taken, time)?;
            }
        }
        if skipped
            && panes.is_event_time
            && time.saturating_add(panes.allowed_lateness) <= panes.firing.watermark
            && let Some(record) = record
        {
            panes.firing.late(record, time)?;
        }
        if let Some(merging) = &mut panes.merging {
            merging.store(key)?;
        }
        Ok(())
    }
}

impl<K, W, T, G, C, F, Out> Panes<K, W, T, G, C, F, Out>
where
    K: Key,
    W: Window,
    T: Data,
    G: Trigger<T, W>,
    C: OpenContents<K, T, W>,
    F: ProcessWindowFunction<K, W, C::Item, Out>,
{
    /// When a window is forgotten.
    #[inline]
    fn cleanup_time(&self, window: &W) -> EventTime {
        let lateness = if self.is_event_time { self.allowed_lateness } else { 0 };
        window.max_timestamp().saturating_add(lateness)
    }

    #[inline]
    fn is_late(&self, window: &W) -> bool {
        self.is_event_time && self.cleanup_time(window) <= self.firing.watermark
    }

    fn evictor_context(&self) -> EvictorContext {
        EvictorContext { watermark: self.firing.watermark, processing_time: self.firing.now }
    }

    /// Puts a record into a window.
    #[inline]
    fn add(&mut self, key: &K, window: &W, record: T, time: EventTime) -> TaskResult {
        let result =
            self.ask(key, window, |trigger, state, context| trigger.on_element(&record, time, window, state, context))?;
        let Self { contents, merging, .. } = self;
        let kept_in = merging.as_ref().and_then(|merging| merging.state_window(window)).unwrap_or(window);
        contents.add(key, kept_in, record, time)?;
        self.act(result, key, window)?;
        let cleanup = self.cleanup_time(window);
        if cleanup != END_OF_TIME {
            let timers = if self.is_event_time { &self.event_timers } else { &self.processing_timers };
            timers.register(cleanup, key, window)?;
        }
        Ok(())
    }

    /// Calls the trigger, and does with timers what it asks for.
    #[inline]
    fn ask<R>(
        &mut self,
        key: &K,
        window: &W,
        call: impl FnOnce(&mut G, &mut G::State, &mut TriggerContext) -> R,
    ) -> TaskResult<R> {
        let Self { trigger, trigger_states, trigger_context, firing, .. } = self;
        trigger_context.watermark = firing.watermark;
        trigger_context.now = firing.now;
        let result = if size_of::<G::State>() == 0 {
            call(trigger, &mut G::State::default(), trigger_context)
        } else {
            trigger_states.upsert(key, window, G::State::default, |state| call(trigger, state, trigger_context))?
        };
        self.timers_asked_for(key, window)?;
        Ok(result)
    }

    #[inline]
    fn timers_asked_for(&mut self, key: &K, window: &W) -> TaskResult {
        let Self { trigger_context, event_timers, processing_timers, .. } = self;
        for request in trigger_context.asked.drain(..) {
            match request {
                TimerRequest::RegisterEvent(time) => event_timers.register(time, key, window)?,
                TimerRequest::DeleteEvent(time) => event_timers.delete(time, key, window)?,
                TimerRequest::RegisterProcessing(time) => processing_timers.register(time, key, window)?,
                TimerRequest::DeleteProcessing(time) => processing_timers.delete(time, key, window)?,
            };
        }
        Ok(())
    }

    /// Does with a window what its trigger says.
    #[inline]
    fn act(&mut self, result: TriggerResult, key: &K, window: &W) -> TaskResult {
        if result == TriggerResult::Continue {
            return Ok(());
        }
        let context = self.evictor_context();
        let Self { contents, merging, firing, .. } = self;
        let kept_in = merging.as_ref().and_then(|merging| merging.state_window(window)).unwrap_or(window);
        if result.is_fire() && contents.fire(key, kept_in, &context, &mut firing.items)? {
            firing.fire(key, window)?;
            contents.fired(key, kept_in, &context)?;
        }
        if result.is_purge() {
            contents.clear(key, kept_in)?;
        }
        Ok(())
    }

    /// A timer is due.
    fn on_timer(&mut self, time: EventTime, key: &K, window: &W, event_time: bool) -> TaskResult {
        if let Some(merging) = &mut self.merging {
            merging.load(key)?;
            // The window became a part of another one.
            if merging.state_window(window).is_none() {
                return Ok(());
            }
        }
        let result = self.ask(key, window, |trigger, state, context| {
            if event_time {
                trigger.on_event_time(time, window, state, context)
            } else {
                trigger.on_processing_time(time, window, state, context)
            }
        })?;
        self.act(result, key, window)?;
        if self.is_event_time == event_time && time == self.cleanup_time(window) {
            self.forget(key, window)?;
        }
        if let Some(merging) = &mut self.merging {
            merging.store(key)?;
        }
        Ok(())
    }

    /// Forgets a window.
    fn forget(&mut self, key: &K, window: &W) -> TaskResult {
        let Self { contents, merging, .. } = self;
        let kept_in = merging.as_ref().and_then(|merging| merging.state_window(window)).unwrap_or(window);
        contents.clear(key, kept_in)?;
        let mut state = self.take_trigger_state(key, window)?;
        self.trigger.clear(window, &mut state, &mut self.trigger_context);
        self.timers_asked_for(key, window)?;
        self.firing.clear(key, window)?;
        self.retire(key, window)
    }

    fn take_trigger_state(&mut self, key: &K, window: &W) -> TaskResult<G::State> {
        if size_of::<G::State>() == 0 {
            return Ok(G::State::default());
        }
        Ok(self.trigger_states.take(key, window)?.unwrap_or_default())
    }

    fn retire(&mut self, key: &K, window: &W) -> TaskResult {
        match &mut self.merging {
            Some(merging) => merging.retire(key, window),
            None => Ok(()),
        }
    }

    /// Adds a window to those that may grow together; returns the one that it is a part of now.
    fn add_window<A: WindowAssigner<T, Window = W>>(&mut self, assigner: &A, key: &K, window: W) -> TaskResult<W> {
        let Some(merging) = &mut self.merging else { return Ok(window) };
        merging.load(key)?;
        let (actual, merges) = merging.add(assigner, window);
        for merge in merges {
            let end = merge.result.max_timestamp();
            let firing = &self.firing;
            if self.is_event_time && end.saturating_add(self.allowed_lateness) <= firing.watermark {
                return Err(merged_into_the_past("watermark", end, firing.watermark));
            }
            if !self.is_event_time && end <= firing.now {
                return Err(merged_into_the_past("processing time", end, firing.now));
            }
            let mut states = Vec::with_capacity(merge.merged.len());
            for window in &merge.merged {
                states.push(self.take_trigger_state(key, window)?);
            }
            self.ask(key, &merge.result, |trigger, state, context| {
                trigger.on_merge(&merge.result, &states, state, context);
            })?;
            for (window, state) in merge.merged.iter().zip(&mut states).filter(|(window, _)| **window != merge.result) {
                self.trigger.clear(window, state, &mut self.trigger_context);
                self.timers_asked_for(key, window)?;
                let timers = if self.is_event_time { &self.event_timers } else { &self.processing_timers };
                timers.delete(self.cleanup_time(window), key, window)?;
            }
            self.contents.merge(key, &merge.into, &merge.from)?;
        }
        Ok(actual)
    }
}

impl<T, S, A, G, C, F, Out> Push<T> for WindowOperator<T, S, A, G, C, F, Out>
where
    T: Data,
    S: KeySelector<T>,
    A: WindowAssigner<T>,
    G: Trigger<T, A::Window>,
    C: OpenContents<S::Key, T, A::Window>,
    F: ProcessWindowFunction<S::Key, A::Window, C::Item, Out>,
{
    fn push(&mut self, batch: &mut Batch<T>) -> TaskResult {
        self.panes.firing.look_at_clock();
        for (record, time) in batch.drain() {
            self.element(record, time)?;
        }
        self.panes.firing.finish()
    }

    fn signal(&mut self, mut signal: Signal<'_>) -> TaskResult {
        let panes = &mut self.panes;
        match &mut signal {
            // Senders say again after a restore what they said before: that is no new time.
            Signal::Watermark(time) if *time > panes.firing.watermark => {
                panes.firing.look_at_clock();
                panes.firing.watermark = *time;
                while let Some((at, key, window)) = panes.event_timers.pop_due(panes.firing.watermark)? {
                    panes.on_timer(at, &key, &window, true)?;
                }
            }
            Signal::Time(clock) => {
                panes.firing.now = clock.now;
                // A moment has to be over: more records of the same millisecond belong to the same windows.
                while let Some((at, key, window)) = panes.processing_timers.pop_due(clock.now.saturating_sub(1))? {
                    panes.on_timer(at, &key, &window, false)?;
                }
                if let Some(next) = panes.processing_timers.peek()? {
                    clock.call_at(next.saturating_add(1));
                }
            }
            _ => {}
        }
        panes.firing.pass_on(signal)
    }
}
