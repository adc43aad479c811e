//! A row of few bytes, put together in one place of a fixed size: most rows of snapshots are.
//!
//! Its parts are serialised next to each other, and a chunk takes it with a copy whose length the compiler knows. Going
//! through buffers, part by part, costs several times as much.

use serde::Serialize;

use super::room::Room;

/// Longer rows are written part by part.
const BYTES: usize = 64;

/// See the module. All its lengths are below 128, so that each is one byte.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SmallRow {
    bytes: [u8; BYTES],
    length: u8,
    key_length: u8,
}

impl Default for SmallRow {
    /// None yet.
    fn default() -> Self {
        Self { bytes: [0; BYTES], length: 0, key_length: 0 }
    }
}

impl SmallRow {
    /// Becomes the row of a key and namespace; `rest` writes user key and value behind them. False, and empty, when it is
    /// longer than there is room, or can't be serialised.
    #[inline]
    pub(crate) fn fill<K: Serialize, N: Serialize>(
        &mut self,
        key: &K,
        namespace: &N,
        rest: impl FnOnce(&mut SmallParts<'_>) -> Option<()>,
    ) -> bool {
        let mut parts = SmallParts { bytes: &mut self.bytes, at: 0 };
        let filled = (|| {
            parts.part(key)?;
            let key_length = parts.bytes[0];
            parts.part(namespace)?;
            rest(&mut parts)?;
            Some((parts.at as u8, key_length))
        })();
        (self.length, self.key_length) = filled.unwrap_or_default();
        filled.is_some()
    }

    /// Whether there is none.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The key's bytes.
    #[inline]
    pub(crate) fn key(&self) -> &[u8] {
        &self.bytes[1..][..usize::from(self.key_length)]
    }

    /// Appends the whole row.
    #[inline]
    pub(crate) fn append_to(&self, bytes: &mut Vec<u8>) {
        let end = bytes.len() + usize::from(self.length);
        bytes.extend_from_slice(&self.bytes);
        bytes.truncate(end);
    }
}

/// The parts of a [`SmallRow`], each behind its length.
pub(crate) struct SmallParts<'a> {
    bytes: &'a mut [u8; BYTES],
    at: usize,
}

impl SmallParts<'_> {
    /// Adds a value.
    #[inline]
    pub(crate) fn part<T: Serialize>(&mut self, value: &T) -> Option<()> {
        self.part_behind(&[], value)
    }

    /// Adds a value that stands directly behind some bytes.
    #[inline]
    pub(crate) fn part_behind<T: Serialize>(&mut self, before: &[u8], value: &T) -> Option<()> {
        let (length, rest) = self.bytes.get_mut(self.at..)?.split_first_mut()?;
        let mut room = Room::new(rest);
        room.extend(before).ok()?;
        value.serialize(&mut room).ok()?;
        let count = room.filled();
        *length = count as u8;
        self.at += 1 + count;
        Some(())
    }

    /// Adds bytes.
    #[inline]
    pub(crate) fn bytes(&mut self, part: &[u8]) -> Option<()> {
        self.part_behind(part, &())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_row_is_the_same_as_part_by_part_or_left_to_that(
            key in any::<(u64, String)>(), namespace in any::<Option<u32>>(), stamp in any::<[u8; 8]>(), value in any::<Vec<u64>>(),
        ) {
            let mut expected = Vec::new();
            let mut bytes = Vec::new();
            let mut key_bytes = Vec::new();
            codec::encode(&key, &mut key_bytes).unwrap();
            codec::put_bytes(&key_bytes, &mut expected);
            codec::encode(&namespace, &mut bytes).unwrap();
            codec::put_bytes(&bytes, &mut expected);
            codec::put_bytes(&stamp, &mut expected);
            bytes.clear();
            bytes.extend_from_slice(&stamp);
            codec::encode(&value, &mut bytes).unwrap();
            codec::put_bytes(&bytes, &mut expected);

            let mut row = SmallRow::default();
            let filled = row.fill(&key, &namespace, |parts| {
                parts.bytes(&stamp)?;
                parts.part_behind(&stamp, &value)
            });
            prop_assert_eq!(filled, expected.len() <= BYTES);
            prop_assert_eq!(row.is_empty(), !filled);
            if filled {
                let mut appended = b"before".to_vec();
                row.append_to(&mut appended);
                prop_assert_eq!(&appended[..6], b"before");
                prop_assert_eq!(&appended[6..], &expected);
                prop_assert_eq!(row.key(), &key_bytes);
            }
        }
    }
}
