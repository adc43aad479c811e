//! How event times and watermarks are made.

use std::marker::PhantomData;
use std::time::Duration;

use super::generators::{BoundedOutOfOrderness, NoWatermarks, WatermarkGenerator};
use crate::batch::EventTime;

/// How the event times and watermarks of a stream are made. The names are Flink's.
pub struct WatermarkStrategy<T, G, A = RecordTimestamps> {
    pub(crate) generator: G,
    pub(crate) assigner: A,
    pub(crate) idleness_ms: Option<i64>,
    pub(crate) alignment: Option<WatermarkAlignment>,
    records: PhantomData<fn(T)>,
}

/// Streams that wait for each other. See [`WatermarkStrategy::with_watermark_alignment`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatermarkAlignment {
    pub(crate) group: String,
    pub(crate) max_drift_ms: i64,
    pub(crate) update_interval_ms: i64,
}

/// Says which event time a record has.
///
/// A closure `|record, time|` is one, too.
pub trait TimestampAssigner<T>: Clone + Send + Sync + 'static {
    /// The event time of a record: milliseconds since 1970. `time` is what it has so far, or
    /// [`NO_TIME`](crate::batch::NO_TIME).
    fn extract_timestamp(&self, record: &T, time: EventTime) -> EventTime;
}

impl<T, F: Fn(&T, EventTime) -> EventTime + Clone + Send + Sync + 'static> TimestampAssigner<T> for F {
    #[inline]
    fn extract_timestamp(&self, record: &T, time: EventTime) -> EventTime {
        self(record, time)
    }
}

/// Records keep the times that they have from their source.
#[derive(Debug, Clone, Copy)]
pub struct RecordTimestamps;

impl<T> TimestampAssigner<T> for RecordTimestamps {
    #[inline]
    fn extract_timestamp(&self, _: &T, time: EventTime) -> EventTime {
        time
    }
}

impl<T, G: Clone, A: Clone> Clone for WatermarkStrategy<T, G, A> {
    fn clone(&self) -> Self {
        Self {
            generator: self.generator.clone(),
            assigner: self.assigner.clone(),
            idleness_ms: self.idleness_ms,
            alignment: self.alignment.clone(),
            records: PhantomData,
        }
    }
}

impl<T> WatermarkStrategy<T, BoundedOutOfOrderness> {
    /// Times never go back within a split.
    pub fn for_monotonous_timestamps() -> Self {
        Self::for_bounded_out_of_orderness(Duration::ZERO)
    }

    /// Records come at most so much later than records with later times.
    pub fn for_bounded_out_of_orderness(bound: Duration) -> Self {
        Self::new(BoundedOutOfOrderness::new(bound))
    }
}

impl<T> WatermarkStrategy<T, NoWatermarks> {
    /// Event times at most, but no watermarks before the end.
    pub fn no_watermarks() -> Self {
        Self::new(NoWatermarks)
    }
}

impl<T, G: WatermarkGenerator<T>> WatermarkStrategy<T, G> {
    /// Watermarks from a generator of one's own, which is cloned for each split.
    pub fn for_generator(generator: G) -> Self {
        Self::new(generator)
    }
}

impl<T, G> WatermarkStrategy<T, G> {
    fn new(generator: G) -> Self {
        Self { generator, assigner: RecordTimestamps, idleness_ms: None, alignment: None, records: PhantomData }
    }
}

impl<T, G, A> WatermarkStrategy<T, G, A> {
    /// Takes event times from records: milliseconds since 1970.
    pub fn with_timestamp_assigner<B>(self, assigner: B) -> WatermarkStrategy<T, G, B>
    where
        B: Fn(&T, EventTime) -> EventTime + Clone + Send + Sync + 'static,
    {
        let Self { generator, idleness_ms, alignment, .. } = self;
        WatermarkStrategy { generator, assigner, idleness_ms, alignment, records: PhantomData }
    }

    /// A split without a record for so long holds the others back no longer. In processing time, looked at every
    /// `pipeline.auto-watermark-interval`.
    #[must_use]
    pub fn with_idleness(mut self, timeout: Duration) -> Self {
        self.idleness_ms = Some(milliseconds(timeout));
        self
    }

    /// A subtask whose watermark is more than `max_drift` ahead of the slowest one of its group waits for it: it takes no
    /// input until then. A group is all subtasks of the job that name it, wherever they run. Each says how far it is
    /// every `update_interval`, so it may read on for that long before it hears that it is ahead. Splits of one subtask don't
    /// wait for each other: the slowest of them counts.
    #[must_use]
    pub fn with_watermark_alignment(mut self, group: &str, max_drift: Duration, update_interval: Duration) -> Self {
        self.alignment = Some(WatermarkAlignment {
            group: group.to_owned(),
            max_drift_ms: milliseconds(max_drift),
            update_interval_ms: milliseconds(update_interval).max(1),
        });
        self
    }
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
