//! Finds the JobManager that is meant, and the token that it obeys.

use std::sync::OnceLock;

use anyhow::Context as _;
use flumen_fs::{FsError, FsPath};
use flumen_ha::Owner;
use flumen_hadoop::conf::ConfError;
use flumen_model::config::Configuration;
use flumen_model::ids::JobId;
use flumen_model::options::{deployment, rest as options, yarn};
use flumen_wire::application::{APPLICATION_FILE, Application};
use tokio::sync::OnceCell;

use crate::attach::Application as Followed;
use crate::cluster::{AppReport, AppState, Cluster};
use crate::hadoop::{self, StagingPlace};
use crate::identity;
use crate::kept::Kept;
use crate::leader::LeaderLookup;
use crate::meaning::Address;
use crate::properties::{PropertiesFile, Remembered};
use crate::report::Reporter;
use crate::rest::{self, Master};

/// The longest description of an application that is read.
pub const DESCRIPTION_MAX: usize = 1 << 28;

/// Who looks, and where.
pub struct Finder<'a> {
    configuration: &'a Configuration,
    reporter: &'a Reporter,
    http: reqwest::Client,
    user: String,
    /// YARN, connected to once.
    yarn: OnceLock<Yarn>,
    /// The session of the properties file, or why there is none; asked for once.
    remembered: OnceCell<Recollection>,
}

/// What became of the session in the properties file.
enum Recollection {
    /// It is there.
    Session(Box<(Remembered, AppReport)>),
    /// There is none that could be used; why, for messages.
    Nothing(String),
}

/// YARN and its files, as far as Hadoop's configuration says.
pub struct Yarn {
    /// The ResourceManager.
    pub cluster: Cluster,
    /// Where files are staged.
    pub place: StagingPlace,
}

/// A JobManager that was found.
pub struct Found {
    /// It.
    pub master: Master,
    /// Its application, when that is known.
    pub application: Option<Running>,
}

/// A running application.
pub struct Running {
    /// Its id.
    pub id: String,
    /// Its cluster.
    pub cluster: Cluster,
    /// Whether it is a session; `None`: it could not be told.
    pub is_session: Option<bool>,
    /// What it was started with, when that is known.
    pub configuration: Option<Configuration>,
    /// Where its leader is found when YARN does not know, if there may be one.
    pub leader: Option<LeaderLookup>,
}

impl Running {
    /// The application as [`Follow`](crate::attach::Follow) takes it.
    pub fn as_followed(&self) -> Followed<'_> {
        Followed { cluster: &self.cluster, id: &self.id, leader: self.leader.as_ref() }
    }
}

impl Found {
    /// The token of its application, when it is known.
    pub fn token(&self) -> Option<&str> {
        self.master.token()
    }
}

impl<'a> Finder<'a> {
    /// Looks with this configuration; no connection is made.
    ///
    /// # Errors
    /// When an option is malformed.
    pub fn new(configuration: &'a Configuration, reporter: &'a Reporter) -> anyhow::Result<Self> {
        let http = rest::http_client(configuration.get(&deployment::CLIENT_TIMEOUT)?)?;
        let (yarn, remembered) = (OnceLock::new(), OnceCell::new());
        Ok(Self { configuration, reporter, http, user: identity::user(), yarn, remembered })
    }

    /// The JobManager of an address, for all of its jobs.
    ///
    /// # Errors
    /// When there is none, or it can't be asked: the text says where was looked.
    pub async fn master(&self, address: &Address) -> anyhow::Result<Found> {
        match address {
            Address::At(at) => self.at(at).await,
            Address::Application(id) => self.application(id).await,
            Address::Remembered | Address::Any => match self.remembered().await? {
                Recollection::Session(session) => self.running(&session.0.application, &session.1).await,
                Recollection::Nothing(why) => anyhow::bail!(
                    "no target was chosen, and {why}: `yarn-session.sh -d` starts a session, -yid names one that runs, -m host:port \
                     its address; `-m yarn-cluster` gives the job an application of its own, `-t local` runs it right here"
                ),
            },
        }
    }

