//! Checkpoints and savepoints as a client sees them.

use flumen_jobmaster::{
    CheckpointCounts, CheckpointEntry, CheckpointStatistics, CheckpointStatus, RestoredCheckpoint, Settings,
    SnapshotTaken, SubtaskCheckpoint, VertexCheckpoint,
};
use flumen_model::checkpoint::{CheckpointId, SnapshotKind, SnapshotTimes};
use flumen_model::job_graph::JobGraph;

use super::*;
use crate::dispatcher::{OperationKind, OperationState, TriggerId};

/// One completed, one that failed, one savepoint, one under way.
pub(super) fn statistics(mode: RuntimeMode) -> CheckpointStatistics {
    let mut conf = Configuration::new();
    conf.set("execution.checkpointing.interval", "1 s");
    conf.set("state.checkpoints.dir", "hdfs://nn/cp");
    let graph = JobGraph {
        name: "j".into(),
        mode,
        vertices: vec![],
        edges: vec![],
        outputs: vec![],
        properties: Default::default(),
    };
    let settings = Settings::read(&conf, &graph).unwrap().checkpoints;
    let subtask = |sync_ms| SubtaskCheckpoint {
        acknowledged: Timestamp(1020 + sync_ms),
        end_to_end_ms: 20 + sync_ms,
        state_bytes: 100,
        times: SnapshotTimes {
            start_delay_ms: 1,
            alignment_ms: 2,
            sync_ms,
            async_ms: 4,
            written_bytes: 60,
            unaligned: false,
        },
    };
    let completed = CheckpointEntry {
        id: CheckpointId(1),
        kind: SnapshotKind::Checkpoint,
        status: CheckpointStatus::Completed,
        triggered: Timestamp(1000),
        latest_ack: Some(Timestamp(1030)),
        end: Some(Timestamp(1040)),
        directory: "hdfs://nn/cp/j/chk-1".into(),
        discarded: true,
        state_bytes: 200,
        written_bytes: 120,
        vertices: vec![VertexCheckpoint { vertex: VertexId(2), subtasks: vec![Some(subtask(3)), Some(subtask(10))] }],
    };
    let half = vec![VertexCheckpoint { vertex: VertexId(2), subtasks: vec![Some(subtask(3)), None] }];
    let failure = Failure::new(Blame::Outside, "disk full").on(&ExecutorId("c2".into()));
    let failed = CheckpointEntry {
        id: CheckpointId(2),
        status: CheckpointStatus::Failed(failure),
        vertices: half.clone(),
        ..completed.clone()
    };
    let savepoint = CheckpointEntry {
        id: CheckpointId(3),
        kind: SnapshotKind::Savepoint,
        discarded: false,
        directory: "hdfs://nn/sp/savepoint-1".into(),
        ..completed.clone()
    };
    let going_on = CheckpointEntry {
        id: CheckpointId(4),
        status: CheckpointStatus::InProgress,
        latest_ack: None,
        end: None,
        vertices: half,
        ..completed.clone()
    };
    CheckpointStatistics {
        settings,
        directory: Some("hdfs://nn/cp/j".into()),
        counts: CheckpointCounts { restored: 1, total: 4, in_progress: 1, completed: 2, failed: 1 },
        latest_completed: Some(completed.clone()),
        latest_savepoint: Some(savepoint.clone()),
        latest_failed: Some(failed.clone()),
        latest_restored: Some(RestoredCheckpoint {
            id: CheckpointId(1),
            kind: SnapshotKind::Checkpoint,
            at: Timestamp(1500),
            directory: "hdfs://nn/cp/j/chk-1".into(),
        }),
        history: vec![going_on, savepoint, failed, completed],
    }
}

/// Number 1 is under way, 2 was taken, 3 failed, 4 is a removal.
pub(super) fn operation(trigger: TriggerId, kind: OperationKind) -> Option<OperationState> {
    let taken = SnapshotTaken { checkpoint: CheckpointId(7), directory: "hdfs://nn/sp/savepoint-1".into() };
    match (trigger.0, kind) {
        (1, _) => Some(OperationState::InProgress),
        (2, OperationKind::Checkpoint | OperationKind::Savepoint) => Some(OperationState::Taken(taken)),
        (3, _) => Some(OperationState::Failed(Failure::new(Blame::Outside, "disk full"))),
        (4, OperationKind::Disposal) => Some(OperationState::Disposed),
        _ => None,
    }
}

