//! The end of a session: its JobManager is told, YARN's word on it is waited for, what remains is removed.

use std::time::{Duration, Instant};

use super::Session;
use crate::rest::{Master, RestError};
use crate::verdict::{Stand, Verdict, stand};

/// Time that a session has to end once it was told to.
const LIMIT: Duration = Duration::from_secs(60);

/// Time that its JobManager has to hear it.
const HEARING: Duration = Duration::from_secs(15);

/// Time between two looks.
const POLL: Duration = Duration::from_millis(100);

impl Session<'_> {
    /// Ends the session with all of its jobs. Returns whether it ended well.
    ///
    /// # Errors
    /// When it does not take the order, or has not ended in time.
    pub(super) async fn stop(&self) -> anyhow::Result<bool> {
        let (id, begun) = (&self.application, Instant::now());
        self.reporter.event(&format!("Stopping session {id}"));
        let mut told = false;
        loop {
            if !told {
                match self.leader().await.shut_down().await {
                    Ok(()) => told = true,
                    // It may be gone already, or start anew: YARN knows.
                    Err(RestError::Unreachable { .. }) if begun.elapsed() < HEARING => {}
                    // A standby leads, and YARN starts the next ApplicationMaster.
                    Err(error) if error.is_not_yet() && begun.elapsed() < LIMIT => {
                        self.reporter.progress(&format!("Waiting for the next ApplicationMaster: {error}"));
                    }
                    Err(error) => {
                        return Err(anyhow::Error::from(error)
                            .context(format!("session {id} can't be stopped; `yarn application -kill {id}` ends it")));
                    }
                }
            }
            if let Ok(report) = self.cluster.report(id).await
                && let Stand::Over(verdict) = stand(&report)
            {
                self.forget().await;
                return Ok(self.show_stopped(&verdict));
            }
            anyhow::ensure!(
                begun.elapsed() < LIMIT,
                "session {id} was told to end and has not after {} s; `yarn application -kill {id}` ends it at once",
                LIMIT.as_secs()
            );
            tokio::time::sleep(POLL).await;
        }
    }

    /// The JobManager that leads now, as far as that is known.
    async fn leader(&self) -> Master {
        let announced = match &self.leader {
            Some(leader) => leader.rest().await,
            None => None,
        };
        announced.map_or_else(|| self.master.clone(), |address| self.master.moved_to(&address))
    }

    fn show_stopped(&self, verdict: &Verdict) -> bool {
        let id = &self.application;
        match verdict {
            Verdict::Finished { .. } => {
                self.reporter.result(&format!("Session {id} has been stopped"));
                true
            }
            Verdict::Canceled { cause } | Verdict::Failed { cause } => {
                self.reporter.result(&format!("Session {id} has ended: {cause}"));
                false
            }
        }
    }
}
