//! `high-availability: none`: nothing is kept.

use async_trait::async_trait;
use bytes::Bytes;
use flumen_model::ids::{Epoch, JobId};
use tracing::info;

use crate::leadership::Claim;
use crate::{Addresses, Candidate, HaError, HaStore, Leader, Leadership};

/// Keeps nothing: the epoch is the number of the application attempt, nobody finds a new leader, and its jobs are those that
/// the application was started with.
#[derive(Debug, Default)]
pub struct NoHaStore;

#[async_trait]
impl HaStore for NoHaStore {
    async fn campaign(&self, candidate: &Candidate) -> Result<Leadership, HaError> {
        info!(
            "high availability is off: with this JobManager the jobs of a session, their results and running tasks are lost"
        );
        let claim = Claim {
            epoch: Epoch(u64::from(candidate.attempt)),
            owner: candidate.owner.clone(),
            attempt: candidate.attempt,
            token: String::new(),
        };
        Ok(Leadership { claim })
    }

    async fn announce(&self, _: &Leadership, _: &Addresses) -> Result<(), HaError> {
        Ok(())
    }

    async fn leader(&self) -> Result<Option<Leader>, HaError> {
        Ok(None)
    }

    async fn still_leads(&self, _: &Leadership) -> Result<(), HaError> {
        Ok(())
    }

    async fn put_job(&self, _: &Leadership, _: JobId, _: Bytes) -> Result<(), HaError> {
        Ok(())
    }

    async fn jobs(&self, _: &Leadership) -> Result<Vec<(JobId, Bytes)>, HaError> {
        Ok(Vec::new())
    }

    async fn remove_job(&self, _: &Leadership, _: JobId) -> Result<(), HaError> {
        Ok(())
    }

    async fn put_result(&self, _: &Leadership, _: JobId, _: Bytes) -> Result<(), HaError> {
        Ok(())
    }

    async fn results(&self, _: &Leadership) -> Result<Vec<(JobId, Bytes)>, HaError> {
        Ok(Vec::new())
    }

    async fn remove_result(&self, _: &Leadership, _: JobId) -> Result<(), HaError> {
        Ok(())
    }

    async fn clean_up(&self, _: &Leadership) -> Result<(), HaError> {
        Ok(())
    }

    fn location(&self) -> Option<String> {
        None
    }
}
