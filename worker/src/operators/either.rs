//! Two inputs as one.

use serde::{Deserialize, Serialize};

use crate::keyed::{Key, KeySelector};

/// A record of one of two streams: an operator with two inputs has one input of this, so that everything between records
/// (watermarks, barriers, the end) is that of one input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Either<A, B> {
    /// Of the first.
    Left(A),
    /// Of the second.
    Right(B),
}

/// The keys of two streams that are connected: they have the same type.
#[derive(Clone)]
pub struct EitherKey<A, B>(pub A, pub B);

impl<A, B, K: Key, S1, S2> KeySelector<Either<A, B>> for EitherKey<S1, S2>
where
    S1: KeySelector<A, Key = K>,
    S2: KeySelector<B, Key = K>,
{
    type Key = K;
    const MAKES_KEYS: bool = S1::MAKES_KEYS && S2::MAKES_KEYS;

    #[inline]
    fn with_key<R>(&self, record: &Either<A, B>, use_key: impl FnOnce(&K) -> R) -> R {
        match record {
            Either::Left(record) => self.0.with_key(record, use_key),
            Either::Right(record) => self.1.with_key(record, use_key),
        }
    }

    #[inline]
    fn key(&self, record: &Either<A, B>) -> K {
        match record {
            Either::Left(record) => self.0.key(record),
            Either::Right(record) => self.1.key(record),
        }
    }
}

/// Takes the key from records that have one.
pub trait SomeKey<T>: Clone + Send + Sync + 'static {
    /// The key's type.
    type Key: Key;

    /// See [`KeySelector::MAKES_KEYS`].
    const MAKES_KEYS: bool;

    /// Calls `use_key` with the key, if the record has one.
    fn with_some_key(&self, record: &T, use_key: impl FnOnce(&Self::Key));

    /// The key as a value of its own, if the record has one.
    fn some_key(&self, record: &T) -> Option<Self::Key>;
}

impl<T, S: KeySelector<T>> SomeKey<T> for S {
    type Key = S::Key;
    const MAKES_KEYS: bool = S::MAKES_KEYS;

    #[inline]
    fn with_some_key(&self, record: &T, use_key: impl FnOnce(&S::Key)) {
        self.with_key(record, use_key);
    }

    #[inline]
    fn some_key(&self, record: &T) -> Option<S::Key> {
        Some(self.key(record))
    }
}

/// The keys of a stream that is connected with a broadcast one, which has none.
#[derive(Clone)]
pub struct LeftKey<S>(pub S);

impl<A, B, S: KeySelector<A>> SomeKey<Either<A, B>> for LeftKey<S> {
    type Key = S::Key;
    const MAKES_KEYS: bool = S::MAKES_KEYS;

    #[inline]
    fn with_some_key(&self, record: &Either<A, B>, use_key: impl FnOnce(&S::Key)) {
        if let Either::Left(record) = record {
            self.0.with_key(record, use_key);
        }
    }
    #[inline]
    fn some_key(&self, record: &Either<A, B>) -> Option<S::Key> {
        match record {
            Either::Left(record) => Some(self.0.key(record)),
            Either::Right(_) => None,
        }
    }
}
