//! Serialises values into a place of a fixed size, in postcard's format.
//!
//! Postcard itself puts a number together byte by byte, and hands the bytes on. To copy them, the processor has to wait until it
//! has stored each of them, which takes longer than all else that a row of numbers needs. Here a number is put together in a register,
//! without a branch that depends on its length.

use postcard::{Error, Result};
use serde::{Serialize, Serializer, ser};

/// Where values are serialised to. What doesn't fit, or can't be serialised, is an error; why doesn't matter.
pub(super) struct Room<'a> {
    bytes: &'a mut [u8],
    at: usize,
}

/// Bits that a byte of a number has; the last one says that there is another byte.
const BITS: u32 = 7;
/// Numbers of fewer bits have at most eight bytes.
const SHORT_BITS: u32 = 8 * BITS;

impl<'a> Room<'a> {
    /// All of it is free.
    #[inline]
    pub(super) fn new(bytes: &'a mut [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes that are filled.
    #[inline]
    pub(super) fn filled(&self) -> usize {
        self.at
    }

    /// Appends bytes.
    #[inline]
    pub(super) fn extend(&mut self, bytes: &[u8]) -> Result<()> {
        let to = self.bytes.get_mut(self.at..).and_then(|rest| rest.get_mut(..bytes.len()));
        copy_few(bytes, to.ok_or(Error::SerializeBufferFull)?);
        self.at += bytes.len();
        Ok(())
    }

    #[inline]
    fn push(&mut self, byte: u8) -> Result<()> {
        *self.bytes.get_mut(self.at).ok_or(Error::SerializeBufferFull)? = byte;
        self.at += 1;
        Ok(())
    }

    /// Appends a number of any length, seven bits in each byte, the lowest first.
    #[inline]
    fn number(&mut self, number: u64) -> Result<()> {
        let bits = u64::BITS - (number | 1).leading_zeros();
        let to = self.bytes.get_mut(self.at..).and_then(|rest| rest.first_chunk_mut::<8>());
        let Some(to) = to.filter(|_| bits <= SHORT_BITS) else { return self.long_number(number.into()) };
        let bytes = bits.div_ceil(BITS);
        // 56 bits, then twice 28, four times 14, eight times 7 at the beginnings of their bytes.
        let halves = (number & 0x0fff_ffff) | ((number & 0x00ff_ffff_f000_0000) << 4);
        let quarters = (halves & 0x0000_3fff_0000_3fff) | ((halves & 0x0fff_c000_0fff_c000) << 2);
        let eighths = (quarters & 0x007f_007f_007f_007f) | ((quarters & 0x3f80_3f80_3f80_3f80) << 1);
        let more = 0x8080_8080_8080_8080 & ((1 << (8 * (bytes - 1))) - 1);
        *to = (eighths | more).to_le_bytes();
        self.at += bytes as usize;
        Ok(())
    }

    #[cold]
    #[inline(never)]
    fn long_number(&mut self, mut number: u128) -> Result<()> {
        while number >> BITS > 0 {
            self.push(number as u8 | 0x80)?;
            number >>= BITS;
        }
        self.push(number as u8)
    }

    fn length(&mut self, length: Option<usize>) -> Result<()> {
        self.number(length.ok_or(Error::SerializeSeqLengthUnknown)? as u64)
    }
}

/// Copies bytes to a place of the same length. Keys and values have a few: for them a call of `memcpy` would cost more than the copy.
#[inline]
fn copy_few(from: &[u8], to: &mut [u8]) {
    match from.len() {
        0 => {}
        1 => to[0] = from[0],
        2..4 => copy_ends::<2>(from, to),
        4..8 => copy_ends::<4>(from, to),
        8..=16 => copy_ends::<8>(from, to),
        _ => to.copy_from_slice(from),
    }
}

/// Copies `N` to `2 * N` bytes: the first and the last ones, which may be the same.
#[inline]
fn copy_ends<const N: usize>(from: &[u8], to: &mut [u8]) {
    if let (Some(from), Some(to)) = (from.first_chunk::<N>(), to.first_chunk_mut::<N>()) {
        *to = *from;
    }
    if let (Some(from), Some(to)) = (from.last_chunk::<N>(), to.last_chunk_mut::<N>()) {
        *to = *from;
    }
}

/// Small numbers with a sign are short, whatever their sign.
#[inline]
fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

impl Serializer for &mut Room<'_> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    #[inline]
    fn is_human_readable(&self) -> bool {
        false
    }

