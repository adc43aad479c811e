//! `high-availability: zookeeper`: who leads is in ZooKeeper, and so are pointers; graphs are in files.
//!
//! One node says who leads. A new leader sets it, if it has the version that was found; every write of a leader is one
//! transaction with the check that the node still has the version of its own claim (HA-2). So ZooKeeper's order of writes is
//! the order of leaders, and no node has to vanish with a session: a suspended connection or an expired session costs time,
//! never the leadership.
//!
//! ```text
//! <path.root>/<cluster id>/ha-1                 `<epoch>.<owner>.<attempt>.<token>`: who leads
//! <path.root>/<cluster id>/ha-1/at              `at,<epoch>,<internal>,<rest>`: where that leader is reached
//! <path.root>/<cluster id>/ha-1/job-<job id>    the name of the file with its graph
//! <path.root>/<cluster id>/ha-1/result-<job id> the same of how a job ended
//! <storageDir>/<cluster id>/<token>/<name>      files, in a directory for each leader
//! ```
//!
//! No content is in nodes, however short: a job's configuration may hold secrets, and nodes are open to everybody unless
//! ZooKeeper authenticates.

mod session;

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use flumen_fs::{CreateOptions, FileSystem, FsError, FsPath};
use flumen_model::ids::{Epoch, JobId};
use tracing::{info, warn};
use zookeeper_client::Error;

use self::session::{Op, Session};
use crate::layout::{self, CONTENT_MAX, Kept, TRIES};
use crate::leadership::{Claim, Standing};
use crate::{Addresses, Candidate, HaError, HaStore, Leader, Leadership, ZooKeeperSettings};

/// Only the user may see what is kept.
const PRIVATE_DIRECTORY: u16 = 0o700;
const PRIVATE_FILE: u16 = 0o600;

/// Keeps one cluster's leadership in ZooKeeper, and what is large in files.
pub struct ZooKeeperStore {
    session: Session,
    /// `<path.root>/<cluster id>`.
    root: String,
    cluster: String,
    fs: Arc<dyn FileSystem>,
    /// `<storageDir>/<cluster id>`.
    directory: FsPath,
    quorum: String,
}

impl ZooKeeperStore {
    /// The store of the cluster whose files are in `directory`; its last component is the cluster's id. Nothing is connected
    /// yet.
    pub fn new(settings: ZooKeeperSettings, fs: Arc<dyn FileSystem>, directory: FsPath) -> Self {
        let cluster = directory.name().to_owned();
        let root = format!("/{}/{cluster}", settings.path_root.trim_matches('/')).replace("//", "/");
        let quorum = settings.quorum.clone();
        Self { session: Session::new(settings), root, cluster, fs, directory, quorum }
    }

    fn ha(&self) -> String {
        format!("{}/{}{}", self.root, layout::HA, layout::VERSION)
    }

    fn node(&self, name: &str) -> String {
        format!("{}/{name}", self.ha())
    }

    /// The claim that stands and the version of its node.
    async fn current(&self) -> Result<Option<(Claim, i32)>, HaError> {
        let Some((data, version)) = self.session.get(&self.ha()).await? else { return Ok(None) };
        let claim = std::str::from_utf8(&data).ok().and_then(|text| text.parse().ok());
        let claim = claim.ok_or_else(|| HaError::Damaged {
            path: self.ha(),
            reason: "a text such as `2.application_1700000000000_0001.1.0a1b` belongs there".to_owned(),
        })?;
        Ok(Some((claim, version)))
    }

    /// The version of the leading node, while it is this leader's.
    async fn version(&self, leadership: &Leadership) -> Result<i32, HaError> {
        match self.current().await? {
            Some((claim, version)) if claim == leadership.claim => Ok(version),
            found => Err(self.superseded(leadership, found.map(|(claim, _)| claim.epoch))),
        }
    }

    fn superseded(&self, leadership: &Leadership, by: Option<Epoch>) -> HaError {
        HaError::Superseded { cluster: self.cluster.clone(), epoch: leadership.epoch(), by }
    }

