//! Where the bytes of an earlier snapshot come from.

use std::collections::BTreeMap;
use std::fmt;
use std::io;

use flumen_model::checkpoint::KeyedState;

/// Reads the parts of one [`KeyedState`]. What the handles mean, and whether a checksum is compared, is its own affair.
pub trait SnapshotReader {
    /// Fills the buffer with the bytes of a part from `offset` on.
    ///
    /// # Errors
    /// There is no such part, it ends before, or it can't be read.
    fn read_exact_at(&mut self, part: &str, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
}

/// One piece of keyed state to begin with, and how to read it.
pub struct RestoredKeyed {
    /// What was written.
    pub state: KeyedState,
    /// Its bytes.
    pub reader: Box<dyn SnapshotReader>,
}

impl fmt::Debug for RestoredKeyed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RestoredKeyed").field("state", &self.state).finish_non_exhaustive()
    }
}

/// Parts that are in memory already.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PartsInMemory(pub BTreeMap<String, Vec<u8>>);

impl SnapshotReader for PartsInMemory {
    fn read_exact_at(&mut self, part: &str, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let bytes = self.0.get(part).ok_or(io::ErrorKind::NotFound)?;
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let found = bytes.get(start..).and_then(|rest| rest.get(..buffer.len()));
        buffer.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}
