//! The one trait that all stores implement.

use async_trait::async_trait;
use bytes::Bytes;
use flumen_model::ids::JobId;

use crate::{Addresses, Candidate, HaError, Leader, Leadership};

/// Who leads a cluster, and what is kept for its next leader. One value is for one cluster id.
///
/// Every write carries the [`Leadership`] and is refused with [`HaError::Superseded`] once there is a newer one, whenever it
/// arrives (HA-2). A write that returns `Ok` is durable (HA-3). All calls end: with a result, or with an error after the time
/// limits of the file system or ZooKeeper.
#[async_trait]
pub trait HaStore: Send + Sync {
    /// Makes the candidate the leader, with an epoch greater than every earlier one. On YARN the ResourceManager decides who
    /// may run, so nothing is waited for. What a former leader of the cluster kept is this one's now.
    ///
    /// # Errors
    /// [`HaError::Occupied`] when the cluster id is another application's: ask whether that has ended, and name it in
    /// [`Candidate::replaces`] if so; [`HaError::Superseded`] when a later attempt of this application leads; those of the
    /// store.
    async fn campaign(&self, candidate: &Candidate) -> Result<Leadership, HaError>;

    /// Says where this leader is reached. Replaces what it said before.
    ///
    /// # Errors
    /// [`HaError::Superseded`]; [`HaError::Setting`] when an address is too long for the store.
    async fn announce(&self, leadership: &Leadership, addresses: &Addresses) -> Result<(), HaError>;

    /// Who leads now: what a TaskExecutor that has lost its leader, or a client, asks again and again. `None` when nobody
    /// does, or nothing is kept.
    ///
    /// # Errors
    /// Those of the store; nothing is known then.
    async fn leader(&self) -> Result<Option<Leader>, HaError>;

    /// Whether there is no newer leader. Another may come right after the answer: only the store's own writes, and the head of
    /// a job's checkpoints, are safe from that.
    ///
    /// # Errors
    /// [`HaError::Superseded`] when there is; those of the store, after which nothing is known.
    async fn still_leads(&self, leadership: &Leadership) -> Result<(), HaError>;

    /// Keeps a job's graph (and whatever else `submission` says of it), for every later leader. To be called before the
    /// submission is acknowledged. Repeating it with the same bytes does no harm.
    ///
    /// # Errors
    /// [`HaError::AlreadyKept`] when the job has another graph; [`HaError::Superseded`]; those of the store, after which it is
    /// not certain whether the job is kept: repeat it, or remove the job before it is refused.
    async fn put_job(&self, leadership: &Leadership, job: JobId, submission: Bytes) -> Result<(), HaError>;

    /// All kept jobs that have no result, by id: those that this leader has to go on with (HA-5).
    ///
    /// # Errors
    /// [`HaError::Superseded`]; those of the store.
    async fn jobs(&self, leadership: &Leadership) -> Result<Vec<(JobId, Bytes)>, HaError>;

    /// Forgets a job's graph: one that was refused after all, or one that has its result. Its result stays.
    ///
    /// # Errors
    /// [`HaError::Superseded`]; those of the store: repeat it.
    async fn remove_job(&self, leadership: &Leadership, job: JobId) -> Result<(), HaError>;

    /// Keeps how a job ended. To be called before anybody is told, and before the job is removed: a job with a result never
    /// runs again. Repeating it with the same bytes does no harm.
    ///
    /// # Errors
    /// [`HaError::AlreadyKept`] when the job has another result; [`HaError::Superseded`]; those of the store: repeat it.
    async fn put_result(&self, leadership: &Leadership, job: JobId, result: Bytes) -> Result<(), HaError>;

    /// All kept results, by job.
    ///
    /// # Errors
    /// [`HaError::Superseded`]; those of the store.
    async fn results(&self, leadership: &Leadership) -> Result<Vec<(JobId, Bytes)>, HaError>;

    /// Forgets a job's graph and its result: when the job is not shown any more.
    ///
    /// # Errors
    /// [`HaError::Superseded`]; those of the store: repeat it.
    async fn remove_result(&self, leadership: &Leadership, job: JobId) -> Result<(), HaError>;

    /// Removes all that is kept for the cluster: the last thing that the last leader does, after YARN has stored how the
    /// application ended, well or not (a later attempt would find nothing, and begin anew). What a failed job can be resumed
    /// from is among its checkpoints, and its end names it. Only of an application that ends without a leader (it was killed,
    /// or its attempts are used up) everything stays at [`location`](HaStore::location): a leader of the next application with
    /// this cluster's id goes on with it, and of an application for one job, which has none, clients remove the files. Repeating
    /// it does no harm.
    ///
    /// # Errors
    /// [`HaError::Superseded`] when another leader has the cluster: nothing was removed; those of the store: repeat it.
    async fn clean_up(&self, leadership: &Leadership) -> Result<(), HaError>;

    /// Where the cluster's data is, as a message says it; `None` when nothing is kept.
    fn location(&self) -> Option<String>;
}
