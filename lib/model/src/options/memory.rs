//! Memory of the processes, and how a worker divides its own.

use super::section;
use crate::config::{Directories, MemorySize};

section! { "Memory";
    JOBMANAGER_PROCESS: MemorySize = "jobmanager.memory.process.size", Some("256 mb"), ["jobmanager.heap.size"],
        "Memory of the JobManager's container on YARN.";
    TASKMANAGER_PROCESS: MemorySize = "taskmanager.memory.process.size", Some("1 gb"), ["taskmanager.heap.size"],
        "Memory of a TaskExecutor's container on YARN: the TaskExecutor itself and the workers in it.";
    TASKEXECUTOR_OVERHEAD: MemorySize = "taskmanager.memory.framework.size", Some("48 mb"), [],
        "Part of the container's memory that is kept for the TaskExecutor process; the rest is for workers.";
    MANAGED_FRACTION: f64 = "taskmanager.memory.managed.fraction", Some("0.4"), [],
        "Share of a worker's memory that operators may fill before they spill to disk (sorting and hashing in batch execution).";
    NETWORK_BATCHES_PER_CHANNEL: u32 = "taskmanager.network.memory.buffers-per-channel", Some("4"), [],
        "Buffers that a sender may have on the way to one receiving subtask: its credit. A receiver that does not take them stops its own channels only.";
    SEGMENT_SIZE: MemorySize = "taskmanager.memory.segment-size", Some("32 kb"), [],
        "Size at which a buffer to another process is sent on. A single record may be larger.";
    TMP_DIRS: Directories = "io.tmp.dirs", None, [],
        "Directories for spilled data, separated by commas. Default: the container's local directories on YARN, the system's temporary directory elsewhere.";
}
