//! The standby JobManager: this executable once more, in a container of its own. It follows the ApplicationMaster over one
//! connection, and leads in its place from its death to the next attempt (ADR 0014).
//!
//! ```text
//! looks for a leader ─▶ stands by ─▶ its leader is lost: gone, or silent? ─▶ leads ─▶ a newer leader
//!        ▲                  ▲                    │ it is back                              │
//!        │                  └────────────────────┘                                         │
//!        └── somebody else leads ◀─────────────────────────────────────────────────────────┘
//! ```

use std::time::Duration;

use anyhow::Context as _;
use flumen_fs::FileSystems;
use flumen_ha::{HaError, HaSettings, HaStore, Leader};
use flumen_hadoop::token::Credentials;
use flumen_model::ids::Epoch;
use flumen_model::options::{self, deployment};
use flumen_model::text::with_causes;
use flumen_wire::application::Application;
use flumen_wire::control::PROTOCOL_VERSION;
use flumen_wire::standby::StandbyInfo;
use flumen_wire::tls::{InternalTls, SECURITY_FILE};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep, timeout};

use crate::elsewhere::Elsewhere;
use crate::environment::Environment;
use crate::high_availability::{self, Lead};
use crate::job_files::{Admittance, Claimed};
use crate::main_loop::{End, MainLoop};
use crate::rest::idle::{Closing, IDLE_LIMIT};
use crate::{rest, setup};
use link::{DialError, Link, LinkEnd};

mod link;

/// Name of the log file, Flink's.
const LOG_FILE: &str = "jobmanager.log";
/// Between two looks for a leader.
const LOOK: Duration = Duration::from_millis(500);
/// Between two looks at a leader that may be dead.
const PROBE: Duration = Duration::from_millis(100);
/// Limit of one look at the store. It repeats what fails within its own budget.
const LOOK_LIMIT: Duration = Duration::from_secs(20);
/// Wait before leading after an attempt that may be the last. If YARN ends the application it ends this process, too, a moment
/// after the ApplicationMaster, which has cleaned up.
const LAST_ATTEMPT_PAUSE: Duration = Duration::from_millis(300);
/// Between two attempts to lead while the store does not let it be known who does.
const CAMPAIGN_PAUSE: Duration = Duration::from_millis(500);

/// What lasts as long as the process.
pub struct Standby {
    environment: Environment,
    application: Application,
    /// The greatest number that was seen of a leader.
    seen: Epoch,
    /// The number under which it last led itself.
    own: Option<Epoch>,
    /// Where its web page is, if it has one: the listener, and `host:port`.
    page: Option<(std::net::TcpListener, String)>,
    /// Where that page goes on: to who leads.
    elsewhere: Elsewhere,
}

/// What comes after one turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Another turn: somebody else leads now.
    Again,
    /// The end of the process: nobody needs it any more.
    End,
}

/// What a turn needs. Connections belong to the runtime of that turn.
struct Turn<'a> {
    standby: &'a mut Standby,
    application: Application,
    owner: String,
    files: FileSystems,
    store: std::sync::Arc<dyn HaStore>,
    tls: InternalTls,
    me: StandbyInfo,
    heartbeat_timeout: Duration,
    leader_lost_timeout: Duration,
}

/// What became of a leader that was lost.
enum Lost {
    /// It took this standby back.
    Back(Box<Link>),
    /// Another one leads, or nobody needs to.
    Replaced,
    /// It is dead, or was silent too long.
    Dead,
    /// It does not want this standby.
    Unwanted(String),
}

impl Standby {
    /// Reads what the ApplicationMaster's container would read.
    ///
    /// # Errors
    /// When this is no container of YARN, or its files are of no use.
    pub fn begin() -> anyhow::Result<Self> {
        let environment = Environment::read(|name| std::env::var(name).ok())?;
        let logging = flumen_log::init(&flumen_log::Options::for_container(LOG_FILE)).context("no log")?;
        let (container, host) = (environment.container, &environment.host);
        tracing::info!(%container, host, pid = std::process::id(), "standby JobManager starts");
        let application = setup::application()?;
        crate::run::reconfigure(&logging, &application)?;
        Ok(Self {
            environment,
            application,
            seen: Epoch::default(),
            own: None,
            page: None,
            elsewhere: Elsewhere::default(),
        })
    }

