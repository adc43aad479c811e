//! How a program asks for state: a name, the types, how long it lives.

use std::marker::PhantomData;

use crate::ttl::StateTtlConfig;

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
