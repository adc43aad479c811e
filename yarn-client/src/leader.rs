//! Where an application's leader says that it is. YARN knows only the ApplicationMaster that registered last; while that one
//! is dead and a standby JobManager leads, the store of high availability knows more.

use std::sync::Arc;
use std::time::Duration;

use flumen_ha::{HaSettings, HaStore, Owner};
use flumen_model::config::Configuration;
use tokio::sync::OnceCell;

use crate::hadoop;

/// Time that one look may take: YARN's word is there otherwise.
const LIMIT: Duration = Duration::from_secs(5);

/// Looks into the store of one application. Cheap until it is asked.
pub struct LeaderLookup {
    configuration: Configuration,
    user: String,
    settings: HaSettings,
    store: OnceCell<Option<Arc<dyn HaStore>>>,
}

impl LeaderLookup {
    /// Looks for the leader of an application with this configuration, as this user. `None` if nobody stands by in it: then YARN
    /// knows as much as the store.
    pub fn of(configuration: &Configuration, user: &str, owner: Owner<'_>) -> Option<Self> {
        let settings = HaSettings::of(configuration, owner).ok()?;
        let stands_by = settings.standby(configuration).is_ok_and(|stands_by| stands_by);
        stands_by.then(|| Self {
            configuration: configuration.clone(),
            user: user.to_owned(),
            settings,
            store: OnceCell::new(),
        })
    }

    /// `host:port` of the leader's REST interface, as the leader itself says; whether it is still there is not known. `None`: no
    /// leader has said so, or the store does not answer.
    pub async fn rest(&self) -> Option<String> {
        let store = self.store.get_or_init(|| async { self.open() }).await.as_ref()?;
        let looked = tokio::time::timeout(LIMIT, store.leader()).await;
        tracing::debug!(?looked, "the leader as the store of high availability has it");
        let leader = looked.ok()?.ok()??;
        leader.addresses.map(|addresses| addresses.rest).filter(|rest| !rest.is_empty())
    }

    fn open(&self) -> Option<Arc<dyn HaStore>> {
        let hadoop = hadoop::load_if_any(&self.configuration).ok()?;
        let systems = hadoop::program_file_systems(&self.configuration, &hadoop, &self.user).ok()?;
        match flumen_ha::open(&self.settings, &systems) {
            Ok(store) => Some(store),
            Err(error) => {
                tracing::warn!(%error, "the store of high availability can't be asked for the leader");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use flumen_ha::{Addresses, Candidate};

    use super::*;

    #[tokio::test]
    async fn the_leader_is_found_where_somebody_stands_by() {
        let dir = tempfile::tempdir().unwrap();
        let mut configuration = Configuration::new();
        configuration.set("high-availability.storageDir", format!("file://{}", dir.path().display()));
        configuration.set("high-availability.cluster-id", "etl");
        let lookup = |configuration: &Configuration, owner| LeaderLookup::of(configuration, "alice", owner);
        assert!(lookup(&configuration, Owner::Session("application_1_0001")).is_none());

        configuration.set("jobmanager.standby", "1");
        let session = lookup(&configuration, Owner::Session("application_1_0001")).unwrap();
        assert_eq!(session.rest().await, None);
        let store = session.open().unwrap();
        let candidate =
            Candidate { owner: "application_1_0001".to_owned(), attempt: 1, replaces: None, follows: false };
        let leadership = store.campaign(&candidate).await.unwrap();
        assert_eq!(session.rest().await, None, "it has not said where it is");
        let addresses = Addresses { internal: "node1:1".to_owned(), rest: "node1:2".to_owned() };
        store.announce(&leadership, &addresses).await.unwrap();
        assert_eq!(session.rest().await.as_deref(), Some("node1:2"));
        // An application of one job has a cluster of its own.
        assert_eq!(lookup(&configuration, Owner::Job("application_1_0001")).unwrap().rest().await, None);
    }
}
