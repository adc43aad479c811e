//! Who gets what of a checkpoint: a pure function of the checkpoint and the graph, whose parallelism may be another one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use flumen_model::checkpoint::{
    CheckpointId, CompletedCheckpoint, InFlight, KeyGroupRange, ListState, OperatorDescription, OperatorSnapshot,
    Redistribution, SourceProgress, SubtaskRestore, SubtaskSnapshot, VertexSnapshot,
};
use flumen_model::failure::{Blame, Failure};
use flumen_model::ids::{OperatorId, SubtaskId, VertexId};
use flumen_model::job_graph::{JobGraph, JobVertex, Partitioner};
use flumen_model::options::checkpointing as options;

use super::coordinator::Coordinator;
use super::pending::Stage;
use super::store::Kept;
use crate::event::Timestamp;

/// What the subtasks of a graph start with.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Assignment {
    /// For each subtask; one without anything starts empty, but knows that it was restored.
    pub(crate) subtasks: BTreeMap<SubtaskId, SubtaskSnapshot>,
    /// Where the sources with splits go on.
    pub(crate) sources: BTreeMap<VertexId, SourceProgress>,
}

/// Why a program can't start from a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RestoreRefused {
    #[error(
        "the job can't start from checkpoint {checkpoint}: it holds state of operators that the program does not have: \
         {operators}; give the operators the uids that they had, or leave their state behind with \
         --allowNonRestoredState ({})", options::IGNORE_UNCLAIMED.key
    )]
    Unclaimed { checkpoint: CheckpointId, operators: String },
    #[error(
        "the job can't start from checkpoint {checkpoint}: operator `{operator}` had a maximum parallelism of {had} and has \
         one of {has} now; keys belong to key groups, whose number can't change: set the maximum parallelism to {had}"
    )]
    MaxParallelism { checkpoint: CheckpointId, operator: String, had: u32, has: u32 },
    #[error(
        "the job can't start from checkpoint {checkpoint}: it holds records on their way into `{vertex}`, which can't be \
         sent again because {reason}; start with the same program and parallelism, or from a savepoint or aligned \
         checkpoint, which hold none"
    )]
    InFlight { checkpoint: CheckpointId, vertex: String, reason: &'static str },
}

/// Divides a checkpoint among the subtasks of a graph.
pub(crate) fn assign(
    checkpoint: &CompletedCheckpoint,
    graph: &JobGraph,
    ignore_unclaimed: bool,
) -> Result<Assignment, RestoreRefused> {
    if !ignore_unclaimed {
        refuse_unclaimed(checkpoint, graph)?;
    }
    let mut assignment = Assignment::default();
    for vertex in &graph.vertices {
        for index in 0..vertex.parallelism {
            assignment.subtasks.insert(SubtaskId { vertex: vertex.id, index }, SubtaskSnapshot::default());
        }
        for operator in &vertex.operators {
            let Some((former, description)) = find(checkpoint, operator.id) else { continue };
            check_max_parallelism(checkpoint, former, description, vertex)?;
            for index in 0..vertex.parallelism {
                let snapshot = divide(former, operator.id, vertex, index);
                let subtask = assignment.subtasks.get_mut(&SubtaskId { vertex: vertex.id, index });
                if let Some(subtask) = subtask.filter(|_| !snapshot.is_empty()) {
                    subtask.operators.insert(operator.id, snapshot);
                }
            }
        }
        if let Some(progress) = source_of(checkpoint, vertex) {
            assignment.sources.insert(vertex.id, progress.clone());
        }
    }
    // What a channel's receiver had is older than what its sender still held.
    let at_receiver = |(former, flight): &(&VertexSnapshot, &InFlight)| {
        graph.edges.get(flight.edge as usize).is_some_and(|edge| edge.target == former.vertex)
    };
    let (received, held): (Vec<_>, Vec<_>) = in_flight(checkpoint).partition(at_receiver);
    for (former, flight) in received.into_iter().chain(held) {
        let flight = reroute(checkpoint, graph, former, flight)?;
        let edge = &graph.edges[flight.edge as usize];
        let sender = SubtaskId { vertex: edge.source, index: flight.source };
        assignment.subtasks.entry(sender).or_default().in_flight.push(flight);
    }
    Ok(assignment)
}

