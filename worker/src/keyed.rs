//! Keys: how they are taken from records and which subtask owns them.

use std::hash::Hash;
use std::marker::PhantomData;

use flumen_model::key_group::{key_group, key_hash, subtask_of};

use crate::exchange::codec;
use crate::exchange::writer::Route;
use crate::operator::{Data, TaskResult};

/// A type whose values can be keys. The serialised form decides the key group, so equal keys must serialise equally.
pub trait Key: Data + Hash + Eq {}
impl<K: Data + Hash + Eq> Key for K {}

/// Takes the key from a record.
pub trait KeySelector<T>: Clone + Send + Sync + 'static {
    /// The key's type.
    type Key: Key;

    /// Calls `use_key` with the key, without cloning it where the selector only borrows it.
    fn with_key<R>(&self, record: &T, use_key: impl FnOnce(&Self::Key) -> R) -> R;

    /// The key as a value of its own.
    fn key(&self, record: &T) -> Self::Key;
}

/// A selector that makes the key: `|t| t.0.clone()`.
pub struct OwnedKey<F, K>(F, PhantomData<fn() -> K>);

impl<F, K> OwnedKey<F, K> {
    /// Wraps the function.
    pub fn new<T>(select: F) -> Self
    where
        F: Fn(&T) -> K,
    {
        Self(select, PhantomData)
    }
}

impl<F: Clone, K> Clone for OwnedKey<F, K> {
    fn clone(&self) -> Self {
        Self(self.0.clone(), PhantomData)
    }
}

impl<T, K: Key, F: Fn(&T) -> K + Clone + Send + Sync + 'static> KeySelector<T> for OwnedKey<F, K> {
    type Key = K;

    #[inline]
    fn with_key<R>(&self, record: &T, use_key: impl FnOnce(&K) -> R) -> R {
        use_key(&(self.0)(record))
    }

    #[inline]
    fn key(&self, record: &T) -> K {
        (self.0)(record)
    }
}

/// A selector that points at the key in the record: `|t| &t.0`. It clones a key only when it is seen for the first time.
pub struct BorrowedKey<F, K>(F, PhantomData<fn() -> K>);

impl<F, K> BorrowedKey<F, K> {
    /// Wraps the function.
    pub fn new<T>(select: F) -> Self
    where
        F: Fn(&T) -> &K,
    {
        Self(select, PhantomData)
    }
}

impl<F: Clone, K> Clone for BorrowedKey<F, K> {
    fn clone(&self) -> Self {
        Self(self.0.clone(), PhantomData)
    }
}

impl<T, K: Key, F: Fn(&T) -> &K + Clone + Send + Sync + 'static> KeySelector<T> for BorrowedKey<F, K> {
    type Key = K;

    #[inline]
    fn with_key<R>(&self, record: &T, use_key: impl FnOnce(&K) -> R) -> R {
        use_key((self.0)(record))
    }

    #[inline]
    fn key(&self, record: &T) -> K {
        (self.0)(record).clone()
    }
}

/// Key → serialised → hash → key group → subtask.
pub struct ByKeyGroup<S> {
    selector: S,
    max_parallelism: u32,
    serialized: Vec<u8>,
}

impl<S> ByKeyGroup<S> {
    /// A router for a target vertex with that many key groups.
    pub fn new(selector: S, max_parallelism: u32) -> Self {
        Self { selector, max_parallelism, serialized: Vec::new() }
    }
}

impl<T, S: KeySelector<T>> Route<T> for ByKeyGroup<S> {
    #[inline]
    fn route(&mut self, record: &T, channels: usize) -> TaskResult<usize> {
        if channels == 1 {
            return Ok(0);
        }
        self.serialized.clear();
        self.selector.with_key(record, |key| codec::encode(key, &mut self.serialized))?;
        let group = key_group(key_hash(&self.serialized), self.max_parallelism);
        Ok(subtask_of(group, channels as u32, self.max_parallelism) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owned_and_borrowed_keys_lead_to_the_same_subtask() {
        let mut owned = ByKeyGroup::new(OwnedKey::<_, String>::new(|t: &(String, u64)| t.0.clone()), 128);
        let mut borrowed = ByKeyGroup::new(BorrowedKey::<_, String>::new(|t: &(String, u64)| &t.0), 128);
        let mut used = std::collections::BTreeSet::new();
        for word in ["to", "be", "or", "not", "that", "is", "the", "question", "é", ""] {
            let record = (word.to_owned(), 1);
            let channel = owned.route(&record, 4).unwrap();
            assert_eq!(channel, borrowed.route(&record, 4).unwrap(), "{word}");
            used.insert(channel);
        }
        assert!(used.len() > 1, "all words went to one subtask");
    }
}
