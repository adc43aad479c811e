//! The `file` scheme: disks of this machine, or a network file system mounted on all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, IoSlice, Write};
use std::num::NonZeroU64;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use rustix::fs::{Advice, CWD, RenameFlags, fadvise, renameat_with};
use rustix::io::Errno;

use crate::{CreateOptions, FileReader, FileStatus, FileSystem, FileWriter, FsError, FsPath};

/// Local files. Every call runs on tokio's blocking threads.
pub(crate) struct LocalFileSystem {
    home: FsPath,
    limit: Duration,
}

impl LocalFileSystem {
    pub(crate) fn new(home: FsPath, limit: Duration) -> Self {
        Self { home, limit }
    }

    async fn run<T, W>(&self, operation: &'static str, path: &FsPath, work: W) -> Result<T, FsError>
    where
        T: Send + 'static,
        W: FnOnce(&Path) -> io::Result<T> + Send + 'static,
    {
        run(self.limit, operation, path, work).await
    }
}

/// Runs blocking `work` off the async threads, for at most `limit`.
async fn run<T, W>(limit: Duration, operation: &'static str, path: &FsPath, work: W) -> Result<T, FsError>
where
    T: Send + 'static,
    W: FnOnce(&Path) -> io::Result<T> + Send + 'static,
{
    let file = path.path().to_owned();
    let task = tokio::task::spawn_blocking(move || work(Path::new(&file)));
    match tokio::time::timeout(limit, task).await {
        Ok(Ok(result)) => result.map_err(|error| from_io(operation, path, error)),
        Ok(Err(lost)) => Err(from_io(operation, path, io::Error::other(lost))),
        Err(_) => Err(FsError::Timeout { operation, path: path.to_string(), after: limit }),
    }
}

/// Maps the kinds of I/O errors to ours.
fn from_io(operation: &'static str, path: &FsPath, error: io::Error) -> FsError {
    let path = path.to_string();
    match error.kind() {
        ErrorKind::NotFound => FsError::NotFound { path },
        ErrorKind::AlreadyExists => FsError::AlreadyExists { path },
        ErrorKind::PermissionDenied => FsError::PermissionDenied {
            path,
            user: format!("uid {}", rustix::process::geteuid().as_raw()),
            detail: error.to_string(),
        },
        ErrorKind::NotADirectory => FsError::NotADirectory { path },
        ErrorKind::IsADirectory => FsError::IsADirectory { path },
        ErrorKind::DirectoryNotEmpty => FsError::NotEmpty { path },
        _ => FsError::Other { operation, path, source: Box::new(error) },
    }
}

fn to_status(path: FsPath, meta: &fs::Metadata) -> FileStatus {
    let modified_ms = meta.mtime().saturating_mul(1000).saturating_add(meta.mtime_nsec() / 1_000_000);
    FileStatus {
        path,
        len: if meta.is_dir() { 0 } else { meta.len() },
        is_dir: meta.is_dir(),
        modified_ms: u64::try_from(modified_ms).unwrap_or(0),
        permission: (meta.mode() & 0o7777) as u16,
        owner: meta.uid().to_string(),
        group: meta.gid().to_string(),
    }
}

#[async_trait]
impl FileSystem for LocalFileSystem {
    async fn status(&self, path: &FsPath) -> Result<FileStatus, FsError> {
        let meta = self.run("describing", path, |file| fs::metadata(file)).await?;
        Ok(to_status(path.clone(), &meta))
    }

    async fn list(&self, directory: &FsPath) -> Result<Vec<FileStatus>, FsError> {
        let parent = directory.clone();
        self.run("listing", directory, move |dir| list(&parent, dir)).await
    }

    async fn open(&self, path: &FsPath) -> Result<Box<dyn FileReader>, FsError> {
        let opened = self.run("opening", path, |file| {
            let file = File::open(file)?;
            let meta = file.metadata()?;
            if meta.is_dir() { Err(ErrorKind::IsADirectory.into()) } else { Ok((file, meta.len())) }
        });
        let (file, len) = opened.await?;
        Ok(Box::new(LocalReader { path: path.clone(), file: Arc::new(file), len, limit: self.limit }))
    }

    async fn create(&self, path: &FsPath, options: &CreateOptions) -> Result<Box<dyn FileWriter>, FsError> {
        let options = options.clone();
        let file = self.run("creating", path, move |file| create(file, &options)).await?;
        let file = Arc::new(file);
        Ok(Box::new(LocalWriter { path: path.clone(), file, limit: self.limit, written: 0, begun: 0 }))
    }

    async fn write_fully(&self, path: &FsPath, content: Bytes, options: &CreateOptions) -> Result<(), FsError> {
        let options = options.clone();
        // One way to another thread and back, not three.
        let written = self.run("writing", path, move |file| {
            let file = create(file, &options)?;
            write_vectored(&file, &[content])?;
            file.sync_all()
        });
        written.await
    }

    async fn rename(&self, from: &FsPath, to: &FsPath, overwrite: bool) -> Result<(), FsError> {
        let target = to.path().to_owned();
        let renamed = self.run("renaming", from, move |from| rename(from, Path::new(&target), overwrite));
        // Errors about the target name the target.
        renamed.await.map_err(|error| match error {
            FsError::AlreadyExists { .. } => FsError::AlreadyExists { path: to.to_string() },
            FsError::NotEmpty { .. } => FsError::NotEmpty { path: to.to_string() },
            FsError::IsADirectory { .. } => FsError::IsADirectory { path: to.to_string() },
            other => other,
        })
    }

    async fn delete(&self, path: &FsPath, recursive: bool) -> Result<bool, FsError> {
        if path.path() == "/" {
            return Err(FsError::BadPath { path: path.to_string(), reason: "the root is not deleted" });
        }
        self.run("deleting", path, move |file| delete(file, recursive)).await
    }

    async fn mkdirs(&self, path: &FsPath, permission: Option<u16>) -> Result<(), FsError> {
        self.run("making directory", path, move |dir| mkdirs(dir, permission)).await
    }

    fn home_directory(&self) -> FsPath {
        self.home.clone()
    }
}

fn list(parent: &FsPath, dir: &Path) -> io::Result<Vec<FileStatus>> {
    let mut statuses = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else {
            return Err(io::Error::new(ErrorKind::InvalidData, format!("the name {name:?} in it is not UTF-8")));
        };
        // A link that leads nowhere is described as itself; an entry that vanished meanwhile is left out.
        let meta = match fs::metadata(entry.path()).or_else(|_| fs::symlink_metadata(entry.path())) {
            Err(gone) if gone.kind() == ErrorKind::NotFound => continue,
            meta => meta?,
        };
        statuses.push(to_status(parent.join(name), &meta));
    }
    statuses.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(statuses)
}

fn create(path: &Path, options: &CreateOptions) -> io::Result<File> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(as_not_a_directory)?;
    }
    let mode = u32::from(options.permission.unwrap_or(0o666));
    let mut open = OpenOptions::new();
    open.write(true).mode(mode);
    if options.overwrite {
        open.create(true).truncate(true);
    } else {
        open.create_new(true);
    }
    let file = open.open(path)?;
    if options.permission.is_some() {
        // The mode of `open` is cut by the umask; the caller asked for it exactly.
        file.set_permissions(fs::Permissions::from_mode(mode))?;
    }
    Ok(file)
}