fn streaming() -> JobDetails {
    JobDetails { mode: RuntimeMode::Streaming, ..job() }
}

fn allowed() -> String {
    format!("Authorization: Bearer {TOKEN}\r\n")
}

#[tokio::test]
async fn figures_of_checkpoints_have_flinks_shape() {
    let server = server(streaming(), None).await;
    for (name, path) in [
        ("checkpoints", String::new()),
        ("checkpoint-config", "/config".into()),
        ("checkpoint", "/details/1".into()),
        ("checkpoint-subtasks", "/details/4/subtasks/00000000000000000000000000000002".into()),
    ] {
        for path in [format!("/jobs/{JOB}/checkpoints{path}"), format!("/v1/jobs/{JOB}/checkpoints{path}")] {
            let answer = server.get(&path).await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.body);
            let answer = answer.json();
            assert_eq!(answer, golden(name, &answer), "{path} gives {answer:#}");
        }
    }
}

#[tokio::test]
async fn what_is_asked_for_is_taken_and_has_a_number() {
    let server = &mut server(streaming(), None).await;
    let savepoint = |target: &str| SnapshotWish::Savepoint { target: Some(target.into()) };
    for (path, body, wish, then_cancel) in [
        ("savepoints", r#"{"target-directory": "hdfs://nn/sp", "cancel-job": true}"#, savepoint("hdfs://nn/sp"), true),
        ("savepoints", r#"{"target-directory": "/sp", "formatType": "CANONICAL"}"#, savepoint("file:///sp"), false),
        ("savepoints", r#"{"target-directory": "/sp", "formatType": "NATIVE"}"#, savepoint("file:///sp"), false),
        ("checkpoints", "", SnapshotWish::Checkpoint { full: false }, false),
        ("checkpoints", r#"{"checkpointType": "INCREMENTAL"}"#, SnapshotWish::Checkpoint { full: false }, false),
        ("stop", r#"{"drain": true}"#, SnapshotWish::Stop { target: None, drain: true }, false),
        (
            "stop",
            r#"{"targetDirectory": "file:/a"}"#,
            SnapshotWish::Stop { target: Some("file:///a".into()), drain: false },
            false,
        ),
    ] {
        let path = format!("/jobs/{JOB}/{path}");
        let refused = server.send("POST", &path, "", body).await;
        assert_eq!(refused.status, 401, "{path}");
        assert!(server.told.try_recv().is_err(), "{path} was carried out without the token");
        let answer = server.send("POST", &path, &allowed(), body).await;
        assert_eq!(answer.status, 202, "{path} {body}: {}", answer.body);
        let trigger: TriggerId = answer.json()["request-id"].as_str().unwrap().parse().unwrap();
        let order = SnapshotOrder { job: JobId(0xab), trigger, wish, then_cancel };
        assert_eq!(server.told.try_recv(), Ok(Told::Snapshot(order)));
    }
    let own = r#"{"triggerId": "000000000000000000000000000000ff"}"#;
    let answer = server.send("POST", &format!("/jobs/{JOB}/checkpoints"), &allowed(), own).await;
    assert_eq!(answer.json()["request-id"], "000000000000000000000000000000ff");
}

#[tokio::test]
async fn a_savepoint_is_disposed_of_without_a_job() {
    let server = &mut server(streaming(), None).await;
    let body = r#"{"savepoint-path": "hdfs://nn/sp/savepoint-1"}"#;
    assert_eq!(server.send("POST", "/savepoint-disposal", "", body).await.status, 401);
    let answer = server.send("POST", "/savepoint-disposal", &allowed(), body).await;
    assert_eq!((answer.status, answer.json()["request-id"].as_str().unwrap().len()), (200, 32));
    assert_eq!(server.told.try_recv(), Ok(Told::Dispose("hdfs://nn/sp/savepoint-1".into())));
}

#[tokio::test]
async fn an_operation_tells_how_far_it_is() {
    let server = server(streaming(), None).await;
    let id = |number: u128| format!("{number:032x}");
    let done = |operation: Value| json!({"status": {"id": "COMPLETED"}, "operation": operation});
    let going_on = json!({"status": {"id": "IN_PROGRESS"}, "operation": null});
    let failed = server.get(&format!("/jobs/{JOB}/savepoints/{}", id(3))).await.json();
    // The head of every stream of Java's serialisation: Flink's clients read the cause from there.
    let serialized = failed["operation"]["failure-cause"]["serialized-throwable"].as_str().unwrap();
    assert!(serialized.starts_with("rO0AB"), "{serialized}");
    let cause = json!({"class": "flumen.Failure", "stack-trace": "disk full", "serialized-throwable": serialized});
    for (path, expected) in [
        (format!("/jobs/{JOB}/savepoints/{}", id(1)), going_on.clone()),
        (format!("/jobs/{JOB}/checkpoints/{}", id(1)), going_on),
        (format!("/jobs/{JOB}/savepoints/{}", id(2)), done(json!({"location": "hdfs://nn/sp/savepoint-1"}))),
        (format!("/jobs/{JOB}/checkpoints/{}", id(2)), done(json!({"checkpointId": 7}))),
        (format!("/jobs/{JOB}/savepoints/{}", id(3)), done(json!({"failure-cause": cause}))),
        (format!("/jobs/{JOB}/checkpoints/{}", id(3)), done(json!({"failureCause": cause}))),
        (format!("/savepoint-disposal/{}", id(4)), done(json!({}))),
        (format!("/v1/savepoint-disposal/{}", id(3)), done(json!({"failure-cause": cause}))),
    ] {
        assert_eq!(server.get(&path).await.json(), expected, "{path}");
    }
}

#[tokio::test]
async fn mistakes_are_answered_in_flinks_form() {
    let server = server(streaming(), None).await;
    let unknown = "000000000000000000000000000000ff";
    for (method, path, body, status, text) in [
        ("GET", format!("/jobs/{unknown}/checkpoints"), "", 404, "not found"),
        ("GET", format!("/jobs/{JOB}/checkpoints/details/9"), "", 404, "checkpoint 9"),
        ("GET", format!("/jobs/{JOB}/checkpoints/details/x"), "", 400, "checkpointid"),
        ("GET", format!("/jobs/{JOB}/checkpoints/details/1/subtasks/{unknown}"), "", 404, "Vertex"),
        ("GET", format!("/jobs/{JOB}/savepoints/x"), "", 400, "triggerid"),
        ("GET", format!("/jobs/{JOB}/savepoints/{unknown}"), "", 404, unknown),
        ("GET", format!("/jobs/{unknown}/savepoints/{:032x}", 2), "", 404, "not found"),
        ("GET", format!("/savepoint-disposal/{:032x}", 2), "", 404, "savepoint disposal"),
        ("POST", format!("/jobs/{unknown}/stop"), "", 404, "not found"),
        ("POST", format!("/jobs/{JOB}/savepoints"), "", 400, "state.savepoints.dir"),
        ("POST", format!("/jobs/{JOB}/savepoints"), r#"{"target-directory": "x://y"}"#, 202, ""),
        ("POST", format!("/jobs/{JOB}/savepoints"), r#"{"target-directory": ""}"#, 400, "directory"),
        ("POST", format!("/jobs/{JOB}/savepoints"), r#"{"formatType": "BINARY"}"#, 400, "CANONICAL and NATIVE"),
        ("POST", format!("/jobs/{JOB}/savepoints"), r#"{"triggerId": "1"}"#, 400, "trigger id"),
        ("POST", format!("/jobs/{JOB}/checkpoints"), r#"{"checkpointType": "HALF"}"#, 400, "HALF"),
        ("POST", format!("/jobs/{JOB}/checkpoints"), r#"{"checkpointType": "FULL"}"#, 429, "Too many"),
        ("POST", "/savepoint-disposal".into(), "", 400, "savepoint-path"),
    ] {
        let answer = server.send(method, &path, &allowed(), body).await;
        assert_eq!(answer.status, status, "{method} {path} {body}: {}", answer.body);
        if status != 202 {
            assert!(answer.errors().contains(text), "{method} {path}: {}", answer.body);
        }
    }
    let over = super::server(JobDetails { status: JobStatus::Finished, ..streaming() }, None).await;
    assert_eq!(over.send("POST", &format!("/jobs/{JOB}/stop"), &allowed(), "").await.status, 409);
    let batch = super::server(JobDetails { mode: RuntimeMode::Batch, ..job() }, None).await;
    let answer = batch.get(&format!("/jobs/{JOB}/checkpoints")).await;
    assert_eq!((answer.status, answer.errors().contains("not been enabled")), (404, true));
}
