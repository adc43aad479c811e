//! A YARN application on its way: prepared and checked, staged, submitted; or, when that does not come about, cleared up.
//!
//! What it is for ([`Content`]) differs between `flink run`, `flink run-application` and `yarn-session.sh`; the way is one.

mod files;

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use flumen_hadoop::conf::Configuration as HadoopConfiguration;
use flumen_model::config::Configuration;
use flumen_model::options::yarn;
use flumen_staging::{Hashed, ProcessIdentity};
use flumen_wire::application::Purpose;

use crate::cluster::{Cluster, NewApplication};
use crate::hadoop::{self, StagingPlace};
use crate::identity;
use crate::interrupts::Interrupts;
use crate::report::Reporter;
use crate::rest_token;
use crate::ship::{self, Shipped};
use crate::stage::Staging;
use crate::submit;
use crate::sweep;
use crate::timings::Timings;
use crate::validate::{self, ClusterFacts, Demand};

/// Everything that a submission is made with and that does not change on its way.
pub struct Deployment<'a> {
    /// The effective configuration.
    pub configuration: &'a Configuration,
    /// Hadoop's.
    pub hadoop: HadoopConfiguration,
    /// On whose behalf.
    pub user: String,
    /// Where to.
    pub cluster: Cluster,
    /// Where files are staged.
    pub place: StagingPlace,
    /// Stages them.
    pub staging: Staging,
    /// Tells the user.
    pub reporter: &'a Reporter,
    /// Keeps points in time.
    pub timings: &'a Timings,
    /// The application whose submission was begun: it may exist even if no answer came.
    begun: OnceLock<String>,
}

/// The program that the containers get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProgramFile {
    /// On this machine.
    Local(PathBuf),
    /// On a file system of the cluster: a full URL.
    Remote(String),
}

impl ProgramFile {
    /// A program as it was named: with a scheme other than `file` it is on the cluster.
    pub fn named(text: &str) -> Self {
        match text.split_once("://") {
            Some(("file", path)) => Self::Local(PathBuf::from(path)),
            Some(_) => Self::Remote(text.to_owned()),
            None => Self::Local(PathBuf::from(text)),
        }
    }

    /// Its name in the containers.
    ///
    /// # Errors
    /// When it has none that can be used.
    pub fn name(&self) -> anyhow::Result<String> {
        let name = match self {
            Self::Local(path) => path.file_name().and_then(|name| name.to_str()),
            Self::Remote(url) => url.rsplit('/').next().filter(|name| !name.is_empty()),
        };
        name.map(str::to_owned).with_context(|| format!("program `{self}` has no usable file name"))
    }
}

impl std::fmt::Display for ProgramFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Local(path) => path.display().fmt(f),
            Self::Remote(url) => f.write_str(url),
        }
    }
}

/// What was learned before anything was uploaded.
pub struct Prepared {
    new: NewApplication,
    facts: ClusterFacts,
    program: Option<ProgramFile>,
    shipped: Vec<Shipped>,
    /// What may have to be uploaded: the file, its link, whether it is an archive.
    files: Vec<(Hashed, String, bool)>,
}

/// What an application is for.
pub struct Content {
    /// For its ApplicationMaster.
    pub purpose: Purpose,
    /// What it asks of the cluster.
    pub demand: Demand,
    /// Its name when none was chosen.
    pub name: String,
}

/// What was submitted.
pub struct Submitted {
    /// The application's id.
    pub application: String,
    /// Of its REST interface.
    pub token: String,
}

impl<'a> Deployment<'a> {
    /// A deployment with a configuration; no connection is made.
    ///
    /// # Errors
    /// When Hadoop's configuration, or an option, can't be used.
    pub fn new(configuration: &'a Configuration, reporter: &'a Reporter, timings: &'a Timings) -> anyhow::Result<Self> {
        let hadoop = hadoop::load(configuration).context("Hadoop's configuration can't be used")?;
        let user = identity::user();
        let cluster = Cluster::new(&hadoop, &user, configuration.get(&yarn::CONNECT_TIMEOUT)?)?;
        let place = hadoop::staging_place(configuration, &hadoop, &user)?;
        let staging = Staging::of(&place, configuration)?;
        Ok(Self { configuration, hadoop, user, cluster, place, staging, reporter, timings, begun: OnceLock::new() })
    }

    /// Carries a submission out unless it is interrupted; clears up when it does not come about.
    ///
    /// # Errors
    /// Those of the submission; nothing of it is left behind then.
    pub async fn unless_interrupted<T>(
        &self,
        interrupts: &mut Interrupts,
        submission: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        let submitted = tokio::select! {
            biased;
            () = interrupts.next() => Err(anyhow::anyhow!("interrupted before the submission was complete; what was uploaded for it is removed")),
            result = submission => result,
        };
        if submitted.is_err() {
            // Once more leaves at once; a later submission clears up.
            tokio::select! {
                () = interrupts.next() => {}
                () = self.abandon() => {}
            }
        }
        submitted
    }

