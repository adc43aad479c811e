//! The canonical format of keyed state: by key group, written in one go, readable by every backend.
//!
//! A [`Writer`] takes rows in any order and gives blocks that follow one another; a [`Reader`] finds the chunks of its key
//! groups through the index at the end. The layout is in `docs/formats/keyed-state.md`.

mod layout;
mod reader;
mod room;
mod small_row;
mod spare;
mod writer;

pub use layout::{Chunk, Header};
pub use reader::{Reader, Row, rows};
pub(crate) use small_row::{SmallParts, SmallRow};
pub use spare::{LentBlock, SpareBlocks};
pub use writer::Writer;

/// The name of the only part of a snapshot in this format.
pub const PART: &str = "state";
