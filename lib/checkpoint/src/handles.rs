//! Paths in a checkpoint, relative to its directory at rest: a savepoint's directory can be moved or copied as it is.

use flumen_fs::{FsError, FsPath};
use flumen_model::checkpoint::{CompletedCheckpoint, StateHandle, StateLocation, SubtaskSnapshot};

/// Start of a path that is relative to the directory of the metadata file. No full path starts so.
const HERE: &str = "./";

/// The checkpoint as it is written into its metadata file: without the name of its own directory.
pub(crate) fn relative(checkpoint: &CompletedCheckpoint) -> Result<CompletedCheckpoint, FsError> {
    let directory: FsPath = checkpoint.directory.parse()?;
    let mut checkpoint = checkpoint.clone();
    checkpoint.directory = HERE.to_owned();
    for_each_path(&mut checkpoint, |path| {
        let full: FsPath = path.parse()?;
        if full.is_within(&directory) && full != directory {
            let below = full.path().strip_prefix(directory.path()).unwrap_or_default();
            *path = format!("{HERE}{}", below.trim_start_matches('/'));
        }
        Ok(())
    })?;
    Ok(checkpoint)
}

/// The checkpoint as it is found in `directory`, with full paths.
pub(crate) fn absolute(checkpoint: CompletedCheckpoint, directory: &FsPath) -> Result<CompletedCheckpoint, FsError> {
    let mut checkpoint = checkpoint;
    checkpoint.directory = directory.to_string();
    for_each_path(&mut checkpoint, |path| {
        *path = match path.strip_prefix(HERE) {
            Some(below) => inside(directory, below)?.to_string(),
            None => path.parse::<FsPath>()?.to_string(),
        };
        Ok(())
    })?;
    Ok(checkpoint)
}

/// `below` in `directory`; what leads out of it is refused.
fn inside(directory: &FsPath, below: &str) -> Result<FsPath, FsError> {
    let path = directory.join(below);
    if below.split('/').any(|part| part == "..") || path == *directory {
        let reason = "a relative path in a checkpoint names a file below its directory";
        return Err(FsError::BadPath { path: below.to_owned(), reason });
    }
    Ok(path)
}

fn for_each_path(
    checkpoint: &mut CompletedCheckpoint,
    mut change: impl FnMut(&mut String) -> Result<(), FsError>,
) -> Result<(), FsError> {
    for handle in checkpoint.vertices.iter_mut().flat_map(|v| v.subtasks.iter_mut().flat_map(handles_mut)) {
        if let StateLocation::File { path, .. } = &mut handle.location {
            change(path)?;
        }
    }
    Ok(())
}

/// Every handle of a subtask, as [`SubtaskSnapshot::handles`].
fn handles_mut(subtask: &mut SubtaskSnapshot) -> Vec<&mut StateHandle> {
    let mut handles = Vec::new();
    for operator in subtask.operators.values_mut() {
        handles.extend(operator.keyed.iter_mut().flat_map(|keyed| keyed.parts.values_mut()));
        handles.extend(operator.lists.values_mut().flatten().map(|list| &mut list.items));
    }
    handles.extend(subtask.in_flight.iter_mut().map(|records| &mut records.records));
    handles
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::example;

    #[test]
    fn a_checkpoint_is_the_same_after_it_was_written_relative() {
        let before = example("hdfs://nn:8020/cp/job/chk-3");
        let at_rest = relative(&before).unwrap();
        let paths: Vec<_> = at_rest.handles().filter_map(path_of).collect();
        assert!(paths.contains(&"./state-1".to_owned()), "{paths:?}");
        assert!(paths.contains(&"hdfs://nn:8020/cp/job/shared/x".to_owned()), "not in its directory: {paths:?}");
        assert_eq!(absolute(at_rest, &before.directory.parse().unwrap()).unwrap(), before);
    }

    #[test]
    fn a_moved_directory_is_read_where_it_is() {
        let at_rest = relative(&example("hdfs://nn:8020/cp/job/chk-3")).unwrap();
        let moved = absolute(at_rest, &"file:///elsewhere".parse().unwrap()).unwrap();
        assert_eq!(moved.directory, "file:///elsewhere");
        let paths: Vec<_> = moved.handles().filter_map(path_of).collect();
        assert!(paths.contains(&"file:///elsewhere/state-1".to_owned()), "{paths:?}");
    }

    #[test]
    fn every_handle_is_seen() {
        let mut checkpoint = example("file:///a");
        let mut seen = 0;
        for_each_path(&mut checkpoint, |_| {
            seen += 1;
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, checkpoint.handles().filter_map(path_of).count());
    }

    #[test]
    fn a_relative_path_that_leads_out_is_refused() {
        let directory: FsPath = "file:///a/b".parse().unwrap();
        for below in ["../x", "x/../../y", "", "."] {
            assert!(inside(&directory, below).is_err(), "{below:?}");
        }
    }

    fn path_of(handle: &StateHandle) -> Option<String> {
        match &handle.location {
            StateLocation::File { path, .. } => Some(path.clone()),
            StateLocation::Inline(_) => None,
        }
    }
}