/// `create_dir_all` says "exists" when a parent is a file.
fn as_not_a_directory(error: io::Error) -> io::Error {
    if error.kind() == ErrorKind::AlreadyExists { ErrorKind::NotADirectory.into() } else { error }
}

fn rename(from: &Path, to: &Path, overwrite: bool) -> io::Result<()> {
    if overwrite {
        return fs::rename(from, to);
    }
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        // Not every file system has the flag (NFS, for one).
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => rename_by_claim(from, to),
        Err(error) => Err(error.into()),
    }
}

/// An atomic rename that replaces nothing, without the kernel's flag: the name is claimed by an operation that fails when
/// it is taken.
fn rename_by_claim(from: &Path, to: &Path) -> io::Result<()> {
    if fs::symlink_metadata(from)?.is_dir() {
        fs::create_dir(to)?;
        fs::rename(from, to)
    } else {
        match fs::hard_link(from, to) {
            // An earlier rename of this file was interrupted before it removed the first name.
            Err(error) if error.kind() == ErrorKind::AlreadyExists && is_same_file(from, to)? => {}
            linked => linked?,
        }
        fs::remove_file(from)
    }
}

fn is_same_file(a: &Path, b: &Path) -> io::Result<bool> {
    let (a, b) = (fs::symlink_metadata(a)?, fs::symlink_metadata(b)?);
    Ok((a.dev(), a.ino()) == (b.dev(), b.ino()))
}

fn delete(path: &Path, recursive: bool) -> io::Result<bool> {
    let removed = match fs::symlink_metadata(path) {
        Ok(meta) if !meta.is_dir() => fs::remove_file(path),
        Ok(_) if recursive => fs::remove_dir_all(path),
        Ok(_) => fs::remove_dir(path),
        Err(error) => Err(error),
    };
    match removed {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(false),
        Err(error) => Err(error),
    }
}

