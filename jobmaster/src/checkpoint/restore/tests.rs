use super::*;
use flumen_model::checkpoint::{KeyedFormat, KeyedState, SnapshotKind, StateHandle, StateLocation};
use flumen_model::job_graph::{JobEdge, OperatorInfo, RuntimeMode, SourceInfo};
use proptest::prelude::*;

const HEAD: VertexId = VertexId(1);
const TAIL: VertexId = VertexId(2);

fn handle(name: &str) -> StateHandle {
    let location = StateLocation::File { path: name.to_owned(), offset: 0, shared: false };
    StateHandle { location, length: 100, checksum: 0 }
}

/// A list of one-byte items.
fn list(name: &str, items: u64, redistribution: Redistribution) -> ListState {
    let ends = (1..=items).collect();
    ListState { redistribution, schema: String::new(), items: handle(name), start: 0, ends }
}

fn vertex(id: VertexId, parallelism: u32, operator: u128) -> JobVertex {
    JobVertex {
        id,
        name: format!("v{}", id.0),
        operators: vec![OperatorInfo {
            id: OperatorId(operator),
            name: format!("o{operator}"),
            uid: None,
            states: BTreeMap::new(),
        }],
        parallelism,
        max_parallelism: 16,
        source: (id == HEAD).then(|| SourceInfo { bounded: true, splits: vec![] }),
    }
}

fn graph(head: u32, tail: u32, partitioner: Partitioner) -> JobGraph {
    JobGraph {
        name: "j".into(),
        mode: RuntimeMode::Streaming,
        vertices: vec![vertex(HEAD, head, 10), vertex(TAIL, tail, 20)],
        edges: vec![JobEdge { source: HEAD, target: TAIL, partitioner, output: 0 }],
        outputs: vec![],
        properties: BTreeMap::new(),
    }
}

/// A checkpoint of a graph in which nobody has any state.
fn checkpoint(graph: &JobGraph) -> CompletedCheckpoint {
    let vertices = graph.vertices.iter().map(|vertex| VertexSnapshot {
        vertex: vertex.id,
        name: vertex.name.clone(),
        parallelism: vertex.parallelism,
        max_parallelism: vertex.max_parallelism,
        operators: vertex
            .operators
            .iter()
            .map(|o| OperatorDescription {
                id: o.id,
                name: o.name.clone(),
                uid: o.uid.clone(),
                states: BTreeMap::new(),
            })
            .collect(),
        subtasks: vec![SubtaskSnapshot::default(); vertex.parallelism as usize],
        source: None,
    });
    CompletedCheckpoint {
        life: None,
        id: CheckpointId(7),
        kind: SnapshotKind::Checkpoint,
        triggered_ms: 0,
        completed_ms: 0,
        directory: "/c/chk-7".into(),
        vertices: vertices.collect(),
    }
}

fn keyed(checkpoint: &mut CompletedCheckpoint) {
    let vertex = &mut checkpoint.vertices[1];
    let (parallelism, max) = (vertex.parallelism, vertex.max_parallelism);
    for (index, subtask) in (0..).zip(&mut vertex.subtasks) {
        let groups = KeyGroupRange::of_subtask(index, parallelism, max);
        let parts = BTreeMap::from([("state".to_owned(), handle(&format!("k{index}")))]);
        let piece = KeyedState { format: KeyedFormat::Canonical, groups, parts };
        subtask.operators.entry(OperatorId(20)).or_default().keyed.push(piece);
    }
}

fn lists(checkpoint: &mut CompletedCheckpoint, lengths: &[u64], redistribution: Redistribution) {
    for (index, (subtask, length)) in checkpoint.vertices[1].subtasks.iter_mut().zip(lengths).enumerate() {
        let list = list(&format!("l{index}"), *length, redistribution);
        subtask.operators.entry(OperatorId(20)).or_default().lists.insert("l".into(), vec![list]);
    }
}

/// The items of each new subtask: `<piece>:<byte>`.
fn items(assignment: &Assignment, parallelism: u32) -> Vec<Vec<String>> {
    let of = |index| {
        let state = assignment.subtasks[&SubtaskId { vertex: TAIL, index }].operators.get(&OperatorId(20));
        let pieces = state.and_then(|state| state.lists.get("l")).map_or(&[][..], Vec::as_slice);
        let mut items = Vec::new();
        for piece in pieces {
            let StateLocation::File { path, .. } = &piece.items.location else { panic!("a file") };
            let mut from = piece.start;
            for end in &piece.ends {
                assert_eq!(*end, from + 1, "items follow each other");
                items.push(format!("{path}:{from}"));
                from = *end;
            }
        }
        items
    };
    (0..parallelism).map(of).collect()
}

