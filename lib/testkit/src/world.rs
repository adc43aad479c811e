//! What a subtask sees of the world around it, as small as it can be.

use std::path::PathBuf;
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, OnceLock};

use flumen_fs::{FileSystems, FsOptions};
use flumen_model::config::Configuration;
use flumen_model::ids::{ExecutionAttempt, OperatorId, SubtaskId, VertexId};
use flumen_worker::keyed_state::StateSettings;
use flumen_worker::subtask::{SubtaskContext, SubtaskHandle, TimeSource, WorkerContext};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;

/// The vertex of the operator under test.
pub(crate) const VERTEX: VertexId = VertexId(1);
/// The operator under test.
pub(crate) const OPERATOR: OperatorId = OperatorId(2);
/// Its number of key groups: few enough that several keys share one.
pub(crate) const MAX_PARALLELISM: u32 = 16;

/// One for all tests of a process.
pub(crate) fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap())
}

/// See the module.
pub(crate) struct World {
    worker: WorkerContext,
    pub(crate) clock: Arc<AtomicI64>,
    /// Executions so far: each instance is of another one.
    attempts: u32,
    pub(crate) directory: TempDir,
}

impl World {
    pub(crate) fn new(options: &[(String, String)], backend: &str) -> Self {
        // In memory where there is such a place: a restore after each element waits for a disk thousands of times.
        let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let mut configuration = Configuration::default();
        configuration.set("state.backend.type", backend);
        options.iter().for_each(|(key, value)| configuration.set(key, value));
        let clock = Arc::new(AtomicI64::new(0));
        let tmp_dirs: Arc<[PathBuf]> = Arc::new([directory.path().join("tmp")]);
        std::fs::create_dir_all(&tmp_dirs[0]).unwrap();
        let files = FileSystems::new(FsOptions::default()).unwrap();
        let worker = WorkerContext {
            state: StateSettings::read(&configuration, &tmp_dirs, 64 << 20, 1).unwrap(),
            configuration: Arc::new(configuration),
            tmp_dirs,
            segment_bytes: 4 << 10,
            checkpointing: true,
            time: TimeSource::Manual(Arc::clone(&clock)),
            ..WorkerContext::new(files, runtime().handle().clone())
        };
        Self { worker, clock, attempts: 0, directory }
    }

    /// The context of one of several instances that begin together: empty.
    pub(crate) fn context(&self, index: u32, parallelism: u32) -> SubtaskContext {
        let id = SubtaskId { vertex: VERTEX, index };
        let attempt = ExecutionAttempt(self.attempts);
        // Nobody listens: what an operator reports is lost.
        let (reports, _) = mpsc::channel(1);
        let handle = Arc::new(SubtaskHandle::default());
        handle.attach_current_thread();
        SubtaskContext {
            vertex_name: "operator under test".into(),
            max_parallelism: MAX_PARALLELISM,
            handle,
            ..SubtaskContext::new(id, attempt, parallelism, reports, self.worker.clone())
        }
    }

    pub(crate) fn next_attempt(&mut self) {
        self.attempts += 1;
    }
}
