//! A map that is the same in all subtasks, because all see the same elements of the broadcast side.

use std::cell::RefCell;
use std::rc::Rc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::codec;
use crate::traits::{Key, StateValue};

use super::Items;

/// Broadcast state of one subtask. A cheap clone of a handle. Change it only from elements of the broadcast side: else the
/// subtasks differ, and a restore keeps what one of them had.
pub struct BroadcastState<K, V>(Rc<RefCell<HashMap<K, V, RandomState>>>);

impl<K, V> Clone for BroadcastState<K, V> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<K: Key, V: StateValue> BroadcastState<K, V> {
    pub(super) fn new(entries: Vec<(K, V)>) -> Self {
        Self(Rc::new(RefCell::new(entries.into_iter().collect())))
    }

    pub(super) fn items(&self) -> Rc<dyn Items> {
        Rc::clone(&self.0) as Rc<dyn Items>
    }

    /// The value of a key.
    pub fn get(&self, key: &K) -> Option<V> {
        self.0.borrow().get(key).cloned()
    }

    /// Looks at the value of a key.
    pub fn with<R>(&self, key: &K, f: impl FnOnce(Option<&V>) -> R) -> R {
        f(self.0.borrow().get(key))
    }

    /// Whether there is such a key.
    pub fn contains(&self, key: &K) -> bool {
        self.0.borrow().contains_key(key)
    }

    /// Sets the value of a key.
    pub fn put(&self, key: K, value: V) {
        self.0.borrow_mut().insert(key, value);
    }

    /// Forgets a key.
    pub fn remove(&self, key: &K) {
        self.0.borrow_mut().remove(key);
    }

    /// Looks at each entry, in no particular order.
    pub fn for_each(&self, mut f: impl FnMut(&K, &V)) {
        self.0.borrow().iter().for_each(|(key, value)| f(key, value));
    }

    /// The entries, in no particular order.
    pub fn entries(&self) -> Vec<(K, V)> {
        self.0.borrow().iter().map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// Forgets all entries.
    pub fn clear(&self) {
        self.0.borrow_mut().clear();
    }
}

impl<K: Key, V: StateValue> Items for RefCell<HashMap<K, V, RandomState>> {
    fn encode(&self, bytes: &mut Vec<u8>, ends: &mut Vec<u64>) -> postcard::Result<()> {
        self.borrow().iter().try_for_each(|entry| {
            codec::encode(&entry, bytes)?;
            ends.push(bytes.len() as u64);
            Ok(())
        })
    }

    fn type_name(&self) -> &'static str {
        std::any::type_name::<(K, V)>()
    }
}
