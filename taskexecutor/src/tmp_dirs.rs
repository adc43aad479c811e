//! Directories for what a worker spills: private, and gone with the worker.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// Other processes may have left directories of the same name; so many are stepped over.
const NAME_ATTEMPTS: u32 = 100;

/// Where spilled data may go: `io.tmp.dirs`, else the container's local directories (`LOCAL_DIRS`), else the system's
/// temporary directory. Lists are separated by commas.
pub fn parents(configured: Option<&str>, local_dirs: Option<&str>, system: &Path) -> Vec<PathBuf> {
    let list = |text: &str| -> Vec<PathBuf> {
        text.split(',').map(str::trim).filter(|dir| !dir.is_empty()).map(PathBuf::from).collect()
    };
    [configured, local_dirs]
        .into_iter()
        .flatten()
        .map(list)
        .find(|dirs| !dirs.is_empty())
        .unwrap_or_else(|| vec![system.to_owned()])
}

/// One worker's directories, one in each parent, readable by this user alone; removed with all they hold when dropped.
#[derive(Debug)]
pub struct PrivateDirs {
    dirs: Vec<PathBuf>,
}

/// No directory could be made.
#[derive(Debug, thiserror::Error)]
#[error("no temporary directory can be made in {tried:?}: set io.tmp.dirs to directories that can be written")]
pub struct NoTmpDir {
    /// Where it was tried.
    pub tried: Vec<PathBuf>,
    /// What happened at the last of them.
    #[source]
    pub cause: io::Error,
}

impl PrivateDirs {
    /// Makes one in each parent. Parents in which that fails (a bad disk) are left out with a warning.
    ///
    /// # Errors
    /// [`NoTmpDir`] when none is left.
    pub fn make(parents: &[PathBuf]) -> Result<Self, NoTmpDir> {
        let mut dirs = Vec::new();
        let mut cause = io::Error::from(io::ErrorKind::NotFound);
        for parent in parents {
            match make_one(parent) {
                Ok(dir) => dirs.push(dir),
                Err(error) => {
                    tracing::warn!(directory = %parent.display(), %error, "temporary directory is left out");
                    cause = error;
                }
            }
        }
        if dirs.is_empty() { Err(NoTmpDir { tried: parents.to_owned(), cause }) } else { Ok(Self { dirs }) }
    }

    /// The directories; at least one.
    pub fn paths(&self) -> &[PathBuf] {
        &self.dirs
    }
}

/// A short name: workers put Unix sockets there, whose paths have room for about a hundred bytes.
fn make_one(parent: &Path) -> io::Result<PathBuf> {
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    for number in 0..NAME_ATTEMPTS {
        let dir = parent.join(format!("flumen-{}-{number}", std::process::id()));
        match builder.create(&dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => return made.map(|()| dir),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

impl Drop for PrivateDirs {
    fn drop(&mut self) {
        for dir in &self.dirs {
            match std::fs::remove_dir_all(dir) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => tracing::warn!(directory = %dir.display(), %error, "temporary directory stays behind"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;
    use tempfile::TempDir;

    #[test]
    fn the_configuration_wins_over_the_container_and_that_over_the_system() {
        for (configured, local, expected) in [
            (Some("/a, /b"), Some("/c"), vec!["/a", "/b"]),
            (None, Some("/c,/d"), vec!["/c", "/d"]),
            (Some(" "), Some("/c"), vec!["/c"]),
            (None, Some(""), vec!["/tmp"]),
            (None, None, vec!["/tmp"]),
        ] {
            let expected: Vec<PathBuf> = expected.into_iter().map(PathBuf::from).collect();
            assert_eq!(parents(configured, local, Path::new("/tmp")), expected, "{configured:?} {local:?}");
        }
    }

    #[test]
    fn directories_are_private_distinct_and_removed_with_their_contents() {
        let parent = TempDir::new().unwrap();
        let parents = [parent.path().to_owned(), PathBuf::from("/nowhere")];
        let (first, second) = (PrivateDirs::make(&parents).unwrap(), PrivateDirs::make(&parents).unwrap());
        assert_eq!(first.paths().len(), 1, "the bad disk is left out");
        assert_ne!(first.paths(), second.paths());
        assert_eq!(first.paths()[0].metadata().unwrap().permissions().mode() & 0o777, 0o700);
        std::fs::write(first.paths()[0].join("spilled"), "data").unwrap();
        drop((first, second));
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
    }

    #[test]
    fn no_usable_directory_is_an_error_that_names_the_option() {
        let error = PrivateDirs::make(&[PathBuf::from("/nowhere")]).unwrap_err().to_string();
        assert!(error.contains("/nowhere") && error.contains("io.tmp.dirs"), "{error}");
    }
}
