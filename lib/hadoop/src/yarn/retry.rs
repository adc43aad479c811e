//! How long to go on trying.

use std::time::Duration;

/// Waits between attempts: the first is `first`, each later one twice as long, up to `longest`; a random part of up to a
/// quarter is taken off, so that many clients don't come back at once. After `max_wait` altogether it gives up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backoff {
    /// Wait after the first failure.
    pub first: Duration,
    /// Upper limit of one wait (`yarn.resourcemanager.connect.retry-interval.ms` is the like in Java clients).
    pub longest: Duration,
    /// Limit of all attempts and waits together (`yarn.resourcemanager.connect.max-wait.ms`, 15 minutes there).
    pub max_wait: Duration,
}

impl Default for Backoff {
    /// 200 ms, 5 s, 15 min.
    fn default() -> Self {
        Self { first: Duration::from_millis(200), longest: Duration::from_secs(5), max_wait: Duration::from_secs(900) }
    }
}

impl Backoff {
    /// The wait after failure number `failures` (from 1) when `elapsed` has gone since the first attempt began; `None`:
    /// give up. `random` is 0 ..= 1.
    pub(crate) fn wait(&self, failures: u32, elapsed: Duration, random: f64) -> Option<Duration> {
        let left = self.max_wait.checked_sub(elapsed).filter(|left| !left.is_zero())?;
        let doubled = self.first.saturating_mul(1u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
        Some(doubled.min(self.longest).mul_f64(1.0 - random.clamp(0.0, 1.0) / 4.0).min(left))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_end_with_the_budget() {
        let ms = Duration::from_millis;
        let backoff = Backoff { first: ms(100), longest: ms(1000), max_wait: ms(5000) };
        for (failures, elapsed, random, expected) in [
            (1, 0, 0.0, Some(100)),
            (2, 0, 0.0, Some(200)),
            (2, 0, 1.0, Some(150)),
            (5, 0, 0.0, Some(1000)),
            (u32::MAX, 0, 0.0, Some(1000)),
            (5, 4900, 0.0, Some(100)),
            (5, 5000, 0.0, None),
            (1, 9000, 0.0, None),
        ] {
            assert_eq!(backoff.wait(failures, ms(elapsed), random), expected.map(ms), "{failures} {elapsed}");
        }
    }
}
