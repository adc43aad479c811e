//! Files on their way to the cluster.
//!
//! ```text
//! <base>/cache/<sha256>/<name>          what many submissions share; never changed once it is there
//! <base>/cache/<sha256>/.<name>.<host>-<pid>-<start>.tmp   on its way there
//! <base>/<application id>/              what one application needs; only its user may read it
//! <base>/.<application id>.<host>-<pid>-<start>.tmp/       the same, until all is there
//! ```
//!
//! A file gets its final name only when it is complete, so a client that dies leaves nothing but `.tmp` names, which
//! [`crate::sweep`] finds.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use flumen_fs::{CreateOptions, FileSystem, FsError, FsPath};
use flumen_model::config::{BadConfiguration, Configuration};
use flumen_model::options::yarn;
use flumen_model::text::hexadecimal;
use flumen_wire::application::StagedFile;
use sha2::{Digest as _, Sha256};

use crate::hadoop::StagingPlace;
use crate::identity::ProcessIdentity;

/// Bytes that are read and sent at once.
const CHUNK: usize = 1 << 20;

/// Only the user may look into Flumen's directories.
const PRIVATE_DIRECTORY: u16 = 0o700;

/// Only the user may read the files of an application: they hold its secrets.
const PRIVATE_FILE: u16 = 0o600;

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
    /// The staging directory refuses.
    #[error("staging failed")]
    Remote(#[from] FsError),
}

/// A local file that is to be in containers, by its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hashed {
    /// Where it is.
    pub path: PathBuf,
    /// SHA-256 of its content, in hexadecimal digits.
    pub sha256: String,
    /// Its length in bytes.
    pub length: u64,
}

/// Bytes of an upload that is going on, for display.
#[derive(Debug, Default)]
pub struct Progress {
    /// Bytes sent.
    pub sent: AtomicU64,
    /// Bytes that will have been sent in the end, as far as it is known.
    pub total: AtomicU64,
}

/// The staging area of one user.
#[derive(Clone)]
pub struct Staging {
    fs: Arc<dyn FileSystem>,
    base: FsPath,
    replication: Option<u16>,
    owner: ProcessIdentity,
    progress: Arc<Progress>,
    /// What is to be removed when the submission does not come about.
    unfinished: Arc<Mutex<BTreeSet<FsPath>>>,
}

impl Staging {
    /// A staging area under `base`; nothing is touched yet. `replication` is that of the staged files.
    pub fn new(fs: Arc<dyn FileSystem>, base: FsPath, replication: Option<u16>, owner: ProcessIdentity) -> Self {
        Self { fs, base, replication, owner, progress: Arc::default(), unfinished: Arc::default() }
    }

    /// The staging area of this client in its place, with the replication that the configuration asks for.
    ///
    /// # Errors
    /// When the option is malformed.
    pub fn of(place: &StagingPlace, configuration: &Configuration) -> Result<Self, BadConfiguration> {
        let replication = configuration.get(&yarn::FILE_REPLICATION)?;
        let replication = u16::try_from(replication).ok().filter(|&copies| copies > 0);
        Ok(Self::new(place.fs.clone(), place.base.clone(), replication, ProcessIdentity::own()))
    }

    /// The file system that it is on.
    pub fn fs(&self) -> &Arc<dyn FileSystem> {
        &self.fs
    }

    /// Where it is.
    pub fn base(&self) -> &FsPath {
        &self.base
    }

    /// How far uploads are.
    pub fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// The directory of shared files.
    pub fn cache(&self) -> FsPath {
        self.base.join("cache")
    }

    /// The directory of one application.
    pub fn application_dir(&self, application: &str) -> FsPath {
        self.base.join(application)
    }

