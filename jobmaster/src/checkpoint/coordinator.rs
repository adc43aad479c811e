//! The CheckpointCoordinator: when a checkpoint is triggered, when it is complete, when it is given up.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use flumen_model::checkpoint::{
    Barrier, CheckpointId, CompletedCheckpoint, SnapshotKind, SnapshotTimes, SourceProgress, SubtaskSnapshot,
};
use flumen_model::failure::{Blame, Failure};
use flumen_model::ids::{JobId, SubtaskId, VertexId};
use flumen_model::job_graph::JobGraph;
use flumen_model::options::checkpointing as options;

use super::ends::Ends;
use super::files::Files;
use super::pending::{Pending, Stage};
use super::statistics::CheckpointStatistics;
use super::stop::Stop;
use super::store::{Kept, Store};
use super::tracker::Tracker;
use crate::event::{Action, RequestId, SnapshotRequest, SnapshotTaken, SnapshotWish, Timestamp};
use crate::settings::{CheckpointSettings, ClaimMode};
use crate::start::Start;

/// Requests that may wait for their turn.
const REQUESTS: usize = 100;
/// Shortest time between a failure of a final checkpoint and the next try, milliseconds: storage that refuses at once
/// must not be asked in a loop.
const RETRY_MS: u64 = 1_000;

/// What the JobMaster has to do for its coordinator.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Give it to the driver.
    Act(Action),
    /// Tell all running subtasks that a checkpoint is complete.
    Completed(CheckpointId),
    /// Tell all running subtasks that a checkpoint was given up.
    Aborted(CheckpointId),
    /// Tell all sources to end.
    Drain,
    /// Fail the whole job, as far as its restart strategy does not forgive it.
    Fail(Failure),
}

/// A snapshot to trigger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    kind: SnapshotKind,
    /// Where a savepoint goes.
    target: Option<String>,
    request: Option<RequestId>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Coordinator {
    pub(super) job: JobId,
    pub(super) settings: CheckpointSettings,
    /// Where checkpoints are written.
    pub(super) base: Option<String>,
    /// Subtasks of the job.
    total: usize,
    pub(super) next: CheckpointId,
    /// The greatest number that a former leader's checkpoint has, as far as it counts.
    pub(super) known: CheckpointId,
    /// A former leader of this job has completed checkpoints.
    pub(super) inherits: bool,
    /// It has, and none is left whole: why.
    pub(super) unusable: Option<String>,
    pub(super) pending: BTreeMap<CheckpointId, Pending>,
    pub(super) store: Store,
    pub(super) files: Files,
    pub(super) requests: VecDeque<SnapshotRequest>,
    pub(super) stop: Option<Stop>,
    /// Sources were told to end.
    pub(super) drained: bool,
    pub(super) ends: Ends,
    /// Since when all subtasks run.
    ready: Option<Timestamp>,
    last_trigger: Timestamp,
    last_end: Option<Timestamp>,
    /// The next one is due at once: the last was cut off by a subtask that finished.
    pub(super) again: bool,
    /// A final checkpoint failed, and the next try waits until then.
    retry: Timestamp,
    /// Checkpoints that failed since one completed.
    failures: u32,
    /// The next checkpoint may not refer to files of the one that the job began with.
    pub(super) full: bool,
    /// Directories of aborted checkpoints.
    pub(super) lost: VecDeque<String>,
    /// Whether anything was ever written into `base`.
    pub(super) used: bool,
    pub(super) tracker: Tracker,
    effects: VecDeque<Effect>,
}

