//! `high-availability: filesystem`: everything is in files below one directory.
//!
//! All that is kept lies in one directory whose *name* says who leads, and which a new leader renames. So all changes of
//! leaders stand in one order; and what a former leader still sends, whenever it arrives, names a directory that is there no
//! more (HA-2): files get into it by a rename from outside, which makes no directories.
//!
//! ```text
//! <storageDir>/<cluster id>/ha-1/<epoch>.<owner>.<attempt>.<token>/     exactly one: whose everything in it is
//!     at,<epoch>,<internal>,<rest>                                       empty: where that leader is reached
//!     job-<job id>                                                       a job's graph
//!     result-<job id>                                                    how a job ended
//! <storageDir>/<cluster id>/tmp/<epoch>.<token>                          files on their way there
//! ```

mod steps;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use flumen_fs::{FileSystem, FsError, FsPath};
use flumen_model::ids::{Epoch, JobId};
use tracing::info;

use self::steps::{Current, Placed, Steps};
use crate::layout::{self, CONTENT_MAX, Kept, TRIES};
use crate::leadership::{Claim, Standing};
use crate::{Addresses, Candidate, HaError, HaStore, Leader, Leadership};

/// Keeps everything of one cluster in files.
pub struct FileSystemStore {
    steps: Steps,
}

impl FileSystemStore {
    /// The store of the cluster whose data is in `directory`; its last component is the cluster's id. Nothing is made yet.
    pub fn new(fs: Arc<dyn FileSystem>, directory: FsPath) -> Self {
        Self { steps: Steps { fs, root: directory } }
    }

    fn fs(&self) -> &dyn FileSystem {
        &*self.steps.fs
    }

    fn cluster(&self) -> String {
        self.steps.root.name().to_owned()
    }

    fn occupied(&self, by: &Claim) -> HaError {
        let owner = by.owner.clone();
        HaError::Occupied { cluster: self.cluster(), owner, location: self.steps.root.to_string() }
    }

    /// The directory of a leader.
    fn directory(&self, leadership: &Leadership) -> FsPath {
        self.steps.claim_path(&leadership.claim)
    }

    /// What it means that a file of the leader's directory, or that directory, is not there.
    async fn superseded_or(&self, leadership: &Leadership, error: FsError) -> HaError {
        match self.still_leads(leadership).await {
            Ok(()) => error.into(),
            Err(superseded) => superseded,
        }
    }

    async fn superseded(&self, leadership: &Leadership) -> Result<HaError, HaError> {
        let by = self.steps.current().await?.leader().map(|claim| claim.epoch);
        Ok(HaError::Superseded { cluster: self.cluster(), epoch: leadership.epoch(), by })
    }

    async fn put(&self, leadership: &Leadership, kept: Kept, job: JobId, content: Bytes) -> Result<(), HaError> {
        let name = kept.name(job);
        let path = self.directory(leadership).join(&name);
        match self.steps.place(&leadership.claim, &name, content.clone()).await? {
            Placed::Yes => Ok(()),
            Placed::NoDirectory => Err(self.superseded(leadership).await?),
            Placed::Occupied => match self.fs().read_fully(&path, CONTENT_MAX).await {
                Ok(found) if found == content => Ok(()),
                Ok(_) => Err(HaError::AlreadyKept { what: kept.text(), job, path: path.to_string() }),
                Err(error) => Err(self.superseded_or(leadership, error).await),
            },
        }
    }

    /// Names of all that the leader has.
    async fn names(&self, leadership: &Leadership) -> Result<Vec<String>, HaError> {
        match self.fs().list(&self.directory(leadership)).await {
            Ok(entries) => Ok(entries.iter().map(|entry| entry.path.name().to_owned()).collect()),
            Err(error) => Err(self.superseded_or(leadership, error).await),
        }
    }

    async fn read(&self, leadership: &Leadership, kept: Kept, job: JobId) -> Result<(JobId, Bytes), HaError> {
        let path = self.directory(leadership).join(kept.name(job));
        match self.fs().read_fully(&path, CONTENT_MAX).await {
            Ok(content) => Ok((job, content)),
            Err(error) => Err(self.superseded_or(leadership, error).await),
        }
    }

    async fn remove(&self, leadership: &Leadership, name: String) -> Result<(), HaError> {
        let removed = self.fs().delete(&self.directory(leadership).join(name), false).await?;
        // Nothing there to remove: because it was not kept, or because the directory is another leader's.
        if removed { Ok(()) } else { self.still_leads(leadership).await }
    }
}

