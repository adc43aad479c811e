//! The `hdfs` scheme, over the hdfs-native client. `viewfs` comes with it.

mod address;
mod connection;
mod errors;
mod reader;
mod retry;
mod writer;

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use hdfs_native::WriteOptions;

use self::connection::{Answer, Connection};
use self::errors::{Failure, Outcome};
use self::reader::HdfsReader;
use self::retry::Replay;
use self::writer::HdfsWriter;
use crate::{CreateOptions, FileReader, FileStatus, FileSystem, FileWriter, FsError, FsOptions, FsPath};

/// Permission bits that Hadoop's default umask (022) takes away.
const UMASK: u16 = 0o022;

/// One NameNode or name service.
pub(crate) struct HdfsFileSystem {
    connection: Arc<Connection>,
    home: FsPath,
}

impl HdfsFileSystem {
    /// The file system that `path` is in. No connection is made yet.
    pub(crate) fn new(path: &FsPath, options: &FsOptions) -> Result<Self, FsError> {
        let none = Default::default();
        let hadoop = options.hadoop.as_ref().unwrap_or(&none);
        let connection = Connection::new(address::connect_url(path, hadoop)?, options);
        let home = FsPath::new(path.scheme(), path.authority(), &address::home_directory(&connection.user, hadoop))?;
        Ok(Self { connection: Arc::new(connection), home })
    }

    async fn stat(&self, operation: &'static str, path: &FsPath) -> Result<FileStatus, Failure> {
        stat(&self.connection, operation, path).await
    }

    /// A rename whose answer was lost: it took place if the source is gone and the target is there.
    async fn was_renamed(&self, from: &FsPath, to: &FsPath) -> Result<bool, Failure> {
        match self.stat("renaming", from).await {
            Ok(_) => Ok(false),
            Err(Failure { error: FsError::NotFound { .. }, .. }) => self.stat("renaming", to).await.map(|_| true),
            Err(failure) => Err(failure),
        }
    }
}

async fn stat(connection: &Connection, operation: &'static str, path: &FsPath) -> Result<FileStatus, Failure> {
    let doing = connection.doing(operation, path);
    let answer =
        connection.call(doing, Replay::Idempotent, |client| async move { client.get_file_info(path.path()).await });
    answer.await.map(|answer| to_status(path, answer.value))
}

/// `base` is any path of the same file system.
fn to_status(base: &FsPath, status: hdfs_native::client::FileStatus) -> FileStatus {
    FileStatus {
        path: base.root().join(&status.path),
        len: if status.isdir { 0 } else { status.length as u64 },
        is_dir: status.isdir,
        modified_ms: status.modification_time,
        permission: status.permission,
        owner: status.owner,
        group: status.group,
    }
}

fn value<T>(answer: Result<Answer<T>, Failure>) -> Result<T, FsError> {
    answer.map(|answer| answer.value).map_err(|failure| failure.error)
}

#[async_trait]
impl FileSystem for HdfsFileSystem {
    async fn status(&self, path: &FsPath) -> Result<FileStatus, FsError> {
        self.stat("describing", path).await.map_err(|failure| failure.error)
    }

    async fn list(&self, directory: &FsPath) -> Result<Vec<FileStatus>, FsError> {
        let doing = self.connection.doing("listing", directory);
        let answer = self
            .connection
            .call(doing, Replay::Idempotent, |client| async move { client.list_status(directory.path(), false).await });
        let entries: Vec<_> = value(answer.await)?.into_iter().map(|entry| to_status(directory, entry)).collect();
        // The NameNode answers the listing of a file with the file itself.
        match entries.as_slice() {
            [only] if only.path == *directory => Err(FsError::NotADirectory { path: directory.to_string() }),
            _ => Ok(sorted(entries)),
        }
    }

    async fn open(&self, path: &FsPath) -> Result<Box<dyn FileReader>, FsError> {
        let reader = HdfsReader::open(Arc::clone(&self.connection), path.clone()).await;
        Ok(Box::new(reader.map_err(|failure| failure.error)?))
    }

    async fn create(&self, path: &FsPath, options: &CreateOptions) -> Result<Box<dyn FileWriter>, FsError> {
        let mut write = WriteOptions::default()
            .overwrite(options.overwrite)
            .permission(u32::from(options.permission.unwrap_or(0o666 & !UMASK)));
        write.replication = options.replication.map(u32::from);
        // An exclusive creation whose answer was lost can't be told from one that somebody else won.
        let replay = if options.overwrite { Replay::Idempotent } else { Replay::IfNotExecuted };
        let write = &write;
        let doing = self.connection.doing("creating", path);
        let answer =
            self.connection.call(doing, replay, |client| async move { client.create(path.path(), write).await });
        let writer = value(answer.await)?;
        Ok(Box::new(HdfsWriter::new(Arc::clone(&self.connection), path.clone(), writer)))
    }

    async fn rename(&self, from: &FsPath, to: &FsPath, overwrite: bool) -> Result<(), FsError> {
        let begun = Instant::now();
        let mut doubts = 0;
        loop {
            let doing = self.connection.doing("renaming", from);
            let answer = self.connection.call(doing, Replay::IfNotExecuted, |client| async move {
                client.rename(from.path(), to.path(), overwrite).await
            });
            let failure = match answer.await {
                Ok(_) => return Ok(()),
                Err(failure) => failure,
            };
            if failure.outcome != Outcome::Unknown {
                return Err(about_target(failure.error, to));
            }
            if self.was_renamed(from, to).await.map_err(|failure| failure.error)? {
                return Ok(());
            }
            doubts += 1;
            let policy = &self.connection.policy;
            // It did not take place, so it may be sent again.
            match policy.next_wait(Outcome::NotExecuted, Replay::IfNotExecuted, doubts, begun.elapsed()) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return Err(failure.error),
            }
        }
    }

    async fn delete(&self, path: &FsPath, recursive: bool) -> Result<bool, FsError> {
        if path.path() == "/" {
            return Err(FsError::BadPath { path: path.to_string(), reason: "the root is not deleted" });
        }
        let doing = self.connection.doing("deleting", path);
        let answer = self
            .connection
            .call(doing, Replay::Idempotent, |client| async move { client.delete(path.path(), recursive).await });
        match answer.await {
            // Gone at the second attempt: the first may have deleted it.
            Ok(answer) => Ok(answer.value || answer.after_doubt),
            Err(Failure { error: FsError::NotADirectory { .. } | FsError::NotFound { .. }, .. }) => Ok(false),
            Err(failure) => Err(failure.error),
        }
    }

    async fn mkdirs(&self, path: &FsPath, permission: Option<u16>) -> Result<(), FsError> {
        let mode = u32::from(permission.unwrap_or(0o777 & !UMASK));
        let doing = self.connection.doing("making directory", path);
        let answer = self
            .connection
            .call(doing, Replay::Idempotent, |client| async move { client.mkdirs(path.path(), mode, true).await });
        value(answer.await)
    }

    fn home_directory(&self) -> FsPath {
        self.home.clone()
    }
}

/// Errors of a rename that are about the target name the target.
fn about_target(error: FsError, to: &FsPath) -> FsError {
    let path = to.to_string();
    match error {
        FsError::AlreadyExists { .. } => FsError::AlreadyExists { path },
        FsError::NotEmpty { .. } => FsError::NotEmpty { path },
        FsError::IsADirectory { .. } => FsError::IsADirectory { path },
        other => other,
    }
}

fn sorted(mut entries: Vec<FileStatus>) -> Vec<FileStatus> {
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    entries
}
