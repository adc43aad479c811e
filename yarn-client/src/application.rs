//! Finds the application of a job that runs: its ApplicationMaster and the token that it obeys.

use flumen_fs::{FsError, FsPath};
use flumen_hadoop::conf::Configuration as HadoopConfiguration;
use flumen_model::config::Configuration;
use flumen_model::ids::JobId;
use flumen_model::options::{deployment, yarn};
use flumen_wire::application::{APPLICATION_FILE, Application};

use crate::cluster::{AppReport, AppState, Cluster};
use crate::hadoop::{self, StagingPlace};
use crate::identity;
use crate::job::{JobClient, http_client};

/// The longest description of an application that is read.
const DESCRIPTION_MAX: usize = 1 << 28;

/// Where to look.
pub struct Search<'a> {
    /// The effective configuration.
    pub configuration: &'a Configuration,
    /// Hadoop's.
    pub hadoop: &'a HadoopConfiguration,
    /// The application, if the user named it.
    pub application: Option<&'a str>,
}

/// An application that was found.
pub struct Found {
    /// Its id.
    pub application: String,
    /// Its cluster.
    pub cluster: Cluster,
    /// Speaks to its ApplicationMaster.
    pub client: JobClient,
}

impl Search<'_> {
    /// Finds the application in which `job` runs: the one that was named, or the only one of this user with that job.
    ///
    /// # Errors
    /// When there is none, or it can't be asked: the text says where was looked.
    pub async fn job(&self, job: JobId) -> anyhow::Result<Found> {
        let user = identity::user();
        let limit = self.configuration.get(&yarn::CONNECT_TIMEOUT)?;
        let cluster = Cluster::new(self.hadoop, &user, limit)?;
        let place = hadoop::staging_place(self.configuration, self.hadoop, &user)?;
        let (application, report, described) = match self.application {
            Some(id) => {
                let report = cluster.report(id).await?;
                anyhow::ensure!(report.state == AppState::Running, "application {id} is not running{}", why(&report));
                let Some(described) = describe(&place, id).await? else {
                    anyhow::bail!(
                        "there is no description of application {id} in {}: it was submitted by another user, with another \
                         staging directory, or is no job of Flumen",
                        place.base
                    );
                };
                if let Some(other) = described.purpose.job().filter(|other| *other != job) {
                    anyhow::bail!(
                        "application {id} runs job {other}, not {job}: look for the id that `flink run` has shown"
                    );
                }
                (id.to_owned(), report, described)
            }
            None => self.any(&cluster, &place, &user, job).await?,
        };
        let address = report.master.as_deref();
        let address =
            address.ok_or_else(|| anyhow::anyhow!("the JobManager of application {application} has no address yet"))?;
        let http = http_client(self.configuration.get(&deployment::CLIENT_TIMEOUT)?)?;
        let client = JobClient::new(http, address, &job.to_string(), &described.rest_token);
        Ok(Found { application, cluster, client })
    }

    /// Of the user's running applications the one with the job.
    async fn any(
        &self,
        cluster: &Cluster,
        place: &StagingPlace,
        user: &str,
        job: JobId,
    ) -> anyhow::Result<(String, AppReport, Application)> {
        let running = cluster.running().await?;
        let looked_at = running.len();
        for (id, report) in running {
            if let Some(described) = describe(place, &id).await?
                && described.purpose.job() == Some(job)
            {
                return Ok((id, report, described));
            }
        }
        anyhow::bail!(
            "none of the {looked_at} running applications of user {user} has job {job}: it is over, or was submitted by another \
             user; -yid names its application"
        )
    }
}

/// What was staged for an application; `None` when there is nothing.
async fn describe(place: &StagingPlace, application: &str) -> anyhow::Result<Option<Application>> {
    let path: FsPath = place.base.join(application).join(APPLICATION_FILE);
    match place.fs.read_fully(&path, DESCRIPTION_MAX).await {
        Ok(text) => Ok(Some(serde_json::from_slice(&text).map_err(|error| {
            anyhow::anyhow!("`{path}` can't be understood; was it written by another version of Flumen? {error}")
        })?)),
        Err(FsError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn why(report: &AppReport) -> String {
    match (report.state, report.diagnostics.trim()) {
        (AppState::Waiting, "") => " yet".to_owned(),
        (_, "") => String::new(),
        (_, text) => format!(": {text}"),
    }
}
