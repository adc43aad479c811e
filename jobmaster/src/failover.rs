//! Whether a failure is forgiven.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use flumen_model::checkpoint::JobLife;
use flumen_model::failure::Blame;
use flumen_model::key_group::key_hash;

use crate::event::Timestamp;
use crate::settings::Restarts;

/// Failures that are noted for the next JobMaster. A rate that allows more forgets the oldest.
const NOTED_MAX: usize = 1_000;

/// Flink's restart strategies.
#[derive(Debug, Clone, PartialEq)]
pub enum RestartStrategy {
    /// The first failure ends the job.
    None,
    /// So many restarts in the job's life.
    FixedDelay {
        /// How many.
        attempts: u32,
        /// Time between failure and restart.
        delay: Duration,
    },
    /// So many failures within any interval of that length.
    FailureRate {
        /// How many failures are forgiven.
        max_failures: u32,
        /// The length of the interval.
        interval: Duration,
        /// Time between failure and restart.
        delay: Duration,
    },
    /// Restarts after a time that grows from failure to failure.
    ExponentialDelay {
        /// Time between the first failure and the restart.
        initial: Duration,
        /// The longest such time.
        max: Duration,
        /// By how much it grows; at least 1.
        multiplier: f64,
        /// Time without a failure after which the next one is the first again.
        reset: Duration,
        /// Share of the time by which it varies, from 0 to 1.
        jitter: f64,
        /// Restarts before the job fails, until that reset; `None`: any number.
        attempts: Option<u32>,
    },
}

impl fmt::Display for RestartStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::FixedDelay { attempts, delay } => {
                write!(f, "fixed-delay: {attempts} restarts, each after {delay:?}")
            }
            Self::FailureRate { max_failures, interval, delay } => {
                write!(f, "failure-rate: {max_failures} failures within {interval:?}, each restart after {delay:?}")
            }
            Self::ExponentialDelay { initial, max, multiplier, reset, jitter: _, attempts } => {
                write!(f, "exponential-delay: from {initial:?} to {max:?}, times {multiplier}")?;
                match attempts {
                    Some(attempts) => write!(f, ", {attempts} restarts until {reset:?} without a failure"),
                    None => Ok(()),
                }
            }
        }
    }
}

/// What to do about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Start again after that time.
    Restart {
        /// Counted from the failure.
        delay: Duration,
    },
    /// The job is to fail: such failures are not forgiven, whatever the count.
    Unforgivable,
    /// The job is to fail: the strategy's budget is spent.
    Exhausted,
}

/// Counts failures, and judges each when it comes.
#[derive(Debug)]
pub(crate) struct Failover {
    setting: Restarts,
    restarts: u32,
    /// Times of the failures that a failure rate still counts, oldest first; never more than its maximum.
    forgiven: VecDeque<Timestamp>,
    backoff: Backoff,
}

/// Where exponential-delay is.
#[derive(Debug, Default)]
struct Backoff {
    /// Failures since the last reset.
    failures: u32,
    /// When the restart after the last of them was due.
    restarted: Timestamp,
}

impl Failover {
    pub(crate) fn new(setting: Restarts) -> Self {
        Self { setting, restarts: 0, forgiven: VecDeque::new(), backoff: Backoff::default() }
    }

    pub(crate) fn setting(&self) -> &Restarts {
        &self.setting
    }

    /// How often the job was allowed to restart.
    pub(crate) fn restarts(&self) -> u32 {
        self.restarts
    }

    /// Notes what the next JobMaster has to know.
    pub(crate) fn note(&self, life: &mut JobLife) {
        life.restarts = self.restarts;
        let newest = self.forgiven.len().saturating_sub(NOTED_MAX);
        life.failures_ms = self.forgiven.iter().skip(newest).map(|at| at.0).collect();
        life.backoff_failures = self.backoff.failures;
        life.backoff_restarted_ms = self.backoff.restarted.0;
    }

    /// Goes on with the count of a former JobMaster.
    pub(crate) fn go_on(&mut self, life: &JobLife) {
        self.restarts = life.restarts;
        self.forgiven = life.failures_ms.iter().copied().map(Timestamp).collect();
        self.backoff = Backoff { failures: life.backoff_failures, restarted: Timestamp(life.backoff_restarted_ms) };
    }

