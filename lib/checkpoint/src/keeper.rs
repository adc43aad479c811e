//! What the driver of a JobMaster does about checkpoints: finds what a job starts from, completes what it decides to keep,
//! removes what it gives up. Every driver has the same one.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use flumen_fs::{FileSystems, FsError, FsPath};
use flumen_model::checkpoint::{CheckpointId, CompletedCheckpoint, SnapshotKind};
use flumen_model::failure::{Blame, Failure};
use tracing::{debug, info, warn};

use crate::{
    CheckpointError, Depth, Leadership, Origin, Undeleted, discard, layout, load, newest_valid, store, validate,
};

/// Where a job's snapshots are, as it is configured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    /// `state.checkpoints.dir`; `None`: the job takes no checkpoints.
    pub checkpoints: Option<String>,
    /// `state.savepoints.dir`.
    pub savepoints: Option<String>,
    /// `execution.state-recovery.path`.
    pub from: Option<String>,
}

impl Places {
    /// The same with full paths, as workers need them.
    ///
    /// # Errors
    /// [`FsError::BadPath`] when one is no path.
    pub fn resolved(self, systems: &FileSystems) -> Result<Self, FsError> {
        let full =
            |place: Option<String>| place.map(|place| systems.resolve(&place).map(|path| path.to_string())).transpose();
        Ok(Self { checkpoints: full(self.checkpoints)?, savepoints: full(self.savepoints)?, from: full(self.from)? })
    }
}

/// What a job starts from, read and found whole.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Beginning {
    /// The snapshot that the user names.
    pub from: Option<CompletedCheckpoint>,
    /// What former leaders of the same job have completed and retained, oldest first: the last one is the newest that is
    /// whole.
    pub inherited: Vec<CompletedCheckpoint>,
    /// Former leaders have completed checkpoints, and none of them is left whole: why. The job must not begin as if it had
    /// never run.
    pub unusable: Option<String>,
    /// The number of the newest that counts, whole or not: this leader's are greater.
    pub reached: Option<CheckpointId>,
    /// Where this leader writes checkpoints; `None` when the job takes none.
    pub directory: Option<String>,
}

/// Keeps the checkpoints of one job for one leader.
pub struct Keeper {
    systems: FileSystems,
    origin: Origin,
    /// The directory of the job's checkpoints.
    job_directory: Option<FsPath>,
    /// Claimed with the first checkpoint; a later leader claims it before it looks for the former one's.
    leadership: tokio::sync::Mutex<Option<Leadership>>,
    notes: Mutex<Notes>,
}

#[derive(Default)]
struct Notes {
    /// A newer leader is there: nothing is removed any more.
    superseded: bool,
    /// Directories of checkpoints of which it isn't known whether they count: they stay.
    uncertain: BTreeSet<FsPath>,
    /// What was given up while it was being stored, and counts all the same: a later leader goes on from it, so it is removed
    /// only when another one counts.
    doomed: Vec<String>,
}

/// Why a checkpoint is not stored.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A newer leader has taken the job over: this one has to stop.
    #[error(transparent)]
    Superseded(CheckpointError),
    /// It was overtaken by one with a higher number.
    #[error("checkpoint {checkpoint} was overtaken by checkpoint {newest}")]
    Overtaken {
        /// Which one.
        checkpoint: CheckpointId,
        /// The one that counts.
        newest: CheckpointId,
    },
    /// Anything else.
    #[error("checkpoint {checkpoint} can't be stored")]
    Failed {
        /// Which one.
        checkpoint: CheckpointId,
        /// Why.
        #[source]
        cause: CheckpointError,
    },
}

impl StoreError {
    /// As it is told to a JobMaster.
    pub fn into_failure(self) -> Failure {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(&self);
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        Failure::new(Blame::Outside, text)
    }
}

