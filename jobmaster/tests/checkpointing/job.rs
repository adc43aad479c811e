//! A streaming job of a source and a sink with two subtasks, whose subtasks confirm checkpoints when the test says so.

use flumen_jobmaster::{Action, Event, Start};
use flumen_model::checkpoint::{
    Barrier, CheckpointId, CompletedCheckpoint, KeyGroupRange, KeyedFormat, KeyedState, OperatorSnapshot, SnapshotKind,
    SnapshotTimes, StateHandle, StateLocation, SubtaskSnapshot, VertexSnapshot,
};
use flumen_model::failure::Blame;
use flumen_model::ids::{OperatorId, SubtaskId};
use flumen_model::job_graph::RuntimeMode;
use flumen_model::status::JobStatus;
use flumen_wire::control::{FromWorker, ToWorker};

use crate::world::{SINK, SOURCE, World, executor, failure, graph, subtask};

/// Bytes of the state of each subtask.
pub(crate) const STATE_BYTES: u64 = 100;

pub(crate) struct Job {
    pub(crate) world: World,
}

/// Every 100 ms into `/c`.
const DEFAULTS: [(&str, &str); 3] = [
    ("execution.checkpointing.dir", "/c"),
    ("execution.checkpointing.interval", "100 ms"),
    ("restart-strategy.type", "none"),
];

pub(crate) const DIRECTORY: &str = "/c/00000000000000000000000000000007";

impl Job {
    /// A job that runs.
    pub(crate) fn new(options: &[(&str, &str)]) -> Self {
        Self::starting(options, Start::default())
    }

    pub(crate) fn starting(options: &[(&str, &str)], start: Start) -> Self {
        let job = Self::begun(options, start);
        assert_eq!(job.status(), JobStatus::Running);
        job
    }

    /// A job that may have failed already.
    pub(crate) fn begun(options: &[(&str, &str)], start: Start) -> Self {
        let mut graph = graph(1, 2, 1);
        graph.mode = RuntimeMode::Streaming;
        let options: Vec<_> = DEFAULTS.iter().chain(options).copied().collect();
        let mut world = World::starting(graph, &options, start);
        world.finishing = false;
        world.register("a", 2);
        world.deliver();
        Self { world }
    }

    /// Lets that many milliseconds pass.
    pub(crate) fn pass(&mut self, ms: u64) {
        self.world.pass(ms);
    }

    /// All barriers that were ever triggered, each once.
    pub(crate) fn barriers(&self) -> Vec<Barrier> {
        let mut barriers: Vec<Barrier> = Vec::new();
        for action in &self.world.actions {
            if let Action::ToWorker { message: ToWorker::TriggerCheckpoint { barrier, .. }, .. } = action
                && barriers.last().is_none_or(|last| last.checkpoint != barrier.checkpoint)
            {
                barriers.push(barrier.clone());
            }
        }
        barriers
    }

    /// How many checkpoints were triggered.
    pub(crate) fn triggered(&self) -> usize {
        self.barriers().len()
    }

    /// The subtasks that were last told to begin a checkpoint.
    pub(crate) fn begun_by(&self) -> Vec<SubtaskId> {
        let begun = self.world.actions.iter().rev().find_map(|action| match action {
            Action::ToWorker { message: ToWorker::TriggerCheckpoint { subtasks, .. }, .. } => Some(subtasks.clone()),
            _ => None,
        });
        begun.expect("a checkpoint was triggered")
    }

    /// The checkpoints that workers were told to forget.
    pub(crate) fn aborted(&self) -> Vec<u64> {
        let aborted = self.world.actions.iter().filter_map(|action| match action {
            Action::ToWorker { message: ToWorker::CheckpointAborted { checkpoint, .. }, .. } => Some(checkpoint.0),
            _ => None,
        });
        aborted.collect()
    }

    /// All paths that were ever to be removed.
    pub(crate) fn discarded(&self) -> Vec<String> {
        let discarded = self.world.actions.iter().filter_map(|action| match action {
            Action::DiscardFiles { paths } => Some(paths.clone()),
            _ => None,
        });
        discarded.flatten().collect()
    }

    /// Whether a directory, or one that it is in, was to be removed.
    pub(crate) fn is_removed(&self, directory: &str) -> bool {
        let within = |path: &String| directory == path || directory.starts_with(&format!("{path}/"));
        self.discarded().iter().any(within)
    }

    /// A subtask confirms the newest checkpoint with a file in its directory.
    pub(crate) fn confirm(&mut self, subtask: SubtaskId, times: SnapshotTimes) {
        let barrier = self.barriers().pop().expect("a checkpoint was triggered");
        self.confirm_one(&barrier, subtask, times);
    }