    /// The last restart that was allowed is not made after all.
    pub(crate) fn take_back(&mut self) {
        self.restarts = self.restarts.saturating_sub(1);
    }

    /// Whether failures with that blame can be forgiven at all.
    pub(crate) fn forgives(&self, blame: Blame) -> bool {
        match (&self.setting, blame) {
            (Restarts::Every(RestartStrategy::None) | Restarts::ByBlame(RestartStrategy::None), _) => false,
            (Restarts::Every(_), _) => true,
            (Restarts::ByBlame(_), Blame::User | Blame::Flumen) => false,
            (Restarts::ByBlame(_), Blame::Outside | Blame::Peer) => true,
        }
    }

    /// Judges a failure, and counts the restart if there is to be one.
    pub(crate) fn judge(&mut self, now: Timestamp, blame: Blame) -> Verdict {
        if !self.forgives(blame) {
            return Verdict::Unforgivable;
        }
        let delay = match *self.setting.strategy() {
            RestartStrategy::None => return Verdict::Unforgivable,
            RestartStrategy::FixedDelay { attempts, delay } => {
                if self.restarts >= attempts {
                    return Verdict::Exhausted;
                }
                delay
            }
            RestartStrategy::FailureRate { max_failures, interval, delay } => {
                while self.forgiven.front().is_some_and(|oldest| oldest.after(interval) < now) {
                    self.forgiven.pop_front();
                }
                if self.forgiven.len() >= max_failures as usize {
                    return Verdict::Exhausted;
                }
                self.forgiven.push_back(now);
                delay
            }
            RestartStrategy::ExponentialDelay { initial, max, multiplier, reset, jitter, attempts } => {
                let backoff = &mut self.backoff;
                if now >= backoff.restarted.after(reset) {
                    backoff.failures = 0;
                }
                if attempts.is_some_and(|attempts| backoff.failures >= attempts) {
                    return Verdict::Exhausted;
                }
                let delay = grown(initial, max, multiplier, backoff.failures);
                let delay = varied(delay, jitter, (now, self.restarts)).min(max);
                backoff.failures += 1;
                backoff.restarted = now.after(delay);
                delay
            }
        };
        self.restarts += 1;
        Verdict::Restart { delay }
    }
}

/// `initial` times `multiplier`, that often, but not more than `max`.
fn grown(initial: Duration, max: Duration, multiplier: f64, times: u32) -> Duration {
    let factor = multiplier.powi(i32::try_from(times).unwrap_or(i32::MAX));
    Duration::try_from_secs_f64(initial.as_secs_f64() * factor).unwrap_or(max).min(max)
}

