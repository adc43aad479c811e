//! Files on their way to the cluster, stored once by their content, whoever stages them: the command line, or an
//! ApplicationMaster that was given a program over REST. The layout is docs/formats/staging.md.
//!
//! In: a local file. Out: the path in the cache from which containers fetch it. Start at [`ContentCache`].

mod cache;
mod content;
mod identity;

pub use cache::{ContentCache, PRIVATE_DIRECTORY, Progress, replication};
pub use content::{Hashed, hash};
pub use identity::{ProcessIdentity, temporary_name};

use std::path::PathBuf;

use flumen_fs::FsError;

/// Why a file could not be staged.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// A local file can't be read.
    #[error("`{path}` can't be read")]
    Read {
        /// The local file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// The local file became another one while it was uploaded.
    #[error("`{path}` changed while it was uploaded: submit again once it is complete")]
    Changed {
        /// The local file.
        path: PathBuf,
    },
    /// The staging area refuses.
    #[error("staging failed")]
    Remote(#[from] FsError),
}
