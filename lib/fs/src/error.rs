//! What can go wrong with files, in terms of what the caller can do about it.

use std::error::Error;
use std::time::Duration;

/// A failed operation on a file system.
#[derive(Debug, thiserror::Error)]
pub enum FsError {
    /// There is no such file or directory.
    #[error("`{path}` does not exist")]
    NotFound {
        /// The missing path.
        path: String,
    },
    /// Something stands where something new was to be made.
    #[error("`{path}` already exists: remove it or choose another path")]
    AlreadyExists {
        /// The occupied path.
        path: String,
    },
    /// The user may not do this.
    #[error("user `{user}` may not access `{path}` ({detail}): grant the permission or run as another user")]
    PermissionDenied {
        /// The refused path.
        path: String,
        /// The user that asked, as far as it is known here.
        user: String,
        /// What the file system said, on one line.
        detail: String,
    },
    /// A directory was needed.
    #[error("`{path}` is not a directory")]
    NotADirectory {
        /// The path that is a file, or below one.
        path: String,
    },
    /// A file was needed.
    #[error("`{path}` is a directory")]
    IsADirectory {
        /// The path of the directory.
        path: String,
    },
    /// A directory with content was to be deleted or replaced without saying `recursive`.
    #[error("directory `{path}` is not empty")]
    NotEmpty {
        /// The path of the directory.
        path: String,
    },
    /// The file system did not answer in time. Whether the operation took place is not known.
    #[error("{operation} `{path}` got no answer within {} s", after.as_secs_f32())]
    Timeout {
        /// What was tried, such as `reading`.
        operation: &'static str,
        /// The path it was tried on.
        path: String,
        /// How long was waited.
        after: Duration,
    },
    /// The file system can't serve now (start-up, safe mode, failover, broken connection) and may later.
    #[error("{operation} `{path}` failed because the file system is not available: {reason}")]
    Unavailable {
        /// What was tried, such as `reading`.
        operation: &'static str,
        /// The path it was tried on.
        path: String,
        /// What the file system or the network said, on one line.
        reason: String,
    },
    /// No backend knows the scheme.
    #[error("`{path}` has the unknown scheme `{scheme}`: known are {known}")]
    UnknownScheme {
        /// The scheme.
        scheme: String,
        /// The path that has it.
        path: String,
        /// The schemes that are known, joined by commas.
        known: &'static str,
    },
    /// The text is no usable path.
    #[error("`{path}` is not a valid path: {reason}")]
    BadPath {
        /// The text.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A backend can't be set up from the configuration it was given.
    #[error("no file system for `{path}`: {reason}")]
    BadConfiguration {
        /// The path whose file system was to be opened.
        path: String,
        /// What is missing or wrong, and where to set it.
        reason: String,
    },
    /// Anything else; the cause is in `source()`.
    #[error("{operation} `{path}` failed")]
    Other {
        /// What was tried, such as `reading`.
        operation: &'static str,
        /// The path it was tried on.
        path: String,
        /// What the backend said.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}

impl FsError {
    /// Whether the same operation may succeed later without anybody changing anything.
    ///
    /// After a [`Timeout`](FsError::Timeout) the operation may have taken place: look before repeating one that is not
    /// idempotent.
    pub fn is_retryable(&self) -> bool {
        matches!(self, FsError::Timeout { .. } | FsError::Unavailable { .. })
    }

    /// Whether the path does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, FsError::NotFound { .. })
    }

    /// Whether the path exists and was not to.
    pub fn is_already_exists(&self) -> bool {
        matches!(self, FsError::AlreadyExists { .. })
    }
}
