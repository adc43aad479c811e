//! When a window fires.

use flumen_state::StateValue;

use crate::batch::EventTime;

use super::window::Window;

/// What is done with a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TriggerResult {
    /// Nothing.
    Continue,
    /// The function is called with its contents.
    Fire,
    /// Its contents are thrown away; it stays.
    Purge,
    /// Both, in that order.
    FireAndPurge,
}

impl TriggerResult {
    /// Whether the function is called.
    pub fn is_fire(self) -> bool {
        matches!(self, Self::Fire | Self::FireAndPurge)
    }

    /// Whether the contents are thrown away.
    pub fn is_purge(self) -> bool {
        matches!(self, Self::Purge | Self::FireAndPurge)
    }
}

/// Decides when a window fires. One instance serves all keys and windows of a subtask; what it has to remember of one window
/// of one key is its `State`, which is kept in snapshots.
pub trait Trigger<T, W: Window>: Clone + Send + Sync + 'static {
    /// What it remembers of a window; `()` when nothing.
    type State: StateValue + Default;

    /// A record was put into the window.
    fn on_element(
        &mut self,
        record: &T,
        time: EventTime,
        window: &W,
        state: &mut Self::State,
        context: &mut TriggerContext,
    ) -> TriggerResult;

    /// The watermark has come to a timer that was registered for the window.
    fn on_event_time(
        &mut self,
        _time: EventTime,
        _window: &W,
        _state: &mut Self::State,
        _context: &mut TriggerContext,
    ) -> TriggerResult {
        TriggerResult::Continue
    }

    /// The processing time has come to a timer that was registered for the window.
    fn on_processing_time(
        &mut self,
        _time: EventTime,
        _window: &W,
        _state: &mut Self::State,
        _context: &mut TriggerContext,
    ) -> TriggerResult {
        TriggerResult::Continue
    }

    /// Whether it can be used for windows that grow together.
    fn can_merge(&self) -> bool {
        false
    }

    /// Windows with these states have become `window`, whose state is new. Their timers are deleted by [`Self::clear`]
    /// afterwards.
    fn on_merge(
        &mut self,
        _window: &W,
        _merged: &[Self::State],
        _state: &mut Self::State,
        _context: &mut TriggerContext,
    ) {
    }

    /// The window is gone: delete the timers that were registered for it. The state is forgotten afterwards.
    fn clear(&mut self, _window: &W, _state: &mut Self::State, _context: &mut TriggerContext) {}
}

/// What a trigger knows, and what it can ask for. Timers are of the key and window that it is called for.
#[derive(Debug)]
pub struct TriggerContext {
    pub(crate) watermark: EventTime,
    pub(crate) now: EventTime,
    pub(crate) asked: Vec<TimerRequest>,
}

/// What a trigger asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TimerRequest {
    RegisterEvent(EventTime),
    DeleteEvent(EventTime),
    RegisterProcessing(EventTime),
    DeleteProcessing(EventTime),
}

impl TriggerContext {
    /// One for that time.
    pub fn new(watermark: EventTime, now: EventTime) -> Self {
        Self { watermark, now, asked: Vec::new() }
    }

    /// The last watermark; [`NO_TIME`](crate::batch::NO_TIME) before the first.
    #[inline]
    pub fn current_watermark(&self) -> EventTime {
        self.watermark
    }

    /// The processing time, in milliseconds since 1970.
    #[inline]
    pub fn current_processing_time(&self) -> EventTime {
        self.now
    }

    /// Calls `on_event_time` when the watermark has come to that time; with the next watermark, if it has already.
    #[inline]
    pub fn register_event_time_timer(&mut self, time: EventTime) {
        self.asked.push(TimerRequest::RegisterEvent(time));
    }

    /// Takes back a timer.
    #[inline]
    pub fn delete_event_time_timer(&mut self, time: EventTime) {
        self.asked.push(TimerRequest::DeleteEvent(time));
    }

    /// Calls `on_processing_time` when that time is over.
    #[inline]
    pub fn register_processing_time_timer(&mut self, time: EventTime) {
        self.asked.push(TimerRequest::RegisterProcessing(time));
    }

    /// Takes back a timer.
    #[inline]
    pub fn delete_processing_time_timer(&mut self, time: EventTime) {
        self.asked.push(TimerRequest::DeleteProcessing(time));
    }
}
