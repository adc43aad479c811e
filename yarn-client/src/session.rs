//! `yarn-session.sh`: starts a session on YARN, or attaches to one.

mod console;
mod start;
mod stop;

use std::time::{Duration, Instant};

use anyhow::Context as _;
use flumen_model::config::Configuration;
use flumen_model::options::deployment;

use crate::cluster::{AppReport, AppState, Cluster};
use crate::hadoop::StagingPlace;
use crate::identity;
use crate::interrupts::Interrupts;
use crate::kept::Kept;
use crate::leader::LeaderLookup;
use crate::locate::Finder;
use crate::meaning::SessionRun;
use crate::properties::PropertiesFile;
use crate::report::Reporter;
use crate::rest::{self, Master};
use crate::timings::Timings;
use crate::verdict::{Stand, Verdict, stand, with_history};

use console::{Console, Said};

/// Time between two looks at a session that runs.
const POLL: Duration = Duration::from_millis(500);

/// Time that the ResourceManager may be silent: a restart takes less.
const SILENCE_LIMIT: Duration = Duration::from_secs(300);

/// A session that runs.
struct Session<'a> {
    application: String,
    configuration: &'a Configuration,
    master: Master,
    /// Where another leader than that is found, if there may be one.
    leader: Option<LeaderLookup>,
    cluster: Cluster,
    place: &'a StagingPlace,
    properties: PropertiesFile,
    reporter: &'a Reporter,
    /// Whether an interrupt ends it, as in Flink: it was started by this command.
    is_own: bool,
}

/// Starts a session or attaches to one, and stays with it unless it is detached. Returns whether it ended well.
///
/// # Errors
/// Whatever keeps it from being started, found or watched.
pub async fn run(run: &SessionRun, reporter: &Reporter, timings: &Timings) -> anyhow::Result<bool> {
    let mut interrupts = Interrupts::listen().context("signals can't be received")?;
    match &run.application {
        Some(id) => attach(run, id, reporter, &mut interrupts).await,
        None => start::start(run, reporter, timings, &mut interrupts).await,
    }
}

async fn attach(run: &SessionRun, id: &str, reporter: &Reporter, interrupts: &mut Interrupts) -> anyhow::Result<bool> {
    let finder = Finder::new(&run.configuration, reporter)?;
    let yarn = finder.yarn()?;
    let properties = PropertiesFile::of(&run.configuration, &identity::user())?;
    let report = yarn.cluster.report(id).await?;
    if let Stand::Over(_) = stand(&report) {
        let removed = if properties.forget(id) { "; `.yarn-properties` named it and is removed" } else { "" };
        let kept = Kept::found(&run.configuration, &identity::user(), id).await;
        let kept = kept.map(|kept| format!("; {}", kept.of_session())).unwrap_or_default();
        anyhow::bail!("session {id} has ended{}{removed}{kept}", diagnostics(&report));
    }
    let found = finder.application(id).await?;
    let is_session = found.application.as_ref().and_then(|application| application.is_session);
    anyhow::ensure!(
        is_session != Some(false),
        "application {id} is no session, it was started for one job: `flink cancel` and `flink stop` end that"
    );
    let session = Session {
        application: id.to_owned(),
        configuration: &run.configuration,
        master: found.master,
        leader: found.application.and_then(|application| application.leader),
        cluster: yarn.cluster.clone(),
        place: &yarn.place,
        properties,
        reporter,
        is_own: false,
    };
    session.show(&report);
    if !run.attached {
        session.show_detached();
        return Ok(true);
    }
    session.attached(interrupts).await
}