    /// The JobManager that has this job.
    ///
    /// # Errors
    /// When there is none, or it can't be asked: the text says where was looked.
    pub async fn job(&self, address: &Address, job: JobId) -> anyhow::Result<Found> {
        if *address != Address::Any {
            return self.master(address).await;
        }
        let remembered = match self.remembered().await? {
            Recollection::Session(session) => {
                let found = self.running(&session.0.application, &session.1).await?;
                if has(&found.master, job).await {
                    return Ok(found);
                }
                Some(session.0.application.as_str())
            }
            Recollection::Nothing(_) => None,
        };
        let yarn = self.yarn()?;
        let running = yarn.cluster.running().await?;
        let looked_at = running.len();
        for (id, report) in running.iter().filter(|(id, _)| Some(id.as_str()) != remembered) {
            let Ok(Some(described)) = describe(&yarn.place, id).await else { continue };
            if described.purpose.job().is_some_and(|other| other != job) {
                continue;
            }
            let Some(found) = self.described(id, report, Some(&described), None).await? else { continue };
            if described.purpose.job().is_some() || has(&found.master, job).await {
                return Ok(found);
            }
        }
        anyhow::bail!(
            "none of the {looked_at} running applications of user {} has job {job}: it is over, or was submitted by another \
             user; -yid names its application, -m its JobManager",
            self.user
        )
    }

    /// The JobManagers whose jobs are to be listed: the one that is named or remembered, else all of this user.
    ///
    /// # Errors
    /// When the one can't be asked.
    pub async fn masters(&self, address: &Address) -> anyhow::Result<Vec<Found>> {
        if *address != Address::Any || matches!(self.remembered().await?, Recollection::Session(_)) {
            return Ok(vec![self.master(address).await?]);
        }
        let yarn = self.yarn()?;
        let mut all = Vec::new();
        for (id, report) in yarn.cluster.running().await? {
            if let Ok(Some(described)) = describe(&yarn.place, &id).await
                && let Some(found) = self.described(&id, &report, Some(&described), None).await?
            {
                all.push(found);
            }
        }
        Ok(all)
    }

    /// YARN, by Hadoop's configuration.
    ///
    /// # Errors
    /// When there is none that can be used.
    pub fn yarn(&self) -> anyhow::Result<&Yarn> {
        if let Some(yarn) = self.yarn.get() {
            return Ok(yarn);
        }
        let hadoop = hadoop::load(self.configuration).context("Hadoop's configuration can't be used")?;
        let limit = self.configuration.get(&yarn::CONNECT_TIMEOUT)?;
        let cluster = Cluster::new(&hadoop, &self.user, limit)?;
        let place = hadoop::staging_place(self.configuration, &hadoop, &self.user)?;
        Ok(self.yarn.get_or_init(|| Yarn { cluster, place }))
    }

    /// An address needs no Hadoop; with it, the address may be found to be the remembered session's.
    async fn at(&self, at: &str) -> anyhow::Result<Found> {
        let token = self.given_token()?;
        let unknown = || Found { master: Master::new(self.http.clone(), at, token.as_deref()), application: None };
        match hadoop::load(self.configuration) {
            Ok(_) => {}
            Err(ConfError::NoFiles { .. }) => return Ok(unknown()),
            Err(error) => return Err(error.into()),
        }
        // Whatever is wrong there concerns an address only in that its token is not known.
        if let Ok(Recollection::Session(session)) = self.remembered().await
            && let Some(master) = &session.1.master
            && is_same(master, at).await
            && let Ok(found) = self.running(&session.0.application, &session.1).await
        {
            return Ok(found);
        }
        Ok(unknown())
    }

