//! The stateful job in an application of its own, as the subject of a test: it runs, something happens to it, and in the end its
//! output must be exact and nothing of it left.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use tempfile::TempDir;

use crate::binaries::binary;
use crate::flink::{self, Flink, Running};
use crate::hadoop::HadoopCluster;
use crate::job::Gate;
use crate::process::ContainerProcess;
use crate::stateful::{differences, expected_rows};
use crate::traces::wait_nothing_left;
use crate::watched::{Checkpoints, Watched};

/// How long anything of it may take; machines are busy.
pub const LIMIT: Duration = Duration::from_secs(300);
/// The program of its workers.
pub const WORKER: &str = "itest-stateful";
/// Of each source subtask while the gate is closed, in events a second, unless said otherwise.
pub const RATE: u64 = 1600;

/// Which programs are run.
#[derive(Debug, Clone)]
pub enum Programs {
    /// Those of the same profile as the test; see [`binary`].
    Built,
    /// Of a distribution, with the job's program beside it.
    Packaged {
        /// The distribution's folder.
        distribution: PathBuf,
        /// Where [`WORKER`] is.
        job: PathBuf,
    },
}

impl Programs {
    fn flink(&self, cluster: &HadoopCluster) -> Flink {
        match self {
            Programs::Built => Flink::on(cluster),
            Programs::Packaged { distribution, .. } => Flink::packaged(distribution, cluster),
        }
    }

    fn job(&self) -> PathBuf {
        match self {
            Programs::Built => binary(WORKER),
            Programs::Packaged { job, .. } => job.clone(),
        }
    }
}

/// What a subject shall be.
#[derive(Debug, Clone)]
pub struct Plan<'a> {
    /// Which programs are run.
    pub programs: Programs,
    /// Names its output: `/out/<name>`.
    pub name: &'a str,
    /// How many events there are. While the gate is closed they must last until the end of the test.
    pub events: u64,
    /// See [`RATE`].
    pub rate: u64,
    /// Who submits it, other than who runs the tests and may do anything in HDFS.
    pub user: Option<&'a str>,
    /// Flags of `flink run`, separated by white space; memory of the ApplicationMaster, the folders of high availability and of
    /// checkpoints are set already.
    pub flags: String,
}

impl<'a> Plan<'a> {
    /// With the programs of the test's profile, at the usual rate.
    #[must_use]
    pub fn new(name: &'a str, events: u64, flags: &str) -> Plan<'a> {
        Plan { programs: Programs::Built, name, events, rate: RATE, user: None, flags: flags.to_owned() }
    }

    /// Starts it and waits until its job runs.
    ///
    /// # Errors
    /// When it does not run in time.
    ///
    /// # Panics
    /// When `flink` can't be started.
    pub fn start(self, cluster: &HadoopCluster) -> Result<Subject> {
        let (hdfs, gate, notes) = (cluster.hdfs_url(), Gate::closed()?, tempfile::tempdir()?);
        let mut flink = self.programs.flink(cluster);
        if let Some(user) = self.user {
            flink = flink.env("HADOOP_USER_NAME", user);
        }
        let flink = flink.args("run -m yarn-cluster -yjm 256m").args(&self.flags);
        let flink = flink.args(&format!("-D high-availability.storageDir={hdfs}/ha"));
        let flink = flink.args(&format!("-D execution.checkpointing.dir={hdfs}/checkpoints")).arg(self.programs.job());
        let flink =
            flink.args(&format!("--count {} --rate {} --output {hdfs}/out/{}", self.events, self.rate, self.name));
        let flink = flink.args(&format!("--gate {} --gaps {}", gate.path().display(), notes.path().display()));
        let mut client = flink.spawn();
        let application = client.wait_printed("an application id", LIMIT, flink::application_id)?;
        client.wait_printed("the job runs", LIMIT, |text| text.contains("RUNNING").then_some(()))?;
        let application = Watched::new(&application, LIMIT);
        let job = application.wait_jobs(cluster, "RUNNING", 1)?.remove(0);
        let (name, events) = (self.name.to_owned(), self.events);
        Ok(Subject { application, job, name, events, gate, notes, client })
    }
}

/// A job that runs, in an application of its own. Its attached command is killed when it is dropped.
#[derive(Debug)]
pub struct Subject {
    /// The application.
    pub application: Watched,
    /// The job's id.
    pub job: String,
    name: String,
    events: u64,
    gate: Gate,
    notes: TempDir,
    client: Running,
}

/// The processes of an application whose ApplicationMaster and workers nothing should happen to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Untouched {
    master: ContainerProcess,
    workers: Vec<u32>,
}