    /// Makes sure that the file is in the cache, and says how a container gets it as `link`.
    ///
    /// # Errors
    /// [`StageError`]; the temporary file is then removed by [`Staging::abandon`].
    pub async fn cached(&self, file: &Hashed, link: &str, archive: bool) -> Result<StagedFile, StageError> {
        let name = link.rsplit('/').next().unwrap_or(link);
        let directory = self.cache().join(&file.sha256);
        let target = directory.join(name);
        let present = match self.fs.status(&target).await {
            Ok(status) => Some(status.len),
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error.into()),
        };
        if present != Some(file.length) {
            self.fs.mkdirs(&self.base, Some(PRIVATE_DIRECTORY)).await?;
            self.fs.mkdirs(&self.cache(), Some(PRIVATE_DIRECTORY)).await?;
            let temporary = directory.join(temporary_name(name, &self.owner));
            self.remember(&temporary);
            self.upload(file, &temporary).await?;
            match self.fs.rename(&temporary, &target, present.is_some()).await {
                Ok(()) => {}
                // Somebody else staged the same content meanwhile.
                Err(error) if error.is_already_exists() => drop(self.fs.delete(&temporary, false).await?),
                Err(error) => return Err(error.into()),
            }
            self.forget(&temporary);
        }
        self.described(&target, link, archive, true).await
    }

    /// A file that is on a file system of the cluster already. `cached` lets NodeManagers keep it for later applications.
    ///
    /// # Errors
    /// Those of the file system.
    pub async fn remote(fs: &dyn FileSystem, path: &FsPath, link: &str, archive: bool) -> Result<StagedFile, FsError> {
        let status = fs.status(path).await?;
        if status.is_dir {
            return Err(FsError::IsADirectory { path: path.to_string() });
        }
        let link = link.to_owned();
        Ok(StagedFile {
            link,
            url: path.to_string(),
            size: status.len,
            modified_ms: status.modified_ms,
            archive,
            cached: true,
        })
    }

    /// Makes the directory of an application, under a temporary name. From now on [`Staging::abandon`] removes it.
    ///
    /// # Errors
    /// Those of the file system.
    pub async fn create_application_dir(&self, application: &str) -> Result<(), FsError> {
        let temporary = self.unpublished(application);
        self.fs.mkdirs(&self.base, Some(PRIVATE_DIRECTORY)).await?;
        self.remember(&temporary);
        self.fs.mkdirs(&temporary, Some(PRIVATE_DIRECTORY)).await
    }

    /// Writes a file that only this application needs. Its URL holds once the directory is published.
    ///
    /// # Errors
    /// Those of the file system.
    pub async fn private(&self, application: &str, name: &str, content: Bytes) -> Result<StagedFile, FsError> {
        let path = self.unpublished(application).join(name);
        let options = self.create_options(Some(PRIVATE_FILE));
        self.fs.write_fully(&path, content, &options).await?;
        let status = self.fs.status(&path).await?;
        Ok(StagedFile {
            link: name.to_owned(),
            url: self.application_dir(application).join(name).to_string(),
            size: status.len,
            modified_ms: status.modified_ms,
            archive: false,
            cached: false,
        })
    }

    /// Gives the application's directory its final name. Still [`Staging::abandon`] removes it.
    ///
    /// # Errors
    /// Those of the file system.
    pub async fn publish(&self, application: &str) -> Result<(), FsError> {
        let (temporary, directory) = (self.unpublished(application), self.application_dir(application));
        self.remember(&directory);
        self.fs.rename(&temporary, &directory, false).await?;
        self.forget(&temporary);
        Ok(())
    }

    fn unpublished(&self, application: &str) -> FsPath {
        self.base.join(temporary_name(application, &self.owner))
    }

    /// Removes what this submission left unfinished: temporary files and the application's directory. Best effort; returns
    /// what could not be removed.
    pub async fn abandon(&self) -> Vec<FsPath> {
        let unfinished = std::mem::take(&mut *self.unfinished.lock().unwrap_or_else(PoisonError::into_inner));
        let mut left = Vec::new();
        for path in unfinished {
            if self.fs.delete(&path, true).await.is_err() {
                left.push(path);
                continue;
            }
            // A directory of the cache that holds nothing else; refused when it does.
            if let Some(parent) =
                path.parent().filter(|parent| parent.is_within(&self.cache()) && *parent != self.cache())
            {
                let _ = self.fs.delete(&parent, false).await;
            }
        }
        left
    }

    /// The application is submitted: its directory is its own from now on.
    pub fn hand_over(&self, application: &str) {
        self.forget(&self.application_dir(application));
    }

    async fn upload(&self, file: &Hashed, to: &FsPath) -> Result<(), StageError> {
        self.progress.total.fetch_add(file.length, Ordering::Relaxed);
        let options = CreateOptions { overwrite: true, ..self.create_options(None) };
        let mut writer = self.fs.create(to, &options).await?;
        // Reading and hashing run ahead of the network by two chunks.
        let (chunks, mut from_file) = tokio::sync::mpsc::channel(2);
        let path = file.path.clone();
        let reading =
            tokio::task::spawn_blocking(move || read_chunks(&path, |chunk| chunks.blocking_send(chunk).is_ok()));
        while let Some(chunk) = from_file.recv().await {
            let length = chunk.len() as u64;
            writer.write(chunk).await?;
            self.progress.sent.fetch_add(length, Ordering::Relaxed);
        }
        let read = reading.await.map_err(|error| std::io::Error::other(error.to_string())).and_then(|read| read);
        let (sha256, _) = read.map_err(|cause| StageError::Read { path: file.path.clone(), cause })?;
        if sha256 != file.sha256 {
            return Err(StageError::Changed { path: file.path.clone() });
        }
        Ok(writer.close().await?)
    }

    async fn described(
        &self,
        path: &FsPath,
        link: &str,
        archive: bool,
        cached: bool,
    ) -> Result<StagedFile, StageError> {
        let mut staged = Self::remote(&*self.fs, path, link, archive).await?;
        staged.cached = cached;
        Ok(staged)
    }

    fn create_options(&self, permission: Option<u16>) -> CreateOptions {
        CreateOptions { overwrite: false, permission, replication: self.replication }
    }

    fn remember(&self, path: &FsPath) {
        self.unfinished.lock().unwrap_or_else(PoisonError::into_inner).insert(path.clone());
    }

    fn forget(&self, path: &FsPath) {
        self.unfinished.lock().unwrap_or_else(PoisonError::into_inner).remove(path);
    }
}

