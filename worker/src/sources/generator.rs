//! Records computed from their number, optionally at a limited rate.

use std::ops::Range;
use std::time::{Duration, Instant};

use crate::operator::{BATCH_RECORDS, TaskResult};
use crate::sources::{Source, SourceStatus};
use crate::subtask::SubtaskContext;

/// Emits `generate(i)` for a contiguous range of numbers, in order.
pub struct GeneratorSource<F> {
    generate: F,
    range: Range<u64>,
    pace: Option<Pace>,
}

struct Pace {
    per_second: f64,
    since: Option<Instant>,
    emitted: u64,
}

impl<F> GeneratorSource<F> {
    /// A source for subtask `index` of `parallelism`: its part of `0..count`, at its part of `per_second`.
    pub fn new(generate: F, count: u64, per_second: Option<f64>, index: u32, parallelism: u32) -> Self {
        let part = |i: u32| (u128::from(count) * u128::from(i) / u128::from(parallelism)) as u64;
        let pace = per_second.map(|rate| Pace { per_second: rate / f64::from(parallelism), since: None, emitted: 0 });
        Self { generate, range: part(index)..part(index + 1), pace }
    }
}

impl Pace {
    /// How many records may be emitted by now, or how long to wait for the next one.
    fn allowed(&mut self, now: Instant) -> Result<u64, Duration> {
        let since = *self.since.get_or_insert(now);
        let due = (now.duration_since(since).as_secs_f64() * self.per_second) as u64 + 1;
        match due.checked_sub(self.emitted) {
            Some(allowed) if allowed > 0 => Ok(allowed),
            _ => {
                let next = Duration::from_secs_f64(self.emitted as f64 / self.per_second);
                Err((since + next).saturating_duration_since(now).max(Duration::from_micros(100)))
            }
        }
    }
}

impl<T, F: FnMut(u64) -> T + Send> Source<T> for GeneratorSource<F> {
    fn poll(&mut self, _: &mut SubtaskContext, out: &mut Vec<T>) -> TaskResult<SourceStatus> {
        let left = self.range.end - self.range.start;
        let mut count = left.min(BATCH_RECORDS as u64);
        if let Some(pace) = &mut self.pace {
            match pace.allowed(Instant::now()) {
                Ok(allowed) => count = count.min(allowed),
                Err(wait) => return Ok(if left == 0 { SourceStatus::End } else { SourceStatus::Idle(wait) }),
            }
            pace.emitted += count;
        }
        for _ in 0..count {
            out.push((self.generate)(self.range.start));
            self.range.start += 1;
        }
        Ok(if self.range.is_empty() { SourceStatus::End } else { SourceStatus::More })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ranges_of_all_subtasks_cover_all_numbers_once() {
        for (count, parallelism) in [(0, 1), (1, 3), (10, 3), (u64::MAX, 7)] {
            let ranges: Vec<_> =
                (0..parallelism).map(|i| GeneratorSource::new(|i: u64| i, count, None, i, parallelism).range).collect();
            assert_eq!(ranges[0].start, 0);
            assert_eq!(ranges[ranges.len() - 1].end, count);
            assert!(ranges.windows(2).all(|pair| pair[0].end == pair[1].start), "{ranges:?}");
        }
    }

    #[test]
    fn the_pace_allows_as_many_records_as_the_time_that_passed() {
        let start = Instant::now();
        let mut pace = Pace { per_second: 100.0, since: None, emitted: 0 };
        assert_eq!(pace.allowed(start), Ok(1));
        pace.emitted = 1;
        assert_eq!(pace.allowed(start), Err(Duration::from_millis(10)));
        assert_eq!(pace.allowed(start + Duration::from_millis(105)), Ok(10));
        pace.emitted = 11;
        assert_eq!(pace.allowed(start + Duration::from_millis(105)), Err(Duration::from_millis(5)));
    }
}
