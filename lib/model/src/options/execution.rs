//! How a job runs, wherever it runs.

use std::time::Duration;

use super::section;

section! { "Execution";
    PARALLELISM: u32 = "parallelism.default", Some("1"), [],
        "Parallelism of operators for which neither the program nor `-p` sets one.";
    MAX_PARALLELISM: u32 = "pipeline.max-parallelism", None, [],
        "Number of key groups of operators that set none: the bound of every later parallelism. Default: 1.5 times the parallelism, rounded up to a power of two, at least 128.";
    RUNTIME_MODE: String = "execution.runtime-mode", Some("STREAMING"), [],
        "STREAMING emits a keyed aggregate on every update; BATCH (bounded input only) once per key, at the end; AUTOMATIC is BATCH when all sources are bounded.";
    BUFFER_TIMEOUT: Duration = "execution.buffer-timeout.interval", Some("100 ms"), ["execution.buffer-timeout"],
        "Upper bound of the time that a record waits in a partly filled buffer. Buffers also leave when they are full and when their sender has nothing else to do.";
    OPERATOR_CHAINING: bool = "pipeline.operator-chaining.enabled", Some("true"), ["pipeline.operator-chaining"],
        "Whether operators that could run in one thread do.";
    DEFAULT_SCHEME: String = "fs.default-scheme", None, [],
        "File system of paths without a scheme, such as `hdfs://namenode:9000/`. Default: the local one.";
    RESTART_STRATEGY: String = "restart-strategy.type", None, ["restart-strategy"],
        "What happens after a failure: none, fixed-delay, failure-rate or exponential-delay. When it is not set, jobs with periodic checkpoints restart with exponential-delay after any failure; in the others a failure of the user's code ends the job, and the loss of a worker or container restarts it at most `restart-strategy.failure-rate.max-failures-per-interval` times in the interval.";
    FIXED_DELAY_ATTEMPTS: u32 = "restart-strategy.fixed-delay.attempts", Some("1"), [],
        "Restarts before the job fails, with the strategy fixed-delay.";
    FIXED_DELAY_DELAY: Duration = "restart-strategy.fixed-delay.delay", Some("1 s"), [],
        "Time between a failure and the restart, with the strategy fixed-delay.";
    FAILURE_RATE_MAX: u32 = "restart-strategy.failure-rate.max-failures-per-interval", Some("3"), [],
        "Failures within the interval that are forgiven, with the strategy failure-rate.";
    FAILURE_RATE_INTERVAL: Duration = "restart-strategy.failure-rate.failure-rate-interval", Some("5 min"), [],
        "Interval in which failures are counted, with the strategy failure-rate.";
    FAILURE_RATE_DELAY: Duration = "restart-strategy.failure-rate.delay", Some("1 s"), [],
        "Time between a failure and the restart, with the strategy failure-rate.";
    EXPONENTIAL_INITIAL: Duration = "restart-strategy.exponential-delay.initial-backoff", Some("1 s"), [],
        "Time between the first failure and the restart, with the strategy exponential-delay.";
    EXPONENTIAL_MAX: Duration = "restart-strategy.exponential-delay.max-backoff", Some("1 min"), [],
        "Longest time between a failure and the restart, with the strategy exponential-delay.";
    EXPONENTIAL_MULTIPLIER: f64 = "restart-strategy.exponential-delay.backoff-multiplier", Some("1.5"), [],
        "By how much the time grows with every further failure, with the strategy exponential-delay.";
    EXPONENTIAL_RESET: Duration = "restart-strategy.exponential-delay.reset-backoff-threshold", Some("1 h"), [],
        "Time without a failure after which the next one is taken for the first, with the strategy exponential-delay.";
    EXPONENTIAL_JITTER: f64 = "restart-strategy.exponential-delay.jitter-factor", Some("0.1"), [],
        "Share of the time by which it varies at random, so that many jobs do not restart at the same moment, with the strategy exponential-delay.";
    EXPONENTIAL_ATTEMPTS: u32 = "restart-strategy.exponential-delay.attempts-before-reset-backoff", None, [],
        "Restarts before the job fails, counted anew after `restart-strategy.exponential-delay.reset-backoff-threshold`. Not set: any number.";
    FAILOVER_STRATEGY: String = "jobmanager.execution.failover-strategy", Some("region"), [],
        "What is restarted after a failure: region (the subtasks that exchange records with the failed one, directly or through others) or full (all). Jobs whose outputs become visible at their end are restarted as a whole in either case.";
    CANCEL_TIMEOUT: Duration = "task.cancellation.timeout", Some("30 s"), [],
        "Time that subtasks have to stop after a cancellation; then their worker is killed.";
    SPLIT_SIZE: crate::config::MemorySize = "source.file.split.size", Some("32 mb"), [],
        "Size of the byte ranges into which a text file is split for reading in parallel. Splits are never smaller than one line and are handed out one after another.";
}
