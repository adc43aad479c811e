//! A program in a session: `flink run` without an address, with `-yid`, or with `-m host:port`.
//!
//! It is planned here, its executable is staged by content, and the JobManager is given what a per-job application would have
//! been started with.

use std::time::Duration;

use anyhow::Context as _;
use flumen_model::config::Configuration;
use flumen_model::options::deployment;
use flumen_staging::Hashed;
use flumen_wire::application::{Artifact, JobSubmission, Program};
use flumen_wire::control::PROTOCOL_VERSION;

use crate::attach::{Follow, Heartbeat, Home, Seen, Slots};
use crate::deploy::ProgramFile;
use crate::hadoop;
use crate::identity;
use crate::interrupts::Interrupts;
use crate::kept::{self, Kept};
use crate::locate::{Finder, Found, Running};
use crate::meaning::{Address, Run};
use crate::per_job::{new_job_id, planned};
use crate::program;
use crate::report::Reporter;
use crate::rest::{self, Master, RestError};
use crate::stage::Staging;
use crate::sweep::Known;
use crate::timings::Timings;
use crate::watch::{self, Left, Manner, REQUEST_LIMIT};

/// Time between two attempts to submit, and their number: the same submission twice is one job.
const RETRY: Duration = Duration::from_millis(500);
const ATTEMPTS: u32 = 4;

/// Runs a program in the session at an address. Returns whether it succeeded.
///
/// # Errors
/// Whatever keeps it from being submitted or followed.
pub async fn run(run: &Run, address: &Address, reporter: &Reporter, timings: &Timings) -> anyhow::Result<bool> {
    let mut interrupts = Interrupts::listen().context("signals can't be received")?;
    let submitting = Box::pin(submit(run, address, reporter, timings));
    let (found, job) = tokio::select! {
        biased;
        () = interrupts.next() => anyhow::bail!("interrupted before the job was submitted"),
        submitted = submitting => submitted?,
    };
    follow(run, &found, &job, reporter, timings, &mut interrupts).await
}

/// Everything up to the accepted submission. Returns where the job runs, and its id.
async fn submit(
    run: &Run,
    address: &Address,
    reporter: &Reporter,
    timings: &Timings,
) -> anyhow::Result<(Found, String)> {
    let finder = Finder::new(&run.configuration, reporter)?;
    if matches!(address, Address::At(_)) && hadoop::is_absent(&run.configuration) {
        return over_rest(run, &finder, address, reporter, timings).await;
    }
    let hadoop = hadoop::load_if_any(&run.configuration)?;
    // None of these needs another one.
    let all = async {
        tokio::try_join!(
            timings.part("locate", finder.master(address)),
            timings.part("plan", planned(run, &hadoop)),
            timings.part("hash", hashed(&run.program)),
        )
    };
    let (found, graph, file) = tokio::select! {
        all = Box::pin(all) => all?,
        never = reporter.waiting("the program's plan and the session") => match never {},
    };
    if let Some(Running { id, is_session: Some(false), .. }) = &found.application {
        anyhow::bail!("application {id} was started for one job and takes no other: name a session with -yid");
    }
    let yarn = finder.yarn().context("a program is staged on the cluster's file system")?;
    let staging = Staging::of(&yarn.place, &run.configuration)?;
    let name = run.program.name()?;
    let uploading = timings.part("upload", staging.cached(&file, &name, false));
    let staged = tokio::select! {
        staged = uploading => staged,
        never = reporter.uploads(staging.progress()) => match never {},
    };
    let staged = match staged {
        Ok(staged) => staged,
        Err(error) => {
            staging.abandon().await;
            return Err(error.into());
        }
    };
    let job = new_job_id();
    let submission = JobSubmission {
        protocol: PROTOCOL_VERSION,
        job,
        graph,
        program: Program {
            name,
            artifact: Some(Artifact { url: staged.url, size: staged.size, sha256: file.sha256.clone() }),
        },
        arguments: run.arguments.clone(),
        configuration: run.configuration.clone(),
        client_heartbeat: run.shutdown_on_exit,
        accepted_ms: None,
    };
    timings.part("submit", accepted(&found.master, &submission)).await?;
    timings.reached("submitted");
    Ok((found, job.to_string()))
}

