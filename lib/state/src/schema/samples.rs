//! Made-up values: the first one that a type does not refuse will do.

use super::format::Leaf;

const NUMBERS: [u8; 4] = [0, 1, 2, 100];
const CHARACTERS: [char; 2] = ['a', '0'];
const LENGTHS: [usize; 9] = [0, 1, 4, 8, 12, 16, 20, 32, 64];

/// Texts that common types are read from.
pub(super) const TEXTS: [&str; 12] = [
    "",
    "a",
    "0",
    "1970-01-01",
    "1970-01-01T00:00:00",
    "1970-01-01T00:00:00Z",
    "00:00:00",
    "UTC",
    "127.0.0.1",
    "127.0.0.1:80",
    "http://localhost/",
    "00000000-0000-0000-0000-000000000000",
];

/// How many there are of a kind.
pub(super) fn count(leaf: Leaf) -> usize {
    match leaf {
        Leaf::Unit => 1,
        Leaf::Bool | Leaf::Char => 2,
        Leaf::Str => TEXTS.len(),
        Leaf::Bytes => LENGTHS.len(),
        _ => NUMBERS.len(),
    }
}

pub(super) fn number(sample: usize) -> u8 {
    NUMBERS.get(sample).copied().unwrap_or_default()
}

pub(super) fn character(sample: usize) -> char {
    CHARACTERS.get(sample).copied().unwrap_or_default()
}

pub(super) fn bytes(sample: usize) -> &'static [u8] {
    static ZEROS: [u8; 64] = [0; 64];
    &ZEROS[..LENGTHS.get(sample).copied().unwrap_or_default()]
}