    /// The token that the user's file holds (`rest.client.token-file`).
    fn given_token(&self) -> anyhow::Result<Option<String>> {
        let Some(path) = self.configuration.find(&options::TOKEN_FILE)? else { return Ok(None) };
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("the token can't be read from `{path}` ({})", options::TOKEN_FILE.key))?;
        let token = text.trim();
        anyhow::ensure!(!token.is_empty(), "`{path}` ({}) holds no token", options::TOKEN_FILE.key);
        Ok(Some(token.to_owned()))
    }

    /// A running application by its id.
    ///
    /// # Errors
    /// When it does not run, or nothing is known of it.
    pub async fn application(&self, id: &str) -> anyhow::Result<Found> {
        let report = self.yarn()?.cluster.report(id).await?;
        self.running(id, &report).await
    }

    async fn running(&self, id: &str, report: &AppReport) -> anyhow::Result<Found> {
        let not_running = || anyhow::anyhow!("application {id} is not running{}", why(report));
        anyhow::ensure!(matches!(report.state, AppState::Running | AppState::Waiting), not_running());
        let place = &self.yarn()?.place;
        let given = self.given_token()?;
        let authorized = given.is_some() || rest::variable_authorizes();
        let described = match describe(place, id).await {
            Ok(described) => described,
            // Another user's; the token may have been given to this one.
            Err(_) if authorized => None,
            Err(_) if report.state == AppState::Waiting => return Err(not_running()),
            Err(error) => return Err(error),
        };
        if report.state == AppState::Running && described.is_none() && !authorized {
            anyhow::bail!(
                "there is no description of application {id} in {}: it was submitted by another user, with another staging \
                 directory, or is not Flumen's; with its token in the file that rest.client.token-file names, or in \
                 FLINK_REST_CLIENT_HEADERS, it can be used all the same",
                place.base
            );
        }
        match self.described(id, report, described.as_ref(), given.as_deref()).await? {
            Some(found) => Ok(found),
            None if report.state == AppState::Waiting => Err(not_running()),
            None => anyhow::bail!("the JobManager of application {id} has no address yet"),
        }
    }

    /// The JobManager of an application, if it has one: the leader that the store names where somebody stands by, else the one
    /// that YARN knows. `given` is the token of an application that is not described.
    async fn described(
        &self,
        id: &str,
        report: &AppReport,
        described: Option<&Application>,
        given: Option<&str>,
    ) -> anyhow::Result<Option<Found>> {
        let leader = described.and_then(|described| {
            let owner = if described.purpose.job().is_some() { Owner::Job(id) } else { Owner::Session(id) };
            LeaderLookup::of(&described.configuration, &described.user, owner)
        });
        let announced = match &leader {
            Some(leader) => leader.rest().await,
            None => None,
        };
        let registered = report.master.clone().filter(|_| report.state == AppState::Running);
        let Some(address) = announced.or(registered) else { return Ok(None) };
        let token = described.map(|described| described.rest_token.as_str()).or(given);
        let running = Running {
            id: id.to_owned(),
            cluster: self.yarn()?.cluster.clone(),
            is_session: described.map(|described| described.purpose.job().is_none()),
            configuration: described.map(|described| described.configuration.clone()),
            leader,
        };
        Ok(Some(Found { master: Master::new(self.http.clone(), &address, token), application: Some(running) }))
    }

    /// The session of the properties file, if the ResourceManager says that it runs. What is stale is named, and removed if
    /// it is certain.
    async fn remembered(&self) -> anyhow::Result<&Recollection> {
        self.remembered.get_or_try_init(|| self.recollect()).await
    }

    async fn recollect(&self) -> anyhow::Result<Recollection> {
        let file = PropertiesFile::of(self.configuration, &self.user)?;
        let path = file.path().display();
        let remembered = match file.read() {
            Ok(Some(remembered)) => remembered,
            Ok(None) => return Ok(Recollection::Nothing(format!("there is no session in `{path}`"))),
            Err(unusable) => {
                self.reporter.note(&unusable.to_string());
                return Ok(Recollection::Nothing(format!("`{path}` can't be used")));
            }
        };
        let id = &remembered.application;
        let report = match self.yarn()?.cluster.report(id).await {
            Ok(report) => report,
            Err(error) if error.is_unknown_application() => {
                self.reporter.note(&format!(
                    "session {id} of `{path}` is unknown to this ResourceManager: it is not used. If it is not another \
                     cluster's, remove it: rm {path}"
                ));
                return Ok(Recollection::Nothing(format!("session {id} of `{path}` is unknown to this cluster")));
            }
            Err(error) => return Err(error).context(format!("session {id} of `{path}` can't be asked for")),
        };
        if matches!(report.state, AppState::Waiting | AppState::Running) {
            return Ok(Recollection::Session(Box::new((remembered, report))));
        }
        let removed = if file.forget(id) { "the file is removed" } else { "it is not used" };
        self.reporter.note(&format!("session {id} of `{path}` has ended{}: {removed}", why(&report)));
        let mut configuration = self.configuration.clone();
        for property in &remembered.dynamic_properties {
            // One that can't be read names no directory either.
            let _ = configuration.set_property(property);
        }
        if let Some(kept) = Kept::found(&configuration, &self.user, id).await {
            self.reporter.note(&kept.of_session());
        }
        Ok(Recollection::Nothing(format!("session {id} of `{path}` has ended")))
    }
}

/// Whether the JobManager knows the job.
async fn has(master: &Master, job: JobId) -> bool {
    master.job(&job.to_string()).details().await.is_ok()
}

/// Whether two addresses (`host:port`) are one.
async fn is_same(a: &str, b: &str) -> bool {
    if a.eq_ignore_ascii_case(b) {
        return true;
    }
    let (Ok(a), Ok(b)) = (tokio::net::lookup_host(a).await, tokio::net::lookup_host(b).await) else { return false };
    let b: Vec<_> = b.collect();
    a.into_iter().any(|address| b.contains(&address))
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
        (_, text) => format!(" ({text})"),
    }
}
