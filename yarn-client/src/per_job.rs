//! A program in a YARN application of its own: `flink run -t yarn-per-job` (planned here) and `-t yarn-application` (planned
//! by the ApplicationMaster).

use std::time::{Duration, Instant};

use anyhow::Context as _;
use flumen_ha::Owner;
use flumen_hadoop::conf::Configuration as HadoopConfiguration;
use flumen_model::ids::JobId;
use flumen_model::job_graph::JobGraph;
use flumen_model::options::{deployment, execution};
use flumen_wire::application::{JobSubmission, Program, ProgramSubmission, Purpose};
use flumen_wire::control::{PROTOCOL_VERSION, ProgramSetup};

use crate::attach::{Application, Follow, Heartbeat, Home, Seen, Slots};
use crate::deploy::{Content, Deployment, ProgramFile, Submitted};
use crate::hadoop;
use crate::interrupts::Interrupts;
use crate::kept::{self, Kept};
use crate::leader::LeaderLookup;
use crate::meaning::Run;
use crate::program;
use crate::report::Reporter;
use crate::rest;
use crate::submit;
use crate::sweep::Known;
use crate::timings::Timings;
use crate::verdict::Verdict;
use crate::watch::{self, Left, Manner, REQUEST_LIMIT};

/// Time that YARN has to say that an application has ended whose end is known, and between two looks.
const END_LIMIT: Duration = Duration::from_secs(10);
const END_POLL: Duration = Duration::from_millis(200);

/// How an ApplicationMaster says what its job can go on from.
const RESUMED: &str = "flink run -s ";

/// Runs a program in a YARN application of its own. Returns whether it succeeded.
///
/// # Errors
/// Whatever keeps it from being submitted or followed; nothing of the submission is left behind then.
pub async fn run(run: &Run, reporter: &Reporter, timings: &Timings) -> anyhow::Result<bool> {
    let mut interrupts = Interrupts::listen().context("signals can't be received")?;
    let deployment = Deployment::new(&run.configuration, reporter, timings)?;
    let job = new_job_id();
    let submission = Box::pin(submit_planned(&deployment, run, job));
    let submitted = deployment.unless_interrupted(&mut interrupts, submission).await?;
    follow(&deployment, run, &submitted, job, &mut interrupts).await
}

/// Runs a program that its ApplicationMaster asks for the graph. Returns whether it got to run.
///
/// # Errors
/// Whatever keeps it from being submitted or followed; nothing of the submission is left behind then.
pub async fn run_application(run: &Run, reporter: &Reporter, timings: &Timings) -> anyhow::Result<bool> {
    let mut interrupts = Interrupts::listen().context("signals can't be received")?;
    let deployment = Deployment::new(&run.configuration, reporter, timings)?;
    let job = new_job_id();
    let submission = Box::pin(submit_unplanned(&deployment, run, job));
    let submitted = deployment.unless_interrupted(&mut interrupts, submission).await?;
    follow(&deployment, run, &submitted, job, &mut interrupts).await
}

/// An id that no other job has.
pub fn new_job_id() -> JobId {
    JobId(uuid::Uuid::new_v4().as_u128())
}

/// Asks the program of a run for its graph.
///
/// # Errors
/// Why there is none.
pub async fn planned(run: &Run, hadoop: &HadoopConfiguration) -> anyhow::Result<JobGraph> {
    let ProgramFile::Local(path) = &run.program else {
        anyhow::bail!(
            "program `{}` is not on this machine: only `flink run-application -t yarn-application` runs it from there",
            run.program
        );
    };
    let setup = ProgramSetup {
        protocol: PROTOCOL_VERSION,
        configuration: run.configuration.clone(),
        hadoop: hadoop.expanded(),
        worker: None,
    };
    Ok(program::plan(path, &run.arguments, &setup).await?)
}

async fn submit_planned(deployment: &Deployment<'_>, run: &Run, job: JobId) -> anyhow::Result<Submitted> {
    let plan = planned(run, &deployment.hadoop);
    let (graph, prepared) = deployment.prepared(Some(run.program.clone()), plan).await?;
    let demand = submit::demand(&run.configuration, graph.slots().into())?;
    deployment.timings.part("validate", outputs_are_free(deployment, &graph)).await?;
    let name = submit::per_job_name(&graph.name);
    let submission = JobSubmission {
        protocol: PROTOCOL_VERSION,
        job,
        graph,
        program: Program::localized(run.program.name()?),
        arguments: run.arguments.clone(),
        configuration: run.configuration.clone(),
        client_heartbeat: run.shutdown_on_exit,
        accepted_ms: None,
    };
    deployment.launch(prepared, Content { purpose: Purpose::Job(Box::new(submission)), demand, name }).await
}

