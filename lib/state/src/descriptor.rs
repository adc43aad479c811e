//! How a program asks for state: a name, the types, how long it lives.

use std::marker::PhantomData;

use crate::StateMeta;
use crate::aggregate::AggregateFunction;
use crate::error::StateError;
use crate::schema::Incompatible;
use crate::traits::{Key, Namespace, StateValue};
use crate::ttl::StateTtlConfig;
use crate::typed::Typed;

macro_rules! descriptor {
    ($(#[$doc:meta])* $name:ident<$($type:ident),+>) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name<$($type),+> {
            pub(crate) name: String,
            pub(crate) ttl: Option<StateTtlConfig>,
            #[allow(clippy::type_complexity, reason = "one marker for all types")]
            types: PhantomData<fn() -> ($($type,)+)>,
        }

        impl<$($type),+> $name<$($type),+> {
            /// State of that name: unique in its operator, and how it is found again in a snapshot.
            pub fn new(name: impl Into<String>) -> Self {
                Self { name: name.into(), ttl: None, types: PhantomData }
            }

            /// It is forgotten some time after its last use.
            pub fn with_ttl(mut self, ttl: StateTtlConfig) -> Self {
                self.ttl = Some(ttl);
                self
            }
        }

        impl<$($type),+> Clone for $name<$($type),+> {
            fn clone(&self) -> Self {
                Self { name: self.name.clone(), ttl: self.ttl, types: PhantomData }
            }
        }
    };
}

descriptor! {
    /// One value per key.
    ValueStateDescriptor<V>
}
descriptor! {
    /// A list per key.
    ListStateDescriptor<V>
}
descriptor! {
    /// A map per key.
    MapStateDescriptor<UK, UV>
}

/// One value per key, into which others are folded by a function.
#[derive(Debug, Clone)]
pub struct ReducingStateDescriptor<V, F> {
    pub(crate) value: ValueStateDescriptor<V>,
    pub(crate) reduce: F,
}

impl<V, F: Fn(V, V) -> V> ReducingStateDescriptor<V, F> {
    /// State of that name; `reduce(so far, added)`.
    pub fn new(name: impl Into<String>, reduce: F) -> Self {
        Self { value: ValueStateDescriptor::new(name), reduce }
    }

    /// It is forgotten some time after its last use.
    pub fn with_ttl(mut self, ttl: StateTtlConfig) -> Self {
        self.value = self.value.with_ttl(ttl);
        self
    }
}

/// One accumulator per key, to which values are added by an [`AggregateFunction`](crate::AggregateFunction).
#[derive(Debug, Clone)]
pub struct AggregatingStateDescriptor<A> {
    pub(crate) name: String,
    pub(crate) ttl: Option<StateTtlConfig>,
    pub(crate) function: A,
}

impl<A> AggregatingStateDescriptor<A> {
    /// State of that name.
    pub fn new(name: impl Into<String>, function: A) -> Self {
        Self { name: name.into(), ttl: None, function }
    }

    /// It is forgotten some time after its last use.
    pub fn with_ttl(mut self, ttl: StateTtlConfig) -> Self {
        self.ttl = Some(ttl);
        self
    }
}

/// Values by key and namespace.
#[derive(Debug)]
pub struct TableDescriptor<V> {
    pub(crate) name: String,
    types: PhantomData<fn() -> V>,
}

impl<V> TableDescriptor<V> {
    /// A table of that name.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), types: PhantomData }
    }
}

impl<V> Clone for TableDescriptor<V> {
    fn clone(&self) -> Self {
        Self::new(self.name.clone())
    }
}

/// What a program's state looks like, and whether what a snapshot has can be read as it. Known without a running job.
pub struct StateDescription(Typed);

impl StateDescription {
    /// Timers of that name.
    ///
    /// # Errors
    /// See [`ValueStateDescriptor::describe`].
    pub fn timers<K: Key, N: Namespace>(name: &str) -> Result<Self, StateError> {
        Typed::timers::<K, N>(name).map(Self)
    }

    /// Name, kind and schemas; [`StateMeta::to_text`] is what a checkpoint's metadata keeps.
    pub fn meta(&self) -> &StateMeta {
        &self.0.meta
    }

    /// Checks the text of an older [`StateMeta`] of that name.
    ///
    /// # Errors
    /// It can't be read as this one; names state and field.
    pub fn check(&self, written: &str) -> Result<(), Incompatible> {
        let name = &self.0.meta.name;
        let written: StateMeta = serde_json::from_str(written).map_err(|error| {
            Incompatible::new(name, "", format!("its description in the snapshot can't be read: {error}"))
        })?;
        self.0.converter(&written).map(drop)
    }
}

impl<V: StateValue> ValueStateDescriptor<V> {
    /// What the state looks like in a stream with such keys.
    ///
    /// # Errors
    /// A type can't be state.
    pub fn describe<K: Key>(&self) -> Result<StateDescription, StateError> {
        Typed::value::<K, (), V>(&self.name, self.ttl).map(StateDescription)
    }
}

impl<V: StateValue> ListStateDescriptor<V> {
    /// See [`ValueStateDescriptor::describe`].
    ///
    /// # Errors
    /// As there.
    pub fn describe<K: Key>(&self) -> Result<StateDescription, StateError> {
        Typed::list::<K, V>(&self.name, self.ttl).map(StateDescription)
    }
}

impl<UK: Key, UV: StateValue> MapStateDescriptor<UK, UV> {
    /// See [`ValueStateDescriptor::describe`].
    ///
    /// # Errors
    /// As there.
    pub fn describe<K: Key>(&self) -> Result<StateDescription, StateError> {
        Typed::map::<K, UK, UV>(&self.name, self.ttl).map(StateDescription)
    }
}

impl<V: StateValue, F> ReducingStateDescriptor<V, F> {
    /// See [`ValueStateDescriptor::describe`].
    ///
    /// # Errors
    /// As there.
    pub fn describe<K: Key>(&self) -> Result<StateDescription, StateError> {
        self.value.describe::<K>()
    }
}

impl<A: AggregateFunction> AggregatingStateDescriptor<A> {
    /// See [`ValueStateDescriptor::describe`].
    ///
    /// # Errors
    /// As there.
    pub fn describe<K: Key>(&self) -> Result<StateDescription, StateError> {
        Typed::value::<K, (), A::Acc>(&self.name, self.ttl).map(StateDescription)
    }
}

impl<V: StateValue> TableDescriptor<V> {
    /// See [`ValueStateDescriptor::describe`].
    ///
    /// # Errors
    /// As there.
    pub fn describe<K: Key, N: Namespace>(&self) -> Result<StateDescription, StateError> {
        Typed::value::<K, N, V>(&self.name, None).map(StateDescription)
    }
}
