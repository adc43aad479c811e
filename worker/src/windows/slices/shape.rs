//! How time is cut into slices.

use std::time::Duration;

use crate::batch::EventTime;

use super::super::assigner::{SlidingWindows, TimeDomain, TumblingWindows, millis};

/// Windows that consist of slices: where windows begin and end, slices do.
///
/// Between two starts of windows there are at most two slices: windows of 60 s that begin every 7 s end 4 s after a start, so
/// slices are 4 s and 3 s long in turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slicing {
    pub(super) size: i64,
    pub(super) slide: i64,
    pub(super) offset: i64,
    /// How long after a start of windows other windows end; 0: at the next start.
    rest: i64,
    pub(super) is_event_time: bool,
    pub(super) lateness: i64,
}

/// Windows whose sizes are known beforehand.
pub trait RegularWindows {
    /// Size, slide and offset in milliseconds, and whether they are windows of event time.
    fn shape(&self) -> (i64, i64, i64, bool);
}

impl<D: TimeDomain> RegularWindows for TumblingWindows<D> {
    fn shape(&self) -> (i64, i64, i64, bool) {
        (self.size, self.size, self.offset, D::IS_EVENT_TIME)
    }
}

impl<D: TimeDomain> RegularWindows for SlidingWindows<D> {
    fn shape(&self) -> (i64, i64, i64, bool) {
        (self.size, self.slide, self.offset, D::IS_EVENT_TIME)
    }
}

impl Slicing {
    /// The slices of these windows; `None` when [`WindowOperator`](super::super::WindowOperator) has to be used: there are gaps
    /// between windows, or windows are kept after they have fired and the function on them has state of its own
    /// ([`USES_KEYED_STATE`](super::super::ProcessWindowFunction::USES_KEYED_STATE)).
    pub fn of(windows: &impl RegularWindows, allowed_lateness: Duration, uses_keyed_state: bool) -> Option<Self> {
        let (size, slide, offset, is_event_time) = windows.shape();
        let lateness = if is_event_time { millis(allowed_lateness) } else { 0 };
        if slide > size || (uses_keyed_state && lateness > 0) {
            return None;
        }
        Some(Self { size, slide, offset, rest: size % slide, is_event_time, lateness })
    }

    /// The slice that a moment is in: its start and its end.
    pub(super) fn slice(&self, moment: EventTime) -> (EventTime, EventTime) {
        let after_start = moment.wrapping_sub(self.offset).rem_euclid(self.slide);
        let start = moment.saturating_sub(after_start);
        if after_start < self.rest {
            (start, start.saturating_add(self.rest))
        } else {
            (start.saturating_add(self.rest), start.saturating_add(self.slide))
        }
    }

    /// The last end of a window that is not after that moment.
    pub(super) fn window_end_upto(&self, moment: EventTime) -> EventTime {
        moment.saturating_sub(moment.wrapping_sub(self.offset).wrapping_sub(self.size).rem_euclid(self.slide))
    }

    /// Whether a window ends there.
    pub(super) fn is_window_end(&self, moment: EventTime) -> bool {
        moment.wrapping_sub(self.offset).wrapping_sub(self.size).rem_euclid(self.slide) == 0
    }

    /// The end of the first window that has that slice in it.
    pub(super) fn first_window_end(&self, slice_end: EventTime) -> EventTime {
        slice_end.saturating_add(self.offset.wrapping_add(self.size).wrapping_sub(slice_end).rem_euclid(self.slide))
    }

    /// The end of the last window that has that slice in it.
    pub(super) fn last_window_end(&self, slice_end: EventTime) -> EventTime {
        self.window_end_upto(slice_end.saturating_add(self.size - 1))
    }

    /// A window is one slice.
    pub(super) fn is_tumbling(&self) -> bool {
        self.size == self.slide
    }

    /// Whether something is kept of slices that were in a window which has fired.
    pub(super) fn has_past(&self) -> bool {
        !self.is_tumbling() || self.lateness > 0
    }

    /// When nothing of a slice is wanted any more: the first watermark for which that holds, plus one.
    pub(super) fn forgotten_at(&self, slice_end: EventTime) -> EventTime {
        self.last_window_end(slice_end).saturating_add(self.lateness)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::assigner::{SlidingEventTimeWindows, TumblingEventTimeWindows};
    use super::*;

    /// The windows of a moment, by definition.
    fn windows(size: i64, slide: i64, offset: i64, moment: i64) -> Vec<i64> {
        (-200..200).map(|n| n * slide + offset).filter(|s| (*s..s + size).contains(&moment)).map(|s| s + size).collect()
    }

    #[test]
    fn moments_of_a_slice_are_in_the_same_windows_and_the_ends_of_those_are_known() {
        for (size, slide, offset) in
            [(10, 10, 0), (10, 10, 3), (60, 10, 0), (60, 7, 2), (11, 10, 9), (5, 1, 0), (9, 6, 5)]
        {
            let ms = |ms: i64| Duration::from_millis(ms as u64);
            let assigner = SlidingEventTimeWindows::of(ms(size), ms(slide)).with_offset(ms(offset));
            let slicing = Slicing::of(&assigner, Duration::ZERO, false).unwrap();
            for moment in -150..150 {
                let (start, end) = slicing.slice(moment);
                assert!((start..end).contains(&moment), "{size}/{slide}+{offset}: {moment} is not in {start}..{end}");
                let expected = windows(size, slide, offset, moment);
                for other in start..end {
                    assert_eq!(windows(size, slide, offset, other), expected, "{size}/{slide}+{offset}: {moment}");
                }
                assert_eq!(slicing.first_window_end(end), expected[0]);
                assert_eq!(slicing.last_window_end(end), *expected.last().unwrap());
                assert!(expected.iter().all(|end| slicing.is_window_end(*end)));
                assert_eq!(slicing.window_end_upto(expected[0]), expected[0]);
                assert_eq!(slicing.window_end_upto(expected[0] + slide - 1), expected[0]);
            }
        }
    }

    #[test]
    fn windows_with_gaps_or_with_state_that_outlives_their_firing_are_not_sliced() {
        let second = Duration::from_secs(1);
        assert_eq!(Slicing::of(&SlidingEventTimeWindows::of(second, 2 * second), Duration::ZERO, false), None);
        let tumbling = TumblingEventTimeWindows::of(second);
        assert_eq!(Slicing::of(&tumbling, second, true), None);
        assert!(
            Slicing::of(&tumbling, second, false).is_some() && Slicing::of(&tumbling, Duration::ZERO, true).is_some()
        );
    }
}
