//! What a subtask does when it can't read what it is to start from: a damaged checkpoint is told from a file system that
//! does not answer. And values that an older form of a type has written.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use flumen_fs::{FileSystems, FsOptions};
use flumen_model::checkpoint::{
    Alignment, Barrier, CheckpointId, OperatorSnapshot, Redistribution, SnapshotKind, StateLocation, SubtaskRestore,
    SubtaskSnapshot,
};
use flumen_model::failure::Blame;
use flumen_model::ids::{ExecutionAttempt, OperatorId, SubtaskId, VertexId};
use flumen_state::ValueStateDescriptor;
use flumen_worker::checkpoint::Snapshot;
use flumen_worker::exchange::codec;
use flumen_worker::keyed_state::StateSettings;
use flumen_worker::operator::{TaskError, TaskResult};
use flumen_worker::restore::Restored;
use flumen_worker::subtask::{SubtaskContext, SubtaskHandle, WorkerContext};
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

const OPERATOR: OperatorId = OperatorId(2);

fn context(runtime: &Runtime) -> SubtaskContext {
    let id = SubtaskId { vertex: VertexId(1), index: 0 };
    let handle = Arc::new(SubtaskHandle::default());
    handle.attach_current_thread();
    // A file system that is not there is given up at once.
    let options = FsOptions {
        call_timeout: Duration::from_millis(200),
        retry_budget: Duration::from_millis(200),
        user: Some("tester".to_owned()),
        ..FsOptions::default()
    };
    let worker = WorkerContext {
        checkpointing: true,
        ..WorkerContext::new(FileSystems::new(options).unwrap(), runtime.handle().clone())
    };
    let (reports, _) = mpsc::channel(1);
    SubtaskContext { handle, max_parallelism: 16, ..SubtaskContext::new(id, ExecutionAttempt(0), 1, reports, worker) }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// An empty snapshot in that directory.
fn begun(directory: &Path) -> Snapshot {
    let place = format!("file://{}", directory.display());
    Snapshot::new(Barrier {
        checkpoint: CheckpointId(1),
        kind: SnapshotKind::Savepoint,
        alignment: Alignment::Aligned,
        triggered_ms: 0,
        directory: place.clone(),
        shared_directory: place,
    })
}

/// Begins to write a snapshot; when that is done, gives what was written of the operator.
fn write(context: &SubtaskContext, snapshot: Snapshot) -> impl FnOnce() -> OperatorSnapshot + use<> {
    let (writer, context) = (context.clone(), context.clone());
    let runtime = context.worker.runtime.clone();
    let written = context.worker.runtime.spawn_blocking(move || runtime.block_on(snapshot.write(&writer)));
    move || {
        let mut written = context.block_on(written).unwrap().unwrap().unwrap();
        written.operators.remove(&OPERATOR).unwrap()
    }
}

/// A checkpoint in files of a hundred keys.
fn taken(context: &SubtaskContext, directory: &Path) -> OperatorSnapshot {
    let mut keyed = context.open_keyed::<u64>(OPERATOR).unwrap();
    let state = keyed.value(ValueStateDescriptor::<u64>::new("sum")).unwrap();
    for key in 0..100 {
        keyed.set_current_key(&key);
        state.set(key * 10).unwrap();
    }
    let mut snapshot = begun(directory);
    snapshot.keyed(OPERATOR, keyed.snapshot(SnapshotKind::Savepoint).unwrap());
    let written = write(context, snapshot);
    keyed.finish_snapshots();
    written()
}

/// The same with another path for every file.
fn moved(snapshot: &OperatorSnapshot, to: impl Fn(&str) -> String) -> OperatorSnapshot {
    let mut snapshot = snapshot.clone();
    for handle in snapshot.keyed.iter_mut().flat_map(|keyed| keyed.parts.values_mut()) {
        let StateLocation::File { path, .. } = &mut handle.location else { panic!("it is in the metadata") };
        *path = to(path);
    }
    snapshot
}

fn start(context: &SubtaskContext, operator: OperatorSnapshot) -> SubtaskContext {
    let state = SubtaskSnapshot { operators: BTreeMap::from([(OPERATOR, operator)]), ..SubtaskSnapshot::default() };
    let restore = SubtaskRestore { subtask: context.id, checkpoint: CheckpointId(1), state };
    let restored = Arc::new(Restored::load(restore, context).unwrap());
    SubtaskContext { restored, ..context.clone() }
}

/// Opens keyed state from a snapshot, and sums it up.
fn restored(context: &SubtaskContext, from: &OperatorSnapshot) -> TaskResult<u64> {
    let mut keyed = start(context, from.clone()).open_keyed::<u64>(OPERATOR)?;
    let state = keyed.value(ValueStateDescriptor::<u64>::new("sum"))?;
    let mut sum = 0;
    for key in 0..100 {
        keyed.set_current_key(&key);
        sum += state.get()?.unwrap_or(0);
    }
    Ok(sum)
}

#[test]
fn only_what_is_wrong_with_its_content_speaks_against_a_checkpoint() {
    let runtime = runtime();
    let context = context(&runtime);
    let directory = tempfile::tempdir().unwrap();
    let whole = taken(&context, directory.path());
    assert_eq!(restored(&context, &whole).unwrap(), 49_500);

    // Nobody listens there; somebody listens and never answers; nobody knows how to get there.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for host in [format!("hdfs://{nobody}"), format!("hdfs://{}", silent.local_addr().unwrap()), "nfs://h".to_owned()] {
        let away = moved(&whole, |path| path.replace("file://", &host));
        let error = restored(&context, &away).unwrap_err();
        assert!(matches!(&error, TaskError::Failed { blame: Blame::Outside, .. }), "{host}: {error:?}");
    }

    let file = |snapshot: &OperatorSnapshot| {
        let handle = snapshot.keyed[0].parts.values().next().unwrap().clone();
        let StateLocation::File { path, .. } = handle.location else { panic!("it is in the metadata") };
        path.strip_prefix("file://").unwrap().to_owned()
    };
    let path = file(&whole);
    let bytes = std::fs::read(&path).unwrap();
    let condemned = |what: &str| {
        let error = restored(&context, &whole).expect_err(what);
        assert!(matches!(&error, TaskError::Restore { .. }), "{what}: {error:?}");
    };
    std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    condemned("torn");
    let mut altered = bytes.clone();
    // More than the head of a chunk, which says no more than the index does.
    altered[bytes.len() / 2..][..32].iter_mut().for_each(|byte| *byte ^= 1);
    std::fs::write(&path, &altered).unwrap();
    condemned("altered");
    std::fs::remove_file(&path).unwrap();
    condemned("missing");
    std::fs::create_dir(&path).unwrap();
    condemned("a directory");
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Before {
    from: u32,
    file: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Now {
    #[serde(default)]
    retries: u8,
    file: String,
    from: u64,
}

/// A list of these values, as it is in a checkpoint.
fn list(context: &SubtaskContext, values: &[Before], schema: &str) -> OperatorSnapshot {
    let encode = |value: &Before| {
        let mut item = Vec::new();
        codec::encode(value, &mut item).unwrap();
        item
    };
    let items: Vec<Vec<u8>> = values.iter().map(encode).collect();
    let directory = tempfile::tempdir().unwrap();
    let mut snapshot = begun(directory.path());
    snapshot.list(OPERATOR, "values", Redistribution::Split, schema, items.iter().map(Vec::as_slice));
    // So few bytes stay in the snapshot itself.
    let worker = WorkerContext {
        state: StateSettings { inline_below: 1 << 20, ..StateSettings::default() },
        ..context.worker.clone()
    };
    write(&SubtaskContext { worker, ..context.clone() }, snapshot)()
}

#[test]
fn values_of_an_older_form_of_their_type_are_read_by_name() {
    let runtime = runtime();
    let context = context(&runtime);
    assert_eq!(context.restored_values::<Now>(OPERATOR, "values").unwrap(), None, "it starts from nothing");
    let before = [Before { from: 3, file: "a".to_owned() }, Before { from: 300, file: "b".to_owned() }];
    let schema = flumen_worker::operator_state::schema_of::<Before>("values");
    let started = start(&context, list(&context, &before, &schema));
    let now: Vec<Now> = started.restored_values(OPERATOR, "values").unwrap().unwrap();
    let expected =
        [Now { retries: 0, file: "a".to_owned(), from: 3 }, Now { retries: 0, file: "b".to_owned(), from: 300 }];
    assert_eq!(now, expected);
    let wrong = started.restored_values::<(u64, u64)>(OPERATOR, "values").unwrap_err();
    assert!(matches!(wrong, TaskError::Failed { blame: Blame::User, .. }), "{wrong:?}");
    let undescribed = start(&context, list(&context, &before, ""));
    assert_eq!(undescribed.restored_values::<Before>(OPERATOR, "values").unwrap().unwrap(), before);
}