    /// Writes `steps` while this leader leads. The conflict's step counts from 0 in `steps`.
    async fn write(&self, leadership: &Leadership, steps: Vec<Op>) -> Result<Result<(), (usize, Error)>, HaError> {
        let mut all = vec![Op::Check(self.ha(), self.version(leadership).await?)];
        all.extend(steps);
        match self.session.write(&self.ha(), &all).await? {
            Ok(()) => Ok(Ok(())),
            Err(conflict) if conflict.step == 0 => {
                let by = self.current().await?.map(|(claim, _)| claim.epoch);
                Err(self.superseded(leadership, by))
            }
            Err(conflict) => Ok(Err((conflict.step - 1, conflict.error))),
        }
    }

    fn unexpected(&self, path: &str, error: &Error) -> HaError {
        self.session.unanswered("writing", path, error)
    }

    /// Where a leader's files are.
    fn files(&self, claim: &Claim) -> FsPath {
        self.directory.join(&claim.token)
    }

    /// Writes a file and returns what its node says of it.
    async fn write_file(
        &self,
        leadership: &Leadership,
        name: &str,
        content: &Bytes,
    ) -> Result<(FsPath, Vec<u8>), HaError> {
        let options = CreateOptions { permission: Some(PRIVATE_FILE), ..CreateOptions::default() };
        let directory = self.files(&leadership.claim);
        for directory in [&self.directory, &directory] {
            self.fs.mkdirs(directory, Some(PRIVATE_DIRECTORY)).await?;
        }
        let mut tries = 0;
        loop {
            tries += 1;
            let file = format!("{name}.{}", uuid::Uuid::new_v4().simple());
            let path = directory.join(&file);
            match self.fs.write_fully(&path, content.clone(), &options).await {
                Ok(()) => {
                    let pointer = format!("{}/{file}", leadership.claim.token);
                    return Ok((path, pointer.into_bytes()));
                }
                Err(error) => {
                    self.forget(&path).await;
                    if !error.is_retryable() || tries >= TRIES {
                        return Err(error.into());
                    }
                    warn!(%path, %error, "writing is repeated");
                }
            }
        }
    }

    async fn forget(&self, path: &FsPath) {
        let _ = self.fs.delete(path, false).await.inspect_err(|error| warn!(%path, error = %error, "left there"));
    }

    /// The file that a node refers to.
    fn file_of(&self, node: &str, data: &[u8]) -> Result<FsPath, HaError> {
        let pointer = std::str::from_utf8(data).ok().filter(|pointer| pointer.contains('/') && !pointer.contains(".."));
        match pointer {
            Some(pointer) => Ok(self.directory.join(pointer)),
            None => {
                let reason = "the name of a file such as `0a1b/job-…` belongs there".to_owned();
                Err(HaError::Damaged { path: node.to_owned(), reason })
            }
        }
    }

    /// What a node refers to.
    async fn content(&self, node: &str, data: &[u8]) -> Result<Bytes, HaError> {
        Ok(self.fs.read_fully(&self.file_of(node, data)?, CONTENT_MAX).await?)
    }

    async fn put(&self, leadership: &Leadership, kept: Kept, job: JobId, content: Bytes) -> Result<(), HaError> {
        let name = kept.name(job);
        let node = self.node(&name);
        self.version(leadership).await?;
        let (file, data) = self.write_file(leadership, &name, &content).await?;
        let written = self.write(leadership, vec![Op::Create(node.clone(), data.clone())]).await;
        let outcome = match written {
            Ok(Ok(())) => return Ok(()),
            Ok(Err((_, Error::NodeExists))) => match self.session.get(&node).await? {
                // An earlier try of this very write.
                Some((found, _)) if found == data => return Ok(()),
                Some((found, _)) if self.content(&node, &found).await? == content => Ok(()),
                Some(_) => Err(HaError::AlreadyKept { what: kept.text(), job, path: node }),
                None => Err(self.unexpected(&node, &Error::NoNode)),
            },
            Ok(Err((_, error))) => Err(self.unexpected(&node, &error)),
            Err(error) => Err(error),
        };
        // Unless it is not known whether the node refers to it.
        if !outcome.as_ref().is_err_and(HaError::is_retryable) {
            self.forget(&file).await;
        }
        outcome
    }

    /// Names of all that is kept, while this leader leads.
    async fn names(&self, leadership: &Leadership) -> Result<Vec<String>, HaError> {
        self.version(leadership).await?;
        let mut names = self.session.children(&self.ha()).await?.unwrap_or_default();
        names.sort();
        Ok(names)
    }

