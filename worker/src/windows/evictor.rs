//! Which records of a window are left out when it fires.

use std::marker::PhantomData;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::batch::{EventTime, NO_TIME};

use super::assigner::millis;
use super::window::Window;

/// A record in a window, with its event time or [`NO_TIME`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimestampedValue<T> {
    /// The record.
    pub value: T,
    /// Its time.
    pub time: EventTime,
}

/// What an evictor knows.
#[derive(Debug, Clone, Copy)]
pub struct EvictorContext {
    /// The last watermark; [`NO_TIME`] before the first.
    pub watermark: EventTime,
    /// The processing time, in milliseconds since 1970.
    pub processing_time: EventTime,
}

/// Removes records from a window when it fires. What is removed is gone for good.
pub trait Evictor<T, W: Window>: Clone + Send + Sync + 'static {
    /// Before the function is called. The records are in the order in which they came.
    fn evict_before(&mut self, elements: &mut Vec<TimestampedValue<T>>, window: &W, context: &EvictorContext);

    /// After the function was called.
    fn evict_after(&mut self, _elements: &mut Vec<TimestampedValue<T>>, _window: &W, _context: &EvictorContext) {}
}

/// Does what another evictor does before the function is called, afterwards.
#[derive(Debug, Clone, Copy, Default)]
pub struct After<E>(pub E);

impl<T, W: Window, E: Evictor<T, W>> Evictor<T, W> for After<E> {
    fn evict_before(&mut self, _: &mut Vec<TimestampedValue<T>>, _: &W, _: &EvictorContext) {}

    fn evict_after(&mut self, elements: &mut Vec<TimestampedValue<T>>, window: &W, context: &EvictorContext) {
        self.0.evict_before(elements, window, context);
    }
}

/// Keeps the records that came last, up to a number.
#[derive(Debug, Clone, Copy)]
pub struct CountEvictor {
    keep: usize,
}

impl CountEvictor {
    /// Keeps so many.
    pub fn of(keep: usize) -> Self {
        Self { keep }
    }
}

impl<T, W: Window> Evictor<T, W> for CountEvictor {
    fn evict_before(&mut self, elements: &mut Vec<TimestampedValue<T>>, _: &W, _: &EvictorContext) {
        elements.drain(..elements.len().saturating_sub(self.keep));
    }
}

/// Keeps the records whose time is less than a span before the greatest one. Records without time are all kept.
#[derive(Debug, Clone, Copy)]
pub struct TimeEvictor {
    span: i64,
}

impl TimeEvictor {
    /// Keeps that span.
    pub fn of(span: Duration) -> Self {
        Self { span: millis(span) }
    }
}

impl<T, W: Window> Evictor<T, W> for TimeEvictor {
    fn evict_before(&mut self, elements: &mut Vec<TimestampedValue<T>>, _: &W, _: &EvictorContext) {
        if elements.first().is_none_or(|first| first.time == NO_TIME) {
            return;
        }
        let greatest = elements.iter().map(|element| element.time).max().unwrap_or(NO_TIME);
        let cutoff = greatest.saturating_sub(self.span);
        elements.retain(|element| element.time > cutoff);
    }
}

/// Keeps the records that differ from the last one by less than a threshold.
#[derive(Clone)]
pub struct DeltaEvictor<T, D> {
    threshold: f64,
    delta: D,
    record: PhantomData<fn(T)>,
}

impl<T, D: Fn(&T, &T) -> f64> DeltaEvictor<T, D> {
    /// Keeps those for which `delta(record, last)` is less than the threshold.
    pub fn of(threshold: f64, delta: D) -> Self {
        Self { threshold, delta, record: PhantomData }
    }
}

impl<T: Clone + 'static, W: Window, D: Fn(&T, &T) -> f64 + Clone + Send + Sync + 'static> Evictor<T, W>
    for DeltaEvictor<T, D>
{
    fn evict_before(&mut self, elements: &mut Vec<TimestampedValue<T>>, _: &W, _: &EvictorContext) {
        let Some(last) = elements.pop() else { return };
        elements.retain(|element| (self.delta)(&element.value, &last.value) < self.threshold);
        if (self.delta)(&last.value, &last.value) < self.threshold {
            elements.push(last);
        }
    }
}
