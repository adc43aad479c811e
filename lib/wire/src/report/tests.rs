use flumen_model::checkpoint::{Alignment, SnapshotKind, SnapshotTimes, SubtaskRestore, SubtaskSnapshot};
use flumen_model::failure::Blame;
use flumen_model::ids::VertexId;
use flumen_model::job_graph::{JobGraph, RuntimeMode};

use super::*;
use crate::application::Program;
use crate::control::VertexPlacement;

const SOURCE: VertexId = VertexId(1);
const SINK: VertexId = VertexId(2);

fn id(vertex: VertexId, index: u32) -> SubtaskId {
    SubtaskId { vertex, index }
}

fn address() -> WorkerAddress {
    WorkerAddress { host: "h".into(), port: 7, socket: None }
}

/// Subtask 0 of the source and subtask 1 of the sink are here.
fn deploy(attempt: u32, restored: Option<u64>) -> ToWorker {
    let place = |vertex, here| VertexPlacement { vertex, worker_of: (0..2).map(|i| u32::from(i != here)).collect() };
    let restore = |checkpoint| SubtaskRestore {
        subtask: id(SOURCE, 0),
        checkpoint: CheckpointId(checkpoint),
        state: SubtaskSnapshot::default(),
    };
    ToWorker::Deploy(Deployment {
        region: 3,
        attempt: ExecutionAttempt(attempt),
        workers: vec![address(), address()],
        me: 0,
        placement: vec![place(SOURCE, 0), place(SINK, 1)],
        restore: restored.map(restore).into_iter().collect(),
    })
}

fn new() -> WorkerReport {
    let graph = JobGraph {
        name: "j".into(),
        mode: RuntimeMode::Streaming,
        vertices: vec![],
        edges: vec![],
        outputs: vec![],
        properties: BTreeMap::new(),
    };
    let program = Program::localized("p");
    let (arguments, configuration) = (vec![], Default::default());
    WorkerReport::starting(&StartWorker {
        job: JobId(1),
        instance: 4,
        program,
        arguments,
        graph,
        configuration,
        slots: 2,
    })
}

/// Started in execution 5, restored from checkpoint 9.
fn running() -> WorkerReport {
    let mut report = new();
    report.said(&FromWorker::Ready { address: address(), pid: 42 });
    report.told(&deploy(5, Some(9)));
    report.told(&ToWorker::Start { region: 3, attempt: ExecutionAttempt(5) });
    for subtask in [id(SOURCE, 0), id(SINK, 1)] {
        report.said(&state(5, subtask, ExecutionState::Running));
    }
    report
}

fn state(attempt: u32, subtask: SubtaskId, state: ExecutionState) -> FromWorker {
    let io = SubtaskIo { records_in: 3, ..SubtaskIo::default() };
    FromWorker::State { attempt: ExecutionAttempt(attempt), subtask, state, failure: None, io }
}

fn trigger(attempt: u32, checkpoint: u64, kind: SnapshotKind) -> ToWorker {
    let barrier = Barrier {
        checkpoint: CheckpointId(checkpoint),
        kind,
        alignment: Alignment::Aligned,
        triggered_ms: 0,
        directory: format!("/c/chk-{checkpoint}"),
        shared_directory: "/c/shared".into(),
    };
    ToWorker::TriggerCheckpoint { attempt: ExecutionAttempt(attempt), subtasks: vec![id(SOURCE, 0)], barrier }
}

fn ack(subtask: SubtaskId, checkpoint: u64) -> FromWorker {
    FromWorker::CheckpointAck {
        attempt: ExecutionAttempt(5),
        subtask,
        checkpoint: CheckpointId(checkpoint),
        snapshot: Box::default(),
        times: SnapshotTimes::default(),
    }
}

fn split(split: &str) -> ToWorker {
    ToWorker::Split { attempt: ExecutionAttempt(5), subtask: id(SOURCE, 0), split: Some(split.to_owned()) }
}

fn request() -> FromWorker {
    FromWorker::RequestSplit { attempt: ExecutionAttempt(5), subtask: id(SOURCE, 0) }
}

