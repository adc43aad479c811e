//! How many records a source hands out at once.
//!
//! Barriers, cancellations and timers wait for the batch that is under way, so a batch of slow records (a source that is
//! throttled, a function behind it that waits for somebody) has to be a small one.

use std::time::Duration;

use crate::operator::BATCH_RECORDS;

/// What a batch is to take at most, from the source to the end of its chain.
const LIMIT: Duration = Duration::from_millis(20);
/// A batch that took less may be followed by one of twice the records.
const SHORT: Duration = Duration::from_millis(5);

/// The number of records that take about as long as a batch may, by what the last one took. Begins with one record: nothing
/// is known of their costs yet.
#[derive(Debug)]
pub(crate) struct Pace {
    records: usize,
}

impl Pace {
    pub(crate) fn new() -> Self {
        Self { records: 1 }
    }

    /// For the next batch, from 1 to [`BATCH_RECORDS`].
    pub(crate) fn records(&self) -> usize {
        self.records
    }

    /// So many records took so long.
    #[inline]
    pub(crate) fn took(&mut self, records: usize, time: Duration) {
        if time > LIMIT {
            let fitting = records as f64 * LIMIT.as_secs_f64() / time.as_secs_f64();
            self.records = (fitting as usize).clamp(1, BATCH_RECORDS);
        } else if time < SHORT && self.records < BATCH_RECORDS && records >= self.records {
            self.records = (2 * self.records).min(BATCH_RECORDS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sizes of batches whose records cost so much each, over so many rounds.
    fn rounds(pace: &mut Pace, cost: Duration, rounds: usize) -> Vec<usize> {
        let mut sizes = Vec::new();
        for _ in 0..rounds {
            let records = pace.records();
            sizes.push(records);
            pace.took(records, cost * records as u32);
        }
        sizes
    }

    #[test]
    fn fast_records_come_in_whole_batches_and_slow_ones_in_batches_that_take_no_longer_than_the_limit() {
        let mut pace = Pace::new();
        let fast = rounds(&mut pace, Duration::from_nanos(100), 12);
        assert_eq!(fast[..4], [1, 2, 4, 8]);
        assert_eq!(fast[10..], [BATCH_RECORDS; 2]);

        // From then on they are slow: one batch is long.
        let slow = rounds(&mut pace, Duration::from_micros(625), 20);
        assert!(slow[1..].iter().all(|records| (8..=32).contains(records)), "{slow:?}");
        let slower = rounds(&mut pace, Duration::from_secs(1), 3);
        assert_eq!(slower[1..], [1, 1]);
        assert_eq!(rounds(&mut pace, Duration::from_nanos(100), 11)[10], BATCH_RECORDS);
    }

    #[test]
    fn a_source_that_has_little_to_give_says_nothing_of_what_more_would_cost() {
        let mut pace = Pace::new();
        rounds(&mut pace, Duration::from_micros(100), 5);
        let records = pace.records();
        pace.took(records - 1, Duration::from_micros(1));
        assert_eq!(pace.records(), records);
    }
}