    /// Learns what is needed before anything is uploaded: the cluster, hashes of files, whether the staging file system
    /// answers; and whatever `beside` finds out in the meantime.
    ///
    /// # Errors
    /// The first of any of them.
    pub async fn prepared<T>(
        &self,
        program: Option<ProgramFile>,
        beside: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<(T, Prepared)> {
        let program_name = program.as_ref().map(ProgramFile::name).transpose()?;
        let shipped = ship::shipped(self.configuration, program_name.as_deref())?;
        let limit = self.configuration.get(&yarn::CONNECT_TIMEOUT)?;
        // None of these needs another one.
        let all = async {
            tokio::try_join!(
                self.timings.part("plan", beside),
                self.timings.part("facts", self.facts()),
                self.timings.part("hash", self.hashed(program.as_ref(), &shipped)),
                self.timings.part("staging_reachable", hadoop::reachable(&self.place, limit)),
            )
        };
        let (found, (new, facts), files, ()) = tokio::select! {
            all = Box::pin(all) => all?,
            never = self.reporter.waiting("the program's plan, the ResourceManager and the staging file system") => match never {},
        };
        Ok((found, Prepared { new, facts, program, shipped, files }))
    }

    async fn facts(&self) -> anyhow::Result<(NewApplication, ClusterFacts)> {
        let (new, facts) = tokio::try_join!(self.cluster.new_application(), self.cluster.facts())?;
        let facts = ClusterFacts { max_memory_mb: new.max_memory_mb, max_vcores: new.max_vcores, ..facts };
        Ok((new, facts))
    }

    /// Checks the demand, stages everything and submits the application.
    ///
    /// # Errors
    /// Whatever keeps it from being submitted; [`Deployment::unless_interrupted`] clears up.
    pub async fn launch(&self, prepared: Prepared, content: Content) -> anyhow::Result<Submitted> {
        for note in validate::check(&content.demand, &prepared.facts)? {
            self.reporter.note(&note);
        }
        let Content { purpose, demand, name } = content;
        let (application, token) = (prepared.new.id.clone(), rest_token::new());
        let staged = self.stage(&application, prepared, purpose, &token);
        let resources = self.timings.part("upload", staged).await?;
        let submission = submit::submission(&application, &name, &self.user, self.configuration, &demand, resources)?;
        let _ = self.begun.set(application.clone());
        self.timings.part("submit", self.cluster.submit(&submission)).await?;
        self.timings.reached("submitted");
        self.staging.hand_over(&application);
        self.reporter.event(&format!("Submitted application {application}"));
        Ok(Submitted { application, token })
    }

    /// Removes what an unfinished submission left.
    async fn abandon(&self) {
        if let Some(application) = self.begun.get() {
            // Unknown to the ResourceManager, in most cases.
            let _ = self.cluster.kill(application).await;
            self.clear(application).await;
        }
        for path in self.staging.abandon().await {
            self.reporter.note(&format!("`{path}` could not be removed; a later submission will try again"));
        }
    }

    /// Removes the staging directory of an application that has ended. The ApplicationMaster does this itself, unless it
    /// never ran or was killed.
    pub async fn clear(&self, application: &str) {
        clear(&self.place, application).await;
    }

    /// Removes what earlier clients and applications left. Best effort.
    pub async fn sweep(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let known = |application: String| async move { self.cluster.known(&application).await };
        let own = ProcessIdentity::own();
        let sweep = sweep::sweep(&self.staging, &own, now.as_millis() as u64, known);
        match tokio::time::timeout(sweep::LIMIT, sweep).await {
            Ok(Ok(removed)) => tracing::debug!(removed, "swept the staging area"),
            Ok(Err(error)) => tracing::debug!(%error, "the staging area could not be swept"),
            Err(_) => tracing::debug!("sweeping the staging area took too long"),
        }
    }
}

/// Removes the staging directory of an application that has ended, for a short time at most.
pub async fn clear(place: &StagingPlace, application: &str) {
    const LIMIT: Duration = sweep::LIMIT;
    let _ = tokio::time::timeout(LIMIT, place.fs.delete(&place.base.join(application), true)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_on_the_cluster_when_its_scheme_says_so() {
        let local = |path: &str| ProgramFile::Local(path.into());
        for (text, file, name) in [
            ("./a/wordcount", local("./a/wordcount"), Some("wordcount")),
            ("file:///a/wordcount", local("/a/wordcount"), Some("wordcount")),
            ("hdfs://nn:1/a/w", ProgramFile::Remote("hdfs://nn:1/a/w".into()), Some("w")),
            ("hdfs:///a/", ProgramFile::Remote("hdfs:///a/".into()), None),
            ("/", local("/"), None),
        ] {
            assert_eq!(ProgramFile::named(text), file);
            assert_eq!(file.name().ok().as_deref(), name, "{text}");
        }
    }
}