impl Subject {
    /// What its output is named.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its workers' process ids.
    #[must_use]
    pub fn workers(&self) -> Vec<u32> {
        self.application.pids(WORKER)
    }

    /// Where its keyed subtasks note times without records: see [`crate::recovery::Notes`].
    #[must_use]
    pub fn notes(&self) -> &Path {
        self.notes.path()
    }

    /// Waits until it has completed a checkpoint that began after this call.
    ///
    /// # Errors
    /// When it doesn't in time.
    pub fn wait_progress(&self, cluster: &HadoopCluster) -> Result<Checkpoints> {
        self.application.wait_progress(cluster, &self.job)
    }

    /// How it is now, while all is well.
    ///
    /// # Errors
    /// When it makes no progress, or has not one ApplicationMaster.
    pub fn untouched(&self, cluster: &HadoopCluster) -> Result<Untouched> {
        self.wait_progress(cluster)?;
        let master = self.application.master().map_err(|error| anyhow!(error))?;
        Ok(Untouched { master, workers: self.workers() })
    }

    /// Waits until it makes progress again, with the processes that it had, and no restart.
    ///
    /// # Errors
    /// When it doesn't in time, or something was restarted.
    pub fn still(&self, cluster: &HadoopCluster, before: &Untouched) -> Result<()> {
        let restored = self.wait_progress(cluster)?.restored;
        ensure!(restored == 0, "{} was restored {restored} times", self.name);
        let now = self.untouched(cluster)?;
        ensure!(now == *before, "{} has other processes: {now:?}, and had {before:?}", self.name);
        Ok(())
    }

    /// How often a checkpoint was restored.
    ///
    /// # Errors
    /// When its JobManager does not answer.
    pub fn restored(&self, cluster: &HadoopCluster) -> Result<u64, String> {
        Ok(self.application.checkpoints(cluster, &self.job)?.restored)
    }

    /// How many of its checkpoints failed.
    ///
    /// # Errors
    /// When its JobManager does not answer.
    pub fn failed(&self, cluster: &HadoopCluster) -> Result<u64, String> {
        let answer = self.application.ask(cluster, &format!("/jobs/{}/checkpoints", self.job))?;
        answer["counts"]["failed"].as_u64().ok_or_else(|| answer.to_string())
    }

    /// Waits until it was restored more often than `before`, and runs; how often that is.
    ///
    /// # Errors
    /// When it isn't in time.
    pub fn wait_restored(&self, cluster: &HadoopCluster, before: u64) -> Result<u64> {
        let restored = crate::wait::until_ok("the job is restored", LIMIT, || match self.restored(cluster)? {
            now if now > before => Ok(now),
            now => Err(format!("restored {now} times")),
        })?;
        self.application.wait_jobs(cluster, "RUNNING", 1)?;
        Ok(restored)
    }

    /// Lets it come to its end: the command is content, the output exact, and nothing is left. What the command printed.
    ///
    /// # Errors
    /// When not.
    ///
    /// # Panics
    /// When the command fails.
    pub fn ends_well(mut self, cluster: &HadoopCluster) -> Result<String> {
        ensure!(self.client.runs(), "the command has ended:\n{}", self.client.printed());
        self.gate.open()?;
        let outcome = self.client.wait(LIMIT).succeeded();
        ensure!(outcome.printed().contains("has finished"), "{outcome}");
        let written = cluster.hdfs().read_all(&format!("/out/{}", self.name))?;
        let wrong = differences(&expected_rows(self.events), &written);
        ensure!(wrong.is_empty(), "{}: {wrong}\n{outcome}", self.name);
        wait_nothing_left(cluster, &self.application.id, LIMIT)?;
        let kept = cluster.hdfs().tree("/ha").unwrap_or_default();
        ensure!(kept.iter().all(|entry| !entry.path.contains(&self.application.id)), "{kept:?} is left");
        Ok(outcome.printed())
    }
}
