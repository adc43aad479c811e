//! Which windows a record belongs to.

use std::marker::PhantomData;
use std::time::Duration;

use flumen_model::failure::Blame;

use crate::batch::{EventTime, NO_TIME};
use crate::operator::{TaskError, TaskResult};

use super::trigger::Trigger;
use super::triggers::{EventTimeTrigger, NeverTrigger, ProcessingTimeTrigger};
use super::window::{GlobalWindow, TimeWindow, Window};

/// Puts records into windows.
pub trait WindowAssigner<T>: Clone + Send + Sync + 'static {
    /// The kind of window.
    type Window: Window;
    /// When windows fire unless the user says otherwise.
    type DefaultTrigger: Trigger<T, Self::Window>;

    /// Adds the windows of a record to `windows`, which is empty. `time` is the record's event time or [`NO_TIME`], `now` the
    /// processing time.
    ///
    /// # Errors
    /// The record has no time and needs one.
    fn assign(&mut self, record: &T, time: EventTime, now: EventTime, windows: &mut Vec<Self::Window>) -> TaskResult;

    /// Whether windows end in event time. Else they end in processing time, and no record is late.
    fn is_event_time(&self) -> bool;

    /// When windows fire unless the user says otherwise.
    fn default_trigger(&self) -> Self::DefaultTrigger;

    /// Whether windows grow together.
    fn is_merging(&self) -> bool {
        false
    }

    /// For windows that grow together: groups those that have to become one, each with the window that they become. A
    /// window that stays as it is may be left out or stand alone.
    fn merge(&self, _windows: &[Self::Window]) -> Vec<(Self::Window, Vec<Self::Window>)> {
        Vec::new()
    }
}

/// Which time windows are of.
pub trait TimeDomain: Copy + Default + Send + Sync + 'static {
    /// Whether it is event time.
    const IS_EVENT_TIME: bool;
    /// Fires when that time has come to a window's end.
    type EndTrigger<T: 'static>: Trigger<T, TimeWindow> + Default;

    /// The moment that decides on a record's windows.
    ///
    /// # Errors
    /// It is the event time, and the record has none.
    fn moment(time: EventTime, now: EventTime) -> TaskResult<EventTime>;
}

/// The time at which something happened, as records say.
#[derive(Debug, Clone, Copy, Default)]
pub struct InEventTime;

/// The time at which a record is processed.
#[derive(Debug, Clone, Copy, Default)]
pub struct InProcessingTime;

impl TimeDomain for InEventTime {
    const IS_EVENT_TIME: bool = true;
    type EndTrigger<T: 'static> = EventTimeTrigger;

    #[inline]
    fn moment(time: EventTime, _: EventTime) -> TaskResult<EventTime> {
        if time == NO_TIME { Err(without_time()) } else { Ok(time) }
    }
}

impl TimeDomain for InProcessingTime {
    const IS_EVENT_TIME: bool = false;
    type EndTrigger<T: 'static> = ProcessingTimeTrigger;

    #[inline]
    fn moment(_: EventTime, now: EventTime) -> TaskResult<EventTime> {
        Ok(now)
    }
}

#[cold]
fn without_time() -> TaskError {
    TaskError::failed(
        Blame::User,
        "a record without event time came to event-time windows: call assign_timestamps_and_watermarks before the windows, or use \
         windows of processing time",
    )
}

/// A duration in whole milliseconds.
pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// The start of the tumbling window of that size that a moment is in. Windows begin at multiples of `size` after `offset`.
#[inline]
pub fn window_start(moment: EventTime, offset: i64, size: i64) -> EventTime {
    moment.saturating_sub(moment.wrapping_sub(offset).rem_euclid(size))
}

/// Windows of one size, each beginning where the one before ends.
#[derive(Debug, Clone)]
pub struct TumblingWindows<D> {
    pub(crate) size: i64,
    pub(crate) offset: i64,
    domain: PhantomData<D>,
}

/// Tumbling windows in event time.
pub type TumblingEventTimeWindows = TumblingWindows<InEventTime>;
/// Tumbling windows in processing time.
pub type TumblingProcessingTimeWindows = TumblingWindows<InProcessingTime>;

