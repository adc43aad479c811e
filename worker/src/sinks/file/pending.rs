//! Parts that are closed, from the barrier that lists them to the rename after their checkpoint is complete.
//!
//! ```text
//! closed ─ barrier of checkpoint c ─▶ prepared for c ─ a checkpoint ≥ c is complete ─▶ committing ─▶ gone from state
//!    └─ the sink is dropped: the file is removed        └─ c is aborted: listed again by the next barrier
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use flumen_fs::FileSystem;
use flumen_model::checkpoint::{CheckpointId, Redistribution};
use flumen_model::ids::OperatorId;
use tokio::sync::{Semaphore, watch};

use super::MissingParts;
use super::commit::{PendingPart, commit};
use super::shared::{Outcome, Shared, finished, succeeded};
use crate::checkpoint::Snapshot;
use crate::operator::{TaskError, TaskResult};
use crate::subtask::SubtaskContext;

/// Name of the list state.
const STATE: &str = "pending-parts";

/// Renames of one sink at a time: enough to hide a NameNode's latency, too few to be a burden to it.
const COMMITS: usize = 8;

/// A part whose last byte is handed over.
pub(super) struct ClosedPart {
    pub(super) part: PendingPart,
    /// Of closing the file.
    pub(super) complete: Outcome,
}

/// See the module.
pub(super) struct Pending {
    context: SubtaskContext,
    operator: OperatorId,
    fs: Arc<dyn FileSystem>,
    shared: Arc<Shared>,
    missing: MissingParts,
    permits: Arc<Semaphore>,
    /// In no snapshot yet.
    closed: Vec<ClosedPart>,
    prepared: BTreeMap<CheckpointId, Vec<ClosedPart>>,
    /// With the outcome of the commit.
    committing: Vec<(PendingPart, Outcome)>,
}

impl Pending {
    pub(super) fn new(
        context: &SubtaskContext,
        operator: OperatorId,
        fs: &Arc<dyn FileSystem>,
        shared: &Arc<Shared>,
        missing: MissingParts,
    ) -> Self {
        Self {
            context: context.clone(),
            operator,
            fs: Arc::clone(fs),
            shared: Arc::clone(shared),
            missing,
            permits: Arc::new(Semaphore::new(COMMITS)),
            closed: Vec::new(),
            prepared: BTreeMap::new(),
            committing: Vec::new(),
        }
    }

    /// Begins to commit what the checkpoint lists that the subtask starts from.
    pub(super) fn restore(&mut self) -> TaskResult {
        for item in self.context.restored_list(self.operator, STATE).unwrap_or_default() {
            let part = PendingPart::from_item(&item)?;
            self.start_commit(part, None)?;
        }
        Ok(())
    }

    pub(super) fn add(&mut self, part: ClosedPart) {
        self.closed.push(part);
    }

    /// Lists in the snapshot whatever is not known to be committed. It counts only once all these files are complete.
    pub(super) fn barrier(&mut self, snapshot: &mut Snapshot) -> TaskResult {
        if !self.closed.is_empty() {
            let prepared = self.prepared.entry(snapshot.barrier().checkpoint).or_default();
            prepared.append(&mut self.closed);
        }
        self.forget_committed();
        let prepared = || self.prepared.values().flatten();
        let parts = prepared().map(|closed| &closed.part).chain(self.committing.iter().map(|(part, _)| part));
        let items = parts.map(PendingPart::to_item).collect::<TaskResult<Vec<_>>>()?;
        let items = items.iter().map(Vec::as_slice);
        snapshot.list(self.operator, STATE, Redistribution::Split, "", items);
        let incomplete: Vec<_> =
            prepared().map(|closed| &closed.complete).filter(|complete| !succeeded(complete)).cloned().collect();
        if !incomplete.is_empty() {
            snapshot.before_ack(Box::pin(async move {
                for complete in incomplete {
                    finished(complete).await?;
                }
                Ok(())
            }));
        }
        Ok(())
    }

    /// Begins to commit what was prepared up to a complete checkpoint.
    pub(super) fn completed(&mut self, checkpoint: CheckpointId) -> TaskResult {
        while let Some(first) = self.prepared.first_entry()
            && *first.key() <= checkpoint
        {
            for closed in first.remove() {
                self.start_commit(closed.part, Some(closed.complete))?;
            }
        }
        self.forget_committed();
        Ok(())
    }

    /// Begins to commit everything: there are no checkpoints to wait for.
    pub(super) fn complete_all(&mut self) -> TaskResult {
        let prepared = std::mem::take(&mut self.prepared).into_values().flatten();
        for closed in prepared.chain(std::mem::take(&mut self.closed)) {
            self.start_commit(closed.part, Some(closed.complete))?;
        }
        Ok(())
    }

    /// Waits until everything that was begun is committed.
    pub(super) fn finish(&mut self) -> TaskResult {
        for (_, outcome) in std::mem::take(&mut self.committing) {
            self.context.block_on(finished(outcome))??;
        }
        self.shared.check()
    }

    pub(super) fn forget_committed(&mut self) {
        self.committing.retain(|(_, outcome)| !succeeded(outcome));
    }

    /// `complete` is that of a part of this life, `None` that of one from a checkpoint.
    fn start_commit(&mut self, part: PendingPart, complete: Option<Outcome>) -> TaskResult {
        let fs = if complete.is_some() { Arc::clone(&self.fs) } else { self.file_system_of(&part)? };
        let (ended, outcome) = watch::channel(None);
        let (permits, shared, missing) = (Arc::clone(&self.permits), Arc::clone(&self.shared), self.missing);
        self.committing.push((part.clone(), outcome));
        self.context.worker.runtime.spawn(async move {
            let _permit = permits.acquire().await;
            let after_restore = complete.is_none();
            let result = async {
                if let Some(complete) = complete {
                    finished(complete).await?;
                }
                commit(&*fs, &part, after_restore, missing).await
            };
            let result = result.await.map(drop);
            if let Err(failure) = &result {
                shared.fail(failure.clone());
            }
            let _ = ended.send(Some(result));
        });
        Ok(())
    }

    /// The sink may write elsewhere by now.
    fn file_system_of(&self, part: &PendingPart) -> TaskResult<Arc<dyn FileSystem>> {
        self.context.worker.files.get(&part.target).map_err(|error| TaskError::Restore {
            message: format!("the part `{}` of the checkpoint can't be committed: {error}", part.target),
        })
    }
}

impl Drop for Pending {
    /// The subtask fails or is cancelled: what no snapshot lists will never be committed.
    fn drop(&mut self) {
        for ClosedPart { part, complete } in self.closed.drain(..) {
            let fs = Arc::clone(&self.fs);
            self.context.worker.runtime.spawn(async move {
                // Whether it was closed well does not matter; before that it can't be removed for good.
                let _ = finished(complete).await;
                if let Err(error) = fs.delete(&part.in_progress, false).await {
                    tracing::warn!(path = %part.in_progress, %error, "a part that nobody needs was left behind");
                }
            });
        }
    }
}
