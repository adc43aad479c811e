//! Where a subtask stands between start and end, and its part in checkpoints: common to sources and receivers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use flumen_model::checkpoint::{Barrier, CheckpointId, Redistribution, SnapshotKind};
use flumen_model::failure::{Blame, Failure};
use flumen_model::ids::OperatorId;
use flumen_state::SnapshotStep;
use flumen_wire::control::FromWorker;

use crate::batch::EventTime;
use crate::checkpoint::{Overtaken, Snapshot};
use crate::exchange::input::BarrierTimes;
use crate::operator::{Clock, Push, Signal, TaskResult};
use crate::sources::Source;
use crate::subtask::SubtaskContext;
use crate::task::{REST_MAX, signal_end};
use crate::upload::{self, Timing, Uploaded};

/// How far a subtask is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It takes input.
    Running,
    /// It has emitted everything and waits for a checkpoint that says so.
    Ended,
    /// It waits for the end of the savepoint that stopped it.
    Stopped(CheckpointId),
    /// It has nothing more to do.
    Over,
}

/// See the module.
pub(crate) struct TaskState {
    context: SubtaskContext,
    pub(crate) stage: Stage,
    /// The first checkpoint whose snapshot was taken after the end of the data.
    first_after_end: Option<CheckpointId>,
    /// What running snapshots of operators need between batches.
    background: SnapshotStep,
    /// When an operator wants to be told the time, in milliseconds since 1970.
    next_time: Option<i64>,
    /// A snapshot whose overtaken records are not complete yet.
    overtaking: Option<(Snapshot, Timing)>,
    uploaded: Uploaded,
}

impl TaskState {
    pub(crate) fn new(context: SubtaskContext) -> Self {
        Self {
            uploaded: Uploaded::restored(&context.restored),
            context,
            stage: Stage::Running,
            first_after_end: None,
            background: SnapshotStep::Done,
            next_time: None,
            overtaking: None,
        }
    }

    /// Whether the subtask may not take input, because its writers wait for credit or it is too far ahead of others.
    pub(crate) fn is_blocked<T>(&mut self, head: &mut dyn Push<T>) -> TaskResult<bool> {
        if !self.context.backlog.is_empty() {
            head.signal(Signal::Resume)?;
        }
        Ok(!self.context.backlog.is_empty())
    }

    /// The JobMaster says how far a group with aligned watermarks is.
    pub(crate) fn align<T>(&mut self, head: &mut dyn Push<T>, group: &str, least: Option<EventTime>) -> TaskResult {
        if self.stage == Stage::Running { head.signal(Signal::Align(group, least)) } else { Ok(()) }
    }

    /// Fires timers that are due, and lets running snapshots go on.
    pub(crate) fn between_batches<T>(&mut self, head: &mut dyn Push<T>) -> TaskResult {
        // Behind the end of the data, and behind the barrier that stopped the subtask, nothing may be emitted any more.
        self.next_time = None;
        if self.stage == Stage::Running {
            let mut clock = Clock { now: self.context.worker.time.now(), next: None };
            head.signal(Signal::Time(&mut clock))?;
            self.next_time = clock.next;
        }
        if self.background > SnapshotStep::Done {
            self.background = SnapshotStep::Done;
            head.signal(Signal::Background(&mut self.background))?;
        }
        Ok(())
    }

    /// Called when there is no input, or none may be taken: does what else there is to do, and says for how long the
    /// subtask may sleep.
    pub(crate) fn rest<T>(&mut self, head: &mut dyn Push<T>) -> TaskResult<Duration> {
        self.between_batches(head)?;
        if self.context.backlog.may_send() {
            head.signal(Signal::Flush)?;
        }
        if self.background == SnapshotStep::More {
            return Ok(Duration::ZERO);
        }
        let until_timer = self.next_time.map(|at| {
            Duration::from_millis(u64::try_from(at.saturating_sub(self.context.worker.time.now())).unwrap_or(0))
        });
        Ok(until_timer.map_or(REST_MAX, |wait| wait.clamp(Duration::from_millis(1), REST_MAX)))
    }

    /// All channels have delivered the barrier, or it has overtaken them, or (`times` is `None`) the JobMaster asked for
    /// it, because nobody sends to this subtask any more.
    pub(crate) fn barrier<T>(
        &mut self,
        head: &mut dyn Push<T>,
        barrier: Arc<Barrier>,
        times: Option<BarrierTimes>,
    ) -> TaskResult {
        self.snapshot(head, Snapshot::new((*barrier).clone()), times)
    }

