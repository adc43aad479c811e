//! `flink savepoint`, `checkpoint`, `stop` and `cancel`: asks a job that runs, and says what came of it in Flink's words.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use flumen_checkpoint::dispose_savepoint;
use flumen_hadoop::conf::Configuration as HadoopConfiguration;
use flumen_model::config::Configuration;
use flumen_model::ids::JobId;
use serde_json::{Value, json};

use crate::application::{Found, Search};
use crate::args::Verb;
use crate::hadoop;
use crate::identity;
use crate::job::{JobError, OperationError};
use crate::report::Reporter;

/// Time that a cancelled job has to be seen as ended.
const CANCEL_LIMIT: Duration = Duration::from_secs(120);
/// Time between two looks.
const POLL: Duration = Duration::from_millis(200);

/// Does what was asked. Returns whether it was done.
///
/// # Errors
/// Whatever keeps it from being done.
pub async fn act(
    verb: &Verb,
    application: Option<&str>,
    configuration: &Configuration,
    reporter: &Reporter,
) -> anyhow::Result<bool> {
    if let Verb::Dispose { path } = verb {
        return dispose(path, configuration, reporter).await;
    }
    let hadoop = hadoop::load(configuration).context("Hadoop's configuration can't be used")?;
    let search = Search { configuration, hadoop: &hadoop, application };
    match verb {
        Verb::Savepoint { job, directory, detached } => {
            let asked = Asked::new(&search, *job, reporter).await?;
            reporter.event(&format!("Triggering savepoint for job {job}."));
            let body = json!({ "cancel-job": false, "target-directory": directory });
            let Some(taken) = asked.for_result("/savepoints", &body, "/savepoints", *detached).await? else {
                return Ok(true);
            };
            reporter.result(&format!("Savepoint completed. Path: {}", location(&taken)?));
            reporter.event("You can resume your program from this savepoint with the run command.");
        }
        Verb::Checkpoint { job, full } => {
            let asked = Asked::new(&search, *job, reporter).await?;
            reporter.event(&format!("Triggering checkpoint for job {job}."));
            let body = json!({ "checkpointType": if *full { "FULL" } else { "CONFIGURED" } });
            let Some(taken) = asked.for_result("/checkpoints", &body, "/checkpoints", false).await? else {
                return Ok(true);
            };
            let id = taken["checkpointId"].as_u64().ok_or_else(|| OperationError::Answer(taken.clone()))?;
            reporter.result(&format!("Checkpoint {id} for job {job} completed."));
            reporter.event("You can resume your program from this checkpoint with the run command.");
        }
        Verb::Stop { job, directory, drain, detached } => {
            let asked = Asked::new(&search, *job, reporter).await?;
            let what = if *drain { "Draining" } else { "Suspending" };
            reporter.event(&format!("{what} job \"{job}\" with a CANONICAL savepoint."));
            let body = json!({ "drain": drain, "targetDirectory": directory });
            let Some(taken) = asked.for_result("/stop", &body, "/savepoints", *detached).await? else {
                return Ok(true);
            };
            reporter.result(&format!("Savepoint completed. Path: {}", location(&taken)?));
        }
        Verb::Cancel { job, savepoint: None } => {
            let asked = Asked::new(&search, *job, reporter).await?;
            reporter.event(&format!("Cancelling job {job}."));
            asked.found.client.cancel().await?;
            asked.until_over().await?;
            reporter.result(&format!("Cancelled job {job}."));
        }
        Verb::Cancel { job, savepoint: Some(directory) } => {
            let asked = Asked::new(&search, *job, reporter).await?;
            reporter.note("cancelling with a savepoint is deprecated: `flink stop` is the better way");
            let target = directory.as_deref().unwrap_or("the default savepoint directory");
            reporter.event(&format!("Cancelling job {job} with savepoint to {target}."));
            let body = json!({ "cancel-job": true, "target-directory": directory });
            let Some(taken) = asked.for_result("/savepoints", &body, "/savepoints", false).await? else {
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

/// A job that was found.
struct Asked<'a> {
    found: Found,
    reporter: &'a Reporter,
}

impl<'a> Asked<'a> {
    async fn new(search: &Search<'_>, job: JobId, reporter: &'a Reporter) -> anyhow::Result<Self> {
        let found = search.job(job).await?;
        Ok(Self { found, reporter })
    }

    /// Starts an operation and waits for its result; `None` when it is not waited for.
    async fn for_result(
        &self,
        post: &str,
        body: &Value,
        get: &str,
        detached: bool,
    ) -> Result<Option<Value>, OperationError> {
        let request = self.found.client.trigger(post, body).await?;
        if detached {
            self.reporter.result(&format!("Triggered. Trigger id: {request}"));
            return Ok(None);
        }
        self.reporter.event("Waiting for response...");
        tokio::select! {
            result = self.found.client.result(get, &request) => result.map(Some),
            never = self.reporter.waiting("the job") => match never {},
        }
    }

    /// Waits until the job is over: its JobManager says so, or is not there any more.
    async fn until_over(&self) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            match self.found.client.details().await {
                Ok(view) if is_over(&view.state) => return Ok(()),
                Ok(_) => {}
                Err(JobError::Unreachable { .. }) => {
                    let report = self.found.cluster.report(&self.found.application).await?;
                    if report.state != crate::cluster::AppState::Running {
                        return Ok(());
                    }
                }
                Err(error) => return Err(error.into()),
            }
            anyhow::ensure!(
                begun.elapsed() < CANCEL_LIMIT,
                "the job is being cancelled, but has not ended after {} s; `yarn application -kill {}` ends it at once",
                CANCEL_LIMIT.as_secs(),
                self.found.application
            );
            tokio::time::sleep(POLL).await;
        }
    }
}

fn is_over(state: &str) -> bool {
    matches!(state, "CANCELED" | "FAILED" | "FINISHED")
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