impl Keeper {
    /// Finds what the job starts from. The leader of the first epoch writes nothing before its first checkpoint.
    ///
    /// # Errors
    /// The snapshot that the user names is missing, damaged or not whole; a newer leader is there; those of the file system.
    pub async fn begin(
        systems: FileSystems,
        origin: Origin,
        places: &Places,
    ) -> Result<(Self, Beginning), CheckpointError> {
        let root = places.checkpoints.as_deref().map(|root| systems.resolve(root)).transpose()?;
        let job_directory = root.map(|root| layout::job_directory(&root, origin.job));
        let mut beginning = Beginning::default();
        let mut leadership = None;
        if let Some(directory) = &job_directory {
            beginning.directory = Some(layout::leader_directory(directory, origin.epoch).to_string());
            if origin.epoch.0 > 1 {
                let claimed = Leadership::claim(&systems, directory, origin.epoch).await?;
                beginning.reached = claimed.newest();
                leadership = Some(claimed);
                let newest = newest_valid(&systems, directory, Depth::Lengths).await?;
                if newest.found.is_none() && !newest.rejected.is_empty() {
                    let reasons: Vec<_> = newest.rejected.iter().map(|rejected| rejected.reason.to_string()).collect();
                    beginning.unusable = Some(reasons.join("; "));
                }
                beginning.inherited.extend(newest.older.into_iter().rev().map(|older| older.checkpoint));
                beginning.inherited.extend(newest.found.map(|found| found.checkpoint));
            }
        }
        if let Some(from) = &places.from {
            let stored = load(&systems, &systems.resolve(from)?).await?;
            validate(&systems, &stored.checkpoint, Depth::Lengths).await?;
            info!(path = from, checkpoint = %stored.checkpoint.id, of_job = %stored.origin.job, "starting from a snapshot");
            beginning.from = Some(stored.checkpoint);
        }
        let leadership = tokio::sync::Mutex::new(leadership);
        Ok((Self { systems, origin, job_directory, leadership, notes: Mutex::default() }, beginning))
    }

