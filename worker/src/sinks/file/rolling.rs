//! When a part is closed between two barriers. Barriers close parts in any case.

use std::time::Duration;

use crate::batch::EventTime;

/// What a rolling policy knows of a part in progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartFileInfo<'a> {
    /// The directory that it is in, relative to the sink's.
    pub bucket_id: &'a str,
    /// When its first record came: processing time, in milliseconds since 1970.
    pub creation_time: EventTime,
    /// When its last record came.
    pub last_update_time: EventTime,
    /// Encoded bytes so far.
    pub size: u64,
}

/// Says when a part is closed and the next one begun.
pub trait RollingPolicy<T>: Clone + Send + Sync + 'static {
    /// Whether the part is closed before this record, which then begins the next one.
    fn should_roll_on_event(&self, part: &PartFileInfo<'_>, record: &T) -> bool;

    /// Whether the part is closed at that processing time. Asked in the interval of
    /// [`with_bucket_check_interval`](super::FileSink::with_bucket_check_interval).
    fn should_roll_on_processing_time(&self, part: &PartFileInfo<'_>, now: EventTime) -> bool;
}

/// Rolls by size, by age and after a time without records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DefaultRollingPolicy {
    part_size: u64,
    rollover_interval: Duration,
    inactivity_interval: Duration,
}

impl Default for DefaultRollingPolicy {
    /// 128 MiB, 60 s and 60 s, as Flink's.
    fn default() -> Self {
        let minute = Duration::from_secs(60);
        Self { part_size: 128 << 20, rollover_interval: minute, inactivity_interval: minute }
    }
}

impl DefaultRollingPolicy {
    /// Rolls before the record that comes when the part has more bytes than this.
    #[must_use]
    pub fn with_max_part_size(self, bytes: u64) -> Self {
        Self { part_size: bytes, ..self }
    }

    /// Rolls a part that is open for this long.
    #[must_use]
    pub fn with_rollover_interval(self, interval: Duration) -> Self {
        Self { rollover_interval: interval, ..self }
    }

    /// Rolls a part that has had no record for this long.
    #[must_use]
    pub fn with_inactivity_interval(self, interval: Duration) -> Self {
        Self { inactivity_interval: interval, ..self }
    }
}

/// `a - b`, at least, as milliseconds: clocks may go back.
fn reached(since: EventTime, now: EventTime, interval: Duration) -> bool {
    u128::try_from(now.saturating_sub(since)).is_ok_and(|passed| passed >= interval.as_millis())
}

impl<T> RollingPolicy<T> for DefaultRollingPolicy {
    #[inline]
    fn should_roll_on_event(&self, part: &PartFileInfo<'_>, _: &T) -> bool {
        part.size > self.part_size
    }

    fn should_roll_on_processing_time(&self, part: &PartFileInfo<'_>, now: EventTime) -> bool {
        reached(part.creation_time, now, self.rollover_interval)
            || reached(part.last_update_time, now, self.inactivity_interval)
    }
}

/// Rolls at barriers only.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OnCheckpointRollingPolicy;

impl<T> RollingPolicy<T> for OnCheckpointRollingPolicy {
    #[inline]
    fn should_roll_on_event(&self, _: &PartFileInfo<'_>, _: &T) -> bool {
        false
    }

    fn should_roll_on_processing_time(&self, _: &PartFileInfo<'_>, _: EventTime) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_policy_rolls_by_size_age_and_idleness() {
        let policy = DefaultRollingPolicy::default()
            .with_max_part_size(100)
            .with_rollover_interval(Duration::from_secs(30))
            .with_inactivity_interval(Duration::from_secs(10));
        // Size, created at, written at, now; rolls for the next record, rolls by time.
        let cases = [
            (0, 0, 0, 0, false, false),
            (100, 0, 0, 9_999, false, false),
            (101, 0, 0, 9_999, true, false),
            (1, 0, 0, 10_000, false, true),
            (1, 0, 20_000, 29_999, false, false),
            (1, 0, 20_000, 30_000, false, true),
            (1, 50_000, 50_000, 0, false, false),
        ];
        for (size, creation_time, last_update_time, now, on_event, on_time) in cases {
            let part = PartFileInfo { bucket_id: "", creation_time, last_update_time, size };
            assert_eq!(RollingPolicy::<u8>::should_roll_on_event(&policy, &part, &1), on_event, "{part:?}");
            let rolls = RollingPolicy::<u8>::should_roll_on_processing_time(&policy, &part, now);
            assert_eq!(rolls, on_time, "{part:?} at {now}");
            assert!(!RollingPolicy::<u8>::should_roll_on_event(&OnCheckpointRollingPolicy, &part, &1));
        }
    }
}
