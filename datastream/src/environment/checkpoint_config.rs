//! What a program says about its checkpoints, with the names of Flink's `CheckpointConfig`.

use std::fmt::Display;
use std::time::Duration;

use flumen_model::config::ConfigOption;
use flumen_model::options::{checkpointing, execution};

use crate::environment::StreamExecutionEnvironment;

/// What a checkpoint guarantees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckpointingMode {
    /// After a restore every record has its effect on state once.
    ExactlyOnce,
    /// Channels don't wait for each other: after a restore some records have their effect twice.
    AtLeastOnce,
}

impl CheckpointingMode {
    fn text(self) -> &'static str {
        match self {
            Self::ExactlyOnce => "EXACTLY_ONCE",
            Self::AtLeastOnce => "AT_LEAST_ONCE",
        }
    }
}

/// What becomes of the newest checkpoint when the job is cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExternalizedCheckpointRetention {
    /// It stays, and a job can be started from it.
    RetainOnCancellation,
    /// It is removed.
    DeleteOnCancellation,
    /// It is removed at every end of the job.
    NoExternalizedCheckpoints,
}

/// Settings of the checkpoints of one program. They win over the configuration. From
/// [`StreamExecutionEnvironment::checkpoint_config`].
#[derive(Clone)]
pub struct CheckpointConfig {
    pub(super) env: StreamExecutionEnvironment,
}

impl CheckpointConfig {
    fn set<T>(&self, option: &ConfigOption<T>, value: impl Display) -> &Self {
        self.env.set_property(option, value);
        self
    }

    /// Time between the starts of two checkpoints; zero: no periodic checkpoints.
    pub fn set_checkpoint_interval(&self, interval: Duration) -> &Self {
        self.set(&checkpointing::INTERVAL, millis(interval))
    }

    /// What a checkpoint guarantees.
    pub fn set_checkpointing_consistency_mode(&self, mode: CheckpointingMode) -> &Self {
        self.set(&checkpointing::MODE, mode.text())
    }

    /// The directory for checkpoints, such as `hdfs:///flumen/checkpoints`.
    pub fn set_checkpoint_storage(&self, directory: &str) -> &Self {
        self.set(&checkpointing::CHECKPOINT_DIRECTORY, directory)
    }

    /// Time after which an unfinished checkpoint is given up.
    pub fn set_checkpoint_timeout(&self, timeout: Duration) -> &Self {
        self.set(&checkpointing::TIMEOUT, millis(timeout))
    }

    /// Shortest time between the end of a checkpoint and the start of the next.
    pub fn set_min_pause_between_checkpoints(&self, pause: Duration) -> &Self {
        self.set(&checkpointing::MIN_PAUSE, millis(pause))
    }

    /// How many checkpoints may be on their way at a time.
    pub fn set_max_concurrent_checkpoints(&self, checkpoints: u32) -> &Self {
        self.set(&checkpointing::MAX_CONCURRENT, checkpoints)
    }

    /// How many checkpoints may fail one after another before the job does.
    pub fn set_tolerable_checkpoint_failure_number(&self, failures: u32) -> &Self {
        self.set(&checkpointing::TOLERABLE_FAILURES, failures)
    }

    /// Whether barriers overtake records, which then become part of the checkpoint.
    pub fn enable_unaligned_checkpoints(&self, enabled: bool) -> &Self {
        self.set(&checkpointing::UNALIGNED, enabled)
    }

    /// With unaligned checkpoints: time for which barriers are aligned before they overtake records.
    pub fn set_aligned_checkpoint_timeout(&self, timeout: Duration) -> &Self {
        self.set(&checkpointing::ALIGNED_TIMEOUT, millis(timeout))
    }

    /// What becomes of the newest checkpoint when the job is cancelled.
    pub fn set_externalized_checkpoint_retention(&self, retention: ExternalizedCheckpointRetention) -> &Self {
        let text = match retention {
            ExternalizedCheckpointRetention::RetainOnCancellation => "RETAIN_ON_CANCELLATION",
            ExternalizedCheckpointRetention::DeleteOnCancellation => "DELETE_ON_CANCELLATION",
            ExternalizedCheckpointRetention::NoExternalizedCheckpoints => "NO_EXTERNALIZED_CHECKPOINTS",
        };
        self.set(&checkpointing::EXTERNALIZED_RETENTION, text)
    }
}

/// What happens after a failure of the job.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RestartStrategy {
    /// The first failure ends the job.
    None,
    /// So many restarts altogether.
    FixedDelay {
        /// How many.
        attempts: u32,
        /// Time between a failure and the restart.
        delay: Duration,
    },
    /// So many failures within an interval.
    FailureRate {
        /// How many are forgiven.
        max_failures: u32,
        /// The interval.
        interval: Duration,
        /// Time between a failure and the restart.
        delay: Duration,
    },
    /// Any number of restarts, after longer and longer times.
    ExponentialDelay {
        /// The first time.
        initial: Duration,
        /// The longest time.
        max: Duration,
        /// By how much it grows.
        multiplier: f64,
        /// Time without a failure after which it begins anew.
        reset: Duration,
    },
}

impl RestartStrategy {
    pub(super) fn apply(&self, env: &StreamExecutionEnvironment) {
        let name = |name: &str| env.set_property(&execution::RESTART_STRATEGY, name);
        match self {
            Self::None => name("none"),
            Self::FixedDelay { attempts, delay } => {
                name("fixed-delay");
                env.set_property(&execution::FIXED_DELAY_ATTEMPTS, attempts);
                env.set_property(&execution::FIXED_DELAY_DELAY, millis(*delay));
            }
            Self::FailureRate { max_failures, interval, delay } => {
                name("failure-rate");
                env.set_property(&execution::FAILURE_RATE_MAX, max_failures);
                env.set_property(&execution::FAILURE_RATE_INTERVAL, millis(*interval));
                env.set_property(&execution::FAILURE_RATE_DELAY, millis(*delay));
            }
            Self::ExponentialDelay { initial, max, multiplier, reset } => {
                name("exponential-delay");
                env.set_property(&execution::EXPONENTIAL_INITIAL, millis(*initial));
                env.set_property(&execution::EXPONENTIAL_MAX, millis(*max));
                env.set_property(&execution::EXPONENTIAL_MULTIPLIER, multiplier);
                env.set_property(&execution::EXPONENTIAL_RESET, millis(*reset));
            }
        }
    }
}

/// A duration as options have it.
pub(super) fn millis(duration: Duration) -> String {
    format!("{} ms", duration.as_millis())
}
