//! A job, its vertices and their subtasks.

use std::collections::BTreeMap;
use std::sync::Arc;

use flumen_jobmaster::{JobDetails, SubtaskDetails, Timestamp, VertexDetails};
use flumen_model::status::{ExecutionState, JobStatus};
use flumen_wire::control::SubtaskIo;
use serde::Serialize;

use super::plan::{Plan, job_type};
use super::{NONE, duration, ms, ms_or_none};

/// States that Flink names in its answers and that do not exist here.
const JOB_STATES_OF_FLINK: [&str; 3] = ["INITIALIZING", "SUSPENDED", "RECONCILING"];
const SUBTASK_STATES_OF_FLINK: [&str; 2] = ["INITIALIZING", "RECONCILING"];

const JOB_STATES: [JobStatus; 8] = [
    JobStatus::Created,
    JobStatus::Running,
    JobStatus::Failing,
    JobStatus::Failed,
    JobStatus::Cancelling,
    JobStatus::Canceled,
    JobStatus::Finished,
    JobStatus::Restarting,
];

/// `JobIdsWithStatusOverview`.
#[derive(Debug, Serialize)]
pub(in crate::rest) struct JobIds {
    jobs: Vec<JobIdWithStatus>,
}

#[derive(Debug, Serialize)]
struct JobIdWithStatus {
    id: String,
    status: String,
}

/// `MultipleJobsDetails`.
#[derive(Debug, Serialize)]
pub(in crate::rest) struct JobsOverview {
    jobs: Vec<JobOverview>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct JobOverview {
    jid: String,
    name: String,
    start_time: i64,
    end_time: i64,
    duration: i64,
    state: String,
    last_modification: i64,
    tasks: BTreeMap<String, usize>,
}

/// `JobDetailsInfo`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::rest) struct Job {
    jid: String,
    name: String,
    #[serde(rename = "isStoppable")]
    is_stoppable: bool,
    state: String,
    job_type: &'static str,
    start_time: i64,
    end_time: i64,
    duration: i64,
    #[serde(rename = "maxParallelism")]
    max_parallelism: i64,
    now: i64,
    timestamps: BTreeMap<String, i64>,
    vertices: Vec<JobVertex>,
    status_counts: BTreeMap<String, usize>,
    plan: Plan,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct JobVertex {
    id: String,
    #[serde(rename = "slotSharingGroupId")]
    slot_sharing_group_id: String,
    name: String,
    #[serde(rename = "maxParallelism")]
    max_parallelism: u32,
    parallelism: u32,
    status: String,
    start_time: i64,
    end_time: i64,
    duration: i64,
    tasks: BTreeMap<String, usize>,
    metrics: IoMetrics,
}

/// `JobVertexDetailsInfo`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::rest) struct Vertex {
    id: String,
    name: String,
    parallelism: u32,
    max_parallelism: u32,
    now: i64,
    subtasks: Vec<Subtask>,
}

/// `SubtaskExecutionAttemptDetailsInfo`, with the older names that Flink 1.20 still gives beside the newer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Subtask {
    subtask: u32,
    status: String,
    attempt: u32,
    host: String,
    endpoint: String,
    start_time: i64,
    end_time: i64,
    duration: i64,
    metrics: IoMetrics,
    taskmanager_id: String,
    status_duration: BTreeMap<String, i64>,
    #[serde(rename = "start_time")]
    start_time_older: i64,
}

/// `IOMetricsInfo`. The times are not measured.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct IoMetrics {
    read_bytes: u64,
    read_bytes_complete: bool,
    write_bytes: u64,
    write_bytes_complete: bool,
    read_records: u64,
    read_records_complete: bool,
    write_records: u64,
    write_records_complete: bool,
    accumulated_backpressured_time: u64,
    accumulated_idle_time: u64,
    accumulated_busy_time: f64,
}

/// How much of its input a job has read; our own, Flink has no such thing.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::rest) struct Progress {
    /// From 0 to 1; null when the size of the input is not known.
    progress: Option<f64>,
    splits_done: u64,
    splits_total: u64,
}

