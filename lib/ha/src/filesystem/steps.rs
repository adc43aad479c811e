//! The steps of the protocol, each of which takes place once or not at all, whatever becomes of the answers.

use std::sync::Arc;

use bytes::Bytes;
use flumen_fs::{CreateOptions, FileSystem, FsError, FsPath};
use flumen_model::ids::Epoch;
use tracing::warn;

use crate::HaError;
use crate::layout::{HA, TRIES, VERSION};
use crate::leadership::Claim;

/// Only the user may see what is kept: a job's configuration may hold secrets.
const PRIVATE_DIRECTORY: u16 = 0o700;
const PRIVATE_FILE: u16 = 0o600;
/// Name of the directory of files that are on their way.
const TEMPORARY: &str = "tmp";

/// The files of one cluster.
pub(super) struct Steps {
    pub(super) fs: Arc<dyn FileSystem>,
    /// `<storageDir>/<cluster id>`.
    pub(super) root: FsPath,
}

/// What stands in the cluster's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Current {
    /// There is no data.
    Nothing,
    /// Its leader has taken everything away, and was interrupted.
    Retired,
    /// This claim, of a leader or nobody's.
    Claim(Claim),
}

impl Current {
    /// Who leads.
    pub(super) fn leader(self) -> Option<Claim> {
        match self {
            Self::Claim(claim) if claim.epoch.0 > 0 => Some(claim),
            _ => None,
        }
    }
}

/// What became of a file that was to get into the leader's directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Placed {
    /// It is there.
    Yes,
    /// Another file has its name.
    Occupied,
    /// The directory is not there: another leader's, or nobody's.
    NoDirectory,
}

impl Steps {
    fn ha(&self) -> FsPath {
        self.root.join(format!("{HA}{VERSION}"))
    }

    fn temporary(&self) -> FsPath {
        self.root.join(TEMPORARY)
    }

    /// A name for a file of the leader of `epoch` that is on its way.
    fn new_temporary(&self, epoch: Epoch) -> FsPath {
        self.temporary().join(format!("{epoch}.{}", uuid::Uuid::new_v4().simple()))
    }

    /// The directory that is named by a claim.
    pub(super) fn claim_path(&self, claim: &Claim) -> FsPath {
        self.ha().join(claim.to_string())
    }

    /// The data is not as any leader leaves it.
    pub(super) fn unsettled(&self) -> HaError {
        let reason = "exactly one directory such as `2.application_1700000000000_0001.1.0a1b` belongs there".to_owned();
        HaError::Damaged { path: self.ha().to_string(), reason }
    }

    /// Looks for data of another version, which this one would not see.
    pub(super) async fn refuse_other_versions(&self) -> Result<(), HaError> {
        let entries = match self.fs.list(&self.root).await {
            Err(error) if error.is_not_found() => return Ok(()),
            entries => entries?,
        };
        let ours = self.ha();
        let other = |path: &&FsPath| path.name().starts_with(HA) && **path != ours;
        match entries.iter().map(|entry| &entry.path).find(other) {
            Some(path) => Err(HaError::Version { path: path.to_string() }),
            None => Ok(()),
        }
    }

    /// What stands in the cluster's directory.
    pub(super) async fn current(&self) -> Result<Current, HaError> {
        for _ in 0..TRIES {
            let entries = match self.fs.list(&self.ha()).await {
                Err(error) if error.is_not_found() => return Ok(Current::Nothing),
                entries => entries?,
            };
            match &entries[..] {
                [] => return Ok(Current::Retired),
                [entry] => return entry.path.name().parse().map(Current::Claim).map_err(|()| self.unsettled()),
                // On a local disk, seen while it was renamed.
                _ => {}
            }
        }
        Err(self.unsettled())
    }

    /// Makes the directories of a cluster that nobody leads, unless they are there: of candidates that race, one makes them,
    /// by an exclusive rename. The caller looks whether they are there, and comes again if somebody who cleaned up came
    /// between.
    pub(super) async fn begin(&self) -> Result<(), HaError> {
        let temporary = self.temporary().join(format!("begin-{}", uuid::Uuid::new_v4().simple()));
        match self.make_and_rename(&temporary).await {
            Ok(()) => Ok(()),
            Err(error) => {
                self.fs.delete(&temporary, true).await?;
                let again = error.is_already_exists() || error.is_not_found() || error.is_retryable();
                if again { Ok(()) } else { Err(error.into()) }
            }
        }
    }

    async fn make_and_rename(&self, temporary: &FsPath) -> Result<(), FsError> {
        for directory in [&self.root, &self.temporary(), temporary, &temporary.join(Claim::nobody().to_string())] {
            self.fs.mkdirs(directory, Some(PRIVATE_DIRECTORY)).await?;
        }
        self.fs.rename(temporary, &self.ha(), false).await
    }

    /// Removes the directory that a leader has retired from, if that was interrupted. One that is not empty stays.
    pub(super) async fn remove_retired(&self) -> Result<(), HaError> {
        self.remove_if_empty(&self.ha()).await
    }

