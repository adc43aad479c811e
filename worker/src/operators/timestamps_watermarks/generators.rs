//! Where watermarks come from.

use std::time::Duration;

use crate::batch::{EventTime, NO_TIME};

/// Makes the watermarks of one split; it is cloned for each.
pub trait WatermarkGenerator<T>: Clone + Send + Sync + 'static {
    /// Called for each record, with its time or [`NO_TIME`].
    fn on_event(&mut self, record: &T, timestamp: EventTime, output: &mut WatermarkOutput);

    /// Called every `pipeline.auto-watermark-interval`.
    fn on_periodic_emit(&mut self, output: &mut WatermarkOutput);
}

/// Takes the watermarks of one split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatermarkOutput {
    pub(crate) watermark: EventTime,
    pub(crate) idle: bool,
}

impl Default for WatermarkOutput {
    fn default() -> Self {
        Self { watermark: NO_TIME, idle: false }
    }
}

impl WatermarkOutput {
    /// No record with this or an earlier time is expected. An earlier watermark than the last one is ignored.
    #[inline]
    pub fn emit_watermark(&mut self, time: EventTime) {
        self.watermark = self.watermark.max(time);
        self.idle = false;
    }

    /// Nobody waits for this split until its next record or watermark.
    pub fn mark_idle(&mut self) {
        self.idle = true;
    }
}

/// Watermarks behind the latest record by a fixed time.
#[derive(Debug, Clone, Copy)]
pub struct BoundedOutOfOrderness {
    latest: EventTime,
    bound_ms: i64,
}

impl BoundedOutOfOrderness {
    /// Records may be so much earlier than the latest one before them.
    pub fn new(bound: Duration) -> Self {
        Self { latest: NO_TIME, bound_ms: i64::try_from(bound.as_millis()).unwrap_or(i64::MAX) }
    }
}

impl<T> WatermarkGenerator<T> for BoundedOutOfOrderness {
    #[inline]
    fn on_event(&mut self, _: &T, timestamp: EventTime, _: &mut WatermarkOutput) {
        self.latest = self.latest.max(timestamp);
    }

    fn on_periodic_emit(&mut self, output: &mut WatermarkOutput) {
        if self.latest != NO_TIME {
            output.emit_watermark(self.latest.saturating_sub(self.bound_ms).saturating_sub(1));
        }
    }
}

/// No watermarks: for streams in processing time.
#[derive(Debug, Clone, Copy)]
pub struct NoWatermarks;

impl<T> WatermarkGenerator<T> for NoWatermarks {
    #[inline]
    fn on_event(&mut self, _: &T, _: EventTime, _: &mut WatermarkOutput) {}

    fn on_periodic_emit(&mut self, _: &mut WatermarkOutput) {}
}
