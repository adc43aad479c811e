//! What a job leaves, and what becomes of it when another job starts from it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use flumen_model::checkpoint::SnapshotKind;

use crate::directory::{completed, files, load, newest, number};
use crate::sums::{Next, expected, once, sums};

const RETENTION: &str = "execution.checkpointing.externalized-checkpoint-retention";
const IN_FILES: (&str, &str) = ("execution.checkpointing.data-inline-threshold", "0");

/// Runs a job that fails once it has completed a few checkpoints.
fn failed_job(directory: &Path, options: &[(&str, &str)]) {
    let mut all = vec![("restart-strategy.type", "none"), IN_FILES];
    all.extend(options);
    let watched = directory.to_owned();
    let (result, _) = sums(directory, &all, once(move || newest(&watched) > 3));
    assert!(result.unwrap_err().to_string().contains("as the test wants it"));
}

#[test]
fn what_a_failed_job_leaves_is_what_its_retention_says() {
    for (retention, number_retained, left) in [
        ("RETAIN_ON_CANCELLATION", "1", 1),
        ("DELETE_ON_CANCELLATION", "3", 3),
        ("NO_EXTERNALIZED_CHECKPOINTS", "3", 0),
    ] {
        let directory = tempfile::tempdir().unwrap();
        failed_job(directory.path(), &[(RETENTION, retention), ("state.checkpoints.num-retained", number_retained)]);
        let found = completed(directory.path());
        // One more may have completed while the job failed.
        let most = if left > 0 { left + 1 } else { 0 };
        assert!((left..=most).contains(&found.len()), "{retention}: {found:?}");
        for checkpoint in &found {
            let files = files(&load(checkpoint).unwrap());
            assert!(!files.is_empty() && files.iter().all(|file| file.is_file()), "{files:?}");
        }
        if left == 0 {
            assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "nothing at all is left");
        }
    }
}

/// A job's first checkpoint: what it was taken for, and its files.
type First = Arc<Mutex<Option<(SnapshotKind, Vec<PathBuf>)>>>;

/// Runs a job from a checkpoint of another one; gives its first checkpoint.
fn next_job(from: &Path, directory: &Path, claim: &str) -> (SnapshotKind, Vec<PathBuf>) {
    let options = [
        ("execution.state-recovery.path", from.to_str().unwrap()),
        ("execution.state-recovery.claim-mode", claim),
        // So many that the first is still there when it is looked at.
        ("state.checkpoints.num-retained", "100"),
        IN_FILES,
    ];
    let first = First::default();
    let (watched, seen) = (directory.to_owned(), Arc::clone(&first));
    let (result, sums) = sums(directory, &options, move || {
        let mut seen = seen.lock().unwrap();
        if seen.is_none() {
            let checkpoint = completed(&watched).into_iter().next().and_then(|path| load(&path));
            *seen = checkpoint.map(|checkpoint| (checkpoint.kind, files(&checkpoint)));
        }
        if seen.is_some() { Next::Finish } else { Next::Wait }
    });
    result.unwrap();
    assert_eq!(sums.sums, expected());
    assert_eq!(sums.first_read, 0, "the first event was read by the other job");
    first.lock().unwrap().take().expect("a checkpoint is complete while the job runs")
}

#[test]
fn what_a_job_does_not_claim_stays_and_its_first_checkpoint_needs_nothing_of_it() {
    for claim in ["NO_CLAIM", "LEGACY"] {
        let (directory, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        failed_job(directory.path(), &[(RETENTION, "RETAIN_ON_CANCELLATION")]);
        let left = completed(directory.path());
        let from = left.last().expect("one is retained");
        let (kind, files_of_first) = next_job(from, other.path(), claim);
        assert_eq!(kind, SnapshotKind::FullCheckpoint, "{claim}");
        assert!(!files_of_first.is_empty());
        assert!(files_of_first.iter().all(|file| file.starts_with(other.path())), "{files_of_first:?}");
        assert_eq!(completed(directory.path()), left, "{claim}: it stays its user's");
        assert!(files(&load(from).unwrap()).iter().all(|file| file.is_file()), "{claim}: whole");
    }
}

#[test]
fn what_a_job_claims_is_removed_when_it_is_no_longer_needed() {
    let (directory, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    failed_job(directory.path(), &[(RETENTION, "RETAIN_ON_CANCELLATION")]);
    let from = completed(directory.path()).pop().unwrap();
    assert!(number(&from) > 3);
    let (kind, _) = next_job(&from, other.path(), "CLAIM");
    assert_eq!(kind, SnapshotKind::Checkpoint);
    assert!(!from.try_exists().unwrap(), "the claimed checkpoint is removed with the job's own");
}
