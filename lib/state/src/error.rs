//! What can go wrong with state.

use std::error::Error;
use std::io;

use flumen_model::failure::Blame;

use crate::schema::Incompatible;

/// An error of state. One pointer wide, so that results of accesses stay small.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct StateError(Box<StateErrorKind>);

/// What kind of error it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateErrorKind {
    /// The user's type can't be written.
    #[error("state `{state}`: a {type_name} can't be serialised: {source}")]
    NotSerialisable {
        /// The state.
        state: String,
        /// The type.
        type_name: &'static str,
        /// What serde says.
        source: postcard::Error,
    },
    /// The type can't be kept at all.
    #[error(
        "state `{state}`: a {type_name} can't be state: {reason}. The format of state does not describe itself: avoid serde's \
         `flatten`, `untagged` and `tag` in types of state"
    )]
    Unsupported {
        /// The state.
        state: String,
        /// The type.
        type_name: &'static str,
        /// Why not.
        reason: String,
    },
    /// The snapshot was written by another type that this one can't take the place of.
    #[error(transparent)]
    Incompatible(#[from] Incompatible),
    /// The snapshot's bytes are not what was written.
    #[error(
        "the snapshot is damaged: state `{state}`, offset {offset}: {what}. An older checkpoint may still be whole"
    )]
    Corrupt {
        /// The state, or the part of the file.
        state: String,
        /// Bytes from the start of the part.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
    /// A part of the snapshot couldn't be read.
    #[error("part `{part}` of the snapshot can't be read: {source}")]
    Read {
        /// The part's name.
        part: String,
        /// Why.
        source: io::Error,
    },
    /// The backend's store failed.
    #[error("{what}: {source}")]
    Backend {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: Box<dyn Error + Send + Sync>,
    },
    /// There is no room for the backend's files.
    #[error(
        "{what}: {why}. The local disk is full: make room there, or name directories on other disks in \
         state.backend.rocksdb.localdir, or io.tmp.dirs"
    )]
    DiskFull {
        /// What was tried, and where.
        what: String,
        /// What the system says.
        why: String,
    },
    /// The backend isn't part of this program.
    #[error(
        "the state backend `{0}` is not part of this program: build it with the feature `{0}` of the crate `flumen`"
    )]
    NotBuiltIn(&'static str),
    /// The subtask ended before its snapshot was complete.
    #[error("the subtask ended before its snapshot was complete")]
    SubtaskGone,
    /// The API was used in a way that it does not allow.
    #[error("{0}")]
    Misuse(String),
}

impl<E: Into<StateErrorKind>> From<E> for StateError {
    fn from(kind: E) -> Self {
        Self(Box::new(kind.into()))
    }
}

impl StateError {
    /// What kind of error it is.
    pub fn kind(&self) -> &StateErrorKind {
        &self.0
    }

    /// Whose fault it is.
    pub fn blame(&self) -> Blame {
        match self.kind() {
            StateErrorKind::NotSerialisable { .. }
            | StateErrorKind::Unsupported { .. }
            | StateErrorKind::Incompatible(_)
            | StateErrorKind::NotBuiltIn(_)
            | StateErrorKind::Misuse(_) => Blame::User,
            StateErrorKind::Corrupt { .. }
            | StateErrorKind::Read { .. }
            | StateErrorKind::Backend { .. }
            | StateErrorKind::DiskFull { .. }
            | StateErrorKind::SubtaskGone => Blame::Outside,
        }
    }

    pub(crate) fn corrupt(state: &str, offset: u64, what: impl Into<String>) -> Self {
        StateErrorKind::Corrupt { state: state.to_owned(), offset, what: what.into() }.into()
    }

    /// A local file of a backend could not be written, or read; `what` names it.
    pub fn of_local_file(what: impl Into<String>, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::disk_full(what, source.to_string()),
            _ => StateErrorKind::Backend { what: what.into(), source: source.into() }.into(),
        }
    }

    pub(crate) fn disk_full(what: impl Into<String>, why: String) -> Self {
        StateErrorKind::DiskFull { what: what.into(), why }.into()
    }

    pub(crate) fn misuse(what: impl Into<String>) -> Self {
        StateErrorKind::Misuse(what.into()).into()
    }
}