impl Coordinator {
    /// The coordinator of a job, and where its sources begin; or why the job can't begin.
    pub(crate) fn new(
        job: JobId,
        graph: &JobGraph,
        settings: &CheckpointSettings,
        start: Start,
        now: Timestamp,
    ) -> (Self, Result<BTreeMap<VertexId, SourceProgress>, Failure>) {
        let root = settings.directory.as_deref().map(|root| format!("{}/{job}", root.trim_end_matches('/')));
        let inherited = start.inherited.iter().chain(&start.from).map(|checkpoint| checkpoint.id);
        let known = inherited.chain(start.reached).max().unwrap_or(CheckpointId(0));
        let mut coordinator = Self {
            job,
            settings: settings.clone(),
            base: start.directory.or(root),
            total: graph.vertices.iter().map(|vertex| vertex.parallelism as usize).sum(),
            next: CheckpointId(known.0 + 1 + super::adopt::gap(start.epoch)),
            known,
            inherits: !start.inherited.is_empty(),
            unusable: None,
            pending: BTreeMap::new(),
            store: Store::default(),
            files: Files::default(),
            requests: VecDeque::new(),
            stop: None,
            drained: false,
            ends: Ends::default(),
            ready: None,
            last_trigger: now,
            last_end: None,
            again: false,
            retry: Timestamp(0),
            failures: 0,
            full: false,
            lost: VecDeque::new(),
            used: !start.inherited.is_empty(),
            tracker: Tracker::new(settings.history),
            effects: VecDeque::new(),
        };
        coordinator.tracker.go_on(&start.inherited);
        if settings.interval.is_some() && coordinator.base.is_none() {
            return (coordinator, Err(no_directory(options::CHECKPOINT_DIRECTORY.key)));
        }
        match start.inherited.is_empty() {
            true if start.unusable.is_some() => coordinator.unusable = start.unusable,
            true => coordinator.begin_from(start.from),
            false => start.inherited.into_iter().for_each(|checkpoint| {
                coordinator.adopt(checkpoint, true);
            }),
        }
        let begun = match coordinator.store.newest() {
            None => Ok(BTreeMap::new()),
            Some(newest) => super::restore::assign(newest, graph, settings.ignore_unclaimed)
                .map(|assignment| assignment.sources)
                .map_err(|refused| Failure::new(Blame::User, refused.to_string())),
        };
        (coordinator, begun)
    }

    fn begin_from(&mut self, from: Option<CompletedCheckpoint>) {
        if let Some(checkpoint) = from {
            let claimed = self.settings.claim == ClaimMode::Claim;
            self.full = !claimed;
            self.adopt(checkpoint, claimed);
        }
    }

    fn adopt(&mut self, checkpoint: CompletedCheckpoint, owned: bool) {
        let needs = self.files.adopt(&checkpoint);
        // The savepoint of a stop is the user's. What a former leader left of it here is not, unless it holds together what
        // the savepoint needs of the job's own files.
        if !owned || checkpoint.kind.is_savepoint() && needs.is_shared() {
            self.files.pin(&needs);
        }
        let kept = Kept { checkpoint: Arc::new(checkpoint), needs, owned, damaged: false };
        // Whatever a former life kept is kept until the next checkpoint completes.
        self.store.add(kept, u32::MAX);
    }

    /// The next thing that the JobMaster has to do.
    pub(crate) fn effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    pub(super) fn push(&mut self, effect: Effect) {
        self.effects.push_back(effect);
    }

    pub(super) fn answer(&mut self, request: RequestId, result: Result<SnapshotTaken, Failure>) {
        self.push(Effect::Act(Action::Answer { request, result }));
    }

    pub(super) fn discard(&mut self, paths: Vec<String>) {
        if !paths.is_empty() {
            self.push(Effect::Act(Action::DiscardFiles { paths }));
        }
    }

    /// Whether all subtasks run or have finished.
    pub(crate) fn set_ready(&mut self, ready: bool, now: Timestamp) {
        match (ready, self.ready) {
            (true, None) => self.ready = Some(now),
            (false, _) => {
                self.ready = None;
                let why = "the job is not running: all subtasks have to run when a checkpoint is triggered";
                self.refuse_requests(&Failure::new(Blame::Outside, why));
            }
            (true, Some(_)) => {}
        }
    }

    pub(super) fn refuse_requests(&mut self, failure: &Failure) {
        while let Some(request) = self.requests.pop_front() {
            self.answer(request.request, Err(failure.clone()));
        }
    }

    /// A user wants a snapshot.
    pub(crate) fn want(&mut self, request: SnapshotRequest) {
        if let Err(failure) = self.accept(&request) {
            return self.answer(request.request, Err(*failure));
        }
        match request.wish {
            SnapshotWish::Stop { target, drain } => self.begin_stop(request.request, target, drain),
            SnapshotWish::Checkpoint { .. } | SnapshotWish::Savepoint { .. } => self.requests.push_back(request),
        }
    }