    /// Completes a checkpoint or savepoint. When this has returned `Ok`, it may be announced, and older ones removed.
    ///
    /// The savepoint of a stop is announced as well: sinks commit, subtasks end. So it counts like a checkpoint, by a copy of
    /// its metadata among those. A later leader finds it there, and a former one can't announce it any more.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn store(&self, checkpoint: &CompletedCheckpoint) -> Result<(), StoreError> {
        let result = self.store_and_advance(checkpoint).await;
        if let Err(StoreError::Superseded(error)) = &result {
            warn!(%error, "checkpoints are neither completed nor removed any more");
            self.notes().superseded = true;
        }
        let doomed = std::mem::take(&mut self.notes().doomed);
        drop(self.discard(doomed).await);
        result
    }

    async fn store_and_advance(&self, checkpoint: &CompletedCheckpoint) -> Result<(), StoreError> {
        let id = checkpoint.id;
        let failed = |cause| match cause {
            CheckpointError::Superseded { .. } => StoreError::Superseded(cause),
            cause => StoreError::Failed { checkpoint: id, cause },
        };
        // One at a time: what counts only ever advances.
        let mut leadership = self.leadership.lock().await;
        let announced = checkpoint.kind != SnapshotKind::Savepoint;
        let Some(job_directory) = self.job_directory.as_ref().filter(|_| announced) else {
            drop(leadership);
            return store(&self.systems, self.origin, checkpoint).await.map(drop).map_err(failed);
        };
        let leadership = match &mut *leadership {
            Some(leadership) => leadership,
            none => {
                let claimed = Leadership::claim(&self.systems, job_directory, self.origin.epoch).await;
                none.insert(claimed.map_err(failed)?)
            }
        };
        if let Some(newest) = leadership.newest().filter(|newest| *newest > id) {
            return Err(StoreError::Overtaken { checkpoint: id, newest });
        }
        store(&self.systems, self.origin, checkpoint).await.map_err(failed)?;
        let directory: FsPath = checkpoint.directory.parse().map_err(|error: FsError| failed(error.into()))?;
        let mut needed = vec![directory];
        if checkpoint.kind.is_savepoint() {
            let directory = layout::checkpoint_directory(&leadership.directory(), id);
            let copy = CompletedCheckpoint { directory: directory.to_string(), ..checkpoint.clone() };
            store(&self.systems, self.origin, &copy).await.map_err(failed)?;
            needed.push(directory);
        }
        self.notes().uncertain.extend(needed);
        leadership.advance(id).await.map_err(failed)?;
        self.notes().uncertain.clear();
        Ok(())
    }

    /// Removes files and directories that no checkpoint needs any more. A leader that was cut off removes nothing; what may be
    /// the newest checkpoint after all stays, and what is the newest stays until it is no more.
    pub async fn discard(&self, paths: Vec<String>) -> Vec<Undeleted> {
        if paths.is_empty() {
            return Vec::new();
        }
        let newest = self.leadership.lock().await.as_ref().and_then(Leadership::newest_directory);
        let paths: Vec<String> = {
            let mut notes = self.notes();
            if notes.superseded {
                return Vec::new();
            }
            let touches = |path: &String, kept: &FsPath| {
                path.parse::<FsPath>().is_ok_and(|path| path.is_within(kept) || kept.is_within(&path))
            };
            let (doomed, paths): (Vec<_>, Vec<_>) =
                paths.into_iter().partition(|path| newest.as_ref().is_some_and(|newest| touches(path, newest)));
            notes.doomed.extend(doomed);
            paths.into_iter().filter(|path| !notes.uncertain.iter().any(|kept| touches(path, kept))).collect()
        };
        discard(&self.systems, paths).await
    }

    /// After the end of a job: removes its directory when no checkpoint is left in it. Nothing depends on the outcome.
    pub async fn clean_up(&self) {
        let Some(directory) = &self.job_directory else { return };
        if self.notes().superseded || !self.notes().uncertain.is_empty() || self.leadership.lock().await.is_none() {
            return;
        }
        // Nobody goes on with the job.
        let doomed = std::mem::take(&mut self.notes().doomed);
        discard(&self.systems, doomed).await;
        let removed = async {
            let stays = match newest_valid(&self.systems, directory, Depth::Lengths).await {
                // A checkpoint that is not whole is still somebody's to look at.
                Ok(left) => {
                    let is_there = |reason: &CheckpointError| !matches!(reason, CheckpointError::Missing { .. });
                    left.found.is_some() || left.rejected.iter().any(|rejected| is_there(&rejected.reason))
                }
                // The leader's own directory went with its last checkpoint.
                Err(CheckpointError::Fs(FsError::NotFound { .. })) => false,
                Err(error) => return Err(error),
            };
            if stays {
                return Ok::<_, CheckpointError>(false);
            }
            Ok(self.systems.get(directory)?.delete(directory, true).await?)
        };
        match removed.await {
            Ok(removed) => debug!(%directory, removed, "the directory of the job's checkpoints was looked at"),
            Err(error) => warn!(%directory, %error, "the directory of the job's checkpoints stays"),
        }
    }

    fn notes(&self) -> std::sync::MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Scratch, example, put_example};
    use flumen_model::ids::{Epoch, JobId};

    const JOB: JobId = JobId(0xabc);

    async fn begin(scratch: &Scratch, epoch: u64, from: Option<&str>) -> Result<(Keeper, Beginning), CheckpointError> {
        let places = Places {
            checkpoints: Some(scratch.path("cp").to_string()),
            savepoints: None,
            from: from.map(|from| scratch.path(from).to_string()),
        };
        Keeper::begin(scratch.systems.clone(), Origin { job: JOB, epoch: Epoch(epoch) }, &places).await
    }

    /// A checkpoint with its files, as the workers of a leader leave it.
    async fn taken(scratch: &Scratch, beginning: &Beginning, id: u64) -> CompletedCheckpoint {
        let directory = format!("{}/chk-{id}", beginning.directory.as_deref().unwrap());
        let relative = directory.strip_prefix(&scratch.path("").to_string()).unwrap().to_owned();
        put_example(scratch, relative.trim_start_matches('/')).await;
        CompletedCheckpoint { id: CheckpointId(id), ..example(&directory) }
    }

    /// Drivers run these on any thread.
    #[tokio::test]
    async fn everything_can_be_spawned() {
        let scratch = Scratch::new();
        let systems = scratch.systems.clone();
        let places = Places { checkpoints: Some(scratch.path("cp").to_string()), ..Places::default() };
        let work = async move {
            let origin = Origin { job: JOB, epoch: Epoch(2) };
            let (keeper, beginning) = Keeper::begin(systems, origin, &places).await.unwrap();
            let missing = example(&format!("{}/chk-1", beginning.directory.unwrap()));
            keeper.store(&missing).await.unwrap();
            keeper.discard(vec![missing.directory]).await;
            keeper.clean_up().await;
        };
        tokio::spawn(work).await.unwrap();
        assert_eq!(scratch.names("cp").await, Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_later_leader_goes_on_from_what_the_former_one_completed() {
        let scratch = Scratch::new();
        let (first, beginning) = begin(&scratch, 1, None).await.unwrap();
        assert!(beginning.inherited.is_empty());
        let one = taken(&scratch, &beginning, 1).await;
        first.store(&one).await.unwrap();
        let (second, beginning) = begin(&scratch, 2, None).await.unwrap();
        assert_eq!(beginning.inherited, std::slice::from_ref(&one));

        let late = taken(
            &scratch,
            &Beginning { directory: Some(scratch.path("cp").join(JOB.to_string()).to_string()), ..Default::default() },
            2,
        )
        .await;
        assert!(matches!(first.store(&late).await, Err(StoreError::Superseded(_))));
        assert!(first.discard(vec![one.directory.clone()]).await.is_empty());
        assert!(
            load(&scratch.systems, &one.directory.parse().unwrap()).await.is_ok(),
            "a former leader removes nothing"
        );

        let two = taken(&scratch, &beginning, 2).await;
        second.store(&two).await.unwrap();
        let (third, beginning) = begin(&scratch, 3, None).await.unwrap();
        assert_eq!(beginning.inherited, [one, two], "all that were retained, for whoever removes them");

        let doomed = beginning.inherited.into_iter().map(|checkpoint| checkpoint.directory);
        third.discard(doomed.chain([scratch.path("cp").join(JOB.to_string()).join("e2").to_string()]).collect()).await;
        third.clean_up().await;
        assert_eq!(scratch.names("cp").await, Vec::<String>::new());
    }

    #[tokio::test]
    async fn what_was_given_up_and_counts_all_the_same_stays_until_another_one_counts() {
        let scratch = Scratch::new();
        let (first, beginning) = begin(&scratch, 1, None).await.unwrap();
        let one = taken(&scratch, &beginning, 1).await;
        first.store(&one).await.unwrap();
        first.discard(vec![one.directory.clone()]).await;
        let (second, later) = begin(&scratch, 2, None).await.unwrap();
        assert_eq!((&later.inherited, later.unusable, later.reached), (&vec![one.clone()], None, Some(one.id)));
        second.discard(vec![one.directory.clone()]).await;
        second
            .store(&taken(&scratch, &Beginning { directory: later.directory, ..Beginning::default() }, 2).await)
            .await
            .unwrap();
        assert!(load(&scratch.systems, &one.directory.parse().unwrap()).await.is_err(), "it is removed now");
    }

    #[tokio::test]
    async fn a_checkpoint_that_was_overtaken_does_not_count() {
        let scratch = Scratch::new();
        let (keeper, beginning) = begin(&scratch, 1, None).await.unwrap();
        let (one, two) = (taken(&scratch, &beginning, 1).await, taken(&scratch, &beginning, 2).await);
        keeper.store(&two).await.unwrap();
        assert!(matches!(keeper.store(&one).await, Err(StoreError::Overtaken { newest: CheckpointId(2), .. })));
        assert_eq!(begin(&scratch, 2, None).await.unwrap().1.inherited, [two]);
    }

    #[tokio::test]
    async fn a_savepoint_does_not_become_the_newest_checkpoint() {
        let scratch = Scratch::new();
        let (keeper, beginning) = begin(&scratch, 1, None).await.unwrap();
        let one = taken(&scratch, &beginning, 1).await;
        keeper.store(&one).await.unwrap();
        put_example(&scratch, "sp/savepoint-1").await;
        let savepoint = CompletedCheckpoint {
            id: CheckpointId(2),
            kind: SnapshotKind::Savepoint,
            ..example(&scratch.path("sp/savepoint-1").to_string())
        };
        keeper.store(&savepoint).await.unwrap();
        let (_, later) = begin(&scratch, 2, Some("sp/savepoint-1")).await.unwrap();
        assert_eq!((later.inherited, later.from), (vec![one], Some(savepoint)));
    }

    #[tokio::test]
    async fn the_savepoint_of_a_stop_counts_and_a_former_leader_can_not_announce_one() {
        let scratch = Scratch::new();
        let (first, beginning) = begin(&scratch, 1, None).await.unwrap();
        first.store(&taken(&scratch, &beginning, 1).await).await.unwrap();
        let savepoint = async |id: u64| {
            let path = format!("sp/savepoint-{id}");
            put_example(&scratch, &path).await;
            let kind = SnapshotKind::StopWithSavepoint;
            CompletedCheckpoint { id: CheckpointId(id), kind, ..example(&scratch.path(&path).to_string()) }
        };
        let two = savepoint(2).await;
        first.store(&two).await.unwrap();
        first.store(&two).await.unwrap();
        let (second, later) = begin(&scratch, 2, None).await.unwrap();
        let newest = later.inherited.last().unwrap();
        assert_eq!((newest.id, newest.kind, &newest.vertices), (two.id, two.kind, &two.vertices));
        assert!(matches!(first.store(&savepoint(3).await).await, Err(StoreError::Superseded(_))));
        let doomed = later.inherited.into_iter().map(|checkpoint| checkpoint.directory).collect();
        second.discard(doomed).await;
        second.clean_up().await;
        assert_eq!(scratch.names("cp").await, Vec::<String>::new());
        assert!(load(&scratch.systems, &scratch.path("sp/savepoint-2")).await.is_ok(), "the user's stays");
    }

    #[tokio::test]
    async fn the_savepoint_of_a_stop_of_which_it_is_not_known_whether_it_counts_is_not_removed() {
        let scratch = Scratch::new();
        let (keeper, beginning) = begin(&scratch, 1, None).await.unwrap();
        keeper.store(&taken(&scratch, &beginning, 1).await).await.unwrap();
        put_example(&scratch, "sp/savepoint-2").await;
        let directory = scratch.path("sp/savepoint-2");
        let kind = SnapshotKind::StopWithSavepoint;
        let savepoint = CompletedCheckpoint { id: CheckpointId(2), kind, ..example(&directory.to_string()) };
        let head = scratch.path("cp").join(JOB.to_string()).join("head");
        scratch.fs().delete(&head, true).await.unwrap();
        assert!(matches!(keeper.store(&savepoint).await, Err(StoreError::Failed { .. })));
        keeper.discard(vec![savepoint.directory.clone()]).await;
        assert!(load(&scratch.systems, &directory).await.is_ok(), "its copy may be the newest that counts");
    }

    #[tokio::test]
    async fn that_no_checkpoint_of_a_job_is_left_whole_is_told_with_the_file() {
        let scratch = Scratch::new();
        let (first, beginning) = begin(&scratch, 1, None).await.unwrap();
        assert_eq!(begin(&scratch, 2, None).await.unwrap().1.unusable, None, "there was none");
        let (third, beginning_of_third) = begin(&scratch, 3, None).await.unwrap();
        let one = taken(&scratch, &beginning_of_third, 1).await;
        third.store(&one).await.unwrap();
        assert!(beginning.inherited.is_empty() && first.discard(Vec::new()).await.is_empty());
        let list = format!("{}/list", one.directory).parse().unwrap();
        scratch.fs().delete(&list, false).await.unwrap();
        let later = begin(&scratch, 4, None).await.unwrap().1;
        assert!(later.inherited.is_empty());
        assert!(later.unusable.unwrap().contains(&list.to_string()));
    }

    #[tokio::test]
    async fn what_the_user_names_must_be_whole() {
        let scratch = Scratch::new();
        let error = begin(&scratch, 1, Some("nothing")).await.err().unwrap().to_string();
        assert!(error.contains("/nothing"), "{error}");
        put_example(&scratch, "sp/s").await;
        let origin = Origin { job: JOB, epoch: Epoch(1) };
        store(&scratch.systems, origin, &example(&scratch.path("sp/s").to_string())).await.unwrap();
        scratch.put("sp/s/list", b"").await;
        let error = begin(&scratch, 1, Some("sp/s")).await.err().unwrap().to_string();
        assert!(error.contains(&scratch.path("sp/s/list").to_string()), "{error}");
    }

    #[tokio::test]
    async fn the_directory_of_a_job_goes_when_no_checkpoint_is_left() {
        let scratch = Scratch::new();
        let (keeper, beginning) = begin(&scratch, 1, None).await.unwrap();
        keeper.clean_up().await;
        let one = taken(&scratch, &beginning, 1).await;
        keeper.store(&one).await.unwrap();
        keeper.clean_up().await;
        assert!(load(&scratch.systems, &one.directory.parse().unwrap()).await.is_ok(), "it is retained");
        keeper.discard(vec![one.directory]).await;
        keeper.clean_up().await;
        assert_eq!(scratch.names("cp").await, Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_job_without_a_directory_takes_savepoints_only() {
        let scratch = Scratch::new();
        let origin = Origin { job: JOB, epoch: Epoch(2) };
        let (keeper, beginning) = Keeper::begin(scratch.systems.clone(), origin, &Places::default()).await.unwrap();
        assert_eq!(beginning, Beginning::default());
        put_example(&scratch, "sp/s").await;
        keeper.store(&example(&scratch.path("sp/s").to_string())).await.unwrap();
        keeper.clean_up().await;
        assert!(load(&scratch.systems, &scratch.path("sp/s")).await.is_ok());
    }
}
