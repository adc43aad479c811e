//! What a table keeps for a key and namespace, and how that becomes rows of a snapshot.

use std::hash::Hash;
use std::marker::PhantomData;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::canonical::SmallParts;
use crate::codec;
use crate::traits::{Key, StateValue};
use crate::ttl::StateTtlConfig;

/// See the module.
pub(crate) trait Shape: 'static {
    /// What is kept.
    type Stored: 'static;

    /// Whether each entry has one row.
    const ONE_ROW: bool = true;

    /// Calls with user key and value of each row.
    fn rows(stored: &Self::Stored, each: &mut impl FnMut(&[u8], &[u8]), bytes: &mut Scratch) -> postcard::Result<()>;

    /// Writes user key and value of its only row; `None` when there may be several rows, or the row is long.
    #[inline]
    fn small_row(_stored: &Self::Stored, _parts: &mut SmallParts<'_>) -> Option<()> {
        None
    }

    /// Adds a row to what was read so far.
    fn read(stored: &mut Option<Self::Stored>, user_key: &[u8], value: &[u8]) -> postcard::Result<()>;

    /// Drops what is expired; true when nothing is left.
    fn expire(_stored: &mut Self::Stored, _ttl: &StateTtlConfig, _now_ms: i64) -> bool {
        false
    }
}

/// Buffers that are used again.
#[derive(Default)]
pub(crate) struct Scratch {
    pub(crate) user_key: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

/// A value with the time of its last use.
#[derive(Clone)]
pub(crate) struct Stamped<V> {
    pub(crate) used_ms: i64,
    pub(crate) value: V,
}

/// Bytes of a stamp in a row.
pub(crate) const STAMP_BYTES: usize = 8;

impl<V: Serialize + DeserializeOwned> Stamped<V> {
    pub(crate) fn encode(&self, bytes: &mut Vec<u8>) -> postcard::Result<()> {
        bytes.extend_from_slice(&self.used_ms.to_le_bytes());
        codec::encode(&self.value, bytes)
    }

    pub(crate) fn decode(bytes: &[u8]) -> postcard::Result<Self> {
        let (stamp, value) = bytes.split_first_chunk().ok_or(postcard::Error::DeserializeUnexpectedEnd)?;
        Ok(Self { used_ms: i64::from_le_bytes(*stamp), value: codec::decode(value)? })
    }
}

/// One value.
pub(crate) struct Plain<V>(PhantomData<V>);

impl<V: StateValue> Shape for Plain<V> {
    type Stored = V;

    #[inline]
    fn rows(stored: &V, each: &mut impl FnMut(&[u8], &[u8]), bytes: &mut Scratch) -> postcard::Result<()> {
        bytes.value.clear();
        codec::encode(stored, &mut bytes.value)?;
        each(&[], &bytes.value);
        Ok(())
    }

    #[inline]
    fn small_row(stored: &V, parts: &mut SmallParts<'_>) -> Option<()> {
        parts.bytes(&[])?;
        parts.part(stored)
    }

    fn read(stored: &mut Option<V>, _: &[u8], value: &[u8]) -> postcard::Result<()> {
        *stored = Some(codec::decode(value)?);
        Ok(())
    }
}

/// One value that expires.
pub(crate) struct StampedValue<V>(PhantomData<V>);

impl<V: StateValue> Shape for StampedValue<V> {
    type Stored = Stamped<V>;

    fn rows(stored: &Stamped<V>, each: &mut impl FnMut(&[u8], &[u8]), bytes: &mut Scratch) -> postcard::Result<()> {
        bytes.value.clear();
        stored.encode(&mut bytes.value)?;
        each(&[], &bytes.value);
        Ok(())
    }

    #[inline]
    fn small_row(stored: &Stamped<V>, parts: &mut SmallParts<'_>) -> Option<()> {
        parts.bytes(&[])?;
        parts.part_behind(&stored.used_ms.to_le_bytes(), &stored.value)
    }

    fn read(stored: &mut Option<Stamped<V>>, _: &[u8], value: &[u8]) -> postcard::Result<()> {
        *stored = Some(Stamped::decode(value)?);
        Ok(())
    }

    fn expire(stored: &mut Stamped<V>, ttl: &StateTtlConfig, now_ms: i64) -> bool {
        ttl.expired(stored.used_ms, now_ms)
    }
}

/// A list. Its row is each item's length and bytes, one after another: rows of one key can be joined by appending.
pub(crate) struct ListOf<V>(PhantomData<V>);

impl<V: StateValue> Shape for ListOf<V> {
    type Stored = Vec<V>;

