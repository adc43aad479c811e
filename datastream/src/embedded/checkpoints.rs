//! The checkpoints of an embedded job: completed and removed beside its events.

use std::sync::Arc;
use std::time::Duration;

use flumen_checkpoint::{Beginning, CheckpointError, Keeper, Origin, Places};
use flumen_fs::FileSystems;
use flumen_jobmaster::{CheckpointSettings, Event, Start};
use flumen_model::checkpoint::CompletedCheckpoint;
use flumen_model::config::Configuration;
use flumen_model::ids::{Epoch, JobId};
use flumen_model::options::{checkpointing, memory};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::error::{Error, Result};

/// In the directory for temporary files, for jobs without `state.checkpoints.dir`.
const WITHOUT_DIRECTORY: &str = "flumen-checkpoints";
/// How long files that are not needed any more may take to be removed at the end.
const SETTLE_LIMIT: Duration = Duration::from_secs(30);

/// See the module.
pub(super) struct Checkpoints {
    keeper: Arc<Keeper>,
    events: mpsc::Sender<Event>,
    /// As many as the JobMaster has under way.
    work: JoinSet<()>,
}

impl Checkpoints {
    /// Finds what the job starts from, and makes the directories in its settings full paths. What becomes of checkpoints is
    /// told to `events`.
    pub(super) async fn begin(
        files: &FileSystems,
        configuration: &Configuration,
        job: JobId,
        settings: &mut CheckpointSettings,
        events: mpsc::Sender<Event>,
    ) -> Result<(Self, Start)> {
        let from = configuration.find(&checkpointing::SAVEPOINT_PATH)?;
        let path = from.clone().unwrap_or_default();
        let temporary = temporary(configuration)?;
        let unusable = |cause: CheckpointError| Error::Snapshot { path, cause: cause.into() };
        let begin = async {
            let places = Places {
                checkpoints: Some(settings.directory.take().unwrap_or(temporary)).filter(|_| !settings.batch),
                savepoints: settings.savepoint_directory.take(),
                from,
            }
            .resolved(files)?;
            settings.directory.clone_from(&places.checkpoints);
            settings.savepoint_directory.clone_from(&places.savepoints);
            // A process of its own is the only leader that its job ever has.
            Keeper::begin(files.clone(), Origin { job, epoch: Epoch(1) }, &places).await
        };
        let (keeper, beginning) = begin.await.map_err(unusable)?;
        let Beginning { from, inherited, unusable, reached, directory } = beginning;
        let checkpoints = Self { keeper: Arc::new(keeper), events, work: JoinSet::new() };
        Ok((checkpoints, Start { from, inherited, unusable, reached, directory, ..Start::default() }))
    }

    /// Completes one.
    pub(super) fn store(&mut self, checkpoint: Box<CompletedCheckpoint>) {
        let (keeper, events) = (Arc::clone(&self.keeper), self.events.clone());
        self.spawn(async move {
            let id = checkpoint.id;
            let stored = keeper.store(&checkpoint).await;
            let result = stored.map_err(flumen_checkpoint::StoreError::into_failure);
            // Gone when the job is over.
            let _ = events.send(Event::CheckpointStored { checkpoint: id, result }).await;
        });
    }

    /// Removes what no checkpoint needs any more.
    pub(super) fn discard(&mut self, paths: Vec<String>) {
        let keeper = Arc::clone(&self.keeper);
        // What stays is logged there.
        self.spawn(async move { drop(keeper.discard(paths).await) });
    }

    fn spawn(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        while self.work.try_join_next().is_some() {}
        self.work.spawn(work);
    }

    /// After the job's end: waits, within a limit, until its files are in order.
    pub(super) async fn settle(&mut self) {
        let keeper = Arc::clone(&self.keeper);
        let settled = async {
            while self.work.join_next().await.is_some() {}
            keeper.clean_up().await;
        };
        if tokio::time::timeout(SETTLE_LIMIT, settled).await.is_err() {
            tracing::warn!(limit = ?SETTLE_LIMIT, "files of checkpoints were not removed in time");
        }
    }
}

/// A directory on this machine.
fn temporary(configuration: &Configuration) -> Result<String> {
    let configured = configuration.find(&memory::TMP_DIRS)?.unwrap_or_default();
    let root = configured.0.into_iter().next().unwrap_or_else(std::env::temp_dir);
    Ok(format!("file://{}/{WITHOUT_DIRECTORY}", std::path::absolute(&root).unwrap_or(root).display()))
}
