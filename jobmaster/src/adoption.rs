//! Which executions of a former leader go on under a new one: a pure function of what TaskExecutors report.
//!
//! A region is adopted if all its subtasks are, consistently, in one execution that was started and not told to stop, and if
//! the newest checkpoint is one of that very execution: else a later restore would not fit to what goes on here. Whatever is
//! not adopted is restarted from that checkpoint. The reasons, and why this keeps every record exactly once, are in
//! docs/adr/0011.

use std::collections::{BTreeMap, BTreeSet};

use flumen_model::checkpoint::CheckpointId;
use flumen_model::ids::{ExecutionAttempt, ExecutorId, SubtaskId};
use flumen_model::status::ExecutionState;
use flumen_wire::control::{Deployment, RegionId, VertexPlacement};
use flumen_wire::report::{RegionReport, SubtaskReport, WorkerReport};

use crate::region::{DeployedTo, Region};

/// A TaskExecutor of a former leader, as it has registered with this one.
#[derive(Debug, Clone, PartialEq)]
pub struct FormerExecutor {
    /// Its name.
    pub id: ExecutorId,
    /// Slots that the job may use on it: at least [`WorkerReport::slots`] if it has a worker there.
    pub slots: u32,
    /// Its node's host, for the user's eyes.
    pub host: String,
    /// The job's worker on it, with everything that was heard of it until now.
    pub worker: Option<WorkerReport>,
}

/// The newest checkpoint, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Newest {
    pub(crate) id: CheckpointId,
    /// It was taken by a stop, after which every subtask ends.
    pub(crate) stop: bool,
}

/// What becomes of each region, in their order.
#[derive(Debug)]
pub(crate) struct Decision<'a> {
    pub(crate) regions: Vec<Result<Adopted<'a>, NotAdopted>>,
    /// The job was being stopped and its savepoint is complete: all subtasks end as soon as they hear of it.
    pub(crate) stopping: bool,
}

/// A region that goes on.
#[derive(Debug)]
pub(crate) struct Adopted<'a> {
    pub(crate) attempt: ExecutionAttempt,
    pub(crate) restored: Option<CheckpointId>,
    /// In the order in which workers know each other.
    pub(crate) workers: Vec<DeployedTo>,
    /// All its subtasks, each on its TaskExecutor.
    pub(crate) subtasks: Vec<(&'a FormerExecutor, &'a SubtaskReport)>,
}

/// Why a region does not go on. For the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotAdopted {
    #[error("no TaskExecutor has reported anything of it")]
    Unknown,
    #[error("the TaskExecutor of its worker {0} has not registered, or runs another execution")]
    Missing(u32),
    #[error("its workers were not deployed alike")]
    Inconsistent,
    #[error("not all its workers were told to start")]
    NotStarted,
    #[error("it was being stopped")]
    Cancelled,
    #[error("the report of a TaskExecutor is not whole: there was no room for it")]
    NotWhole,
    #[error("subtask {0} is {1}")]
    State(SubtaskId, ExecutionState),
    #[error("the newest checkpoint is not one of this execution of subtask {0}")]
    OtherCheckpoint(SubtaskId),
    #[error("it was told of checkpoint {0}, which is not there")]
    Lost(CheckpointId),
    #[error("its subtasks share a slot with those of another region on another TaskExecutor")]
    Slots,
    #[error("it has read splits that should not have been handed out")]
    Splits,
    #[error("the job was being stopped, and its subtasks can't all end")]
    Stop,
}

/// Decides about all regions of a job. `newest` is the checkpoint that subtasks would be restored from.
pub(crate) fn decide<'a>(regions: &[Region], newest: Option<Newest>, executors: &'a [FormerExecutor]) -> Decision<'a> {
    let mut slots = BTreeMap::new();
    let adopted = regions.iter().map(|region| {
        let adopted = adopt(region, newest, executors)?;
        hold_slots(&mut slots, &adopted)?;
        Ok(adopted)
    });
    let mut regions: Vec<Result<Adopted<'a>, NotAdopted>> = adopted.collect();
    // Subtasks that have ended for a stop, or were drained, can't be followed by others that go on.
    let newest_stop = newest.filter(|newest| newest.stop).map(|newest| newest.id);
    let ends = |adopted: &Adopted| newest_stop.is_some() && adopted.restored != newest_stop;
    let drained = reports(executors).any(|(_, report)| report.drained && !report.cancelled);
    let stopping = !regions.is_empty() && regions.iter().all(|region| region.as_ref().is_ok_and(ends));
    let some_end = drained || regions.iter().flatten().any(ends);
    if some_end && !stopping {
        regions.iter_mut().filter(|region| region.is_ok()).for_each(|region| *region = Err(NotAdopted::Stop));
    }
    Decision { regions, stopping }
}

/// The reports of all regions of all workers.
fn reports(executors: &[FormerExecutor]) -> impl Iterator<Item = (&WorkerReport, &RegionReport)> {
    let workers = executors.iter().filter_map(|executor| executor.worker.as_ref());
    workers.flat_map(|worker| worker.regions.iter().map(move |region| (worker, region)))
}

/// A worker's part of an execution.
#[derive(Clone, Copy)]
struct Part<'a> {
    executor: &'a FormerExecutor,
    worker: &'a WorkerReport,
    region: &'a RegionReport,
}

