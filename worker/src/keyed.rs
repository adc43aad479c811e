//! Keys: how they are taken from records and which subtask owns them.

use std::hash::Hash;
use std::marker::PhantomData;

use flumen_model::key_group::{key_group, key_hash, subtask_of};
use flumen_state::Keyed;

use crate::exchange::codec;
use crate::exchange::writer::Route;
use crate::operator::{Data, TaskResult};
use crate::operators::either::SomeKey;

/// A type whose values can be keys. The serialised form decides the key group, so equal keys must serialise equally.
pub trait Key: Data + Hash + Eq {}
impl<K: Data + Hash + Eq> Key for K {}

/// Takes the key from a record.
pub trait KeySelector<T>: Clone + Send + Sync + 'static {
    /// The key's type.
    type Key: Key;

    /// Whether every key is made anew: worth keeping when it is needed twice.
    const MAKES_KEYS: bool;

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
    const MAKES_KEYS: bool = true;

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
    const MAKES_KEYS: bool = false;

    #[inline]
    fn with_key<R>(&self, record: &T, use_key: impl FnOnce(&K) -> R) -> R {
        use_key((self.0)(record))
    }

    #[inline]
    fn key(&self, record: &T) -> K {
        (self.0)(record).clone()
    }
}

/// The keys of a batch's records: its operator looks at all of them before it works on the first record, so that the state
/// that belongs to them is there when it is needed.
pub(crate) struct BatchKeys<K> {
    /// Those that had to be made, the last record's first.
    made: Vec<Option<K>>,
}

impl<K: Key> BatchKeys<K> {
    pub(crate) fn new() -> Self {
        Self { made: Vec::new() }
    }

    /// Looks at the keys of all records of a batch.
    #[inline]
    pub(crate) fn look_ahead<T, S: SomeKey<T, Key = K>>(&mut self, keyed: &mut Keyed<K>, selector: &S, records: &[T]) {
        let Some(mut ahead) = keyed.look_ahead() else { return };
        if S::MAKES_KEYS {
            self.made.extend(records.iter().rev().map(|record| {
                let key = selector.some_key(record);
                key.iter().for_each(|key| ahead.add(key));
                key
            }));
        } else {
            records.iter().for_each(|record| selector.with_some_key(record, |key| ahead.add(key)));
        }
        ahead.fetch();
    }

    /// Makes the key of the batch's next record the current one, if it has one.
    #[inline]
    pub(crate) fn set_current<T, S: SomeKey<T, Key = K>>(&mut self, keyed: &mut Keyed<K>, selector: &S, record: &T) {
        if S::MAKES_KEYS
            && let Some(made) = self.made.pop()
        {
            made.into_iter().for_each(|key| keyed.set_current_key_to(key));
        } else {
            selector.with_some_key(record, |key| keyed.set_current_key(key));
        }
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
    use crate::operators::either::{Either, EitherKey, LeftKey};

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

    type Record = Either<(String, u64), u64>;

    /// Looks at the keys of some records, then goes through them: whether each became current that has one.
    fn becomes_current<S: SomeKey<Record, Key = String>>(keyed: &mut Keyed<String>, selector: &S, records: &[Record]) {
        let mut keys = BatchKeys::new();
        keys.look_ahead(keyed, selector, records);
        let mut expected = keyed.current_key().map(|key| key.clone());
        for record in records {
            keys.set_current(keyed, selector, record);
            if let Either::Left((key, _)) = record {
                expected = Some(key.clone());
            }
            assert_eq!(keyed.current_key().map(|key| key.clone()), expected);
        }
        assert!(keys.made.is_empty(), "keys are left for the next batch");
    }

    #[test]
    fn each_record_makes_its_own_key_the_current_one_whether_keys_were_looked_at_before_or_not() {
        let groups = flumen_model::checkpoint::KeyGroupRange { start: 0, end: 128 };
        let mut keyed = Keyed::<String>::open(&Default::default(), groups, 128, vec![]).unwrap();
        let count = keyed.value(flumen_state::ValueStateDescriptor::<u64>::new("count")).unwrap();
        let records: Vec<Record> = (0..1000)
            .map(|i| if i % 7 == 3 { Either::Right(i) } else { Either::Left(((i * 37 % 400).to_string(), i)) })
            .collect();
        let left: Vec<Record> = records.iter().filter(|record| matches!(record, Either::Left(_))).cloned().collect();
        let owned = || OwnedKey::<_, String>::new(|t: &(String, u64)| t.0.clone());
        let borrowed = || BorrowedKey::<_, String>::new(|t: &(String, u64)| &t.0);
        let number = || OwnedKey::<_, String>::new(|n: &u64| n.to_string());
        for large in [false, true] {
            assert_eq!(keyed.look_ahead().is_some(), large);
            becomes_current(&mut keyed, &LeftKey(owned()), &records);
            becomes_current(&mut keyed, &LeftKey(borrowed()), &records);
            becomes_current(&mut keyed, &EitherKey(owned(), number()), &left);
            becomes_current(&mut keyed, &EitherKey(borrowed(), number()), &left);
            for key in 0..100_000 {
                keyed.set_current_key(&format!("another {key}"));
                count.set(key).unwrap();
            }
        }
    }
}
