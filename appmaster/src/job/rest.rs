//! What REST asks of the job: answered at once, from what is known.

use std::collections::BTreeMap;

use flumen_jobmaster::{Event as JobEvent, SnapshotRequest, SnapshotWish};
use flumen_model::ids::ExecutorId;
use tokio::sync::oneshot;

use super::operations::Begun;
use super::{Effect, JobDriver, OperationKind};
use crate::clock::Moment;
use crate::rest::{CancelReply, ExecutorView, RestRequest, SnapshotOrder, TriggerReply};

impl JobDriver {
    pub(super) fn rest(&mut self, now: Moment, request: RestRequest, effects: &mut Vec<Effect>) {
        match request {
            RestRequest::Jobs { reply } => answer(reply, vec![self.master.details()]),
            RestRequest::Executors { reply } => answer(reply, self.executor_views()),
            RestRequest::Cancel { job, reply } => {
                let status = self.master.status();
                let outcome = match job == self.job {
                    false => CancelReply::Unknown,
                    true if status.is_terminal() => CancelReply::AlreadyOver(status),
                    true => CancelReply::Accepted,
                };
                answer(reply, outcome);
                if outcome == CancelReply::Accepted {
                    self.cancel(now, "its user asked for it", effects);
                }
            }
            RestRequest::Checkpoints { job, reply } => {
                answer(reply, (job == self.job).then(|| self.master.checkpoints()));
            }
            RestRequest::Snapshot { order, reply } => {
                let outcome = self.snapshot(now, order, effects);
                answer(reply, outcome);
            }
            RestRequest::Dispose { trigger, path, reply } => {
                let begun = self.operations.begin(trigger, OperationKind::Disposal);
                if begun == Begun::New {
                    effects.push(Effect::DisposeSavepoint { trigger, path });
                }
                answer(reply, if begun == Begun::Refused { TriggerReply::TooMany } else { TriggerReply::Accepted });
            }
            RestRequest::Operation { trigger, kind, reply } => answer(reply, self.operations.read(trigger, kind)),
            RestRequest::ClientHeartbeat { job, expires, reply } => {
                let known = job == self.job;
                if known {
                    self.watch.heard(expires);
                }
                answer(reply, known);
            }
        }
    }

    fn snapshot(&mut self, now: Moment, order: SnapshotOrder, effects: &mut Vec<Effect>) -> TriggerReply {
        let SnapshotOrder { job, trigger, wish, then_cancel } = order;
        let status = self.master.status();
        let kind = match wish {
            SnapshotWish::Checkpoint { .. } => OperationKind::Checkpoint,
            SnapshotWish::Savepoint { .. } | SnapshotWish::Stop { .. } => OperationKind::Savepoint,
        };
        match &wish {
            _ if job != self.job => return TriggerReply::UnknownJob,
            // A repeated request is answered as the first one was, even if the job is over meanwhile.
            _ if self.operations.knows(trigger, kind) => return TriggerReply::Accepted,
            _ if status.is_terminal() => return TriggerReply::AlreadyOver(status),
            SnapshotWish::Savepoint { target: None } | SnapshotWish::Stop { target: None, .. }
                if !self.has_savepoint_directory =>
            {
                return TriggerReply::NoDirectory;
            }
            SnapshotWish::Checkpoint { .. } | SnapshotWish::Savepoint { .. } | SnapshotWish::Stop { .. } => {}
        }
        match self.operations.begin(trigger, kind) {
            Begun::Known => TriggerReply::Accepted,
            Begun::Refused => TriggerReply::TooMany,
            Begun::New => {
                tracing::info!(%job, %trigger, ?wish, "a snapshot was asked for");
                let request = self.operations.ask(trigger, then_cancel);
                self.job_event(now, JobEvent::Snapshot(SnapshotRequest { request, wish }), effects);
                TriggerReply::Accepted
            }
        }
    }

    /// Whether there are results that whoever started the operation has not seen yet.
    pub fn awaits_reader(&self) -> bool {
        self.operations.awaits_reader()
    }

    fn executor_views(&self) -> Vec<ExecutorView> {
        let details = self.master.details();
        let mut used: BTreeMap<&ExecutorId, u32> = BTreeMap::new();
        for vertex in &details.vertices {
            let mut here: BTreeMap<&ExecutorId, u32> = BTreeMap::new();
            for subtask in vertex.subtasks.iter().filter(|subtask| !subtask.state.is_terminal()) {
                if let Some(id) = &subtask.executor {
                    *here.entry(id).or_default() += 1;
                }
            }
            // A slot holds one subtask of every vertex.
            for (id, count) in here {
                let slots = used.entry(id).or_default();
                *slots = count.max(*slots);
            }
        }
        self.executors.views(|id| used.get(id).copied().unwrap_or(0))
    }
}

/// Answers a question. Whoever asked may have gone; then nobody misses the answer.
fn answer<T>(reply: oneshot::Sender<T>, answer: T) {
    let _ = reply.send(answer);
}
