//! Which store is configured, and where.

use std::sync::Arc;

use flumen_fs::FileSystems;
use flumen_model::config::{BadConfiguration, Configuration};
use flumen_model::options::high_availability::{CLUSTER_ID, STORAGE_DIR, TYPE};

use crate::{FileSystemStore, HaError, HaStore, NoHaStore};

/// The kind of store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HaType {
    /// Nothing is kept.
    None,
    /// Everything is in files.
    FileSystem,
}

/// What the options of high availability say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HaSettings {
    /// The kind of store.
    pub kind: HaType,
    /// Directory of all clusters' data, as it was written; `None` only without high availability.
    pub storage_dir: Option<String>,
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
                _ => {
                    let expected = "`none` or `filesystem`".to_owned();
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
        Ok(Self { kind, storage_dir, cluster_id })
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
/// Those of the file system when `high-availability.storageDir` is no usable path.
pub fn open(settings: &HaSettings, systems: &FileSystems) -> Result<Arc<dyn HaStore>, HaError> {
    match (settings.kind, &settings.storage_dir) {
        (HaType::FileSystem, Some(dir)) => {
            let directory = systems.resolve(dir)?.join(&settings.cluster_id);
            Ok(Arc::new(FileSystemStore::new(systems.get(&directory)?, directory)))
        }
        _ => Ok(Arc::new(NoHaStore)),
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
    fn what_can_not_work_is_refused_with_its_option() {
        for (pairs, named) in [
            (&[("high-availability", "filesystem")][..], "high-availability.storageDir"),
            (&[("high-availability.type", "floppy")], "high-availability.type"),
            (&[("high-availability.cluster-id", "a/b")], "high-availability.cluster-id"),
            (&[("high-availability.cluster-id", "../b")], "high-availability.cluster-id"),
        ] {
            let message = read(pairs).unwrap_err().to_string();
            assert!(message.contains(named), "{message}");
        }
    }
}
