//! What can be wrong with a Hadoop configuration.

use std::path::PathBuf;

/// A configuration that can't be read or used.
#[derive(Debug, thiserror::Error)]
pub enum ConfError {
    /// No directory holds core-site.xml, hdfs-site.xml or yarn-site.xml.
    #[error(
        "found no core-site.xml, hdfs-site.xml or yarn-site.xml; {looked_at}: set HADOOP_CONF_DIR to the directory that holds them"
    )]
    NoFiles {
        /// What each variable was and held.
        looked_at: String,
    },
    /// A file can't be read.
    #[error("Hadoop configuration file `{}` can't be read", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// A file is no Hadoop configuration.
    #[error("Hadoop configuration file `{file}` line {line}: {reason}")]
    Xml {
        /// The file.
        file: String,
        /// Line, from 1.
        line: usize,
        /// What is wrong there.
        reason: String,
    },
    /// A value is not what its key needs.
    #[error("Hadoop property {key} is `{value}`, which is no {wanted}")]
    BadValue {
        /// The key.
        key: String,
        /// Its value, expanded.
        value: String,
        /// What it should be, with an example.
        wanted: &'static str,
    },
    /// A key that is needed has no value.
    #[error("Hadoop property {key} is not set: {needed_for}")]
    Missing {
        /// The key.
        key: String,
        /// Why it is needed.
        needed_for: &'static str,
    },
    /// Variables in a value refer to each other without end.
    #[error("Hadoop property {key} needs more than {limit} substitutions: do its variables refer to each other?")]
    TooManySubstitutions {
        /// The key.
        key: String,
        /// The limit, which is Hadoop's.
        limit: usize,
    },
}
