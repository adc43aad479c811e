//! What high availability keeps of an application that ended without a word, as `yarn application -kill` ends it: nobody was
//! there to remove it, so who looks at the end is told what stays and how it goes.

use std::time::Duration;

use flumen_ha::HaSettings;
use flumen_hadoop::conf::Configuration as HadoopConfiguration;
use flumen_model::config::Configuration;
use flumen_model::options::high_availability::CLUSTER_ID;

use crate::hadoop;

/// Time that looking for it may take: it is only told.
const LIMIT: Duration = Duration::from_secs(5);

/// Where an application's data are, by its configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    directory: String,
    /// The node in ZooKeeper, if there is one.
    node: Option<String>,
    cluster_id: String,
}

impl Kept {
    /// `None` without high availability.
    pub fn of(configuration: &Configuration, application: &str) -> Option<Self> {
        let settings = HaSettings::read(configuration, application).ok().filter(HaSettings::is_on)?;
        let cluster_id = settings.cluster_id;
        let directory = format!("{}/{cluster_id}", settings.storage_dir?.trim_end_matches('/'));
        let node = settings.zookeeper.map(|zookeeper| format!("{}/{cluster_id}", zookeeper.path_root));
        Some(Self { directory, node, cluster_id })
    }

    /// The same, if it is there.
    pub async fn found(configuration: &Configuration, user: &str, application: &str) -> Option<Self> {
        let kept = Self::of(configuration, application)?;
        let hadoop = hadoop::load_if_any(configuration).ok()?;
        tokio::time::timeout(LIMIT, kept.is_there(configuration, &hadoop, user)).await.ok()??.then_some(kept)
    }

    /// What is there of an application of one job.
    pub async fn of_job_found(configuration: &Configuration, user: &str, application: &str) -> Option<Self> {
        Self::found(&own_cluster(configuration, application), user, application).await
    }

    /// Removes what is left of an application of one job that YARN says has ended: its cluster is its own, and nobody goes on
    /// with it. With ZooKeeper it stays. Best effort.
    pub async fn remove_of_job(configuration: &Configuration, user: &str, application: &str) {
        let configuration = own_cluster(configuration, application);
        let Some(kept) = Self::of(&configuration, application).filter(|kept| kept.node.is_none()) else { return };
        let Ok(hadoop) = hadoop::load_if_any(&configuration) else { return };
        let removed = tokio::time::timeout(LIMIT, kept.remove(&configuration, &hadoop, user)).await;
        tracing::debug!(directory = kept.directory, ?removed, "what high availability left of a job is removed");
    }

    async fn remove(&self, configuration: &Configuration, hadoop: &HadoopConfiguration, user: &str) -> Option<bool> {
        let systems = hadoop::program_file_systems(configuration, hadoop, user).ok()?;
        let path = systems.resolve(&self.directory).ok()?;
        systems.get(&path).ok()?.delete(&path, true).await.ok()
    }

    async fn is_there(&self, configuration: &Configuration, hadoop: &HadoopConfiguration, user: &str) -> Option<bool> {
        let systems = hadoop::program_file_systems(configuration, hadoop, user).ok()?;
        let path = systems.resolve(&self.directory).ok()?;
        systems.get(&path).ok()?.exists(&path).await.ok()
    }

    /// What is left of a session.
    pub fn of_session(&self) -> String {
        let Self { cluster_id, .. } = self;
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

/// As the ApplicationMaster of one job has it: a chosen name is for sessions.
fn own_cluster(configuration: &Configuration, application: &str) -> Configuration {
    let mut configuration = configuration.clone();
    configuration.put(&CLUSTER_ID, application);
    configuration
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
