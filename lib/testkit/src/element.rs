//! What an operator is given, and what it emits.

use flumen_worker::batch::{EventTime, NO_TIME};
use flumen_worker::operator::SplitChange;

/// One step of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Element<T> {
    /// A record with its event time or [`NO_TIME`].
    Record(T, EventTime),
    /// A watermark.
    Watermark(EventTime),
    /// The stream is idle, or no longer is.
    Idle(bool),
    /// The processing time has come to that point. Never emitted.
    ProcessingTime(EventTime),
    /// The split of the records that follow. Never emitted.
    Split(SplitChange),
    /// The end of the input: the last watermark, the end of the data. Never emitted.
    End,
}

/// A record without event time; see [`Element::at`].
pub fn rec<T>(record: T) -> Element<T> {
    Element::Record(record, NO_TIME)
}

/// No record with this or an earlier event time follows.
pub fn watermark<T>(time: EventTime) -> Element<T> {
    Element::Watermark(time)
}

/// The stream is idle.
pub fn idle<T>() -> Element<T> {
    Element::Idle(true)
}

/// The stream is no longer idle.
pub fn active<T>() -> Element<T> {
    Element::Idle(false)
}

/// It is that time: milliseconds since 1970. Every run begins at 0.
pub fn processing_time<T>(now: EventTime) -> Element<T> {
    Element::ProcessingTime(now)
}

/// The records that follow are of that split.
pub fn split<T>(split: u64) -> Element<T> {
    Element::Split(SplitChange::Current(split))
}

/// Nothing of that split follows.
pub fn split_finished<T>(split: u64) -> Element<T> {
    Element::Split(SplitChange::Finished(split))
}

/// The end of the input. Behind it, only the processing time may go on: the subtask waits for its last checkpoint.
pub fn end<T>() -> Element<T> {
    Element::End
}

impl<T> Element<T> {
    /// Gives a record an event time.
    ///
    /// # Panics
    /// It is no record.
    #[must_use]
    pub fn at(self, time: EventTime) -> Self {
        match self {
            Self::Record(record, _) => Self::Record(record, time),
            _ => panic!("only records have event times of their own"),
        }
    }

    pub(crate) fn is_record(&self) -> bool {
        matches!(self, Self::Record(..))
    }
}
