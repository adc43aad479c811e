//! A job of file sinks and its control plane, with everything that can go wrong between the two.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use flumen_fs::{FileSystem, FileSystems, FsOptions, FsPath};
use flumen_model::checkpoint::{
    Alignment, Barrier, CheckpointId, ListState, OperatorSnapshot, SnapshotKind, SubtaskRestore, SubtaskSnapshot,
};
use flumen_model::ids::{ExecutionAttempt, OperatorId, SubtaskId, VertexId};
use flumen_worker::batch::{Batch, END_OF_TIME};
use flumen_worker::checkpoint::Snapshot;
use flumen_worker::keyed_state::StateSettings;
use flumen_worker::operator::{Clock, Push, Signal, TaskResult};
use flumen_worker::restore::Restored;
use flumen_worker::subtask::{SubtaskContext, SubtaskHandle, TimeSource, WorkerContext};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;

pub const OPERATOR: OperatorId = OperatorId(7);
const VERTEX: VertexId = VertexId(3);
const LIMIT: Duration = Duration::from_secs(60);

/// Makes the sink of one subtask.
pub type Make = Box<dyn Fn(&SubtaskContext) -> TaskResult<Box<dyn Push<u64>>>>;

/// How an execution ends before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// The process is killed.
    Kill,
    /// The subtasks are cancelled; what they have begun in the background goes on.
    Cancel,
    /// It is cut off and goes on; it may hear of complete checkpoints.
    CutOff,
}

struct Life {
    /// The newest checkpoint that was stored in its time: it never hears of a later execution's.
    stored: Option<u64>,
    runtime: Runtime,
    subtasks: Vec<(SubtaskContext, Box<dyn Push<u64>>)>,
}

/// A complete checkpoint.
struct Stored {
    id: u64,
    /// Records before it.
    position: u64,
    subtasks: Vec<SubtaskSnapshot>,
}

/// See the module.
pub struct World {
    directory: TempDir,
    files: FileSystems,
    out: FsPath,
    /// For looking at files.
    reader: Runtime,
    make: Make,
    pub checkpointing: bool,
    pub clock: Arc<AtomicI64>,
    /// Records given to the sinks, counted from the beginning of the source.
    pub position: u64,
    last_checkpoint: u64,
    attempts: u32,
    /// Barriers that have passed, with the position, not stored yet.
    taken: BTreeMap<u64, (u64, Vec<Snapshot>)>,
    stored: Option<Stored>,
    life: Option<Life>,
    cut_off: Vec<Life>,
}

