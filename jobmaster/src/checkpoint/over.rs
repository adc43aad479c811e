//! What is left of a checkpoint that was given up, and of all of them when the job is over.

use flumen_model::checkpoint::CheckpointId;
use flumen_model::failure::{Blame, Failure};
use flumen_model::status::JobStatus;

use super::coordinator::Coordinator;
use super::pending::{Pending, Stage};
use crate::event::Timestamp;
use crate::settings::Retention;

/// Directories of aborted checkpoints in which late files are still looked for.
const LOST: usize = 16;

impl Retention {
    /// Whether completed checkpoints are left when the job ends so.
    fn keeps(self, status: JobStatus) -> bool {
        match self {
            Self::RetainOnCancellation => matches!(status, JobStatus::Canceled | JobStatus::Failed),
            Self::DeleteOnCancellation => status == JobStatus::Failed,
            Self::NoExternalized => false,
        }
    }
}

impl Coordinator {
    /// The driver could not store a checkpoint: its files go.
    pub(super) fn not_stored(&mut self, id: CheckpointId, failure: Failure, now: Timestamp) {
        // The driver refuses what comes behind a newer one, and may tell it before it tells that that one is stored: nothing
        // has failed.
        let is_newer =
            |(other, pending): (&CheckpointId, &Pending)| *other > id && matches!(pending.stage, Stage::Storing(_));
        match self.pending.iter().any(is_newer) {
            true => self.abort(id, failure, now),
            false => self.fail(id, failure, now),
        }
        self.forget(id);
    }

    /// Removes what a checkpoint that was given up has left.
    pub(super) fn forget(&mut self, id: CheckpointId) {
        let Some(pending) = self.pending.remove(&id) else { return };
        self.lose(pending.barrier.directory.clone());
        let removed = self.files.release(pending.needs, self.next);
        self.discard(removed);
    }

    /// Late files may still come into a directory of a checkpoint that was given up.
    pub(super) fn lose(&mut self, directory: String) {
        self.lost.push_back(directory);
        if self.lost.len() > LOST {
            self.lost.pop_front();
        }
    }

    /// Where the newest checkpoint is that is left after the job's end.
    pub(crate) fn retained(&self) -> Option<String> {
        self.store.newest().map(|checkpoint| checkpoint.directory.clone())
    }

    /// The job is over: answers whoever still waits, and removes what is not to be left.
    pub(crate) fn over(&mut self, status: JobStatus, now: Timestamp) {
        let keep = self.settings.retention.keeps(status);
        let failure = Failure::new(Blame::Outside, format!("the job is {status}"));
        self.refuse_requests(&failure);
        self.stop_over(status == JobStatus::Finished);
        // Metadata that may be on the way is left with its files if anything is.
        let unfinished = self.pending.values().filter(|p| !keep || !matches!(p.stage, Stage::Storing(_)));
        let unfinished: Vec<CheckpointId> = unfinished.map(|pending| pending.id()).collect();
        for id in unfinished {
            self.abort(id, failure.clone(), now);
            self.forget(id);
        }
        let answers: Vec<_> = self.pending.values_mut().filter_map(|pending| pending.request.take()).collect();
        answers.into_iter().for_each(|request| self.answer(request, Err(failure.clone())));
        if keep {
            let removed = self.files.clear();
            return self.discard(removed);
        }
        let kept: Vec<_> = self.store.drain().filter(|kept| kept.owned).collect();
        for kept in kept {
            self.tracker.discarded(kept.checkpoint.id);
            let removed = self.files.release(kept.needs, self.next());
            self.discard(removed);
        }
        let mut removed = self.files.clear();
        removed.extend(self.base.clone().filter(|base| self.used && !self.files.is_pinned_within(base)));
        self.discard(removed);
    }
}
