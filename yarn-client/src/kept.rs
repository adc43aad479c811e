//! What stays of an application that ended without a word, as `yarn application -kill` ends it: what high availability keeps,
//! and a job's checkpoints. Nobody was there to remove or to name it, so who looks at the end is told what stays and how it goes.

use std::time::Duration;

use flumen_checkpoint::{Depth, layout, newest_valid};
use flumen_ha::{Candidate, HaError, HaSettings, HaStore, Owner};
use flumen_hadoop::conf::Configuration as HadoopConfiguration;
use flumen_model::config::Configuration;
use flumen_model::ids::JobId;
use flumen_model::options::checkpointing::CHECKPOINT_DIRECTORY;

use crate::hadoop;

/// Time that looking for it may take: it is only told.
const LIMIT: Duration = Duration::from_secs(5);

/// Where an application's data are, by its configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    directory: String,
    /// The node in ZooKeeper, if there is one.
    node: Option<String>,
    settings: HaSettings,
}

impl Kept {
    /// Those of a session; `None` without high availability.
    pub fn of(configuration: &Configuration, application: &str) -> Option<Self> {
        Self::owned(configuration, Owner::Session(application))
    }

    fn owned(configuration: &Configuration, owner: Owner<'_>) -> Option<Self> {
        let settings = HaSettings::of(configuration, owner).ok()?;
        Some(Self { directory: settings.directory()?, node: settings.node(), settings })
    }

    /// The same, if it is there.
    pub async fn found(configuration: &Configuration, user: &str, application: &str) -> Option<Self> {
        Self::owned_and_found(configuration, user, Owner::Session(application)).await
    }

    async fn owned_and_found(configuration: &Configuration, user: &str, owner: Owner<'_>) -> Option<Self> {
        let kept = Self::owned(configuration, owner)?;
        let hadoop = hadoop::load_if_any(configuration).ok()?;
        tokio::time::timeout(LIMIT, kept.is_there(configuration, &hadoop, user)).await.ok()??.then_some(kept)
    }

    /// What is there of an application of one job.
    pub async fn of_job_found(configuration: &Configuration, user: &str, application: &str) -> Option<Self> {
        Self::owned_and_found(configuration, user, Owner::Job(application)).await
    }

    /// Removes what is left of an application of one job that YARN says has ended: its cluster is its own, and nobody goes on
    /// with it. Best effort.
    pub async fn remove_of_job(configuration: &Configuration, user: &str, application: &str) {
        let Some(kept) = Self::owned(configuration, Owner::Job(application)) else { return };
        let Ok(hadoop) = hadoop::load_if_any(configuration) else { return };
        let removed = tokio::time::timeout(LIMIT, kept.remove(configuration, &hadoop, user, application)).await;
        tracing::debug!(directory = kept.directory, ?removed, "what high availability left of a job is removed");
    }

    async fn remove(
        &self,
        configuration: &Configuration,
        hadoop: &HadoopConfiguration,
        user: &str,
        application: &str,
    ) -> Option<bool> {
        let systems = hadoop::program_file_systems(configuration, hadoop, user).ok()?;
        if self.node.is_some() {
            let removed = clean_up(&*flumen_ha::open(&self.settings, &systems).ok()?, application).await;
            tracing::debug!(?removed, node = self.node, "what high availability left of a job in ZooKeeper is removed");
        }
        let path = systems.resolve(&self.directory).ok()?;
        systems.get(&path).ok()?.delete(&path, true).await.ok()
    }

    async fn is_there(&self, configuration: &Configuration, hadoop: &HadoopConfiguration, user: &str) -> Option<bool> {
        let systems = hadoop::program_file_systems(configuration, hadoop, user).ok()?;
        if self.node.is_some()
            && let Ok(store) = flumen_ha::open(&self.settings, &systems)
            && let Ok(Some(_)) = store.leader().await
        {
            return Some(true);
        }
        let path = systems.resolve(&self.directory).ok()?;
        systems.get(&path).ok()?.exists(&path).await.ok()
    }

    /// What is left of a session.
    pub fn of_session(&self) -> String {
        let HaSettings { cluster_id, .. } = &self.settings;
        format!(
            "high availability keeps its jobs in {}: `yarn-session.sh -z {cluster_id}` goes on with them; to give them up: {}",
            self.place(),
            self.removal()
        )
    }

    /// What is left of an application of one job.
    pub fn of_job(&self) -> String {
        format!("high availability left its data in {}, which nothing uses any more: {}", self.place(), self.removal())
    }

    fn place(&self) -> String {
        let node = self.node.as_ref().map(|node| format!(" and in ZooKeeper's node `{node}`"));
        format!("`{}`{}", self.directory, node.unwrap_or_default())
    }

    fn removal(&self) -> String {
        let node = self.node.as_ref().map(|node| format!(", and in zkCli.sh: deleteall {node}"));
        format!("hdfs dfs -rm -r {}{}", self.directory, node.unwrap_or_default())
    }
}

