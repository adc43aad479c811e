//! What a function can ask for and do while it works on a record or timer.

use std::cell::Ref;

use flumen_model::ids::OperatorId;
use flumen_state::operator::OperatorState;
use flumen_state::{Keyed, StateError, Timers};

use crate::batch::{EventTime, NO_TIME};
use crate::functions::{FunctionResult, RuntimeContext};
use crate::keyed::Key;
use crate::operator::TaskError;
use crate::operators::side_output::{OutputTag, SideOutputs};
use crate::subtask::TimeSource;

/// What all functions of an operator share in one subtask.
pub(crate) struct Parts {
    pub(crate) operator: OperatorId,
    pub(crate) state: OperatorState,
    pub(crate) runtime: RuntimeContext,
    pub(crate) sides: SideOutputs,
    pub(crate) clock: TimeSource,
    /// Of the record or timer that is being worked on.
    pub(crate) time: EventTime,
    pub(crate) watermark: EventTime,
}

/// What functions on a keyed stream share besides.
pub(crate) struct KeyedParts<K> {
    pub(crate) parts: Parts,
    pub(crate) keyed: Keyed<K>,
    pub(crate) event_timers: Timers<K, ()>,
    pub(crate) processing_timers: Timers<K, ()>,
    pub(crate) domain: Option<TimeDomain>,
}

/// Which time a timer belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TimeDomain {
    /// That of the records: watermarks.
    EventTime,
    /// That of the machine.
    ProcessingTime,
}

/// Of functions on any stream.
pub struct Context<'a>(pub(crate) &'a mut Parts);

impl Context<'_> {
    /// The event time of the record, if it has one.
    #[inline]
    pub fn timestamp(&self) -> Option<EventTime> {
        Some(self.0.time).filter(|time| *time != NO_TIME)
    }

    /// No record with this or an earlier event time is expected; [`NO_TIME`] before the first watermark.
    #[inline]
    pub fn current_watermark(&self) -> EventTime {
        self.0.watermark
    }

    /// Milliseconds since 1970.
    pub fn current_processing_time(&self) -> EventTime {
        self.0.clock.now()
    }

    /// Emits into a side output, with the event time of the record.
    ///
    /// # Errors
    /// The side output is one of another type.
    pub fn output<X: 'static>(&mut self, tag: &OutputTag<X>, record: X) -> FunctionResult {
        self.0.output(tag, record)
    }

    /// The subtask.
    pub fn runtime(&self) -> &RuntimeContext {
        &self.0.runtime
    }
}

impl Parts {
    #[inline]
    pub(crate) fn output<X: 'static>(&mut self, tag: &OutputTag<X>, record: X) -> FunctionResult {
        self.sides.emit(tag, record, self.time).map_err(|error| match error {
            TaskError::Failed { message, .. } | TaskError::Restore { message } => message.into(),
            TaskError::Canceled => "canceled".into(),
        })
    }
}

/// Of functions on a keyed stream.
pub struct KeyedContext<'a, K>(pub(crate) &'a mut KeyedParts<K>);

impl<K: Key> KeyedContext<'_, K> {
    /// The event time of the record, or that of the timer; `None` if the record has none.
    #[inline]
    pub fn timestamp(&self) -> Option<EventTime> {
        Some(self.0.parts.time).filter(|time| *time != NO_TIME)
    }

    /// Which kind of timer is being worked on; `None` when it is a record.
    pub fn time_domain(&self) -> Option<TimeDomain> {
        self.0.domain
    }

    /// The key of the record or timer.
    ///
    /// # Panics
    /// There is none, because the record is one of a broadcast stream.
    #[inline]
    pub fn current_key(&self) -> Ref<'_, K> {
        self.0.keyed.current_key().expect("the runtime sets a key before it calls a function on a keyed stream")
    }

    /// Times and timers.
    #[inline]
    pub fn timer_service(&mut self) -> TimerService<'_, K> {
        TimerService(self.0)
    }

    /// Emits into a side output, with the event time of the record or timer.
    ///
    /// # Errors
    /// The side output is one of another type.
    pub fn output<X: 'static>(&mut self, tag: &OutputTag<X>, record: X) -> FunctionResult {
        self.0.parts.output(tag, record)
    }

    /// The subtask.
    pub fn runtime(&self) -> &RuntimeContext {
        &self.0.parts.runtime
    }
}

/// Times, and the timers of the current key. Of several timers for the same key and time, one is kept.
pub struct TimerService<'a, K>(&'a mut KeyedParts<K>);

impl<K: Key> TimerService<'_, K> {
    /// No record with this or an earlier event time is expected; [`NO_TIME`] before the first watermark.
    #[inline]
    pub fn current_watermark(&self) -> EventTime {
        self.0.parts.watermark
    }

    /// Milliseconds since 1970.
    pub fn current_processing_time(&self) -> EventTime {
        self.0.parts.clock.now()
    }

    /// Asks for a call when the watermark reaches that time; with the next watermark if it has.
    ///
    /// # Errors
    /// The state backend failed. The same in the following ones.
    #[inline]
    pub fn register_event_time_timer(&mut self, time: EventTime) -> Result<(), StateError> {
        self.with_key(|parts, key| parts.event_timers.register(time, key, &()))
    }

    /// Asks for a call at that processing time: milliseconds since 1970. Timers that are not due when the input ends never
    /// are.
    ///
    /// # Errors
    /// See [`Self::register_event_time_timer`].
    #[inline]
    pub fn register_processing_time_timer(&mut self, time: EventTime) -> Result<(), StateError> {
        self.with_key(|parts, key| parts.processing_timers.register(time, key, &()))
    }

    /// Takes an event-time timer back, if there is one.
    ///
    /// # Errors
    /// See [`Self::register_event_time_timer`].
    #[inline]
    pub fn delete_event_time_timer(&mut self, time: EventTime) -> Result<(), StateError> {
        self.with_key(|parts, key| parts.event_timers.delete(time, key, &()))
    }

    /// Takes a processing-time timer back, if there is one.
    ///
    /// # Errors
    /// See [`Self::register_event_time_timer`].
    #[inline]
    pub fn delete_processing_time_timer(&mut self, time: EventTime) -> Result<(), StateError> {
        self.with_key(|parts, key| parts.processing_timers.delete(time, key, &()))
    }

    #[inline]
    fn with_key(&self, f: impl FnOnce(&KeyedParts<K>, &K) -> Result<bool, StateError>) -> Result<(), StateError> {
        let key = self.0.keyed.current_key().expect("timers are registered where there is a key");
        f(self.0, &key).map(drop)
    }
}