    /// Stands by and leads once, if that is needed. To be run on a runtime of its own: whatever it has begun ends with that.
    ///
    /// # Errors
    /// When this standby is of no use any more.
    pub async fn turn(&mut self) -> anyhow::Result<Then> {
        let mut terminated = signal(SignalKind::terminate()).context("SIGTERM can't be watched")?;
        let page = self.show_page().await;
        let mut application = self.application.clone();
        let conf = &self.application.configuration;
        let owner = self.environment.container.attempt.application.to_string();
        let settings: HaSettings = high_availability::settings(&owner, &mut application)?;
        let files = setup::files(&application)?;
        let turn = Turn {
            owner,
            store: flumen_ha::open(&settings, &files)?,
            tls: match conf.get(&deployment::INTERNAL_SSL)? {
                true => InternalTls::from_file(std::path::Path::new(SECURITY_FILE))?,
                false => InternalTls::disabled(),
            },
            me: StandbyInfo {
                protocol: PROTOCOL_VERSION,
                id: crate::resource::manager::executor_id(self.environment.container),
                host: self.environment.host.clone(),
                pid: std::process::id(),
                page,
            },
            heartbeat_timeout: conf.get(&deployment::HEARTBEAT_TIMEOUT)?,
            leader_lost_timeout: conf.get(&options::high_availability::LEADER_LOST_TIMEOUT)?,
            application,
            files,
            standby: self,
        };
        tokio::select! {
            then = Box::pin(turn.run()) => then,
            _ = terminated.recv() => {
                // What it leads is the next attempt's.
                tracing::info!("told to stop (SIGTERM)");
                Ok(Then::End)
            }
        }
    }

    /// Serves the web page as long as the runtime of this turn lives: `host:port`. The place stays the same from turn to turn.
    async fn show_page(&mut self) -> Option<String> {
        if self.page.is_none() {
            let bound = setup::page_listener(&self.environment, &self.application.configuration).await;
            self.page = bound.unwrap_or_else(|error| {
                tracing::warn!(error = with_causes(&error), "this standby has no web page");
                None
            });
        }
        let (listener, place) = self.page.as_ref()?;
        let listener = listener.try_clone().and_then(TcpListener::from_std);
        let listener = listener.inspect_err(|error| tracing::warn!(%error, "the web page is not served")).ok()?;
        let router = rest::page_alone(self.elsewhere.clone());
        tokio::spawn(async move {
            if let Err(error) = axum::serve(Closing { listener, limit: IDLE_LIMIT }, router).await {
                tracing::error!(%error, "the web page ended");
            }
        });
        Some(place.clone())
    }
}

