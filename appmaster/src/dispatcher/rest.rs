//! What REST asks of the application and its jobs: answered at once, from what is known.

use std::sync::Arc;

use flumen_jobmaster::{CheckpointStatistics, Event as JobEvent, JobDetails, SnapshotRequest, SnapshotWish};
use flumen_model::ids::JobId;
use flumen_wire::application::JobSubmission;
use tokio::sync::oneshot;

use super::operations::Begun;
use super::{Dispatcher, Effect, JOBS_MAX, OperationKind, OperationState, TriggerId};
use crate::clock::Moment;
use crate::rest::{CancelReply, RestRequest, SnapshotOrder, SubmitReply, TriggerReply};

impl Dispatcher {
    pub(super) fn rest(&mut self, now: Moment, request: RestRequest, effects: &mut Vec<Effect>) {
        match request {
            RestRequest::Jobs { reply } => answer(reply, self.all_jobs()),
            RestRequest::Job { job, reply } => answer(reply, self.details(job)),
            RestRequest::Executors { reply } => answer(reply, self.executors.views(|id| self.pool.used(id))),
            RestRequest::Submit { submission, reply } => self.submit(now, *submission, reply, effects),
            // That has to be told YARN: whoever asks is sent away, and asks the next attempt.
            RestRequest::Shutdown { .. } if self.stands_in && self.session => {}
            RestRequest::Shutdown { reply } => {
                answer(reply, ());
                self.shut_down(now, effects);
            }
            RestRequest::Cancel { job, reply } => {
                let outcome = match self.jobs.get(&job) {
                    Some(_) => CancelReply::Accepted,
                    None => {
                        let archived = self.archive.get(job);
                        archived.map_or(CancelReply::Unknown, |job| CancelReply::AlreadyOver(job.details.status))
                    }
                };
                answer(reply, outcome);
                self.cancel(now, job, "its user asked for it", effects);
            }
            RestRequest::Checkpoints { job, reply } => answer(reply, self.checkpoints(job)),
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
            RestRequest::Operation { job, trigger, kind, reply } => answer(reply, self.operation(job, trigger, kind)),
            RestRequest::ClientHeartbeat { job, expires, reply } => {
                let live = self.jobs.get_mut(&job);
                let known = live.map(|job| job.watch.heard(expires)).is_some() || self.archive.get(job).is_some();
                answer(reply, known);
            }
        }
    }

    /// Whether there are results that whoever started the operation has not seen yet.
    pub fn awaits_reader(&self) -> bool {
        let of_jobs = self.jobs.values().map(|job| &job.operations);
        let of_archived = self.archive.iter().map(|archived| &archived.operations);
        of_jobs.chain(of_archived).chain([&self.operations]).any(super::Operations::awaits_reader)
    }

    fn submit(
        &mut self,
        now: Moment,
        submission: JobSubmission,
        reply: oneshot::Sender<SubmitReply>,
        effects: &mut Vec<Effect>,
    ) {
        let id = submission.job;
        if let Some(job) = self.jobs.get_mut(&id) {
            // The same submission again, whose answer may have been lost.
            job.reply_on_admission(reply);
        } else if self.archive.get(id).is_some() {
            answer(reply, SubmitReply::Accepted);
        } else if !self.session {
            answer(reply, SubmitReply::OtherJob);
        } else if self.stopping {
            answer(reply, SubmitReply::Ending);
        } else if self.jobs.len() >= JOBS_MAX {
            answer(reply, SubmitReply::Refused(format!("{JOBS_MAX} jobs live already: wait for one to end")));
        } else if let Err(error) = self.admit(now, submission, true, Some(reply), effects) {
            tracing::warn!(job = %id, %error, "a job is refused");
        }
    }

    fn shut_down(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        tracing::info!(jobs = self.jobs.len(), "the cluster is told to shut down");
        // Without a job (its program is still being asked for it) there is nothing else to wait for.
        self.stopping = self.session || self.jobs.is_empty();
        let jobs: Vec<JobId> = self.jobs.keys().copied().collect();
        for job in jobs {
            self.cancel(now, job, "its cluster was shut down", effects);
        }
    }

    /// The latest first.
    fn all_jobs(&self) -> Vec<Arc<JobDetails>> {
        let mut live: Vec<_> = self.jobs.values().collect();
        live.sort_by_key(|job| std::cmp::Reverse(job.number));
        let mut all: Vec<_> = live.into_iter().map(|job| Arc::new(job.details())).collect();
        all.extend(self.archive.iter().map(|archived| Arc::clone(&archived.details)));
        all.sort_by_key(|job| std::cmp::Reverse(job.start));
        all
    }

    fn details(&self, job: JobId) -> Option<Arc<JobDetails>> {
        let live = self.jobs.get(&job).map(|job| Arc::new(job.details()));
        live.or_else(|| self.archive.get(job).map(|archived| Arc::clone(&archived.details)))
    }

    fn checkpoints(&self, job: JobId) -> Option<CheckpointStatistics> {
        let live = self.jobs.get(&job).map(|job| job.master.checkpoints());
        live.or_else(|| self.archive.get(job).map(|archived| archived.checkpoints.clone()))
    }

    fn operation(&mut self, job: Option<JobId>, trigger: TriggerId, kind: OperationKind) -> Option<OperationState> {
        let operations = match job {
            None => &mut self.operations,
            Some(id) => match self.jobs.get_mut(&id) {
                Some(job) => &mut job.operations,
                None => &mut self.archive.get_mut(id)?.operations,
            },
        };
        operations.read(trigger, kind)
    }

    fn snapshot(&mut self, now: Moment, order: SnapshotOrder, effects: &mut Vec<Effect>) -> TriggerReply {
        let SnapshotOrder { job: id, trigger, wish, then_cancel } = order;
        let kind = match wish {
            SnapshotWish::Checkpoint { .. } => OperationKind::Checkpoint,
            SnapshotWish::Savepoint { .. } | SnapshotWish::Stop { .. } => OperationKind::Savepoint,
        };
        let Some(job) = self.jobs.get_mut(&id) else {
            // A repeated request is answered as the first one was, even if the job is over meanwhile.
            return match self.archive.get(id) {
                None => TriggerReply::UnknownJob,
                Some(archived) if archived.operations.knows(trigger, kind) => TriggerReply::Accepted,
                Some(archived) => TriggerReply::AlreadyOver(archived.details.status),
            };
        };
        let in_default_directory =
            matches!(wish, SnapshotWish::Savepoint { target: None } | SnapshotWish::Stop { target: None, .. });
        if job.operations.knows(trigger, kind) {
            return TriggerReply::Accepted;
        } else if let Some(result) = &job.result {
            return TriggerReply::AlreadyOver(result.status);
        } else if job.is_pending() {
            return TriggerReply::NotBegun;
        } else if in_default_directory && !job.has_savepoint_directory {
            return TriggerReply::NoDirectory;
        }
        match job.operations.begin(trigger, kind) {
            Begun::Known => TriggerReply::Accepted,
            Begun::Refused => TriggerReply::TooMany,
            Begun::New => {
                tracing::info!(job = %id, %trigger, ?wish, "a snapshot was asked for");
                let request = job.operations.ask(trigger, then_cancel);
                self.job_event(now, id, JobEvent::Snapshot(SnapshotRequest { request, wish }), effects);
                TriggerReply::Accepted
            }
        }
    }
}

/// Answers a question. Whoever asked may have gone; then nobody misses the answer.
fn answer<T>(reply: oneshot::Sender<T>, answer: T) {
    let _ = reply.send(answer);
}
