//! Checkpoints and savepoints at rest.
//!
//! In: what subtasks and the JobMaster know of a checkpoint. Out: files of state, metadata files that are complete or not
//! there, and, later, the checkpoint that they describe, or an error that names the file.
//!
//! * [`layout`]: where everything lies;
//! * [`StateFile`] and [`SharedFile`] write the bytes of one subtask, [`read_handle`] and [`open_handle`] read them back;
//! * [`store`] completes a checkpoint by one rename, [`load`] and [`newest_valid`] find it again, [`validate`] looks for what
//!   it refers to;
//! * [`discard`] and [`dispose_savepoint`] remove;
//! * [`Keeper`] does all of this for the driver of a JobMaster;
//! * [`Leadership`] keeps a leader that was cut off from completing or removing anything once there is a newer one.
//!
//! The protocol and its invariants (`CP-1` …) are in `docs/adr/0010-checkpoints-complete-by-rename.md`; `tests/protocol.rs`
//! checks them in every interleaving of two leaders.

mod discard;
mod error;
mod find;
mod format;
mod handles;
mod keeper;
pub mod layout;
mod lead;
mod read;
mod store;
#[cfg(test)]
mod testing;
mod validate;
mod write;

pub use discard::{Undeleted, discard, dispose_savepoint};
pub use error::CheckpointError;
pub use find::{Newest, Rejected, newest_valid, newest_valid_of};
pub use format::{Origin, VERSION};
pub use keeper::{Beginning, Keeper, Places, StoreError};
pub use lead::Leadership;
pub use read::{HandleReader, open_handle, open_state_file, read_handle};
pub use store::{Stored, load, store};
pub use validate::{Depth, validate};
pub use write::{Section, SharedFile, StateFile};
