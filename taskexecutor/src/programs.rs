//! The executables of jobs that came after this container was made: fetched by content, once, and kept for the next job that
//! brings the same one.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use flumen_fs::{FileSystems, FsError};
use flumen_model::text::hexadecimal;
use flumen_wire::application::{Artifact, Program};
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::OnceCell;
use tokio::time::timeout;

/// Within the container's working directory, which YARN removes with the container.
const DIRECTORY: &str = "programs";

/// Executables that are kept. One that runs goes on running when its file is removed.
const KEPT_MAX: usize = 16;

/// Bytes of one read.
const CHUNK: usize = 1 << 20;

/// Why a program is not here.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// Its name or hash would lead out of the directory.
    #[error("program `{0}` has no usable name or hash: it was not staged by `flink run`")]
    Name(String),
    /// It can't be read where it was staged.
    #[error("program `{url}` can't be fetched; was the staging directory cleaned while the session runs?")]
    Fetch {
        /// Where it should be.
        url: String,
        /// Why.
        #[source]
        cause: FsError,
    },
    /// It takes too long.
    #[error("program `{url}` could not be fetched within {} s (worker.start.timeout)", .limit.as_secs_f32())]
    Late {
        /// Where it is.
        url: String,
        /// The limit.
        limit: Duration,
    },
    /// It is another one than was submitted.
    #[error(
        "program `{url}` is not what was submitted: it has {length} bytes and SHA-256 {sha256}; submit the job again"
    )]
    Altered {
        /// Where it is.
        url: String,
        /// Bytes that were read.
        length: u64,
        /// Of these.
        sha256: String,
    },
    /// The container's disk.
    #[error("program can't be written to `{}`: is the local disk full?", .path.display())]
    Write {
        /// Where to.
        path: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Programs(Arc<Shared>);

struct Shared {
    /// The container's working directory.
    container: PathBuf,
    files: FileSystems,
    /// Of one fetch.
    limit: Duration,
    /// The most recently used last.
    kept: Mutex<Vec<Kept>>,
}

struct Kept {
    path: PathBuf,
    /// Filled once the file is complete: whoever wants it meanwhile waits for the one who fetches.
    complete: Arc<OnceCell<()>>,
}

impl Programs {
    /// None yet. `limit` bounds one fetch.
    pub fn new(container: PathBuf, files: FileSystems, limit: Duration) -> Self {
        Self(Arc::new(Shared { container, files, limit, kept: Mutex::default() }))
    }

    /// Where the executable is, if YARN has put it into the container.
    pub fn localized(&self, program: &Program) -> Option<PathBuf> {
        program.artifact.is_none().then(|| self.0.container.join(&program.name))
    }

    /// Where the executable is; it is fetched if it is not here yet, and compared with its hash.
    ///
    /// # Errors
    /// [`ProgramError`]; the next call tries again.
    pub async fn fetched(&self, program: &Program) -> Result<PathBuf, ProgramError> {
        let Some(artifact) = &program.artifact else { return Ok(self.0.container.join(&program.name)) };
        let path = self.path(&program.name, artifact)?;
        let complete = self.claim(&path);
        complete.get_or_try_init(|| self.fetch(artifact, &path)).await?;
        Ok(path)
    }

    fn path(&self, name: &str, artifact: &Artifact) -> Result<PathBuf, ProgramError> {
        let plain_name = !name.is_empty() && !name.contains('/') && name != "." && name != "..";
        let plain_hash = artifact.sha256.len() == 64 && artifact.sha256.bytes().all(|b| b.is_ascii_hexdigit());
        if !plain_name || !plain_hash {
            return Err(ProgramError::Name(name.to_owned()));
        }
        Ok(self.0.container.join(DIRECTORY).join(&artifact.sha256).join(name))
    }

    /// Marks a file as used most recently, and removes the one that was not used for longest when there are too many.
    fn claim(&self, path: &Path) -> Arc<OnceCell<()>> {
        let mut kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let known = kept.iter().position(|entry| entry.path == path).map(|index| kept.remove(index));
        let entry = known.unwrap_or_else(|| Kept { path: path.to_owned(), complete: Arc::default() });
        let complete = entry.complete.clone();
        kept.push(entry);
        if kept.len() > KEPT_MAX
            && let Some(oldest) = kept.iter().position(|entry| entry.complete.initialized())
        {
            let removed = kept.remove(oldest);
            if let Err(error) = std::fs::remove_file(&removed.path) {
                tracing::warn!(path = %removed.path.display(), %error, "a program that is not used any more can't be removed");
            }
        }
        complete
    }

    async fn fetch(&self, artifact: &Artifact, path: &Path) -> Result<(), ProgramError> {
        let (url, limit) = (artifact.url.clone(), self.0.limit);
        let part = path.with_extension("part");
        let fetched = timeout(limit, self.copy(artifact, &part)).await;
        let fetched = fetched.unwrap_or(Err(ProgramError::Late { url, limit }));
        let renamed = match fetched {
            Ok(()) => {
                std::fs::rename(&part, path).map_err(|cause| ProgramError::Write { path: path.to_owned(), cause })
            }
            Err(error) => Err(error),
        };
        if renamed.is_err() {
            // Whatever was written of it; there may be nothing.
            let _ = std::fs::remove_file(&part);
        }
        renamed
    }

    async fn copy(&self, artifact: &Artifact, part: &Path) -> Result<(), ProgramError> {
        let failed = |cause| ProgramError::Fetch { url: artifact.url.clone(), cause };
        let unwritable = |cause| ProgramError::Write { path: part.to_owned(), cause };
        let source = self.0.files.resolve(&artifact.url).map_err(failed)?;
        let mut reader = self.0.files.get(&source).map_err(failed)?.open(&source).await.map_err(failed)?;
        if let Some(directory) = part.parent() {
            tokio::fs::create_dir_all(directory).await.map_err(unwritable)?;
        }
        let mut file = tokio::fs::File::create(part).await.map_err(unwritable)?;
        let (mut hash, mut length) = (Sha256::new(), 0);
        // One byte more than it should have shows that it has more; all of a longer file is not wanted.
        while length <= artifact.size {
            let chunk = reader.read_at(length, CHUNK).await.map_err(failed)?;
            if chunk.is_empty() {
                break;
            }
            hash.update(&chunk);
            length += chunk.len() as u64;
            file.write_all(&chunk).await.map_err(unwritable)?;
        }
        file.flush().await.map_err(unwritable)?;
        file.set_permissions(std::fs::Permissions::from_mode(0o500)).await.map_err(unwritable)?;
        let sha256 = hexadecimal(&hash.finalize());
        if length != artifact.size || sha256 != artifact.sha256 {
            return Err(ProgramError::Altered { url: artifact.url.clone(), length, sha256 });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flumen_fs::FsOptions;
    use tempfile::TempDir;

    fn programs(container: &TempDir) -> Programs {
        let files = FileSystems::new(FsOptions::default()).unwrap();
        Programs::new(container.path().to_owned(), files, Duration::from_secs(60))
    }

    fn staged(staging: &TempDir, name: &str, content: &[u8]) -> Program {
        let path = staging.path().join(name);
        std::fs::write(&path, content).unwrap();
        let sha256 = hexadecimal(&Sha256::digest(content));
        let artifact = Artifact { url: format!("file://{}", path.display()), size: content.len() as u64, sha256 };
        Program { name: name.to_owned(), artifact: Some(artifact) }
    }

    #[tokio::test]
    async fn a_program_is_fetched_once_even_for_two_jobs_at_a_time() {
        let (container, staging) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let programs = programs(&container);
        let program = staged(&staging, "job", b"#!/bin/true");
        let (one, two) = tokio::join!(programs.fetched(&program), programs.fetched(&program));
        let path = one.unwrap();
        assert_eq!(path, two.unwrap());
        assert_eq!(std::fs::read(&path).unwrap(), b"#!/bin/true");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o500);
        std::fs::remove_file(staging.path().join("job")).unwrap();
        assert_eq!(programs.fetched(&program).await.unwrap(), path, "it is not fetched again");
    }

    #[tokio::test]
    async fn what_is_not_as_submitted_is_refused_and_can_be_fetched_when_it_is_mended() {
        let (container, staging) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let programs = programs(&container);
        let program = staged(&staging, "job", b"as submitted");
        for other in [&b"as altered!!"[..], b"longer than submitted", b"short"] {
            std::fs::write(staging.path().join("job"), other).unwrap();
            let error = programs.fetched(&program).await.unwrap_err();
            assert!(matches!(error, ProgramError::Altered { .. }), "{error}");
        }
        std::fs::remove_file(staging.path().join("job")).unwrap();
        assert!(matches!(programs.fetched(&program).await.unwrap_err(), ProgramError::Fetch { .. }));
        std::fs::write(staging.path().join("job"), b"as submitted").unwrap();
        let path = programs.fetched(&program).await.unwrap();
        let left: Vec<_> =
            std::fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(left, [path]);
    }

    #[tokio::test]
    async fn names_and_hashes_that_lead_elsewhere_are_refused() {
        let (container, staging) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let good = staged(&staging, "job", b"x");
        let with = |name: &str, sha256: &str| {
            let artifact = Artifact { sha256: sha256.to_owned(), ..good.artifact.clone().unwrap() };
            Program { name: name.to_owned(), artifact: Some(artifact) }
        };
        let hash = good.artifact.clone().unwrap().sha256;
        for bad in [with("../job", &hash), with("..", &hash), with("", &hash), with("job", "../..")] {
            let error = programs(&container).fetched(&bad).await.unwrap_err();
            assert!(matches!(error, ProgramError::Name(_)), "{error}");
        }
    }

    #[tokio::test]
    async fn the_least_recently_used_programs_go_when_there_are_too_many() {
        let (container, staging) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let programs = programs(&container);
        let first = staged(&staging, "first", b"first");
        let used_again = programs.fetched(&first).await.unwrap();
        let mut paths = Vec::new();
        for number in 0..KEPT_MAX {
            let name = format!("job-{number}");
            let program = staged(&staging, &name, name.as_bytes());
            paths.push(programs.fetched(&program).await.unwrap());
            programs.fetched(&first).await.unwrap();
        }
        assert!(used_again.try_exists().unwrap());
        assert!(!paths[0].try_exists().unwrap(), "it was not used for longest");
        assert!(paths[1..].iter().all(|path| path.try_exists().unwrap()));
    }
}
