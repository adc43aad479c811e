//! When a failed call is repeated.

use std::time::Duration;

use super::errors::Outcome;
use crate::FsOptions;

/// Attempts at data that DataNodes fail to deliver, or have no room for: with the default waits 6 s, enough for a DataNode to restart.
const DATA_ATTEMPTS: u32 = 6;

/// How long and how often to repeat.
#[derive(Debug, Clone)]
pub(super) struct RetryPolicy {
    /// Limit for one call.
    pub(super) call_timeout: Duration,
    budget: Duration,
    initial_wait: Duration,
    max_wait: Duration,
}

/// Whether a call may be sent twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Replay {
    /// A second execution does no harm.
    Idempotent,
    /// Only when the first one certainly did not take place.
    IfNotExecuted,
}

impl RetryPolicy {
    pub(super) fn new(options: &FsOptions) -> Self {
        Self {
            call_timeout: options.call_timeout,
            budget: options.retry_budget,
            initial_wait: options.retry_initial_wait,
            max_wait: options.retry_max_wait,
        }
    }

    /// How long to wait before attempt `failed + 1`, after `failed` attempts took `elapsed` in all; `None` to give up.
    pub(super) fn next_wait(
        &self,
        outcome: Outcome,
        replay: Replay,
        failed: u32,
        elapsed: Duration,
    ) -> Option<Duration> {
        let allowed = match outcome {
            Outcome::Refused => false,
            Outcome::NotExecuted => true,
            // The block was refused, whatever was asked.
            Outcome::Full => failed < DATA_ATTEMPTS,
            Outcome::Unknown => replay == Replay::Idempotent,
            Outcome::Data => replay == Replay::Idempotent && failed < DATA_ATTEMPTS,
        };
        let wait = self.initial_wait.saturating_mul(1 << failed.saturating_sub(1).min(16)).min(self.max_wait);
        (allowed && elapsed + wait < self.budget).then_some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> RetryPolicy {
        RetryPolicy::new(&FsOptions {
            retry_budget: Duration::from_secs(10),
            retry_initial_wait: Duration::from_millis(100),
            retry_max_wait: Duration::from_secs(1),
            ..FsOptions::default()
        })
    }

    #[test]
    fn only_what_cannot_have_happened_twice_is_repeated() {
        let cases = [
            (Outcome::Refused, Replay::Idempotent, false),
            (Outcome::NotExecuted, Replay::IfNotExecuted, true),
            (Outcome::Unknown, Replay::IfNotExecuted, false),
            (Outcome::Unknown, Replay::Idempotent, true),
            (Outcome::Data, Replay::Idempotent, true),
            (Outcome::Data, Replay::IfNotExecuted, false),
            (Outcome::Full, Replay::IfNotExecuted, true),
        ];
        for (outcome, replay, expected) in cases {
            let wait = policy().next_wait(outcome, replay, 1, Duration::ZERO);
            assert_eq!(wait.is_some(), expected, "{outcome:?} {replay:?}");
        }
    }

    #[test]
    fn waits_double_up_to_the_maximum_and_end_with_the_budget() {
        let wait = |failed, elapsed| policy().next_wait(Outcome::NotExecuted, Replay::Idempotent, failed, elapsed);
        assert_eq!(wait(1, Duration::ZERO), Some(Duration::from_millis(100)));
        assert_eq!(wait(3, Duration::ZERO), Some(Duration::from_millis(400)));
        assert_eq!(wait(4_000_000_000, Duration::ZERO), Some(Duration::from_secs(1)));
        assert_eq!(wait(9, Duration::from_secs(9)), None);
    }

    #[test]
    fn broken_data_is_tried_a_few_times_only() {
        let wait = |failed| policy().next_wait(Outcome::Data, Replay::Idempotent, failed, Duration::ZERO);
        assert!(wait(DATA_ATTEMPTS - 1).is_some());
        assert!(wait(DATA_ATTEMPTS).is_none());
        let full = |failed| policy().next_wait(Outcome::Full, Replay::Idempotent, failed, Duration::ZERO);
        assert!(full(DATA_ATTEMPTS - 1).is_some() && full(DATA_ATTEMPTS).is_none());
    }
}