fn mkdirs(path: &Path, permission: Option<u16>) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(as_not_a_directory)?;
    }
    let mode = u32::from(permission.unwrap_or(0o777));
    match fs::DirBuilder::new().mode(mode).create(path) {
        Ok(()) if permission.is_some() => fs::set_permissions(path, fs::Permissions::from_mode(mode)),
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists && fs::metadata(path)?.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

struct LocalReader {
    path: FsPath,
    file: Arc<File>,
    len: u64,
    limit: Duration,
}

#[async_trait]
impl FileReader for LocalReader {
    fn len(&self) -> u64 {
        self.len
    }

    async fn read_at(&mut self, offset: u64, len: usize) -> Result<Bytes, FsError> {
        let file = Arc::clone(&self.file);
        run(self.limit, "reading", &self.path, move |_| read_at(&file, offset, len)).await
    }
}

/// The largest buffer allocated before any byte has been read.
const READ_STEP: usize = 1 << 20;

fn read_at(file: &File, offset: u64, len: usize) -> io::Result<Bytes> {
    let mut content = BytesMut::new();
    while content.len() < len {
        let filled = content.len();
        content.resize(filled + READ_STEP.min(len - filled), 0);
        let Some(position) = offset.checked_add(filled as u64) else {
            content.truncate(filled);
            break;
        };
        let read = match file.read_at(&mut content[filled..], position) {
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(None),
            // Linux refuses ranges that reach above i64::MAX; no file reaches there.
            Err(error) if error.kind() == ErrorKind::InvalidInput && position > i64::MAX as u64 / 2 => Ok(Some(0)),
            other => other.map(Some),
        }?;
        content.truncate(filled + read.unwrap_or(0));
        if read == Some(0) {
            break;
        }
    }
    Ok(content.freeze())
}

struct LocalWriter {
    path: FsPath,
    file: Arc<File>,
    limit: Duration,
    written: u64,
    /// The kernel was told to bring everything before this position to the disk.
    begun: u64,
}

/// So many bytes are worth bringing to the disk before the file is complete, which would wait for all of them.
const BEGIN_BYTES: u64 = 1 << 20;

#[async_trait]
impl FileWriter for LocalWriter {
    async fn write(&mut self, data: Bytes) -> Result<(), FsError> {
        self.write_all(vec![data]).await
    }

    async fn write_all(&mut self, pieces: Vec<Bytes>) -> Result<(), FsError> {
        let file = Arc::clone(&self.file);
        self.written += pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
        let range = self.begun..self.written;
        let begin = range.end - range.start >= BEGIN_BYTES;
        if begin {
            self.begun = self.written;
        }
        run(self.limit, "writing", &self.path, move |_| {
            write_vectored(&file, &pieces)?;
            if begin {
                // What has just been written can't be dropped from memory, as this says, before it is on the disk: the
                // kernel begins with that, and waits for nothing. It is a hint; not every file system heeds it.
                let _ = fadvise(&*file, range.start, NonZeroU64::new(range.end - range.start), Advice::DontNeed);
            }
            Ok(())
        })
        .await
    }

    async fn close(self: Box<Self>) -> Result<(), FsError> {
        let file = Arc::clone(&self.file);
        run(self.limit, "closing", &self.path, move |_| file.sync_all()).await
    }
}

/// Pieces that one call of the system takes.
const SLICES: usize = 64;

fn write_vectored(mut file: &File, pieces: &[Bytes]) -> io::Result<()> {
    for pieces in pieces.chunks(SLICES) {
        let mut slices: Vec<_> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
        let mut left = &mut slices[..];
        IoSlice::advance_slices(&mut left, 0);
        while !left.is_empty() {
            match file.write_vectored(left) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => IoSlice::advance_slices(&mut left, count),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pieces_of_any_size_and_number_are_written_one_behind_the_other() {
        let dir = tempfile::tempdir().unwrap();
        let path: FsPath = format!("file://{}", dir.path().join("a").display()).parse().unwrap();
        let fs = LocalFileSystem::new(path.parent().unwrap(), Duration::from_secs(60));
        let pieces: Vec<Bytes> = (0..200u32).map(|i| vec![i as u8; (i * 7919 % 30_000) as usize].into()).collect();
        let mut writer = fs.create(&path, &CreateOptions::default()).await.unwrap();
        writer.write(Bytes::from_static(b"first")).await.unwrap();
        writer.write_all(pieces.clone()).await.unwrap();
        writer.write_all(vec![Bytes::new()]).await.unwrap();
        writer.write_all(Vec::new()).await.unwrap();
        writer.write(Bytes::from_static(b"last")).await.unwrap();
        writer.close().await.unwrap();
        assert_eq!(fs::read(dir.path().join("a")).unwrap(), [&b"first"[..], &pieces.concat(), b"last"].concat());
    }

    #[test]
    fn rename_without_the_kernel_flag_replaces_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("a"), "a").unwrap();
        fs::write(at("b"), "b").unwrap();
        fs::create_dir(at("d")).unwrap();
        fs::write(at("d/x"), "x").unwrap();

        assert_eq!(rename_by_claim(&at("a"), &at("b")).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(at("b")).unwrap(), "b");
        rename_by_claim(&at("a"), &at("c")).unwrap();
        assert_eq!(fs::read_to_string(at("c")).unwrap(), "a");
        assert!(!at("a").try_exists().unwrap());
        // One that was interrupted half way is finished by the next.
        fs::hard_link(at("c"), at("a")).unwrap();
        rename_by_claim(&at("a"), &at("c")).unwrap();
        assert_eq!(fs::read_to_string(at("c")).unwrap(), "a");
        assert!(!at("a").try_exists().unwrap());
        assert_eq!(rename_by_claim(&at("d"), &at("c")).unwrap_err().kind(), ErrorKind::AlreadyExists);
        rename_by_claim(&at("d"), &at("e")).unwrap();
        assert_eq!(fs::read_to_string(at("e/x")).unwrap(), "x");
    }
}
