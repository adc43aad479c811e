//! What types must be able to do to be keys, namespaces or values of state.

use std::hash::Hash;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A type whose values can be keys. The serialised form decides the key group, so equal keys must serialise equally.
pub trait Key: Clone + Hash + Eq + Serialize + DeserializeOwned + 'static {}
impl<K: Clone + Hash + Eq + Serialize + DeserializeOwned + 'static> Key for K {}

/// A second part of the key, such as a window.
pub trait Namespace: Clone + Hash + Eq + Serialize + DeserializeOwned + 'static {}
impl<N: Clone + Hash + Eq + Serialize + DeserializeOwned + 'static> Namespace for N {}

/// A type whose values can be kept.
pub trait StateValue: Clone + Serialize + DeserializeOwned + 'static {}
impl<V: Clone + Serialize + DeserializeOwned + 'static> StateValue for V {}
