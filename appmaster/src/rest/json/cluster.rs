//! The application as a cluster: overview, configuration, TaskExecutors.

use std::collections::BTreeMap;
use std::sync::Arc;

use flumen_jobmaster::JobDetails;
use flumen_model::config::Configuration;
use flumen_model::ids::JobId;
use flumen_model::options::memory;
use flumen_model::status::JobStatus;
use serde::Serialize;

use super::ms;
use crate::rest::ExecutorView;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit that this was built from, when the build says it.
const COMMIT: &str = match option_env!("FLUMEN_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

/// `ClusterOverviewWithVersion`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::rest) struct Overview {
    taskmanagers: usize,
    slots_total: u32,
    slots_available: u32,
    jobs_running: usize,
    jobs_finished: usize,
    jobs_cancelled: usize,
    jobs_failed: usize,
    flink_version: &'static str,
    flink_commit: &'static str,
}

impl Overview {
    pub(in crate::rest) fn new(jobs: &[Arc<JobDetails>], executors: &[ExecutorView]) -> Self {
        let count = |accept: fn(JobStatus) -> bool| jobs.iter().filter(|job| accept(job.status)).count();
        Self {
            taskmanagers: executors.len(),
            slots_total: executors.iter().map(|executor| executor.slots).sum(),
            slots_available: executors.iter().map(|executor| executor.free_slots).sum(),
            // As in Flink: whatever has not ended is running.
            jobs_running: count(|status| !status.is_terminal()),
            jobs_finished: count(|status| status == JobStatus::Finished),
            jobs_cancelled: count(|status| status == JobStatus::Canceled),
            jobs_failed: count(|status| status == JobStatus::Failed),
            flink_version: VERSION,
            flink_commit: COMMIT,
        }
    }
}

/// `DashboardConfiguration`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::rest) struct Dashboard {
    refresh_interval: u64,
    timezone_name: &'static str,
    timezone_offset: i64,
    flink_version: &'static str,
    flink_revision: &'static str,
    features: Features,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Features {
    web_submit: bool,
    web_cancel: bool,
    web_rescale: bool,
    web_history: bool,
}

impl Dashboard {
    /// `web_submit`: whether programs may be uploaded.
    pub(in crate::rest) fn new(web_submit: bool) -> Self {
        Self {
            refresh_interval: 3000,
            timezone_name: "Coordinated Universal Time",
            timezone_offset: 0,
            flink_version: VERSION,
            flink_revision: COMMIT,
            features: Features { web_submit, web_cancel: true, web_rescale: false, web_history: false },
        }
    }
}

/// `ConfigurationInfoEntry`.
#[derive(Debug, Serialize)]
pub(in crate::rest) struct ConfigurationEntry {
    key: String,
    value: String,
}

impl ConfigurationEntry {
    /// All entries by key, without secrets.
    pub(in crate::rest) fn all(configuration: &Configuration) -> Vec<Self> {
        let pairs = configuration.redacted();
        pairs.iter().map(|(key, value)| Self { key: key.to_owned(), value: value.to_owned() }).collect()
    }
}

/// `TaskManagersInfo`.
#[derive(Debug, Serialize)]
pub(in crate::rest) struct TaskManagers {
    taskmanagers: Vec<TaskManager>,
}

/// `TaskManagerInfo`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct TaskManager {
    id: String,
    path: String,
    data_port: i32,
    jmx_port: i32,
    /// The moment, in spite of its name: as in Flink.
    time_since_last_heartbeat: i64,
    slots_number: u32,
    free_slots: u32,
    total_resource: Resource,
    free_resource: Resource,
    hardware: Hardware,
    memory_configuration: MemoryConfiguration,
}

/// `ResourceProfileInfo`; memory in MiB.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Resource {
    cpu_cores: f64,
    task_heap_memory: u64,
    task_off_heap_memory: u64,
    managed_memory: u64,
    network_memory: u64,
    extended_resources: BTreeMap<String, f64>,
}

/// `HardwareDescription`; bytes.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Hardware {
    cpu_cores: u32,
    physical_memory: u64,
    free_memory: u64,
    managed_memory: u64,
}

/// `TaskExecutorMemoryConfiguration`; bytes. Of Flink's kinds there are two here: the TaskExecutor's own part, and the
/// workers'.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct MemoryConfiguration {
    framework_heap: u64,
    task_heap: u64,
    framework_off_heap: u64,
    task_off_heap: u64,
    network_memory: u64,
    managed_memory: u64,
    jvm_metaspace: u64,
    jvm_overhead: u64,
    total_flink_memory: u64,
    total_process_memory: u64,
}

