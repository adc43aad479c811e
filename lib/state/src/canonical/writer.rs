//! Writes the canonical format.

use std::collections::VecDeque;

use flumen_model::checkpoint::KeyGroupRange;

use crate::codec::put_bytes;
use crate::error::StateError;
use crate::meta::StateMeta;
use crate::prefetch::{LINE_BYTES, prefetch};

use super::layout::{CHUNK_HEAD_BYTES, CHUNK_MARK, Chunk, END_MAGIC, Header, MAGIC, VERSION, checksum};
use super::small_row::SmallRow;
use super::spare::SpareBlocks;

/// A chunk is closed when it has this many bytes. What chunks hold that are not full comes at the very end, when everybody waits for
/// it, and so many of them fit into the processor's own caches.
const CHUNK_BYTES: usize = 16 << 10;
/// Groups are as large as each other, as a rule: so that their first chunks aren't full at the same time, these are closed at
/// one of so many parts. What takes the blocks has something to do from early on.
const FIRST_PARTS: usize = 4;
/// Many groups and states share this much memory for chunks that are not full.
const OPEN_BYTES: usize = 16 << 20;
/// A chunk of so many bytes becomes a block of its own, without being copied.
const OWN_BLOCK_BYTES: usize = 4 << 10;
/// A chunk that has so many bytes gets room for all: it would be copied again and again while it grows.
const GROWN_BYTES: usize = 2 << 10;
/// Room for the row that makes a chunk full.
const LAST_ROW_BYTES: usize = 256;
/// A chunk has room for so many bytes more, as a rule, before a row is added.
const ROW_BYTES: usize = 64;
/// No chunk is smaller by intention: its head and its place in the index take 60 bytes.
const CHUNK_BYTES_MIN: usize = 2 << 10;

/// Takes rows in any order and gives blocks that follow one another. Never waits and never fails.
#[derive(Debug)]
pub struct Writer {
    header: Header,
    /// By state, then by group.
    open: Vec<OpenChunk>,
    chunk_bytes: usize,
    index: Vec<Chunk>,
    /// Bytes given on so far.
    offset: u64,
    /// What is not yet a block: chunks of small groups become one.
    tail: Vec<u8>,
    blocks: VecDeque<Vec<u8>>,
    waiting: usize,
    /// State and group of a row whose group is not in the range.
    stray: Option<(usize, u32)>,
    finished: bool,
    /// Where chunks and blocks get their memory.
    spare: SpareBlocks,
}

#[derive(Debug)]
struct OpenChunk {
    /// Room for the chunk's head, then the rows; empty before the first row.
    bytes: Vec<u8>,
    rows: u32,
    /// It is closed when it has so many bytes.
    limit: usize,
}

impl OpenChunk {
    /// Before the first row, and when there is little room left.
    #[cold]
    #[inline(never)]
    fn make_room(&mut self, chunk_bytes: usize, spare: &SpareBlocks) {
        if self.bytes.is_empty() {
            self.bytes.resize(CHUNK_HEAD_BYTES, 0);
        }
        if (GROWN_BYTES..self.limit).contains(&self.bytes.len()) && self.bytes.capacity() < self.limit {
            let mut grown = room_for(chunk_bytes, spare);
            grown.extend_from_slice(&self.bytes);
            self.bytes = grown;
        }
        self.bytes.reserve(ROW_BYTES);
    }
}

impl Writer {
    /// Begins with the header.
    pub fn new(states: Vec<StateMeta>, groups: KeyGroupRange, max_parallelism: u32) -> Self {
        let count = states.len() * groups.groups().len();
        let header = Header { max_parallelism, groups, states };
        // A struct of strings and numbers always becomes JSON.
        let text = serde_json::to_vec(&header).unwrap_or_default();
        let mut first = Vec::with_capacity(text.len() + 64);
        first.extend_from_slice(&MAGIC);
        first.extend_from_slice(&VERSION.to_le_bytes());
        first.extend_from_slice(&(text.len() as u32).to_le_bytes());
        first.extend_from_slice(&checksum(&text).to_le_bytes());
        first.extend_from_slice(&text);
        let chunk_bytes = (OPEN_BYTES / count.max(1)).clamp(CHUNK_BYTES_MIN, CHUNK_BYTES);
        let first_limit = |at: usize| chunk_bytes / FIRST_PARTS * (at % FIRST_PARTS + 1);
        let mut writer = Self {
            header,
            open: (0..count).map(|at| OpenChunk { bytes: Vec::new(), rows: 0, limit: first_limit(at) }).collect(),
            chunk_bytes,
            index: Vec::new(),
            offset: 0,
            tail: Vec::new(),
            blocks: VecDeque::new(),
            waiting: 0,
            stray: None,
            finished: false,
            spare: SpareBlocks::default(),
        };
        writer.tail = first;
        writer.give();
        writer
    }

