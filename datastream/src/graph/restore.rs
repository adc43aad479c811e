//! Whether a program can start from a savepoint or checkpoint, found out before anything is submitted or stopped.

use std::collections::{BTreeMap, BTreeSet};

use flumen_checkpoint::CheckpointError;
use flumen_fs::FileSystems;
use flumen_model::checkpoint::{CompletedCheckpoint, OperatorDescription, VertexSnapshot};
use flumen_model::ids::{OperatorId, VertexId};
use flumen_model::job_graph::{JobGraph, JobVertex};

/// Reads the snapshot at a path: its directory or its metadata file.
///
/// # Errors
/// There is none, or it is damaged.
pub(crate) async fn load(files: &FileSystems, path: &str) -> Result<CompletedCheckpoint, CheckpointError> {
    let path = files.resolve(path)?;
    Ok(flumen_checkpoint::load(files, &path).await?.checkpoint)
}

/// Why a program can't start from a snapshot: one line for each reason.
///
/// `ignore_unclaimed`: state of operators that the program doesn't have is left behind.
pub(crate) fn check(graph: &JobGraph, from: &CompletedCheckpoint, ignore_unclaimed: bool) -> Vec<String> {
    let mut problems = Vec::new();
    let operators: BTreeMap<OperatorId, &JobVertex> = graph
        .vertices
        .iter()
        .flat_map(|vertex| vertex.operators.iter().map(move |operator| (operator.id, vertex)))
        .collect();
    for former in &from.vertices {
        for operator in former.operators.iter().filter(|operator| has_state(former, operator.id)) {
            match operators.get(&operator.id) {
                None if ignore_unclaimed => {}
                None => problems.push(unclaimed(operator)),
                Some(vertex) if vertex.max_parallelism != former.max_parallelism => problems.push(format!(
                    "`{}` has the maximum parallelism {} and had {}: state can't be divided anew; leave it unset, or set it to {}",
                    vertex.name, vertex.max_parallelism, former.max_parallelism, former.max_parallelism
                )),
                Some(_) => {}
            }
        }
    }
    problems.extend(in_flight(graph, from));
    problems
}

fn has_state(vertex: &VertexSnapshot, operator: OperatorId) -> bool {
    let kept = vertex.subtasks.iter().any(|s| s.operators.get(&operator).is_some_and(|state| !state.is_empty()));
    // The first operator of a vertex with splits is its source.
    let source = vertex.source.is_some() && vertex.operators.first().is_some_and(|first| first.id == operator);
    kept || source
}

fn unclaimed(operator: &OperatorDescription) -> String {
    let id = match &operator.uid {
        Some(uid) => format!("uid `{uid}`"),
        None => format!("no uid, id {}", operator.id),
    };
    format!(
        "`{}` ({id}) has state in it, and the program has no operator of that id: give the operator its former uid, or leave its state behind with --allowNonRestoredState",
        operator.name
    )
}

/// Records that were on their way belong to edges, which have no names that survive a changed program.
fn in_flight(graph: &JobGraph, from: &CompletedCheckpoint) -> Option<String> {
    let overtaken = from.vertices.iter().flat_map(|vertex| &vertex.subtasks).any(|s| !s.in_flight.is_empty());
    let now: BTreeSet<VertexId> = graph.vertices.iter().map(|vertex| vertex.id).collect();
    let then: BTreeSet<VertexId> = from.vertices.iter().map(|vertex| vertex.vertex).collect();
    (overtaken && now != then).then(|| {
        "it is an unaligned checkpoint with records that were on their way, and the program has other vertices now: start from a savepoint".to_owned()
    })
}