    async fn read(&self, kept: Kept, job: JobId) -> Result<Option<(JobId, Bytes)>, HaError> {
        let node = self.node(&kept.name(job));
        match self.session.get(&node).await? {
            Some((data, _)) => Ok(Some((job, self.content(&node, &data).await?))),
            None => Ok(None),
        }
    }

    /// Removes nodes and their files, those that are there.
    async fn remove(&self, leadership: &Leadership, names: &[String]) -> Result<(), HaError> {
        // Kept over tries: one whose answer was lost may have removed the nodes.
        let mut files = BTreeSet::new();
        for _ in 0..TRIES {
            let mut steps = Vec::new();
            for name in names {
                let node = self.node(name);
                if let Some((data, _)) = self.session.get(&node).await? {
                    files.insert(self.file_of(&node, &data)?);
                    steps.push(Op::Delete(node));
                }
            }
            match self.write(leadership, steps).await? {
                Ok(()) => {
                    for file in &files {
                        self.forget(file).await;
                    }
                    return Ok(());
                }
                // An earlier try whose answer was lost.
                Err((_, Error::NoNode)) => {}
                Err((_, error)) => return Err(self.unexpected(&self.ha(), &error)),
            }
        }
        Err(self.unexpected(&self.ha(), &Error::NoNode))
    }

    /// Takes all nodes of the cluster away.
    async fn retire(&self, leadership: &Leadership) -> Result<(), HaError> {
        for _ in 0..TRIES {
            let names = self.names(leadership).await?;
            let mut steps: Vec<_> = names.iter().map(|name| Op::Delete(self.node(name))).collect();
            steps.push(Op::Delete(self.ha()));
            match self.write(leadership, steps).await? {
                Ok(()) => return Ok(()),
                Err((_, Error::NoNode | Error::NotEmpty)) => {}
                Err((_, error)) => return Err(self.unexpected(&self.ha(), &error)),
            }
        }
        Err(self.unexpected(&self.ha(), &Error::NotEmpty))
    }

    async fn refuse_other_versions(&self) -> Result<(), HaError> {
        let ours = format!("{}{}", layout::HA, layout::VERSION);
        let names = self.session.children(&self.root).await?.unwrap_or_default();
        match names.iter().find(|name| name.starts_with(layout::HA) && **name != ours) {
            Some(name) => Err(HaError::Version { path: format!("{}/{name}", self.root) }),
            None => Ok(()),
        }
    }
}

#[async_trait]
impl HaStore for ZooKeeperStore {
    async fn campaign(&self, candidate: &Candidate) -> Result<Leadership, HaError> {
        candidate.check()?;
        let token = uuid::Uuid::new_v4().simple().to_string();
        self.refuse_other_versions().await?;
        for _ in 0..TRIES {
            let (found, version) = match self.current().await? {
                Some((found, version)) => (found, Some(version)),
                None if candidate.follows => {
                    let (cluster, epoch) = (self.cluster.clone(), Epoch(candidate.attempt.into()));
                    return Err(HaError::Superseded { cluster, epoch, by: None });
                }
                None => {
                    self.session.make(&self.root).await?;
                    (Claim::nobody(), None)
                }
            };
            let next = match found.standing(candidate, &token) {
                Standing::May(next) => next,
                Standing::Occupied => {
                    let location = format!("{} of {}", self.root, self.quorum);
                    return Err(HaError::Occupied { cluster: self.cluster.clone(), owner: found.owner, location });
                }
                Standing::Superseded => {
                    let (cluster, epoch) = (self.cluster.clone(), Epoch(candidate.attempt.into()));
                    return Err(HaError::Superseded { cluster, epoch, by: Some(found.epoch) });
                }
            };
            let data = next.to_string().into_bytes();
            let step = match version {
                Some(version) => Op::Set(self.ha(), data, Some(version)),
                None => Op::Create(self.ha(), data),
            };
            if self.session.write(&self.ha(), &[step]).await?.is_ok() {
                info!(cluster = self.cluster, epoch = %next.epoch, former = %found.epoch, "leading the cluster");
                return Ok(Leadership { claim: next });
            }
        }
        Err(self.unexpected(&self.ha(), &Error::BadVersion))
    }