/// The newest checkpoint of a job that nobody runs any more, with the way to go on from it and to give it up; `None` if there
/// is none that is whole, or it can't be looked for in time. `configuration` is the job's.
pub async fn newest_checkpoint(configuration: &Configuration, user: &str, job: JobId) -> Option<String> {
    let looked = async {
        let directory = configuration.find(&CHECKPOINT_DIRECTORY).ok()??;
        let hadoop = hadoop::load_if_any(configuration).ok()?;
        let systems = hadoop::program_file_systems(configuration, &hadoop, user).ok()?;
        let directory = layout::job_directory(&systems.resolve(&directory).ok()?, job);
        let newest = newest_valid(&systems, &directory, Depth::Lengths).await.ok()?.found?;
        let path = newest.checkpoint.directory;
        Some(format!(
            "its newest checkpoint stays: `flink run -s {path} …` goes on from it; to give it up: hdfs dfs -rm -r {directory}"
        ))
    };
    tokio::time::timeout(LIMIT, looked).await.ok()?
}

/// Removes what an application that has ended left in a store, as its last leader would have: in the place of that one, so that
/// a standby that YARN is about to end can do no more.
async fn clean_up(store: &dyn HaStore, application: &str) -> Result<(), HaError> {
    let candidate = Candidate { owner: application.to_owned(), attempt: u32::MAX, replaces: None, follows: true };
    store.clean_up(&store.campaign(&candidate).await?).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use flumen_checkpoint::Origin;
    use flumen_fs::{FileSystems, FsOptions};
    use flumen_model::checkpoint::{CheckpointId, CompletedCheckpoint, SnapshotKind};
    use flumen_model::ids::Epoch;

    const APPLICATION: &str = "application_1_0002";

    fn configuration(pairs: &[(&str, &str)]) -> Configuration {
        let mut configuration = Configuration::new();
        pairs.iter().for_each(|(key, value)| configuration.set(*key, *value));
        configuration
    }

    #[test]
    fn what_stays_is_named_with_the_way_to_use_it_and_to_remove_it() {
        assert_eq!(Kept::of(&configuration(&[]), APPLICATION), None);
        let files = Kept::of(&configuration(&[("high-availability.storageDir", "hdfs:///ha/")]), APPLICATION).unwrap();
        assert_eq!(
            files.of_session(),
            "high availability keeps its jobs in `hdfs:///ha/application_1_0002`: `yarn-session.sh -z application_1_0002` goes \
             on with them; to give them up: hdfs dfs -rm -r hdfs:///ha/application_1_0002"
        );
        assert_eq!(
            files.of_job(),
            "high availability left its data in `hdfs:///ha/application_1_0002`, which nothing uses any more: \
             hdfs dfs -rm -r hdfs:///ha/application_1_0002"
        );
        let zookeeper = configuration(&[
            ("high-availability.type", "zookeeper"),
            ("high-availability.storageDir", "hdfs:///ha"),
            ("high-availability.zookeeper.quorum", "zk:2181"),
            ("high-availability.cluster-id", "etl"),
        ]);
        let text = Kept::of(&zookeeper, APPLICATION).unwrap().of_session();
        for part in ["`hdfs:///ha/etl` and in ZooKeeper's node `/flink/etl`", "-z etl", "deleteall /flink/etl"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[tokio::test]
    async fn only_what_is_there_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("file://{}", dir.path().display());
        let configuration = configuration(&[("high-availability.storageDir", &url)]);
        assert_eq!(Kept::found(&configuration, "alice", APPLICATION).await, None);
        std::fs::create_dir(dir.path().join(APPLICATION)).unwrap();
        let found = Kept::found(&configuration, "alice", APPLICATION).await.unwrap();
        assert_eq!(found.directory, format!("{url}/{APPLICATION}"));
    }

    #[tokio::test]
    async fn of_a_job_nothing_is_left_but_what_another_cluster_has() {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("file://{}", dir.path().display());
        let mut configuration = configuration(&[("high-availability.storageDir", &url)]);
        configuration.set("high-availability.cluster-id", "etl");
        for name in [APPLICATION, "etl"] {
            std::fs::create_dir_all(dir.path().join(name).join("ha-1")).unwrap();
        }
        Kept::remove_of_job(&configuration, "alice", APPLICATION).await;
        assert!(!dir.path().join(APPLICATION).try_exists().unwrap());
        assert!(dir.path().join("etl/ha-1").is_dir(), "a session's");
    }

    #[tokio::test]
    async fn the_newest_whole_checkpoint_is_named_with_the_way_to_go_on_from_it() {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("file://{}", dir.path().display());
        let configuration = configuration(&[("state.checkpoints.dir", &url)]);
        let job = JobId(7);
        assert_eq!(newest_checkpoint(&configuration, "alice", job).await, None, "there is none yet");
        let systems = FileSystems::new(FsOptions::default()).unwrap();
        let directory = layout::job_directory(&url.parse().unwrap(), job);
        for number in [1, 2] {
            let checkpoint = CompletedCheckpoint {
                id: CheckpointId(number),
                kind: SnapshotKind::Checkpoint,
                triggered_ms: 1,
                completed_ms: 2,
                directory: layout::checkpoint_directory(&directory, CheckpointId(number)).to_string(),
                vertices: Vec::new(),
                life: None,
            };
            flumen_checkpoint::store(&systems, Origin { job, epoch: Epoch(1) }, &checkpoint).await.unwrap();
        }
        std::fs::create_dir_all(dir.path().join(job.to_string()).join("chk-3")).unwrap();
        let text = newest_checkpoint(&configuration, "alice", job).await.unwrap();
        assert!(text.contains(&format!("`flink run -s {directory}/chk-2 …`")), "{text}");
        assert!(text.ends_with(&format!("hdfs dfs -rm -r {directory}")), "{text}");
        assert_eq!(newest_checkpoint(&Configuration::new(), "alice", job).await, None, "nothing says where");
    }
}