fn find(checkpoint: &CompletedCheckpoint, id: OperatorId) -> Option<(&VertexSnapshot, &OperatorDescription)> {
    checkpoint.vertices.iter().find_map(|vertex| {
        let operator = vertex.operators.iter().find(|operator| operator.id == id)?;
        Some((vertex, operator))
    })
}

/// The progress of the source that a vertex begins with, wherever its chain was cut.
fn source_of<'a>(checkpoint: &'a CompletedCheckpoint, vertex: &JobVertex) -> Option<&'a SourceProgress> {
    let head = vertex.source.as_ref().and(vertex.operators.first())?;
    let is_head = |former: &&VertexSnapshot| former.operators.first().is_some_and(|operator| operator.id == head.id);
    checkpoint.vertices.iter().find(is_head)?.source.as_ref()
}

fn refuse_unclaimed(checkpoint: &CompletedCheckpoint, graph: &JobGraph) -> Result<(), RestoreRefused> {
    let known: BTreeSet<OperatorId> =
        graph.vertices.iter().flat_map(|vertex| vertex.operators.iter().map(|operator| operator.id)).collect();
    let mut lost: Vec<String> = Vec::new();
    for vertex in &checkpoint.vertices {
        let has_state = |id: OperatorId| vertex.subtasks.iter().any(|subtask| subtask.operators.contains_key(&id));
        for (position, operator) in vertex.operators.iter().enumerate().filter(|(_, o)| !known.contains(&o.id)) {
            if has_state(operator.id) || position == 0 && vertex.source.is_some() {
                lost.push(match &operator.uid {
                    Some(uid) => format!("`{}` (uid `{uid}`)", operator.name),
                    None => format!("`{}` (id {}, no uid)", operator.name, operator.id),
                });
            }
        }
    }
    match lost.is_empty() {
        true => Ok(()),
        false => Err(RestoreRefused::Unclaimed { checkpoint: checkpoint.id, operators: lost.join(", ") }),
    }
}

fn check_max_parallelism(
    checkpoint: &CompletedCheckpoint,
    former: &VertexSnapshot,
    operator: &OperatorDescription,
    vertex: &JobVertex,
) -> Result<(), RestoreRefused> {
    let states = former.subtasks.iter().filter_map(|subtask| subtask.operators.get(&operator.id));
    let keyed = states.into_iter().any(|state| !state.keyed.is_empty());
    match keyed && former.max_parallelism != vertex.max_parallelism {
        false => Ok(()),
        true => Err(RestoreRefused::MaxParallelism {
            checkpoint: checkpoint.id,
            operator: operator.name.clone(),
            had: former.max_parallelism,
            has: vertex.max_parallelism,
        }),
    }
}

/// One subtask's part of the state of an operator.
fn divide(former: &VertexSnapshot, id: OperatorId, vertex: &JobVertex, index: u32) -> OperatorSnapshot {
    let range = KeyGroupRange::of_subtask(index, vertex.parallelism, vertex.max_parallelism);
    let states: Vec<Option<&OperatorSnapshot>> =
        former.subtasks.iter().map(|subtask| subtask.operators.get(&id)).collect();
    let keyed = states.iter().flatten().flat_map(|state| &state.keyed).filter(|piece| piece.groups.overlaps(range));
    let mut divided = OperatorSnapshot { keyed: keyed.cloned().collect(), lists: BTreeMap::new() };
    let names: BTreeSet<&String> = states.iter().flatten().flat_map(|state| state.lists.keys()).collect();
    let same = former.parallelism == vertex.parallelism;
    for name in names {
        let by_subtask: Vec<&[ListState]> = states
            .iter()
            .map(|state| state.and_then(|state| state.lists.get(name)).map_or(&[][..], Vec::as_slice))
            .collect();
        let of = |wanted| move |piece: &&ListState| piece.redistribution == wanted;
        let all = || by_subtask.iter().copied().flatten();
        let mut pieces: Vec<ListState> = all().filter(of(Redistribution::Union)).cloned().collect();
        let holders: Vec<&[ListState]> = by_subtask
            .iter()
            .copied()
            .filter(|pieces| pieces.iter().any(|piece| piece.redistribution == Redistribution::Broadcast))
            .collect();
        if !holders.is_empty() {
            let of_one = holders[index as usize % holders.len()];
            pieces.extend(of_one.iter().filter(of(Redistribution::Broadcast)).cloned());
        }
        let split: Vec<&ListState> = all().filter(of(Redistribution::Split)).collect();
        if same {
            let own = by_subtask.get(index as usize).copied().unwrap_or_default();
            pieces.extend(own.iter().filter(of(Redistribution::Split)).cloned());
        } else {
            pieces.extend(share(&split, index, vertex.parallelism));
        }
        if !pieces.is_empty() {
            divided.lists.insert(name.clone(), pieces);
        }
    }
    divided
}

