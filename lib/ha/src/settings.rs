//! Which store is configured, and where.

use std::sync::Arc;
use std::time::Duration;

use flumen_fs::FileSystems;
use flumen_model::config::{BadConfiguration, Configuration};
use flumen_model::options::high_availability::{
    CLUSTER_ID, STANDBY, STORAGE_DIR, TYPE, ZOOKEEPER_ACL, ZOOKEEPER_CONNECTION_TIMEOUT, ZOOKEEPER_QUORUM,
    ZOOKEEPER_RETRIES, ZOOKEEPER_RETRY_WAIT, ZOOKEEPER_ROOT, ZOOKEEPER_SESSION_TIMEOUT,
};

use crate::{FileSystemStore, HaError, HaStore, NoHaStore};

/// The kind of store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HaType {
    /// Nothing is kept.
    None,
    /// Everything is in files.
    FileSystem,
    /// Who leads is in ZooKeeper, and what is large in files.
    ZooKeeper,
}

/// How ZooKeeper is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZooKeeperSettings {
    /// `host:port,host:port,…`.
    pub quorum: String,
    /// The node of all clusters, such as `/flink`.
    pub path_root: String,
    /// Silence after which ZooKeeper takes a session for over. Nothing of ours ends with it.
    pub session_timeout: Duration,
    /// Limit for connecting, and for one call.
    pub connection_timeout: Duration,
    /// Time between two tries.
    pub retry_wait: Duration,
    /// Tries after the first.
    pub max_retries: u32,
    /// Whether only the authenticated user that made a node may use it.
    pub only_creator: bool,
}

impl ZooKeeperSettings {
    fn read(conf: &Configuration) -> Result<Self, HaError> {
        let quorum = conf.find(&ZOOKEEPER_QUORUM)?.map(|quorum| quorum.replace(char::is_whitespace, ""));
        let Some(quorum) = quorum.filter(|quorum| !quorum.is_empty()) else {
            let (kind, key) = (TYPE.key, ZOOKEEPER_QUORUM.key);
            return Err(HaError::Setting(format!(
                "`{kind}: zookeeper` needs `{key}`, such as `zk1:2181,zk2:2181,zk3:2181`"
            )));
        };
        let acl = conf.get(&ZOOKEEPER_ACL)?;
        let only_creator = match acl.as_str() {
            "open" => false,
            "creator" => true,
            _ => {
                let expected = "`open` or `creator`".to_owned();
                return Err(BadConfiguration::Value { key: ZOOKEEPER_ACL.key.to_owned(), value: acl, expected }.into());
            }
        };
        Ok(Self {
            quorum,
            path_root: conf.get(&ZOOKEEPER_ROOT)?,
            session_timeout: conf.get(&ZOOKEEPER_SESSION_TIMEOUT)?,
            connection_timeout: conf.get(&ZOOKEEPER_CONNECTION_TIMEOUT)?,
            retry_wait: conf.get(&ZOOKEEPER_RETRY_WAIT)?,
            max_retries: conf.get(&ZOOKEEPER_RETRIES)?,
            only_creator,
        })
    }
}

/// Whose a cluster is: an application, by its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner<'a> {
    /// One that takes jobs until it is stopped.
    Session(&'a str),
    /// One of a single job.
    Job(&'a str),
}

/// What the options of high availability say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HaSettings {
    /// The kind of store.
    pub kind: HaType,
    /// Directory of all clusters' data, as it was written; `None` only without high availability.
    pub storage_dir: Option<String>,
    /// How ZooKeeper is reached, if it is used.
    pub zookeeper: Option<ZooKeeperSettings>,
    /// The cluster's id: one name, a part of paths.
    pub cluster_id: String,
}

