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
        "What happens after a failure: none, fixed-delay or failure-rate. When it is not set, a failure of the user's code ends the job, and the loss of a worker or container restarts it at most `restart-strategy.failure-rate.max-failures-per-interval` times in the interval.";
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
    CANCEL_TIMEOUT: Duration = "task.cancellation.timeout", Some("30 s"), [],
        "Time that subtasks have to stop after a cancellation; then their worker is killed.";
    SPLIT_SIZE: crate::config::MemorySize = "source.file.split.size", Some("32 mb"), [],
        "Size of the byte ranges into which a text file is split for reading in parallel. Splits are never smaller than one line and are handed out one after another.";
}
