//! What each job has on file systems: its outputs and its checkpoints, from its admission to its end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use flumen_checkpoint::CheckpointError;
use flumen_fs::FileSystems;
use flumen_ha::HaError;
use flumen_model::failure::{Blame, Failure};
use flumen_model::ids::JobId;
use flumen_model::text::with_causes;
use tokio::sync::{OwnedRwLockReadGuard, RwLock};
use tokio::time::timeout;

use crate::checkpoints::Checkpoints;
use crate::dispatcher::{Admission, Admitted};
use crate::high_availability::Lead;
use crate::outputs::Outputs;

/// Limit of removing what a job wrote.
const ABANDON_LIMIT: Duration = Duration::from_secs(60);

/// Where jobs are admitted. Cheap to clone.
#[derive(Clone)]
pub struct Admittance {
    /// The file systems as the application's user sees them.
    pub files: FileSystems,
    /// The application's staging directory.
    pub staging: String,
    /// This leader.
    pub lead: Lead,
    /// Takes note of what is claimed.
    pub claimed: Claimed,
}

/// The files of one job. Cheap to clone.
#[derive(Clone)]
pub struct JobFiles {
    /// What it writes.
    pub outputs: Outputs,
    /// Its checkpoints.
    pub checkpoints: Checkpoints,
    /// Read by whoever works on the files, so that they are closed last.
    in_use: Arc<RwLock<()>>,
}

/// Why a job does not begin.
#[derive(Debug)]
pub enum NotAdmitted {
    /// It can't: nothing is left of the attempt.
    Refused(Failure),
    /// There is a newer leader, for this reason.
    Superseded(String),
}

impl From<Failure> for NotAdmitted {
    fn from(failure: Failure) -> Self {
        Self::Refused(failure)
    }
}

/// While this is held the job's files are not closed.
pub type InUse = OwnedRwLockReadGuard<()>;

impl Admittance {
    /// Finds what a job starts from, claims its outputs, and keeps it for later leaders.
    ///
    /// # Errors
    /// [`NotAdmitted`].
    pub async fn admit(self, admission: Admission) -> Result<(JobFiles, Admitted), NotAdmitted> {
        let Admission { job, outputs, from, mut checkpoints, keep, taken_over } = admission;
        let origin = (job, self.lead.epoch());
        let (kept, start) = Checkpoints::begin(&self.files, &self.staging, origin, from, &mut checkpoints)
            .await
            .map_err(|error| match &error {
                CheckpointError::Superseded { .. } => NotAdmitted::Superseded(error.to_string()),
                _ => {
                    let text = format!("the job can't start from its checkpoint or savepoint: {}", with_causes(&error));
                    NotAdmitted::Refused(Failure::new(Blame::Outside, text))
                }
            })?;
        let outputs = Outputs::new(self.files.clone(), &outputs, job)
            .map_err(|error| Failure::new(Blame::Outside, with_causes(&error)))?;
        self.claimed.lock().insert(job, outputs.clone());
        let mut start = start;
        let claimed = async {
            start.finished = outputs.had_ended().await?;
            if start.finished {
                return Ok(());
            }
            outputs.prepare(taken_over).await?;
            let Some(submission) = keep else { return Ok(()) };
            self.lead.put_job(&submission).await.map_err(|error| match error {
                HaError::Superseded { .. } => NotAdmitted::Superseded(error.to_string()),
                _ => {
                    let text = format!("the job can't be kept for a later JobManager: {}", with_causes(&error));
                    NotAdmitted::Refused(Failure::new(Blame::Outside, text))
                }
            })
        };
        if let Err(reason) = claimed.await {
            self.claimed.lock().remove(&job);
            if matches!(reason, NotAdmitted::Refused(_)) && !taken_over {
                outputs.abandon().await;
            }
            return Err(reason);
        }
        Ok((JobFiles { outputs, checkpoints: kept, in_use: Arc::default() }, Admitted { checkpoints, start }))
    }

    /// The job is over: whatever is under way with its files is awaited, then its outputs are removed if it did not succeed,
    /// and its directory of checkpoints if none is left in it.
    pub async fn close(self, job: JobId, files: JobFiles, succeeded: bool) {
        let _all = files.in_use.write().await;
        if !succeeded && timeout(ABANDON_LIMIT, files.outputs.abandon()).await.is_err() {
            tracing::warn!(%job, limit = ?ABANDON_LIMIT, "the job's outputs were not cleaned up in time");
        }
        files.checkpoints.clean_up().await;
        if succeeded {
            files.outputs.forget_end().await;
        }
        self.claimed.lock().remove(&job);
    }
}

impl JobFiles {
    /// To be held by what works on the files; `None` once they are being closed.
    pub fn in_use(&self) -> Option<InUse> {
        Arc::clone(&self.in_use).try_read_owned().ok()
    }
}

/// The outputs of all jobs that are not over, for an end that leaves no time. Cheap to clone.
#[derive(Clone, Default)]
pub struct Claimed(Arc<Mutex<BTreeMap<JobId, Outputs>>>);