impl JobIds {
    pub(in crate::rest) fn new(jobs: &[Arc<JobDetails>]) -> Self {
        let shape = |job: &Arc<JobDetails>| JobIdWithStatus { id: job.job.to_string(), status: job.status.to_string() };
        Self { jobs: jobs.iter().map(shape).collect() }
    }
}

impl JobsOverview {
    pub(in crate::rest) fn new(jobs: &[Arc<JobDetails>], now: Timestamp) -> Self {
        Self { jobs: jobs.iter().map(|job| JobOverview::new(job, now)).collect() }
    }
}

impl JobOverview {
    fn new(job: &JobDetails, now: Timestamp) -> Self {
        let mut tasks: BTreeMap<String, usize> =
            counts(subtasks(job)).into_iter().map(|(state, count)| (state.to_lowercase(), count)).collect();
        tasks.insert("total".to_owned(), tasks.values().sum());
        let of_subtasks = subtasks(job).flat_map(|subtask| &subtask.entered).map(|(_, at)| *at);
        let last = of_subtasks.chain(job.entered.iter().map(|(_, at)| *at)).max();
        Self {
            jid: job.job.to_string(),
            name: job.name.clone(),
            start_time: ms(job.start),
            end_time: ms_or_none(job.end),
            duration: duration(Some(job.start), job.end, now),
            state: job.status.to_string(),
            last_modification: ms_or_none(last),
            tasks,
        }
    }
}

impl Job {
    pub(in crate::rest) fn new(job: &JobDetails, now: Timestamp) -> Self {
        let mut timestamps: BTreeMap<String, i64> =
            JOB_STATES_OF_FLINK.iter().map(|state| ((*state).to_owned(), 0)).collect();
        timestamps.insert("INITIALIZING".to_owned(), ms(job.start));
        timestamps.extend(JOB_STATES.map(|state| (state.to_string(), job.entered(state).map_or(0, ms))));
        let mut status_counts = no_counts();
        for vertex in &job.vertices {
            *status_counts.entry(aggregate(vertex).to_string()).or_default() += 1;
        }
        Self {
            jid: job.job.to_string(),
            name: job.name.clone(),
            is_stoppable: false,
            state: job.status.to_string(),
            job_type: job_type(job.mode),
            start_time: ms(job.start),
            end_time: ms_or_none(job.end),
            duration: duration(Some(job.start), job.end, now),
            max_parallelism: NONE,
            now: ms(now),
            timestamps,
            vertices: job.vertices.iter().map(|vertex| JobVertex::new(vertex, now)).collect(),
            status_counts,
            plan: Plan::new(job),
        }
    }
}

impl JobVertex {
    fn new(vertex: &VertexDetails, now: Timestamp) -> Self {
        let start = vertex.subtasks.iter().filter_map(|subtask| subtask.start).min();
        let ended = vertex.subtasks.iter().map(|subtask| subtask.end).collect::<Option<Vec<_>>>();
        let end = ended.and_then(|ends| ends.into_iter().max());
        let io = vertex.subtasks.iter().fold(SubtaskIo::default(), |sum, subtask| SubtaskIo {
            records_in: sum.records_in + subtask.io.records_in,
            records_out: sum.records_out + subtask.io.records_out,
            bytes_in: sum.bytes_in + subtask.io.bytes_in,
            bytes_out: sum.bytes_out + subtask.io.bytes_out,
        });
        Self {
            id: vertex.id.to_string(),
            // All vertices of a job share their slots.
            slot_sharing_group_id: format!("{:032x}", 0),
            name: vertex.name.clone(),
            max_parallelism: vertex.max_parallelism,
            parallelism: vertex.parallelism,
            status: aggregate(vertex).to_string(),
            start_time: ms_or_none(start),
            end_time: ms_or_none(end),
            duration: duration(start, end, now),
            tasks: counts(vertex.subtasks.iter()),
            metrics: IoMetrics::new(io),
        }
    }
}

impl Vertex {
    pub(in crate::rest) fn new(vertex: &VertexDetails, now: Timestamp) -> Self {
        Self {
            id: vertex.id.to_string(),
            name: vertex.name.clone(),
            parallelism: vertex.parallelism,
            max_parallelism: vertex.max_parallelism,
            now: ms(now),
            subtasks: vertex.subtasks.iter().map(|subtask| Subtask::new(subtask, now)).collect(),
        }
    }
}