    /// Memory of blocks comes from there.
    pub(crate) fn reusing(self, spare: SpareBlocks) -> Self {
        Self { spare, ..self }
    }

    /// Adds a row. State: its position among those of [`Self::new`].
    #[inline]
    pub fn row(&mut self, state: usize, group: u32, key: &[u8], namespace: &[u8], user_key: &[u8], value: &[u8]) {
        self.append(state, group, |bytes| {
            put_bytes(key, bytes);
            put_bytes(namespace, bytes);
            put_bytes(user_key, bytes);
            put_bytes(value, bytes);
        });
    }

    /// Adds a row that is put together already. State: as in [`Self::row`].
    #[inline]
    pub(crate) fn small_row(&mut self, state: usize, group: u32, row: &SmallRow) {
        self.append(state, group, |bytes| row.append_to(bytes));
    }

    #[inline]
    fn append(&mut self, state: usize, group: u32, put: impl FnOnce(&mut Vec<u8>)) {
        let (groups, chunk_bytes) = (self.header.groups, self.chunk_bytes);
        if group < groups.start || group >= groups.end || state >= self.header.states.len() {
            self.stray.get_or_insert((state, group));
            return;
        }
        let at = state * groups.groups().len() + (group - groups.start) as usize;
        let chunk = &mut self.open[at];
        if chunk.bytes.capacity() - chunk.bytes.len() < ROW_BYTES {
            chunk.make_room(chunk_bytes, &self.spare);
        }
        chunk.rows += 1;
        let bytes = &mut chunk.bytes;
        put(bytes);
        // Rows go to as many places as there are groups: too many for the processor to see where the next ones will be.
        bytes.spare_capacity_mut().get(LINE_BYTES).into_iter().for_each(prefetch);
        if bytes.len() >= chunk.limit {
            self.close(state, group);
        }
    }

    /// Gives on what there is of a chunk.
    fn close(&mut self, state: usize, group: u32) {
        let groups = self.header.groups;
        let at = state * groups.groups().len() + (group - groups.start) as usize;
        let open = &mut self.open[at];
        let is_full = open.bytes.len() >= open.limit;
        let Some((head, rows)) = open.bytes.split_first_chunk_mut::<CHUNK_HEAD_BYTES>().filter(|_| open.rows > 0)
        else {
            return;
        };
        let mut chunk = Chunk {
            state: state as u32,
            group,
            rows: std::mem::take(&mut open.rows),
            length: rows.len() as u32,
            offset: 0,
            checksum: 0,
        };
        open.limit = self.chunk_bytes;
        chunk.checksum = chunk.checksum_of(rows);
        head[..4].copy_from_slice(&CHUNK_MARK.to_le_bytes());
        head[4..20].copy_from_slice(&chunk.head());
        head[20..].copy_from_slice(&chunk.checksum.to_le_bytes());
        if open.bytes.len() >= OWN_BLOCK_BYTES {
            // A group that has filled a chunk fills another.
            let mut next = if is_full { room_for(self.chunk_bytes, &self.spare) } else { Vec::new() };
            if is_full {
                next.resize(CHUNK_HEAD_BYTES, 0);
            }
            let block = std::mem::replace(&mut open.bytes, next);
            self.give();
            chunk.offset = self.offset + CHUNK_HEAD_BYTES as u64;
            self.give_block(block);
        } else {
            if self.tail.len() + open.bytes.len() > self.tail.capacity() {
                self.give();
                self.tail = room_for(CHUNK_BYTES, &self.spare);
            }
            chunk.offset = self.offset + (self.tail.len() + CHUNK_HEAD_BYTES) as u64;
            let bytes = &mut self.open[at].bytes;
            self.tail.append(bytes);
            bytes.resize(CHUNK_HEAD_BYTES, 0);
        }
        self.index.push(chunk);
    }

    /// Makes a block of what there is.
    fn give(&mut self) {
        if self.tail.is_empty() {
            return;
        }
        let block = std::mem::take(&mut self.tail);
        self.give_block(block);
    }

    fn give_block(&mut self, block: Vec<u8>) {
        self.offset += block.len() as u64;
        self.waiting += block.len();
        self.blocks.push_back(block);
    }

    /// Ends the format: there are no more rows.
    pub fn finish(&mut self) {
        if self.finished {
            return;
        }
        for state in 0..self.header.states.len() {
            for group in self.header.groups.groups() {
                self.close(state, group);
            }
        }
        std::mem::take(&mut self.open).into_iter().for_each(|chunk| self.spare.give(chunk.bytes));
        let at = self.offset + self.tail.len() as u64;
        let mut last = Vec::with_capacity(self.index.len() * 32 + 32);
        for chunk in &self.index {
            last.extend_from_slice(&chunk.to_index());
        }
        let sum = checksum(&last);
        last.extend_from_slice(&at.to_le_bytes());
        last.extend_from_slice(&(self.index.len() as u32).to_le_bytes());
        last.extend_from_slice(&VERSION.to_le_bytes());
        last.extend_from_slice(&sum.to_le_bytes());
        last.extend_from_slice(&END_MAGIC);
        self.tail.append(&mut last);
        self.give();
        self.finished = true;
    }