    fn accept(&self, request: &SnapshotRequest) -> Result<(), Box<Failure>> {
        let refuse = |text: &str| Err(Box::new(Failure::new(Blame::User, text)));
        if self.settings.batch {
            return refuse("a job in batch execution takes no snapshots");
        }
        if self.ready.is_none() {
            let text = "the job is not running: all subtasks have to run when a checkpoint is triggered";
            return Err(Box::new(Failure::new(Blame::Outside, text)));
        }
        if self.stop.is_some() {
            return refuse("the job is being stopped with a savepoint");
        }
        if self.requests.len() >= REQUESTS {
            return Err(Box::new(Failure::new(Blame::Outside, "too many requests for snapshots wait already")));
        }
        match &request.wish {
            SnapshotWish::Checkpoint { .. } if self.base.is_none() => {
                Err(Box::new(no_directory(options::CHECKPOINT_DIRECTORY.key)))
            }
            SnapshotWish::Savepoint { target: None } | SnapshotWish::Stop { target: None, .. }
                if self.settings.savepoint_directory.is_none() =>
            {
                Err(Box::new(no_directory(options::SAVEPOINT_DIRECTORY.key)))
            }
            SnapshotWish::Stop { drain: true, .. } if self.settings.interval.is_none() => {
                let key = options::INTERVAL.key;
                let text = format!(
                    "a job can be drained only with periodic checkpoints ({key}): without them subtasks end as soon as \
                     their input does, and not with the savepoint; stop it without --drain"
                );
                refuse(&text)
            }
            SnapshotWish::Checkpoint { .. } | SnapshotWish::Savepoint { .. } | SnapshotWish::Stop { .. } => Ok(()),
        }
    }

    /// What is to be triggered now, if anything (CC-7).
    pub(crate) fn due(&mut self, now: Timestamp) -> Option<Plan> {
        let ready = self.ready?;
        if self.ends.hold(now).is_some() || !self.has_room() {
            return None;
        }
        if let Some(stop) = &self.stop {
            let target = stop.due(self.all_ended().is_some())?;
            let plan = Plan { kind: SnapshotKind::StopWithSavepoint, target, request: None };
            return self.possible(plan);
        }
        if let Some(plan) = self.requested() {
            return self.possible(plan);
        }
        if now < self.periodic(ready)? || self.ends.without_snapshot().is_some() {
            return None;
        }
        let kind = if self.full { SnapshotKind::FullCheckpoint } else { SnapshotKind::Checkpoint };
        Some(Plan { kind, target: None, request: None })
    }

    fn requested(&mut self) -> Option<Plan> {
        let request = self.requests.pop_front()?;
        let (kind, target) = match request.wish {
            SnapshotWish::Checkpoint { full: false } if !self.full => (SnapshotKind::Checkpoint, None),
            SnapshotWish::Checkpoint { .. } => (SnapshotKind::FullCheckpoint, None),
            SnapshotWish::Savepoint { target } | SnapshotWish::Stop { target, .. } => (SnapshotKind::Savepoint, target),
        };
        Some(Plan { kind, target, request: Some(request.request) })
    }

    /// Answers what can't be taken.
    fn possible(&mut self, plan: Plan) -> Option<Plan> {
        let Some(subtask) = self.ends.without_snapshot() else { return Some(plan) };
        let key = options::INTERVAL.key;
        let message = format!(
            "subtask {subtask} has finished without leaving a snapshot, which it does only with periodic checkpoints ({key})"
        );
        let failure = Failure::new(Blame::User, message);
        match plan.request {
            Some(request) => self.answer(request, Err(failure)),
            None => self.stop_failed(failure),
        }
        None
    }

    fn has_room(&self) -> bool {
        let under_way = self.pending.values().filter(|pending| !matches!(pending.stage, Stage::GivenUp)).count();
        under_way < self.settings.max_concurrent as usize
    }

    /// The number from which on a checkpoint is the last of all subtasks that have not finished, if all have taken all
    /// their input.
    fn all_ended(&self) -> Option<CheckpointId> {
        self.ends.all_said(self.total)
    }

