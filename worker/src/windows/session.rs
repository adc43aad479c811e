//! Sessions: windows that end when nothing came for a while, and grow together when something comes between two.

use std::marker::PhantomData;
use std::time::Duration;

use flumen_model::failure::Blame;

use crate::batch::EventTime;
use crate::operator::{TaskError, TaskResult};

use super::assigner::{InEventTime, InProcessingTime, TimeDomain, WindowAssigner, millis};
use super::window::TimeWindow;

/// For how long nothing may come before a session is over.
pub trait SessionGap<T>: Clone + Send + Sync + 'static {
    /// After this record, in milliseconds.
    fn gap_ms(&self, record: &T) -> i64;
}

/// The same after every record.
#[derive(Debug, Clone, Copy)]
pub struct FixedGap(i64);

impl<T> SessionGap<T> for FixedGap {
    #[inline]
    fn gap_ms(&self, _: &T) -> i64 {
        self.0
    }
}

/// What a function of the record says.
#[derive(Clone)]
pub struct DynamicGap<F>(F);

impl<T, F: Fn(&T) -> Duration + Clone + Send + Sync + 'static> SessionGap<T> for DynamicGap<F> {
    #[inline]
    fn gap_ms(&self, record: &T) -> i64 {
        millis((self.0)(record))
    }
}

/// Windows that reach from a record to the end of the gap after the last one.
#[derive(Clone)]
pub struct SessionWindows<D, G> {
    gap: G,
    domain: PhantomData<D>,
}

/// Sessions in event time.
pub type EventTimeSessionWindows<G = FixedGap> = SessionWindows<InEventTime, G>;
/// Sessions in processing time.
pub type ProcessingTimeSessionWindows<G = FixedGap> = SessionWindows<InProcessingTime, G>;

impl<D> SessionWindows<D, FixedGap> {
    /// A session is over when nothing came for so long.
    ///
    /// # Panics
    /// The gap is less than a millisecond.
    pub fn with_gap(gap: Duration) -> Self {
        let gap = millis(gap);
        assert!(gap > 0, "a session's gap is at least one millisecond");
        Self { gap: FixedGap(gap), domain: PhantomData }
    }

    /// A session is over when nothing came for as long as the function says of its records.
    pub fn with_dynamic_gap<T, F: Fn(&T) -> Duration>(gap: F) -> SessionWindows<D, DynamicGap<F>> {
        SessionWindows { gap: DynamicGap(gap), domain: PhantomData }
    }
}

impl<T: 'static, D: TimeDomain, G: SessionGap<T>> WindowAssigner<T> for SessionWindows<D, G> {
    type Window = TimeWindow;
    type DefaultTrigger = D::EndTrigger<T>;

    #[inline]
    fn assign(&mut self, record: &T, time: EventTime, now: EventTime, windows: &mut Vec<TimeWindow>) -> TaskResult {
        let start = D::moment(time, now)?;
        let gap = self.gap.gap_ms(record);
        if gap <= 0 {
            return Err(TaskError::failed(
                Blame::User,
                "the function for the gap of session windows gave less than one millisecond for a record",
            ));
        }
        windows.push(TimeWindow::new(start, start.saturating_add(gap)));
        Ok(())
    }

    fn is_event_time(&self) -> bool {
        D::IS_EVENT_TIME
    }

    fn default_trigger(&self) -> Self::DefaultTrigger {
        Default::default()
    }

    fn is_merging(&self) -> bool {
        true
    }

    fn merge(&self, windows: &[TimeWindow]) -> Vec<(TimeWindow, Vec<TimeWindow>)> {
        let mut sorted = windows.to_vec();
        sorted.sort_unstable();
        let mut groups: Vec<(TimeWindow, Vec<TimeWindow>)> = Vec::new();
        for window in sorted {
            match groups.last_mut() {
                Some((whole, parts)) if whole.intersects(&window) => {
                    *whole = whole.cover(&window);
                    parts.push(window);
                }
                _ => groups.push((window, vec![window])),
            }
        }
        groups.retain(|(_, parts)| parts.len() > 1);
        groups
    }
}