/// Without Hadoop nothing can be staged from here: the session is given the program, and asks it for its graph itself.
async fn over_rest(
    run: &Run,
    finder: &Finder<'_>,
    address: &Address,
    reporter: &Reporter,
    timings: &Timings,
) -> anyhow::Result<(Found, String)> {
    let ProgramFile::Local(path) = &run.program else {
        anyhow::bail!("program `{}` is not on this machine", run.program)
    };
    let (path, name) = (program::executable(path)?, run.program.name()?);
    let content = std::fs::read(&path).with_context(|| format!("`{}` can't be read", path.display()))?;
    let found = timings.part("locate", finder.master(address)).await?;
    let taken = found.master.takes_upload(content.len() as u64).await;
    taken.with_context(|| format!("the session does not take the program `{}`", path.display()))?;
    reporter.event(&format!("Uploading {name} ({:.1} MB) over REST", content.len() as f64 / 1e6));
    let uploading = timings.part("upload", found.master.upload(&name, &content));
    let id = tokio::select! {
        id = uploading => id.context("the session does not take the program")?,
        never = reporter.waiting("the upload") => match never {},
    };
    let configuration: serde_json::Map<_, _> =
        run.configuration.iter().map(|(key, value)| (key.to_owned(), value.into())).collect();
    let job = new_job_id().to_string();
    let body = serde_json::json!({
        "jobId": job,
        "programArgsList": run.arguments,
        "flinkConfiguration": configuration,
        "clientHeartbeat": run.shutdown_on_exit,
    });
    let accepted = timings.part("submit", found.master.run_uploaded(&id, &body)).await;
    if let Err(error) = found.master.remove_uploaded(&id).await {
        reporter.note(&format!("the uploaded program {id} stays on the JobManager: {error}"));
    }
    accepted.context("the session does not take the job")?;
    timings.reached("submitted");
    Ok((found, job))
}

async fn hashed(program: &ProgramFile) -> anyhow::Result<Hashed> {
    match program {
        ProgramFile::Local(path) => Ok(flumen_staging::hash(&program::executable(path)?).await?),
        ProgramFile::Remote(url) => anyhow::bail!("program `{url}` is not on this machine"),
    }
}

async fn accepted(master: &Master, submission: &JobSubmission) -> anyhow::Result<()> {
    let mut attempt = 1;
    loop {
        match master.submit(submission).await {
            Ok(()) => return Ok(()),
            Err(RestError::Unreachable { .. }) if attempt < ATTEMPTS => {
                attempt += 1;
                tokio::time::sleep(RETRY).await;
            }
            Err(error) => return Err(error).context("the session does not take the job"),
        }
    }
}

/// Of a job that ended because its session did: what high availability keeps of the session, or else the checkpoint that the job
/// can go on from.
async fn tell_what_stays(
    run: &Run,
    Running { id, cluster, configuration, .. }: &Running,
    job: &str,
    reporter: &Reporter,
) {
    if cluster.known(id).await != Known::Ended {
        return;
    }
    let user = identity::user();
    // As the JobManager had it: what the job said held over what the session was started with.
    let mut effective = configuration.clone().unwrap_or_default();
    if let Some(kept) = Kept::found(&effective, &user, id).await {
        reporter.note(&kept.of_session());
        return;
    }
    effective.extend(&run.configuration);
    let newest = async { kept::newest_checkpoint(&effective, &user, job.parse().ok()?).await };
    if let Some(newest) = newest.await {
        reporter.note(&newest);
    }
}

async fn follow(
    run: &Run,
    found: &Found,
    job: &str,
    reporter: &Reporter,
    timings: &Timings,
    interrupts: &mut Interrupts,
) -> anyhow::Result<bool> {
    let configuration: &Configuration = &run.configuration;
    let heartbeat = if run.shutdown_on_exit { Some(Heartbeat::of(configuration)?) } else { None };
    let application = found.application.as_ref().map(Running::as_followed);
    let http = rest::http_client(configuration.get(&deployment::CLIENT_TIMEOUT)?.min(REQUEST_LIMIT))?;
    let master = Master::new(http.clone(), found.master.address(), found.token());
    let mut follow = Follow {
        home: Home::Session(application),
        http,
        job,
        token: found.token(),
        heartbeat,
        slots: Slots::of(found.application.as_ref().and_then(|running| running.configuration.as_ref())),
        reporter,
        timings,
        seen: Seen::master(&master, job),
    };
    let (place, flag) = match &found.application {
        Some(Running { id, .. }) => (format!("session {id}"), format!("-yid {id}")),
        None => (format!("the session at {}", master.address()), format!("-m {}", master.address())),
    };
    let how_to_stop = format!("flink cancel {flag} {job}");
    let manner = Manner {
        attached: run.attached,
        cancel_on_interrupt: run.shutdown_on_exit,
        place: &place,
        how_to_stop: &how_to_stop,
    };
    match watch::watch(&mut follow, &manner, interrupts, std::future::ready(())).await? {
        Left::Running => {
            reporter.result(&format!("The job runs in {place}. To stop it: {how_to_stop}"));
            Ok(true)
        }
        Left::Over(verdict) => {
            let succeeded = watch::show_end(reporter, job, &verdict);
            if let Some(running) = found.application.as_ref().filter(|_| !succeeded) {
                tell_what_stays(run, running, job, reporter).await;
            }
            Ok(succeeded)
        }
        Left::Cancelled => {
            reporter.event("Job cancelled");
            Ok(false)
        }
        Left::Alone => Ok(false),
    }
}
