//! Where checkpoints lie.
//!
//! ```text
//! <state.checkpoints.dir>/<job>/chk-<n>/_metadata      a completed checkpoint; without that file an unfinished one
//! <state.checkpoints.dir>/<job>/chk-<n>/<uuid>         state of one subtask
//! <state.checkpoints.dir>/<job>/shared/<uuid>          state that several checkpoints refer to
//! <state.checkpoints.dir>/<job>/e<epoch>/…             the same, of the job's later leaders
//! <state.checkpoints.dir>/<job>/head.…                 see `Leadership`
//! <target>/savepoint-<job, 6 digits>-<12 digits>/…     a savepoint: `_metadata` and files of state
//! ```

use flumen_fs::FsPath;
use flumen_model::checkpoint::CheckpointId;
use flumen_model::ids::{Epoch, JobId};

/// Name of the metadata file in the directory of a checkpoint or savepoint.
pub const METADATA: &str = "_metadata";
/// Name of the directory of files that several checkpoints refer to.
pub const SHARED: &str = "shared";

const CHECKPOINT: &str = "chk-";
const EPOCH: &str = "e";

/// The directory of all checkpoints of a job.
pub fn job_directory(checkpoints: &FsPath, job: JobId) -> FsPath {
    checkpoints.join(job.to_string())
}

/// The directory that one leader of a job writes into: the job's for the first leader, one within it for each later one, so
/// that no two ever write the same checkpoint.
pub fn leader_directory(job_directory: &FsPath, epoch: Epoch) -> FsPath {
    if epoch.0 <= 1 { job_directory.clone() } else { job_directory.join(format!("{EPOCH}{epoch}")) }
}

/// The directory of one checkpoint.
pub fn checkpoint_directory(leader_directory: &FsPath, checkpoint: CheckpointId) -> FsPath {
    leader_directory.join(format!("{CHECKPOINT}{checkpoint}"))
}

/// The directory of files that several checkpoints of one leader refer to.
pub fn shared_directory(leader_directory: &FsPath) -> FsPath {
    leader_directory.join(SHARED)
}

/// A new directory for a savepoint, unlike any other.
pub fn savepoint_directory(target: &FsPath, job: JobId) -> FsPath {
    let unique = uuid::Uuid::new_v4().simple().to_string();
    target.join(format!("savepoint-{}-{}", &job.to_string()[..6], &unique[..12]))
}

/// The metadata file of the checkpoint or savepoint at `path`, which is its directory or that file itself.
pub fn metadata_file(path: &FsPath) -> FsPath {
    if path.name() == METADATA { path.clone() } else { path.join(METADATA) }
}

/// The number in the name of a checkpoint's directory.
pub(crate) fn checkpoint_of(directory: &FsPath) -> Option<CheckpointId> {
    directory.name().strip_prefix(CHECKPOINT).and_then(number).map(CheckpointId)
}

/// The epoch in the name of a leader's directory.
pub(crate) fn epoch_of(directory: &FsPath) -> Option<Epoch> {
    directory.name().strip_prefix(EPOCH).and_then(number).filter(|epoch| *epoch > 1).map(Epoch)
}

/// A number as it is written here: digits only, so that two names never mean the same.
pub(crate) fn number(text: &str) -> Option<u64> {
    let number = text.parse::<u64>().ok()?;
    (number.to_string() == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        let root: FsPath = "hdfs://nn:8020/checkpoints".parse().unwrap();
        let job = job_directory(&root, JobId(0xabcdef << 104));
        assert_eq!(job.to_string(), "hdfs://nn:8020/checkpoints/abcdef00000000000000000000000000");
        assert_eq!(leader_directory(&job, Epoch(1)), job);
        let second = leader_directory(&job, Epoch(2));
        assert_eq!((second.name(), epoch_of(&second)), ("e2", Some(Epoch(2))));
        let directory = checkpoint_directory(&second, CheckpointId(12));
        assert_eq!((directory.name(), checkpoint_of(&directory)), ("chk-12", Some(CheckpointId(12))));
        assert_eq!(metadata_file(&directory), metadata_file(&metadata_file(&directory)));
        let savepoint = savepoint_directory(&root, JobId(0xabcdef << 104));
        assert!(savepoint.name().starts_with("savepoint-abcdef-"), "{savepoint}");
        assert_eq!(savepoint.name().len(), "savepoint-abcdef-".len() + 12);
        for other in ["chk-", "chk-01", "chk-+1", "chk-x", "shared", "e1", "e02"] {
            let path = root.join(other);
            assert_eq!((checkpoint_of(&path), epoch_of(&path)), (None, None), "{other}");
        }
    }
}