    /// When the next checkpoint is due that nobody has asked for. `None` when something else has to happen first.
    fn periodic(&self, ready: Timestamp) -> Option<Timestamp> {
        let interval = self.settings.interval.filter(|_| self.stop.is_none())?;
        if !self.has_room() {
            return None;
        }
        if let Some(first) = self.all_ended() {
            let under_way = self.pending.range(first..).any(|(_, p)| !matches!(p.stage, Stage::GivenUp));
            return (!under_way).then_some(self.retry);
        }
        let pause = self.last_end.map_or(Timestamp(0), |end| end.after(self.settings.min_pause));
        let regular = if self.again { ready } else { self.last_trigger.max(ready).after(interval) };
        Some(regular.max(pause))
    }

    /// When something has to be done although nothing happens.
    pub(crate) fn next_timer(&self, now: Timestamp) -> Option<Timestamp> {
        let deadlines = self.pending.values().filter(|pending| pending.is_acknowledging()).map(|p| p.deadline);
        let trigger = self.ready.filter(|_| self.ends.without_snapshot().is_none());
        let trigger = trigger.and_then(|ready| self.ends.hold(now).or_else(|| self.periodic(ready)));
        deadlines.chain(trigger).min()
    }

    /// The number of the next checkpoint.
    pub(crate) fn next(&self) -> CheckpointId {
        self.next
    }

    /// Triggers what was due: gives the barrier that sources have to send.
    pub(crate) fn begin(
        &mut self,
        plan: Plan,
        graph: &JobGraph,
        sources: BTreeMap<VertexId, SourceProgress>,
        now: Timestamp,
    ) -> Option<Barrier> {
        let (checkpoint, kind) = (self.next, plan.kind);
        let (directory, shared_directory) = self.directories(&plan, now)?;
        self.next = CheckpointId(checkpoint.0 + 1);
        let alignment = self.settings.alignment_of(kind);
        let barrier = Barrier { checkpoint, kind, alignment, triggered_ms: now.0, directory, shared_directory };
        self.tracker.triggered(&barrier, graph);
        let mut needs = self.files.begin(&barrier.directory);
        let mut snapshots = BTreeMap::new();
        for vertex in &graph.vertices {
            for id in (0..vertex.parallelism).map(|index| SubtaskId { vertex: vertex.id, index }) {
                let last = self.ends.last(id).flatten().cloned();
                if let Some(last) = &last {
                    self.files.need(&mut needs, last);
                    self.tracker.acknowledged(checkpoint, id, last.bytes(), SnapshotTimes::default(), now);
                }
                snapshots.insert(id, last);
            }
        }
        if kind.is_savepoint() {
            // That of a stop counts by a copy of its metadata.
            self.used |= kind == SnapshotKind::StopWithSavepoint;
            self.stop_begun(kind, checkpoint);
        } else {
            self.used = true;
            self.again = false;
            self.last_trigger = now;
        }
        let deadline = now.after(self.settings.timeout);
        let pending = Pending::new(barrier.clone(), deadline, plan.request, needs, snapshots, sources);
        self.pending.insert(checkpoint, pending);
        tracing::debug!(job = %self.job, %checkpoint, ?kind, "checkpoint is triggered");
        Some(barrier)
    }

    /// Where its own files go, and where those that may be shared.
    fn directories(&self, plan: &Plan, now: Timestamp) -> Option<(String, String)> {
        if plan.kind.is_savepoint() {
            let target = plan.target.as_ref().or(self.settings.savepoint_directory.as_ref())?;
            let job = self.job.to_string();
            let unique = super::stop::unique(self.job, self.next, now);
            let directory = format!("{}/savepoint-{}-{unique}", target.trim_end_matches('/'), &job[..6]);
            return Some((directory.clone(), directory));
        }
        let base = self.base.as_ref()?;
        Some((format!("{base}/chk-{}", self.next), format!("{base}/shared")))
    }

