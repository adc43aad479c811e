//! What becomes of a submitted job under the user's eyes: interrupts answered, the end told in Flink's words.

use std::convert::Infallible;
use std::time::Duration;

use crate::attach::Follow;
use crate::interrupts::Interrupts;
use crate::report::Reporter;
use crate::verdict::Verdict;

/// Time that a cancelled job has to end before its application is killed.
const CANCEL_LIMIT: Duration = Duration::from_secs(40);

/// Limit of one request to the JobManager: it is asked again anyway.
pub const REQUEST_LIMIT: Duration = Duration::from_secs(10);

/// How long to watch, and what interrupts mean.
#[derive(Debug, Clone)]
pub struct Manner<'a> {
    /// To the end; otherwise until the job runs.
    pub attached: bool,
    /// An interrupt cancels the job (`-sae`).
    pub cancel_on_interrupt: bool,
    /// Where the job is, for messages: `application …` or `session …`.
    pub place: &'a str,
    /// How the user stops the job.
    pub how_to_stop: &'a str,
}

/// How a job was left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Left {
    /// It ended.
    Over(Verdict),
    /// It runs and was not to be watched further.
    Running,
    /// The user went, and the job goes on.
    Alone,
    /// The user went, and the job was cancelled.
    Cancelled,
}

/// Watches a job; `beside` goes on at the same time and is given up when it is over.
///
/// # Errors
/// When contact is lost, or the job can't be cancelled.
pub async fn watch(
    follow: &mut Follow<'_>,
    manner: &Manner<'_>,
    interrupts: &mut Interrupts,
    beside: impl Future<Output = ()>,
) -> anyhow::Result<Left> {
    follow.reporter.result(&format!("Job has been submitted with JobID {}", follow.job));
    let beside = async {
        beside.await;
        std::future::pending::<Infallible>().await
    };
    tokio::select! {
        biased;
        () = interrupts.next() => {}
        left = watched(follow, manner.attached) => return left,
        never = beside => match never {},
    }
    interrupted(follow, manner, interrupts).await
}

async fn watched(follow: &mut Follow<'_>, attached: bool) -> anyhow::Result<Left> {
    if let Some(verdict) = follow.until_running().await? {
        return Ok(Left::Over(verdict));
    }
    if !attached {
        return Ok(Left::Running);
    }
    Ok(Left::Over(follow.until_end().await?))
}

async fn interrupted(follow: &Follow<'_>, manner: &Manner<'_>, interrupts: &mut Interrupts) -> anyhow::Result<Left> {
    let Manner { cancel_on_interrupt, place, how_to_stop, .. } = manner;
    if !cancel_on_interrupt {
        follow.reporter.event(&format!("Interrupted: the job goes on in {place}. To stop it: {how_to_stop}"));
        return Ok(Left::Alone);
    }
    follow.reporter.event(&format!("Interrupted: cancelling the job (-sae) of {place}; once more leaves at once"));
    tokio::select! {
        () = interrupts.next() => anyhow::bail!("interrupted again: the job may still be running in {place}"),
        ended = follow.cancel(CANCEL_LIMIT) => {
            anyhow::ensure!(ended, "the job was told to end and has not yet, in {place}: {how_to_stop}");
        }
    }
    Ok(Left::Cancelled)
}

/// Tells how a job ended. Returns whether it finished.
pub fn show_end(reporter: &Reporter, job: &str, verdict: &Verdict) -> bool {
    match verdict {
        Verdict::Finished { runtime_ms } => {
            let mut text = format!("Program execution finished\nJob with JobID {job} has finished.");
            if let Some(ms) = runtime_ms {
                text.push_str(&format!("\nJob Runtime: {ms} ms"));
            }
            reporter.result(&text);
            true
        }
        Verdict::Failed { cause } => {
            reporter.job_failed(&format!("Job {job} failed: {cause}"));
            false
        }
        Verdict::Canceled { cause } => {
            reporter.job_failed(&format!("Job {job} was cancelled: {cause}"));
            false
        }
    }
}
