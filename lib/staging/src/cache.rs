//! The part of the staging area that submissions share.
//!
//! ```text
//! <base>/cache/<sha256>/<name>                                never changed once it is there
//! <base>/cache/<sha256>/.<name>.<n>.<host>-<pid>-<start>.tmp  on its way there
//! ```
//!
//! A file gets its final name only when it is complete, so a process that dies leaves nothing but `.tmp` names. Each upload
//! has a name of its own, so that two of the same content by one process don't write into one file; `n` counts them.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use flumen_fs::{CreateOptions, FileSystem, FsPath};
use flumen_model::config::{BadConfiguration, Configuration};
use flumen_model::options::yarn;

use crate::StageError;
use crate::content::{Hashed, read_chunks};
use crate::identity::{ProcessIdentity, temporary_name};

/// Only the user may look into Flumen's directories.
pub const PRIVATE_DIRECTORY: u16 = 0o700;

/// Uploads that this process has begun.
static UPLOADS: AtomicU64 = AtomicU64::new(0);

/// Bytes of an upload that is going on, for display.
#[derive(Debug, Default)]
pub struct Progress {
    /// Bytes sent.
    pub sent: AtomicU64,
    /// Bytes that will have been sent in the end, as far as it is known.
    pub total: AtomicU64,
}

/// The replication of staged files that the configuration asks for; `None` leaves it to the file system.
///
/// # Errors
/// When the option is malformed.
pub fn replication(configuration: &Configuration) -> Result<Option<u16>, BadConfiguration> {
    let replication = configuration.get(&yarn::FILE_REPLICATION)?;
    Ok(u16::try_from(replication).ok().filter(|&copies| copies > 0))
}

/// Files by content under one root. Cheap to clone.
#[derive(Clone)]
pub struct ContentCache {
    fs: Arc<dyn FileSystem>,
    base: FsPath,
    replication: Option<u16>,
    owner: ProcessIdentity,
    /// Temporary files of uploads that have not come to their end.
    unfinished: Arc<Mutex<BTreeSet<FsPath>>>,
}

impl ContentCache {
    /// The cache of the staging area under `base`, for this process; nothing is touched yet. `replication` is that of the
    /// staged files.
    pub fn new(fs: Arc<dyn FileSystem>, base: FsPath, replication: Option<u16>) -> Self {
        Self { fs, base, replication, owner: ProcessIdentity::own(), unfinished: Arc::default() }
    }

    /// The directory of the shared files.
    pub fn directory(&self) -> FsPath {
        self.base.join("cache")
    }

