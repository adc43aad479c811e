//! Whether a failure is forgiven.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use flumen_model::failure::Blame;

use crate::event::Timestamp;
use crate::settings::Restarts;

/// Flink's restart strategies.
#[derive(Debug, Clone, PartialEq, Eq)]
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
}

impl Failover {
    pub(crate) fn new(setting: Restarts) -> Self {
        Self { setting, restarts: 0, forgiven: VecDeque::new() }
    }

    pub(crate) fn setting(&self) -> &Restarts {
        &self.setting
    }

    /// How often the job was allowed to restart.
    pub(crate) fn restarts(&self) -> u32 {
        self.restarts
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
        };
        self.restarts += 1;
        Verdict::Restart { delay }
    }
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

    #[test]
    fn only_forgiven_failures_count_as_restarts() {
        let mut failover = Failover::new(Restarts::ByBlame(rate(1)));
        for (blame, restarts) in [(Blame::User, 0), (Blame::Outside, 1), (Blame::Outside, 1)] {
            failover.judge(Timestamp(5), blame);
            assert_eq!(failover.restarts(), restarts);
        }
    }
}
