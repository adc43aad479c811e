//! The way to the next JobManager, when there may be one.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use flumen_fs::FileSystems;
use flumen_ha::{HaError, HaSettings, HaStore};
use flumen_model::config::Configuration;
use flumen_model::ids::{Epoch, ExecutorId};
use flumen_wire::tls::{InternalTls, Stream};
use tokio::time::{Instant, sleep, timeout};

use crate::connection::{ATTEMPT_LIMIT, Backoff, dial};

/// Longest wait between two looks for a leader: a new one is not kept waiting, and a store is not worn out by thousands of
/// TaskExecutors.
pub const LOOK_MAX: Duration = Duration::from_secs(1);

/// The same while a leader has just been lost: YARN starts the next one within a second or two.
const LOOK_MAX_AT_FIRST: Duration = Duration::from_millis(200);

/// How long that is.
const AT_FIRST: Duration = Duration::from_secs(10);

/// Longest time of one look. The store repeats what fails within its own budget.
const LOOK_LIMIT: Duration = Duration::from_secs(20);

/// Where leaders say that they lead. Cheap to clone.
#[derive(Clone)]
pub struct Leaders {
    store: Arc<dyn HaStore>,
    tls: InternalTls,
}

/// A connection to a leader on which nothing was said yet.
pub struct Found {
    /// The leader's number.
    pub epoch: Epoch,
    /// `host:port`.
    pub address: String,
    /// The connection.
    pub stream: Stream,
}

/// A look for a leader that goes on until there is one. Dropping it ends it.
pub type Search = Pin<Box<dyn Future<Output = Found> + Send>>;

impl Leaders {
    /// Where the leaders of this cluster say so; `None` without high availability.
    ///
    /// # Errors
    /// The options are of no use.
    pub fn of(
        configuration: &Configuration,
        files: &FileSystems,
        tls: &InternalTls,
        me: &ExecutorId,
    ) -> Result<Option<Self>, HaError> {
        // A leader writes its cluster's id into the configuration that it hands out.
        let settings = HaSettings::read(configuration, &me.0)?;
        if !settings.is_on() {
            return Ok(None);
        }
        Ok(Some(Self { store: flumen_ha::open(&settings, files)?, tls: tls.clone() }))
    }

    /// Looks for a leader with at least that number, `after` a while, and dials it.
    pub fn search(&self, least: Epoch, after: Duration) -> Search {
        let leaders = self.clone();
        Box::pin(async move {
            sleep(after).await;
            let begun = Instant::now();
            let (mut at_first, mut backoff) = (Backoff::new(LOOK_MAX_AT_FIRST), Backoff::new(LOOK_MAX));
            loop {
                if let Some(found) = leaders.look(least).await {
                    return found;
                }
                let waits = if begun.elapsed() < AT_FIRST { &mut at_first } else { &mut backoff };
                sleep(waits.next_wait()).await;
            }
        })
    }

    async fn look(&self, least: Epoch) -> Option<Found> {
        let leader = match timeout(LOOK_LIMIT, self.store.leader()).await {
            Ok(Ok(leader)) => leader.filter(|leader| leader.epoch >= least)?,
            Ok(Err(error)) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "can't see who leads");
                return None;
            }
            Err(_) => {
                tracing::warn!("can't see who leads: no answer within {} s", LOOK_LIMIT.as_secs());
                return None;
            }
        };
        let address = leader.addresses?.internal;
        match timeout(ATTEMPT_LIMIT, dial(&address, &self.tls)).await {
            Ok(Ok(stream)) => Some(Found { epoch: leader.epoch, address, stream }),
            Ok(Err(error)) => {
                let error = &error as &dyn std::error::Error;
                tracing::debug!(epoch = %leader.epoch, address, error, "the JobManager is not reached");
                None
            }
            Err(_) => None,
        }
    }
}