impl World {
    /// On local files. `make` gets the sink's directory.
    pub fn new(make: impl FnOnce(&str) -> Make) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let out = format!("file://{}/out", directory.path().display());
        Self::at(directory, FsOptions::default(), &out, make)
    }

    /// With the sink's directory anywhere; `directory` is for checkpoints.
    pub fn at(directory: TempDir, options: FsOptions, out: &str, make: impl FnOnce(&str) -> Make) -> Self {
        Self {
            make: make(out),
            directory,
            files: FileSystems::new(options).unwrap(),
            out: out.parse().unwrap(),
            reader: Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap(),
            checkpointing: true,
            clock: Arc::default(),
            position: 0,
            last_checkpoint: 0,
            attempts: 0,
            taken: BTreeMap::new(),
            stored: None,
            life: None,
            cut_off: Vec::new(),
        }
    }

    fn context(&self, runtime: &Runtime, index: u32, parallelism: u32) -> SubtaskContext {
        let id = SubtaskId { vertex: VERTEX, index };
        let attempt = ExecutionAttempt(self.attempts);
        let (reports, _) = mpsc::channel(1);
        let handle = Arc::new(SubtaskHandle::default());
        handle.attach_current_thread();
        let worker = WorkerContext {
            segment_bytes: 4 << 10,
            checkpointing: self.checkpointing,
            state: StateSettings { inline_below: 1 << 20, ..StateSettings::default() },
            time: TimeSource::Manual(Arc::clone(&self.clock)),
            ..WorkerContext::new(self.files.clone(), runtime.handle().clone())
        };
        SubtaskContext {
            vertex_name: "sink".into(),
            max_parallelism: 16,
            handle,
            ..SubtaskContext::new(id, attempt, parallelism, reports, worker)
        }
    }

    /// Starts an execution from the newest complete checkpoint.
    pub fn start(&mut self, parallelism: u32) -> TaskResult {
        self.attempts += 1;
        self.taken.clear();
        self.position = self.stored.as_ref().map_or(0, |stored| stored.position);
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let mut subtasks = Vec::new();
        for index in 0..parallelism {
            let mut context = self.context(&runtime, index, parallelism);
            if let Some(stored) = &self.stored {
                let restore = stored.part(index, parallelism);
                context.restored = Arc::new(Restored::load(restore, &context)?);
            }
            let sink = (self.make)(&context)?;
            subtasks.push((context, sink));
        }
        self.life = Some(Life { stored: None, runtime, subtasks });
        Ok(())
    }

    fn subtasks(&mut self) -> &mut Vec<(SubtaskContext, Box<dyn Push<u64>>)> {
        &mut self.life.as_mut().expect("an execution runs").subtasks
    }

    /// Gives the next records of the source to one of the subtasks.
    pub fn push(&mut self, records: u64, subtask: usize) -> TaskResult {
        let from = self.position;
        self.position += records;
        let mut batch = Batch::from((from..self.position).collect::<Vec<_>>());
        let subtasks = self.subtasks();
        let subtask = subtask % subtasks.len();
        subtasks[subtask].1.push(&mut batch)
    }

    pub fn signal_all(&mut self, mut signal: Signal<'_>) -> TaskResult {
        self.subtasks().iter_mut().try_for_each(|(_, sink)| sink.signal(signal.again()))
    }

    /// Lets time pass.
    pub fn pass(&mut self, ms: i64) -> TaskResult {
        let now = self.clock.fetch_add(ms, Ordering::Relaxed) + ms;
        self.signal_all(Signal::Time(&mut Clock { now, next: None }))
    }

    /// The barrier of a new checkpoint passes through all subtasks.
    pub fn barrier(&mut self) -> TaskResult<u64> {
        self.last_checkpoint += 1;
        let id = self.last_checkpoint;
        let place = format!("file://{}/checkpoints", self.directory.path().display());
        let barrier = Barrier {
            checkpoint: CheckpointId(id),
            kind: SnapshotKind::Checkpoint,
            alignment: Alignment::Aligned,
            triggered_ms: 0,
            directory: place.clone(),
            shared_directory: place,
        };
        let mut snapshots = Vec::new();
        for (_, sink) in self.subtasks() {
            let mut snapshot = Snapshot::new(barrier.clone());
            sink.signal(Signal::Barrier(&mut snapshot))?;
            snapshots.push(snapshot);
        }
        self.taken.insert(id, (self.position, snapshots));
        Ok(id)
    }

    /// All subtasks acknowledge the oldest checkpoint under way, and it is stored. Returns its id if there was one.
    pub fn store(&mut self) -> TaskResult<Option<u64>> {
        let Some((id, (position, snapshots))) = self.taken.pop_first() else { return Ok(None) };
        let life = self.life.as_mut().expect("an execution runs");
        let mut subtasks = Vec::new();
        for (snapshot, (context, _)) in snapshots.into_iter().zip(&life.subtasks) {
            subtasks.push(life.runtime.block_on(snapshot.write(context))?);
        }
        life.stored = Some(id);
        self.stored = Some(Stored { id, position, subtasks });
        Ok(Some(id))
    }

    /// The first subtasks hear that the newest stored checkpoint is complete; those that are cut off hear of theirs.
    pub fn notify(&mut self, subtasks: usize) -> TaskResult {
        let Some(id) = self.stored.as_ref().map(|stored| CheckpointId(stored.id)) else { return Ok(()) };
        for life in &mut self.cut_off {
            for (_, sink) in &mut life.subtasks {
                // Nobody hears of its failures.
                let _ = life.stored.map(|id| sink.signal(Signal::Completed(CheckpointId(id))));
            }
        }
        self.subtasks().iter_mut().take(subtasks).try_for_each(|(_, sink)| sink.signal(Signal::Completed(id)))
    }

    /// The oldest checkpoint under way is given up.
    pub fn abort(&mut self) -> TaskResult {
        let Some((id, _)) = self.taken.pop_first() else { return Ok(()) };
        self.signal_all(Signal::Aborted(CheckpointId(id)))
    }

    /// The execution ends before its time.
    pub fn crash(&mut self, crash: Crash) {
        // What an unfinished snapshot waits for dies with it.
        self.taken.clear();
        let Some(mut life) = self.life.take() else { return };
        match crash {
            Crash::Kill => {
                // No destructor of a sink runs when a process is killed.
                life.subtasks.into_iter().for_each(std::mem::forget);
                life.runtime.shutdown_background();
            }
            Crash::Cancel => {
                life.subtasks.clear();
                self.cut_off.push(life);
            }
            Crash::CutOff => self.cut_off.push(life),
        }
    }

    /// All input was read: the end, up to the completion of the last checkpoint.
    pub fn end(&mut self) -> TaskResult {
        self.signal_all(Signal::Watermark(END_OF_TIME))?;
        self.signal_all(Signal::End)?;
        if self.checkpointing {
            self.barrier()?;
            while self.store()?.is_some() {}
            self.notify(usize::MAX)?;
        }
        self.signal_all(Signal::Close)?;
        self.life = None;
        Ok(())
    }

    /// Files below the sink's directory: relative names with lengths.
    pub fn files(&self) -> Vec<(String, u64)> {
        let fs = self.files.get(&self.out).unwrap();
        let mut found = Vec::new();
        let mut directories = vec![self.out.clone()];
        while let Some(directory) = directories.pop() {
            // The sink's directory is made with the first part.
            let entries = self.reader.block_on(fs.list(&directory)).unwrap_or_default();
            for entry in entries {
                if entry.is_dir {
                    directories.push(entry.path);
                } else {
                    let below = entry.path.path().strip_prefix(self.out.path()).unwrap();
                    found.push((below.trim_start_matches('/').to_owned(), entry.len));
                }
            }
        }
        found.sort();
        found
    }

    /// What a reader sees, sorted.
    pub fn visible(&self) -> Vec<u64> {
        let fs = self.files.get(&self.out).unwrap();
        let mut records = Vec::new();
        for (name, _) in self.files() {
            if name.rsplit('/').next().unwrap().starts_with(['.', '_']) {
                continue;
            }
            let text = self.reader.block_on(fs.read_fully(&self.out.join(&name), 1 << 20)).unwrap();
            let text = String::from_utf8(text.to_vec()).unwrap();
            records.extend(text.lines().map(|line| line.parse::<u64>().unwrap()));
        }
        records.sort_unstable();
        records
    }

    /// Makes the sink's directory with a file in it, or (without a name) a file in its place.
    pub fn put_in_the_way(&self, name: Option<&str>) {
        let fs = self.files.get(&self.out).unwrap();
        let path = name.map_or(self.out.clone(), |name| self.out.join(name));
        self.reader.block_on(fs.write_fully(&path, "x".into(), &Default::default())).unwrap();
    }

    /// Removes a file.
    pub fn remove(&self, name: &str) {
        let fs: Arc<dyn FileSystem> = self.files.get(&self.out).unwrap();
        assert!(self.reader.block_on(fs.delete(&self.out.join(name), false)).unwrap(), "{name} is removed");
    }

    /// Every visible record is visible once and belongs to a complete checkpoint.
    pub fn assert_never_too_much(&self) {
        let visible = self.visible();
        let position = self.stored.as_ref().map_or(0, |stored| stored.position);
        assert!(visible.windows(2).all(|pair| pair[0] < pair[1]), "a record is visible twice: {visible:?}");
        assert!(visible.last().is_none_or(|last| *last < position), "{visible:?} with checkpoint up to {position}");
    }

    /// Waits until exactly the records of the newest complete checkpoint are visible.
    pub fn wait_visible(&mut self) -> TaskResult {
        let expected: Vec<u64> = (0..self.stored.as_ref().map_or(0, |stored| stored.position)).collect();
        let begun = Instant::now();
        while self.visible() != expected {
            self.pass(0)?;
            assert!(begun.elapsed() < LIMIT, "{:?} visible, {} expected", self.visible(), expected.len());
            std::thread::park_timeout(Duration::from_millis(1));
        }
        Ok(())
    }
}

impl Stored {
    /// What a new subtask begins with: items are dealt out one by one.
    fn part(&self, index: u32, parallelism: u32) -> SubtaskRestore {
        let mut item = 0;
        let mut operator = OperatorSnapshot::default();
        let lists = self.subtasks.iter().filter_map(|subtask| subtask.operators.get(&OPERATOR)).flat_map(|o| &o.lists);
        for (name, list) in lists.flat_map(|(name, lists)| lists.iter().map(move |list| (name, list))) {
            let starts = std::iter::once(&list.start).chain(&list.ends);
            for (start, end) in starts.zip(&list.ends) {
                if item % parallelism == index {
                    let own = ListState { start: *start, ends: vec![*end], ..list.clone() };
                    operator.lists.entry(name.clone()).or_default().push(own);
                }
                item += 1;
            }
        }
        SubtaskRestore {
            subtask: SubtaskId { vertex: VERTEX, index },
            checkpoint: CheckpointId(self.id),
            state: SubtaskSnapshot { operators: [(OPERATOR, operator)].into(), in_flight: Vec::new() },
        }
    }
}
