//! `flink list`, `savepoint`, `checkpoint`, `stop` and `cancel`: asks a JobManager, and says what came of it in Flink's words.

use std::time::{Duration, Instant};

use flumen_checkpoint::dispose_savepoint;
use flumen_hadoop::conf::Configuration as HadoopConfiguration;
use flumen_model::config::Configuration;
use flumen_model::ids::JobId;
use serde_json::{Value, json};

use crate::args::Verb;
use crate::cluster::AppState;
use crate::hadoop;
use crate::identity;
use crate::list::{self, Listed, Selection};
use crate::locate::{Finder, Found, Running};
use crate::meaning::Address;
use crate::report::Reporter;
use crate::rest::{JobClient, OperationError, RestError};

/// Time that a cancelled job has to be seen as ended.
const CANCEL_LIMIT: Duration = Duration::from_secs(120);
/// How many JobManagers in a row are asked for one snapshot, and how long each may take to lead.
const ASKED_MAX: u32 = 3;
const NEXT_LIMIT: Duration = Duration::from_secs(60);
/// Time between two looks.
const POLL: Duration = Duration::from_millis(200);

/// Does what was asked. Returns whether it was done.
///
/// # Errors
/// Whatever keeps it from being done.
pub async fn act(
    verb: &Verb,
    address: &Address,
    configuration: &Configuration,
    reporter: &Reporter,
) -> anyhow::Result<bool> {
    let finder = Finder::new(configuration, reporter)?;
    if let Verb::Dispose { path } = verb {
        return match address {
            Address::At(_) => dispose_there(path, &finder.master(address).await?, reporter).await,
            Address::Application(_) | Address::Remembered | Address::Any => {
                dispose(path, configuration, reporter).await
            }
        };
    }
    let search = Search { finder: &finder, address, reporter };
    match verb {
        Verb::List { running, scheduled, all, json } => {
            search.list(Selection::of(*running, *scheduled, *all), *json).await?;
        }
        Verb::Savepoint { job, directory, detached } => {
            let asked = search.job(*job).await?;
            reporter.event(&format!("Triggering savepoint for job {job}."));
            let body = json!({ "cancel-job": false, "target-directory": directory });
            let Some(taken) =
                search.for_result_of_any(asked, *job, Operation::of("/savepoints", &body), *detached).await?
            else {
                return Ok(true);
            };
            reporter.result(&format!("Savepoint completed. Path: {}", location(&taken)?));
            reporter.event("You can resume your program from this savepoint with the run command.");
        }
        Verb::Checkpoint { job, full } => {
            let asked = search.job(*job).await?;
            reporter.event(&format!("Triggering checkpoint for job {job}."));
            let body = json!({ "checkpointType": if *full { "FULL" } else { "CONFIGURED" } });
            let Some(taken) =
                search.for_result_of_any(asked, *job, Operation::of("/checkpoints", &body), false).await?
            else {
                return Ok(true);
            };
            let id = taken["checkpointId"].as_u64().ok_or_else(|| OperationError::Answer(taken.clone()))?;
            reporter.result(&format!("Checkpoint {id} for job {job} completed."));
            reporter.event("You can resume your program from this checkpoint with the run command.");
        }
        Verb::Stop { job, directory, drain, detached } => {
            let asked = search.job(*job).await?;
            let what = if *drain { "Draining" } else { "Suspending" };
            reporter.event(&format!("{what} job \"{job}\" with a savepoint."));
            let body = json!({ "drain": drain, "targetDirectory": directory });
            let Some(taken) = search.for_result_of_any(asked, *job, Operation::stop(&body), *detached).await? else {
                return Ok(true);
            };
            reporter.result(&format!("Savepoint completed. Path: {}", location(&taken)?));
        }
        Verb::Cancel { job, savepoint: None } => {
            let asked = search.job(*job).await?;
            reporter.event(&format!("Cancelling job {job}."));
            asked.client.cancel().await?;
            asked.until_over().await?;
            reporter.result(&format!("Cancelled job {job}."));
        }
        Verb::Cancel { job, savepoint: Some(directory) } => {
            let asked = search.job(*job).await?;
            reporter.note("cancelling with a savepoint is deprecated: `flink stop` is the better way");
            let target = directory.as_deref().unwrap_or("the default savepoint directory");
            reporter.event(&format!("Cancelling job {job} with savepoint to {target}."));
            let body = json!({ "cancel-job": true, "target-directory": directory });
            let Some(taken) = search.for_result_of_any(asked, *job, Operation::of("/savepoints", &body), false).await?
            else {
                return Ok(true);
            };
            reporter.result(&format!("Cancelled job {job}. Savepoint stored in {}.", location(&taken)?));
        }
        Verb::Dispose { .. } => {}
    }
    Ok(true)
}

fn location(taken: &Value) -> Result<&str, OperationError> {
    taken["location"].as_str().ok_or_else(|| OperationError::Answer(taken.clone()))
}

/// Where to look.
struct Search<'a> {
    finder: &'a Finder<'a>,
    address: &'a Address,
    reporter: &'a Reporter,
}