impl HaSettings {
    /// Reads the options. The cluster's id is `default_cluster_id` (on YARN the application's) when none is chosen.
    ///
    /// # Errors
    /// [`HaError::Option`] and [`HaError::Setting`] say which option to change.
    pub fn read(conf: &Configuration, default_cluster_id: &str) -> Result<Self, HaError> {
        let storage_dir = conf.find(&STORAGE_DIR)?.filter(|dir| !dir.trim().is_empty());
        let kind = match conf.find(&TYPE)? {
            None if storage_dir.is_some() => HaType::FileSystem,
            None => HaType::None,
            Some(text) => match text.to_ascii_lowercase().as_str() {
                "none" => HaType::None,
                "filesystem" => HaType::FileSystem,
                "zookeeper" => HaType::ZooKeeper,
                _ => {
                    let expected = "`none`, `filesystem` or `zookeeper`".to_owned();
                    return Err(BadConfiguration::Value { key: TYPE.key.to_owned(), value: text, expected }.into());
                }
            },
        };
        if kind != HaType::None && storage_dir.is_none() {
            let (kind, dir) = (TYPE.key, STORAGE_DIR.key);
            return Err(HaError::Setting(format!("`{kind}` needs `{dir}`, a directory that all nodes reach")));
        }
        // `/foo` is how some write it for ZooKeeper.
        let cluster_id = conf.find(&CLUSTER_ID)?.map(|id| id.trim_matches('/').to_owned());
        let cluster_id = cluster_id.filter(|id| !id.is_empty()).unwrap_or_else(|| default_cluster_id.to_owned());
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
        if !cluster_id.bytes().all(plain) || cluster_id.starts_with('.') || cluster_id.len() > 200 {
            let expected = "a name of at most 200 letters, digits, `_`, `-` and `.`".to_owned();
            return Err(BadConfiguration::Value { key: CLUSTER_ID.key.to_owned(), value: cluster_id, expected }.into());
        }
        let zookeeper = (kind == HaType::ZooKeeper).then(|| ZooKeeperSettings::read(conf)).transpose()?;
        Ok(Self { kind, storage_dir, zookeeper, cluster_id })
    }

    /// The settings of an application: one of a single job has a cluster of its own, whatever name was chosen, for nobody comes
    /// after it, and it goes on with nobody's jobs.
    ///
    /// # Errors
    /// Those of [`read`](Self::read).
    pub fn of(conf: &Configuration, owner: Owner<'_>) -> Result<Self, HaError> {
        match owner {
            Owner::Session(application) => Self::read(conf, application),
            Owner::Job(application) => {
                let mut conf = conf.clone();
                conf.put(&CLUSTER_ID, application);
                Self::read(&conf, application)
            }
        }
    }

    /// The directory of the cluster, as it was written; `None` without high availability.
    pub fn directory(&self) -> Option<String> {
        let dir = self.storage_dir.as_ref().filter(|_| self.is_on())?;
        Some(format!("{}/{}", dir.trim_end_matches('/'), self.cluster_id))
    }

    /// The cluster's node in ZooKeeper, if there is one.
    pub fn node(&self) -> Option<String> {
        self.zookeeper.as_ref().map(|zookeeper| format!("{}/{}", zookeeper.path_root, self.cluster_id))
    }

    /// Whether a second JobManager is to stand by (`jobmanager.standby`).
    ///
    /// # Errors
    /// [`HaError::Option`] when there is to be more than one; [`HaError::Setting`] when nothing is kept that it could go on
    /// with.
    pub fn standby(&self, conf: &Configuration) -> Result<bool, HaError> {
        match conf.get(&STANDBY)? {
            0 => Ok(false),
            1 if self.is_on() => Ok(true),
            1 => {
                let (standby, dir) = (STANDBY.key, STORAGE_DIR.key);
                Err(HaError::Setting(format!(
                    "`{standby}: 1` needs high availability: set `{dir}`, a directory that all nodes reach"
                )))
            }
            more => {
                let (key, value) = (STANDBY.key.to_owned(), more.to_string());
                Err(BadConfiguration::Value { key, value, expected: "0 or 1".to_owned() }.into())
            }
        }
    }

    /// Whether anything is kept.
    pub fn is_on(&self) -> bool {
        self.kind != HaType::None
    }

    /// Writes the cluster's id down, so that whoever reads `conf` elsewhere (a TaskExecutor) means the same cluster.
    pub fn put_into(&self, conf: &mut Configuration) {
        conf.put(&CLUSTER_ID, &self.cluster_id);
    }
}

