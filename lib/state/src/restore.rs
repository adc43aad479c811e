//! Where the bytes of an earlier snapshot come from.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use flumen_model::checkpoint::KeyedState;

use crate::error::{StateError, StateErrorKind};

/// Reads the parts of one [`KeyedState`]. What the handles mean, and whether a checksum is compared, is its own affair.
pub trait SnapshotReader {
    /// Fills the buffer with the bytes of a part from `offset` on.
    ///
    /// # Errors
    /// There is no such part, it ends before, or it can't be read.
    fn read_exact_at(&mut self, part: &str, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Copies whole parts to local files that are not there yet. A reader that has parts on this host already, or can fetch
    /// several at once, had better do so itself; a part that is [`immutable`](PartCopy::immutable) may become a link.
    ///
    /// # Errors
    /// As [`Self::read_exact_at`], or a file can't be written. Names the part.
    fn copy(&mut self, parts: &[PartCopy]) -> Result<(), StateError> {
        let mut buffer = vec![0; COPIED_BYTES];
        for PartCopy { part, length, path, .. } in parts {
            let mut copy = || -> io::Result<()> {
                let mut file = File::create_new(path)?;
                let mut offset = 0;
                while offset < *length {
                    let count = buffer.len().min(usize::try_from(length - offset).unwrap_or(usize::MAX));
                    self.read_exact_at(part, offset, &mut buffer[..count])?;
                    file.write_all(&buffer[..count])?;
                    offset += count as u64;
                }
                Ok(())
            };
            copy().map_err(|source| StateErrorKind::Read { part: part.clone(), source })?;
        }
        Ok(())
    }
}

/// Bytes that are copied at once.
const COPIED_BYTES: usize = 1 << 20;

/// A part that is to become a local file.
#[derive(Debug, Clone)]
pub struct PartCopy {
    /// The part's name.
    pub part: String,
    /// Its length, bytes.
    pub length: u64,
    /// The file.
    pub path: PathBuf,
    /// Whether the file will never be changed, so that it may be another name of one that is there already.
    pub immutable: bool,
    /// The directory that the file is in, which is removed with the last of these. Who writes the file has it until that is over, also
    /// when nobody waits for it any more: else the file would come after its directory went, and stay.
    pub directory: Arc<dyn Any + Send + Sync>,
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
