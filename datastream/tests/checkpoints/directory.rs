//! What lies in a directory of checkpoints.

use std::path::{Path, PathBuf};

use flumen_fs::{FileSystems, FsOptions};
use flumen_model::checkpoint::{CompletedCheckpoint, StateLocation};

fn list(path: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// The directories of all completed checkpoints of all jobs, oldest first.
pub(crate) fn completed(directory: &Path) -> Vec<PathBuf> {
    let checkpoints = list(directory).into_iter().flat_map(|job| list(&job));
    let mut completed: Vec<PathBuf> =
        checkpoints.filter(|path| path.join("_metadata").try_exists().unwrap_or(false)).collect();
    completed.sort_by_key(|path| number(path));
    completed
}

/// The number of a checkpoint, by its directory.
pub(crate) fn number(checkpoint: &Path) -> u64 {
    let name = checkpoint.file_name().and_then(|name| name.to_str());
    name.and_then(|name| name.strip_prefix("chk-")).and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// The number of the newest completed checkpoint, 0 before the first.
pub(crate) fn newest(directory: &Path) -> u64 {
    completed(directory).last().map_or(0, |path| number(path))
}

/// Reads a checkpoint's metadata; `None` when it is removed meanwhile.
pub(crate) fn load(checkpoint: &Path) -> Option<CompletedCheckpoint> {
    let files = FileSystems::new(FsOptions::default()).unwrap();
    let path = files.resolve(checkpoint.to_str().unwrap()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    Some(runtime.block_on(flumen_checkpoint::load(&files, &path)).ok()?.checkpoint)
}

/// The files that a checkpoint refers to, on this machine.
pub(crate) fn files(checkpoint: &CompletedCheckpoint) -> Vec<PathBuf> {
    let file = |location: &StateLocation| match location {
        StateLocation::File { path, .. } => Some(PathBuf::from(path.strip_prefix("file://").unwrap_or(path))),
        StateLocation::Inline(_) => None,
    };
    let mut files: Vec<PathBuf> = checkpoint.handles().filter_map(|handle| file(&handle.location)).collect();
    files.sort();
    files.dedup();
    files
}