/// `.<name>.<host>-<pid>-<start>.tmp`.
fn temporary_name(name: &str, owner: &ProcessIdentity) -> String {
    format!(".{name}.{owner}.tmp")
}

/// Hashes a local file on a thread of its own.
///
/// # Errors
/// [`StageError::Read`].
pub async fn hash(path: &Path) -> Result<Hashed, StageError> {
    let path = path.to_owned();
    let owned = path.clone();
    let read = tokio::task::spawn_blocking(move || read_chunks(&owned, |_| true)).await;
    match read.map_err(|error| std::io::Error::other(error.to_string())).and_then(|read| read) {
        Ok((sha256, length)) => Ok(Hashed { path, sha256, length }),
        Err(cause) => Err(StageError::Read { path, cause }),
    }
}

/// Reads a file to its end, or until `take` has no more use for it; returns hash and length of what was read.
fn read_chunks(path: &Path, mut take: impl FnMut(Bytes) -> bool) -> std::io::Result<(String, u64)> {
    let mut file = std::fs::File::open(path)?;
    let (mut hash, mut length) = (Sha256::new(), 0);
    loop {
        let mut chunk = Vec::with_capacity(CHUNK);
        if (&mut file).take(CHUNK as u64).read_to_end(&mut chunk)? == 0 {
            break;
        }
        hash.update(&chunk);
        length += chunk.len() as u64;
        if !take(chunk.into()) {
            break;
        }
    }
    Ok((hexadecimal(&hash.finalize()), length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use flumen_fs::{FileSystems, FsOptions};

    fn staging(dir: &Path) -> Staging {
        let base = FsPath::local(Path::new(".flink"), dir).unwrap();
        let fs = FileSystems::new(FsOptions::default()).unwrap().get(&base).unwrap();
        Staging::new(fs, base, None, ProcessIdentity::own())
    }

    fn all_files(dir: &Path) -> Vec<String> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(dir).into_iter().flatten() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => found.extend(all_files(&path)),
                false => found.push(path.file_name().unwrap().to_string_lossy().into_owned()),
            }
        }
        found.sort();
        found
    }

    #[tokio::test]
    async fn a_file_is_uploaded_once_and_keeps_its_time() {
        let dir = tempfile::tempdir().unwrap();
        let local = dir.path().join("program");
        std::fs::write(&local, vec![7; 3 * CHUNK + 5]).unwrap();
        let (first, second) = (staging(dir.path()), staging(dir.path()));
        let hashed = hash(&local).await.unwrap();
        let staged = first.cached(&hashed, "program", false).await.unwrap();
        assert_eq!(staged.size, hashed.length);
        assert_eq!(first.progress().sent.load(Ordering::Relaxed), hashed.length);
        assert!(staged.url.ends_with(&format!("/.flink/cache/{}/program", hashed.sha256)), "{}", staged.url);
        assert_eq!(second.cached(&hashed, "program", false).await.unwrap(), staged);
        assert_eq!(second.progress().sent.load(Ordering::Relaxed), 0, "nothing is uploaded twice");
        assert_eq!(all_files(&dir.path().join(".flink")), ["program"]);
    }

    #[tokio::test]
    async fn two_at_the_same_time_end_with_one_file() {
        let dir = tempfile::tempdir().unwrap();
        let local = dir.path().join("program");
        std::fs::write(&local, vec![7; 100_000]).unwrap();
        let hashed = hash(&local).await.unwrap();
        let mut other = staging(dir.path());
        other.owner.pid += 1;
        let own = staging(dir.path());
        let (a, b) = tokio::join!(own.cached(&hashed, "program", false), other.cached(&hashed, "program", false));
        assert_eq!(a.unwrap(), b.unwrap());
        assert_eq!(all_files(&dir.path().join(".flink")), ["program"]);
    }

    #[tokio::test]
    async fn a_file_that_changes_on_the_way_is_not_taken_for_what_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let local = dir.path().join("program");
        std::fs::write(&local, "before").unwrap();
        let hashed = hash(&local).await.unwrap();
        std::fs::write(&local, "behind").unwrap();
        let staging = staging(dir.path());
        let error = staging.cached(&hashed, "program", false).await.unwrap_err();
        assert!(matches!(error, StageError::Changed { .. }), "{error}");
        assert!(staging.abandon().await.is_empty());
        assert_eq!(all_files(&dir.path().join(".flink")), Vec::<String>::new());
    }

    #[tokio::test]
    async fn an_abandoned_submission_leaves_only_what_others_can_use() {
        let dir = tempfile::tempdir().unwrap();
        let local = dir.path().join("program");
        std::fs::write(&local, "program").unwrap();
        let staging = staging(dir.path());
        staging.cached(&hash(&local).await.unwrap(), "program", false).await.unwrap();
        staging.create_application_dir("application_1_0001").await.unwrap();
        let secret = staging.private("application_1_0001", "secret", Bytes::from_static(b"x")).await.unwrap();
        assert_eq!((secret.size, secret.cached), (1, false));
        let published = dir.path().join(".flink/application_1_0001");
        assert!(!published.try_exists().unwrap(), "it is not there before all of it is");
        staging.publish("application_1_0001").await.unwrap();
        assert!(secret.url.ends_with("/.flink/application_1_0001/secret") && published.is_dir(), "{}", secret.url);
        let mode = |path: &str| {
            use std::os::unix::fs::PermissionsExt as _;
            std::fs::metadata(dir.path().join(".flink").join(path)).unwrap().permissions().mode() & 0o777
        };
        assert_eq!(
            (mode("application_1_0001"), mode("application_1_0001/secret"), mode("cache")),
            (0o700, 0o600, 0o700)
        );
        assert!(staging.abandon().await.is_empty());
        assert_eq!(all_files(&dir.path().join(".flink")), ["program"]);
        staging.create_application_dir("application_1_0003").await.unwrap();
        assert!(staging.abandon().await.is_empty());
        assert_eq!(std::fs::read_dir(dir.path().join(".flink")).unwrap().count(), 1, "the cache alone");
        staging.create_application_dir("application_1_0002").await.unwrap();
        staging.publish("application_1_0002").await.unwrap();
        staging.hand_over("application_1_0002");
        staging.abandon().await;
        assert!(dir.path().join(".flink/application_1_0002").is_dir());
    }
}
