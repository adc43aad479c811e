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

/// More at a time, from each subtask, only makes each of them slower.
const TRANSFERS_MAX: u32 = 64;

/// How the subtasks of a worker keep their state.
#[derive(Clone, Debug, Default)]
pub struct StateSettings {
    /// What every backend is opened with.
    pub backend: BackendOptions,
    /// `execution.checkpointing.data-inline-threshold`: fewer bytes go into a checkpoint's metadata.
    pub inline_below: u64,
    /// Where copies of checkpoints are kept (`execution.checkpointing.local-backup.enabled`); `None`: nowhere.
    pub local_copies: Option<PathBuf>,
    /// `state.backend.rocksdb.checkpoint.transfer.thread.num`: files that one subtask copies at the same time.
    pub transfers: usize,
}

impl StateSettings {
    /// Whether RocksDB is built in.
    pub const HAS_ROCKSDB: bool = cfg!(feature = "rocksdb");

    /// Reads the options. `directories` are for RocksDB's files and copies of checkpoints, by default the system's temporary one;
    /// `memory` the bytes that all RocksDB instances of this worker share unless the configuration says otherwise; `slots` those of the
    /// worker.
    ///
    /// # Errors
    /// An option has a wrong value.
    #[cfg_attr(not(feature = "rocksdb"), expect(unused_variables, reason = "nothing else divides the memory"))]
    pub fn read(
        configuration: &Configuration,
        directories: &[PathBuf],
        memory: u64,
        slots: u32,
    ) -> Result<Self, BadConfiguration> {
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
        let directories = if directories.is_empty() { vec![std::env::temp_dir()] } else { directories.to_vec() };
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
                    BackendKind::RocksDb => Some(rocksdb_memory(configuration, memory, slots)?),
                },
                ..BackendOptions::default()
            },
            inline_below: configuration.get(&checkpointing::MEMORY_THRESHOLD)?.0,
            local_copies,
            transfers: configuration.get(&checkpointing::ROCKSDB_TRANSFERS)?.clamp(1, TRANSFERS_MAX) as usize,
        })
    }
}

/// What the RocksDB instances of a worker share.
#[cfg(feature = "rocksdb")]
fn rocksdb_memory(
    configuration: &Configuration,
    managed: u64,
    slots: u32,
) -> Result<flumen_state::rocksdb::SharedRocksDb, BadConfiguration> {
    let per_slot = configuration.find(&checkpointing::ROCKSDB_MEMORY_PER_SLOT)?;
    let per_worker = configuration.find(&checkpointing::ROCKSDB_MEMORY)?;
    let bytes = match (per_slot, per_worker) {
        (Some(one), _) => one.0.saturating_mul(slots.max(1).into()),
        (None, Some(all)) => all.0,
        (None, None) => managed,
    };
    let ratio = configuration.get(&checkpointing::ROCKSDB_WRITE_BUFFER_RATIO)?;
    if !(0.0..=1.0).contains(&ratio) {
        return Err(BadConfiguration::Value {
            key: checkpointing::ROCKSDB_WRITE_BUFFER_RATIO.key.to_owned(),
            value: ratio.to_string(),
            expected: "a number from 0 to 1".to_owned(),
        });
    }
    if !configuration.get(&checkpointing::ROCKSDB_MANAGED)? {
        let key = checkpointing::ROCKSDB_MANAGED.key;
        tracing::warn!(key, bytes, "has no effect: RocksDB always keeps to a budget; `fixed-per-tm` sets another one");
    }
    if configuration.find(&checkpointing::ROCKSDB_HIGH_PRIORITY_RATIO)?.is_some_and(|ratio| ratio != 0.1) {
        let key = checkpointing::ROCKSDB_HIGH_PRIORITY_RATIO.key;
        tracing::warn!(key, "has no effect: the block cache has no part of its own for indexes and filters");
    }
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    Ok(flumen_state::rocksdb::SharedRocksDb::with_write_buffer_ratio(bytes, ratio))
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

#[cfg(all(test, feature = "rocksdb"))]
mod tests {
    use super::*;

    fn read(options: &[(&str, &str)]) -> Result<StateSettings, BadConfiguration> {
        let mut configuration = Configuration::new();
        configuration.set("state.backend.type", "rocksdb");
        options.iter().for_each(|(key, value)| configuration.set(*key, *value));
        StateSettings::read(&configuration, &[], 64 << 20, 3)
    }

    #[allow(clippy::unwrap_used, reason = "test helper")]
    fn memory(options: &[(&str, &str)]) -> (usize, usize) {
        let shared = read(options).unwrap().backend.rocksdb.unwrap();
        (shared.budget() >> 20, shared.write_buffer_budget() >> 20)
    }

    #[test]
    fn rocksdb_gets_the_memory_that_the_options_say() {
        assert_eq!(memory(&[]), (64, 16));
        assert_eq!(memory(&[("state.backend.rocksdb.memory.fixed-per-tm", "128 mb")]), (128, 32));
        let both = [
            ("state.backend.rocksdb.memory.fixed-per-tm", "128 mb"),
            ("state.backend.rocksdb.memory.fixed-per-slot", "32 mb"),
        ];
        assert_eq!(memory(&both).0, 96);
        assert_eq!(memory(&[("state.backend.rocksdb.memory.write-buffer-ratio", "0.25")]), (64, 8));
    }

    #[test]
    fn a_share_of_more_than_all_is_refused_by_its_key() {
        let error = read(&[("state.backend.rocksdb.memory.write-buffer-ratio", "1.5")]).unwrap_err().to_string();
        assert!(error.contains("write-buffer-ratio") && error.contains("from 0 to 1"), "{error}");
    }
}