impl Claimed {
    /// Removes them all, as far as that is possible.
    pub async fn abandon(&self) {
        let all: Vec<Outputs> = self.lock().values().cloned().collect();
        futures::future::join_all(all.iter().map(Outputs::abandon)).await;
    }

    /// Held for a look-up only, never over an await.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<JobId, Outputs>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use flumen_fs::FsOptions;
    use flumen_jobmaster::Settings;
    use flumen_wire::application::Purpose;

    use super::*;
    use crate::testing::application;

    async fn admittance(dir: &Path) -> Admittance {
        let files = FileSystems::new(FsOptions::default()).unwrap();
        let staging = dir.join("staging").display().to_string();
        Admittance { files, staging, lead: Lead::without(1).await.unwrap(), claimed: Claimed::default() }
    }

    fn admission(dir: &Path, job: u128, from: Option<&str>) -> Admission {
        let Purpose::Job(submission) = application().purpose else { unreachable!("a job") };
        let settings = Settings::read(&submission.configuration, &submission.graph).unwrap();
        let outputs = vec![dir.join("out").display().to_string()];
        Admission {
            job: JobId(job),
            outputs,
            from: from.map(str::to_owned),
            checkpoints: settings.checkpoints,
            keep: None,
            taken_over: false,
        }
    }

    #[tokio::test]
    async fn a_job_that_can_not_begin_leaves_nothing_and_the_first_keeps_its_outputs() {
        let dir = tempfile::tempdir().unwrap();
        let admittance = admittance(dir.path()).await;
        let missing = dir.path().join("no-savepoint").display().to_string();
        let refused = admittance.clone().admit(admission(dir.path(), 1, Some(&missing))).await;
        let Err(NotAdmitted::Refused(failure)) = refused else { panic!("there is no such savepoint") };
        assert!(failure.message.contains("no-savepoint"), "{failure}");
        assert!(!dir.path().join("out").try_exists().unwrap(), "its outputs are not touched");

        let (first, _) = admittance.clone().admit(admission(dir.path(), 2, None)).await.ok().unwrap();
        let refused = admittance.clone().admit(admission(dir.path(), 3, None)).await;
        let Err(NotAdmitted::Refused(failure)) = refused else { panic!("its outputs are another job's") };
        assert!(failure.message.contains("can't be written"), "{failure}");
        assert!(dir.path().join("out").try_exists().unwrap());
        assert_eq!(admittance.claimed.lock().keys().copied().collect::<Vec<_>>(), [JobId(2)]);

        admittance.clone().close(JobId(2), first, false).await;
        assert!(!dir.path().join("out").try_exists().unwrap());
        assert!(admittance.claimed.lock().is_empty());
    }

    #[tokio::test]
    async fn files_are_closed_when_nobody_works_on_them_any_more() {
        let dir = tempfile::tempdir().unwrap();
        let admittance = admittance(dir.path()).await;
        let (files, _) = admittance.clone().admit(admission(dir.path(), 1, None)).await.ok().unwrap();
        let in_use = files.in_use().unwrap();
        let mut closing = Box::pin(admittance.close(JobId(1), files.clone(), false));
        assert!(futures::poll!(&mut closing).is_pending());
        assert!(files.in_use().is_none(), "nothing more is begun");
        assert!(dir.path().join("out").try_exists().unwrap());
        drop(in_use);
        closing.await;
        assert!(!dir.path().join("out").try_exists().unwrap());
    }

    #[tokio::test]
    async fn a_job_that_had_ended_is_admitted_as_such_and_leaves_nothing_but_its_result() {
        let dir = tempfile::tempdir().unwrap();
        let first = admittance(dir.path()).await;
        let (files, admitted) = first.admit(admission(dir.path(), 1, None)).await.ok().unwrap();
        assert!(!admitted.start.finished);
        let out = dir.path().join("out");
        std::fs::create_dir_all(out.join("_temporary/2")).unwrap();
        std::fs::write(out.join("_temporary/2/part-0"), "good").unwrap();
        files.outputs.commit(flumen_model::ids::ExecutionAttempt(2)).await.unwrap();

        let second = admittance(dir.path()).await;
        assert!(second.clone().admit(admission(dir.path(), 2, None)).await.is_err(), "it is another job's");
        let (files, admitted) = second.clone().admit(admission(dir.path(), 1, None)).await.ok().unwrap();
        assert!(admitted.start.finished);
        second.close(JobId(1), files, true).await;
        let left: Vec<_> = std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["part-0"]);
    }

    #[tokio::test]
    async fn a_sudden_end_removes_the_outputs_of_all_jobs() {
        let dir = tempfile::tempdir().unwrap();
        let admittance = admittance(dir.path()).await;
        let claimed = admittance.claimed.clone();
        let _files = admittance.admit(admission(dir.path(), 1, None)).await.ok().unwrap();
        claimed.abandon().await;
        assert!(!dir.path().join("out").try_exists().unwrap());
    }
}