    /// A subtask has confirmed a checkpoint. `current`: in its current execution.
    pub(crate) fn acknowledge(
        &mut self,
        current: bool,
        subtask: SubtaskId,
        id: CheckpointId,
        (snapshot, times): (SubtaskSnapshot, SnapshotTimes),
        (graph, now): (&JobGraph, Timestamp),
    ) {
        let Some(pending) = self.pending.get_mut(&id).filter(|pending| current && pending.misses(subtask)) else {
            let lost: Vec<String> = self.lost.iter().cloned().collect();
            let removed = self.files.refuse(&snapshot, &lost, self.next);
            return self.discard(removed);
        };
        self.files.need(&mut pending.needs, &snapshot);
        self.tracker.acknowledged(id, subtask, snapshot.bytes(), times, now);
        if pending.acknowledge(subtask, snapshot) {
            let checkpoint = pending.complete(graph, now);
            pending.stage = Stage::Storing(Arc::new(checkpoint.clone()));
            self.push(Effect::Act(Action::StoreCheckpoint(Box::new(checkpoint))));
        }
    }

    /// A subtask can't take its part.
    pub(crate) fn decline(&mut self, subtask: SubtaskId, id: CheckpointId, failure: Failure, now: Timestamp) {
        if !self.pending.get(&id).is_some_and(|pending| pending.misses(subtask)) {
            return;
        }
        // Where barriers of two checkpoints meet, the older one is given up: nothing has failed.
        let newer = self.pending.range(id..).any(|(other, pending)| *other > id && pending.is_acknowledging());
        match newer {
            true => self.abort(id, failure, now),
            false => self.fail(id, failure, now),
        }
    }

    /// Gives up what takes too long.
    pub(crate) fn expire(&mut self, now: Timestamp) {
        let late = |pending: &&Pending| pending.is_acknowledging() && pending.deadline <= now;
        let late: Vec<CheckpointId> = self.pending.values().filter(late).map(Pending::id).collect();
        for id in late {
            let message = format!(
                "checkpoint {id} was not complete within {:?} ({})",
                self.settings.timeout,
                options::TIMEOUT.key
            );
            self.fail(id, Failure::new(Blame::Outside, message), now);
        }
    }

    /// The driver has stored a checkpoint, or could not (CC-2).
    pub(crate) fn stored(&mut self, id: CheckpointId, result: Result<(), Failure>, now: Timestamp) {
        let stage = self.pending.get(&id).map(|pending| pending.stage.clone());
        match (stage, result) {
            (Some(Stage::Storing(checkpoint)), Ok(())) => self.complete(checkpoint, now),
            (Some(Stage::Storing(_)), Err(failure)) => self.not_stored(id, failure, now),
            (Some(Stage::GivenUp), _) => self.forget(id),
            (Some(Stage::Acknowledging) | None, _) => {}
        }
    }

    fn complete(&mut self, checkpoint: Arc<CompletedCheckpoint>, now: Timestamp) {
        let id = checkpoint.id;
        let Some(pending) = self.pending.remove(&id) else { return };
        self.tracker.completed(id, now);
        tracing::debug!(job = %self.job, checkpoint = %id, kind = ?checkpoint.kind, "checkpoint is complete");
        let taken = SnapshotTaken { checkpoint: id, directory: checkpoint.directory.clone() };
        if let Some(request) = pending.request {
            self.answer(request, Ok(taken.clone()));
        }
        if checkpoint.kind.is_savepoint() {
            self.files.pin(&pending.needs);
            if !self.stop_stored(&taken) {
                return;
            }
        }
        self.subsume(id, now);
        let owned = !checkpoint.kind.is_savepoint();
        let kept = Kept { checkpoint: Arc::clone(&checkpoint), needs: pending.needs, owned, damaged: false };
        self.push(Effect::Completed(id));
        for old in self.store.add(kept, self.settings.retained) {
            if old.owned {
                self.tracker.discarded(old.checkpoint.id);
            }
            let removed = self.files.release(old.needs, self.next);
            self.discard(removed);
        }
        let swept = self.files.sweep(id, self.pending.keys().next().copied());
        self.discard(swept);
        self.failures = 0;
        self.full &= !owned;
        self.last_end = Some(now);
        let subtasks = checkpoint
            .vertices
            .iter()
            .flat_map(|vertex| (0..vertex.parallelism).map(|index| SubtaskId { vertex: vertex.vertex, index }));
        self.ends.completed(&checkpoint, subtasks, now.after(self.settings.timeout));
    }

