//! Checkpoints, savepoints and where state is kept.

use std::time::Duration;

use super::section;
use crate::config::{Directories, MemorySize};

section! { "State and checkpoints";
    STATE_BACKEND: String = "state.backend.type", Some("hashmap"), ["state.backend"],
        "Where keyed state lives while a job runs: hashmap (in memory) or rocksdb (on the local disk; programs built with the feature `rocksdb`).";
    ROCKSDB_LOCAL_DIRS: Directories = "state.backend.rocksdb.localdir", None, ["state.backend.rocksdb.checkpointdir"],
        "Directories for the files of RocksDB, and for copies of checkpoints for local recovery, separated by commas. Each worker has its own in them, removed when it is gone. Default: `io.tmp.dirs`.";
    ROCKSDB_MEMORY_PER_SLOT: MemorySize = "state.backend.rocksdb.memory.fixed-per-slot", None, [],
        "Bytes for RocksDB for each slot of a worker: all its RocksDB instances share the sum. Goes before `fixed-per-tm`.";
    ROCKSDB_MEMORY: MemorySize = "state.backend.rocksdb.memory.fixed-per-tm", None, [],
        "Bytes for RocksDB that all instances of one worker share: rows in front of RocksDB, block cache and write buffers. Default: the worker's managed memory (`taskmanager.memory.managed.fraction`).";
    ROCKSDB_WRITE_BUFFER_RATIO: f64 = "state.backend.rocksdb.memory.write-buffer-ratio", Some("0.5"), [],
        "Share of RocksDB's memory, from 0 to 1, that is meant for write buffers. As in Flink they get two thirds of it, because they take up to half more while they are written.";
    ROCKSDB_MANAGED: bool = "state.backend.rocksdb.memory.managed", Some("true"), [],
        "Without effect: RocksDB always keeps to a budget. Its size is `state.backend.rocksdb.memory.fixed-per-tm`. A worker says so if this is false.";
    ROCKSDB_HIGH_PRIORITY_RATIO: f64 = "state.backend.rocksdb.memory.high-prio-pool-ratio", Some("0.1"), [],
        "Without effect: the block cache is one without a part of its own for indexes and filters; those that are used stay in it. A worker says so if this is set.";
    ROCKSDB_TRANSFERS: u32 = "state.backend.rocksdb.checkpoint.transfer.thread.num", Some("4"), [],
        "Files of RocksDB that a subtask writes to, or reads from, a checkpoint at the same time.";
    INCREMENTAL: bool = "execution.checkpointing.incremental", Some("true"), ["state.backend.incremental"],
        "Whether a checkpoint of RocksDB uploads only files that no earlier checkpoint has.";
    CHECKPOINT_DIRECTORY: String = "execution.checkpointing.dir", None, ["state.checkpoints.dir"],
        "Directory for checkpoints, such as `hdfs:///flumen/checkpoints`. Each job writes into a directory of its own under it.";
    SAVEPOINT_DIRECTORY: String = "execution.checkpointing.savepoint-dir", None, ["state.savepoints.dir"],
        "Directory for savepoints for which none is given.";
    INTERVAL: Duration = "execution.checkpointing.interval", None, [],
        "Time between the starts of two checkpoints. Not set or 0: no periodic checkpoints.";
    MIN_PAUSE: Duration = "execution.checkpointing.min-pause", Some("0"), [],
        "Shortest time between the end of a checkpoint and the start of the next.";
    TIMEOUT: Duration = "execution.checkpointing.timeout", Some("10 min"), [],
        "Time after which an unfinished checkpoint is given up.";
    MODE: String = "execution.checkpointing.mode", Some("EXACTLY_ONCE"), ["execution.checkpointing.consistency-mode"],
        "EXACTLY_ONCE, or AT_LEAST_ONCE: channels don't wait for each other, and records after the barrier may be in the snapshot.";
    TOLERABLE_FAILURES: u32 = "execution.checkpointing.tolerable-failed-checkpoints", Some("0"), [],
        "Failed checkpoints in a row that are tolerated; one more restarts the job. Checkpoints that failed to be written or took longer than `execution.checkpointing.timeout` count; savepoints, and checkpoints that a restart or the end of a subtask cut off, do not.";
    MAX_CONCURRENT: u32 = "execution.checkpointing.max-concurrent-checkpoints", Some("1"), [],
        "Checkpoints that may be under way at the same time: one with unaligned checkpoints or a minimum pause.";
    RETAINED: u32 = "execution.checkpointing.num-retained", Some("1"), ["state.checkpoints.num-retained"],
        "Completed checkpoints that are kept.";
    EXTERNALIZED_RETENTION: String = "execution.checkpointing.externalized-checkpoint-retention", Some("NO_EXTERNALIZED_CHECKPOINTS"), ["execution.checkpointing.externalized-checkpoint.retention"],
        "What happens to checkpoints when the job is cancelled or fails: RETAIN_ON_CANCELLATION, DELETE_ON_CANCELLATION (kept after a failure) or NO_EXTERNALIZED_CHECKPOINTS (removed).";
    UNALIGNED: bool = "execution.checkpointing.unaligned.enabled", Some("false"), ["execution.checkpointing.unaligned"],
        "Whether barriers overtake records, which then become part of the checkpoint: checkpoints stay fast under back-pressure.";
    ALIGNED_TIMEOUT: Duration = "execution.checkpointing.aligned-checkpoint-timeout", Some("0"), ["execution.checkpointing.alignment-timeout"],
        "With unaligned checkpoints: time for which barriers are aligned before they overtake records.";
    LOCAL_RECOVERY: bool = "execution.checkpointing.local-backup.enabled", Some("false"), ["state.backend.local-recovery"],
        "Whether workers keep a local copy of the newest checkpoint and recover from it where it is still valid.";
    MEMORY_THRESHOLD: MemorySize = "execution.checkpointing.data-inline-threshold", Some("20 kb"), ["state.storage.fs.memory-threshold"],
        "State of fewer bytes is stored in the checkpoint's metadata instead of in a file of its own.";
    SAVEPOINT_PATH: String = "execution.state-recovery.path", None, ["execution.savepoint.path"],
        "Savepoint or retained checkpoint that the job starts from: its directory or its `_metadata` file.";
    IGNORE_UNCLAIMED: bool = "execution.state-recovery.ignore-unclaimed-state", Some("false"), ["execution.savepoint.ignore-unclaimed-state"],
        "Whether state of operators that the program no longer has is left behind (`--allowNonRestoredState`).";
    CLAIM_MODE: String = "execution.state-recovery.claim-mode", Some("NO_CLAIM"), ["execution.savepoint-restore-mode"],
        "What a job may do with the snapshot that it starts from: NO_CLAIM (its first checkpoint is a full one and the snapshot stays the user's), CLAIM (it belongs to the job, which removes it when it is no longer needed) or LEGACY (as NO_CLAIM).";
    HISTORY: u32 = "web.checkpoints.history", Some("10"), [],
        "Checkpoints whose figures are kept for REST.";
    AUTO_WATERMARK_INTERVAL: Duration = "pipeline.auto-watermark-interval", Some("200 ms"), [],
        "Time between two watermarks of a source.";
}