fn splits(report: &WorkerReport) -> String {
    report.splits().map(|given| given.split.as_str()).collect()
}

fn open(report: &WorkerReport) -> Vec<u64> {
    report.regions[0].open.iter().map(|barrier| barrier.checkpoint.0).collect()
}

#[test]
fn a_deployment_names_the_subtasks_that_are_here_and_holds_no_state() {
    let report = running();
    let [region] = &report.regions[..] else { panic!("{report:?}") };
    let subtasks: Vec<_> = region.subtasks.iter().map(|subtask| (subtask.subtask, subtask.state)).collect();
    assert_eq!(subtasks, [(id(SOURCE, 0), ExecutionState::Running), (id(SINK, 1), ExecutionState::Running)]);
    assert_eq!((region.started, region.cancelled, region.restored), (true, false, Some(CheckpointId(9))));
    assert!(region.deployment.restore.is_empty());
    assert_eq!((report.address.as_ref(), report.pid), (Some(&address()), Some(42)));
    assert_eq!(region.subtasks[0].io.records_in, 3);
    assert_eq!((report.greatest_attempt, report.greatest_checkpoint), (ExecutionAttempt(5), CheckpointId(9)));
}

#[test]
fn a_later_execution_replaces_the_former_one_and_an_older_message_changes_nothing() {
    let mut report = running();
    report.told(&deploy(5, None));
    assert!(report.regions[0].started, "the same deployment again");
    report.told(&ToWorker::Cancel { region: 3, attempt: ExecutionAttempt(4) });
    assert!(!report.regions[0].cancelled);
    report.told(&deploy(6, None));
    let before = report.clone();
    report.told(&ToWorker::Start { region: 3, attempt: ExecutionAttempt(5) });
    report.said(&state(5, id(SOURCE, 0), ExecutionState::Finished));
    report.said(&request());
    report.told(&split("late"));
    assert_eq!(report, before);
    report.told(&ToWorker::Cancel { region: 3, attempt: ExecutionAttempt(7) });
    assert!(report.regions[0].cancelled);
    assert_eq!(report.greatest_attempt, ExecutionAttempt(7));
}

#[test]
fn splits_are_kept_from_the_trigger_of_the_newest_complete_checkpoint_on() {
    let mut report = running();
    report.told(&split("a"));
    report.told(&trigger(5, 10, SnapshotKind::Checkpoint));
    report.told(&split("b"));
    report.told(&trigger(5, 11, SnapshotKind::Checkpoint));
    report.told(&split("c"));
    assert_eq!(splits(&report), "abc");
    let after: Vec<_> = report.splits().map(|given| given.after.map(|id| id.0)).collect();
    assert_eq!(after, [Some(9), Some(10), Some(11)]);
    report.told(&ToWorker::CheckpointCompleted { attempt: ExecutionAttempt(5), checkpoint: CheckpointId(10) });
    assert_eq!(splits(&report), "bc");
}

#[test]
fn a_request_is_open_until_its_answer_was_handed_on() {
    let mut report = running();
    let wants = |report: &WorkerReport| report.regions[0].subtasks[0].wants_split;
    assert!(!wants(&report));
    report.said(&request());
    assert!(wants(&report));
    report.told(&split("a"));
    assert!(!wants(&report));
    report.said(&request());
    report.told(&ToWorker::Split { attempt: ExecutionAttempt(5), subtask: id(SOURCE, 0), split: None });
    assert!(!wants(&report));
    assert_eq!(splits(&report), "a");
}

#[test]
fn checkpoints_are_open_until_something_is_heard_of_them() {
    let mut report = running();
    for checkpoint in 10..14 {
        report.told(&trigger(5, checkpoint, SnapshotKind::Checkpoint));
    }
    report.told(&trigger(4, 20, SnapshotKind::Checkpoint));
    assert_eq!(open(&report), [10, 11, 12, 13]);
    report.told(&ToWorker::CheckpointAborted { attempt: ExecutionAttempt(5), checkpoint: CheckpointId(11) });
    report.told(&ToWorker::CheckpointCompleted { attempt: ExecutionAttempt(5), checkpoint: CheckpointId(12) });
    assert_eq!(open(&report), [10, 13]);
    assert_eq!(report.regions[0].completed, Some(CheckpointId(12)));
    assert_eq!(report.greatest_checkpoint, CheckpointId(20), "also of another execution");
    for savepoint in 30..130 {
        report.told(&trigger(5, savepoint, SnapshotKind::Savepoint));
    }
    assert_eq!((open(&report).len(), open(&report).last()), (OPEN_MAX, Some(&129)));
}