    /// Gives up the checkpoints that were triggered before one that has completed.
    fn subsume(&mut self, completed: CheckpointId, now: Timestamp) {
        let older = self.pending.range(..completed).filter(|(_, pending)| !pending.kind().is_savepoint());
        let older: Vec<CheckpointId> = older.map(|(id, _)| *id).collect();
        for id in older {
            let message = format!("checkpoint {id} was overtaken by checkpoint {completed}");
            self.abort(id, Failure::new(Blame::Outside, message), now);
        }
    }

    /// A checkpoint has failed, and counts as a failure unless it is a savepoint.
    pub(super) fn fail(&mut self, id: CheckpointId, failure: Failure, now: Timestamp) {
        let Some(kind) = self.pending.get(&id).map(Pending::kind) else { return };
        self.retry = Timestamp(now.0.saturating_add(RETRY_MS));
        self.abort(id, failure.clone(), now);
        if kind.is_savepoint() {
            return;
        }
        self.failures += 1;
        if self.failures > self.settings.tolerable_failures {
            let message = format!(
                "{} checkpoints in a row have failed, {} are tolerated ({}); the last, number {id}: {}",
                self.failures,
                self.settings.tolerable_failures,
                options::TOLERABLE_FAILURES.key,
                failure.message
            );
            self.failures = 0;
            self.push(Effect::Fail(Failure { message, ..failure }));
        }
    }

    /// Gives a pending checkpoint up.
    pub(super) fn abort(&mut self, id: CheckpointId, failure: Failure, now: Timestamp) {
        let Some(pending) = self.pending.get_mut(&id).filter(|p| !matches!(p.stage, Stage::GivenUp)) else { return };
        tracing::info!(job = %self.job, checkpoint = %id, "checkpoint is given up: {failure}");
        let storing = !pending.is_acknowledging();
        pending.stage = Stage::GivenUp;
        let request = pending.request.take();
        self.tracker.failed(id, &failure, now);
        self.last_end = Some(now);
        if let Some(request) = request {
            self.answer(request, Err(failure.clone()));
        }
        self.push(Effect::Aborted(id));
        // Its metadata may be on the way: its files go when the driver has said what became of it.
        if !storing {
            self.forget(id);
        }
        self.stop_aborted(id, failure);
    }

    /// A subtask has taken all its input.
    pub(crate) fn end_of_data(&mut self, subtask: SubtaskId) {
        self.ends.end_of_data(subtask, self.next);
    }

    /// A subtask has finished: checkpoints that miss its confirmation are taken again, without it.
    pub(crate) fn finished(&mut self, subtask: SubtaskId, now: Timestamp) {
        let newest = self.store.newest().map(Arc::clone);
        self.ends.finish(subtask, newest.as_deref());
        let missing: Vec<CheckpointId> =
            self.pending.values().filter(|pending| pending.misses(subtask)).map(Pending::id).collect();
        for id in missing {
            self.again = true;
            self.stop_again(id);
            let message = format!("subtask {subtask} finished before it had confirmed checkpoint {id}");
            self.abort(id, Failure::new(Blame::Outside, message), now);
        }
    }

    /// Checkpoints that subtasks may be restored from, and those that may become such.
    pub(crate) fn restorable(&self) -> (Vec<CheckpointId>, Vec<CheckpointId>) {
        (self.store.iter().map(|kept| kept.checkpoint.id).collect(), self.pending.keys().copied().collect())
    }

    /// All that is shown.
    pub(crate) fn statistics(&self) -> CheckpointStatistics {
        CheckpointStatistics {
            settings: self.settings.clone(),
            directory: self.base.clone(),
            counts: self.tracker.counts,
            latest_completed: self.tracker.latest_completed.clone(),
            latest_savepoint: self.tracker.latest_savepoint.clone(),
            latest_failed: self.tracker.latest_failed.clone(),
            latest_restored: self.tracker.latest_restored.clone(),
            history: self.tracker.history(),
        }
    }
}

fn no_directory(key: &str) -> Failure {
    Failure::new(Blame::User, format!("there is no directory for it: set {key}"))
}
