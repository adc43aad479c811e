//! What one submission puts into the staging area: shared files, which are there once for all ([`ContentCache`]), and the
//! directory of its application.
//!
//! ```text
//! <base>/cache/<sha256>/<name>                             what many submissions share
//! <base>/<application id>/                                 what one application needs; only its user may read it
//! <base>/.<application id>.<host>-<pid>-<start>.tmp/       the same, until all is there
//! ```
//!
//! The directory gets its final name only when it is complete, so a client that dies leaves nothing but `.tmp` names, which
//! [`crate::sweep`] finds.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use flumen_fs::{CreateOptions, FileSystem, FsError, FsPath};
use flumen_model::config::{BadConfiguration, Configuration};
use flumen_staging::{ContentCache, Hashed, PRIVATE_DIRECTORY, ProcessIdentity, Progress, StageError, temporary_name};
use flumen_wire::application::StagedFile;

use crate::hadoop::StagingPlace;

/// Only the user may read the files of an application: they hold its secrets.
const PRIVATE_FILE: u16 = 0o600;

/// The staging area of one user.
#[derive(Clone)]
pub struct Staging {
    fs: Arc<dyn FileSystem>,
    base: FsPath,
    cache: ContentCache,
    replication: Option<u16>,
    owner: ProcessIdentity,
    progress: Arc<Progress>,
    /// What is to be removed when the submission does not come about.
    unfinished: Arc<Mutex<BTreeSet<FsPath>>>,
}

impl Staging {
    /// A staging area under `base`; nothing is touched yet. `replication` is that of the staged files.
    pub fn new(fs: Arc<dyn FileSystem>, base: FsPath, replication: Option<u16>) -> Self {
        let cache = ContentCache::new(fs.clone(), base.clone(), replication);
        let owner = ProcessIdentity::own();
        Self { fs, base, cache, replication, owner, progress: Arc::default(), unfinished: Arc::default() }
    }

    /// The staging area of this client in its place, with the replication that the configuration asks for.
    ///
    /// # Errors
    /// When the option is malformed.
    pub fn of(place: &StagingPlace, configuration: &Configuration) -> Result<Self, BadConfiguration> {
        let replication = flumen_staging::replication(configuration)?;
        Ok(Self::new(place.fs.clone(), place.base.clone(), replication))
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
        self.cache.directory()
    }

    /// The directory of one application.
    pub fn application_dir(&self, application: &str) -> FsPath {
        self.base.join(application)
    }

    /// Makes sure that the file is in the cache, and says how a container gets it as `link`.
    ///
    /// # Errors
    /// [`StageError`].
    pub async fn cached(&self, file: &Hashed, link: &str, archive: bool) -> Result<StagedFile, StageError> {
        let name = link.rsplit('/').next().unwrap_or(link);
        let path = self.cache.ensure(file, name, &self.progress).await?;
        Ok(Self::remote(&*self.fs, &path, link, archive).await?)
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
        let mut left = self.cache.abandon().await;
        for path in unfinished {
            if self.fs.delete(&path, true).await.is_err() {
                left.push(path);
            }
        }
        left
    }

    /// The application is submitted: its directory is its own from now on.
    pub fn hand_over(&self, application: &str) {
        self.forget(&self.application_dir(application));
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use flumen_fs::{FileSystems, FsOptions};
    use flumen_staging::hash;

    use super::*;

    fn staging(dir: &Path) -> Staging {
        let base = FsPath::local(Path::new(".flink"), dir).unwrap();
        let fs = FileSystems::new(FsOptions::default()).unwrap().get(&base).unwrap();
        Staging::new(fs, base, None)
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
    async fn a_file_of_the_cache_is_described_as_it_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let local = dir.path().join("program");
        std::fs::write(&local, "program").unwrap();
        let (first, second) = (staging(dir.path()), staging(dir.path()));
        let hashed = hash(&local).await.unwrap();
        let staged = first.cached(&hashed, "bin/program", false).await.unwrap();
        assert_eq!((staged.size, staged.link.as_str(), staged.cached), (hashed.length, "bin/program", true));
        assert!(staged.url.ends_with(&format!("/.flink/cache/{}/program", hashed.sha256)), "{}", staged.url);
        assert_eq!(second.cached(&hashed, "bin/program", false).await.unwrap(), staged);
        assert_eq!(all_files(&dir.path().join(".flink")), ["program"]);
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