impl<'a> Search<'a> {
    async fn job(&self, job: JobId) -> anyhow::Result<Asked<'a>> {
        let found = self.finder.job(self.address, job).await?;
        Ok(Asked { client: found.master.job(&job.to_string()), found, reporter: self.reporter })
    }

    /// Has a snapshot taken by whichever JobManager leads in the end: one that follows another knows nothing of what was under way,
    /// so it is asked again. A job that is over by then has done what the snapshot was to go before, or something else:
    /// nothing is asked of it. `None` when the result is not waited for.
    async fn for_result_of_any(
        &self,
        mut asked: Asked<'a>,
        job: JobId,
        operation: Operation<'_>,
        detached: bool,
    ) -> anyhow::Result<Option<Value>> {
        for _ in 1..ASKED_MAX {
            match asked.for_result(operation, detached).await {
                Err(error @ OperationError::Forgotten(_)) => {
                    let state;
                    (asked, state) = self.job_of_next(job).await?;
                    if is_over(&state) {
                        return Err(anyhow::Error::from(error).context(format!("the job is {state} by now")));
                    }
                    self.reporter
                        .note("the JobManager that was asked is not there any more: the next one is asked again");
                }
                result => return Ok(result?),
            }
        }
        Ok(asked.for_result(operation, detached).await?)
    }

    /// The job, and its state, at the JobManager that follows the last one, as soon as that answers.
    async fn job_of_next(&self, job: JobId) -> anyhow::Result<(Asked<'a>, String)> {
        let begun = Instant::now();
        loop {
            let error = match self.job(job).await {
                Ok(asked) => match asked.client.details().await {
                    Ok(view) => return Ok((asked, view.state)),
                    Err(error) => error.into(),
                },
                Err(error) => error,
            };
            if begun.elapsed() > NEXT_LIMIT {
                return Err(error.context("no JobManager has followed the one that was asked"));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn list(&self, selection: Selection, as_json: bool) -> anyhow::Result<()> {
        self.reporter.event("Waiting for response...");
        let mut jobs = Vec::new();
        for found in self.finder.masters(self.address).await? {
            let application = found.application.map(|application| application.id);
            let listed = found.master.jobs().await?.into_iter();
            jobs.extend(listed.map(|job| Listed { job, application: application.clone() }));
        }
        let text = if as_json { list::json_text(&jobs, selection) } else { list::text(&jobs, selection) };
        self.reporter.result(&text);
        Ok(())
    }
}

/// A snapshot that is to be taken of a job.
#[derive(Clone, Copy)]
struct Operation<'a> {
    /// The path of its POST below the job.
    post: &'a str,
    body: &'a Value,
    /// That of its result, without the number.
    get: &'a str,
}

impl<'a> Operation<'a> {
    fn of(path: &'a str, body: &'a Value) -> Self {
        Self { post: path, body, get: path }
    }

    fn stop(body: &'a Value) -> Self {
        Self { post: "/stop", body, get: "/savepoints" }
    }
}

/// A job that was found.
struct Asked<'a> {
    client: JobClient,
    found: Found,
    reporter: &'a Reporter,
}

impl Asked<'_> {
    /// Starts an operation and waits for its result; `None` when it is not waited for.
    async fn for_result(&self, operation: Operation<'_>, detached: bool) -> Result<Option<Value>, OperationError> {
        let Operation { post, body, get } = operation;
        let request = self.client.trigger(post, body).await?;
        if detached {
            self.reporter.result(&format!("Triggered. Trigger id: {request}"));
            return Ok(None);
        }
        self.reporter.event("Waiting for response...");
        tokio::select! {
            result = self.client.result(get, &request) => result.map(Some),
            never = self.reporter.waiting("the job") => match never {},
        }
    }

    /// Waits until the job is over: its JobManager says so, or is not there any more.
    async fn until_over(&self) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            match self.client.details().await {
                Ok(view) if is_over(&view.state) => return Ok(()),
                Ok(_) => {}
                // A session may forget jobs that are over.
                Err(error) if error.is_not_found() => return Ok(()),
                Err(RestError::Unreachable { .. }) => {
                    if let Some(Running { id, cluster, .. }) = &self.found.application
                        && cluster.report(id).await?.state != AppState::Running
                    {
                        return Ok(());
                    }
                }
                Err(error) => return Err(error.into()),
            }
            anyhow::ensure!(
                begun.elapsed() < CANCEL_LIMIT,
                "the job is being cancelled, but has not ended after {} s{}",
                CANCEL_LIMIT.as_secs(),
                self.last_resort()
            );
            tokio::time::sleep(POLL).await;
        }
    }

    fn last_resort(&self) -> String {
        match &self.found.application {
            Some(Running { id, is_session: Some(false), .. }) => {
                format!("; `yarn application -kill {id}` ends it at once")
            }
            Some(_) | None => String::new(),
        }
    }
}

fn is_over(state: &str) -> bool {
    matches!(state, "CANCELED" | "FAILED" | "FINISHED")
}

/// Has the JobManager that was named remove a savepoint: it reaches file systems that this machine may not.
async fn dispose_there(path: &str, found: &Found, reporter: &Reporter) -> anyhow::Result<bool> {
    reporter.event(&format!("Disposing savepoint '{path}'."));
    let request = found.master.trigger("/savepoint-disposal", &json!({ "savepoint-path": path })).await?;
    tokio::select! {
        result = found.master.result("/savepoint-disposal", &request) => drop(result?),
        never = reporter.waiting("the removal") => match never {},
    }
    reporter.result(&format!("Savepoint '{path}' disposed."));
    Ok(true)
}

/// Removes a savepoint from here: no job has to run for that.
async fn dispose(path: &str, configuration: &Configuration, reporter: &Reporter) -> anyhow::Result<bool> {
    let hadoop: HadoopConfiguration = hadoop::load_if_any(configuration)?;
    let systems = hadoop::program_file_systems(configuration, &hadoop, &identity::user())?;
    reporter.event(&format!("Disposing savepoint '{path}'."));
    dispose_savepoint(&systems, &systems.resolve(path)?).await?;
    reporter.result(&format!("Savepoint '{path}' disposed."));
    Ok(true)
}