impl Subtask {
    fn new(subtask: &SubtaskDetails, now: Timestamp) -> Self {
        let unassigned = || "(unassigned)".to_owned();
        let host = subtask.host.clone().unwrap_or_else(unassigned);
        Self {
            subtask: subtask.index,
            status: subtask.state.to_string(),
            attempt: subtask.attempt.0,
            endpoint: host.clone(),
            host,
            start_time: ms_or_none(subtask.start),
            end_time: ms_or_none(subtask.end),
            duration: duration(subtask.start, subtask.end, now),
            metrics: IoMetrics::new(subtask.io),
            taskmanager_id: subtask.executor.as_ref().map_or_else(unassigned, ToString::to_string),
            status_duration: status_duration(subtask, now),
            start_time_older: ms_or_none(subtask.start),
        }
    }
}

impl IoMetrics {
    fn new(io: SubtaskIo) -> Self {
        Self {
            read_bytes: io.bytes_in,
            read_bytes_complete: true,
            write_bytes: io.bytes_out,
            write_bytes_complete: true,
            read_records: io.records_in,
            read_records_complete: true,
            write_records: io.records_out,
            write_records_complete: true,
            accumulated_backpressured_time: 0,
            accumulated_idle_time: 0,
            accumulated_busy_time: 0.0,
        }
    }
}

impl Progress {
    pub(in crate::rest) fn new(job: &JobDetails) -> Self {
        let splits = || job.vertices.iter().filter_map(|vertex| vertex.splits);
        Self {
            progress: job.progress,
            splits_done: splits().map(|splits| splits.done).sum(),
            splits_total: splits().map(|splits| splits.total).sum(),
        }
    }
}

fn subtasks(job: &JobDetails) -> impl Iterator<Item = &SubtaskDetails> {
    job.vertices.iter().flat_map(|vertex| &vertex.subtasks)
}

/// 0 for every state that Flink knows.
fn no_counts() -> BTreeMap<String, usize> {
    let ours = ExecutionState::ALL.map(|state| state.to_string());
    ours.into_iter().chain(SUBTASK_STATES_OF_FLINK.map(str::to_owned)).map(|state| (state, 0)).collect()
}

fn counts<'a>(subtasks: impl Iterator<Item = &'a SubtaskDetails>) -> BTreeMap<String, usize> {
    let mut counts = no_counts();
    for subtask in subtasks {
        *counts.entry(subtask.state.to_string()).or_default() += 1;
    }
    counts
}

/// The state of a vertex by the states of its subtasks, as Flink aggregates them.
fn aggregate(vertex: &VertexDetails) -> ExecutionState {
    use ExecutionState::{Canceled, Canceling, Created, Failed, Finished, Running};
    let has = |state| vertex.subtasks.iter().any(|subtask| subtask.state == state);
    if let Some(state) = [Failed, Canceling, Canceled, Running].into_iter().find(|state| has(*state)) {
        return state;
    }
    match has(Finished) {
        true if vertex.subtasks.iter().all(|subtask| subtask.state == Finished) => Finished,
        true => Running,
        false => Created,
    }
}

/// How long a subtask was in each of its states before the end; none for one that it was never in.
fn status_duration(subtask: &SubtaskDetails, now: Timestamp) -> BTreeMap<String, i64> {
    use ExecutionState::{Created, Deploying, Running, Scheduled};
    let spent = |state: ExecutionState| {
        let at = subtask.entered.iter().position(|(entered, _)| *entered == state)?;
        let left = subtask.entered.get(at + 1).map(|(_, at)| *at);
        Some(duration(Some(subtask.entered[at].1), left, now))
    };
    let mut durations: BTreeMap<String, i64> = [Created, Scheduled, Deploying, Running]
        .map(|state| (state.to_string(), spent(state).unwrap_or(NONE)))
        .into_iter()
        .collect();
    durations.insert("INITIALIZING".to_owned(), NONE);
    durations
}
