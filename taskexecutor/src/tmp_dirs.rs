//! Directories for what a worker spills and for its state: private, and gone with the worker.
//!
//! A TaskExecutor that is killed can't remove them. Those in its container's directories are removed by YARN; others by the next
//! TaskExecutor of this user that has some there: a directory is locked (`flock`) for as long as it belongs to somebody.

use std::fs::{DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use flumen_model::config::Directories;
use flumen_model::options::{checkpointing, memory};
use flumen_wire::control::StartWorker;

/// Other processes may have left directories of the same name; so many are stepped over.
const NAME_ATTEMPTS: u32 = 100;

/// Where spilled data may go: `io.tmp.dirs`, else the container's local directories (`LOCAL_DIRS`), else the system's
/// temporary directory.
pub fn parents(configured: Directories, local_dirs: Directories, system: &Path) -> Vec<PathBuf> {
    [configured.0, local_dirs.0].into_iter().find(|dirs| !dirs.is_empty()).unwrap_or_else(|| vec![system.to_owned()])
}

/// One worker's directories, one in each parent, readable by this user alone; removed with all they hold when dropped.
#[derive(Debug)]
pub struct PrivateDirs {
    dirs: Vec<PrivateDir>,
}

/// One of them.
#[derive(Debug)]
struct PrivateDir {
    path: PathBuf,
    /// Holds the lock.
    _lock: File,
}

/// How they are called: a short name, for workers put Unix sockets there, whose paths have room for about a hundred bytes.
fn name(number: u32) -> String {
    format!("flumen-{}-{number}", std::process::id())
}

/// Whether one could be called that.
fn is_name(name: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let numbers = name.strip_prefix("flumen-").and_then(|rest| rest.split_once('-'));
    numbers.is_some_and(|(process, number)| is_number(process) && is_number(number))
}

/// Removes what killed TaskExecutors left in these directories.
pub fn remove_abandoned(parents: &[PathBuf]) {
    for entry in parents.iter().filter_map(|parent| parent.read_dir().ok()).flatten().flatten() {
        if !entry.file_name().to_str().is_some_and(is_name) {
            continue;
        }
        let Ok(dir) = File::open(entry.path()) else { continue };
        // Root may open and remove everybody's.
        let is_own = dir.metadata().is_ok_and(|found| found.uid() == rustix::process::geteuid().as_raw());
        if is_own && dir.try_lock().is_ok() {
            tracing::info!(directory = %entry.path().display(), "is removed: who had it is gone");
            remove(&entry.path());
        }
    }
}

fn remove(dir: &Path) {
    match std::fs::remove_dir_all(dir) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(directory = %dir.display(), %error, "the directory stays behind"),
    }
}

/// All directories of a worker.
#[derive(Debug)]
pub struct WorkerDirs {
    /// For spilled data and sockets.
    pub tmp: PrivateDirs,
    /// For local files of state, when the job's configuration has others for these.
    pub state: Option<PrivateDirs>,
}

impl WorkerDirs {
    /// Makes them, those for spilled data in `tmp_parents`.
    ///
    /// # Errors
    /// [`NoTmpDir`] when no directory for one of both can be made.
    pub fn make(start: &StartWorker, tmp_parents: &[PathBuf]) -> Result<Self, NoTmpDir> {
        let option = checkpointing::ROCKSDB_LOCAL_DIRS;
        // What is no value of the option is for the worker to refuse.
        let state = start.graph.configuration(&start.configuration).find(&option).ok().flatten().unwrap_or_default().0;
        let parents = [tmp_parents, &state].concat();
        // In a thread, for there may be much, and nobody waits for it.
        let _ = std::thread::Builder::new().name("abandoned".to_owned()).spawn(move || remove_abandoned(&parents));
        Ok(Self {
            tmp: PrivateDirs::make(tmp_parents, memory::TMP_DIRS.key)?,
            state: if state.is_empty() { None } else { Some(PrivateDirs::make(&state, option.key)?) },
        })
    }
}

/// No directory could be made.
#[derive(Debug, thiserror::Error)]
#[error("no directory can be made in {tried:?}: set {option} to directories that can be written")]
pub struct NoTmpDir {
    /// The option that names them.
    pub option: &'static str,
    /// Where it was tried.
    pub tried: Vec<PathBuf>,
    /// What happened at the last of them.
    #[source]
    pub cause: io::Error,
}

impl PrivateDirs {
    /// Makes one in each parent that an option names. Parents in which that fails (a bad disk) are left out with a warning.
    ///
    /// # Errors
    /// [`NoTmpDir`] when none is left.
    pub fn make(parents: &[PathBuf], option: &'static str) -> Result<Self, NoTmpDir> {
        let mut dirs = Vec::new();
        let mut cause = io::Error::from(io::ErrorKind::NotFound);
        for parent in parents {
            match make_one(parent) {
                Ok(dir) => dirs.push(dir),
                Err(error) => {
                    tracing::warn!(option, directory = %parent.display(), %error, "the directory is left out");
                    cause = error;
                }
            }
        }
        if dirs.is_empty() { Err(NoTmpDir { option, tried: parents.to_owned(), cause }) } else { Ok(Self { dirs }) }
    }

