//! A trigger that fires again and again until a window ends.

use std::marker::PhantomData;
use std::time::Duration;

use crate::batch::EventTime;

use super::assigner::{InEventTime, InProcessingTime, TimeDomain, millis};
use super::trigger::{Trigger, TriggerContext, TriggerResult};
use super::window::Window;

/// Fires every interval, at multiples of the interval, and at the window's end.
#[derive(Debug, Clone, Copy)]
pub struct ContinuousTrigger<D> {
    interval: i64,
    domain: PhantomData<D>,
}

/// Fires every interval of event time, at multiples of the interval, and at the window's end.
pub type ContinuousEventTimeTrigger = ContinuousTrigger<InEventTime>;

/// Fires every interval of processing time, at multiples of the interval, and at the window's end.
pub type ContinuousProcessingTimeTrigger = ContinuousTrigger<InProcessingTime>;

impl<D: TimeDomain> ContinuousTrigger<D> {
    /// Fires every `interval`.
    ///
    /// # Panics
    /// The interval is less than a millisecond.
    pub fn of(interval: Duration) -> Self {
        let interval = millis(interval);
        assert!(interval > 0, "a trigger's interval is at least one millisecond");
        Self { interval, domain: PhantomData }
    }

    fn register(time: EventTime, context: &mut TriggerContext) {
        if D::IS_EVENT_TIME {
            context.register_event_time_timer(time);
        } else {
            context.register_processing_time_timer(time);
        }
    }

    fn delete(time: EventTime, context: &mut TriggerContext) {
        if D::IS_EVENT_TIME {
            context.delete_event_time_timer(time);
        } else {
            context.delete_processing_time_timer(time);
        }
    }

    fn register_next<W: Window>(
        &self,
        after: EventTime,
        window: &W,
        next: &mut Option<EventTime>,
        context: &mut TriggerContext,
    ) {
        let time = after.saturating_add(self.interval).min(window.max_timestamp());
        *next = Some(time);
        Self::register(time, context);
    }

    fn on_time<W: Window>(
        &self,
        time: EventTime,
        window: &W,
        next: &mut Option<EventTime>,
        context: &mut TriggerContext,
    ) -> TriggerResult {
        // There is no next time then.
        if time == window.max_timestamp() {
            return TriggerResult::Fire;
        }
        if *next != Some(time) {
            return TriggerResult::Continue;
        }
        self.register_next(time, window, next, context);
        TriggerResult::Fire
    }
}

impl<T, W: Window, D: TimeDomain> Trigger<T, W> for ContinuousTrigger<D> {
    /// When it fires next, apart from the window's end.
    type State = Option<EventTime>;

    fn on_element(
        &mut self,
        _: &T,
        time: EventTime,
        window: &W,
        next: &mut Option<EventTime>,
        context: &mut TriggerContext,
    ) -> TriggerResult {
        if D::IS_EVENT_TIME {
            if window.max_timestamp() <= context.current_watermark() {
                return TriggerResult::Fire;
            }
            Self::register(window.max_timestamp(), context);
        }
        if next.is_none() {
            let moment = if D::IS_EVENT_TIME { time } else { context.current_processing_time() };
            self.register_next(moment.saturating_sub(moment.wrapping_rem(self.interval)), window, next, context);
        }
        TriggerResult::Continue
    }

    fn on_event_time(
        &mut self,
        time: EventTime,
        window: &W,
        next: &mut Option<EventTime>,
        context: &mut TriggerContext,
    ) -> TriggerResult {
        self.on_time(time, window, next, context)
    }

    fn on_processing_time(
        &mut self,
        time: EventTime,
        window: &W,
        next: &mut Option<EventTime>,
        context: &mut TriggerContext,
    ) -> TriggerResult {
        self.on_time(time, window, next, context)
    }

    fn can_merge(&self) -> bool {
        true
    }

    fn on_merge(
        &mut self,
        _: &W,
        merged: &[Option<EventTime>],
        next: &mut Option<EventTime>,
        context: &mut TriggerContext,
    ) {
        *next = merged.iter().chain([&*next]).filter_map(|time| *time).min();
        if let Some(time) = *next {
            Self::register(time, context);
        }
    }

    fn clear(&mut self, window: &W, next: &mut Option<EventTime>, context: &mut TriggerContext) {
        if D::IS_EVENT_TIME {
            Self::delete(window.max_timestamp(), context);
        }
        if let Some(time) = *next {
            Self::delete(time, context);
        }
    }
}
