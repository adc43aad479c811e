//! The place of one row.

/// Row and value of most states fit: a window's count has 25 bytes.
const SHORT_BYTES: usize = 39;

/// What is known of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Known {
    /// The slot holds no row.
    #[default]
    Free,
    /// It has no value.
    Absent,
    /// Its value.
    Value,
    /// What is to be appended to its value in RocksDB.
    Appended,
}

#[derive(Debug)]
pub(super) struct Slot {
    bytes: Bytes,
    row_length: u32,
    value_length: u32,
    pub(super) state: u16,
    pub(super) known: Known,
    /// RocksDB does not know of it yet.
    pub(super) dirty: bool,
    /// False when RocksDB is known not to have the row.
    pub(super) stored: bool,
    /// Used since the hand came by.
    pub(super) used: bool,
}

/// The row, then the value.
#[derive(Debug)]
enum Bytes {
    Short([u8; SHORT_BYTES]),
    Long(Vec<u8>),
}

impl Default for Slot {
    fn default() -> Self {
        Self {
            bytes: Bytes::Short([0; SHORT_BYTES]),
            row_length: 0,
            value_length: 0,
            state: 0,
            known: Known::Free,
            dirty: false,
            stored: false,
            used: false,
        }
    }
}

impl Slot {
    #[inline]
    fn bytes(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Short(bytes) => bytes,
            Bytes::Long(bytes) => bytes,
        }
    }

    #[inline]
    pub(super) fn row(&self) -> &[u8] {
        &self.bytes()[..self.row_length as usize]
    }

    #[inline]
    pub(super) fn value(&self) -> &[u8] {
        &self.bytes()[self.row_length as usize..][..self.value_length as usize]
    }

    /// Bytes of row and value.
    pub(super) fn len(&self) -> usize {
        self.row_length as usize + self.value_length as usize
    }

    /// Bytes outside of the slot.
    pub(super) fn heap(&self) -> usize {
        match &self.bytes {
            Bytes::Short(_) => 0,
            Bytes::Long(bytes) => bytes.capacity(),
        }
    }

    #[inline]
    pub(super) fn is(&self, state: u16, row: &[u8]) -> bool {
        self.state == state && self.row() == row
    }

    /// Takes a row in.
    pub(super) fn fill(&mut self, state: u16, row: &[u8], value: &[u8]) {
        self.state = state;
        self.row_length = row.len() as u32;
        self.value_length = 0;
        self.bytes = if row.len() + value.len() <= SHORT_BYTES {
            let mut short = [0; SHORT_BYTES];
            short[..row.len()].copy_from_slice(row);
            Bytes::Short(short)
        } else {
            let mut long = Vec::with_capacity(row.len() + value.len());
            long.extend_from_slice(row);
            Bytes::Long(long)
        };
        self.set_value(value);
    }

    /// Replaces the value.
    #[inline]
    pub(super) fn set_value(&mut self, value: &[u8]) {
        self.value_length = 0;
        if let Bytes::Long(long) = &mut self.bytes {
            long.truncate(self.row_length as usize);
        }
        self.extend(value);
    }

    /// Appends to the value.
    #[inline]
    pub(super) fn extend(&mut self, value: &[u8]) {
        let length = self.len();
        match &mut self.bytes {
            Bytes::Short(short) => match short[length..].get_mut(..value.len()) {
                Some(room) => room.copy_from_slice(value),
                None => {
                    let mut long = Vec::with_capacity(length + value.len());
                    long.extend_from_slice(&short[..length]);
                    long.extend_from_slice(value);
                    self.bytes = Bytes::Long(long);
                }
            },
            Bytes::Long(long) => long.extend_from_slice(value),
        }
        self.value_length += value.len() as u32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_takes_one_cache_line_at_most() {
        assert!(size_of::<Slot>() <= 64, "{}", size_of::<Slot>());
    }

    #[test]
    fn a_value_may_outgrow_its_slot_and_shrink_again() {
        let mut slot = Slot::default();
        slot.fill(1, b"row", b"value");
        slot.set_value(&[7; 100]);
        assert_eq!((slot.row(), slot.value()), (&b"row"[..], &[7; 100][..]));
        slot.extend(b"end");
        assert_eq!(slot.value().len(), 103);
        slot.set_value(b"");
        slot.extend(b"x");
        assert_eq!((slot.row(), slot.value()), (&b"row"[..], &b"x"[..]));
    }
}
