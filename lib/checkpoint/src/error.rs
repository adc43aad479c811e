//! What can be wrong with a checkpoint, and with which file.

use flumen_fs::FsError;
use flumen_model::failure::Blame;
use flumen_model::ids::Epoch;

/// A checkpoint that can't be written, found, read or removed.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// There is no metadata file.
    #[error(
        "there is no checkpoint or savepoint at `{path}`: a directory with a file `_metadata`, or that file, is expected"
    )]
    Missing {
        /// What was given.
        path: String,
    },
    /// The metadata file is not what was written.
    #[error("metadata file `{path}` can't be used: {reason}")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The metadata file was written by a newer Flumen, or a byte of it was altered.
    #[error(
        "metadata file `{path}` has version {found}, this Flumen reads up to {known}: use the Flumen that wrote it, or a newer one"
    )]
    Version {
        /// The file.
        path: String,
        /// The version it names.
        found: u32,
        /// The newest known one.
        known: u32,
    },
    /// Somebody else has completed a checkpoint in this directory.
    #[error(
        "the checkpoint in `{path}` is complete already: another JobManager (epoch {by}) writes into this job's directory"
    )]
    AlreadyCompleted {
        /// The directory.
        path: String,
        /// The leader that did.
        by: Epoch,
    },
    /// A newer leader has taken the job over.
    #[error("the checkpoints in `{directory}` belong to a newer JobManager: this one (epoch {epoch}) must stop")]
    Superseded {
        /// The job's directory.
        directory: String,
        /// Who has been superseded.
        epoch: Epoch,
    },
    /// A file of state is not there.
    #[error("state file `{path}` does not exist")]
    StateMissing {
        /// The file.
        path: String,
    },
    /// A file of state is shorter than its handle says.
    #[error("state file `{path}` has {found} bytes, but {needed} are needed: it was cut off")]
    StateShort {
        /// The file.
        path: String,
        /// Bytes that it has.
        found: u64,
        /// Bytes that it must have.
        needed: u64,
    },
    /// The bytes of state are not those that were written.
    #[error("state in `{path}` (bytes {offset} to {end}) was altered: its checksum is not the one in the metadata")]
    StateAltered {
        /// The file, or `the metadata` for few bytes.
        path: String,
        /// Where the bytes begin.
        offset: u64,
        /// Where they end.
        end: u64,
    },
    /// Several things are wrong.
    #[error("checkpoint {checkpoint} can't be used: {}", join(reasons))]
    Invalid {
        /// Its directory.
        checkpoint: String,
        /// At least one; the first few of them.
        reasons: Vec<CheckpointError>,
    },
    /// The file system failed.
    #[error(transparent)]
    Fs(#[from] FsError),
}

fn join(reasons: &[CheckpointError]) -> String {
    reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl CheckpointError {
    /// Whether the checkpoint itself is at fault: not there, incomplete or altered. An older one may do. Otherwise nothing is
    /// known of it (the file system did not answer), and an older one must not be taken for that.
    pub fn is_about_the_checkpoint(&self) -> bool {
        match self {
            Self::Missing { .. }
            | Self::Damaged { .. }
            | Self::Version { .. }
            | Self::StateMissing { .. }
            | Self::StateShort { .. }
            | Self::StateAltered { .. }
            | Self::Invalid { .. } => true,
            Self::AlreadyCompleted { .. } | Self::Superseded { .. } => false,
            // Paths come out of the metadata file, and are part of it.
            Self::Fs(error) => matches!(error, FsError::BadPath { .. } | FsError::IsADirectory { .. }),
        }
    }

    /// Whose fault it is: the outside's. What this crate itself could do wrong, it asserts.
    pub fn blame(&self) -> Blame {
        Blame::Outside
    }
}
