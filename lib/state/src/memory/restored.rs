//! What a snapshot has for tables in memory.
//!
//! A piece is read from its start to its end when the first of its states is asked for. The chunks of that state go into its
//! table one by one, so that they need no memory of their own; those of others wait for someone to ask for them.

use flumen_model::checkpoint::KeyGroupRange;

use crate::canonical::{self, Chunk, Reader};
use crate::error::StateError;
use crate::meta::StateMeta;
use crate::restore::RestoredKeyed;
use crate::typed::RowConverter;

use super::AnyTable;

/// Rows that are handed to a table together.
const TOGETHER: usize = 64;

/// A chunk whose state nobody has asked for yet.
pub(super) struct Restored {
    pub(super) chunk: Chunk,
    pub(super) bytes: Vec<u8>,
}

/// A piece of a snapshot that was not read yet, but for its header and index.
pub(super) struct Piece {
    restored: RestoredKeyed,
    reader: Reader,
    groups: KeyGroupRange,
    /// By position in the header: the state here, if it has rows of the key groups.
    states: Vec<Option<usize>>,
}

impl Piece {
    /// Opens a piece. `state_of` gives the number of a state that has rows of the key groups.
    pub(super) fn open(
        mut restored: RestoredKeyed,
        groups: KeyGroupRange,
        max_parallelism: u32,
        mut state_of: impl FnMut(&StateMeta) -> usize,
    ) -> Result<Self, StateError> {
        let (reader, _) = Reader::of(&mut restored, max_parallelism)?;
        let mut states = vec![None; reader.header().states.len()];
        for chunk in reader.chunks().iter().filter(|chunk| groups.contains(chunk.group)) {
            let state = chunk.state as usize;
            states[state].get_or_insert_with(|| state_of(&reader.header().states[state]));
        }
        Ok(Self { restored, reader, groups, states })
    }

    /// How many rows it has of a state.
    pub(super) fn rows_of(&self, state: usize) -> usize {
        let own =
            |chunk: &&Chunk| self.groups.contains(chunk.group) && self.states[chunk.state as usize] == Some(state);
        self.reader.chunks().iter().filter(own).map(Chunk::rows_at_most).sum()
    }

    /// Calls with the state and the rows of each chunk of the key groups.
    pub(super) fn read(
        mut self,
        mut each: impl FnMut(usize, &Chunk, &mut Vec<u8>) -> Result<(), StateError>,
    ) -> Result<(), StateError> {
        let mut bytes = Vec::new();
        for chunk in self.reader.chunks().iter().filter(|chunk| self.groups.contains(chunk.group)) {
            let Some(state) = self.states[chunk.state as usize] else { continue };
            self.reader.read(&mut *self.restored.reader, chunk, &mut bytes)?;
            each(state, chunk, &mut bytes)?;
        }
        Ok(())
    }
}

/// A table that rows are put into.
pub(super) struct Target<'a> {
    pub(super) table: &'a dyn AnyTable,
    /// Name of its state.
    pub(super) name: &'a str,
    /// Values that get the time of their last use get this one.
    pub(super) now_ms: i64,
}

impl Target<'_> {
    /// Puts the rows of a chunk in.
    pub(super) fn restore(&self, convert: &RowConverter, chunk: &Chunk, bytes: &[u8]) -> Result<(), StateError> {
        let damaged = |at: u64, what: String| StateError::corrupt(self.name, chunk.offset + at, what);
        let unreadable = |at: u64, error: postcard::Error| damaged(at, format!("a row can't be read: {error}"));
        let rows = canonical::rows(bytes).map(|row| row.map_err(|at| damaged(at, "a row is torn".to_owned())));
        if !convert.keeps_values() {
            for row in rows {
                let row = row?;
                let one = |value: &[u8]| self.table.restore(&[canonical::Row { value, ..row }]).map_err(|(_, e)| e);
                let converted = convert.value(row.value, self.now_ms, one);
                converted.map_err(|error| error.or_damaged(|error| unreadable(row.offset, error)))?;
            }
            return Ok(());
        }
        let mut some = Vec::with_capacity(TOGETHER);
        let flush = |some: &mut Vec<canonical::Row<'_>>| {
            let restored = self.table.restore(some);
            restored.map_err(|(at, error)| unreadable(some.get(at).map_or(0, |row| row.offset), error))?;
            some.clear();
            Ok::<_, StateError>(())
        };
        for row in rows {
            some.push(row?);
            if some.len() == TOGETHER {
                flush(&mut some)?;
            }
        }
        flush(&mut some)
    }
}

impl Reader {
    /// Opens a piece.
    pub(crate) fn of(
        piece: &mut RestoredKeyed,
        max_parallelism: u32,
    ) -> Result<(Self, &mut dyn crate::SnapshotReader), StateError> {
        let length = piece.state.parts.get(canonical::PART).map_or(0, |handle| handle.length);
        let source = &mut *piece.reader;
        let reader = Self::open(source, length)?;
        let written = reader.header().max_parallelism;
        if written != max_parallelism {
            return Err(StateError::misuse(format!(
                "the snapshot has {written} key groups, this operator {max_parallelism}: set its maximum parallelism to {written}"
            )));
        }
        Ok((reader, source))
    }
}
