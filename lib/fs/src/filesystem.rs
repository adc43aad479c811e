//! The one trait that all file systems implement.

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};

use crate::{FsError, FsPath, glob};

/// What is known of a file or directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileStatus {
    /// The full name.
    pub path: FsPath,
    /// Length in bytes; 0 for directories. Of an HDFS file that is still being written it may be any older length.
    pub len: u64,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Last modification, milliseconds since 1970. YARN compares this number when it localises a resource.
    pub modified_ms: u64,
    /// Permission bits such as `0o644`.
    pub permission: u16,
    /// The owning user: a name, or the number where no name is known.
    pub owner: String,
    /// The owning group: a name, or the number where no name is known.
    pub group: String,
}

/// How a file is to be created. The default refuses an existing file and gives it the mode `0644`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CreateOptions {
    /// Replace an existing file. Without it the creation is exclusive: of several that race, one wins.
    pub overwrite: bool,
    /// Exact permission bits; `None` is `0666` less the umask.
    pub permission: Option<u16>,
    /// Copies that HDFS keeps; `None` is the cluster's default. Other file systems ignore it.
    pub replication: Option<u16>,
}

impl CreateOptions {
    /// Options that replace an existing file.
    pub fn overwriting() -> Self {
        Self { overwrite: true, ..Self::default() }
    }
}

/// A file system: local disks, HDFS.
///
/// Every method takes full paths of this file system. Every call ends: with a result, or with an error after the
/// configured time limit. Idempotent calls are retried inside within the configured budget.
#[async_trait]
pub trait FileSystem: Send + Sync {
    /// Describes a file or directory.
    ///
    /// # Errors
    /// [`FsError::NotFound`] when it does not exist.
    async fn status(&self, path: &FsPath) -> Result<FileStatus, FsError>;

    /// Describes the entries of a directory, sorted by path.
    ///
    /// # Errors
    /// [`FsError::NotFound`]; [`FsError::NotADirectory`] for a file.
    async fn list(&self, directory: &FsPath) -> Result<Vec<FileStatus>, FsError>;

    /// Opens a file for reading.
    ///
    /// # Errors
    /// [`FsError::NotFound`]; [`FsError::IsADirectory`] for a directory.
    async fn open(&self, path: &FsPath) -> Result<Box<dyn FileReader>, FsError>;

    /// Creates a file and its missing parent directories. The content is certain only after
    /// [`close`](FileWriter::close).
    ///
    /// # Errors
    /// [`FsError::AlreadyExists`] unless `options.overwrite`; [`FsError::IsADirectory`] or `AlreadyExists` for a
    /// directory; [`FsError::NotADirectory`] when a parent is a file.
    async fn create(&self, path: &FsPath, options: &CreateOptions) -> Result<Box<dyn FileWriter>, FsError>;

    /// Renames a file or directory in one atomic step. The parent of `to` must exist.
    ///
    /// # Errors
    /// [`FsError::NotFound`] when `from` or the parent of `to` is missing; [`FsError::AlreadyExists`] when `to` exists
    /// and `overwrite` is not set. With `overwrite` a file replaces a file and a directory an empty directory.
    async fn rename(&self, from: &FsPath, to: &FsPath, overwrite: bool) -> Result<(), FsError>;

    /// Deletes a file or directory. Returns whether there was something to delete.
    ///
    /// # Errors
    /// [`FsError::NotEmpty`] for a directory with content unless `recursive`.
    async fn delete(&self, path: &FsPath, recursive: bool) -> Result<bool, FsError>;

    /// Makes a directory and its missing parents; succeeds when it is there already. `permission` is given exactly to
    /// the last directory if it is new; `None` is `0777` less the umask.
    ///
    /// # Errors
    /// [`FsError::AlreadyExists`] or [`FsError::NotADirectory`] when the path or a parent is a file.
    async fn mkdirs(&self, path: &FsPath, permission: Option<u16>) -> Result<(), FsError>;

