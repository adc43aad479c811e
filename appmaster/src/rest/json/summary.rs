//! `StatsSummaryDto`: the distribution of some numbers.

use serde::Serialize;
use serde_json::Value;

/// See the module.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    min: u64,
    max: u64,
    avg: u64,
    p50: Value,
    p90: Value,
    p95: Value,
    p99: Value,
    p999: Value,
}

impl Summary {
    /// Of all these numbers.
    pub(super) fn of(numbers: impl Iterator<Item = u64>) -> Self {
        let mut sorted: Vec<u64> = numbers.collect();
        sorted.sort_unstable();
        let percentile = |share| percentile(&sorted, share);
        Self {
            min: sorted.first().copied().unwrap_or(0),
            max: sorted.last().copied().unwrap_or(0),
            avg: sorted.iter().sum::<u64>().checked_div(sorted.len() as u64).unwrap_or(0),
            p50: percentile(0.5),
            p90: percentile(0.9),
            p95: percentile(0.95),
            p99: percentile(0.99),
            p999: percentile(0.999),
        }
    }
}

/// Between the two nearest ranks of `share * (n + 1)`, as Flink estimates it; its word for none is `"NaN"`.
fn percentile(sorted: &[u64], share: f64) -> Value {
    let (Some(first), Some(last)) = (sorted.first(), sorted.last()) else { return Value::from("NaN") };
    let position = share * (sorted.len() + 1) as f64;
    let rank = position.floor() as usize;
    let value = match rank {
        0 => *first as f64,
        rank if rank >= sorted.len() => *last as f64,
        rank => {
            let (below, above) = (sorted[rank - 1] as f64, sorted[rank] as f64);
            below + (position - position.floor()) * (above - below)
        }
    };
    Value::from(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_lie_between_the_nearest_ranks() {
        let numbers = [1, 2, 3, 4, 5, 6, 7, 8, 9];
        for (share, expected) in [(0.5, 5.0), (0.9, 9.0), (0.999, 9.0), (0.05, 1.0), (0.25, 2.5)] {
            assert_eq!(percentile(&numbers, share), Value::from(expected), "{share}");
        }
        assert_eq!(percentile(&[], 0.5), Value::from("NaN"));
    }
}