#[async_trait]
impl HaStore for FileSystemStore {
    async fn campaign(&self, candidate: &Candidate) -> Result<Leadership, HaError> {
        candidate.check()?;
        let token = uuid::Uuid::new_v4().simple().to_string();
        self.steps.refuse_other_versions().await?;
        for _ in 0..TRIES {
            let found = match self.steps.current().await? {
                Current::Claim(found) => found,
                Current::Nothing | Current::Retired if candidate.follows => {
                    let (cluster, epoch) = (self.cluster(), Epoch(candidate.attempt.into()));
                    return Err(HaError::Superseded { cluster, epoch, by: None });
                }
                Current::Nothing => {
                    self.steps.begin().await?;
                    continue;
                }
                Current::Retired => {
                    self.steps.remove_retired().await?;
                    continue;
                }
            };
            let next = match found.standing(candidate, &token) {
                Standing::May(next) => next,
                Standing::Occupied => return Err(self.occupied(&found)),
                Standing::Superseded => {
                    let (cluster, epoch) = (self.cluster(), Epoch(candidate.attempt.into()));
                    return Err(HaError::Superseded { cluster, epoch, by: Some(found.epoch) });
                }
            };
            if !self.steps.claim(&found, &next).await? {
                continue;
            }
            let leadership = Leadership { claim: next };
            self.steps.remove_leftovers(leadership.epoch()).await;
            info!(cluster = self.cluster(), epoch = %leadership.epoch(), former = %found.epoch, "leading the cluster");
            return Ok(leadership);
        }
        Err(self.steps.unsettled())
    }

    async fn announce(&self, leadership: &Leadership, addresses: &Addresses) -> Result<(), HaError> {
        let name = layout::address_name(leadership.epoch(), addresses)?;
        for old in self.names(leadership).await?.into_iter().filter(|old| layout::is_address(old) && *old != name) {
            self.remove(leadership, old).await?;
        }
        match self.steps.place(&leadership.claim, &name, Bytes::new()).await? {
            Placed::Yes | Placed::Occupied => Ok(()),
            Placed::NoDirectory => Err(self.superseded(leadership).await?),
        }
    }

    async fn leader(&self) -> Result<Option<Leader>, HaError> {
        for _ in 0..TRIES {
            let Some(claim) = self.steps.current().await?.leader() else { return Ok(None) };
            match self.fs().list(&self.steps.claim_path(&claim)).await {
                Ok(entries) => {
                    let epoch = claim.epoch;
                    let addresses = entries.iter().find_map(|entry| layout::addresses_of(entry.path.name(), epoch));
                    return Ok(Some(Leader { epoch, addresses }));
                }
                // A new leader came between.
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(self.steps.unsettled())
    }

    async fn still_leads(&self, leadership: &Leadership) -> Result<(), HaError> {
        if self.fs().exists(&self.directory(leadership)).await? {
            Ok(())
        } else {
            Err(self.superseded(leadership).await?)
        }
    }

    async fn put_job(&self, leadership: &Leadership, job: JobId, submission: Bytes) -> Result<(), HaError> {
        self.put(leadership, Kept::Graph, job, submission).await
    }

    async fn jobs(&self, leadership: &Leadership) -> Result<Vec<(JobId, Bytes)>, HaError> {
        let names = self.names(leadership).await?;
        let mut jobs = Vec::new();
        for job in names.iter().filter_map(|name| Kept::Graph.job(name)) {
            if !names.contains(&Kept::Result.name(job)) {
                jobs.push(self.read(leadership, Kept::Graph, job).await?);
            }
        }
        Ok(jobs)
    }

    async fn remove_job(&self, leadership: &Leadership, job: JobId) -> Result<(), HaError> {
        self.remove(leadership, Kept::Graph.name(job)).await
    }

    async fn put_result(&self, leadership: &Leadership, job: JobId, result: Bytes) -> Result<(), HaError> {
        self.put(leadership, Kept::Result, job, result).await
    }

    async fn results(&self, leadership: &Leadership) -> Result<Vec<(JobId, Bytes)>, HaError> {
        let mut results = Vec::new();
        for job in self.names(leadership).await?.iter().filter_map(|name| Kept::Result.job(name)) {
            results.push(self.read(leadership, Kept::Result, job).await?);
        }
        Ok(results)
    }

    async fn remove_result(&self, leadership: &Leadership, job: JobId) -> Result<(), HaError> {
        // The graph first: a job must never be there without its result once it has one.
        self.remove(leadership, Kept::Graph.name(job)).await?;
        self.remove(leadership, Kept::Result.name(job)).await
    }

    async fn clean_up(&self, leadership: &Leadership) -> Result<(), HaError> {
        if !self.steps.retire(&leadership.claim).await? {
            // Retired before, and what is left of it is removed below; or somebody else's.
            if let Current::Claim(_) = self.steps.current().await? {
                return Err(self.superseded(leadership).await?);
            }
        }
        self.steps.remove_all().await?;
        info!(cluster = self.cluster(), "nothing of the cluster is kept any more");
        Ok(())
    }

    fn location(&self) -> Option<String> {
        Some(self.steps.root.to_string())
    }
}

#[cfg(test)]
mod tests;
