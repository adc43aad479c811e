//! Asks the main loop, with a limit.

use std::time::Duration;

use flumen_jobmaster::{JobDetails, Timestamp};
use flumen_model::ids::JobId;
use tokio::sync::oneshot;

use super::error::RestError;
use super::{CancelReply, ExecutorView, RestRequest, RestState};

/// The main loop answers from memory: when it takes longer it is in trouble, and a client is better told so than kept.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

impl RestState {
    pub(super) async fn jobs(&self) -> Result<Vec<JobDetails>, RestError> {
        self.ask(|reply| RestRequest::Jobs { reply }).await
    }

    pub(super) async fn job(&self, id: JobId) -> Result<JobDetails, RestError> {
        self.jobs().await?.into_iter().find(|job| job.job == id).ok_or(RestError::NoJob(id))
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

    pub(super) async fn client_heartbeat(&self, job: JobId, expires: Timestamp) -> Result<(), RestError> {
        let known = self.ask(|reply| RestRequest::ClientHeartbeat { job, expires, reply }).await?;
        if known { Ok(()) } else { Err(RestError::NoJob(job)) }
    }

    pub(super) fn now(&self) -> Timestamp {
        (self.options.clock)()
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> RestRequest) -> Result<T, RestError> {
        let (reply, answer) = oneshot::channel();
        let exchange = async {
            self.requests.send(request(reply)).await.map_err(|_| RestError::Ending)?;
            answer.await.map_err(|_| RestError::Ending)
        };
        tokio::time::timeout(ANSWER_WITHIN, exchange).await.unwrap_or(Err(RestError::Busy))
    }
}