/// The items of one subtask: all of them in a row are cut into as many even pieces as there are subtasks.
fn share(pieces: &[&ListState], index: u32, parallelism: u32) -> Vec<ListState> {
    let total: u64 = pieces.iter().map(|piece| piece.ends.len() as u64).sum();
    let cut = |index: u32| (total * u64::from(index)).div_ceil(u64::from(parallelism.max(1)));
    let (first, end) = (cut(index), cut(index + 1));
    let mut shared = Vec::new();
    let mut before = 0;
    for piece in pieces {
        let length = piece.ends.len() as u64;
        let from = first.clamp(before, before + length) - before;
        let to = end.clamp(before, before + length) - before;
        if from < to {
            let (from, to) = (from as usize, to as usize);
            let start = if from == 0 { piece.start } else { piece.ends[from - 1] };
            shared.push(ListState { start, ends: piece.ends[from..to].to_vec(), ..(*piece).clone() });
        }
        before += length;
    }
    shared
}

fn in_flight(checkpoint: &CompletedCheckpoint) -> impl Iterator<Item = (&VertexSnapshot, &InFlight)> {
    checkpoint
        .vertices
        .iter()
        .flat_map(|vertex| vertex.subtasks.iter().flat_map(move |s| s.in_flight.iter().map(move |f| (vertex, f))))
}

/// Who sends these records again, and to whom. `former` is the vertex in whose snapshot they are: one end of their edge.
fn reroute(
    checkpoint: &CompletedCheckpoint,
    graph: &JobGraph,
    former: &VertexSnapshot,
    flight: &InFlight,
) -> Result<InFlight, RestoreRefused> {
    let refused = |reason| RestoreRefused::InFlight { checkpoint: checkpoint.id, vertex: former.name.clone(), reason };
    let changed = "the program has another graph now";
    let edge = graph.edges.get(flight.edge as usize).ok_or_else(|| refused(changed))?;
    if former.vertex != edge.source && former.vertex != edge.target {
        return Err(refused(changed));
    }
    let had = |id: VertexId| checkpoint.vertices.iter().find(|vertex| vertex.vertex == id).map(|v| v.parallelism);
    let has = |id: VertexId| graph.vertex(id).map(|vertex| vertex.parallelism);
    let (Some(senders), Some(receivers)) = (has(edge.source), has(edge.target)) else { return Err(refused(changed)) };
    let same_receivers = had(edge.target) == Some(receivers);
    let same_senders = had(edge.source) == Some(senders);
    let target = match edge.partitioner {
        _ if same_receivers && flight.target != InFlight::ROUTE_AGAIN => flight.target,
        Partitioner::Hash | Partitioner::Rebalance | Partitioner::Shuffle => InFlight::ROUTE_AGAIN,
        Partitioner::Forward => return Err(refused("a forward exchange has no other way for them")),
        Partitioner::Broadcast => return Err(refused("every subtask was sent its own copy of them")),
    };
    let source = if same_senders { flight.source } else { flight.source % senders.max(1) };
    Ok(InFlight { source, target, ..flight.clone() })
}

