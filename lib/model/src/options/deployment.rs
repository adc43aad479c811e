//! Where a job runs, and how its processes find and trust each other.

use std::time::Duration;

use super::section;

section! { "Deployment";
    TARGET: String = "execution.target", None, [],
        "Where `flink run` runs a job: yarn-session, yarn-per-job, yarn-application, remote or local. `-t` and `-m` set it. Default: the session that yarn-session.sh has started.";
    ATTACHED: bool = "execution.attached", Some("true"), [],
        "Whether `flink run` stays until the job ends. `-d` sets it to false.";
    SHUTDOWN_ON_ATTACHED_EXIT: bool = "execution.shutdown-on-attached-exit", Some("false"), [],
        "Whether the cluster is shut down when the attached client is interrupted or vanishes (`-sae`).";
    CLIENT_HEARTBEAT_INTERVAL: Duration = "client.heartbeat.interval", Some("10 s"), [],
        "Time between signs of life of an attached client that was started with `-sae`.";
    CLIENT_HEARTBEAT_TIMEOUT: Duration = "client.heartbeat.timeout", Some("60 s"), [],
        "Silence of such a client after which its job is cancelled.";
    CLIENT_TIMEOUT: Duration = "client.timeout", Some("60 s"), [],
        "Time that the command line waits for one answer.";
    TASK_SLOTS: u32 = "taskmanager.numberOfTaskSlots", Some("1"), [],
        "Slots of each TaskExecutor. A slot holds one subtask of every vertex of a job.";
    HEARTBEAT_INTERVAL: Duration = "heartbeat.interval", Some("5 s"), [],
        "Time between heartbeats of JobManager and TaskExecutors. A closed connection is noticed at once.";
    HEARTBEAT_TIMEOUT: Duration = "heartbeat.timeout", Some("30 s"), [],
        "Silence after which the other side is taken for lost.";
    REST_ADDRESS: String = "rest.address", None, [],
        "Host of the JobManager that `flink -t remote` speaks to, at `rest.port` (8081 when not set).";
    REST_PORT: String = "rest.bind-port", None, ["rest.port"],
        "Port, list or range of ports of the REST interface and web page. Default on YARN: any free port.";
    REST_BIND_ADDRESS: String = "rest.bind-address", None, [],
        "Address to which REST binds. Default on YARN: the NodeManager's host.";
    JOBMANAGER_PORT: String = "jobmanager.rpc.port", None, ["yarn.application-master.port"],
        "Port, list or range of ports at which the JobManager listens for TaskExecutors. Default on YARN: any free port.";
    INTERNAL_SSL: bool = "security.ssl.internal.enabled", Some("true"), [],
        "Mutual TLS between JobManager, TaskExecutors and workers, with a certificate made for each application.";
    SLOT_REQUEST_TIMEOUT: Duration = "slot.request.timeout", Some("300 s"), ["slotmanager.request-timeout"],
        "Time that a job waits for its slots before it fails.";
    WORKER_START_TIMEOUT: Duration = "worker.start.timeout", Some("60 s"), [],
        "Time that a worker process has from its start to its first message.";
    SLOTS_MIN: u32 = "slotmanager.number-of-slots.min", Some("0"), [],
        "Slots that a session keeps, whether jobs need them or not.";
    SLOTS_MAX: u32 = "slotmanager.number-of-slots.max", Some("4294967295"), [],
        "Slots that one application has at most. Jobs of a session that need more than are left wait for others to end.";
    REDUNDANT_TASKMANAGERS: u32 = "slotmanager.redundant-taskmanager-num", Some("0"), [],
        "TaskExecutors beyond those that jobs need, so that the loss of one need not wait for a container.";
    TASKMANAGER_TIMEOUT: Duration = "resourcemanager.taskmanager-timeout", Some("30 s"), ["slotmanager.taskmanager-timeout"],
        "Time after which a session gives a TaskExecutor back that no job uses. In an application of one job it goes at once.";
    JOBSTORE_EXPIRATION: u64 = "jobstore.expiration-time", Some("3600"), [],
        "Seconds for which a job that is over is shown.";
    JOBSTORE_MAX_CAPACITY: u32 = "jobstore.max-capacity", Some("4294967295"), [],
        "Jobs that are over and are shown, at most; the oldest go first.";
    JOBSTORE_CACHE_SIZE: crate::config::MemorySize = "jobstore.cache-size", Some("50 mb"), [],
        "Memory that jobs that are over may take in the JobManager.";
    LOG_FILE_SIZE: crate::config::MemorySize = "env.log.file.size", Some("64 mb"), [],
        "Size at which a log file is rolled.";
    LOG_FILES: u32 = "env.log.max", Some("5"), [],
        "Rolled log files that are kept.";
    LOG_WORKERS: u32 = "env.log.workers.max", Some("100"), [],
        "Jobs that are over whose worker logs a TaskExecutor keeps; those of the job that ended first go first.";
    LOG_LEVEL: String = "env.log.level", Some("info"), [],
        "Level of the logs: error, warn, info, debug, trace, or filters such as `info,flumen_worker=debug`.";
}