    /// Makes sure that the file's content is in the cache under this name, and says where. A file whose length is another
    /// one is replaced.
    ///
    /// # Errors
    /// [`StageError`]; what was uploaded is then removed if the file system lets it.
    pub async fn ensure(&self, file: &Hashed, name: &str, progress: &Progress) -> Result<FsPath, StageError> {
        let directory = self.directory().join(&file.sha256);
        let target = directory.join(name);
        let present = match self.fs.status(&target).await {
            Ok(status) => Some(status.len),
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error.into()),
        };
        if present == Some(file.length) {
            return Ok(target);
        }
        self.fs.mkdirs(&self.base, Some(PRIVATE_DIRECTORY)).await?;
        self.fs.mkdirs(&self.directory(), Some(PRIVATE_DIRECTORY)).await?;
        let number = UPLOADS.fetch_add(1, Ordering::Relaxed);
        let temporary = directory.join(temporary_name(&format!("{name}.{number}"), &self.owner));
        self.unfinished().insert(temporary.clone());
        let stored = self.store(file, &temporary, &target, present.is_some(), progress).await;
        // What can't be removed now is tried again by `abandon`.
        if stored.is_ok() || self.removed(&temporary).await {
            self.unfinished().remove(&temporary);
        }
        stored.map(|()| target)
    }

    /// Removes what uploads left whose [`ensure`](Self::ensure) was dropped. Best effort; returns what could not be removed.
    pub async fn abandon(&self) -> Vec<FsPath> {
        let unfinished = std::mem::take(&mut *self.unfinished());
        let mut left = Vec::new();
        for path in unfinished {
            if !self.removed(&path).await {
                left.push(path);
            }
        }
        left
    }

    async fn removed(&self, temporary: &FsPath) -> bool {
        if self.fs.delete(temporary, false).await.is_err() {
            return false;
        }
        // Refused when there is something else in it.
        if let Some(directory) = temporary.parent() {
            let _ = self.fs.delete(&directory, false).await;
        }
        true
    }

    async fn store(
        &self,
        file: &Hashed,
        temporary: &FsPath,
        target: &FsPath,
        replace: bool,
        progress: &Progress,
    ) -> Result<(), StageError> {
        progress.total.fetch_add(file.length, Ordering::Relaxed);
        let options = CreateOptions { overwrite: true, permission: None, replication: self.replication };
        let mut writer = self.fs.create(temporary, &options).await?;
        // Reading and hashing run ahead of the network by two chunks.
        let (chunks, mut from_file) = tokio::sync::mpsc::channel(2);
        let path = file.path.clone();
        let reading =
            tokio::task::spawn_blocking(move || read_chunks(&path, |chunk| chunks.blocking_send(chunk).is_ok()));
        while let Some(chunk) = from_file.recv().await {
            let length = chunk.len() as u64;
            writer.write(chunk).await?;
            progress.sent.fetch_add(length, Ordering::Relaxed);
        }
        let read = reading.await.map_err(std::io::Error::other).and_then(|read| read);
        let (sha256, _) = read.map_err(|cause| StageError::Read { path: file.path.clone(), cause })?;
        if sha256 != file.sha256 {
            return Err(StageError::Changed { path: file.path.clone() });
        }
        writer.close().await?;
        match self.fs.rename(temporary, target, replace).await {
            // Somebody else staged the same content meanwhile.
            Err(error) if error.is_already_exists() => drop(self.fs.delete(temporary, false).await?),
            other => other?,
        }
        Ok(())
    }

    fn unfinished(&self) -> std::sync::MutexGuard<'_, BTreeSet<FsPath>> {
        self.unfinished.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use flumen_fs::{FileSystems, FsOptions};

    use super::*;
    use crate::content::CHUNK;
    use crate::hash;

    fn cache(dir: &Path) -> ContentCache {
        let base = FsPath::local(Path::new("root"), dir).unwrap();
        let fs = FileSystems::new(FsOptions::default()).unwrap().get(&base).unwrap();
        ContentCache::new(fs, base, None)
    }

    async fn program(dir: &Path, content: &[u8]) -> Hashed {
        let local = dir.join("program");
        std::fs::write(&local, content).unwrap();
        hash(&local).await.unwrap()
    }

    /// The names of all files under the cache, hidden ones as well, and the number of its directories.
    fn cached(dir: &Path) -> (Vec<String>, usize) {
        let directories: Vec<_> = std::fs::read_dir(dir.join("root/cache")).unwrap().map(Result::unwrap).collect();
        let files = directories.iter().flat_map(|entry| std::fs::read_dir(entry.path()).unwrap());
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        (names, directories.len())
    }

    #[tokio::test]
    async fn a_file_is_uploaded_once_by_its_content() {
        let dir = tempfile::tempdir().unwrap();
        let hashed = program(dir.path(), &vec![7; 3 * CHUNK + 5]).await;
        let (first, second) = (Progress::default(), Progress::default());
        let path = cache(dir.path()).ensure(&hashed, "wordcount", &first).await.unwrap();
        let there = dir.path().join("root/cache").join(&hashed.sha256).join("wordcount");
        assert_eq!(path.to_string(), format!("file://{}", there.display()));
        assert_eq!(first.sent.load(Ordering::Relaxed), hashed.length);
        assert_eq!(cache(dir.path()).ensure(&hashed, "wordcount", &second).await.unwrap(), path);
        assert_eq!(second.sent.load(Ordering::Relaxed), 0, "nothing is uploaded twice");
        // One that was cut short is replaced.
        std::fs::write(&there, "short").unwrap();
        assert_eq!(cache(dir.path()).ensure(&hashed, "wordcount", &second).await.unwrap(), path);
        assert_eq!(std::fs::metadata(&there).unwrap().len(), hashed.length);
        assert_eq!(cached(dir.path()), (vec!["wordcount".to_owned()], 1));
    }

    #[tokio::test]
    async fn two_uploads_of_one_process_at_the_same_time_end_with_one_whole_file() {
        let dir = tempfile::tempdir().unwrap();
        let hashed = program(dir.path(), &vec![7; 2 * CHUNK]).await;
        let (cache, progress) = (cache(dir.path()), Progress::default());
        let (a, b) =
            tokio::join!(cache.ensure(&hashed, "program", &progress), cache.ensure(&hashed, "program", &progress));
        let (a, b) = (a.unwrap(), b.unwrap());
        assert_eq!(a, b);
        let there = Path::new(a.to_string().trim_start_matches("file://")).to_owned();
        assert_eq!(hash(&there).await.unwrap().sha256, hashed.sha256);
        assert_eq!(cached(dir.path()), (vec!["program".to_owned()], 1));
        assert!(cache.abandon().await.is_empty());
        assert!(there.is_file(), "what is complete is not abandoned");
    }

    #[tokio::test]
    async fn a_file_that_changes_on_the_way_is_not_taken_for_what_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let hashed = program(dir.path(), b"before").await;
        std::fs::write(&hashed.path, "behind").unwrap();
        let cache = cache(dir.path());
        let error = cache.ensure(&hashed, "program", &Progress::default()).await.unwrap_err();
        assert!(matches!(error, StageError::Changed { .. }), "{error}");
        assert_eq!(cached(dir.path()), (vec![], 0));
        std::fs::remove_file(&hashed.path).unwrap();
        let error = cache.ensure(&hashed, "program", &Progress::default()).await.unwrap_err();
        assert!(matches!(error, StageError::Read { .. }), "{error}");
        assert_eq!(cached(dir.path()), (vec![], 0));
    }

    #[tokio::test]
    async fn an_upload_that_is_given_up_leaves_nothing_once_it_is_abandoned() {
        let dir = tempfile::tempdir().unwrap();
        let hashed = program(dir.path(), &vec![7; 16 * CHUNK]).await;
        let (cache, progress) = (cache(dir.path()), Progress::default());
        let begun = async {
            while progress.sent.load(Ordering::Relaxed) == 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            () = begun => {}
            _ = cache.ensure(&hashed, "program", &progress) => panic!("it was to be given up before its end"),
        }
        assert_eq!(cached(dir.path()).0.len(), 1, "its temporary file");
        assert!(cache.abandon().await.is_empty());
        assert_eq!(cached(dir.path()), (vec![], 0));
    }
}
