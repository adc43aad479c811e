//! Values as bytes: postcard, which is stable but does not describe itself.

use postcard::ser_flavors::Flavor;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Appends to a byte vector that several values share. Postcard's own flavours own their output.
struct Append<'a>(&'a mut Vec<u8>);

impl Flavor for Append<'_> {
    type Output = ();

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Appends one value, as state keeps it.
///
/// # Errors
/// The value's type can't be serialised.
#[inline]
pub fn encode<T: Serialize + ?Sized>(value: &T, bytes: &mut Vec<u8>) -> postcard::Result<()> {
    postcard::serialize_with_flavor(value, Append(bytes))
}

/// Reads one value that takes all of the bytes.
#[inline]
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> postcard::Result<T> {
    match postcard::take_from_bytes(bytes)? {
        (value, []) => Ok(value),
        _ => Err(postcard::Error::DeserializeBadEncoding),
    }
}

/// Appends a number, seven bits to a byte.
#[inline]
pub(crate) fn put_varint(mut number: u64, bytes: &mut Vec<u8>) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Reads what [`put_varint`] wrote and moves past it; `None` when it is torn or too long.
#[inline]
pub(crate) fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

/// Appends the length and the bytes.
#[inline]
pub(crate) fn put_bytes(part: &[u8], bytes: &mut Vec<u8>) {
    put_varint(part.len() as u64, bytes);
    // Namespaces and user keys mostly are.
    if !part.is_empty() {
        bytes.extend_from_slice(part);
    }
}

/// Reads what [`put_bytes`] wrote and moves past it; `None` when it is torn.
#[inline]
pub(crate) fn take_bytes<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(take_varint(bytes)?).ok()?;
    let (part, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn lengths_and_bytes_are_read_back(parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..5), number in any::<u64>()) {
            let mut bytes = Vec::new();
            put_varint(number, &mut bytes);
            parts.iter().for_each(|part| put_bytes(part, &mut bytes));
            let mut rest = bytes.as_slice();
            prop_assert_eq!(take_varint(&mut rest), Some(number));
            for part in &parts {
                prop_assert_eq!(take_bytes(&mut rest), Some(part.as_slice()));
            }
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..30)) {
            let mut rest = bytes.as_slice();
            while take_bytes(&mut rest).is_some() {}
        }
    }
}