fn adopt<'a>(
    region: &Region,
    newest: Option<Newest>,
    executors: &'a [FormerExecutor],
) -> Result<Adopted<'a>, NotAdopted> {
    let parts = parts(region.id, executors);
    let first = parts.first().map(|part| &part.region.deployment).ok_or(NotAdopted::Unknown)?;
    let attempt = first.attempt;
    let restored = parts.iter().find_map(|part| part.region.restored);
    for part in &parts {
        check(*part, first)?;
        if part.region.restored != restored {
            return Err(NotAdopted::Inconsistent);
        }
        if let Some(lost) = part.region.completed.filter(|completed| newest.is_none_or(|newest| newest.id < *completed))
        {
            return Err(NotAdopted::Lost(lost));
        }
    }
    let mut workers = Vec::new();
    for me in 0..first.workers.len() as u32 {
        let mut here = parts.iter().filter(|part| part.region.deployment.me == me);
        let (Some(part), None) = (here.next(), here.next()) else { return Err(NotAdopted::Missing(me)) };
        let (executor, instance) = (part.executor.id.clone(), part.worker.instance);
        workers.push(DeployedTo { executor, instance, confirmed: true });
    }
    let subtasks: Vec<(&FormerExecutor, &SubtaskReport)> =
        parts.iter().flat_map(|part| part.region.subtasks.iter().map(|subtask| (part.executor, subtask))).collect();
    let reported: BTreeSet<SubtaskId> = subtasks.iter().map(|(_, subtask)| subtask.subtask).collect();
    let members: BTreeSet<SubtaskId> = region.members.iter().copied().collect();
    if reported != members || placed(first) != members || subtasks.len() != members.len() {
        return Err(NotAdopted::Inconsistent);
    }
    for (_, subtask) in &subtasks {
        use ExecutionState::{Deploying, Failed, Finished, Running};
        // Failures are worked off when the job is adopted, as if they were reported then.
        if !matches!(subtask.state, Deploying | Running | Finished | Failed) {
            return Err(NotAdopted::State(subtask.subtask, subtask.state));
        }
        if !takes_part(subtask, restored, newest) {
            return Err(NotAdopted::OtherCheckpoint(subtask.subtask));
        }
    }
    Ok(Adopted { attempt, restored, workers, subtasks })
}

/// The parts of the latest execution of a region that was ever deployed.
fn parts(region: RegionId, executors: &[FormerExecutor]) -> Vec<Part<'_>> {
    let all = executors.iter().filter_map(|executor| {
        let worker = executor.worker.as_ref()?;
        let region = worker.regions.iter().find(|report| report.deployment.region == region)?;
        Some(Part { executor, worker, region })
    });
    let mut all: Vec<Part<'_>> = all.collect();
    let latest = all.iter().map(|part| part.region.deployment.attempt).max();
    all.retain(|part| Some(part.region.deployment.attempt) == latest);
    all
}

fn check(part: Part<'_>, first: &Deployment) -> Result<(), NotAdopted> {
    let Part { worker, region, .. } = part;
    let deployment = &region.deployment;
    if !worker.whole {
        return Err(NotAdopted::NotWhole);
    }
    if region.cancelled {
        return Err(NotAdopted::Cancelled);
    }
    if !region.started {
        return Err(NotAdopted::NotStarted);
    }
    let address = deployment.workers.get(deployment.me as usize);
    let alike = deployment.workers == first.workers && deployment.placement == first.placement;
    if !alike || address.is_none() || worker.address.as_ref() != address {
        return Err(NotAdopted::Inconsistent);
    }
    Ok(())
}

/// The subtasks that a deployment places.
fn placed(deployment: &Deployment) -> BTreeSet<SubtaskId> {
    let vertices = deployment.placement.iter();
    let subtasks = vertices.flat_map(|vertex| {
        let here = (0..).zip(&vertex.worker_of).filter(|(_, worker)| **worker != VertexPlacement::ELSEWHERE);
        here.map(|(index, _)| SubtaskId { vertex: vertex.vertex, index })
    });
    subtasks.collect()
}

/// Whether the newest checkpoint is one of this execution of a subtask: it began with it, has confirmed it, or had ended
/// before (with a checkpoint that it had confirmed).
fn takes_part(subtask: &SubtaskReport, restored: Option<CheckpointId>, newest: Option<Newest>) -> bool {
    let newest = newest.map(|newest| newest.id);
    let waited = subtask.state == ExecutionState::Finished && subtask.end_of_data;
    if restored == newest {
        // Whoever waits for a checkpoint before it ends has not seen one.
        return !waited;
    }
    waited || newest.is_some_and(|newest| subtask.acknowledged.contains(&newest))
}

/// Subtask `k` of every vertex is in slot `k`.
fn hold_slots<'a>(slots: &mut BTreeMap<u32, &'a ExecutorId>, adopted: &Adopted<'a>) -> Result<(), NotAdopted> {
    let mut held = slots.clone();
    for (executor, subtask) in &adopted.subtasks {
        if *held.entry(subtask.subtask.index).or_insert(&executor.id) != &executor.id {
            return Err(NotAdopted::Slots);
        }
    }
    *slots = held;
    Ok(())
}
