//! Hadoop's variable-length integers (`WritableUtils.writeVLong`).
//!
//! One byte for -112 ..= 127. Otherwise the first byte says the sign and how many bytes follow, big-endian: -113 ..= -120
//! for 1 to 8 bytes of a positive number, -121 ..= -128 for those of a negative one, which is stored as its complement.

use super::TokenError;

/// Reads from a slice and remembers where it is, for the error.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn damaged(&self, part: &'static str) -> TokenError {
        TokenError::Damaged { at: self.at, part }
    }

    /// The next `n` bytes.
    pub(crate) fn take(&mut self, n: usize, part: &'static str) -> Result<&'a [u8], TokenError> {
        let end = self.at.checked_add(n).ok_or_else(|| self.damaged(part))?;
        let taken = self.bytes.get(self.at..end).ok_or_else(|| self.damaged(part))?;
        self.at = end;
        Ok(taken)
    }

    pub(crate) fn byte(&mut self, part: &'static str) -> Result<u8, TokenError> {
        Ok(self.take(1, part)?[0])
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    pub(crate) fn vint(&mut self, part: &'static str) -> Result<i64, TokenError> {
        let first = self.byte(part)? as i8;
        let (count, negative) = match first {
            -112.. => return Ok(first.into()),
            -120..=-113 => (-112 - i32::from(first), false),
            _ => (-120 - i32::from(first), true),
        };
        let mut value = 0u64;
        for &byte in self.take(count as usize, part)? {
            value = value << 8 | u64::from(byte);
        }
        let value = value as i64;
        Ok(if negative { !value } else { value })
    }

    /// A length or count: not negative. It is not yet known whether that much follows, so nothing may be allocated by it.
    pub(crate) fn length(&mut self, part: &'static str) -> Result<usize, TokenError> {
        let value = self.vint(part)?;
        usize::try_from(value).map_err(|_| self.damaged(part))
    }

    /// A length and as many bytes.
    pub(crate) fn sized(&mut self, part: &'static str) -> Result<&'a [u8], TokenError> {
        let n = self.length(part)?;
        self.take(n, part)
    }

    /// A length and as many bytes of UTF-8.
    pub(crate) fn text(&mut self, part: &'static str) -> Result<String, TokenError> {
        let bytes = self.sized(part)?;
        String::from_utf8(bytes.to_vec()).map_err(|_| self.damaged(part))
    }
}

/// Appends a variable-length integer.
pub(crate) fn put_vint(out: &mut Vec<u8>, value: i64) {
    if (-112..=127).contains(&value) {
        out.push(value as u8);
        return;
    }
    let (stored, base) = if value < 0 { (!value, -120i8) } else { (value, -112i8) };
    let bytes = stored.to_be_bytes();
    let skipped = (stored.leading_zeros() / 8).min(7) as usize;
    let kept = &bytes[skipped..];
    out.push((base - kept.len() as i8) as u8);
    out.extend_from_slice(kept);
}

/// Appends a length and the bytes.
pub(crate) fn put_sized(out: &mut Vec<u8>, bytes: &[u8]) {
    put_vint(out, bytes.len() as i64);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(value: i64) -> Vec<u8> {
        let mut out = Vec::new();
        put_vint(&mut out, value);
        out
    }

    #[test]
    fn numbers_take_the_bytes_that_java_writes() {
        for (value, bytes) in [
            (0, &[0][..]),
            (127, &[127]),
            (-112, &[0x90]),
            (128, &[0x8f, 0x80]),
            (-113, &[0x87, 0x70]),
            (256, &[0x8e, 1, 0]),
            (-257, &[0x86, 1, 0]),
            (i64::MAX, &[0x88, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
            (i64::MIN, &[0x80, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        ] {
            assert_eq!(encoded(value), bytes, "{value}");
            assert_eq!(Reader::new(bytes).vint("number").unwrap(), value);
        }
    }

    #[test]
    fn a_number_cut_off_names_the_place() {
        let error = Reader::new(&[0x8e, 1]).vint("count").unwrap_err();
        assert_eq!(error.to_string(), "token bytes are cut off or damaged at byte 1, in the count");
    }

    #[test]
    fn a_negative_or_huge_length_is_refused() {
        assert!(Reader::new(&encoded(-1)).length("length").is_err());
        assert!(Reader::new(&encoded(i64::MAX)).sized("field").is_err());
    }

    proptest! {
        #[test]
        fn every_number_reads_back(value: i64) {
            let bytes = encoded(value);
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.vint("number").unwrap(), value);
            prop_assert!(reader.rest().is_empty());
        }
    }
}
