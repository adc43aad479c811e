//! File systems from a job's configuration.

use std::collections::BTreeMap;

use flumen_fs::{FileSystems, FsError, FsOptions};
use flumen_model::config::{BadConfiguration, Configuration};
use flumen_model::options::execution;

/// Why there are no file systems.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// An option has a wrong value.
    #[error(transparent)]
    Configuration(#[from] BadConfiguration),
    /// The options make no file systems.
    #[error("the file systems can't be set up")]
    Files(#[source] FsError),
}

/// The file systems of a job: `fs.default-scheme` and expanded Hadoop properties (none: only local files and full
/// `hdfs://host:port/` paths).
pub fn file_systems(
    configuration: &Configuration,
    hadoop: &BTreeMap<String, String>,
) -> Result<FileSystems, FilesError> {
    let options = FsOptions {
        default_scheme: configuration.find(&execution::DEFAULT_SCHEME)?,
        hadoop: (!hadoop.is_empty()).then(|| hadoop.clone()),
        ..FsOptions::default()
    };
    FileSystems::new(options).map_err(FilesError::Files)
}