    /// The directory that relative paths of this file system start from: `/user/<name>` on HDFS.
    fn home_directory(&self) -> FsPath;

    /// Files and directories that match a pattern, sorted by path; none is no error.
    ///
    /// Understood are `*` and `?` (within a component), `[a-z]`, `[^a-z]`, `{one,two}` and `\` before a special
    /// character, as in Hadoop's `globStatus`. Names that start with a dot are matched like others.
    ///
    /// # Errors
    /// [`FsError::BadPath`] when a bracket or brace is not closed.
    async fn glob(&self, pattern: &FsPath) -> Result<Vec<FileStatus>, FsError> {
        glob::expand(self, pattern).await
    }

    /// Whether something exists at `path`.
    ///
    /// # Errors
    /// Those of [`status`](FileSystem::status) except `NotFound`.
    async fn exists(&self, path: &FsPath) -> Result<bool, FsError> {
        match self.status(path).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Reads a whole file of at most `max_len` bytes.
    ///
    /// # Errors
    /// Those of [`open`](FileSystem::open) and [`read_at`](FileReader::read_at); [`FsError::Other`] when the file is
    /// longer than `max_len`.
    async fn read_fully(&self, path: &FsPath, max_len: usize) -> Result<Bytes, FsError> {
        let mut reader = self.open(path).await?;
        let mut content = BytesMut::new();
        loop {
            let chunk = reader.read_at(content.len() as u64, READ_CHUNK).await?;
            if chunk.is_empty() {
                return Ok(content.freeze());
            }
            if content.len() + chunk.len() > max_len {
                let source = format!("it is longer than {max_len} bytes").into();
                return Err(FsError::Other { operation: "reading", path: path.to_string(), source });
            }
            content.extend_from_slice(&chunk);
        }
    }

    /// Creates a file with the given content and closes it.
    ///
    /// # Errors
    /// Those of [`create`](FileSystem::create), [`write`](FileWriter::write) and [`close`](FileWriter::close).
    async fn write_fully(&self, path: &FsPath, content: Bytes, options: &CreateOptions) -> Result<(), FsError> {
        let mut writer = self.create(path, options).await?;
        writer.write(content).await?;
        writer.close().await
    }
}

/// Bytes asked for at once when a whole file is read.
const READ_CHUNK: usize = 1 << 20;

/// An open file for reading.
#[async_trait]
pub trait FileReader: Send {
    /// Length in bytes when the file was opened.
    fn len(&self) -> u64;

    /// Whether the file was empty when it was opened.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads `len` bytes from `offset`. The answer is shorter only at the end of the file, and empty past it.
    ///
    /// # Errors
    /// Those of the file system; after one the reader can be used again.
    async fn read_at(&mut self, offset: u64, len: usize) -> Result<Bytes, FsError>;
}

/// A new file that is being written. Dropped without [`close`](FileWriter::close) it is left incomplete.
#[async_trait]
pub trait FileWriter: Send {
    /// Appends bytes. They may stay in a buffer until [`close`](FileWriter::close).
    ///
    /// # Errors
    /// Those of the file system; after one the writer is of no use and the file incomplete.
    async fn write(&mut self, data: Bytes) -> Result<(), FsError>;

    /// Appends several pieces, one behind the other, for less than it takes to append each.
    ///
    /// # Errors
    /// As [`write`](FileWriter::write).
    async fn write_all(&mut self, pieces: Vec<Bytes>) -> Result<(), FsError> {
        for piece in pieces {
            self.write(piece).await?;
        }
        Ok(())
    }

    /// Completes the file: when this has returned `Ok`, all bytes are stored and visible to readers.
    ///
    /// # Errors
    /// Those of the file system; the file is then incomplete, or its state unknown after a timeout.
    async fn close(self: Box<Self>) -> Result<(), FsError>;
}