    #[inline]
    fn serialize_bool(self, value: bool) -> Result<()> {
        self.push(value.into())
    }

    #[inline]
    fn serialize_i8(self, value: i8) -> Result<()> {
        self.push(value as u8)
    }

    #[inline]
    fn serialize_i16(self, value: i16) -> Result<()> {
        self.number(zigzag(value.into()))
    }

    #[inline]
    fn serialize_i32(self, value: i32) -> Result<()> {
        self.number(zigzag(value.into()))
    }

    #[inline]
    fn serialize_i64(self, value: i64) -> Result<()> {
        self.number(zigzag(value))
    }

    fn serialize_i128(self, value: i128) -> Result<()> {
        self.long_number(((value << 1) ^ (value >> 127)) as u128)
    }

    #[inline]
    fn serialize_u8(self, value: u8) -> Result<()> {
        self.push(value)
    }

    #[inline]
    fn serialize_u16(self, value: u16) -> Result<()> {
        self.number(value.into())
    }

    #[inline]
    fn serialize_u32(self, value: u32) -> Result<()> {
        self.number(value.into())
    }

    #[inline]
    fn serialize_u64(self, value: u64) -> Result<()> {
        self.number(value)
    }

    fn serialize_u128(self, value: u128) -> Result<()> {
        self.long_number(value)
    }

    #[inline]
    fn serialize_f32(self, value: f32) -> Result<()> {
        self.extend(&value.to_le_bytes())
    }

    #[inline]
    fn serialize_f64(self, value: f64) -> Result<()> {
        self.extend(&value.to_le_bytes())
    }

    fn serialize_char(self, value: char) -> Result<()> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    #[inline]
    fn serialize_str(self, value: &str) -> Result<()> {
        self.serialize_bytes(value.as_bytes())
    }

    #[inline]
    fn serialize_bytes(self, value: &[u8]) -> Result<()> {
        self.number(value.len() as u64)?;
        self.extend(value)
    }

