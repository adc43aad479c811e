//! Keys of rows, put together and taken apart.

use crate::canonical::Row;
use crate::codec::{put_bytes, take_bytes};
use crate::meta::StateKind;

/// Bytes of a key group in a row's key.
pub(super) const GROUP_BYTES: usize = 2;
/// Bytes of a timer's time.
const TIME_BYTES: usize = 8;

/// Parts of a row's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyParts<'a> {
    /// The key group.
    pub group: u32,
    /// The key's bytes.
    pub key: &'a [u8],
    /// The namespace's bytes.
    pub namespace: &'a [u8],
    /// A map's own key, or a timer's time.
    pub user_key: &'a [u8],
}

/// Replaces `into` by the key of a row of the canonical format.
pub fn row_key(kind: StateKind, group: u32, row: &Row<'_>, into: &mut Vec<u8>) {
    into.clear();
    into.extend_from_slice(&(group as u16).to_be_bytes());
    if kind == StateKind::Timers {
        into.extend_from_slice(row.user_key);
        put_bytes(row.key, into);
        into.extend_from_slice(row.namespace);
    } else {
        put_bytes(row.key, into);
        put_bytes(row.namespace, into);
        into.extend_from_slice(row.user_key);
    }
}

/// The parts of a row's key; `None` when it is none.
pub fn take_apart(kind: StateKind, row: &[u8]) -> Option<KeyParts<'_>> {
    let (group, mut rest) = row.split_first_chunk::<GROUP_BYTES>()?;
    let group = u16::from_be_bytes(*group).into();
    if kind == StateKind::Timers {
        let (time, mut rest) = rest.split_at_checked(TIME_BYTES)?;
        let key = take_bytes(&mut rest)?;
        return Some(KeyParts { group, key, namespace: rest, user_key: time });
    }
    let (key, namespace) = (take_bytes(&mut rest)?, take_bytes(&mut rest)?);
    Some(KeyParts { group, key, namespace, user_key: rest })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_key_is_taken_apart_into_what_it_was_put_together_of(
            parts in proptest::array::uniform3(proptest::collection::vec(any::<u8>(), 0..200)), group in 0u32..32768, timer: bool,
        ) {
            let kind = if timer { StateKind::Timers } else { StateKind::Map };
            let user_key = if timer { &[1, 2, 3, 4, 5, 6, 7, 8][..] } else { &parts[2] };
            let row = Row { key: &parts[0], namespace: &parts[1], user_key, value: &[], offset: 0 };
            let mut bytes = vec![9];
            row_key(kind, group, &row, &mut bytes);
            let apart = take_apart(kind, &bytes).unwrap();
            prop_assert_eq!(apart, KeyParts { group, key: row.key, namespace: row.namespace, user_key });
        }
    }
}
