//! The triggers that there are.

use crate::batch::EventTime;
use crate::operator::Data;

use super::trigger::{Trigger, TriggerContext, TriggerResult};
use super::window::Window;

/// Fires when the watermark has come to the window's end, and again for each late record.
#[derive(Debug, Clone, Copy, Default)]
pub struct EventTimeTrigger;

impl<T, W: Window> Trigger<T, W> for EventTimeTrigger {
    type State = ();

    #[inline]
    fn on_element(
        &mut self,
        _: &T,
        _: EventTime,
        window: &W,
        (): &mut (),
        context: &mut TriggerContext,
    ) -> TriggerResult {
        if window.max_timestamp() <= context.current_watermark() {
            return TriggerResult::Fire;
        }
        context.register_event_time_timer(window.max_timestamp());
        TriggerResult::Continue
    }

    fn on_event_time(&mut self, time: EventTime, window: &W, (): &mut (), _: &mut TriggerContext) -> TriggerResult {
        if time == window.max_timestamp() { TriggerResult::Fire } else { TriggerResult::Continue }
    }

    fn can_merge(&self) -> bool {
        true
    }

    fn on_merge(&mut self, window: &W, _: &[()], (): &mut (), context: &mut TriggerContext) {
        if window.max_timestamp() > context.current_watermark() {
            context.register_event_time_timer(window.max_timestamp());
        }
    }

    fn clear(&mut self, window: &W, (): &mut (), context: &mut TriggerContext) {
        context.delete_event_time_timer(window.max_timestamp());
    }
}

/// Fires when the processing time has come to the window's end.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcessingTimeTrigger;

impl<T, W: Window> Trigger<T, W> for ProcessingTimeTrigger {
    type State = ();

    #[inline]
    fn on_element(
        &mut self,
        _: &T,
        _: EventTime,
        window: &W,
        (): &mut (),
        context: &mut TriggerContext,
    ) -> TriggerResult {
        context.register_processing_time_timer(window.max_timestamp());
        TriggerResult::Continue
    }

    fn on_processing_time(&mut self, _: EventTime, _: &W, (): &mut (), _: &mut TriggerContext) -> TriggerResult {
        TriggerResult::Fire
    }

    fn can_merge(&self) -> bool {
        true
    }

    fn on_merge(&mut self, window: &W, _: &[()], (): &mut (), context: &mut TriggerContext) {
        if window.max_timestamp() > context.current_processing_time() {
            context.register_processing_time_timer(window.max_timestamp());
        }
    }

    fn clear(&mut self, window: &W, (): &mut (), context: &mut TriggerContext) {
        context.delete_processing_time_timer(window.max_timestamp());
    }
}

/// Never fires.
#[derive(Debug, Clone, Copy, Default)]
pub struct NeverTrigger;

impl<T, W: Window> Trigger<T, W> for NeverTrigger {
    type State = ();

    #[inline]
    fn on_element(&mut self, _: &T, _: EventTime, _: &W, (): &mut (), _: &mut TriggerContext) -> TriggerResult {
        TriggerResult::Continue
    }

    fn can_merge(&self) -> bool {
        true
    }
}

/// Fires each time that so many records have come into the window.
#[derive(Debug, Clone, Copy)]
pub struct CountTrigger(u64);

impl CountTrigger {
    /// Fires at every `count`-th record.
    pub fn of(count: u64) -> Self {
        Self(count)
    }
}

impl<T, W: Window> Trigger<T, W> for CountTrigger {
    /// Records since it fired.
    type State = u64;

    #[inline]
    fn on_element(&mut self, _: &T, _: EventTime, _: &W, count: &mut u64, _: &mut TriggerContext) -> TriggerResult {
        *count += 1;
        if *count < self.0 {
            return TriggerResult::Continue;
        }
        *count = 0;
        TriggerResult::Fire
    }

    fn can_merge(&self) -> bool {
        true
    }

    fn on_merge(&mut self, _: &W, merged: &[u64], count: &mut u64, _: &mut TriggerContext) {
        *count += merged.iter().sum::<u64>();
    }
}

/// Fires when a record differs enough from the one at which it fired last.
#[derive(Clone)]
pub struct DeltaTrigger<D> {
    threshold: f64,
    delta: D,
}

impl<D> DeltaTrigger<D> {
    /// Fires when `delta(last, new)` is greater than the threshold.
    pub fn of<T>(threshold: f64, delta: D) -> Self
    where
        D: Fn(&T, &T) -> f64,
    {
        Self { threshold, delta }
    }
}

impl<T: Data, W: Window, D: Fn(&T, &T) -> f64 + Clone + Send + Sync + 'static> Trigger<T, W> for DeltaTrigger<D> {
    /// The record at which it fired last, or the first.
    type State = Option<T>;

    fn on_element(
        &mut self,
        record: &T,
        _: EventTime,
        _: &W,
        last: &mut Option<T>,
        _: &mut TriggerContext,
    ) -> TriggerResult {
        match last {
            Some(last) if (self.delta)(last, record) > self.threshold => {
                last.clone_from(record);
                TriggerResult::Fire
            }
            Some(_) => TriggerResult::Continue,
            None => {
                *last = Some(record.clone());
                TriggerResult::Continue
            }
        }
    }
}

/// Throws the window's contents away whenever another trigger fires.
#[derive(Debug, Clone, Copy, Default)]
pub struct PurgingTrigger<G>(G);

impl<G> PurgingTrigger<G> {
    /// As the other one, but purging.
    pub fn of(trigger: G) -> Self {
        Self(trigger)
    }

    fn purging(result: TriggerResult) -> TriggerResult {
        if result.is_fire() { TriggerResult::FireAndPurge } else { result }
    }
}

impl<T, W: Window, G: Trigger<T, W>> Trigger<T, W> for PurgingTrigger<G> {
    type State = G::State;

    #[inline]
    fn on_element(
        &mut self,
        record: &T,
        time: EventTime,
        window: &W,
        state: &mut G::State,
        context: &mut TriggerContext,
    ) -> TriggerResult {
        Self::purging(self.0.on_element(record, time, window, state, context))
    }

    fn on_event_time(
        &mut self,
        time: EventTime,
        window: &W,
        state: &mut G::State,
        context: &mut TriggerContext,
    ) -> TriggerResult {
        Self::purging(self.0.on_event_time(time, window, state, context))
    }

    fn on_processing_time(
        &mut self,
        time: EventTime,
        window: &W,
        state: &mut G::State,
        context: &mut TriggerContext,
    ) -> TriggerResult {
        Self::purging(self.0.on_processing_time(time, window, state, context))
    }

    fn can_merge(&self) -> bool {
        self.0.can_merge()
    }

    fn on_merge(&mut self, window: &W, merged: &[G::State], state: &mut G::State, context: &mut TriggerContext) {
        self.0.on_merge(window, merged, state, context);
    }

    fn clear(&mut self, window: &W, state: &mut G::State, context: &mut TriggerContext) {
        self.0.clear(window, state, context);
    }
}
