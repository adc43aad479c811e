//! Values out of bytes that postcard wrote.

use serde::de::Visitor;

use super::format::{Format, Leaf, Schema, Variant};
use super::read::{Mismatch, Source};

/// The bytes that are left.
pub(super) struct Bytes<'b>(pub(super) &'b [u8]);

/// A sequence of values that take no bytes is not longer than this.
const EMPTY_VALUES_MAX: usize = 1 << 16;

fn torn<E>(_: E) -> Mismatch {
    Mismatch::damaged("the bytes end within it, or are none of its kind")
}

impl<'b> Bytes<'b> {
    fn take<T: serde::Deserialize<'b>>(&mut self) -> Result<T, Mismatch> {
        let (value, rest) = postcard::take_from_bytes(self.0).map_err(torn)?;
        self.0 = rest;
        Ok(value)
    }
}

impl Source for Bytes<'_> {
    fn leaf<'de, V: Visitor<'de>>(&mut self, leaf: Leaf, visitor: V) -> Result<V::Value, Mismatch> {
        match leaf {
            Leaf::Unit => visitor.visit_unit(),
            Leaf::Bool => visitor.visit_bool(self.take()?),
            Leaf::I8 => visitor.visit_i8(self.take()?),
            Leaf::I16 => visitor.visit_i16(self.take()?),
            Leaf::I32 => visitor.visit_i32(self.take()?),
            Leaf::I64 => visitor.visit_i64(self.take()?),
            Leaf::I128 => visitor.visit_i128(self.take()?),
            Leaf::U8 => visitor.visit_u8(self.take()?),
            Leaf::U16 => visitor.visit_u16(self.take()?),
            Leaf::U32 => visitor.visit_u32(self.take()?),
            Leaf::U64 => visitor.visit_u64(self.take()?),
            Leaf::U128 => visitor.visit_u128(self.take()?),
            Leaf::F32 => visitor.visit_f32(self.take()?),
            Leaf::F64 => visitor.visit_f64(self.take()?),
            Leaf::Char => visitor.visit_char(self.take()?),
            Leaf::Str => visitor.visit_str(self.take()?),
            Leaf::Bytes => {
                let length = usize::try_from(self.take::<u64>()?).map_err(torn)?;
                let (bytes, rest) = self.0.split_at_checked(length).ok_or_else(|| torn(()))?;
                self.0 = rest;
                visitor.visit_bytes(bytes)
            }
        }
    }

    fn option(&mut self, _: &Format) -> Result<bool, Mismatch> {
        self.take()
    }

    fn length(&mut self, _: &Format) -> Result<usize, Mismatch> {
        let length = usize::try_from(self.take::<u64>()?).map_err(torn)?;
        if length > self.0.len().max(EMPTY_VALUES_MAX) {
            return Err(torn(()));
        }
        Ok(length)
    }

    fn variant(&mut self, _: &Schema, _: usize, variants: &[Variant]) -> Result<usize, Mismatch> {
        let number = usize::try_from(self.take::<u32>()?).map_err(torn)?;
        if number < variants.len() { Ok(number) } else { Err(Mismatch::damaged("there is no such variant")) }
    }

    fn leave(&mut self, _: usize) {}
}