    async fn announce(&self, leadership: &Leadership, addresses: &Addresses) -> Result<(), HaError> {
        let data = layout::address_name(leadership.epoch(), addresses)?.into_bytes();
        let node = self.node(layout::AT);
        for _ in 0..TRIES {
            let step = match self.session.get(&node).await? {
                Some((found, _)) if found == data => return self.still_leads(leadership).await,
                Some(_) => Op::Set(node.clone(), data.clone(), None),
                None => Op::Create(node.clone(), data.clone()),
            };
            match self.write(leadership, vec![step]).await? {
                Ok(()) => return Ok(()),
                Err((_, Error::NodeExists | Error::NoNode)) => {}
                Err((_, error)) => return Err(self.unexpected(&node, &error)),
            }
        }
        Err(self.unexpected(&node, &Error::NodeExists))
    }

    async fn leader(&self) -> Result<Option<Leader>, HaError> {
        let Some((claim, _)) = self.current().await? else { return Ok(None) };
        let at = self.session.get(&self.node(layout::AT)).await?;
        let text = at.and_then(|(data, _)| String::from_utf8(data).ok());
        let addresses = text.and_then(|text| layout::addresses_of(&text, claim.epoch));
        Ok(Some(Leader { epoch: claim.epoch, addresses }))
    }

    async fn still_leads(&self, leadership: &Leadership) -> Result<(), HaError> {
        self.version(leadership).await.map(drop)
    }

    async fn put_job(&self, leadership: &Leadership, job: JobId, submission: Bytes) -> Result<(), HaError> {
        self.put(leadership, Kept::Graph, job, submission).await
    }

    async fn jobs(&self, leadership: &Leadership) -> Result<Vec<(JobId, Bytes)>, HaError> {
        let names = self.names(leadership).await?;
        let mut jobs = Vec::new();
        for job in names.iter().filter_map(|name| Kept::Graph.job(name)) {
            if !names.contains(&Kept::Result.name(job)) {
                jobs.extend(self.read(Kept::Graph, job).await?);
            }
        }
        // Another leader may have changed what was just read.
        self.still_leads(leadership).await?;
        Ok(jobs)
    }

    async fn remove_job(&self, leadership: &Leadership, job: JobId) -> Result<(), HaError> {
        self.remove(leadership, &[Kept::Graph.name(job)]).await
    }

    async fn put_result(&self, leadership: &Leadership, job: JobId, result: Bytes) -> Result<(), HaError> {
        self.put(leadership, Kept::Result, job, result).await
    }

    async fn results(&self, leadership: &Leadership) -> Result<Vec<(JobId, Bytes)>, HaError> {
        let mut results = Vec::new();
        for job in self.names(leadership).await?.iter().filter_map(|name| Kept::Result.job(name)) {
            results.extend(self.read(Kept::Result, job).await?);
        }
        self.still_leads(leadership).await?;
        Ok(results)
    }

    async fn remove_result(&self, leadership: &Leadership, job: JobId) -> Result<(), HaError> {
        self.remove(leadership, &[Kept::Graph.name(job), Kept::Result.name(job)]).await
    }

    async fn clean_up(&self, leadership: &Leadership) -> Result<(), HaError> {
        // Listed before: whoever begins anew makes a directory of its own after that.
        let files: BTreeSet<FsPath> = match self.fs.list(&self.directory).await {
            Ok(entries) => entries.into_iter().map(|entry| entry.path).collect(),
            Err(error) if error.is_not_found() => BTreeSet::new(),
            Err(error) => return Err(error.into()),
        };
        if let Some((claim, _)) = self.current().await? {
            match self.retire(leadership).await {
                Err(HaError::Superseded { by: None, .. }) if claim == leadership.claim => {}
                retired => retired?,
            }
        }
        for path in files {
            self.fs.delete(&path, true).await?;
        }
        match self.fs.delete(&self.directory, false).await {
            Ok(_) | Err(FsError::NotEmpty { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        self.session.remove_if_empty(&self.root).await?;
        info!(cluster = self.cluster, "nothing of the cluster is kept any more");
        Ok(())
    }

    fn location(&self) -> Option<String> {
        Some(format!("{} in ZooKeeper at {}, and {}", self.root, self.quorum, self.directory))
    }
}
