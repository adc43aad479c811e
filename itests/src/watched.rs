//! One application as it can be seen from outside while it runs: its processes, its jobs, their checkpoints.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use serde_json::Value;

use crate::hadoop::HadoopCluster;
use crate::process::{self, ContainerProcess};
use crate::traces::containers;
use crate::wait;

/// The program of an ApplicationMaster.
pub const MASTER: &str = "flumen-appmaster";
/// The program of a TaskExecutor.
pub const TASKEXECUTOR: &str = "flumen-taskexecutor";

/// An application on a cluster.
#[derive(Debug, Clone)]
pub struct Watched {
    /// Its id.
    pub id: String,
    /// How long anything of it may take.
    pub limit: Duration,
}

/// What a JobManager says of the checkpoints of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoints {
    /// The number of the newest completed one. A JobManager knows those of its predecessor.
    pub newest: u64,
    /// When that one was triggered, in milliseconds since 1970.
    pub triggered_ms: u64,
    /// How often one was restored, as far as this JobManager knows.
    pub restored: u64,
}

impl Watched {
    /// That application.
    #[must_use]
    pub fn new(id: &str, limit: Duration) -> Watched {
        Watched { id: id.to_owned(), limit }
    }

    /// Its live processes that run a program.
    #[must_use]
    pub fn processes(&self, program: &str) -> Vec<ContainerProcess> {
        process::of_application(&self.id).into_iter().filter(|process| process.program == program).collect()
    }

    /// Their ids.
    #[must_use]
    pub fn pids(&self, program: &str) -> Vec<u32> {
        self.processes(program).iter().map(|process| process.pid).collect()
    }

    /// Its one ApplicationMaster.
    ///
    /// # Errors
    /// When there isn't exactly one.
    pub fn master(&self) -> Result<ContainerProcess, String> {
        match &self.processes(MASTER)[..] {
            [master] => Ok(master.clone()),
            other => Err(format!("one ApplicationMaster of {}: {other:?}", self.id)),
        }
    }

    /// Waits for an ApplicationMaster that is none of `former`.
    ///
    /// # Errors
    /// When none comes in time.
    pub fn wait_master_after(&self, former: &[u32]) -> Result<ContainerProcess> {
        wait::until(&format!("another ApplicationMaster of {}", self.id), self.limit, || {
            self.processes(MASTER).into_iter().find(|master| !former.contains(&master.pid))
        })
    }

    /// What its page answers through the ResourceManager's proxy.
    ///
    /// # Errors
    /// When it does not.
    pub fn ask(&self, cluster: &HadoopCluster, path: &str) -> Result<Value, String> {
        cluster.yarn().through_proxy(&self.id, path).map_err(|error| format!("{error:#}"))
    }

    /// The ids of its jobs in that state.
    ///
    /// # Errors
    /// When its JobManager does not answer.
    pub fn jobs(&self, cluster: &HadoopCluster, status: &str) -> Result<Vec<String>, String> {
        let jobs = self.ask(cluster, "/jobs")?;
        let all = jobs["jobs"].as_array().ok_or_else(|| jobs.to_string())?;
        let of = all.iter().filter(|job| job["status"] == status);
        Ok(of.filter_map(|job| job["id"].as_str().map(str::to_owned)).collect())
    }

    /// Waits until so many of its jobs are in that state, and gives their ids.
    ///
    /// # Errors
    /// When that isn't so in time.
    pub fn wait_jobs(&self, cluster: &HadoopCluster, status: &str, count: usize) -> Result<Vec<String>> {
        let what = format!("{count} jobs of {} are {status}", self.id);
        wait::until_ok(&what, self.limit, || match self.jobs(cluster, status)? {
            jobs if jobs.len() == count => Ok(jobs),
            other => Err(format!("{other:?}")),
        })
    }

    /// The checkpoints of a job.
    ///
    /// # Errors
    /// When the JobManager does not answer, or none is complete.
    pub fn checkpoints(&self, cluster: &HadoopCluster, job: &str) -> Result<Checkpoints, String> {
        let answer = self.ask(cluster, &format!("/jobs/{job}/checkpoints"))?;
        let completed = &answer["latest"]["completed"];
        let newest = completed["id"].as_u64().zip(completed["trigger_timestamp"].as_u64());
        let (newest, triggered_ms) = newest.ok_or_else(|| answer.to_string())?;
        Ok(Checkpoints { newest, triggered_ms, restored: answer["counts"]["restored"].as_u64().unwrap_or(0) })
    }

    /// Waits until a job has completed a checkpoint that was triggered at that time or later.
    ///
    /// # Errors
    /// When it doesn't in time.
    pub fn wait_checkpoint_since(&self, cluster: &HadoopCluster, job: &str, since: SystemTime) -> Result<Checkpoints> {
        let since = since.duration_since(UNIX_EPOCH)?.as_millis();
        wait::until_ok(&format!("a checkpoint of {job}"), self.limit, || match self.checkpoints(cluster, job)? {
            found if u128::from(found.triggered_ms) >= since => Ok(found),
            other => Err(format!("{other:?}")),
        })
    }

    /// Waits until a job has completed a checkpoint that began after this call.
    ///
    /// # Errors
    /// When it doesn't in time.
    pub fn wait_progress(&self, cluster: &HadoopCluster, job: &str) -> Result<Checkpoints> {
        self.wait_checkpoint_since(cluster, job, SystemTime::now())
    }

    /// The node (from 1) of each of its containers.
    ///
    /// # Errors
    /// When a NodeManager does not answer.
    pub fn nodes(&self, cluster: &HadoopCluster) -> Result<Vec<(usize, String)>> {
        containers(cluster, &self.id)
    }

    /// The node (from 1) of one of its containers.
    ///
    /// # Errors
    /// When a NodeManager does not answer, or none has that container.
    pub fn node_of(&self, cluster: &HadoopCluster, container: &str) -> Result<usize> {
        let found = self.nodes(cluster)?.into_iter().find(|(_, id)| id == container);
        found.map(|(node, _)| node).ok_or_else(|| anyhow::anyhow!("no node has {container}"))
    }
}