/// The time, longer or shorter by up to the share `jitter` of it. By how much depends on `seed` alone, so that the same
/// facts lead to the same decision.
fn varied(delay: Duration, jitter: f64, seed: (Timestamp, u32)) -> Duration {
    let hash = key_hash(format!("{} {}", seed.0, seed.1).as_bytes());
    let unit = (hash >> 11) as f64 / (1u64 << 53) as f64;
    let seconds = delay.as_secs_f64() * (1.0 + jitter * (2.0 * unit - 1.0));
    Duration::try_from_secs_f64(seconds).unwrap_or(delay)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn rate(max_failures: u32) -> RestartStrategy {
        RestartStrategy::FailureRate { max_failures, interval: 10 * SECOND, delay: SECOND }
    }

    fn fixed(attempts: u32) -> RestartStrategy {
        RestartStrategy::FixedDelay { attempts, delay: 2 * SECOND }
    }

    #[test]
    fn each_failure_gets_the_verdict_of_its_strategy() {
        use Blame::{Flumen, Outside, Peer, User};
        use Restarts::{ByBlame, Every};
        use Verdict::{Exhausted, Restart, Unforgivable};
        let again = Restart { delay: SECOND };
        let later = Restart { delay: 2 * SECOND };
        type Row<'a> = (&'a str, Restarts, &'a [(u64, Blame, Verdict)]);
        let table: &[Row] = &[
            ("none forgives nothing", Every(RestartStrategy::None), &[(0, Outside, Unforgivable)]),
            (
                "a set strategy counts every blame",
                Every(fixed(2)),
                &[(0, User, later), (1, Flumen, later), (2, Outside, Exhausted), (999_999, Outside, Exhausted)],
            ),
            ("no attempts, no restart", Every(fixed(0)), &[(0, Outside, Exhausted)]),
            ("unset: the user's failure ends the job at once", ByBlame(rate(3)), &[(0, User, Unforgivable)]),
            ("unset: our own failure ends the job at once", ByBlame(rate(3)), &[(0, Flumen, Unforgivable)]),
            (
                "unset: losses are forgiven up to the rate",
                ByBlame(rate(2)),
                &[(0, Outside, again), (1_000, Peer, again), (2_000, Outside, Exhausted)],
            ),
            (
                "a user's failure is not forgiven after a loss was",
                ByBlame(rate(2)),
                &[(0, Outside, again), (1, User, Unforgivable)],
            ),
            (
                "failures older than the interval no longer count",
                Every(rate(1)),
                &[
                    (0, Outside, again),
                    (10_000, Outside, Exhausted),
                    (10_001, Outside, again),
                    (15_000, User, Exhausted),
                ],
            ),
            ("a rate of none forgives none", Every(rate(0)), &[(0, Outside, Exhausted)]),
        ];
        for (name, setting, failures) in table {
            let mut failover = Failover::new(setting.clone());
            for (at, blame, expected) in *failures {
                assert_eq!(failover.judge(Timestamp(*at), *blame), *expected, "{name}: {blame:?} at {at}");
            }
        }
    }

    fn exponential(jitter: f64, attempts: Option<u32>) -> Failover {
        let (initial, max, reset) = (SECOND, 10 * SECOND, 100 * SECOND);
        let strategy = RestartStrategy::ExponentialDelay { initial, max, multiplier: 2.0, reset, jitter, attempts };
        Failover::new(Restarts::Every(strategy))
    }

    #[test]
    fn the_delay_grows_to_its_maximum_and_begins_anew_after_a_quiet_time() {
        let mut failover = exponential(0.0, None);
        let mut now = Timestamp(5);
        for expected in [1, 2, 4, 8, 10, 10] {
            assert_eq!(failover.judge(now, Blame::User), Verdict::Restart { delay: expected * SECOND });
            now = now.after(10 * SECOND);
        }
        // The last restart was due now.
        let quiet = now.after(100 * SECOND);
        assert_eq!(failover.judge(Timestamp(quiet.0 - 1), Blame::Outside), Verdict::Restart { delay: 10 * SECOND });
        let quiet = Timestamp(quiet.0 - 1).after(110 * SECOND);
        assert_eq!(failover.judge(quiet, Blame::Outside), Verdict::Restart { delay: SECOND });
    }

    #[test]
    fn attempts_before_the_reset_are_a_budget() {
        let mut failover = exponential(0.0, Some(2));
        assert!(matches!(failover.judge(Timestamp(0), Blame::User), Verdict::Restart { .. }));
        assert!(matches!(failover.judge(Timestamp(9), Blame::User), Verdict::Restart { .. }));
        assert_eq!(failover.judge(Timestamp(50), Blame::User), Verdict::Exhausted);
        assert!(matches!(failover.judge(Timestamp(200_000), Blame::User), Verdict::Restart { .. }));
    }

    #[test]
    fn the_delay_varies_within_its_share_and_never_beyond_the_maximum() {
        let mut seen = std::collections::BTreeSet::new();
        for at in 0..50 {
            let mut failover = exponential(0.5, None);
            let Verdict::Restart { delay } = failover.judge(Timestamp(at), Blame::User) else { panic!("no restart") };
            assert!((SECOND / 2..=SECOND * 3 / 2).contains(&delay), "{delay:?}");
            seen.insert(delay);
        }
        assert!(seen.len() > 25, "{seen:?}");
    }

    #[test]
    fn only_forgiven_failures_count_as_restarts() {
        let mut failover = Failover::new(Restarts::ByBlame(rate(1)));
        for (blame, restarts) in [(Blame::User, 0), (Blame::Outside, 1), (Blame::Outside, 1)] {
            failover.judge(Timestamp(5), blame);
            assert_eq!(failover.restarts(), restarts);
        }
    }
}