impl Session<'_> {
    fn show(&self, report: &AppReport) {
        let mut text =
            format!("Application: {}\nJobManager Web Interface: http://{}", self.application, self.master.address());
        if !report.tracking_url.is_empty() {
            text.push_str(&format!("\nWeb interface: {}", report.tracking_url));
        }
        self.reporter.result(&text);
    }

    fn show_detached(&self) {
        let id = &self.application;
        self.reporter.result(&format!(
            "The session runs detached. In order to stop it gracefully, use the following command:\n\
             $ echo \"stop\" | yarn-session.sh -id {id}\n\
             If this should not be possible, you can also kill it, which may leave files of its jobs behind:\n\
             $ yarn application -kill {id}"
        ));
        if let Some(kept) = Kept::of(self.configuration, id) {
            self.reporter.result(&format!("Of a session that was killed {}", kept.of_session()));
        }
    }

    /// Stays until the session has ended, or is told to stop. Returns whether it ended well.
    async fn attached(&self, interrupts: &mut Interrupts) -> anyhow::Result<bool> {
        let mut console = Console::open();
        let mut answered = Instant::now();
        self.reporter.event(console::HELP);
        loop {
            tokio::select! {
                biased;
                () = interrupts.next() => {
                    if self.is_own {
                        self.reporter.event("Interrupted: the session is stopped; once more leaves at once");
                        return self.stopped(interrupts).await;
                    }
                    let id = &self.application;
                    self.reporter.event(&format!(
                        "Interrupted: the session goes on. To stop it: echo \"stop\" | yarn-session.sh -id {id}"
                    ));
                    return Ok(true);
                }
                said = console.next() => match said {
                    Said::Stop => return self.stopped(interrupts).await,
                    Said::Help => self.reporter.result(console::HELP),
                    Said::Unknown(word) => {
                        self.reporter.result(&format!("Unknown command '{word}'. Showing help:\n{}", console::HELP));
                    }
                    Said::Nothing => {}
                },
                report = self.looked_at() => match report {
                    Ok(report) => {
                        answered = Instant::now();
                        if let Stand::Over(verdict) = stand(&report) {
                            let verdict = with_history(verdict, &self.cluster.history(&self.application).await);
                            return Ok(self.ended(&verdict).await);
                        }
                    }
                    Err(error) if answered.elapsed() > SILENCE_LIMIT => {
                        return Err(error).context("the session can't be looked at any more; it may still be running");
                    }
                    Err(error) => self.reporter.progress(&format!("Waiting for an answer: {error}")),
                },
            }
        }
    }

    async fn looked_at(&self) -> anyhow::Result<AppReport> {
        tokio::time::sleep(POLL).await;
        Ok(self.cluster.report(&self.application).await?)
    }

    async fn stopped(&self, interrupts: &mut Interrupts) -> anyhow::Result<bool> {
        let id = &self.application;
        tokio::select! {
            () = interrupts.next() => anyhow::bail!("interrupted again: session {id} may still be running"),
            stopped = self.stop() => stopped,
        }
    }

    /// It has ended without this command: tells how, and clears up. Returns whether it ended well.
    async fn ended(&self, verdict: &Verdict) -> bool {
        self.forget().await;
        match verdict {
            Verdict::Finished { .. } => {
                self.reporter.result(&format!("Session {} has ended", self.application));
                true
            }
            Verdict::Failed { cause } | Verdict::Canceled { cause } => {
                self.reporter.event(&format!("Session {} was not stopped, but ended: {cause}", self.application));
                if let Some(kept) = Kept::found(self.configuration, &identity::user(), &self.application).await {
                    self.reporter.note(&kept.of_session());
                }
                false
            }
        }
    }

    /// Removes what remains of an ended session: its line in the properties file, its staging directory.
    async fn forget(&self) {
        self.properties.forget(&self.application);
        crate::deploy::clear(self.place, &self.application).await;
    }
}

fn diagnostics(report: &AppReport) -> String {
    let state = match report.state {
        AppState::Failed => "FAILED",
        AppState::Killed => "KILLED",
        AppState::Waiting | AppState::Running | AppState::Finished => "FINISHED",
    };
    match report.diagnostics.trim() {
        "" => format!(" ({state})"),
        text => format!(" ({state}: {text})"),
    }
}

/// For one request to a session's JobManager.
fn http(run: &SessionRun) -> anyhow::Result<reqwest::Client> {
    rest::http_client(run.configuration.get(&deployment::CLIENT_TIMEOUT)?)
}
