//! Which states the operators of a program have, found out before it runs: each operator that may have keyed state is made
//! once, with state in memory, and asked for a snapshot, which says what is in it. Made over each state of an earlier
//! snapshot (keyed state, and lists, union lists and broadcast maps of operators), without its contents, it says whether
//! it can read it.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use flumen_model::checkpoint::{
    Alignment, Barrier, CheckpointId, CompletedCheckpoint, KeyGroupRange, KeyedFormat, KeyedState, ListState,
    OperatorSnapshot, Redistribution, SnapshotKind, StateHandle, StateLocation, SubtaskRestore, SubtaskSnapshot,
};
use flumen_model::ids::{ExecutionAttempt, OperatorId, SubtaskId, VertexId};
use flumen_model::job_graph::{JobGraph, RuntimeMode};
use flumen_state::canonical::{PART, Reader, Writer};
use flumen_state::{BackendKind, BackendOptions, PartsInMemory, StateMeta};
use flumen_worker::checkpoint::Snapshot;
use flumen_worker::operator::{TaskError, TaskResult};
use flumen_worker::restore::Restored;
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
        let lists = from.map_or_else(Vec::new, |from| lists_of(from, *id));
        let asked = match node.keeps {
            Keeps::KeyedState => true,
            // Without a snapshot nothing is to be found out about them.
            Keeps::OperatorState | Keeps::MaybeOperatorState => !lists.is_empty(),
            Keeps::List(name, reads) => {
                let unreadable =
                    lists.iter().filter(|list| list.0 == name).filter_map(|list| reads(name, &list.2).err());
                problems.extend(unreadable.map(|incompatible| format!("`{}`: {incompatible}", node.name)));
                false
            }
            Keeps::Nothing | Keeps::Watermarks | Keeps::State => false,
        };
        if !asked {
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
        let keyed = former.get(id).copied().into_iter().flatten();
        let former = keyed.map(|(name, written)| Former::Keyed(States::from([(name.clone(), written.clone())])));
        for former in former.chain(lists.into_iter().map(Former::List)) {
            // That the made-up row can't be read says nothing: the types have been compared by then.
            if let Err(TaskError::Failed { message, .. }) = opened(node, *id, &worker, graph.mode, Some(former)) {
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

/// A state of an earlier snapshot.
enum Former {
    Keyed(States),
    List(FormerList),
}

/// A list of an operator: name, how it is redistributed, schema.
type FormerList = (String, Redistribution, String);

/// The lists of an operator that say what their items are.
fn lists_of(from: &CompletedCheckpoint, operator: OperatorId) -> Vec<FormerList> {
    let subtasks = from.vertices.iter().flat_map(|vertex| &vertex.subtasks);
    let states = subtasks.filter_map(|subtask| subtask.operators.get(&operator)).flat_map(|state| &state.lists);
    let mut known = Vec::new();
    for (name, list) in states.flat_map(|(name, lists)| lists.iter().map(move |list| (name, list))) {
        let list = (name.clone(), list.redistribution, list.schema.clone());
        if !list.2.is_empty() && !known.contains(&list) {
            known.push(list);
        }
    }
    known
}

/// Makes the operator of a node, over former states if there are any, and looks at its states.
fn opened(
    node: &Node,
    operator: OperatorId,
    worker: &WorkerContext,
    mode: RuntimeMode,
    former: Option<Former>,
) -> TaskResult<States> {
    let Work::Operator { records, make } = &node.work else { return Ok(States::new()) };
    let mut context = planning(node, worker.clone());
    if let Some(former) = former {
        let former = match former {
            Former::Keyed(states) => keyed_rows(context.max_parallelism, &states),
            Former::List(list) => empty_list(list),
        };
        let operators = BTreeMap::from([(operator, former)]);
        let state = SubtaskSnapshot { operators, ..SubtaskSnapshot::default() };
        let restore = SubtaskRestore { subtask: context.id, checkpoint: CheckpointId(1), state };
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
fn keyed_rows(max_parallelism: u32, former: &States) -> OperatorSnapshot {
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
    OperatorSnapshot { keyed, ..OperatorSnapshot::default() }
}

/// A former list to begin with, without items.
fn empty_list((name, redistribution, schema): FormerList) -> OperatorSnapshot {
    let items = StateHandle { location: StateLocation::Inline(Vec::new()), length: 0, checksum: 0 };
    let list = ListState { redistribution, schema, items, start: 0, ends: Vec::new() };
    OperatorSnapshot { lists: BTreeMap::from([(name, vec![list])]), ..OperatorSnapshot::default() }
}

/// A subtask that nobody runs.
fn planning(node: &Node, worker: WorkerContext) -> SubtaskContext {
    let id = SubtaskId { vertex: VertexId(0), index: 0 };
    let attempt = ExecutionAttempt::default();
    let (reports, _) = mpsc::channel(1);
    SubtaskContext { vertex_name: node.name.as_str().into(), ..SubtaskContext::new(id, attempt, 1, reports, worker) }
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