    #[inline]
    fn serialize_none(self) -> Result<()> {
        self.push(0)
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<()> {
        self.push(1)?;
        value.serialize(self)
    }

    #[inline]
    fn serialize_unit(self) -> Result<()> {
        Ok(())
    }

    #[inline]
    fn serialize_unit_struct(self, _: &'static str) -> Result<()> {
        Ok(())
    }

    #[inline]
    fn serialize_unit_variant(self, _: &'static str, variant: u32, _: &'static str) -> Result<()> {
        self.serialize_u32(variant)
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<()> {
        value.serialize(self)
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        variant: u32,
        _: &'static str,
        value: &T,
    ) -> Result<()> {
        self.serialize_u32(variant)?;
        value.serialize(self)
    }

    #[inline]
    fn serialize_seq(self, length: Option<usize>) -> Result<Self> {
        self.length(length)?;
        Ok(self)
    }

    #[inline]
    fn serialize_tuple(self, _: usize) -> Result<Self> {
        Ok(self)
    }

    #[inline]
    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self> {
        Ok(self)
    }

    #[inline]
    fn serialize_tuple_variant(self, _: &'static str, variant: u32, _: &'static str, _: usize) -> Result<Self> {
        self.serialize_u32(variant).map(|()| self)
    }

    #[inline]
    fn serialize_map(self, length: Option<usize>) -> Result<Self> {
        self.length(length)?;
        Ok(self)
    }

    #[inline]
    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self> {
        Ok(self)
    }

    #[inline]
    fn serialize_struct_variant(self, _: &'static str, variant: u32, _: &'static str, _: usize) -> Result<Self> {
        self.serialize_u32(variant).map(|()| self)
    }
}

/// What has fields or items writes one behind the other, and nothing at the end.
macro_rules! one_behind_the_other {
    ($($what:ident::$item:ident($($name:ty)?)),*) => {$(
        impl ser::$what for &mut Room<'_> {
            type Ok = ();
            type Error = Error;

            #[inline]
            fn $item<T: Serialize + ?Sized>(&mut self, $(_: $name,)? value: &T) -> Result<()> {
                value.serialize(&mut **self)
            }

            #[inline]
            fn end(self) -> Result<()> {
                Ok(())
            }
        }
    )*};
}

one_behind_the_other!(
    SerializeSeq::serialize_element(),
    SerializeTuple::serialize_element(),
    SerializeTupleStruct::serialize_field(),
    SerializeTupleVariant::serialize_field(),
    SerializeStruct::serialize_field(&'static str),
    SerializeStructVariant::serialize_field(&'static str)
);

impl ser::SerializeMap for &mut Room<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<()> {
        key.serialize(&mut **self)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        value.serialize(&mut **self)
    }

    fn end(self) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;

    /// What postcard writes is the format; `Room` writes the same, or says that there is no room.
    fn check<T: Serialize>(value: &T, room: usize) {
        let expected = postcard::to_allocvec(value).unwrap();
        let mut bytes = vec![0xaa; room];
        let mut to = Room::new(&mut bytes);
        let written = value.serialize(&mut to).is_ok();
        assert_eq!(written, expected.len() <= room, "{} bytes in a room of {room}", expected.len());
        if written {
            assert_eq!(to.filled(), expected.len());
            assert_eq!(bytes[..expected.len()], expected);
        }
    }

    #[derive(Debug, Clone, Serialize)]
    enum Kind {
        Nothing,
        One(f64),
        Two(i16, char),
        Named { flag: bool, address: IpAddr },
    }

    #[derive(Debug, Clone, Serialize)]
    struct Unit;

    #[derive(Debug, Clone, Serialize)]
    struct Text(String);

    #[derive(Debug, Clone, Serialize)]
    struct Pair(u8, Option<i8>);

    #[derive(Debug, Clone, Serialize)]
    struct All {
        kind: Kind,
        unit: (Unit, ()),
        text: Text,
        pair: Pair,
        map: BTreeMap<u16, f32>,
        list: Vec<Option<u32>>,
    }

    fn kind() -> impl Strategy<Value = Kind> {
        prop_oneof![
            Just(Kind::Nothing),
            any::<f64>().prop_map(Kind::One),
            any::<(i16, char)>().prop_map(|(a, b)| Kind::Two(a, b)),
            any::<(bool, IpAddr)>().prop_map(|(flag, address)| Kind::Named { flag, address }),
        ]
    }

    #[test]
    fn numbers_at_the_limits_of_their_lengths_are_as_postcard_writes_them() {
        for bits in 0..128 {
            for number in [(1u128 << bits) - 1, 1 << bits, (1 << bits) + 1] {
                for room in 0..20 {
                    check(&(number as u64), room);
                    check(&(number as i64), room);
                    check(&(number as i64).wrapping_neg(), room);
                    check(&(number, number as i128, (number as i128).wrapping_neg()), room);
                    check(&(number as u32, number as i32, number as u16, number as i16), room);
                    check(&(number as u8, number as i8, number as usize), room);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn values_of_every_kind_are_as_postcard_writes_them(
            kind in kind(), text: String, pair: (u8, Option<i8>), map: BTreeMap<u16, f32>,
            list in prop::collection::vec(any::<Option<u32>>(), 0..5), room in 0..200usize,
        ) {
            check(&All { kind, unit: (Unit, ()), text: Text(text), pair: Pair(pair.0, pair.1), map, list }, room);
        }
    }
}
