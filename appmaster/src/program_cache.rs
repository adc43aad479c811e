//! Programs that came over REST, in the staging area's cache, where TaskExecutors fetch them: by content, once, as the command
//! line does it (docs/formats/staging.md).

use std::io::Read as _;
use std::path::Path;

use bytes::Bytes;
use flumen_fs::{CreateOptions, FileSystem, FileSystems, FsError, FsPath};
use flumen_model::text::hexadecimal;
use flumen_wire::application::Artifact;
use sha2::{Digest as _, Sha256};

/// Bytes that are read and sent at once.
const CHUNK: usize = 1 << 20;

/// Only the user may look into Flumen's directories.
const PRIVATE_DIRECTORY: u16 = 0o700;

/// Why a program is not there.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The local file can't be read.
    #[error("the uploaded program can't be read")]
    Read(#[source] std::io::Error),
    /// The local file is another one than a moment ago.
    #[error("the uploaded program changed while it was staged")]
    Changed,
    /// The staging area refuses.
    #[error("the program can't be staged")]
    Stage(#[from] FsError),
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct ProgramCache {
    files: FileSystems,
    root: FsPath,
    replication: Option<u16>,
}

impl ProgramCache {
    /// The cache under the root of the staging area. `replication` is that of the staged files.
    pub fn new(files: FileSystems, root: FsPath, replication: Option<u16>) -> Self {
        Self { files, root, replication }
    }

    /// Makes sure that the file's content is in the cache under this name.
    ///
    /// # Errors
    /// [`CacheError`]; nothing is left behind if the staging area lets it be removed.
    pub async fn staged(&self, path: &Path, name: &str) -> Result<Artifact, CacheError> {
        let (sha256, size) = hashed(path).await?;
        let fs = self.files.get(&self.root)?;
        let cache = self.root.join("cache");
        let directory = cache.join(&sha256);
        let target = directory.join(name);
        let present = match fs.status(&target).await {
            Ok(status) => Some(status.len),
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error.into()),
        };
        if present != Some(size) {
            fs.mkdirs(&self.root, Some(PRIVATE_DIRECTORY)).await?;
            fs.mkdirs(&cache, Some(PRIVATE_DIRECTORY)).await?;
            let temporary = directory.join(format!(".{name}.{}.tmp", own_identity()));
            let stored = self.store(&*fs, path, &sha256, &temporary, &target, present.is_some()).await;
            if stored.is_err() {
                let _ = fs.delete(&temporary, false).await;
            }
            stored?;
        }
        Ok(Artifact { url: target.to_string(), size, sha256 })
    }

    async fn store(
        &self,
        fs: &dyn FileSystem,
        path: &Path,
        sha256: &str,
        temporary: &FsPath,
        target: &FsPath,
        replace: bool,
    ) -> Result<(), CacheError> {
        let options = CreateOptions { overwrite: true, permission: None, replication: self.replication };
        let mut writer = fs.create(temporary, &options).await?;
        let (chunks, mut from_file) = tokio::sync::mpsc::channel(2);
        let path = path.to_owned();
        let reading =
            tokio::task::spawn_blocking(move || read_chunks(&path, |chunk| chunks.blocking_send(chunk).is_ok()));
        while let Some(chunk) = from_file.recv().await {
            writer.write(chunk).await?;
        }
        let read = reading.await.map_err(std::io::Error::other).and_then(|read| read).map_err(CacheError::Read)?;
        if read.0 != sha256 {
            return Err(CacheError::Changed);
        }
        writer.close().await?;
        match fs.rename(temporary, target, replace).await {
            // Somebody else staged the same content meanwhile.
            Err(error) if error.is_already_exists() => drop(fs.delete(temporary, false).await?),
            other => other?,
        }
        Ok(())
    }
}

async fn hashed(path: &Path) -> Result<(String, u64), CacheError> {
    let path = path.to_owned();
    let read = tokio::task::spawn_blocking(move || read_chunks(&path, |_| true)).await;
    read.map_err(std::io::Error::other).and_then(|read| read).map_err(CacheError::Read)
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

/// `<host>-<pid>-<start>`, by which a client of the staging area knows whether the process that writes a file still runs.
fn own_identity() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Field 22; the command's name before it may hold anything but ends with the last parenthesis.
    let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
    let started = after.split_whitespace().nth(19).unwrap_or("0");
    format!("{}-{}-{started}", host.trim(), std::process::id())
}

#[cfg(test)]
mod tests {
    use flumen_fs::FsOptions;

    use super::*;

    #[tokio::test]
    async fn a_program_is_staged_once_by_its_content() {
        let dir = tempfile::tempdir().unwrap();
        let files = FileSystems::new(FsOptions::default()).unwrap();
        let root = files.resolve(&format!("file://{}/root", dir.path().display())).unwrap();
        let cache = ProgramCache::new(files, root, None);
        let program = dir.path().join("program");
        std::fs::write(&program, vec![7; CHUNK + 5]).unwrap();
        let staged = cache.staged(&program, "wordcount").await.unwrap();
        assert_eq!(staged.size, CHUNK as u64 + 5);
        let there = dir.path().join("root/cache").join(&staged.sha256).join("wordcount");
        assert_eq!(staged.url, format!("file://{}", there.display()));
        let written = std::fs::metadata(&there).unwrap().modified().unwrap();
        assert_eq!(cache.staged(&program, "wordcount").await.unwrap(), staged);
        assert_eq!(std::fs::metadata(&there).unwrap().modified().unwrap(), written, "nothing is staged twice");
        // One that was cut short is replaced.
        std::fs::write(&there, "short").unwrap();
        assert_eq!(cache.staged(&program, "wordcount").await.unwrap(), staged);
        assert_eq!(std::fs::metadata(&there).unwrap().len(), staged.size);
        assert_eq!(std::fs::read_dir(there.parent().unwrap()).unwrap().count(), 1, "no temporary file is left");
        assert!(matches!(cache.staged(Path::new("/no/such"), "x").await, Err(CacheError::Read(_))));
    }

    #[test]
    fn this_process_is_named_as_the_staging_area_wants_it() {
        let identity = own_identity();
        let mut parts = identity.rsplitn(3, '-');
        assert!(parts.next().unwrap().parse::<u64>().unwrap() > 0, "{identity}");
        assert_eq!(parts.next().unwrap(), std::process::id().to_string());
        assert!(!parts.next().unwrap().is_empty());
    }
}
