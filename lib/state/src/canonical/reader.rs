//! Reads the canonical format. Nothing in a file is believed before its checksum or its bounds were compared.

use crate::codec::take_bytes;
use crate::error::{StateError, StateErrorKind};
use crate::restore::SnapshotReader;

use super::PART;
use super::layout::{
    CHUNK_HEAD_BYTES, Chunk, END_MAGIC, HEADER_BYTES_MAX, Header, INDEX_ENTRY_BYTES, MAGIC, PREAMBLE_BYTES,
    TRAILER_BYTES, VERSION, checksum, long_number, number,
};

/// A row of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row<'a> {
    /// The key's bytes.
    pub key: &'a [u8],
    /// The namespace's bytes.
    pub namespace: &'a [u8],
    /// Bytes of a map's own key, or a timer's time.
    pub user_key: &'a [u8],
    /// The value's bytes.
    pub value: &'a [u8],
    /// Where the row begins in its chunk.
    pub offset: u64,
}

/// An open file: its header and index were read and are whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reader {
    header: Header,
    chunks: Vec<Chunk>,
}

impl Reader {
    /// Reads header and index of the part [`PART`], which has that many bytes.
    ///
    /// # Errors
    /// It can't be read, or is damaged.
    pub fn open(source: &mut dyn SnapshotReader, length: u64) -> Result<Self, StateError> {
        let header = read_header(source, length)?;
        let chunks = read_index(source, length)?;
        for chunk in &chunks {
            let head = chunk.offset.checked_sub(CHUNK_HEAD_BYTES as u64);
            let end = chunk.offset.checked_add(chunk.length.into());
            let state = header.states.get(chunk.state as usize);
            if head.is_none()
                || end.is_none_or(|end| end > length)
                || state.is_none()
                || !header.groups.contains(chunk.group)
            {
                let name = state.map_or("index", |state| &state.name);
                return Err(StateError::corrupt(
                    name,
                    chunk.offset,
                    "the index points at something that is not in the file",
                ));
            }
        }
        Ok(Self { header, chunks })
    }

    /// What the file says of itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// All chunks, in the order of the file.
    pub fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    /// Reads the rows of a chunk into the buffer, in place of what it holds; [`rows`] takes them apart.
    ///
    /// # Errors
    /// They can't be read, or are damaged.
    pub fn read(&self, source: &mut dyn SnapshotReader, chunk: &Chunk, bytes: &mut Vec<u8>) -> Result<(), StateError> {
        bytes.resize(chunk.length as usize, 0);
        read_at(source, chunk.offset, bytes)?;
        if chunk.checksum_of(bytes) != chunk.checksum {
            return Err(self.damaged(chunk, 0, "the checksum of a chunk is another one"));
        }
        Ok(())
    }

    /// An error that names the state and the place.
    pub fn damaged(&self, chunk: &Chunk, at: u64, what: impl Into<String>) -> StateError {
        let name = self.header.states.get(chunk.state as usize).map_or("", |state| &state.name);
        StateError::corrupt(name, chunk.offset + at, what)
    }
}

/// The rows of a chunk's bytes: `Err` with the offset at which they are torn, then nothing more.
pub fn rows(bytes: &[u8]) -> impl Iterator<Item = Result<Row<'_>, u64>> {
    let total = bytes.len();
    let mut rest = Some(bytes);
    std::iter::from_fn(move || {
        let mut bytes = rest.filter(|rest| !rest.is_empty())?;
        let offset = (total - bytes.len()) as u64;
        let mut part = || take_bytes(&mut bytes);
        let row = (|| Some(Row { key: part()?, namespace: part()?, user_key: part()?, value: part()?, offset }))();
        rest = row.is_some().then_some(bytes);
        Some(row.ok_or(offset))
    })
}

fn read_header(source: &mut dyn SnapshotReader, length: u64) -> Result<Header, StateError> {
    let damaged = |offset, what: &str| StateError::corrupt("header", offset, what);
    if length < (PREAMBLE_BYTES + TRAILER_BYTES) as u64 {
        return Err(damaged(0, "the file is too short"));
    }
    let mut preamble = [0; PREAMBLE_BYTES];
    read_at(source, 0, &mut preamble)?;
    if preamble[..8] != MAGIC {
        return Err(damaged(0, "these are not the first bytes of keyed state"));
    }
    let version = number(&preamble, 8);
    if version != VERSION {
        let what = format!("version {version} was written by a newer Flumen than this one, which reads {VERSION}");
        return Err(StateError::corrupt("header", 8, what));
    }
    let text_length = number(&preamble, 12);
    if text_length > HEADER_BYTES_MAX || u64::from(text_length) > length - PREAMBLE_BYTES as u64 {
        return Err(damaged(12, "the header is longer than the file"));
    }
    let mut text = vec![0; text_length as usize];
    read_at(source, PREAMBLE_BYTES as u64, &mut text)?;
    if checksum(&text) != long_number(&preamble, 16) {
        return Err(damaged(16, "the header's checksum is another one"));
    }
    serde_json::from_slice(&text)
        .map_err(|error| StateError::corrupt("header", PREAMBLE_BYTES as u64, error.to_string()))
}

fn read_index(source: &mut dyn SnapshotReader, length: u64) -> Result<Vec<Chunk>, StateError> {
    let at = length - TRAILER_BYTES as u64;
    let damaged = |what: &str| StateError::corrupt("index", at, what);
    let mut trailer = [0; TRAILER_BYTES];
    read_at(source, at, &mut trailer)?;
    if trailer[24..] != END_MAGIC {
        return Err(damaged("the file does not end as keyed state does: it is torn"));
    }
    let (start, entries) = (long_number(&trailer, 0), number(&trailer, 8));
    let bytes = u64::from(entries) * INDEX_ENTRY_BYTES as u64;
    if start.checked_add(bytes) != Some(at) {
        return Err(damaged("the index does not fit into the file"));
    }
    let mut index = vec![0; bytes as usize];
    read_at(source, start, &mut index)?;
    if checksum(&index) != long_number(&trailer, 16) {
        return Err(damaged("the index's checksum is another one"));
    }
    Ok(index.as_chunks().0.iter().map(Chunk::of_index).collect())
}

fn read_at(source: &mut dyn SnapshotReader, offset: u64, buffer: &mut [u8]) -> Result<(), StateError> {
    source
        .read_exact_at(PART, offset, buffer)
        .map_err(|source| StateErrorKind::Read { part: PART.to_owned(), source }.into())
}
