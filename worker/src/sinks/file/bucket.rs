//! Which directory a record goes to.

use std::borrow::Cow;

use chrono::{DateTime, FixedOffset, Local, NaiveDateTime, Offset as _, TimeZone as _};

use super::date_pattern::{BadDatePattern, DatePattern};
use super::encoder::SinkError;
use crate::batch::EventTime;

/// What a bucket assigner knows beside the record. Times are in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BucketContext {
    /// The record's event time.
    pub event_time: Option<EventTime>,
    /// No record with an earlier event time follows; the earliest time of all before the first watermark.
    pub watermark: EventTime,
    /// When the record came.
    pub processing_time: EventTime,
}

/// Chooses the bucket of each record. Closures from the record and its [`BucketContext`] to a `String` are assigners, too.
pub trait BucketAssigner<T>: Clone + Send + Sync + 'static {
    /// The directory of the record, relative to the sink's; several levels are joined by slashes. Empty: the sink's own.
    ///
    /// # Errors
    /// The record belongs nowhere: the job fails.
    fn bucket_id<'a>(&'a mut self, record: &'a T, context: &BucketContext) -> Result<Cow<'a, str>, SinkError>;
}

impl<T, F> BucketAssigner<T> for F
where
    F: FnMut(&T, &BucketContext) -> String + Clone + Send + Sync + 'static,
{
    fn bucket_id<'a>(&'a mut self, record: &'a T, context: &BucketContext) -> Result<Cow<'a, str>, SinkError> {
        Ok(Cow::Owned(self(record, context)))
    }
}

/// All records into the sink's directory itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BasePathBucketAssigner;

impl<T> BucketAssigner<T> for BasePathBucketAssigner {
    #[inline]
    fn bucket_id<'a>(&'a mut self, _: &'a T, _: &BucketContext) -> Result<Cow<'a, str>, SinkError> {
        Ok(Cow::Borrowed(""))
    }
}

/// Where the hours of a [`DateTimeBucketAssigner`] begin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Zone {
    /// The time zone of the machine that the subtask runs on.
    #[default]
    Local,
    /// UTC.
    Utc,
    /// So many seconds east of UTC.
    East(i32),
}

impl Zone {
    /// What a clock in this zone shows.
    fn local(self, time: EventTime) -> Option<NaiveDateTime> {
        let utc = DateTime::from_timestamp_millis(time)?.naive_utc();
        let offset = match self {
            Self::Utc => return Some(utc),
            Self::Local => Local.offset_from_utc_datetime(&utc).fix(),
            Self::East(seconds) => FixedOffset::east_opt(seconds)?,
        };
        utc.checked_add_offset(offset)
    }
}

/// One bucket for each span of time: `yyyy-MM-dd--HH` of processing time unless told otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DateTimeBucketAssigner {
    pattern: DatePattern,
    zone: Zone,
    by_event_time: bool,
    /// The span that `name` is for, in units of the pattern.
    span: Option<i64>,
    name: String,
}

/// Flink's default.
const HOURS: &str = "yyyy-MM-dd--HH";

impl Default for DateTimeBucketAssigner {
    fn default() -> Self {
        let pattern = DatePattern::parse(HOURS).expect("the default pattern is one");
        Self { pattern, zone: Zone::default(), by_event_time: false, span: None, name: String::new() }
    }
}

impl DateTimeBucketAssigner {
    /// With another pattern, in the letters of Java's `DateTimeFormatter`: `yyyy`, `MM`, `dd`, `HH`, `mm`, `ss`, `SSS`
    /// and quoted text. A slash begins a directory within the one before it.
    ///
    /// # Errors
    /// The pattern is not understood.
    pub fn with_format(pattern: &str) -> Result<Self, BadDatePattern> {
        Ok(Self { pattern: DatePattern::parse(pattern)?, ..Self::default() })
    }

    /// In another time zone than that of the machine.
    #[must_use]
    pub fn in_zone(self, zone: Zone) -> Self {
        Self { zone, span: None, ..self }
    }

    /// By the records' event times. A record without one fails the job.
    #[must_use]
    pub fn by_event_time(self) -> Self {
        Self { by_event_time: true, ..self }
    }
}

impl<T> BucketAssigner<T> for DateTimeBucketAssigner {
    #[inline]
    fn bucket_id<'a>(&'a mut self, _: &'a T, context: &BucketContext) -> Result<Cow<'a, str>, SinkError> {
        let time = if self.by_event_time {
            context.event_time.ok_or(
                "the bucket is chosen by event time, and the record has none: assign timestamps before the sink",
            )?
        } else {
            context.processing_time
        };
        let span = time.div_euclid(self.pattern.unit_ms());
        if self.span != Some(span) {
            let local = self.zone.local(time).ok_or_else(|| format!("there is no date for the time {time}"))?;
            self.name.clear();
            self.pattern.write(&local, &mut self.name);
            self.span = Some(span);
        }
        Ok(Cow::Borrowed(&self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    fn id(assigner: &mut DateTimeBucketAssigner, event_time: Option<i64>, processing_time: i64) -> String {
        let context = BucketContext { event_time, watermark: i64::MIN, processing_time };
        BucketAssigner::<u8>::bucket_id(assigner, &1, &context).unwrap().into_owned()
    }

    #[test]
    fn hours_begin_where_the_zone_says() {
        let mut utc = DateTimeBucketAssigner::default().in_zone(Zone::Utc);
        assert_eq!(id(&mut utc, Some(5 * HOUR), 0), "1970-01-01--00");
        assert_eq!(id(&mut utc, None, HOUR - 1), "1970-01-01--00");
        assert_eq!(id(&mut utc, None, HOUR), "1970-01-01--01");
        assert_eq!(id(&mut utc, None, -1), "1969-12-31--23");
        let mut india = DateTimeBucketAssigner::default().in_zone(Zone::East(5 * 3600 + 1800));
        assert_eq!(id(&mut india, None, HOUR / 2 - 1), "1970-01-01--05");
        assert_eq!(id(&mut india, None, HOUR / 2), "1970-01-01--06");
    }

    #[test]
    fn event_time_chooses_the_bucket_when_asked_to() {
        let mut days = DateTimeBucketAssigner::with_format("yyyy/MM/dd").unwrap().in_zone(Zone::Utc).by_event_time();
        assert_eq!(id(&mut days, Some(48 * HOUR), 0), "1970/01/03");
        let context = BucketContext { event_time: None, watermark: 0, processing_time: 0 };
        let error = BucketAssigner::<u8>::bucket_id(&mut days, &1, &context).unwrap_err();
        assert!(error.to_string().contains("assign timestamps"), "{error}");
    }
}
