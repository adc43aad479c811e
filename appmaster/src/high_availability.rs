//! This attempt as the leader of its cluster: becomes it, finds what a former leader kept, keeps what the next one needs.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flumen_fs::FileSystems;
use flumen_ha::{Addresses, Candidate, HaError, HaSettings, HaStore, Leadership, Owner};
use flumen_hadoop::rest::{ResourceManagerClient, RmError, RmOptions};
use flumen_hadoop::yarn::ApplicationId;
use flumen_model::ids::{Epoch, JobId};
use flumen_model::text::with_causes;
use flumen_wire::application::{Application, JobSubmission, Purpose};
use flumen_wire::control::PROTOCOL_VERSION;
use flumen_wire::kept::KeptResult;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep};

use crate::environment::Environment;
use crate::hadoop;

/// Time between two attempts to keep something.
const RETRY: Duration = Duration::from_millis(500);
/// How long it is tried to keep how a job ended before its end is told without.
const RESULT_LIMIT: Duration = Duration::from_secs(300);
/// The same for what may be left behind.
const CLEAN_UP_LIMIT: Duration = Duration::from_secs(30);

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Lead {
    store: Arc<dyn HaStore>,
    leadership: Leadership,
    is_on: bool,
    /// Whether this is the first attempt of its application.
    first: bool,
}

/// What a former leader kept.
#[derive(Debug, Default)]
pub struct Kept {
    /// Jobs to go on with.
    pub jobs: Vec<JobSubmission>,
    /// Jobs that have ended.
    pub ended: Vec<KeptResult>,
}

/// Why an attempt does not lead, or can't use what was kept.
#[derive(Debug, thiserror::Error)]
pub enum LeadError {
    /// The store.
    #[error(transparent)]
    Store(#[from] HaError),
    /// What was kept is of another version of Flumen.
    #[error(
        "job {job} was kept by version {version} of Flumen's protocol, this ApplicationMaster speaks {PROTOCOL_VERSION}: use \
         that Flumen, or another high-availability.cluster-id ({location})"
    )]
    Version {
        /// The job.
        job: JobId,
        /// Its version.
        version: u32,
        /// Where everything is.
        location: String,
    },
    /// What was kept is damaged.
    #[error("{what} of job {job} was kept for this ApplicationMaster, but can't be read: {location}")]
    Unreadable {
        /// `the submission` or `the result`.
        what: &'static str,
        /// The job.
        job: JobId,
        /// Where everything is.
        location: String,
        /// Why.
        #[source]
        cause: serde_json::Error,
    },
}

impl LeadError {
    /// Whether another attempt may do better, or leads already: this one ends without a word for the application.
    pub fn concerns_this_attempt_only(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_superseded() || error.is_retryable())
    }
}

impl Lead {
    /// Becomes the leader. The cluster's id is written into the application's configuration, so that TaskExecutors find the
    /// same one.
    ///
    /// # Errors
    /// [`LeadError`].
    pub async fn win(
        environment: &Environment,
        application: &mut Application,
        files: &FileSystems,
    ) -> Result<Self, LeadError> {
        let owner = environment.container.attempt.application.to_string();
        let settings = settings(&owner, application)?;
        let store = flumen_ha::open(&settings, files)?;
        let mut candidate = Candidate { owner, attempt: environment.attempt(), replaces: None, follows: false };
        let leadership = match store.campaign(&candidate).await {
            Err(HaError::Occupied { owner, .. }) if has_ended(application, &owner).await => {
                tracing::info!(
                    former = owner,
                    cluster = settings.cluster_id,
                    "the cluster of an ended application is taken over"
                );
                candidate.replaces = Some(owner);
                store.campaign(&candidate).await
            }
            result => result,
        }?;
        tracing::info!(epoch = %leadership.epoch(), kept_in = store.location(), "leads");
        Ok(Self { store, leadership, is_on: settings.is_on(), first: environment.attempt() == 1 })
    }