    pub(crate) fn confirm_one(&mut self, barrier: &Barrier, subtask: SubtaskId, times: SnapshotTimes) {
        let path = format!("{}/{subtask}", barrier.directory).replace(' ', "-");
        let snapshot = Box::new(snapshot(&path));
        let (attempt, checkpoint) = (self.world.attempt(), barrier.checkpoint);
        self.world.say("a", FromWorker::CheckpointAck { attempt, subtask, checkpoint, snapshot, times });
    }

    /// All subtasks that run confirm a checkpoint.
    pub(crate) fn confirm_all(&mut self, barrier: &Barrier) {
        for id in self.running() {
            self.confirm_one(barrier, id, SnapshotTimes::default());
        }
    }

    pub(crate) fn running(&self) -> Vec<SubtaskId> {
        let all = [subtask(SOURCE, 0), subtask(SINK, 0), subtask(SINK, 1)];
        let open = &self.world.workers[&executor("a")].open;
        all.into_iter().filter(|id| open.contains(id)).collect()
    }

    /// The metadata of a checkpoint is in place.
    pub(crate) fn stored(&mut self, checkpoint: u64) {
        self.world.tell(Event::CheckpointStored { checkpoint: CheckpointId(checkpoint), result: Ok(()) });
    }

    /// The newest checkpoint completes.
    pub(crate) fn complete(&mut self) {
        let barrier = self.barriers().pop().expect("a checkpoint was triggered");
        self.confirm_all(&barrier);
        self.stored(barrier.checkpoint.0);
    }

    /// Waits for the next checkpoint, and lets it complete.
    pub(crate) fn complete_next(&mut self) {
        self.next();
        self.complete();
    }

    /// Waits for the next checkpoint.
    pub(crate) fn next(&mut self) {
        let before = self.triggered();
        for _ in 0..100 {
            if self.triggered() > before {
                return;
            }
            self.world.tick();
        }
        panic!("no checkpoint is triggered");
    }

    /// A subtask says that it can't take its part of the newest checkpoint.
    pub(crate) fn decline(&mut self) {
        let checkpoint = self.barriers().pop().expect("a checkpoint was triggered").checkpoint;
        let (attempt, subtask) = (self.world.attempt(), subtask(SINK, 1));
        let failure = failure(Blame::Outside, "disk full");
        self.world.say("a", FromWorker::CheckpointDeclined { attempt, subtask, checkpoint, failure });
    }

    /// A subtask has taken all its input; with the next complete checkpoint it may finish.
    pub(crate) fn ends(&mut self, subtask: SubtaskId) {
        let attempt = self.world.attempt();
        self.world.say("a", FromWorker::EndOfData { attempt, subtask });
    }

    pub(crate) fn finish(&mut self, subtask: SubtaskId) {
        let attempt = self.world.attempt();
        self.world.finish(&executor("a"), attempt, subtask);
        self.world.deliver();
    }

    pub(crate) fn cancel(&mut self) {
        self.world.tell(Event::Cancel);
        self.world.deliver();
    }

    pub(crate) fn fail(&mut self) {
        self.world.fail_subtask("a", subtask(SINK, 0), failure(Blame::User, "user code"));
        self.world.deliver();
    }

    /// Every subtask finishes.
    pub(crate) fn finish_all(&mut self) {
        // With the last word a last checkpoint is triggered at once.
        self.running().into_iter().for_each(|id| self.ends(id));
        self.complete();
        self.running().into_iter().for_each(|id| self.finish(id));
    }

    pub(crate) fn status(&self) -> JobStatus {
        self.world.status()
    }
}

fn snapshot(path: &str) -> SubtaskSnapshot {
    let location = StateLocation::File { path: path.to_owned(), offset: 0, shared: false };
    let handle = StateHandle { location, length: STATE_BYTES, checksum: 0 };
    let keyed = KeyedState {
        format: KeyedFormat::Canonical,
        groups: KeyGroupRange { start: 0, end: 128 },
        parts: [("state".to_owned(), handle)].into(),
    };
    let operator = OperatorSnapshot { keyed: vec![keyed], lists: Default::default() };
    // The operator is that of every vertex: nothing is restored here.
    SubtaskSnapshot { operators: [(OperatorId(SOURCE.0), operator)].into(), in_flight: vec![] }
}

/// A checkpoint of the same job in a former life, in that directory.
pub(crate) fn former(directory: &str, kind: SnapshotKind) -> CompletedCheckpoint {
    let graph = graph(1, 2, 1);
    let vertices = graph.vertices.iter().map(|vertex| VertexSnapshot {
        vertex: vertex.id,
        name: vertex.name.clone(),
        parallelism: vertex.parallelism,
        max_parallelism: vertex.max_parallelism,
        operators: vec![],
        subtasks: (0..vertex.parallelism)
            .map(|index| snapshot(&format!("{directory}/{}-{index}", vertex.id)))
            .collect(),
        source: None,
    });
    CompletedCheckpoint {
        life: None,
        id: CheckpointId(41),
        kind,
        triggered_ms: 0,
        completed_ms: 0,
        directory: directory.to_owned(),
        vertices: vertices.collect(),
    }
}
