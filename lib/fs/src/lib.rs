//! File systems by scheme behind one small trait.
//!
//! In: paths such as `hdfs://namenode:8020/in.txt` or `/tmp/out`. Out: statuses, bytes, typed errors.
//! Start at [`FileSystems`], which finds the [`FileSystem`] of an [`FsPath`]. [`output`] is the layout and the commit of
//! a job's output directory.

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod error;
mod filesystem;
mod glob;
mod hadoop_conf;
mod hdfs;
mod local;
mod options;
pub mod output;
mod path;
mod registry;

pub use error::FsError;
pub use filesystem::{CreateOptions, FileReader, FileStatus, FileSystem, FileWriter};
pub use hadoop_conf::hadoop_properties;
pub use options::FsOptions;
pub use path::FsPath;
pub use registry::FileSystems;
