//! Opens the keyed state of an operator with the backend that the job has.

use std::path::PathBuf;

use flumen_model::checkpoint::KeyGroupRange;
use flumen_model::config::{BadConfiguration, Configuration};
use flumen_model::ids::OperatorId;
use flumen_model::options::checkpointing;
use flumen_state::{BackendKind, BackendOptions, Keyed, RestoredKeyed};

use crate::keyed::Key;
use crate::local_copies::LocalCopies;
use crate::operator::TaskResult;
use crate::restore::HandleParts;
use crate::subtask::SubtaskContext;

/// How the subtasks of a worker keep their state.
#[derive(Clone, Default)]
pub struct StateSettings {
    /// What every backend is opened with.
    pub backend: BackendOptions,
    /// `execution.checkpointing.data-inline-threshold`: fewer bytes go into a checkpoint's metadata.
    pub inline_below: u64,
    /// Where copies of checkpoints are kept (`execution.checkpointing.local-backup.enabled`); `None`: nowhere.
    pub local_copies: Option<PathBuf>,
}

impl StateSettings {
    /// Reads the options. `directories` is where RocksDB goes unless the configuration says otherwise, `memory` the bytes
    /// that all its instances in this worker share.
    ///
    /// # Errors
    /// An option has a wrong value.
    #[cfg_attr(not(feature = "rocksdb"), expect(unused_variables, reason = "nothing else divides the memory"))]
    pub fn read(configuration: &Configuration, directories: &[PathBuf], memory: u64) -> Result<Self, BadConfiguration> {
        let name = configuration.get(&checkpointing::STATE_BACKEND)?;
        // Flink's spellings, old and new.
        let kind = match name.to_ascii_lowercase().as_str() {
            "hashmap" | "filesystem" | "jobmanager" => BackendKind::HashMap,
            "rocksdb" => BackendKind::RocksDb,
            _ => {
                return Err(BadConfiguration::Value {
                    key: checkpointing::STATE_BACKEND.key.to_owned(),
                    value: name,
                    expected: "a state backend: hashmap or rocksdb".to_owned(),
                });
            }
        };
        let own: Option<String> = configuration.find(&checkpointing::ROCKSDB_LOCAL_DIRS)?;
        let own: Vec<PathBuf> =
            own.iter().flat_map(|list| list.split(',')).map(|path| PathBuf::from(path.trim())).collect();
        let directories = match (own.is_empty(), directories.is_empty()) {
            (false, _) => own,
            (true, false) => directories.to_vec(),
            (true, true) => vec![std::env::temp_dir()],
        };
        let local_copies =
            if configuration.get(&checkpointing::LOCAL_RECOVERY)? { directories.first().cloned() } else { None };
        Ok(Self {
            backend: BackendOptions {
                kind,
                directories,
                incremental: configuration.get(&checkpointing::INCREMENTAL)?,
                #[cfg(feature = "rocksdb")]
                rocksdb: match kind {
                    BackendKind::HashMap => None,
                    BackendKind::RocksDb => {
                        let own = configuration.find(&checkpointing::ROCKSDB_MEMORY)?;
                        let bytes = own.map_or(memory, |size| size.0);
                        Some(flumen_state::rocksdb::SharedRocksDb::new(usize::try_from(bytes).unwrap_or(usize::MAX)))
                    }
                },
                ..BackendOptions::default()
            },
            inline_below: configuration.get(&checkpointing::MEMORY_THRESHOLD)?.0,
            local_copies,
        })
    }
}

impl SubtaskContext {
    /// The local copies of this subtask's checkpoints, if there are any.
    pub(crate) fn local_copies(&self) -> Option<LocalCopies> {
        self.worker.state.local_copies.as_deref().map(|directory| LocalCopies::new(directory, self.id))
    }

    /// The key groups that this subtask owns.
    pub fn key_groups(&self) -> KeyGroupRange {
        KeyGroupRange::of_subtask(self.id.index, self.parallelism, self.max_parallelism)
    }

    /// Opens the keyed state of an operator of this subtask: with what the checkpoint has that the subtask starts from,
    /// or empty.
    ///
    /// # Errors
    /// The checkpoint's files are damaged, or were written by another type; the backend failed.
    pub fn open_keyed<K: Key>(&self, operator: OperatorId) -> TaskResult<Keyed<K>> {
        let restored = |state: &flumen_model::checkpoint::KeyedState| RestoredKeyed {
            state: state.clone(),
            reader: Box::new(HandleParts::new(state, self)),
        };
        let restore = self.restored.keyed(operator).iter().map(restored).collect();
        let name = format!("{}-{}-{operator}-{}", self.attempt, self.id, std::process::id());
        let options = BackendOptions { name, ..self.worker.state.backend.clone() };
        Ok(Keyed::open(&options, self.key_groups(), self.max_parallelism, restore)?)
    }
}
