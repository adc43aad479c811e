//! Asks the main loop, with a limit.

use std::sync::Arc;
use std::time::Duration;

use flumen_jobmaster::{CheckpointStatistics, JobDetails, Timestamp};
use flumen_model::ids::JobId;
use flumen_wire::application::JobSubmission;
use tokio::sync::oneshot;

use super::error::RestError;
use super::{CancelReply, ExecutorView, RestRequest, RestState, SnapshotOrder, SubmitReply, TriggerReply};
use crate::dispatcher::{OperationKind, OperationState, TriggerId};

/// The main loop answers from memory: when it takes longer it is in trouble, and a client is better told so than kept.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// A job is accepted once its outputs are claimed on a file system that may be failing over meanwhile. Who is sent away
/// may submit the same job again and waits on.
const ADMISSION_WITHIN: Duration = Duration::from_secs(60);

impl RestState {
    pub(super) async fn jobs(&self) -> Result<Vec<Arc<JobDetails>>, RestError> {
        self.ask(|reply| RestRequest::Jobs { reply }).await
    }

    pub(super) async fn job(&self, id: JobId) -> Result<Arc<JobDetails>, RestError> {
        self.ask(|reply| RestRequest::Job { job: id, reply }).await?.ok_or(RestError::NoJob(id))
    }

    /// Has a job run.
    pub(super) async fn submit(&self, submission: Box<JobSubmission>) -> Result<(), RestError> {
        let ask = self.ask_within(ADMISSION_WITHIN, |reply| RestRequest::Submit { submission, reply });
        match ask.await? {
            SubmitReply::Accepted => Ok(()),
            SubmitReply::Refused(reason) => Err(RestError::Refused(reason)),
            SubmitReply::OtherJob => Err(RestError::OneJobOnly),
            SubmitReply::Ending => Err(RestError::Ending),
        }
    }

    /// Ends the cluster.
    pub(super) async fn shut_down(&self) -> Result<(), RestError> {
        self.ask(|reply| RestRequest::Shutdown { reply }).await
    }

    pub(super) async fn executors(&self) -> Result<Vec<ExecutorView>, RestError> {
        self.ask(|reply| RestRequest::Executors { reply }).await
    }

    /// Cancels a job. That it is being cancelled, or was, is no error.
    pub(super) async fn cancel(&self, job: JobId) -> Result<(), RestError> {
        use flumen_model::status::JobStatus;
        match self.ask(|reply| RestRequest::Cancel { job, reply }).await? {
            CancelReply::Accepted | CancelReply::AlreadyOver(JobStatus::Canceled) => Ok(()),
            CancelReply::AlreadyOver(status) => Err(RestError::AlreadyOver(status)),
            CancelReply::Unknown => Err(RestError::NoJob(job)),
        }
    }

    pub(super) async fn checkpoints(&self, job: JobId) -> Result<CheckpointStatistics, RestError> {
        let statistics = self.ask(|reply| RestRequest::Checkpoints { job, reply }).await?;
        let statistics = statistics.ok_or(RestError::NoJob(job))?;
        if statistics.settings.batch { Err(RestError::NoCheckpoints(job)) } else { Ok(statistics) }
    }

    /// Starts a snapshot.
    pub(super) async fn snapshot(&self, order: SnapshotOrder) -> Result<(), RestError> {
        let job = order.job;
        triggered(self.ask(|reply| RestRequest::Snapshot { order, reply }).await?, job)
    }

    /// Starts the removal of a savepoint.
    pub(super) async fn dispose(&self, trigger: TriggerId, path: String) -> Result<(), RestError> {
        triggered(self.ask(|reply| RestRequest::Dispose { trigger, path, reply }).await?, JobId(0))
    }

    pub(super) async fn operation(
        &self,
        job: Option<JobId>,
        trigger: TriggerId,
        kind: OperationKind,
    ) -> Result<OperationState, RestError> {
        let what = match kind {
            OperationKind::Checkpoint => "checkpoint operation",
            OperationKind::Savepoint => "savepoint operation",
            OperationKind::Disposal => "savepoint disposal",
        };
        let state = self.ask(|reply| RestRequest::Operation { job, trigger, kind, reply }).await?;
        state.ok_or(RestError::NoOperation { what, trigger })
    }

    pub(super) async fn client_heartbeat(&self, job: JobId, expires: Timestamp) -> Result<(), RestError> {
        let known = self.ask(|reply| RestRequest::ClientHeartbeat { job, expires, reply }).await?;
        if known { Ok(()) } else { Err(RestError::NoJob(job)) }
    }

    pub(super) fn now(&self) -> Timestamp {
        (self.options.clock)()
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> RestRequest) -> Result<T, RestError> {
        self.ask_within(ANSWER_WITHIN, request).await
    }

    async fn ask_within<T>(
        &self,
        limit: Duration,
        request: impl FnOnce(oneshot::Sender<T>) -> RestRequest,
    ) -> Result<T, RestError> {
        let (reply, answer) = oneshot::channel();
        let exchange = async {
            self.requests.send(request(reply)).await.map_err(|_| RestError::Ending)?;
            answer.await.map_err(|_| RestError::Ending)
        };
        tokio::time::timeout(limit, exchange).await.unwrap_or(Err(RestError::Busy))
    }
}

fn triggered(reply: TriggerReply, job: JobId) -> Result<(), RestError> {
    match reply {
        TriggerReply::Accepted => Ok(()),
        TriggerReply::UnknownJob => Err(RestError::NoJob(job)),
        TriggerReply::AlreadyOver(status) => Err(RestError::JobOver(status)),
        TriggerReply::NotBegun => Err(RestError::NotBegun),
        TriggerReply::NoDirectory => Err(RestError::NoSavepointDirectory),
        TriggerReply::TooMany => Err(RestError::TooManyOperations),
    }
}