    /// The next block, if one is ready.
    pub fn pop(&mut self) -> Option<Vec<u8>> {
        let block = self.blocks.pop_front()?;
        self.waiting -= block.len();
        Some(block)
    }

    /// The next blocks, if so many bytes of them are ready, or all there are when it has finished.
    pub(crate) fn pop_together(&mut self, bytes: usize) -> Option<Vec<Vec<u8>>> {
        if self.blocks.is_empty() || self.waiting < bytes && !self.finished {
            return None;
        }
        let before = self.waiting;
        let mut together = Vec::new();
        while before - self.waiting < bytes
            && let Some(block) = self.pop()
        {
            together.push(block);
        }
        Some(together)
    }

    /// Bytes of blocks that are ready.
    pub fn waiting_bytes(&self) -> usize {
        self.waiting
    }

    /// Whether [`Self::finish`] was called.
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// Blocks that are ready.
    pub fn waiting_blocks(&self) -> usize {
        self.blocks.len()
    }

    /// An error if rows were left out because their key group is not in the range.
    pub fn stray(&self) -> Option<StateError> {
        let (state, group) = self.stray?;
        let (name, groups) = (self.state_name(state), self.header.groups);
        Some(StateError::misuse(format!(
            "state `{name}` has a key of key group {group} in a subtask with the groups {} to {}: equal keys must serialise \
             equally, always",
            groups.start,
            groups.end.saturating_sub(1)
        )))
    }

    /// The name of a state.
    pub fn state_name(&self, state: usize) -> &str {
        self.header.states.get(state).map_or("", |meta| &meta.name)
    }
}

/// Memory for a chunk of so many bytes. Smaller ones become part of a block, and keep theirs.
#[cold]
#[inline(never)]
fn room_for(chunk_bytes: usize, spare: &SpareBlocks) -> Vec<u8> {
    let room = chunk_bytes + LAST_ROW_BYTES;
    if chunk_bytes == CHUNK_BYTES { spare.take(room) } else { Vec::with_capacity(room) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canonical::{PART, Reader, rows};
    use crate::meta::StateKind;
    use crate::restore::PartsInMemory;

    #[test]
    fn rows_of_groups_of_every_size_are_read_back_whatever_blocks_their_chunks_became() {
        let meta = |name: &str| StateMeta {
            name: name.to_owned(),
            kind: StateKind::Value,
            key: "u64".to_owned(),
            namespace: "unit".to_owned(),
            user_key: String::new(),
            value: "bytes".to_owned(),
            ttl: None,
        };
        let groups = KeyGroupRange { start: 3, end: 9 };
        let mut writer = Writer::new(vec![meta("a"), meta("b")], groups, 128);
        // Nothing, a few rows, less than a block of its own, more, several chunks, one row that is longer than a chunk.
        let sizes = [(0, 0), (3, 10), (100, 100), (300, 100), (3000, 100), (1, 200_000)];
        let mut expected = Vec::new();
        for (group, (count, length)) in groups.groups().zip(sizes) {
            for row in 0..count {
                for state in 0..2 {
                    let (key, value) = (vec![group as u8, row as u8, (row >> 8) as u8], vec![state as u8; length]);
                    writer.row(state, group, &key, &[], b"user key", &value);
                    expected.push((state as u32, group, key, value));
                }
            }
        }
        writer.finish();
        let blocks: Vec<_> = std::iter::from_fn(|| writer.pop()).collect();
        assert!(blocks.iter().all(|block| block.len() < 300_000), "a row made a block larger than itself");
        let bytes = blocks.concat();
        let length = bytes.len() as u64;
        let mut source = PartsInMemory([(PART.to_owned(), bytes)].into());
        let reader = Reader::open(&mut source, length).unwrap();
        let mut read = Vec::new();
        for chunk in reader.chunks() {
            let mut bytes = Vec::new();
            reader.read(&mut source, chunk, &mut bytes).unwrap();
            let rows: Vec<_> = rows(&bytes).map(Result::unwrap).collect();
            assert_eq!(rows.len(), chunk.rows as usize);
            read.extend(rows.iter().map(|row| (chunk.state, chunk.group, row.key.to_vec(), row.value.to_vec())));
        }
        read.sort();
        expected.sort();
        assert!(read == expected, "{} rows were read, {} written", read.len(), expected.len());
    }
}