proptest! {
    #[test]
    fn every_key_group_is_found_by_its_owner(had in 1u32..8, has in 1u32..8) {
        let mut former = checkpoint(&graph(1, had, Partitioner::Hash));
        keyed(&mut former);
        let assignment = assign(&former, &graph(1, has, Partitioner::Hash), false).unwrap();
        for index in 0..has {
            let range = KeyGroupRange::of_subtask(index, has, 16);
            let state = assignment.subtasks[&SubtaskId { vertex: TAIL, index }].operators.get(&OperatorId(20));
            let pieces = state.map_or(&[][..], |state| state.keyed.as_slice());
            for group in range.groups() {
                prop_assert_eq!(pieces.iter().filter(|piece| piece.groups.contains(group)).count(), 1);
            }
            prop_assert!(pieces.iter().all(|piece| piece.groups.overlaps(range)));
        }
    }

    #[test]
    fn every_item_of_a_split_list_goes_to_one_subtask_and_all_get_about_as_many(
        lengths in proptest::collection::vec(0u64..7, 1..5),
        has in 1u32..6,
    ) {
        let had = lengths.len() as u32;
        let mut former = checkpoint(&graph(1, had, Partitioner::Hash));
        lists(&mut former, &lengths, Redistribution::Split);
        let assignment = assign(&former, &graph(1, has, Partitioner::Hash), false).unwrap();
        let items = items(&assignment, has);
        let mut all: Vec<String> = items.iter().flatten().cloned().collect();
        let expected = lengths.iter().enumerate().flat_map(|(i, n)| (0..*n).map(move |b| format!("l{i}:{b}")));
        let mut expected: Vec<String> = expected.collect();
        all.sort();
        expected.sort();
        prop_assert_eq!(all, expected);
        if had != has {
            let most = items.iter().map(Vec::len).max().unwrap();
            prop_assert!(items.iter().all(|of| of.len() + 1 >= most));
        }
    }
}

#[test]
fn a_slice_can_be_sliced_again() {
    let mut former = checkpoint(&graph(1, 1, Partitioner::Hash));
    lists(&mut former, &[6], Redistribution::Split);
    let two = assign(&former, &graph(1, 2, Partitioner::Hash), false).unwrap();
    let mut former = checkpoint(&graph(1, 2, Partitioner::Hash));
    for index in 0..2 {
        former.vertices[1].subtasks[index as usize] = two.subtasks[&SubtaskId { vertex: TAIL, index }].clone();
    }
    let three = assign(&former, &graph(1, 3, Partitioner::Hash), false).unwrap();
    assert_eq!(items(&three, 3), [["l0:0", "l0:1"], ["l0:2", "l0:3"], ["l0:4", "l0:5"]]);
}

#[test]
fn union_lists_go_to_all_and_broadcast_lists_to_each_once() {
    let mut former = checkpoint(&graph(1, 2, Partitioner::Hash));
    lists(&mut former, &[1, 2], Redistribution::Union);
    for has in [2, 3] {
        let union = assign(&former, &graph(1, has, Partitioner::Hash), false).unwrap();
        assert!(items(&union, has).iter().all(|items| *items == ["l0:0", "l1:0", "l1:1"]));
    }
    let mut former = checkpoint(&graph(1, 2, Partitioner::Hash));
    lists(&mut former, &[1, 1], Redistribution::Broadcast);
    let broadcast = assign(&former, &graph(1, 3, Partitioner::Hash), false).unwrap();
    assert_eq!(items(&broadcast, 3), [["l0:0"], ["l1:0"], ["l0:0"]]);
}

#[test]
fn another_number_of_key_groups_is_refused_by_the_operators_name_if_it_matters() {
    let mut former = checkpoint(&graph(1, 2, Partitioner::Hash));
    let mut graph = graph(1, 2, Partitioner::Hash);
    graph.vertices[1].max_parallelism = 32;
    assert!(assign(&former, &graph, false).is_ok(), "nothing is keyed");
    keyed(&mut former);
    let error = assign(&former, &graph, true).unwrap_err().to_string();
    assert!(error.contains("`o20`") && error.contains("of 16") && error.contains("of 32"), "{error}");
}

