//! Stop with savepoint: the last snapshot, after which the job ends.
//!
//! ```text
//! waiting ─▶ savepoint ─ stored ─▶ ending ─ all subtasks finished ─▶ (answered)
//!  │ drain: until all     │ failed: the job goes on; drained sources can't, and the job is restarted
//!  │ input is taken       ▼
//!  └──────────────▶ (answered)
//! ```

use flumen_model::checkpoint::{CheckpointId, SnapshotKind};
use flumen_model::failure::{Blame, Failure};
use flumen_model::ids::JobId;
use flumen_model::key_group::key_hash;

use super::coordinator::{Coordinator, Effect};
use super::pending::{Pending, Stage};
use crate::event::{RequestId, SnapshotTaken, Timestamp};

/// A job that is to stop.
#[derive(Debug)]
pub(crate) struct Stop {
    /// Who is to be answered; `None`: whoever asked a former leader.
    request: Option<RequestId>,
    target: Option<String>,
    drain: bool,
    stage: StopStage,
}

#[derive(Debug, PartialEq, Eq)]
enum StopStage {
    /// For its turn, or for the sources to end.
    Waiting,
    /// For that savepoint.
    Savepoint(CheckpointId),
    /// For all subtasks to finish.
    Ending(SnapshotTaken),
}

impl Stop {
    /// Where the savepoint goes that is to be triggered now; the outer `None` when none is.
    pub(crate) fn due(&self, all_ended: bool) -> Option<Option<String>> {
        (self.stage == StopStage::Waiting && (all_ended || !self.drain)).then(|| self.target.clone())
    }
}

impl Coordinator {
    pub(super) fn begin_stop(&mut self, request: RequestId, target: Option<String>, drain: bool) {
        self.stop = Some(Stop { request: Some(request), target, drain, stage: StopStage::Waiting });
        if drain {
            self.drained = true;
            self.push(Effect::Drain);
        }
    }

    /// The savepoint of a stop that a former leader was asked for is complete: the job ends.
    pub(super) fn adopt_stop(&mut self, taken: SnapshotTaken) {
        self.stop = Some(Stop { request: None, target: None, drain: false, stage: StopStage::Ending(taken) });
    }

    fn answer_stop(&mut self, request: Option<RequestId>, result: Result<SnapshotTaken, Failure>) {
        if let Some(request) = request {
            self.answer(request, result);
        }
    }

    /// A savepoint was triggered.
    pub(super) fn stop_begun(&mut self, kind: SnapshotKind, id: CheckpointId) {
        if let Some(stop) = self.stop.as_mut().filter(|_| kind == SnapshotKind::StopWithSavepoint) {
            stop.stage = StopStage::Savepoint(id);
        }
    }

    /// A savepoint is complete: whether it is that of a stop, which ends the job.
    pub(super) fn stop_stored(&mut self, taken: &SnapshotTaken) -> bool {
        let this = StopStage::Savepoint(taken.checkpoint);
        let Some(stop) = self.stop.as_mut().filter(|stop| stop.stage == this) else { return false };
        stop.stage = StopStage::Ending(taken.clone());
        true
    }

    /// The savepoint is to be taken again.
    pub(super) fn stop_again(&mut self, id: CheckpointId) {
        if let Some(stop) = self.stop.as_mut().filter(|stop| stop.stage == StopStage::Savepoint(id)) {
            stop.stage = StopStage::Waiting;
        }
    }

    /// A checkpoint was given up.
    pub(super) fn stop_aborted(&mut self, id: CheckpointId, failure: Failure) {
        if self.stop.as_ref().is_some_and(|stop| stop.stage == StopStage::Savepoint(id)) {
            self.stop_failed(failure);
        }
    }

    /// The savepoint can't be taken: the job goes on.
    pub(super) fn stop_failed(&mut self, failure: Failure) {
        let Some(stop) = self.stop.take() else { return };
        self.answer_stop(stop.request, Err(failure.clone()));
        if self.drained {
            let message = format!(
                "the savepoint of a stop failed after the sources had ended, so that the job can't go on as it is: {}",
                failure.message
            );
            self.push(Effect::Fail(Failure { message, ..failure }));
        }
    }

    /// Some subtasks have failed: what is under way can't be completed. True when the whole job has to be restarted
    /// because a stop has ended other subtasks, or will; asked when subtasks are `restarted`.
    pub(crate) fn interrupted(&mut self, restarted: bool, reason: &str, now: Timestamp) -> bool {
        let failure = Failure::new(Blame::Outside, reason);
        self.refuse_requests(&failure);
        let mut all = false;
        if restarted {
            all = std::mem::take(&mut self.drained);
            if let Some(stop) = self.stop.take() {
                all |= matches!(stop.stage, StopStage::Ending(_));
                self.stop_interrupted(stop, reason);
            }
        }
        let acknowledging = self.pending.values().filter(|pending| pending.is_acknowledging()).map(Pending::id);
        let acknowledging: Vec<CheckpointId> = acknowledging.collect();
        for id in acknowledging {
            self.stop_again(id);
            self.abort(id, failure.clone(), now);
        }
        all
    }

    fn stop_interrupted(&mut self, stop: Stop, reason: &str) {
        let message = match stop.stage {
            StopStage::Waiting => format!("the job could not be stopped: {reason}"),
            StopStage::Savepoint(id) => {
                let storing = self.pending.get(&id).filter(|pending| matches!(pending.stage, Stage::Storing(_)));
                let directory = storing.map(|pending| pending.barrier.directory.clone());
                match directory {
                    Some(directory) => {
                        // It becomes a savepoint like any other: subtasks that have stopped for it go on.
                        self.push(Effect::Aborted(id));
                        format!(
                            "the job could not be stopped, and goes on; its savepoint may be complete in {directory}: {reason}"
                        )
                    }
                    None => format!("the job could not be stopped: {reason}"),
                }
            }
            StopStage::Ending(taken) => format!(
                "the savepoint is complete in {}, but a subtask failed before the job had ended, so that the job goes on from it: {reason}",
                taken.directory
            ),
        };
        self.answer_stop(stop.request, Err(Failure::new(Blame::Outside, message)));
    }

    /// The job is over: the last answer.
    pub(super) fn stop_over(&mut self, finished: bool) {
        let Some(stop) = self.stop.take() else { return };
        match stop.stage {
            StopStage::Ending(taken) if finished => self.answer_stop(stop.request, Ok(taken)),
            StopStage::Ending(_) | StopStage::Waiting | StopStage::Savepoint(_) => {
                self.stop_interrupted(stop, "the job ended");
            }
        }
    }
}

/// Twelve digits that distinguish a savepoint's directory from every other one.
pub(super) fn unique(job: JobId, next: CheckpointId, now: Timestamp) -> String {
    let text = format!("{job} {next} {now}");
    format!("{:012x}", key_hash(text.as_bytes()) >> 16)
}