async fn submit_unplanned(deployment: &Deployment<'_>, run: &Run, job: JobId) -> anyhow::Result<Submitted> {
    let nothing = std::future::ready(Ok(()));
    let ((), prepared) = deployment.prepared(Some(run.program.clone()), nothing).await?;
    // What the program itself sets is not known yet.
    let slots = run.configuration.get(&execution::PARALLELISM)?;
    let demand = submit::demand(&run.configuration, slots.into())?;
    let submission =
        ProgramSubmission { job, program: Program::localized(run.program.name()?), arguments: run.arguments.clone() };
    let name = submit::APPLICATION_NAME.to_owned();
    deployment.launch(prepared, Content { purpose: Purpose::Program(Box::new(submission)), demand, name }).await
}

async fn outputs_are_free(deployment: &Deployment<'_>, graph: &JobGraph) -> anyhow::Result<()> {
    let systems = hadoop::program_file_systems(deployment.configuration, &deployment.hadoop, &deployment.user)?;
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

async fn follow(
    deployment: &Deployment<'_>,
    run: &Run,
    submitted: &Submitted,
    job: JobId,
    interrupts: &mut Interrupts,
) -> anyhow::Result<bool> {
    let Deployment { reporter, configuration, cluster, .. } = deployment;
    let Submitted { application, token } = submitted;
    let (id, job) = (job, job.to_string());
    let heartbeat = if run.shutdown_on_exit { Some(Heartbeat::of(configuration)?) } else { None };
    let leader = LeaderLookup::of(configuration, &deployment.user, Owner::Job(application));
    let mut follow = Follow {
        home: Home::Own(Application { cluster, id: application, leader: leader.as_ref() }),
        http: rest::http_client(configuration.get(&deployment::CLIENT_TIMEOUT)?.min(REQUEST_LIMIT))?,
        job: &job,
        token: Some(token),
        heartbeat,
        slots: Slots::of(Some(&run.configuration)),
        reporter,
        timings: deployment.timings,
        seen: Seen::nothing(),
    };
    let (place, how_to_stop) = (format!("application {application}"), how_to_stop(deployment, application, &job));
    let manner = Manner {
        attached: run.attached,
        cancel_on_interrupt: run.shutdown_on_exit,
        place: &place,
        how_to_stop: &how_to_stop,
    };
    match watch::watch(&mut follow, &manner, interrupts, deployment.sweep()).await? {
        Left::Running => {
            show_application(deployment, application).await;
            reporter.result(&format!("To stop the job: {how_to_stop}"));
            Ok(true)
        }
        Left::Over(verdict) => {
            // A short job may be over before it was seen running; scripts look for these lines all the same.
            if !run.attached {
                show_application(deployment, application).await;
            }
            deployment.clear(application).await;
            let succeeded = watch::show_end(reporter, &job, &verdict);
            if !succeeded {
                clear_kept(deployment, application).await;
                name_checkpoint(deployment, run, id, &verdict).await;
            }
            Ok(succeeded)
        }
        Left::Cancelled => {
            deployment.clear(application).await;
            reporter.event(&format!("Job cancelled, application {application} has ended"));
            clear_kept(deployment, application).await;
            Ok(false)
        }
        Left::Alone => Ok(false),
    }
}

/// Removes what high availability kept, and says what it can't remove. The ApplicationMaster does this itself, unless it was
/// killed; while YARN does not say that it has ended, it is left to that, or to a later sweep.
async fn clear_kept(deployment: &Deployment<'_>, application: &str) {
    let Deployment { configuration, user, cluster, reporter, .. } = deployment;
    let found = || Kept::of_job_found(configuration, user, application);
    let begun = Instant::now();
    while found().await.is_some() {
        if cluster.known(application).await == Known::Ended {
            Kept::remove_of_job(configuration, user, application).await;
            if let Some(kept) = found().await {
                reporter.note(&kept.of_job());
            }
            return;
        }
        if begun.elapsed() > END_LIMIT {
            return;
        }
        tokio::time::sleep(END_POLL).await;
    }
}

/// Names the checkpoint that a job can go on from, unless its ApplicationMaster has. That does, and removes those that are not
/// to stay, unless it was killed.
async fn name_checkpoint(deployment: &Deployment<'_>, run: &Run, job: JobId, verdict: &Verdict) {
    let told = matches!(verdict, Verdict::Failed { cause } | Verdict::Canceled { cause } if cause.contains(RESUMED));
    if !told && let Some(newest) = kept::newest_checkpoint(&run.configuration, &deployment.user, job).await {
        deployment.reporter.note(&newest);
    }
}

async fn show_application(deployment: &Deployment<'_>, application: &str) {
    let web = deployment.cluster.report(application).await.map(|report| report.tracking_url).unwrap_or_default();
    deployment.reporter.result(&format!("Application: {application}\nWeb interface: {web}"));
}

/// The first way lets the JobManager clear up.
fn how_to_stop(deployment: &Deployment<'_>, application: &str, job: &str) -> String {
    format!(
        "flink cancel -yid {application} {job}\n  or if that is not possible: yarn application -kill {application}\n  or without Hadoop's tools: curl -X PUT -H 'Content-Type: application/json' -d \
         '{{\"state\":\"KILLED\"}}' '{}'",
        deployment.cluster.state_url(application)
    )
}