    /// The JobMaster asks a source for a checkpoint.
    pub(crate) fn source_barrier<T>(
        &mut self,
        head: &mut dyn Push<T>,
        barrier: Barrier,
        operator: OperatorId,
        source: &mut dyn Source<T>,
    ) -> TaskResult {
        let mut snapshot = Snapshot::new(barrier);
        let position = source.snapshot(&self.context)?;
        let items = position.items.iter().map(Vec::as_slice);
        snapshot.list(operator, Position::NAME, position.redistribution, &position.schema, items);
        self.snapshot(head, snapshot, None)
    }

    fn snapshot<T>(
        &mut self,
        head: &mut dyn Push<T>,
        mut snapshot: Snapshot,
        times: Option<BarrierTimes>,
    ) -> TaskResult {
        let begun = Instant::now();
        head.signal(Signal::Barrier(&mut snapshot))?;
        self.background = SnapshotStep::More;
        let checkpoint = snapshot.barrier().checkpoint;
        match self.stage {
            // One that has stopped already may not have heard yet that the savepoint was given up for which it did.
            Stage::Running | Stage::Stopped(_) if snapshot.barrier().kind == SnapshotKind::StopWithSavepoint => {
                self.stage = Stage::Stopped(checkpoint);
            }
            Stage::Ended => {
                self.first_after_end.get_or_insert(checkpoint);
            }
            Stage::Running | Stage::Stopped(_) | Stage::Over => {}
        }
        let timing = Timing {
            first_barrier: times.map_or(begun, |times| times.first),
            begun,
            sync: begun.elapsed(),
            unaligned: times.is_some_and(|times| times.unaligned),
        };
        if timing.unaligned {
            self.overtaking = Some((snapshot, timing));
        } else {
            upload::start(&self.context, snapshot, timing, &self.uploaded);
        }
        Ok(())
    }

    /// What the barrier overtook is complete.
    pub(crate) fn overtaken(&mut self, checkpoint: CheckpointId, overtaken: Overtaken) {
        if let Some((mut snapshot, timing)) = self.overtaking.take_if(|(s, _)| s.barrier().checkpoint == checkpoint) {
            snapshot.overtaken(overtaken);
            upload::start(&self.context, snapshot, timing, &self.uploaded);
        }
    }

    /// A newer checkpoint's barrier came before the last one of this checkpoint.
    pub(crate) fn overrun(&mut self, checkpoint: CheckpointId) {
        self.overtaking.take_if(|(snapshot, _)| snapshot.barrier().checkpoint <= checkpoint);
        self.context.report(FromWorker::CheckpointDeclined {
            attempt: self.context.attempt,
            subtask: self.context.id,
            checkpoint,
            failure: Failure::new(Blame::Flumen, "a newer checkpoint's barrier came before the last of this one"),
        });
    }

    /// A checkpoint is complete.
    pub(crate) fn completed<T>(&mut self, head: &mut dyn Push<T>, checkpoint: CheckpointId) -> TaskResult {
        self.uploaded.completed(checkpoint, self.context.local_copies());
        head.signal(Signal::Completed(checkpoint))?;
        let over = match self.stage {
            Stage::Ended => self.first_after_end.is_some_and(|first| first <= checkpoint),
            Stage::Stopped(savepoint) => savepoint == checkpoint,
            Stage::Running | Stage::Over => false,
        };
        if over {
            self.stage = Stage::Over;
        }
        Ok(())
    }

    /// A checkpoint will never be complete.
    pub(crate) fn aborted<T>(&mut self, head: &mut dyn Push<T>, checkpoint: CheckpointId) -> TaskResult {
        self.uploaded.aborted(checkpoint);
        self.overtaking.take_if(|(snapshot, _)| snapshot.barrier().checkpoint <= checkpoint);
        if self.stage == Stage::Stopped(checkpoint) {
            self.stage = Stage::Running;
        }
        head.signal(Signal::Aborted(checkpoint))
    }

    /// All input was taken: emits what is left. With checkpoints, the subtask then waits for one that says so.
    pub(crate) fn end_of_data<T>(&mut self, head: &mut dyn Push<T>) -> TaskResult {
        signal_end(head)?;
        if !self.context.worker.checkpointing {
            self.stage = Stage::Over;
            return Ok(());
        }
        self.stage = Stage::Ended;
        let (attempt, subtask) = (self.context.attempt, self.context.id);
        self.context.report(FromWorker::EndOfData { attempt, subtask });
        Ok(())
    }
}

/// The position of a source in a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// Serialised by the source.
    pub items: Vec<Vec<u8>>,
    /// Schema of the items, if they are values of a type of the program; empty when they are the source's own business.
    pub schema: String,
    /// Which subtasks get them after a restore.
    pub redistribution: Redistribution,
}