#[test]
fn confirmations_are_kept_unless_the_checkpoint_was_given_up_or_is_old() {
    let mut report = running();
    for checkpoint in [12, 10, 11, 12] {
        report.said(&ack(id(SINK, 1), checkpoint));
    }
    let acks =
        |report: &WorkerReport| report.regions[0].subtasks[1].acknowledged.iter().map(|id| id.0).collect::<Vec<_>>();
    assert_eq!(acks(&report), [10, 11, 12]);
    report.told(&ToWorker::CheckpointAborted { attempt: ExecutionAttempt(5), checkpoint: CheckpointId(12) });
    report.told(&ToWorker::CheckpointCompleted { attempt: ExecutionAttempt(5), checkpoint: CheckpointId(11) });
    assert_eq!(acks(&report), [11]);
    for checkpoint in 100..300 {
        report.said(&ack(id(SINK, 1), checkpoint));
    }
    assert_eq!(acks(&report).len(), ACKNOWLEDGED_MAX);
}

#[test]
fn ends_failures_and_watermarks_are_known() {
    let mut report = running();
    let attempt = ExecutionAttempt(5);
    report.said(&FromWorker::EndOfData { attempt, subtask: id(SOURCE, 0) });
    let watermark =
        |watermark| FromWorker::GroupWatermark { attempt, subtask: id(SOURCE, 0), group: "g".into(), watermark };
    report.said(&watermark(Some(5)));
    report.said(&watermark(Some(8)));
    report.told(&ToWorker::Drain { attempt, subtasks: vec![id(SOURCE, 0)] });
    report.said(&state(5, id(SOURCE, 0), ExecutionState::Finished));
    report.said(&state(5, id(SOURCE, 0), ExecutionState::Failed));
    let checkpoint = CheckpointId(9);
    let failure = Failure::new(Blame::Outside, "torn");
    report.said(&FromWorker::RestoreFailed { attempt, subtask: id(SINK, 1), checkpoint, failure: failure.clone() });
    let [source, sink] = &report.regions[0].subtasks[..] else { panic!("{report:?}") };
    assert!(source.end_of_data && !sink.end_of_data && report.regions[0].drained);
    assert_eq!(source.watermarks["g"], Some(8));
    assert_eq!((source.state, sink.state), (ExecutionState::Finished, ExecutionState::Failed));
    assert_eq!(sink.failure.as_ref(), Some(&failure));
    report.exited(&failure);
    report.exited(&Failure::new(Blame::Outside, "later"));
    assert_eq!(report.exited, Some(failure));
}

#[test]
fn too_many_splits_are_not_held_and_the_report_says_so() {
    let mut report = running();
    let large = "x".repeat(1 << 20);
    for _ in 0..SPLIT_BYTES_MAX >> 20 {
        assert!(report.whole);
        report.told(&split(&large));
    }
    assert!(!report.whole && splits(&report).is_empty());
    report.told(&split("a"));
    assert!(splits(&report).is_empty());
    let outline = running().outline();
    assert!(!outline.whole && outline.regions.is_empty() && outline.instance == 4);
}

#[test]
fn a_report_is_read_back_as_it_was() {
    let mut report = running();
    report.told(&trigger(5, 10, SnapshotKind::Checkpoint));
    report.said(&ack(id(SOURCE, 0), 10));
    report.said(&request());
    report.told(&split("a"));
    report.split_bytes = 0;
    let text = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<WorkerReport>(&text).unwrap(), report, "{text}");
    assert!(!text.contains("split_bytes"));
}
