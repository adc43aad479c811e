//! The fixed parts of the format. Numbers are little-endian.

use flumen_model::checkpoint::KeyGroupRange;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::meta::StateMeta;

/// The first bytes of the format.
pub(super) const MAGIC: [u8; 8] = *b"FLUMENKS";
/// The last bytes of the format.
pub(super) const END_MAGIC: [u8; 8] = *b"FLUMENKE";
/// The version that is written.
pub(super) const VERSION: u32 = 1;
/// Magic, version, length of the header's text, its checksum.
pub(super) const PREAMBLE_BYTES: usize = 24;
/// Mark, state, group, rows, length, checksum.
pub(super) const CHUNK_HEAD_BYTES: usize = 28;
/// What begins a chunk.
pub(super) const CHUNK_MARK: u32 = 0x4b4e_4843;
/// A chunk's head without its mark, and where it is.
pub(super) const INDEX_ENTRY_BYTES: usize = 32;
/// Offset of the index, its entries, version, checksum, magic.
pub(super) const TRAILER_BYTES: usize = 32;
/// A header longer than this is none: thousands of states with long schemas fit.
pub(super) const HEADER_BYTES_MAX: u32 = 64 << 20;

/// What the file says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Header {
    /// Key groups of the operator.
    pub max_parallelism: u32,
    /// Key groups in this file.
    pub groups: KeyGroupRange,
    /// The states; chunks refer to them by position.
    pub states: Vec<StateMeta>,
}

/// Rows of one state and one key group that stand together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// Position of the state in [`Header::states`].
    pub state: u32,
    /// The key group.
    pub group: u32,
    /// How many rows.
    pub rows: u32,
    /// How many bytes the rows take.
    pub length: u32,
    /// Where the rows begin: bytes from the start of the file.
    pub offset: u64,
    /// XXH3 of state, group, rows, length, and the rows' bytes.
    pub checksum: u64,
}

impl Chunk {
    /// The number of its rows, if that can be: none is shorter than its four lengths.
    pub(crate) fn rows_at_most(&self) -> usize {
        self.rows.min(self.length / 4) as usize
    }

    /// State, group, rows and length, as they are written.
    pub(super) fn head(&self) -> [u8; 16] {
        let mut head = [0; 16];
        for (at, number) in [self.state, self.group, self.rows, self.length].into_iter().enumerate() {
            head[at * 4..][..4].copy_from_slice(&number.to_le_bytes());
        }
        head
    }

    /// The checksum that the rows' bytes have to have.
    pub(super) fn checksum_of(&self, rows: &[u8]) -> u64 {
        let mut hash = xxhash_rust::xxh3::Xxh3::new();
        hash.update(&self.head());
        hash.update(rows);
        hash.digest()
    }

    pub(super) fn to_index(self) -> [u8; INDEX_ENTRY_BYTES] {
        let mut entry = [0; INDEX_ENTRY_BYTES];
        entry[..16].copy_from_slice(&self.head());
        entry[16..24].copy_from_slice(&self.offset.to_le_bytes());
        entry[24..].copy_from_slice(&self.checksum.to_le_bytes());
        entry
    }

    pub(super) fn of_index(entry: &[u8; INDEX_ENTRY_BYTES]) -> Self {
        Self {
            state: number(entry, 0),
            group: number(entry, 4),
            rows: number(entry, 8),
            length: number(entry, 12),
            offset: long_number(entry, 16),
            checksum: long_number(entry, 24),
        }
    }
}

/// The four bytes at a position that exists.
pub(super) fn number(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

/// The eight bytes at a position that exists.
pub(super) fn long_number(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// XXH3, 64 bits, seed 0.
pub(super) fn checksum(bytes: &[u8]) -> u64 {
    xxh3_64(bytes)
}
