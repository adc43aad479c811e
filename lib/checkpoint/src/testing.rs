//! What the tests of this crate share.

#![allow(clippy::unwrap_used, reason = "what helpers of a test can't do fails the test")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use flumen_fs::{CreateOptions, FileSystem, FileSystems, FsOptions, FsPath};
use flumen_model::checkpoint::{
    CheckpointId, CompletedCheckpoint, InFlight, KeyGroupRange, KeyedFormat, KeyedState, ListState,
    OperatorDescription, OperatorSnapshot, Redistribution, SnapshotKind, SourceProgress, StateHandle, StateLocation,
    SubtaskSnapshot, VertexSnapshot,
};
use flumen_model::ids::{Epoch, JobId, OperatorId, VertexId};
use xxhash_rust::xxh3::xxh3_64;

use crate::Origin;

pub(crate) struct Scratch {
    pub(crate) systems: FileSystems,
    dir: tempfile::TempDir,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        let systems = FileSystems::new(FsOptions::default()).unwrap();
        Self { systems, dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> FsPath {
        FsPath::local(Path::new(name), self.dir.path()).unwrap()
    }

    pub(crate) fn fs(&self) -> Arc<dyn FileSystem> {
        self.systems.get(&self.path("")).unwrap()
    }

    pub(crate) async fn put(&self, name: &str, content: &'static [u8]) {
        let options = CreateOptions::overwriting();
        self.fs().write_fully(&self.path(name), Bytes::from_static(content), &options).await.unwrap();
    }

    pub(crate) async fn names(&self, name: &str) -> Vec<String> {
        let entries = self.fs().list(&self.path(name)).await.unwrap();
        entries.iter().map(|entry| entry.path.name().to_owned()).collect()
    }
}

pub(crate) fn origin() -> Origin {
    Origin { job: JobId(7), epoch: Epoch(2) }
}

pub(crate) fn in_file(path: String, offset: u64, bytes: &[u8]) -> StateHandle {
    let shared = path.contains("/shared/");
    let location = StateLocation::File { path, offset, shared };
    StateHandle { location, length: bytes.len() as u64, checksum: xxh3_64(bytes) }
}

/// A checkpoint with one handle of each kind. Its files: `state-1` (`0123456789`), `list` and `flight` (`abc` each) in its
/// directory, and `x` (`shared bytes`) in the shared one beside it.
pub(crate) fn example(directory: &str) -> CompletedCheckpoint {
    let shared = format!("{}/shared/x", directory.rsplit_once('/').unwrap().0);
    let inline =
        StateHandle { location: StateLocation::Inline(vec![1, 2, 255]), length: 3, checksum: xxh3_64(&[1, 2, 255]) };
    let groups = KeyGroupRange { start: 0, end: 64 };
    let parts = BTreeMap::from([
        ("000001.sst".to_owned(), in_file(shared, 0, b"shared bytes")),
        ("CURRENT".to_owned(), inline),
    ]);
    let canonical = BTreeMap::from([("state".to_owned(), in_file(format!("{directory}/state-1"), 4, b"456"))]);
    let keyed = vec![
        KeyedState { format: KeyedFormat::RocksDb, groups, parts },
        KeyedState { format: KeyedFormat::Canonical, groups: KeyGroupRange { start: 64, end: 128 }, parts: canonical },
    ];
    let list = ListState {
        redistribution: Redistribution::Union,
        schema: String::new(),
        items: in_file(format!("{directory}/list"), 0, b"abc"),
        start: 0,
        ends: vec![1, 3],
    };
    let operator = OperatorSnapshot { keyed, lists: BTreeMap::from([("offsets".to_owned(), vec![list])]) };
    let records = in_file(format!("{directory}/flight"), 0, b"abc");
    let subtask = SubtaskSnapshot {
        operators: BTreeMap::from([(OperatorId(5), operator)]),
        in_flight: vec![InFlight { edge: 1, source: 0, target: 2, timed: true, records }],
    };
    CompletedCheckpoint {
        life: None,
        id: CheckpointId(3),
        kind: SnapshotKind::Checkpoint,
        triggered_ms: 1_700_000_000_000,
        completed_ms: 1_700_000_000_250,
        directory: directory.to_owned(),
        vertices: vec![VertexSnapshot {
            vertex: VertexId(4),
            name: "Sum".to_owned(),
            parallelism: 1,
            max_parallelism: 128,
            operators: vec![OperatorDescription {
                id: OperatorId(5),
                name: "Sum".to_owned(),
                uid: Some("sum".to_owned()),
                states: BTreeMap::from([("sum".to_owned(), "u64".to_owned())]),
            }],
            subtasks: vec![subtask],
            source: Some(SourceProgress { remaining: vec!["file:///in#0".to_owned()], handed_out: 3 }),
        }],
    }
}

/// Makes the files that [`example`] refers to.
pub(crate) async fn put_example(scratch: &Scratch, directory: &str) {
    scratch.put(&format!("{directory}/state-1"), b"0123456789").await;
    scratch.put(&format!("{directory}/list"), b"abc").await;
    scratch.put(&format!("{directory}/flight"), b"abc").await;
    scratch.put(&format!("{directory}/../shared/x"), b"shared bytes").await;
}
