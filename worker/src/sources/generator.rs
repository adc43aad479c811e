//! Records computed from their number, optionally at a limited rate.

use std::ops::Range;
use std::time::{Duration, Instant};

use flumen_model::checkpoint::Redistribution;
use flumen_model::ids::OperatorId;

use crate::batch::Batch;
use crate::exchange::codec;
use crate::operator::{SplitChange, TaskResult};
use crate::sources::{Position, Source, SourceStatus};
use crate::subtask::SubtaskContext;

/// Emits `generate(i)` for ranges of numbers, each in order: one range, or after a restore with another parallelism this
/// subtask's even share of all ranges that were left.
pub struct GeneratorSource<F> {
    generate: F,
    /// What is left, the current range last.
    ranges: Vec<Range<u64>>,
    change: Option<SplitChange>,
    pace: Option<Pace>,
}

struct Pace {
    per_second: f64,
    since: Option<Instant>,
    emitted: u64,
}

impl<F> GeneratorSource<F> {
    /// A source for one subtask: its part of `0..count` or of what the checkpoint says is left of it, at its part of
    /// `per_second`.
    ///
    /// # Errors
    /// The position in the checkpoint is none.
    pub fn new(
        generate: F,
        count: u64,
        per_second: Option<f64>,
        context: &SubtaskContext,
        operator: OperatorId,
    ) -> TaskResult<Self> {
        let left = match context.restored_list(operator, Position::NAME) {
            None => std::iter::once(0..count).collect(),
            Some(items) => {
                let decode = |item: &bytes::Bytes| codec::decode::<(u64, u64)>(&mut &item[..]);
                let ranges: Vec<_> = items.iter().map(decode).collect::<TaskResult<_>>()?;
                ranges.into_iter().map(|(start, end)| start..end).collect()
            }
        };
        let parallelism = context.parallelism;
        let pace = per_second.map(|rate| Pace { per_second: rate / f64::from(parallelism), since: None, emitted: 0 });
        let mut ranges = share(left, context.id.index, parallelism);
        ranges.reverse();
        let change = ranges.last().map(|range| SplitChange::Current(range.start));
        Ok(Self { generate, ranges, change, pace })
    }
}

/// One subtask's part of all numbers in the ranges, in their order. The same number of subtasks gets the same parts again.
fn share(mut ranges: Vec<Range<u64>>, index: u32, parallelism: u32) -> Vec<Range<u64>> {
    ranges.sort_by_key(|range| range.start);
    // Ranges that were left by as many subtasks stay with them: watermarks are per range.
    if ranges.len() == parallelism as usize {
        return vec![ranges.swap_remove(index as usize)];
    }
    let total: u128 = ranges.iter().map(|range| u128::from(range.end - range.start)).sum();
    let part = |i: u32| total * u128::from(i) / u128::from(parallelism);
    let (first, last) = (part(index), part(index + 1));
    let mut before = 0;
    let mut own = Vec::new();
    for range in ranges {
        let length = u128::from(range.end - range.start);
        let from = first.clamp(before, before + length) - before;
        let to = last.clamp(before, before + length) - before;
        if from < to {
            own.push(range.start + from as u64..range.start + to as u64);
        }
        before += length;
    }
    own
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

impl<T, F: FnMut(u64) -> T> Source<T> for GeneratorSource<F> {
    fn poll(&mut self, context: &mut SubtaskContext, out: &mut Batch<T>) -> TaskResult<SourceStatus> {
        let Some(range) = self.ranges.last_mut() else { return Ok(SourceStatus::End) };
        let mut count = (range.end - range.start).min(context.batch_records as u64);
        if let Some(pace) = &mut self.pace {
            match pace.allowed(Instant::now()) {
                Ok(allowed) => count = count.min(allowed),
                Err(wait) => return Ok(SourceStatus::Idle(wait)),
            }
            pace.emitted += count;
        }
        let upto = range.start + count;
        out.extend((range.start..upto).map(&mut self.generate));
        range.start = upto;
        if range.is_empty() && self.ranges.len() > 1 {
            self.ranges.pop();
        }
        let over = self.ranges.last().is_none_or(Range::is_empty);
        Ok(if over { SourceStatus::End } else { SourceStatus::More })
    }

    fn snapshot(&mut self, _: &SubtaskContext) -> TaskResult<Position> {
        let encode = |range: &Range<u64>| {
            let mut item = Vec::new();
            codec::encode(&(range.start, range.end), &mut item).map(|()| item)
        };
        let items = self.ranges.iter().map(encode).collect::<TaskResult<_>>()?;
        Ok(Position { items, schema: String::new(), redistribution: Redistribution::Union })
    }

    fn split_change(&mut self) -> Option<SplitChange> {
        self.change.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::single_range_in_vec_init, reason = "what is left may be one range")]
    fn the_shares_of_all_subtasks_cover_what_is_left_once() {
        let lefts: [&[Range<u64>]; 6] =
            [&[0..0], &[0..1], &[0..10], &[0..u64::MAX], &[20..30, 3..5], &[7..7, 1..2, 5..9]];
        for left in lefts {
            let mut expected: Vec<_> = left.iter().filter(|range| !range.is_empty()).cloned().collect();
            expected.sort_by_key(|range| range.start);
            for parallelism in 1..8 {
                let mut joined: Vec<Range<u64>> = Vec::new();
                for range in (0..parallelism).flat_map(|index| share(left.to_vec(), index, parallelism)) {
                    match joined.last_mut() {
                        Some(last) if last.end == range.start => last.end = range.end,
                        _ if range.is_empty() => {}
                        _ => joined.push(range),
                    }
                }
                assert_eq!(joined, expected, "{left:?} among {parallelism}");
            }
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