impl Turn<'_> {
    async fn run(self) -> anyhow::Result<Then> {
        let mut link = match self.look().await? {
            Ok(link) => link,
            Err(reason) => return Ok(unwanted(&reason)),
        };
        loop {
            self.standby.seen = self.standby.seen.max(link.epoch());
            match link.follow(self.heartbeat_timeout).await {
                LinkEnd::Shutdown(reason) => return Ok(unwanted(&reason)),
                LinkEnd::Lost(reason) => {
                    tracing::warn!(epoch = %link.epoch(), reason, "the leader is lost");
                }
            }
            link = match self.what_became_of(&link).await {
                Lost::Back(link) => *link,
                Lost::Unwanted(reason) => return Ok(unwanted(&reason)),
                Lost::Replaced => return Ok(Then::Again),
                Lost::Dead => {
                    if link.attempt() >= crate::run::attempts(&self.application) {
                        sleep(LAST_ATTEMPT_PAUSE).await;
                    }
                    return self.lead(link).await;
                }
            };
        }
    }

    /// Looks for a leader and registers with it. Inside: why that one does not want it.
    async fn look(&self) -> anyhow::Result<Result<Link, String>> {
        let until = Instant::now() + self.leader_lost_timeout;
        loop {
            // Itself is no leader to follow.
            let leader = self.leader().await.flatten().filter(|leader| Some(leader.epoch) != self.standby.own);
            if let Some(address) = leader.and_then(|leader| leader.addresses) {
                match Link::dial(&address.internal, &self.tls, &self.me, self.standby.seen).await {
                    Ok(link) => {
                        self.standby.elsewhere.is_at(&address.rest);
                        tracing::info!(epoch = %link.epoch(), leader = address.internal, "stands by");
                        return Ok(Ok(link));
                    }
                    Err(DialError::Unwanted(reason)) => return Ok(Err(reason)),
                    Err(error) => tracing::debug!(error = with_causes(&error), "the leader is not reached"),
                }
            }
            let limit = self.leader_lost_timeout;
            anyhow::ensure!(Instant::now() < until, "no JobManager was found within {limit:?}");
            sleep(LOOK).await;
        }
    }

    /// Who leads, if anybody does; `None` when the store does not tell.
    async fn leader(&self) -> Option<Option<Leader>> {
        match timeout(LOOK_LIMIT, self.store.leader()).await {
            Ok(Ok(leader)) => Some(leader),
            Ok(Err(error)) => {
                tracing::warn!(error = with_causes(&error), "can't see who leads");
                None
            }
            Err(_) => None,
        }
    }

    /// A process that is gone refuses connections at once. One that neither does nor answers may hang, or be cut off: it has
    /// as long as it may be silent.
    async fn what_became_of(&self, link: &Link) -> Lost {
        let until = link.last_heard() + self.heartbeat_timeout;
        let give_up = Instant::now() + self.leader_lost_timeout;
        while Instant::now() < give_up {
            let dialled = Link::dial(link.address(), &self.tls, &self.me, self.standby.seen);
            let (leader, dialled) = tokio::join!(self.leader(), dialled);
            if leader.as_ref().is_some_and(|leader| leader.as_ref().map(|leader| leader.epoch) != Some(link.epoch())) {
                return Lost::Replaced;
            }
            match dialled {
                Ok(mut again) if again.epoch() == link.epoch() => {
                    again.knows(link);
                    return Lost::Back(Box::new(again));
                }
                Ok(_) => return Lost::Replaced,
                Err(DialError::Unwanted(reason)) => return Lost::Unwanted(reason),
                // Without an answer of the store there is no leading.
                Err(_) if leader.is_none() => sleep(PROBE).await,
                Err(DialError::Gone) => return Lost::Dead,
                Err(error) if Instant::now() >= until => {
                    tracing::warn!(error = with_causes(&error), "the leader is there no more, or hangs");
                    return Lost::Dead;
                }
                Err(_) => sleep(PROBE).await,
            }
        }
        Lost::Replaced
    }

    /// Leads until somebody else does.
    async fn lead(self, link: Link) -> anyhow::Result<Then> {
        let Self { standby, application, owner, files, store, me, .. } = self;
        let since = Instant::now();
        let until = since + self.leader_lost_timeout;
        let lead = loop {
            match Lead::take_over(store.clone(), owner.clone(), link.attempt()).await {
                Ok(lead) => break lead,
                Err(HaError::Superseded { .. }) => return Ok(Then::Again),
                Err(error) if error.is_retryable() && Instant::now() < until => {
                    tracing::warn!(error = with_causes(&error), "does not lead yet");
                    sleep(CAMPAIGN_PAUSE).await;
                }
                Err(error) => return Err(error).context("the standby JobManager can't lead"),
            }
        };
        (standby.seen, standby.own) = (lead.epoch(), Some(lead.epoch()));
        // It starts no containers, so nobody needs tokens of it.
        let credentials = Credentials::default();
        let (environment, attempt) = (&standby.environment, link.attempt());
        let parts = Box::pin(setup::parts(environment, &application, &credentials, &files, &lead, attempt)).await?;
        standby.elsewhere.is_at(&parts.addresses.rest);
        if let Some(page) = &me.page {
            parts.executors.elsewhere().is_at(page);
        }
        let staging = application.staging.clone();
        let admittance = Admittance { files, staging, lead, claimed: Claimed::default() };
        let former = link.containers();
        tracing::info!(executors = former.len(), after = ?since.elapsed(), "leads until the next attempt does");
        let mut main = MainLoop::stand_in(parts, &application, admittance, former)?;
        let reason = match main.run().await {
            End::Done { stop_first, .. } => {
                // How the job ended is kept: the next attempt tells YARN.
                if stop_first {
                    main.stop_executors("the job is over").await;
                }
                main.settle().await;
                main.succeeded().await
            }
            End::AttemptOver(reason) => reason,
            End::Lost(error) => error.to_string(),
        };
        tracing::info!(reason, "leads no more");
        Ok(Then::Again)
    }
}

fn unwanted(reason: &str) -> Then {
    tracing::info!(reason, "told to end");
    Then::End
}

#[cfg(test)]
mod tests;
