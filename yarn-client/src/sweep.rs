//! Removes what earlier clients and applications left in the staging area. Best effort: nothing depends on it.

use std::time::Duration;

use flumen_fs::{FileStatus, FileSystem, FsError, FsPath};
use flumen_staging::ProcessIdentity;
use flumen_wire::application::{APPLICATION_FILE, Application, Purpose};

use crate::kept::Kept;
use crate::locate::DESCRIPTION_MAX;
use crate::stage::Staging;

/// Time that a sweep may take.
pub const LIMIT: Duration = Duration::from_secs(5);

/// After this time a temporary file is debris even if its process can't be looked at, and a directory belongs to no
/// application that the ResourceManager has merely not been told of yet.
const AGE: Duration = Duration::from_secs(24 * 3600);

/// What the ResourceManager says of an application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// It runs, or will.
    Active,
    /// It ended.
    Ended,
    /// It was never heard of: submitted later, long forgotten, or before a restart without recovery.
    Unknown,
}

/// Whether a file of the cache, or an unfinished directory, was left by a client that is gone.
fn is_debris(file: &FileStatus, own: &ProcessIdentity, now_ms: u64) -> bool {
    let Some(inner) = file.path.name().strip_prefix('.').and_then(|name| name.strip_suffix(".tmp")) else {
        return false;
    };
    let old = now_ms.saturating_sub(file.modified_ms) > AGE.as_millis() as u64;
    let Some(writer) = ProcessIdentity::parse(inner) else { return old };
    // The host's name stands behind the file's own name: `.<name>.<host>-<pid>-<start>.tmp`.
    let here = writer.host.strip_suffix(&own.host).is_some_and(|name| name.ends_with('.'));
    let alive = ProcessIdentity { host: own.host.clone(), ..writer }.is_alive();
    old || (here && !alive)
}

/// Whether the directory of an application can go.
fn is_orphan(directory: &FileStatus, known: Known, now_ms: u64) -> bool {
    let old = now_ms.saturating_sub(directory.modified_ms) > AGE.as_millis() as u64;
    match known {
        Known::Active => false,
        Known::Ended => true,
        Known::Unknown => old,
    }
}

/// Removes temporary files of dead clients and the directories of ended applications, with what high availability kept of
/// those that were for one job; `known` asks the ResourceManager. Returns the number of things removed.
///
/// # Errors
/// Those of the file system when the staging area can't be listed; what can't be removed is left.
pub async fn sweep<F, K>(staging: &Staging, own: &ProcessIdentity, now_ms: u64, known: K) -> Result<usize, FsError>
where
    F: Future<Output = Known>,
    K: Fn(String) -> F,
{
    let fs = &**staging.fs();
    let mut removed = 0;
    for entry in listed(fs, staging.base()).await? {
        let name = entry.path.name().to_owned();
        if is_debris(&entry, own, now_ms) && fs.delete(&entry.path, true).await.unwrap_or(false) {
            removed += 1;
        } else if entry.is_dir && name.starts_with("application_") {
            let state = known(name).await;
            if !is_orphan(&entry, state, now_ms) {
                continue;
            }
            if state == Known::Ended {
                clear_kept(fs, &entry.path).await;
            }
            if fs.delete(&entry.path, true).await.unwrap_or(false) {
                removed += 1;
            }
        }
    }
    for directory in listed(fs, &staging.cache()).await?.into_iter().filter(|entry| entry.is_dir) {
        for file in listed(fs, &directory.path).await? {
            if is_debris(&file, own, now_ms) && fs.delete(&file.path, false).await.unwrap_or(false) {
                removed += 1;
                // Refused unless it is empty now.
                let _ = fs.delete(&directory.path, false).await;
            }
        }
    }
    Ok(removed)
}

/// Before the description goes, without which nobody knows where that is.
async fn clear_kept(fs: &dyn FileSystem, directory: &FsPath) {
    let Ok(text) = fs.read_fully(&directory.join(APPLICATION_FILE), DESCRIPTION_MAX).await else { return };
    let Ok(described) = serde_json::from_slice::<Application>(&text) else { return };
    if !matches!(described.purpose, Purpose::Session) {
        Kept::remove_of_job(&described.configuration, &described.user, directory.name()).await;
    }
}