#[test]
fn state_that_nobody_claims_is_refused_by_name_or_left_behind() {
    let mut former = checkpoint(&graph(1, 1, Partitioner::Hash));
    keyed(&mut former);
    let mut other = graph(1, 1, Partitioner::Hash);
    other.vertices[1].operators[0].id = OperatorId(21);
    let error = assign(&former, &other, false).unwrap_err().to_string();
    assert!(error.contains("`o20` (id 00000000000000000000000000000014, no uid)"), "{error}");
    assert!(error.contains("ignore-unclaimed-state"), "{error}");
    let assignment = assign(&former, &other, true).unwrap();
    assert!(assignment.subtasks.values().all(|state| state.operators.is_empty()));
    former.vertices[1].operators[0].uid = Some("mine".into());
    assert!(assign(&former, &other, false).unwrap_err().to_string().contains("uid `mine`"));
}

#[test]
fn an_operator_is_found_in_whichever_chain_it_is_now() {
    let mut former = checkpoint(&graph(1, 1, Partitioner::Hash));
    keyed(&mut former);
    former.vertices[0].source = Some(SourceProgress { remaining: vec!["x".into()], handed_out: 3 });
    let mut chained = graph(1, 1, Partitioner::Hash);
    let tail = chained.vertices.pop().unwrap();
    chained.vertices[0].operators.extend(tail.operators);
    chained.vertices[0].id = VertexId(9);
    chained.edges.clear();
    let assignment = assign(&former, &chained, false).unwrap();
    assert!(assignment.subtasks[&SubtaskId { vertex: VertexId(9), index: 0 }].operators.contains_key(&OperatorId(20)));
    assert_eq!(assignment.sources[&VertexId(9)].handed_out, 3);
}

fn with_flight(graph: &JobGraph, source: u32, target: u32) -> CompletedCheckpoint {
    let mut former = checkpoint(graph);
    let flight = InFlight { edge: 0, source, target, timed: false, records: handle("f") };
    former.vertices[1].subtasks[target as usize].in_flight.push(flight);
    former
}

#[test]
fn what_a_receiver_had_is_sent_again_before_what_its_sender_still_held() {
    for has in [2, 3] {
        let had = graph(1, 2, Partitioner::Hash);
        let mut former = with_flight(&had, 0, 1);
        let held = InFlight { edge: 0, source: 0, target: 1, timed: false, records: handle("held") };
        former.vertices[0].subtasks[0].in_flight.push(held);
        let assignment = assign(&former, &graph(1, has, Partitioner::Hash), false).unwrap();
        let sent = &assignment.subtasks[&SubtaskId { vertex: HEAD, index: 0 }].in_flight;
        assert_eq!(sent.iter().map(|flight| &flight.records).collect::<Vec<_>>(), [&handle("f"), &handle("held")]);
    }
}

#[test]
fn records_in_flight_go_to_a_sender_and_are_routed_again_where_receivers_have_changed() {
    use Partitioner::{Broadcast, Forward, Hash, Rebalance, Shuffle};
    let ways = |assignment: &Assignment| -> Vec<(u32, u32)> {
        let senders = assignment.subtasks.iter().filter(|(id, _)| id.vertex == HEAD);
        senders.flat_map(|(id, s)| s.in_flight.iter().map(|f| (id.index, f.target))).collect()
    };
    for partitioner in [Hash, Rebalance, Shuffle] {
        let former = with_flight(&graph(3, 2, partitioner), 2, 1);
        let same = assign(&former, &graph(3, 2, partitioner), false).unwrap();
        assert_eq!(ways(&same), [(2, 1)]);
        let fewer_senders = assign(&former, &graph(2, 2, partitioner), false).unwrap();
        assert_eq!(ways(&fewer_senders), [(0, 1)]);
        let more_receivers = assign(&former, &graph(3, 4, partitioner), false).unwrap();
        assert_eq!(ways(&more_receivers), [(2, InFlight::ROUTE_AGAIN)]);
    }
    for partitioner in [Forward, Broadcast] {
        let former = with_flight(&graph(2, 2, partitioner), 1, 1);
        assert_eq!(ways(&assign(&former, &graph(2, 2, partitioner), false).unwrap()), [(1, 1)]);
        let error = assign(&former, &graph(3, 3, partitioner), false).unwrap_err().to_string();
        assert!(error.contains("`v2`") && error.contains("savepoint"), "{error}");
    }
    let mut other = graph(2, 2, Hash);
    other.edges.clear();
    assert!(assign(&with_flight(&graph(2, 2, Hash), 1, 1), &other, false).is_err());
}
