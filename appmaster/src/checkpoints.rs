//! A job's checkpoints on their file system: what it starts from, what is completed and removed.

use std::sync::Arc;

use flumen_checkpoint::{Beginning, CheckpointError, Keeper, Origin, Places, StoreError, dispose_savepoint};
use flumen_fs::FileSystems;
use flumen_jobmaster::{CheckpointSettings, Start};
use flumen_model::checkpoint::CompletedCheckpoint;
use flumen_model::failure::{Blame, Failure};
use flumen_model::ids::{Epoch, JobId};
use flumen_model::text::with_causes;

use crate::dispatcher::{Event, OperationState, TriggerId};

/// Within the application's staging directory, for jobs without `state.checkpoints.dir`: these go with the application.
const WITHOUT_DIRECTORY: &str = "checkpoints";

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Checkpoints {
    job: JobId,
    keeper: Arc<Keeper>,
}

impl Checkpoints {
    /// Finds what the job starts from, and makes the directories in its settings full paths. `staging` is the application's
    /// staging directory, `origin` the job and its leader, `from` what the user names.
    ///
    /// # Errors
    /// [`CheckpointError`]: the snapshot that the user names can't be used, or a newer attempt of the application runs.
    pub async fn begin(
        files: &FileSystems,
        staging: &str,
        (job, epoch): (JobId, Epoch),
        from: Option<String>,
        settings: &mut CheckpointSettings,
    ) -> Result<(Self, Start), CheckpointError> {
        let staging = || {
            tracing::info!(%job, "state.checkpoints.dir is not set: checkpoints go with the application's staging directory");
            format!("{staging}/{WITHOUT_DIRECTORY}")
        };
        let places = Places {
            checkpoints: Some(settings.directory.take().unwrap_or_else(staging)).filter(|_| !settings.batch),
            savepoints: settings.savepoint_directory.take(),
            from,
        }
        .resolved(files)?;
        settings.directory.clone_from(&places.checkpoints);
        settings.savepoint_directory.clone_from(&places.savepoints);
        let (keeper, beginning) = Keeper::begin(files.clone(), Origin { job, epoch }, &places).await?;
        let Beginning { from, inherited, unusable, reached, directory } = beginning;
        Ok((
            Self { job, keeper: Arc::new(keeper) },
            Start { from, inherited, unusable, reached, directory, epoch, ..Start::default() },
        ))
    }

    /// Completes one.
    pub async fn store(self, checkpoint: Box<CompletedCheckpoint>) -> Event {
        let (job, id) = (self.job, checkpoint.id);
        match self.keeper.store(&checkpoint).await {
            Ok(()) => {
                tracing::info!(%job, checkpoint = %id, directory = checkpoint.directory, "checkpoint completed");
                Event::CheckpointStored { job, checkpoint: id, result: Ok(()) }
            }
            Err(StoreError::Superseded(error)) => Event::Superseded(error.to_string()),
            Err(error) => {
                tracing::warn!(%job, checkpoint = %id, error = with_causes(&error), "a checkpoint could not be completed");
                Event::CheckpointStored { job, checkpoint: id, result: Err(error.into_failure()) }
            }
        }
    }

    /// Removes what no checkpoint needs any more.
    pub async fn discard(self, paths: Vec<String>) -> Event {
        // Logged there; nothing depends on it.
        drop(self.keeper.discard(paths).await);
        Event::FilesDiscarded
    }

    /// Removes the directory of a job that is over, if no checkpoint is left in it.
    pub async fn clean_up(&self) {
        self.keeper.clean_up().await;
    }
}

/// Removes a savepoint.
pub async fn dispose(files: FileSystems, trigger: TriggerId, path: String) -> Event {
    let disposed = async {
        let path = files.resolve(&path)?;
        dispose_savepoint(&files, &path).await?;
        tracing::info!(%path, "savepoint disposed");
        Ok::<_, CheckpointError>(())
    };
    let state = match disposed.await {
        Ok(()) => OperationState::Disposed,
        Err(error) => {
            let text = format!("savepoint `{path}` could not be disposed of: {}", with_causes(&error));
            OperationState::Failed(Failure::new(Blame::Outside, text))
        }
    };
    Event::Disposed { trigger, state }
}