/// `TaskManagerDetailsInfo`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::rest) struct TaskManagerDetails {
    #[serde(flatten)]
    info: TaskManager,
    allocated_slots: Vec<AllocatedSlot>,
    metrics: Metrics,
}

/// `SlotInfo`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct AllocatedSlot {
    job_id: String,
    resource: Resource,
    assigned_tasks: usize,
}

/// `TaskManagerMetricsInfo`; what only a JVM has is 0.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Metrics {
    heap_used: u64,
    heap_committed: u64,
    heap_max: u64,
    non_heap_used: u64,
    non_heap_committed: u64,
    non_heap_max: u64,
    direct_count: u64,
    direct_used: u64,
    direct_max: u64,
    mapped_count: u64,
    mapped_used: u64,
    mapped_max: u64,
    netty_shuffle_memory_segments_available: u64,
    netty_shuffle_memory_segments_used: u64,
    netty_shuffle_memory_segments_total: u64,
    netty_shuffle_memory_available: u64,
    netty_shuffle_memory_used: u64,
    netty_shuffle_memory_total: u64,
    garbage_collectors: Vec<()>,
}

impl TaskManagers {
    pub(in crate::rest) fn new(executors: &[ExecutorView], configuration: &Configuration) -> Self {
        Self { taskmanagers: executors.iter().map(|executor| TaskManager::new(executor, configuration)).collect() }
    }
}

impl TaskManager {
    fn new(executor: &ExecutorView, configuration: &Configuration) -> Self {
        let overhead = configuration.get(&memory::TASKEXECUTOR_OVERHEAD).map_or(0, |size| size.0);
        let workers = executor.memory.saturating_sub(overhead);
        Self {
            id: executor.id.to_string(),
            path: executor.host.clone(),
            data_port: -1,
            jmx_port: -1,
            time_since_last_heartbeat: ms(executor.last_heartbeat),
            slots_number: executor.slots,
            free_slots: executor.free_slots,
            total_resource: Resource::of(executor.slots, executor, workers),
            free_resource: Resource::of(executor.free_slots, executor, workers),
            hardware: Hardware {
                cpu_cores: executor.cpu_cores,
                physical_memory: executor.memory,
                free_memory: executor.memory.saturating_sub(executor.resident),
                managed_memory: workers,
            },
            memory_configuration: MemoryConfiguration {
                framework_heap: overhead,
                task_heap: workers,
                framework_off_heap: 0,
                task_off_heap: 0,
                network_memory: 0,
                managed_memory: 0,
                jvm_metaspace: 0,
                jvm_overhead: 0,
                total_flink_memory: executor.memory,
                total_process_memory: executor.memory,
            },
        }
    }
}

impl Resource {
    /// That many slots' share of a TaskExecutor.
    fn of(slots: u32, executor: &ExecutorView, workers_memory: u64) -> Self {
        let all = u64::from(executor.slots.max(1));
        Self {
            cpu_cores: f64::from(slots),
            task_heap_memory: workers_memory / all * u64::from(slots) / (1 << 20),
            task_off_heap_memory: 0,
            managed_memory: 0,
            network_memory: 0,
            extended_resources: BTreeMap::new(),
        }
    }
}

impl TaskManagerDetails {
    pub(in crate::rest) fn new(
        executor: &ExecutorView,
        jobs: &[Arc<JobDetails>],
        configuration: &Configuration,
    ) -> Self {
        let info = TaskManager::new(executor, configuration);
        let workers = info.memory_configuration.task_heap;
        let slot = |(job, tasks): (JobId, usize)| AllocatedSlot {
            job_id: job.to_string(),
            resource: Resource::of(1, executor, workers),
            assigned_tasks: tasks,
        };
        Self {
            allocated_slots: jobs.iter().flat_map(|job| slots_of(job, executor)).map(slot).collect(),
            metrics: Metrics { heap_used: executor.resident, heap_max: executor.memory, ..Metrics::default() },
            info,
        }
    }
}

/// The slots that a job uses on an executor: those with the same subtask index share one.
fn slots_of(job: &JobDetails, executor: &ExecutorView) -> Vec<(JobId, usize)> {
    let mut tasks: BTreeMap<u32, usize> = BTreeMap::new();
    for subtask in job.vertices.iter().flat_map(|vertex| &vertex.subtasks) {
        if subtask.executor.as_ref() == Some(&executor.id) && !subtask.state.is_terminal() {
            *tasks.entry(subtask.index).or_default() += 1;
        }
    }
    tasks.into_values().map(|count| (job.job, count)).collect()
}