    /// Becomes the leader after an attempt of that number, beside which it has stood by. What was cleaned up meanwhile is over.
    ///
    /// # Errors
    /// [`HaError`].
    pub async fn take_over(store: Arc<dyn HaStore>, owner: String, attempt: u32) -> Result<Self, HaError> {
        let leadership = store.campaign(&Candidate { owner, attempt, replaces: None, follows: true }).await?;
        tracing::info!(epoch = %leadership.epoch(), kept_in = store.location(), "leads in place of the ApplicationMaster");
        Ok(Self { store, leadership, is_on: true, first: false })
    }

    /// One without high availability, for an attempt of that number.
    ///
    /// # Errors
    /// None in truth.
    #[cfg(test)]
    pub(crate) async fn without(attempt: u32) -> Result<Self, HaError> {
        let store = Arc::new(flumen_ha::NoHaStore);
        let candidate = Candidate { owner: "application_1_0001".into(), attempt, replaces: None, follows: false };
        let leadership = store.campaign(&candidate).await?;
        Ok(Self { store, leadership, is_on: false, first: attempt == 1 })
    }

    /// The number with which this leader fences earlier ones.
    pub fn epoch(&self) -> Epoch {
        self.leadership.epoch()
    }

    /// Whether anything is kept.
    pub fn is_on(&self) -> bool {
        self.is_on
    }

    /// Whether an earlier attempt of this application may have left running work behind.
    pub fn follows_another(&self) -> bool {
        self.is_on && !self.first
    }

    /// Where it is kept, for messages.
    pub fn location(&self) -> Option<String> {
        self.store.location()
    }

    /// What was kept for this leader.
    ///
    /// # Errors
    /// [`LeadError`].
    pub async fn kept(&self) -> Result<Kept, LeadError> {
        let (jobs, ended) =
            futures::try_join!(self.store.jobs(&self.leadership), self.store.results(&self.leadership))?;
        let kept = Kept { jobs: self.read("the submission", jobs)?, ended: self.read("the result", ended)? };
        let submissions = kept.jobs.iter().chain(kept.ended.iter().map(|ended| &ended.submission));
        match submissions.map(|submission| (submission.job, submission.protocol)).find(|of| of.1 != PROTOCOL_VERSION) {
            Some((job, version)) => {
                Err(LeadError::Version { job, version, location: self.location().unwrap_or_default() })
            }
            None => Ok(kept),
        }
    }

    fn read<T: DeserializeOwned>(&self, what: &'static str, kept: Vec<(JobId, Bytes)>) -> Result<Vec<T>, LeadError> {
        let read = |(job, bytes): (JobId, Bytes)| {
            let location = self.location().unwrap_or_default();
            serde_json::from_slice(&bytes).map_err(|cause| LeadError::Unreadable { what, job, location, cause })
        };
        kept.into_iter().map(read).collect()
    }

    /// Says where this leader is, again until that is known or there is a newer one.
    ///
    /// # Errors
    /// Only [`HaError::Superseded`], and what no repetition helps against.
    pub async fn announce(&self, addresses: &Addresses) -> Result<(), HaError> {
        loop {
            match self.store.announce(&self.leadership, addresses).await {
                Err(error) if error.is_retryable() => {
                    tracing::warn!(error = with_causes(&error), "the address of this JobManager is not announced yet");
                    sleep(RETRY).await;
                }
                result => return result,
            }
        }
    }

    /// Keeps a job for the next leader.
    ///
    /// # Errors
    /// [`HaError`]: the job is not to be acknowledged.
    pub async fn put_job(&self, submission: &JobSubmission) -> Result<(), HaError> {
        let result = self.store.put_job(&self.leadership, submission.job, bytes(submission)?).await;
        if matches!(&result, Err(error) if !error.is_superseded() && !matches!(error, HaError::AlreadyKept { .. })) {
            // Whether it is there isn't known, and it will be refused. One that was there before stays.
            if let Err(error) = self.store.remove_job(&self.leadership, submission.job).await {
                tracing::warn!(job = %submission.job, error = with_causes(&error), "a refused job may be left behind");
            }
        }
        result
    }