    async fn remove_if_empty(&self, directory: &FsPath) -> Result<(), HaError> {
        match self.fs.delete(directory, false).await {
            Ok(_) | Err(FsError::NotEmpty { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Renames the one directory from a claim to the next. False when it had another name: the next one, perhaps, if only
    /// an answer was lost, which is then claimed from once more.
    pub(super) async fn claim(&self, from: &Claim, to: &Claim) -> Result<bool, HaError> {
        let (from, to) = (self.claim_path(from), self.claim_path(to));
        let mut tries = 1;
        loop {
            let Err(error) = self.fs.rename(&from, &to, false).await else { return Ok(true) };
            if error.is_not_found() || !self.fs.exists(&from).await? {
                return Ok(false);
            }
            if !error.is_retryable() || tries >= TRIES {
                return Err(error.into());
            }
            warn!(path = %from, %error, "claiming the leadership is repeated");
            tries += 1;
        }
    }

    /// Puts a whole file into the leader's directory, if that is there: it is written elsewhere, then renamed, so that it
    /// makes no directory that was renamed meanwhile.
    pub(super) async fn place(&self, claim: &Claim, name: &str, content: Bytes) -> Result<Placed, HaError> {
        let directory = self.claim_path(claim);
        let path = directory.join(name);
        let mut tries = 0;
        let placed = loop {
            tries += 1;
            // Each time under another name: a creation that is still on its way would empty a file of the same.
            let temporary = self.new_temporary(claim.epoch);
            let moved = match self.write(&temporary, content.clone()).await {
                Ok(()) => self.move_into(&temporary, &path, &directory).await,
                Err(error) => Err(error),
            };
            if matches!(moved, Ok(Placed::Yes)) {
                return Ok(Placed::Yes);
            }
            // So that a rename that is still on its way finds nothing.
            let _ = self.fs.delete(&temporary, false).await.inspect_err(|error| left(&temporary, error));
            match moved {
                Ok(placed) => break placed,
                Err(_) if !self.fs.exists(&directory).await? => break Placed::NoDirectory,
                // Not found: somebody who cleaned up removed it on its way.
                Err(error) if tries < TRIES && (error.is_retryable() || error.is_not_found()) => {
                    warn!(%path, %error, "writing is repeated");
                }
                Err(error) => return Err(error.into()),
            }
        };
        if placed == Placed::NoDirectory {
            // What the writing made although there is nothing for it to get into.
            for directory in [self.temporary(), self.root.clone()] {
                let _ = self.remove_if_empty(&directory).await.inspect_err(|error| left(&directory, error));
            }
        }
        Ok(placed)
    }

    async fn write(&self, temporary: &FsPath, content: Bytes) -> Result<(), FsError> {
        let options = CreateOptions { permission: Some(PRIVATE_FILE), ..CreateOptions::default() };
        self.fs.write_fully(temporary, content, &options).await
    }

    /// Renames a whole file to `path`. Not found: it is neither there nor here.
    async fn move_into(&self, temporary: &FsPath, path: &FsPath, directory: &FsPath) -> Result<Placed, FsError> {
        let mut tries = 1;
        loop {
            let error = match self.fs.rename(temporary, path, false).await {
                Ok(()) => return Ok(Placed::Yes),
                Err(error) if error.is_already_exists() => return Ok(Placed::Occupied),
                Err(error) => error,
            };
            if !self.fs.exists(temporary).await? {
                // Renamed, and only the answer was lost; or removed by somebody.
                let missing = FsError::NotFound { path: temporary.to_string() };
                return if self.fs.exists(path).await? { Ok(Placed::Yes) } else { Err(missing) };
            }
            if !self.fs.exists(directory).await? {
                return Ok(Placed::NoDirectory);
            }
            if !error.is_retryable() || tries >= TRIES {
                return Err(error);
            }
            warn!(%path, %error, "renaming is repeated");
            tries += 1;
        }
    }

    /// Takes the leader's directory away, if the claim stands; false otherwise.
    pub(super) async fn retire(&self, claim: &Claim) -> Result<bool, HaError> {
        self.fs.mkdirs(&self.temporary(), Some(PRIVATE_DIRECTORY)).await?;
        let (from, to) = (self.claim_path(claim), self.temporary().join(format!("gone-{}", claim.token)));
        let mut tries = 1;
        loop {
            let Err(error) = self.fs.rename(&from, &to, false).await else { return Ok(true) };
            if !self.fs.exists(&from).await? {
                return Ok(false);
            }
            if !(error.is_retryable() || error.is_not_found()) || tries >= TRIES {
                return Err(error.into());
            }
            self.fs.mkdirs(&self.temporary(), Some(PRIVATE_DIRECTORY)).await?;
            tries += 1;
        }
    }

    /// Removes everything, once the leader's directory is retired. What somebody has begun anew stays.
    pub(super) async fn remove_all(&self) -> Result<(), HaError> {
        self.fs.delete(&self.temporary(), true).await?;
        self.remove_if_empty(&self.ha()).await?;
        self.remove_if_empty(&self.root).await
    }

    /// Removes what leaders before `epoch` left on its way.
    pub(super) async fn remove_leftovers(&self, epoch: Epoch) {
        let temporary = self.temporary();
        let former = |name: &str| match name.split_once('.').map(|(epoch, _)| epoch.parse()) {
            Some(Ok(of)) => Epoch(of) < epoch,
            _ => true,
        };
        match self.fs.list(&temporary).await {
            Ok(entries) => {
                for path in entries.into_iter().map(|entry| entry.path).filter(|path| former(path.name())) {
                    let _ = self.fs.delete(&path, true).await.inspect_err(|error| left(&path, error));
                }
            }
            Err(error) if error.is_not_found() => {}
            Err(error) => left(&temporary, &error),
        }
    }
}

/// Logs what was not removed and does no harm.
fn left(path: &FsPath, error: &(dyn std::error::Error + 'static)) {
    warn!(%path, error, "left there");
}