    fn rows(stored: &Vec<V>, each: &mut impl FnMut(&[u8], &[u8]), bytes: &mut Scratch) -> postcard::Result<()> {
        bytes.value.clear();
        for item in stored {
            bytes.user_key.clear();
            codec::encode(item, &mut bytes.user_key)?;
            codec::put_bytes(&bytes.user_key, &mut bytes.value);
        }
        each(&[], &bytes.value);
        Ok(())
    }

    fn read(stored: &mut Option<Vec<V>>, _: &[u8], value: &[u8]) -> postcard::Result<()> {
        let items = stored.get_or_insert_default();
        each_item(value, |item| {
            items.push(codec::decode(item)?);
            Ok(())
        })
    }
}

/// A list whose items expire one by one.
pub(crate) struct StampedList<V>(PhantomData<V>);

impl<V: StateValue> Shape for StampedList<V> {
    type Stored = Vec<Stamped<V>>;

    fn rows(stored: &Self::Stored, each: &mut impl FnMut(&[u8], &[u8]), bytes: &mut Scratch) -> postcard::Result<()> {
        bytes.value.clear();
        for item in stored {
            bytes.user_key.clear();
            item.encode(&mut bytes.user_key)?;
            codec::put_bytes(&bytes.user_key, &mut bytes.value);
        }
        each(&[], &bytes.value);
        Ok(())
    }

    fn read(stored: &mut Option<Self::Stored>, _: &[u8], value: &[u8]) -> postcard::Result<()> {
        let items = stored.get_or_insert_default();
        each_item(value, |item| {
            items.push(Stamped::decode(item)?);
            Ok(())
        })
    }

    fn expire(stored: &mut Self::Stored, ttl: &StateTtlConfig, now_ms: i64) -> bool {
        stored.retain(|item| !ttl.expired(item.used_ms, now_ms));
        stored.is_empty()
    }
}

/// Calls with the bytes of each item of a list's row.
pub(crate) fn each_item(mut value: &[u8], mut each: impl FnMut(&[u8]) -> postcard::Result<()>) -> postcard::Result<()> {
    while !value.is_empty() {
        each(codec::take_bytes(&mut value).ok_or(postcard::Error::DeserializeUnexpectedEnd)?)?;
    }
    Ok(())
}

/// A map of the user, as one value: a key's entries are read and dropped together.
pub(crate) type UserMap<UK, UV> = HashMap<UK, UV, RandomState>;

/// A map: a row for each of its entries.
pub(crate) struct MapOf<UK, UV>(PhantomData<(UK, UV)>);

impl<UK: Key, UV: StateValue> Shape for MapOf<UK, UV> {
    type Stored = UserMap<UK, UV>;
    const ONE_ROW: bool = false;

    fn rows(stored: &Self::Stored, each: &mut impl FnMut(&[u8], &[u8]), bytes: &mut Scratch) -> postcard::Result<()> {
        map_rows(stored, each, bytes, codec::encode)
    }

    fn read(stored: &mut Option<Self::Stored>, user_key: &[u8], value: &[u8]) -> postcard::Result<()> {
        stored.get_or_insert_default().insert(codec::decode(user_key)?, codec::decode(value)?);
        Ok(())
    }
}

/// A map whose entries expire one by one.
pub(crate) struct StampedMap<UK, UV>(PhantomData<(UK, UV)>);

impl<UK: Key, UV: StateValue> Shape for StampedMap<UK, UV> {
    type Stored = UserMap<UK, Stamped<UV>>;
    const ONE_ROW: bool = false;

    fn rows(stored: &Self::Stored, each: &mut impl FnMut(&[u8], &[u8]), bytes: &mut Scratch) -> postcard::Result<()> {
        map_rows(stored, each, bytes, Stamped::encode)
    }

    fn read(stored: &mut Option<Self::Stored>, user_key: &[u8], value: &[u8]) -> postcard::Result<()> {
        stored.get_or_insert_default().insert(codec::decode(user_key)?, Stamped::decode(value)?);
        Ok(())
    }

    fn expire(stored: &mut Self::Stored, ttl: &StateTtlConfig, now_ms: i64) -> bool {
        stored.retain(|_, value| !ttl.expired(value.used_ms, now_ms));
        stored.is_empty()
    }
}

fn map_rows<UK: Hash + Eq + Serialize, UV>(
    map: &UserMap<UK, UV>,
    each: &mut impl FnMut(&[u8], &[u8]),
    bytes: &mut Scratch,
    encode: impl Fn(&UV, &mut Vec<u8>) -> postcard::Result<()>,
) -> postcard::Result<()> {
    for (key, value) in map {
        bytes.user_key.clear();
        codec::encode(key, &mut bytes.user_key)?;
        bytes.value.clear();
        encode(value, &mut bytes.value)?;
        each(&bytes.user_key, &bytes.value);
    }
    Ok(())
}
