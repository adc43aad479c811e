//! `flink run` on YARN: plan and check, stage, submit, follow.

mod files;
mod watch;

use std::path::Path;
use std::sync::OnceLock;

use anyhow::Context as _;
use flumen_hadoop::conf::Configuration as HadoopConfiguration;
use flumen_model::ids::JobId;
use flumen_model::job_graph::JobGraph;
use flumen_model::options::yarn;
use flumen_wire::control::{PROTOCOL_VERSION, ProgramSetup};

use crate::cluster::{Cluster, NewApplication};
use crate::hadoop::{self, StagingPlace};
use crate::identity::{self, ProcessIdentity};
use crate::interrupts::Interrupts;
use crate::meaning::Run;
use crate::program;
use crate::report::Reporter;
use crate::rest_token;
use crate::ship;
use crate::stage::Staging;
use crate::submit;
use crate::timings::Timings;
use crate::validate::{self, ClusterFacts, Demand};

/// Everything that a submission is made of and that does not change on its way.
struct Submitter<'a> {
    run: &'a Run,
    hadoop: HadoopConfiguration,
    user: String,
    cluster: Cluster,
    place: StagingPlace,
    staging: Staging,
    /// The application whose submission was begun: it may exist even if no answer came.
    begun: OnceLock<String>,
    reporter: &'a Reporter,
    timings: &'a Timings,
}

/// A job on its way to the cluster.
struct Job {
    id: JobId,
    graph: JobGraph,
    /// Of its REST interface.
    token: String,
    /// The program's name in the containers.
    program: String,
}

/// What was submitted.
struct Submitted {
    application: String,
    job: JobId,
    token: String,
}

/// Runs a program in a YARN application of its own. Returns whether it succeeded.
///
/// # Errors
/// Whatever keeps it from being submitted or followed; nothing of the submission is left behind then.
pub async fn run(run: &Run, reporter: &Reporter, timings: &Timings) -> anyhow::Result<bool> {
    let mut interrupts = Interrupts::listen().context("signals can't be received")?;
    let submitter = Submitter::new(run, reporter, timings)?;
    let submitted = tokio::select! {
        biased;
        () = interrupts.next() => Err(anyhow::anyhow!("interrupted before the job was submitted; what was uploaded for it is removed")),
        result = Box::pin(submitter.submit()) => result,
    };
    let submitted = match submitted {
        Ok(submitted) => submitted,
        Err(error) => {
            // Once more leaves at once; a later submission clears up.
            tokio::select! {
                () = interrupts.next() => {}
                () = submitter.abandon() => {}
            }
            return Err(error);
        }
    };
    submitter.follow(&submitted, &mut interrupts).await
}

impl<'a> Submitter<'a> {
    fn new(run: &'a Run, reporter: &'a Reporter, timings: &'a Timings) -> anyhow::Result<Self> {
        let hadoop = hadoop::load(&run.configuration).context("Hadoop's configuration can't be used")?;
        let user = identity::user();
        let cluster = Cluster::new(&hadoop, &user, run.configuration.get(&yarn::CONNECT_TIMEOUT)?)?;
        let place = hadoop::staging_place(&run.configuration, &hadoop, &user)?;
        let replication =
            u16::try_from(run.configuration.get(&yarn::FILE_REPLICATION)?).ok().filter(|&copies| copies > 0);
        let staging = Staging::new(place.fs.clone(), place.base.clone(), replication, ProcessIdentity::own());
        Ok(Self { run, hadoop, user, cluster, place, staging, begun: OnceLock::new(), reporter, timings })
    }

    /// Everything up to the accepted submission.
    async fn submit(&self) -> anyhow::Result<Submitted> {
        let configuration = &self.run.configuration;
        let program_name = program_name(&self.run.program)?;
        let shipped = ship::shipped(configuration, &program_name)?;
        let limit = configuration.get(&yarn::CONNECT_TIMEOUT)?;
        // None of these needs another one.
        let prepared = async {
            tokio::try_join!(
                self.timings.part("plan", self.plan()),
                self.timings.part("facts", self.facts()),
                self.timings.part("hash", self.hashed(&program_name, &shipped)),
                self.timings.part("staging_reachable", hadoop::reachable(&self.place, limit)),
            )
        };
        let (graph, (new, facts), files, ()) = tokio::select! {
            prepared = Box::pin(prepared) => prepared?,
            never = self.reporter.waiting("the program's plan, the ResourceManager and the staging file system") => match never {},
        };
        let demand = submit::demand(configuration, &graph)?;
        self.timings.part("validate", self.validate(&graph, &demand, &facts)).await?;

        let job =
            Job { id: JobId(uuid::Uuid::new_v4().as_u128()), graph, token: rest_token::new(), program: program_name };
        let resources = self.timings.part("upload", self.stage(&new.id, files, &shipped, &job)).await?;
        let submission = submit::submission(&new.id, &job.graph.name, &self.user, configuration, &demand, resources)?;
        let _ = self.begun.set(new.id.clone());
        self.timings.part("submit", self.cluster.submit(&submission)).await?;
        self.timings.reached("submitted");
        self.staging.hand_over(&new.id);
        self.reporter.event(&format!("Submitted application {}", new.id));
        Ok(Submitted { application: new.id, job: job.id, token: job.token })
    }

    async fn plan(&self) -> anyhow::Result<JobGraph> {
        let setup = ProgramSetup {
            protocol: PROTOCOL_VERSION,
            configuration: self.run.configuration.clone(),
            hadoop: self.hadoop.expanded(),
            worker: None,
        };
        Ok(program::plan(&self.run.program, &self.run.arguments, &setup).await?)
    }

    async fn facts(&self) -> anyhow::Result<(NewApplication, ClusterFacts)> {
        let (new, facts) = tokio::try_join!(self.cluster.new_application(), self.cluster.facts())?;
        let facts = ClusterFacts { max_memory_mb: new.max_memory_mb, max_vcores: new.max_vcores, ..facts };
        Ok((new, facts))
    }

    async fn validate(&self, graph: &JobGraph, demand: &Demand, facts: &ClusterFacts) -> anyhow::Result<()> {
        for note in validate::check(demand, facts)? {
            self.reporter.note(&note);
        }
        let systems = hadoop::program_file_systems(&self.run.configuration, &self.hadoop, &self.user)?;
        for output in &graph.outputs {
            let path = systems.resolve(output)?;
            let fs = systems.get(&path)?;
            let occupied = match fs.status(&path).await {
                Ok(status) if status.is_dir => !fs.list(&path).await?.is_empty(),
                Ok(_) => true,
                Err(error) if error.is_not_found() => false,
                Err(error) => return Err(error).with_context(|| format!("output `{path}` can't be looked at")),
            };
            anyhow::ensure!(!occupied, "output `{path}` already exists: remove it or choose another");
        }
        Ok(())
    }

    /// Removes what an unfinished submission left.
    async fn abandon(&self) {
        if let Some(application) = self.begun.get() {
            // Unknown to the ResourceManager, in most cases.
            let _ = self.cluster.kill(application).await;
        }
        for path in self.staging.abandon().await {
            self.reporter.note(&format!("`{path}` could not be removed; a later submission will try again"));
        }
    }
}

/// The program's name in the containers.
fn program_name(path: &Path) -> anyhow::Result<String> {
    let name = path.file_name().and_then(|name| name.to_str());
    name.map(str::to_owned).with_context(|| format!("program `{}` has no usable file name", path.display()))
}
