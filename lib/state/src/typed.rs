//! A state with its types: what it looks like in bytes, and how older bytes become such ones.

use crate::error::{StateError, StateErrorKind};
use crate::memory::STAMP_BYTES;
use crate::meta::{StateKind, StateMeta};
use crate::schema::{self, Convert, Incompatible};
use crate::traits::{Key, Namespace, StateValue};
use crate::ttl::StateTtlConfig;

/// Of a state's name and an older schema.
type MakeConvert = fn(&str, &str) -> Result<Option<Box<Convert>>, Incompatible>;

/// See the module.
pub(crate) struct Typed {
    pub(crate) meta: StateMeta,
    /// Makes what turns values of an older schema into the type's own.
    convert: Option<MakeConvert>,
}

impl Typed {
    pub(crate) fn value<K: Key, N: Namespace, V: StateValue>(
        name: &str,
        ttl: Option<StateTtlConfig>,
    ) -> Result<Self, StateError> {
        let value = schema::of::<V>(name)?;
        Self::new::<K, N>(name, StateKind::Value, String::new(), value, ttl, Some(schema::converter::<V>))
    }

    pub(crate) fn list<K: Key, V: StateValue>(name: &str, ttl: Option<StateTtlConfig>) -> Result<Self, StateError> {
        let value = schema::of::<V>(name)?;
        Self::new::<K, ()>(name, StateKind::List, String::new(), value, ttl, Some(schema::converter::<V>))
    }

    pub(crate) fn map<K: Key, UK: Key, UV: StateValue>(
        name: &str,
        ttl: Option<StateTtlConfig>,
    ) -> Result<Self, StateError> {
        let (user_key, value) = (schema::of::<UK>(name)?, schema::of::<UV>(name)?);
        Self::new::<K, ()>(name, StateKind::Map, user_key, value, ttl, Some(schema::converter::<UV>))
    }

    pub(crate) fn timers<K: Key, N: Namespace>(name: &str) -> Result<Self, StateError> {
        Self::new::<K, N>(name, StateKind::Timers, String::new(), String::new(), None, None)
    }

    fn new<K: Key, N: Namespace>(
        name: &str,
        kind: StateKind,
        user_key: String,
        value: String,
        ttl: Option<StateTtlConfig>,
        convert: Option<MakeConvert>,
    ) -> Result<Self, StateError> {
        let (key, namespace) = (schema::of::<K>(name)?, schema::of::<N>(name)?);
        let meta = StateMeta { name: name.to_owned(), kind, key, namespace, user_key, value, ttl };
        Ok(Self { meta, convert })
    }

    /// What turns values of rows that were written with that meta into this state's.
    pub(crate) fn converter(&self, written: &StateMeta) -> Result<RowConverter, Incompatible> {
        let StateMeta { name, kind, key, namespace, user_key, value, ttl } = &self.meta;
        if written.kind != *kind {
            let what = format!("it was written as {:?} state and is now {:?} state", written.kind, kind);
            return Err(Incompatible::new(name, "", what));
        }
        for (what, old, new) in [
            ("key", &written.key, key),
            ("namespace", &written.namespace, namespace),
            ("map key", &written.user_key, user_key),
        ] {
            schema::check_equal(name, what, old, new)?;
        }
        let convert = match self.convert {
            Some(convert) if written.value != *value => convert(name, &written.value)?,
            _ => None,
        };
        Ok(RowConverter { kind: *kind, was_stamped: written.ttl.is_some(), is_stamped: ttl.is_some(), convert })
    }
}

/// Turns values of rows into those of another schema, with or without the time of their last use.
pub(crate) struct RowConverter {
    kind: StateKind,
    was_stamped: bool,
    is_stamped: bool,
    convert: Option<Box<Convert>>,
}

/// Why a row was not taken.
pub(crate) enum RowError {
    Damaged(postcard::Error),
    Refused(StateError),
}

impl RowError {
    pub(crate) fn or_damaged(self, damaged: impl FnOnce(postcard::Error) -> StateError) -> StateError {
        match self {
            Self::Damaged(error) => damaged(error),
            Self::Refused(error) => error,
        }
    }
}

impl From<postcard::Error> for RowError {
    fn from(error: postcard::Error) -> Self {
        Self::Damaged(error)
    }
}

impl From<StateErrorKind> for RowError {
    fn from(error: StateErrorKind) -> Self {
        Self::Refused(error.into())
    }
}

impl RowConverter {
    /// Whether values stay what they are.
    pub(crate) fn is_identity(&self) -> bool {
        self.was_stamped == self.is_stamped && self.convert.is_none()
    }

    /// Whether the values of rows stay what they are.
    pub(crate) fn keeps_values(&self) -> bool {
        self.is_identity() || self.kind == StateKind::Timers
    }

    /// Calls with the value as it has to be now.
    pub(crate) fn value(
        &self,
        value: &[u8],
        now_ms: i64,
        take: impl FnOnce(&[u8]) -> postcard::Result<()>,
    ) -> Result<(), RowError> {
        if self.keeps_values() {
            return Ok(take(value)?);
        }
        let mut converted = Vec::with_capacity(value.len() + STAMP_BYTES);
        if self.kind == StateKind::List {
            let mut rest = value;
            let mut item = Vec::new();
            while !rest.is_empty() {
                let old = crate::codec::take_bytes(&mut rest).ok_or(postcard::Error::DeserializeUnexpectedEnd)?;
                item.clear();
                self.one(old, now_ms, &mut item)?;
                crate::codec::put_bytes(&item, &mut converted);
            }
        } else {
            self.one(value, now_ms, &mut converted)?;
        }
        Ok(take(&converted)?)
    }

    fn one(&self, mut old: &[u8], now_ms: i64, new: &mut Vec<u8>) -> Result<(), RowError> {
        let mut stamp = now_ms.to_le_bytes();
        if self.was_stamped {
            (stamp, old) = match old.split_first_chunk() {
                Some((stamp, rest)) => (*stamp, rest),
                None => return Err(postcard::Error::DeserializeUnexpectedEnd.into()),
            };
        }
        if self.is_stamped {
            new.extend_from_slice(&stamp);
        }
        match &self.convert {
            None => new.extend_from_slice(old),
            Some(convert) => convert(old, new).map_err(RowError::Refused)?,
        }
        Ok(())
    }
}