/// Makes the configured store. Nothing is connected or written yet.
///
/// # Errors
/// Those of the file system when `high-availability.storageDir` is no usable path; [`HaError::Setting`] when this program was
/// built without the configured store.
pub fn open(settings: &HaSettings, systems: &FileSystems) -> Result<Arc<dyn HaStore>, HaError> {
    let Some(directory) = settings.directory() else { return Ok(Arc::new(NoHaStore)) };
    let directory = systems.resolve(&directory)?;
    let fs = systems.get(&directory)?;
    match &settings.zookeeper {
        None => Ok(Arc::new(FileSystemStore::new(fs, directory))),
        #[cfg(feature = "zookeeper")]
        Some(zookeeper) => Ok(Arc::new(crate::ZooKeeperStore::new(zookeeper.clone(), fs, directory))),
        #[cfg(not(feature = "zookeeper"))]
        Some(_) => Err(HaError::Setting(format!(
            "this program was built without ZooKeeper: build it with the feature `zookeeper`, or set `{}: filesystem`, which needs `{}` only",
            TYPE.key, STORAGE_DIR.key
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<HaSettings, HaError> {
        let mut conf = Configuration::new();
        for (key, value) in pairs {
            conf.set(*key, *value);
        }
        HaSettings::read(&conf, "application_1_0001")
    }

    #[test]
    fn the_directory_alone_turns_it_on() {
        let off = read(&[]).unwrap();
        assert_eq!((off.kind, off.is_on()), (HaType::None, false));
        let on = read(&[("high-availability.storageDir", "/ha")]).unwrap();
        assert_eq!((on.kind, on.cluster_id.as_str()), (HaType::FileSystem, "application_1_0001"));
        let off = read(&[("high-availability.storageDir", "/ha"), ("high-availability", "NONE")]).unwrap();
        assert!(!off.is_on());
    }

    #[test]
    fn a_chosen_cluster_id_counts_everywhere() {
        let settings =
            read(&[("high-availability.storageDir", "/ha"), ("high-availability.cluster-id", "/etl")]).unwrap();
        assert_eq!(settings.cluster_id, "etl");
        let mut conf = Configuration::new();
        settings.put_into(&mut conf);
        conf.put(&STORAGE_DIR, "/ha");
        assert_eq!(HaSettings::read(&conf, "other").unwrap(), settings);
    }

    #[test]
    fn zookeeper_is_set_up_under_flinks_keys() {
        let pairs = [
            ("high-availability", "ZOOKEEPER"),
            ("high-availability.storageDir", "/ha"),
            ("high-availability.zookeeper.quorum", "a:2181, b:2181"),
            ("high-availability.zookeeper.path.root", "/streams"),
            ("high-availability.zookeeper.client.session-timeout", "20000"),
            ("high-availability.zookeeper.client.acl", "creator"),
        ];
        let settings = read(&pairs).unwrap();
        assert_eq!(settings.kind, HaType::ZooKeeper);
        let expected = ZooKeeperSettings {
            quorum: "a:2181,b:2181".to_owned(),
            path_root: "/streams".to_owned(),
            session_timeout: Duration::from_secs(20),
            connection_timeout: Duration::from_secs(15),
            retry_wait: Duration::from_secs(5),
            max_retries: 3,
            only_creator: true,
        };
        assert_eq!(settings.zookeeper, Some(expected));
    }

    #[test]
    fn one_jobmanager_may_stand_by_if_there_is_something_to_go_on_with() {
        let standby = |pairs: &[(&str, &str)]| {
            let mut conf = Configuration::new();
            pairs.iter().for_each(|(key, value)| conf.set(*key, *value));
            read(pairs).unwrap().standby(&conf)
        };
        let kept = ("high-availability.storageDir", "/ha");
        assert!(!standby(&[]).unwrap() && !standby(&[kept]).unwrap());
        assert!(standby(&[kept, ("jobmanager.standby", "1")]).unwrap());
        let without = standby(&[("jobmanager.standby", "1")]).unwrap_err().to_string();
        assert!(without.contains("high-availability.storageDir"), "{without}");
        let two = standby(&[kept, ("jobmanager.standby", "2")]).unwrap_err().to_string();
        assert!(two.contains("jobmanager.standby"), "{two}");
    }

    #[test]
    fn what_can_not_work_is_refused_with_its_option() {
        for (pairs, named) in [
            (&[("high-availability", "filesystem")][..], "high-availability.storageDir"),
            (&[("high-availability.type", "floppy")], "high-availability.type"),
            (&[("high-availability", "zookeeper"), ("high-availability.storageDir", "/ha")], "zookeeper.quorum"),
            (&[("high-availability", "zookeeper"), ("high-availability.zookeeper.quorum", "a:1")], "storageDir"),
            (&[("high-availability.cluster-id", "a/b")], "high-availability.cluster-id"),
            (&[("high-availability.cluster-id", "../b")], "high-availability.cluster-id"),
        ] {
            let message = read(pairs).unwrap_err().to_string();
            assert!(message.contains(named), "{message}");
        }
    }
}
