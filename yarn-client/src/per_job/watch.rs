//! After the submission: follow, answer interrupts, tell the end.

use std::convert::Infallible;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flumen_model::options::deployment;

use super::{Submitted, Submitter};
use crate::attach::{Follow, Heartbeat, Seen};
use crate::cluster::Cluster;
use crate::identity::ProcessIdentity;
use crate::interrupts::Interrupts;
use crate::job;
use crate::stage::Staging;
use crate::sweep;
use crate::verdict::Verdict;

/// Time that a cancelled job has to end before its application is killed.
const CANCEL_LIMIT: Duration = Duration::from_secs(40);

/// Limit of one request to the JobManager: it is asked again anyway.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);

impl Submitter<'_> {
    pub(super) async fn follow(&self, submitted: &Submitted, interrupts: &mut Interrupts) -> anyhow::Result<bool> {
        let Submitted { application, job, token } = submitted;
        let configuration = &self.run.configuration;
        let job = job.to_string();
        let heartbeat = if self.run.shutdown_on_exit { Some(Heartbeat::of(configuration)?) } else { None };
        let mut follow = Follow {
            cluster: &self.cluster,
            http: job::http_client(configuration.get(&deployment::CLIENT_TIMEOUT)?.min(REQUEST_LIMIT))?,
            application,
            job: &job,
            token,
            heartbeat,
            reporter: self.reporter,
            timings: self.timings,
            seen: Seen::nothing(),
        };
        self.reporter.result(&format!("Job has been submitted with JobID {job}"));
        // Beside the waiting, and given up when that is over.
        let sweeping = async {
            sweep_later(&self.staging, &self.cluster).await;
            std::future::pending::<Infallible>().await
        };
        let verdict = tokio::select! {
            biased;
            () = interrupts.next() => {
                return self.interrupted(&follow, interrupts).await;
            }
            verdict = self.watched(&mut follow) => verdict?,
            never = sweeping => match never {},
        };
        match verdict {
            None => {
                self.show_application(application).await;
                self.reporter.result(&format!("To stop the job: {}", self.how_to_stop(application)));
            }
            Some(verdict) => {
                // A short job may be over before it was seen running; scripts look for these lines all the same.
                if !self.run.attached {
                    self.show_application(application).await;
                }
                // The ApplicationMaster does this itself, unless it never ran.
                let _ = tokio::time::timeout(
                    sweep::LIMIT,
                    self.place.fs.delete(&self.staging.application_dir(application), true),
                )
                .await;
                return Ok(self.show_end(&job, &verdict));
            }
        }
        Ok(true)
    }

    /// `None`: the job runs and was not to be followed further.
    async fn watched(&self, follow: &mut Follow<'_>) -> anyhow::Result<Option<Verdict>> {
        if let Some(verdict) = follow.until_running().await? {
            return Ok(Some(verdict));
        }
        if !self.run.attached {
            return Ok(None);
        }
        Ok(Some(follow.until_end().await?))
    }

    async fn interrupted(&self, follow: &Follow<'_>, interrupts: &mut Interrupts) -> anyhow::Result<bool> {
        let application = follow.application;
        if !self.run.shutdown_on_exit {
            self.reporter.event(&format!(
                "Interrupted: the job goes on in application {application}. To stop it: {}",
                self.how_to_stop(application)
            ));
            return Ok(false);
        }
        self.reporter.event(&format!(
            "Interrupted: cancelling the job (-sae) of application {application}; once more leaves at once"
        ));
        tokio::select! {
            () = interrupts.next() => anyhow::bail!("interrupted again: application {application} may still be running"),
            ended = follow.cancel(CANCEL_LIMIT) => {
                anyhow::ensure!(ended, "application {application} was told to end and has not yet: look with `yarn application -status {application}`");
            }
        }
        let _ =
            tokio::time::timeout(sweep::LIMIT, self.place.fs.delete(&self.staging.application_dir(application), true))
                .await;
        self.reporter.event(&format!("Job cancelled, application {application} has ended"));
        Ok(false)
    }

    async fn show_application(&self, application: &str) {
        let web = self.cluster.report(application).await.map(|report| report.tracking_url).unwrap_or_default();
        self.reporter.result(&format!("Application: {application}\nWeb interface: {web}"));
    }

    fn how_to_stop(&self, application: &str) -> String {
        format!(
            "yarn application -kill {application}\n  or without Hadoop's tools: curl -X PUT -H 'Content-Type: application/json' -d \
             '{{\"state\":\"KILLED\"}}' '{}'",
            self.cluster.state_url(application)
        )
    }

    fn show_end(&self, job: &str, verdict: &Verdict) -> bool {
        match verdict {
            Verdict::Finished { runtime_ms } => {
                let mut text = format!("Program execution finished\nJob with JobID {job} has finished.");
                if let Some(ms) = runtime_ms {
                    text.push_str(&format!("\nJob Runtime: {ms} ms"));
                }
                self.reporter.result(&text);
                true
            }
            Verdict::Failed { cause } => {
                self.reporter.job_failed(&format!("Job {job} failed: {cause}"));
                false
            }
            Verdict::Canceled { cause } => {
                self.reporter.job_failed(&format!("Job {job} was cancelled: {cause}"));
                false
            }
        }
    }
}

async fn sweep_later(staging: &Staging, cluster: &Cluster) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let known = |application: String| async move { cluster.known(&application).await };
    let own = ProcessIdentity::own();
    let sweep = sweep::sweep(staging, &own, now.as_millis() as u64, known);
    match tokio::time::timeout(sweep::LIMIT, sweep).await {
        Ok(Ok(removed)) => tracing::debug!(removed, "swept the staging area"),
        Ok(Err(error)) => tracing::debug!(%error, "the staging area could not be swept"),
        Err(_) => tracing::debug!("sweeping the staging area took too long"),
    }
}
