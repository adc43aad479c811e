//! Which states the operators of a program have, found out before it runs: each operator that may have keyed state is made
//! once, with state in memory, and asked for a snapshot, which says what is in it. Made over each state of an earlier
//! snapshot, without its contents, it says whether it can read it.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use flumen_model::checkpoint::{
    Alignment, Barrier, CheckpointId, CompletedCheckpoint, KeyGroupRange, KeyedFormat, KeyedState, OperatorSnapshot,
    SnapshotKind, StateHandle, StateLocation, SubtaskRestore, SubtaskSnapshot,
};
use flumen_model::ids::{ExecutionAttempt, OperatorId, SubtaskId, VertexId};
use flumen_model::job_graph::{JobGraph, RuntimeMode};
use flumen_state::canonical::{PART, Reader, Writer};
use flumen_state::{BackendKind, BackendOptions, PartsInMemory, StateMeta};
use flumen_worker::checkpoint::Snapshot;
use flumen_worker::operator::{TaskError, TaskResult};
use flumen_worker::restore::Restored;
use flumen_worker::sources::SplitRequests;
use flumen_worker::subtask::{SubtaskContext, WorkerContext};
use tokio::sync::mpsc;
use xxhash_rust::xxh3::xxh3_64;

use crate::graph::node::{Keeps, Making, Node, Work};
use crate::graph::records::Outputs;

/// The states of an operator, by name, as checkpoints describe them.
pub(crate) type States = BTreeMap<String, String>;

/// Puts the states of all operators into the graph, and says which states of an earlier snapshot can't be read: a text for
/// each operator.
pub(crate) fn declare(
    graph: &mut JobGraph,
    nodes: &[Node],
    operators: &[OperatorId],
    worker: &WorkerContext,
    from: Option<&CompletedCheckpoint>,
) -> Vec<String> {
    let mut worker = worker.clone();
    worker.state.backend = BackendOptions { kind: BackendKind::HashMap, ..BackendOptions::default() };
    worker.state.inline_below = u64::MAX;
    let mut problems = Vec::new();
    let former: BTreeMap<OperatorId, &States> = from
        .iter()
        .flat_map(|from| from.vertices.iter().flat_map(|vertex| &vertex.operators))
        .map(|operator| (operator.id, &operator.states))
        .collect();
    for (node, id) in nodes.iter().zip(operators) {
        if !matches!(node.keeps, Keeps::KeyedState) {
            continue;
        }
        let states = match opened(node, *id, &worker, graph.mode, None) {
            Ok(states) => states,
            Err(error) => {
                // What the function needs may not be here. Then its states are known when they are restored.
                tracing::debug!(operator = node.name, ?error, "the states of the operator are not known beforehand");
                continue;
            }
        };
        for (name, written) in former.get(id).copied().into_iter().flatten() {
            let one = States::from([(name.clone(), written.clone())]);
            // That the made-up row can't be read says nothing: the types have been compared by then.
            if let Err(TaskError::Failed { message, .. }) = opened(node, *id, &worker, graph.mode, Some(&one)) {
                problems.push(format!("`{}`: {message}", node.name));
            }
        }
        let info = graph.vertices.iter_mut().flat_map(|vertex| &mut vertex.operators).find(|info| info.id == *id);
        if let Some(info) = info {
            info.states = states;
        }
    }
    problems
}

/// Makes the operator of a node, over former states if there are any, and looks at its states.
fn opened(
    node: &Node,
    operator: OperatorId,
    worker: &WorkerContext,
    mode: RuntimeMode,
    former: Option<&States>,
) -> TaskResult<States> {
    let Work::Operator { records, make } = &node.work else { return Ok(States::new()) };
    let mut context = planning(node, worker.clone());
    if let Some(former) = former {
        let restore = restore(operator, context.max_parallelism, former, context.id);
        context.restored = Arc::new(Restored::load(restore, &context)?);
    }
    let panicked = |_| TaskError::failed(flumen_model::failure::Blame::User, "it panicked while it was opened");
    let opened = || -> TaskResult<Snapshot> {
        let making = Making { context: &context, mode, operator };
        let push = make(&making, Outputs::new(node.output.join(Vec::new())))?;
        let mut snapshot = Snapshot::new(barrier());
        records.snapshot(push, &mut snapshot)?;
        Ok(snapshot)
    };
    let snapshot = catch_unwind(AssertUnwindSafe(opened)).map_err(panicked)??;
    let taken = context.block_on(snapshot.write(&context))??;
    Ok(taken.operators.get(&operator).map(states_in).unwrap_or_default())
}

/// The states that a snapshot in memory has.
fn states_in(snapshot: &OperatorSnapshot) -> States {
    let mut states = States::new();
    for handle in snapshot.keyed.iter().filter_map(|keyed| keyed.parts.get(PART)) {
        let StateLocation::Inline(bytes) = &handle.location else { continue };
        let mut parts = PartsInMemory(BTreeMap::from([(PART.to_owned(), bytes.clone())]));
        if let Ok(reader) = Reader::open(&mut parts, bytes.len() as u64) {
            states.extend(reader.header().states.iter().map(|meta| (meta.name.clone(), meta.to_text())));
        }
    }
    states
}

/// Former states to begin with, each with a row that is none: a state without rows is not looked at.
fn restore(operator: OperatorId, max_parallelism: u32, former: &States, subtask: SubtaskId) -> SubtaskRestore {
    let metas: Vec<StateMeta> = former.values().filter_map(|text| serde_json::from_str(text).ok()).collect();
    let groups = KeyGroupRange { start: 0, end: max_parallelism };
    let states = metas.len();
    let mut writer = Writer::new(metas, groups, max_parallelism);
    (0..states).for_each(|state| writer.row(state, 0, &[], &[], &[], &[]));
    writer.finish();
    let bytes: Vec<u8> = std::iter::from_fn(|| writer.pop()).flatten().collect();
    let handle =
        StateHandle { length: bytes.len() as u64, checksum: xxh3_64(&bytes), location: StateLocation::Inline(bytes) };
    let parts = BTreeMap::from([(PART.to_owned(), handle)]);
    let keyed = vec![KeyedState { format: KeyedFormat::Canonical, groups, parts }];
    let operators = BTreeMap::from([(operator, OperatorSnapshot { keyed, ..OperatorSnapshot::default() })]);
    let state = SubtaskSnapshot { operators, ..SubtaskSnapshot::default() };
    SubtaskRestore { subtask, checkpoint: CheckpointId(1), state }
}

/// A subtask that nobody runs.
fn planning(node: &Node, worker: WorkerContext) -> SubtaskContext {
    let id = SubtaskId { vertex: VertexId(0), index: 0 };
    let attempt = ExecutionAttempt::default();
    let (reports, _) = mpsc::channel(1);
    SubtaskContext {
        id,
        vertex_name: node.name.as_str().into(),
        parallelism: 1,
        max_parallelism: 1,
        attempt,
        handle: Arc::default(),
        io: Arc::default(),
        splits: SplitRequests::new(id, attempt, reports.clone()),
        mailbox: Arc::default(),
        backlog: Arc::default(),
        restored: Arc::default(),
        reports,
        worker,
    }
}

fn barrier() -> Barrier {
    Barrier {
        checkpoint: CheckpointId(1),
        kind: SnapshotKind::Savepoint,
        alignment: Alignment::Aligned,
        triggered_ms: 0,
        // Everything is few bytes, and those stay in the snapshot itself: nothing is written.
        directory: "file:///".to_owned(),
        shared_directory: "file:///".to_owned(),
    }
}
