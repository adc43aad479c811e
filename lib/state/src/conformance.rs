//! The suite that every backend must pass. It panics where a backend does not do what it has to.

#![allow(clippy::unwrap_used, reason = "a test: what can't be done fails it")]

mod damage;
mod evolution;
mod expiry;
mod kinds;
mod random;
mod timers;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::thread;

use flumen_model::checkpoint::{KeyGroupRange, KeyedState, SnapshotKind, StateHandle, StateLocation};

use crate::canonical;
use crate::error::StateError;
use crate::keyed::Keyed;
use crate::restore::{PartsInMemory, RestoredKeyed};
use crate::snapshot::{PendingSnapshot, SnapshotBytes};
use crate::traits::Key;

pub use random::simulate;

/// Opens the backend that is tested. With the clock [`clock`].
pub trait Backend {
    /// As [`Keyed::open`].
    ///
    /// # Errors
    /// As that.
    fn open<K: Key>(
        &self,
        groups: KeyGroupRange,
        max_parallelism: u32,
        restore: Vec<RestoredKeyed>,
    ) -> Result<Keyed<K>, StateError>;
}

/// Key groups in the suite.
pub(crate) const GROUPS: u32 = 16;

thread_local! {
    static NOW: Cell<i64> = const { Cell::new(1_000_000) };
}

/// The time that the suite sets, of the thread that asks: what the options of a tested backend should have as clock.
pub fn clock() -> i64 {
    NOW.get()
}

fn advance(milliseconds: i64) {
    NOW.set(NOW.get() + milliseconds);
}

/// Checks everything.
pub fn check(backend: &impl Backend) {
    kinds::check(backend);
    expiry::check(backend);
    evolution::check(backend);
    damage::check(backend);
    timers::check(backend);
    for seed in 0..20 {
        simulate(backend, seed, 400);
    }
}

/// A snapshot that was written somewhere.
#[derive(Debug, Clone)]
pub struct Stored {
    /// What was written.
    pub state: KeyedState,
    /// Its bytes.
    pub parts: PartsInMemory,
}

impl Stored {
    /// For a subtask to begin with.
    pub fn restored(&self) -> RestoredKeyed {
        RestoredKeyed { state: self.state.clone(), reader: Box::new(self.parts.clone()) }
    }
}

/// Takes a snapshot's bytes or files.
///
/// # Errors
/// It failed.
pub fn store(mut pending: PendingSnapshot) -> Result<Stored, StateError> {
    let format = pending.format();
    let mut parts = BTreeMap::new();
    match &mut pending.source {
        SnapshotBytes::Canonical(blocks) => {
            let bytes = blocks.collect::<Result<Vec<_>, _>>()?.concat();
            parts.insert(canonical::PART.to_owned(), bytes);
        }
        SnapshotBytes::Files(source) => {
            for file in source.files()? {
                parts.insert(file.name.clone(), std::fs::read(&file.path).unwrap());
            }
        }
    }
    let handle = |bytes: &Vec<u8>| StateHandle {
        location: StateLocation::Inline(Vec::new()),
        length: bytes.len() as u64,
        checksum: xxhash_rust::xxh3::xxh3_64(bytes),
    };
    let handles = parts.iter().map(|(name, bytes)| (name.clone(), handle(bytes))).collect();
    let state = KeyedState { format, groups: pending.groups, parts: handles };
    Ok(Stored { state, parts: PartsInMemory(parts) })
}

/// Takes a whole snapshot.
fn snapshot_of<K: Key>(keyed: &mut Keyed<K>, kind: SnapshotKind) -> Stored {
    let pending = keyed.snapshot(kind).unwrap();
    let storing = thread::spawn(|| store(pending));
    keyed.finish_snapshots();
    storing.join().unwrap().unwrap()
}

/// All key groups, restored from these pieces.
fn open_all<K: Key>(backend: &impl Backend, pieces: &[Stored]) -> Result<Keyed<K>, StateError> {
    let all = KeyGroupRange { start: 0, end: GROUPS };
    backend.open(all, GROUPS, pieces.iter().map(Stored::restored).collect())
}

const KINDS: [SnapshotKind; 3] = [SnapshotKind::Checkpoint, SnapshotKind::FullCheckpoint, SnapshotKind::Savepoint];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::BackendOptions;
    use crate::rows::btree::BTreeStore;

    struct InMemory;

    impl Backend for InMemory {
        fn open<K: Key>(
            &self,
            groups: KeyGroupRange,
            max_parallelism: u32,
            restore: Vec<RestoredKeyed>,
        ) -> Result<Keyed<K>, StateError> {
            Keyed::open(&BackendOptions { clock, ..BackendOptions::default() }, groups, max_parallelism, restore)
        }
    }

    struct OverRows;

    impl Backend for OverRows {
        fn open<K: Key>(
            &self,
            groups: KeyGroupRange,
            max_parallelism: u32,
            restore: Vec<RestoredKeyed>,
        ) -> Result<Keyed<K>, StateError> {
            let options = BackendOptions { clock, ..BackendOptions::default() };
            let store = BTreeStore::open(groups, max_parallelism, restore)?;
            Ok(Keyed::over(store, &options, groups, max_parallelism))
        }
    }

    #[test]
    fn state_in_memory_conforms() {
        check(&InMemory);
    }

    #[test]
    fn state_in_rows_conforms() {
        check(&OverRows);
    }

    #[test]
    fn what_one_backend_wrote_the_other_reads() {
        for (from, to) in [(true, false), (false, true)] {
            struct Alternating(Cell<bool>, bool);
            impl Backend for Alternating {
                fn open<K: Key>(
                    &self,
                    groups: KeyGroupRange,
                    max_parallelism: u32,
                    restore: Vec<RestoredKeyed>,
                ) -> Result<Keyed<K>, StateError> {
                    let in_memory = self.0.replace(self.1);
                    self.0.set(!in_memory);
                    match in_memory {
                        true => InMemory.open(groups, max_parallelism, restore),
                        false => OverRows.open(groups, max_parallelism, restore),
                    }
                }
            }
            check(&Alternating(Cell::new(from), to));
        }
    }

    mod random {
        use super::*;
        use proptest::prelude::*;

        proptest! {
            #[test]
            fn timers_in_a_snapshot_are_those_when_it_began(seed: u64) {
                timers::while_snapshots_walk(&InMemory, seed);
            }
        }

        proptest! {
            #![proptest_config(ProptestConfig::with_cases(64))]
            #[test]
            fn a_snapshot_is_what_there_was_when_it_began(seed: u64, steps in 1usize..1500) {
                simulate(&InMemory, seed, steps);
            }
        }
    }
}