impl<D> TumblingWindows<D> {
    /// Windows of that size, aligned to 1970 (UTC).
    ///
    /// # Panics
    /// The size is less than a millisecond.
    pub fn of(size: Duration) -> Self {
        let size = millis(size);
        assert!(size > 0, "a window's size is at least one millisecond");
        Self { size, offset: 0, domain: PhantomData }
    }

    /// Windows begin so much later. Hours that begin at a quarter past have an offset of 15 minutes; days of a time zone that
    /// is 8 hours ahead of UTC have one of 16 hours.
    #[must_use]
    pub fn with_offset(mut self, offset: Duration) -> Self {
        self.offset = millis(offset) % self.size;
        self
    }
}

impl<T: 'static, D: TimeDomain> WindowAssigner<T> for TumblingWindows<D> {
    type Window = TimeWindow;
    type DefaultTrigger = D::EndTrigger<T>;

    #[inline]
    fn assign(&mut self, _: &T, time: EventTime, now: EventTime, windows: &mut Vec<TimeWindow>) -> TaskResult {
        let start = window_start(D::moment(time, now)?, self.offset, self.size);
        windows.push(TimeWindow::new(start, start.saturating_add(self.size)));
        Ok(())
    }

    fn is_event_time(&self) -> bool {
        D::IS_EVENT_TIME
    }

    fn default_trigger(&self) -> Self::DefaultTrigger {
        Default::default()
    }
}

/// Windows of one size, of which one begins every `slide`: a record is in several, or, when the slide is greater than the
/// size, in one or none.
#[derive(Debug, Clone)]
pub struct SlidingWindows<D> {
    pub(crate) size: i64,
    pub(crate) slide: i64,
    pub(crate) offset: i64,
    domain: PhantomData<D>,
}

/// Sliding windows in event time.
pub type SlidingEventTimeWindows = SlidingWindows<InEventTime>;
/// Sliding windows in processing time.
pub type SlidingProcessingTimeWindows = SlidingWindows<InProcessingTime>;

impl<D> SlidingWindows<D> {
    /// Windows of that size, of which one begins every `slide`, aligned to 1970 (UTC).
    ///
    /// # Panics
    /// Size or slide is less than a millisecond.
    pub fn of(size: Duration, slide: Duration) -> Self {
        let (size, slide) = (millis(size), millis(slide));
        assert!(size > 0 && slide > 0, "a window's size and slide are at least one millisecond");
        Self { size, slide, offset: 0, domain: PhantomData }
    }

    /// Windows begin so much later.
    #[must_use]
    pub fn with_offset(mut self, offset: Duration) -> Self {
        self.offset = millis(offset) % self.slide;
        self
    }
}

impl<T: 'static, D: TimeDomain> WindowAssigner<T> for SlidingWindows<D> {
    type Window = TimeWindow;
    type DefaultTrigger = D::EndTrigger<T>;

    #[inline]
    fn assign(&mut self, _: &T, time: EventTime, now: EventTime, windows: &mut Vec<TimeWindow>) -> TaskResult {
        let moment = D::moment(time, now)?;
        let mut start = window_start(moment, self.offset, self.slide);
        while start > moment.saturating_sub(self.size) {
            windows.push(TimeWindow::new(start, start.saturating_add(self.size)));
            start = match start.checked_sub(self.slide) {
                Some(start) => start,
                None => break,
            };
        }
        Ok(())
    }

    fn is_event_time(&self) -> bool {
        D::IS_EVENT_TIME
    }

    fn default_trigger(&self) -> Self::DefaultTrigger {
        Default::default()
    }
}

/// One window for everything of a key. It fires only when a trigger says so.
#[derive(Debug, Clone, Copy, Default)]
pub struct GlobalWindows;

impl GlobalWindows {
    /// The assigner.
    pub fn create() -> Self {
        Self
    }
}

impl<T: 'static> WindowAssigner<T> for GlobalWindows {
    type Window = GlobalWindow;
    type DefaultTrigger = NeverTrigger;

    #[inline]
    fn assign(&mut self, _: &T, _: EventTime, _: EventTime, windows: &mut Vec<GlobalWindow>) -> TaskResult {
        windows.push(GlobalWindow);
        Ok(())
    }

    fn is_event_time(&self) -> bool {
        false
    }

    fn default_trigger(&self) -> NeverTrigger {
        NeverTrigger
    }
}