async fn listed(fs: &dyn FileSystem, directory: &FsPath) -> Result<Vec<FileStatus>, FsError> {
    match fs.list(directory).await {
        Err(error) if error.is_not_found() => Ok(Vec::new()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flumen_fs::{FileSystems, FsOptions};
    use std::path::Path;

    const NOW: u64 = 1_800_000_000_000;

    fn file(name: &str, age: Duration) -> FileStatus {
        FileStatus {
            path: format!("hdfs://h:1/cache/abc/{name}").parse().unwrap(),
            len: 1,
            is_dir: false,
            modified_ms: NOW - age.as_millis() as u64,
            permission: 0o644,
            owner: String::new(),
            group: String::new(),
        }
    }

    #[test]
    fn only_what_dead_clients_left_is_debris() {
        let own = ProcessIdentity { host: "node-1".into(), ..ProcessIdentity::own() };
        let (alive, started) = (own.pid, own.started);
        let (young, old) = (Duration::from_secs(60), Duration::from_secs(90_000));
        for (name, age, debris) in [
            (format!(".program.node-1-{alive}-{started}.tmp"), young, false),
            (format!(".program.node-1-{alive}-{}.tmp", started + 1), young, true),
            (".program.node-1-999999999-5.tmp".to_owned(), young, true),
            (format!(".program.3.node-1-{alive}-{started}.tmp"), young, false),
            (".program.3.node-1-999999999-5.tmp".to_owned(), young, true),
            (".program.other-999999999-5.tmp".to_owned(), young, false),
            (".program.other-999999999-5.tmp".to_owned(), old, true),
            (".program.tmp".to_owned(), young, false),
            (".program.tmp".to_owned(), old, true),
            ("program".to_owned(), old, false),
            ("program.tmp".to_owned(), old, false),
            (".hidden".to_owned(), old, false),
        ] {
            assert_eq!(is_debris(&file(&name, age), &own, NOW), debris, "{name}");
        }
    }

    #[test]
    fn a_directory_goes_when_its_application_ended() {
        for (known, age, orphan) in [
            (Known::Active, 90_000, false),
            (Known::Ended, 1, true),
            (Known::Unknown, 1, false),
            (Known::Unknown, 90_000, true),
        ] {
            let directory = file("application_1_0001", Duration::from_secs(age));
            assert_eq!(is_orphan(&directory, known, NOW), orphan, "{known:?} {age}");
        }
    }

    #[tokio::test]
    async fn a_sweep_leaves_running_applications_and_complete_files() {
        let dir = tempfile::tempdir().unwrap();
        let base = FsPath::local(Path::new("stage"), dir.path()).unwrap();
        let fs = FileSystems::new(FsOptions::default()).unwrap().get(&base).unwrap();
        let own = ProcessIdentity::own();
        let staging = Staging::new(fs, base, None);
        assert_eq!(sweep(&staging, &own, NOW, |_| async { Known::Ended }).await.unwrap(), 0, "nothing is there yet");
        let stage = dir.path().join("stage");
        let dead = format!(".program.{}-999999999-5.tmp", own.host);
        let unfinished = format!(".application_1_0003.{}-999999999-5.tmp", own.host);
        for path in ["application_1_0001", "application_1_0002", "cache/abc", "cache/def", &unfinished] {
            std::fs::create_dir_all(stage.join(path)).unwrap();
        }
        for path in ["cache/abc/program".to_owned(), format!("cache/abc/{dead}"), format!("cache/def/{dead}")] {
            std::fs::write(stage.join(path), "").unwrap();
        }
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64;
        let known = |id: String| async move { if id.ends_with('1') { Known::Ended } else { Known::Active } };
        assert_eq!(sweep(&staging, &own, now, known).await.unwrap(), 4);
        for (path, there) in [
            ("application_1_0001", false),
            ("application_1_0002", true),
            ("cache/abc/program", true),
            ("cache/def", false),
            (&unfinished, false),
        ] {
            assert_eq!(stage.join(path).try_exists().unwrap(), there, "{path}");
        }
    }
}