    /// The directories; at least one.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.dirs.iter().map(|dir| dir.path.as_path())
    }
}

fn make_one(parent: &Path) -> io::Result<PrivateDir> {
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    for number in 0..NAME_ATTEMPTS {
        let path = parent.join(name(number));
        match builder.create(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            made => made?,
        }
        // Before it was locked, another TaskExecutor may have taken it for one that nobody has any more.
        if let Some(lock) = lock(&path)? {
            return Ok(PrivateDir { path, _lock: lock });
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Locks a directory; `None` when it is another's, or gone.
fn lock(path: &Path) -> io::Result<Option<File>> {
    let gone = |error: io::Error| if error.kind() == io::ErrorKind::NotFound { Ok(None) } else { Err(error) };
    let dir = match File::open(path) {
        Ok(dir) => dir,
        Err(error) => return gone(error),
    };
    // Where there are no locks, nobody can have another one's directory for abandoned.
    if let Err(TryLockError::WouldBlock) = dir.try_lock() {
        return Ok(None);
    }
    match path.metadata() {
        Ok(found) => Ok((found.ino() == dir.metadata()?.ino()).then_some(dir)),
        Err(error) => gone(error),
    }
}

impl Drop for PrivateDirs {
    fn drop(&mut self) {
        self.dirs.iter().for_each(|dir| remove(&dir.path));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flumen_model::config::ConfigValue as _;
    use std::os::unix::fs::PermissionsExt as _;
    use tempfile::TempDir;

    #[test]
    fn the_configuration_wins_over_the_container_and_that_over_the_system() {
        for (configured, local, expected) in
            [("/a, /b", "/c", vec!["/a", "/b"]), (" ", "/c,/d", vec!["/c", "/d"]), ("", "", vec!["/tmp"])]
        {
            let expected: Vec<PathBuf> = expected.into_iter().map(PathBuf::from).collect();
            let read = |text| Directories::read(text).unwrap();
            assert_eq!(parents(read(configured), read(local), Path::new("/tmp")), expected, "{configured} {local}");
        }
    }

    #[test]
    fn directories_are_private_distinct_and_removed_with_their_contents() {
        let parent = TempDir::new().unwrap();
        let parents = [parent.path().to_owned(), PathBuf::from("/nowhere")];
        let make = || PrivateDirs::make(&parents, "io.tmp.dirs").unwrap();
        let (one, other) = (make(), make());
        let [dir] = one.paths().collect::<Vec<_>>()[..] else { panic!("{one:?}: the bad disk is left out") };
        assert!(other.paths().all(|other| other != dir));
        assert_eq!(dir.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        std::fs::write(dir.join("spilled"), "data").unwrap();
        drop((one, other));
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_nobody_has_any_more_is_removed_and_what_is_in_use_or_no_directory_of_a_worker_stays() {
        let parent = TempDir::new().unwrap();
        let parents = [parent.path().to_owned(), PathBuf::from("/nowhere")];
        let used = PrivateDirs::make(&parents, "io.tmp.dirs").unwrap();
        for abandoned in ["flumen-1-0", "flumen-1-1"] {
            std::fs::create_dir(parent.path().join(abandoned)).unwrap();
            std::fs::write(parent.path().join(abandoned).join("000007.sst"), "rows").unwrap();
        }
        if rustix::process::geteuid().is_root() {
            let other_users = parent.path().join("flumen-7-7");
            std::fs::create_dir(&other_users).unwrap();
            std::os::unix::fs::chown(&other_users, Some(65534), None).unwrap();
            remove_abandoned(&parents);
            std::fs::remove_dir(&other_users).expect("it is another user's");
        }
        let others = ["flumen-0123456789abcdef", "flumen--1", "flumen-disk-7", "other"];
        others.iter().for_each(|other| std::fs::create_dir(parent.path().join(other)).unwrap());
        remove_abandoned(&parents);
        let mut left: Vec<_> = parent.path().read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
        left.sort();
        let mut expected: Vec<_> = others.iter().map(|other| parent.path().join(other)).collect();
        expected.extend(used.paths().map(Path::to_owned));
        expected.sort();
        assert_eq!(left, expected);

        // Locked by another one between its making and now.
        let taken = File::open(parent.path().join("other")).unwrap();
        taken.try_lock().unwrap();
        assert!(lock(&parent.path().join("other")).unwrap().is_none());
        assert!(lock(&parent.path().join("gone")).unwrap().is_none());
        drop(taken);
        assert!(lock(&parent.path().join("other")).unwrap().is_some());
    }

    #[test]
    fn no_usable_directory_is_an_error_that_names_the_option() {
        let error = PrivateDirs::make(&[PathBuf::from("/nowhere")], "io.tmp.dirs").unwrap_err().to_string();
        assert!(error.contains("/nowhere") && error.contains("io.tmp.dirs"), "{error}");
    }
}
