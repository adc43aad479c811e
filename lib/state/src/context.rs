//! What all states of one operator subtask share: the current key, the clock, the snapshots that are being taken.

use std::cell::{Cell, RefCell};
use std::hash::{BuildHasher, Hasher};

use flumen_model::checkpoint::KeyGroupRange;
use flumen_model::key_group::{key_group, key_hash};
use foldhash::fast::RandomState;

use crate::codec;
use crate::memory::Running;
use crate::options::BackendOptions;
use crate::traits::{Key, Namespace};

/// See the module.
pub(crate) struct Context<K> {
    current: RefCell<Option<K>>,
    /// Hash of the current key, for tables in memory.
    current_hash: Cell<u64>,
    /// Changes with each change of the current key.
    current_number: Cell<u64>,
    hasher: RandomState,
    /// Entries older than this are written to a snapshot before they change; 0 while no snapshot is being taken.
    pub(crate) cut: Cell<u32>,
    /// The newest snapshot that was ever begun: the version of new entries.
    pub(crate) latest: Cell<u32>,
    pub(crate) running: RefCell<Running>,
    clock: fn() -> i64,
    pub(crate) groups: KeyGroupRange,
    pub(crate) max_parallelism: u32,
}

impl<K: Key> Context<K> {
    pub(crate) fn new(options: &BackendOptions, groups: KeyGroupRange, max_parallelism: u32) -> Self {
        Self {
            current: RefCell::new(None),
            current_hash: Cell::new(0),
            current_number: Cell::new(0),
            hasher: RandomState::default(),
            cut: Cell::new(0),
            latest: Cell::new(0),
            running: RefCell::new(Running::default()),
            clock: options.clock,
            groups,
            max_parallelism,
        }
    }

    #[inline]
    pub(crate) fn set_current(&self, key: &K) {
        match &mut *self.current.borrow_mut() {
            Some(current) => current.clone_from(key),
            none => *none = Some(key.clone()),
        }
        self.current_changed(key);
    }

    #[inline]
    pub(crate) fn set_current_to(&self, key: K) {
        self.current_changed(&key);
        *self.current.borrow_mut() = Some(key);
    }

    #[inline]
    fn current_changed(&self, key: &K) {
        self.current_hash.set(self.hash_of(key));
        self.current_number.set(self.current_number.get().wrapping_add(1));
    }

    /// The hash that a key has as the current one.
    #[inline]
    pub(crate) fn hash_of(&self, key: &K) -> u64 {
        self.hasher.hash_one(key)
    }

    pub(crate) fn current(&self) -> &RefCell<Option<K>> {
        &self.current
    }

    /// Calls with the current key.
    ///
    /// # Panics
    /// There is none: the runtime sets one before it calls an operator's code.
    #[inline]
    pub(crate) fn with_current<R>(&self, f: impl FnOnce(&K) -> R) -> R {
        match &*self.current.borrow() {
            Some(key) => f(key),
            None => no_current_key(),
        }
    }

    #[inline]
    pub(crate) fn current_hash(&self) -> u64 {
        self.current_hash.get()
    }

    pub(crate) fn current_number(&self) -> u64 {
        self.current_number.get()
    }

    /// The hash of key and namespace. That of the namespace `()` is [`Self::current_hash`] for the current key.
    #[inline]
    pub(crate) fn hash<N: Namespace>(&self, key: &K, namespace: &N) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        key.hash(&mut hasher);
        namespace.hash(&mut hasher);
        hasher.finish()
    }

    #[inline]
    pub(crate) fn now(&self) -> i64 {
        (self.clock)()
    }

    /// Appends the key's bytes and says which group it belongs to.
    pub(crate) fn encode_key(&self, key: &K, bytes: &mut Vec<u8>) -> postcard::Result<u32> {
        let start = bytes.len();
        codec::encode(key, bytes)?;
        Ok(self.group_of(&bytes[start..]))
    }

    /// The group that a key's bytes belong to.
    #[inline]
    pub(crate) fn group_of(&self, key: &[u8]) -> u32 {
        key_group(key_hash(key), self.max_parallelism)
    }
}

#[cold]
#[inline(never)]
#[allow(clippy::panic, reason = "state without a key is a mistake of the program that no result can carry on from")]
fn no_current_key() -> ! {
    panic!("keyed state was used where there is no current key: use it in functions of a keyed stream only")
}