    /// Keeps how a job ended, after which it never runs again.
    ///
    /// # Errors
    /// Only [`HaError::Superseded`]: whatever else goes wrong for minutes is logged.
    pub async fn put_result(&self, result: &KeptResult) -> Result<(), HaError> {
        let job = result.submission.job;
        let deadline = Instant::now() + RESULT_LIMIT;
        let kept = bytes(result)?;
        loop {
            match self.store.put_result(&self.leadership, job, kept.clone()).await {
                Err(error) if error.is_superseded() => return Err(error),
                Err(error) if error.is_retryable() && Instant::now() < deadline => {
                    tracing::warn!(%job, error = with_causes(&error), "how a job ended is not kept yet");
                    sleep(RETRY).await;
                }
                Err(error) => {
                    tracing::error!(%job, error = with_causes(&error), "how a job ended could not be kept: a later ApplicationMaster would run it again");
                    return Ok(());
                }
                Ok(()) => break,
            }
        }
        match self.store.remove_job(&self.leadership, job).await {
            Err(error) if error.is_superseded() => Err(error),
            Err(error) => {
                tracing::warn!(%job, error = with_causes(&error), "the submission of an ended job stays");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Forgets how a job ended.
    pub async fn forget(&self, job: JobId) {
        if let Err(error) = self.store.remove_result(&self.leadership, job).await {
            tracing::warn!(%job, error = with_causes(&error), "the result of a job that is not shown any more stays");
        }
    }

    /// Whether there is no newer leader; a store that does not answer counts as none.
    ///
    /// # Errors
    /// [`HaError::Superseded`].
    pub async fn still_leads(&self) -> Result<(), HaError> {
        match self.store.still_leads(&self.leadership).await {
            Err(error) if !error.is_superseded() => {
                tracing::warn!(error = with_causes(&error), "whether there is a newer JobManager isn't known");
                Ok(())
            }
            result => result,
        }
    }

    /// Waits until there is a newer leader, by a look every `interval`; the reason.
    pub async fn superseded(&self, interval: Duration) -> String {
        loop {
            sleep(interval).await;
            if let Err(error) = self.still_leads().await {
                return error.to_string();
            }
        }
    }

    /// Removes everything, after YARN knows how the application ended.
    pub async fn clean_up(&self) {
        let deadline = Instant::now() + CLEAN_UP_LIMIT;
        while let Err(error) = self.store.clean_up(&self.leadership).await {
            if !error.is_retryable() || Instant::now() >= deadline {
                let location = self.location();
                tracing::warn!(location, error = with_causes(&error), "data of high availability is left behind");
                return;
            }
            sleep(RETRY).await;
        }
    }
}

/// The settings of high availability. The cluster's id is written into the application's configuration, so that everybody
/// means the same cluster.
///
/// # Errors
/// [`HaError`] says which option to change.
pub fn settings(owner: &str, application: &mut Application) -> Result<HaSettings, HaError> {
    let owner = match application.purpose {
        Purpose::Session => Owner::Session(owner),
        Purpose::Job(_) | Purpose::Program(_) => Owner::Job(owner),
    };
    let settings = HaSettings::of(&application.configuration, owner)?;
    if settings.is_on() {
        settings.put_into(&mut application.configuration);
    }
    Ok(settings)
}

fn bytes(value: &impl Serialize) -> Result<Bytes, HaError> {
    // Maps with keys of text: JSON takes them all.
    serde_json::to_vec(value).map(Bytes::from).map_err(|error| HaError::Setting(error.to_string()))
}

/// Whether YARN says that an application has ended, or has never heard of it.
async fn has_ended(application: &Application, owner: &str) -> bool {
    let Ok(id) = owner.parse::<ApplicationId>() else { return false };
    let asked = async {
        let options =
            RmOptions::from_configuration(&hadoop::configuration(&application.hadoop), Some(application.user.clone()))?;
        Ok::<_, RmError>(ResourceManagerClient::new(options)?.application(id).await?.state.is_final())
    };
    match asked.await {
        Ok(ended) => ended,
        Err(RmError::NotFound { .. }) => true,
        Err(error) => {
            tracing::warn!(application = owner, error = with_causes(&error), "YARN does not say whether it has ended");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use flumen_fs::FsOptions;
    use flumen_model::options::high_availability::{CLUSTER_ID, STORAGE_DIR};
    use flumen_model::status::JobStatus;

    use super::*;
    use crate::testing;

    fn environment(attempt: u32) -> Environment {
        Environment {
            container: format!("container_1_0001_{attempt:02}_000001").parse().unwrap(),
            host: "node1".into(),
            token_file: "/tokens".into(),
        }
    }

    async fn lead(dir: &Path, attempt: u32, purpose: Purpose) -> (Lead, Application) {
        let files = FileSystems::new(FsOptions::default()).unwrap();
        let mut application = testing::application();
        application.purpose = purpose;
        application.configuration.put(&STORAGE_DIR, dir.display());
        application.configuration.put(&CLUSTER_ID, "etl");
        (Lead::win(&environment(attempt), &mut application, &files).await.unwrap(), application)
    }

    fn submission(job: u128) -> JobSubmission {
        let Purpose::Job(submission) = testing::application().purpose else { unreachable!("a job") };
        JobSubmission { job: JobId(job), ..*submission }
    }

    #[tokio::test]
    async fn what_one_attempt_keeps_the_next_one_finds_and_the_former_can_change_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (first, application) = lead(dir.path(), 1, Purpose::Session).await;
        assert!(first.is_on() && !first.follows_another() && dir.path().join("etl").try_exists().unwrap());
        assert_eq!(application.configuration.raw(CLUSTER_ID.key), Some("etl"));
        first.put_job(&submission(1)).await.unwrap();
        first.put_job(&submission(2)).await.unwrap();
        let result = |job| KeptResult {
            submission: submission(job),
            status: JobStatus::Finished,
            failure: None,
            cancelled: None,
            start_ms: 1,
            runtime_ms: 2,
            restarts: 0,
            retained: None,
        };
        first.put_result(&result(1)).await.unwrap();

        let (second, _) = lead(dir.path(), 2, Purpose::Session).await;
        assert!(second.follows_another() && second.epoch() > first.epoch());
        let kept = second.kept().await.unwrap();
        assert_eq!(kept.jobs.iter().map(|job| job.job).collect::<Vec<_>>(), [JobId(2)]);
        assert_eq!(kept.ended.iter().map(|ended| ended.submission.job).collect::<Vec<_>>(), [JobId(1)]);
        assert!(first.put_job(&submission(3)).await.unwrap_err().is_superseded());
        assert!(first.put_result(&result(2)).await.unwrap_err().is_superseded());
        assert!(first.still_leads().await.is_err() && second.still_leads().await.is_ok());

        second.forget(JobId(1)).await;
        assert!(second.kept().await.unwrap().ended.is_empty());
        second.clean_up().await;
        assert!(!dir.path().join("etl").try_exists().unwrap());
    }

    #[tokio::test]
    async fn an_application_of_one_job_keeps_to_itself() {
        let dir = tempfile::tempdir().unwrap();
        let own = testing::application().purpose;
        let (_, application) = lead(dir.path(), 1, own).await;
        assert_eq!(application.configuration.raw(CLUSTER_ID.key), Some("application_1_0001"));
        assert!(dir.path().join("application_1_0001").try_exists().unwrap());
    }

    #[tokio::test]
    async fn a_job_that_another_version_kept_is_refused_with_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let (first, _) = lead(dir.path(), 1, Purpose::Session).await;
        first.put_job(&JobSubmission { protocol: PROTOCOL_VERSION - 1, ..submission(1) }).await.unwrap();
        let (second, _) = lead(dir.path(), 2, Purpose::Session).await;
        let error = second.kept().await.unwrap_err();
        assert!(!error.concerns_this_attempt_only() && error.to_string().contains("etl"), "{error}");
    }
}