impl Coordinator {
    /// What some subtasks that begin anew start with.
    pub(crate) fn restore(
        &mut self,
        graph: &JobGraph,
        members: &[SubtaskId],
        now: Timestamp,
    ) -> Result<BTreeMap<SubtaskId, SubtaskRestore>, Box<Failure>> {
        // They go on from an older one: were a checkpoint to complete now, it would not be one of theirs (CC-2).
        let late = self
            .pending
            .values()
            .filter(|pending| matches!(pending.stage, Stage::Storing(_)) && !pending.kind().is_savepoint());
        let late: Vec<CheckpointId> = late.map(|pending| pending.id()).collect();
        for id in late {
            let message = format!("checkpoint {id} was not stored before subtasks were restarted from an older one");
            self.abort(id, Failure::new(Blame::Outside, message), now);
        }
        self.ends.renew(members, self.next());
        // A savepoint of the job is not its own, either, but files that it shares with the job are.
        let is_foreign = |kept: &Kept| !kept.owned && !kept.checkpoint.kind.is_savepoint();
        self.full |= self.store.newest_kept().is_some_and(is_foreign);
        let Some(newest) = self.store.newest().map(Arc::clone) else {
            let text = "none of the job's checkpoints can be restored";
            return match (&self.unusable, self.store.is_lost()) {
                (None, false) => Ok(BTreeMap::new()),
                (None, true) => Err(Box::new(Failure::new(Blame::Outside, text))),
                (Some(why), _) => Err(Box::new(Failure::new(Blame::Outside, format!("{text}: {why}")))),
            };
        };
        let assigned = assign(&newest, graph, self.settings.ignore_unclaimed);
        let mut assigned = assigned.map_err(|refused| Box::new(Failure::new(Blame::User, refused.to_string())))?;
        self.tracker.restored(&newest, now);
        tracing::info!(job = %self.job, checkpoint = %newest.id, subtasks = members.len(), "subtasks start from a checkpoint");
        let restore = |id: &SubtaskId| {
            let state = assigned.subtasks.remove(id)?;
            Some((*id, SubtaskRestore { subtask: *id, checkpoint: newest.id, state }))
        };
        Ok(members.iter().filter_map(restore).collect())
    }

    /// Where the sources with splits were at the checkpoint that subtasks are restored from.
    pub(crate) fn positions(&self, graph: &JobGraph) -> BTreeMap<VertexId, SourceProgress> {
        let Some(newest) = self.store.newest() else { return BTreeMap::new() };
        let of = |vertex: &JobVertex| Some((vertex.id, source_of(newest, vertex)?.clone()));
        graph.vertices.iter().filter_map(of).collect()
    }

    /// The checkpoint that subtasks are restored from.
    pub(crate) fn newest(&self) -> Option<CheckpointId> {
        self.store.newest().map(|checkpoint| checkpoint.id)
    }

    /// A subtask could not start from a checkpoint. Gives the failure as it is shown; as an error when no other
    /// checkpoint is left, and the job has to fail: it must not begin as if it had never run.
    pub(crate) fn cannot_restore(&mut self, id: CheckpointId, failure: Failure) -> Result<Failure, Box<Failure>> {
        self.store.damage(id);
        let explained = |text: String| Failure { message: text, ..failure.clone() };
        match self.newest() {
            Some(other) => {
                tracing::error!(job = %self.job, checkpoint = %id, "can't be restored, checkpoint {other} is used: {failure}");
                let text = format!(
                    "checkpoint {id} can't be restored, so that checkpoint {other} is used; what sinks have committed by checkpoint {id} comes again: {}",
                    failure.message
                );
                Ok(explained(text))
            }
            None => Err(Box::new(explained(format!(
                "checkpoint {id} can't be restored, and the job has no other one ({}): {}",
                options::RETAINED.key,
                failure.message
            )))),
        }
    }
}

#[cfg(test)]
mod tests;
