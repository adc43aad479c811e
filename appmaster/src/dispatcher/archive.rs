//! Jobs that are over, for those who ask how they ended: bounded in number, size and time, the oldest go first. Pure.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use flumen_jobmaster::{CheckpointStatistics, JobDetails, Timestamp};
use flumen_model::config::{BadConfiguration, Configuration};
use flumen_model::ids::JobId;
use flumen_model::options::deployment;

use super::operations::Operations;

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArchiveLimits {
    /// `jobstore.max-capacity`.
    pub jobs: usize,
    /// `jobstore.cache-size`, in bytes.
    pub bytes: u64,
    /// `jobstore.expiration-time`.
    pub age: Duration,
}

impl ArchiveLimits {
    /// Reads the options.
    ///
    /// # Errors
    /// [`BadConfiguration`].
    pub fn read(conf: &Configuration) -> Result<Self, BadConfiguration> {
        Ok(Self {
            jobs: conf.get(&deployment::JOBSTORE_MAX_CAPACITY)? as usize,
            bytes: conf.get(&deployment::JOBSTORE_CACHE_SIZE)?.0,
            age: Duration::from_secs(conf.get(&deployment::JOBSTORE_EXPIRATION)?),
        })
    }
}

/// A job that is over.
#[derive(Debug)]
pub(super) struct Archived {
    pub(super) details: Arc<JobDetails>,
    pub(super) checkpoints: CheckpointStatistics,
    /// What was asked for while it ran.
    pub(super) operations: Operations,
    at: Timestamp,
    bytes: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Archive {
    limits: ArchiveLimits,
    /// In the order of their end.
    jobs: VecDeque<Archived>,
    bytes: u64,
    /// Jobs that were forgotten.
    forgotten: Vec<JobId>,
}

impl Archive {
    pub(super) fn new(limits: ArchiveLimits) -> Self {
        Self { limits, jobs: VecDeque::new(), bytes: 0, forgotten: Vec::new() }
    }

    /// Takes a job in that ended now.
    pub(super) fn add(
        &mut self,
        now: Timestamp,
        details: JobDetails,
        checkpoints: CheckpointStatistics,
        operations: Operations,
    ) {
        let bytes = size(&details, &checkpoints);
        self.bytes += bytes;
        self.jobs.push_back(Archived { details: Arc::new(details), checkpoints, operations, at: now, bytes });
        // Whoever waits for the end of the newest finds it at least.
        while self.jobs.len() > 1 && (self.jobs.len() > self.limits.jobs || self.bytes > self.limits.bytes) {
            self.drop_oldest();
        }
    }

    /// Forgets what is too old.
    pub(super) fn expire(&mut self, now: Timestamp) {
        while self.next_timer().is_some_and(|due| due <= now) {
            self.drop_oldest();
        }
    }

    /// When the next one is too old.
    pub(super) fn next_timer(&self) -> Option<Timestamp> {
        self.jobs.front().map(|oldest| oldest.at.after(self.limits.age))
    }

    pub(super) fn get(&self, job: JobId) -> Option<&Archived> {
        self.jobs.iter().find(|archived| archived.details.job == job)
    }

    pub(super) fn get_mut(&mut self, job: JobId) -> Option<&mut Archived> {
        self.jobs.iter_mut().find(|archived| archived.details.job == job)
    }

    /// The latest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Archived> {
        self.jobs.iter().rev()
    }

    /// The jobs that were forgotten since the last call.
    pub(super) fn forgotten(&mut self) -> Vec<JobId> {
        std::mem::take(&mut self.forgotten)
    }

    fn drop_oldest(&mut self) {
        let Some(oldest) = self.jobs.pop_front() else { return };
        self.bytes = self.bytes.saturating_sub(oldest.bytes);
        self.forgotten.push(oldest.details.job);
    }
}

/// About how many bytes a job takes here. Texts count as they are, what has a fixed size by a generous estimate.
fn size(details: &JobDetails, checkpoints: &CheckpointStatistics) -> u64 {
    const JOB: usize = 4096;
    const SUBTASK: usize = 512;
    const CHECKPOINT_OF_SUBTASK: usize = 256;
    let vertices = details.vertices.iter().map(|vertex| {
        let operators: usize = vertex.operators.iter().map(|operator| SUBTASK + operator.name.len()).sum();
        vertex.name.len() + operators + vertex.subtasks.len() * SUBTASK
    });
    let exceptions = details.exceptions.iter().map(|entry| SUBTASK + entry.failure.message.len());
    let acknowledgements = checkpoints.history.iter().flat_map(|entry| &entry.vertices).map(|task| task.subtasks.len());
    let bytes = JOB
        + details.name.len()
        + vertices.sum::<usize>()
        + exceptions.sum::<usize>()
        + checkpoints.history.len() * SUBTASK
        + acknowledgements.sum::<usize>() * CHECKPOINT_OF_SUBTASK;
    bytes as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::application;
    use flumen_jobmaster::{JobMaster, Settings, Start};
    use flumen_wire::application::Purpose;

    fn archive(jobs: usize, bytes: u64) -> Archive {
        Archive::new(ArchiveLimits { jobs, bytes, age: Duration::from_secs(60) })
    }

    fn add(archive: &mut Archive, job: u128, at: u64) {
        let Purpose::Job(submission) = application().purpose else { unreachable!("a job") };
        let settings = Settings::read(&submission.configuration, &submission.graph).unwrap();
        let (master, _) = JobMaster::new(JobId(job), submission.graph, settings, Start::default(), Timestamp(at));
        archive.add(Timestamp(at), master.details(), master.checkpoints(), Operations::default());
    }

    fn jobs(archive: &Archive) -> Vec<u128> {
        archive.iter().map(|archived| archived.details.job.0).collect()
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many_or_they_are_too_large_or_too_old() {
        let mut by_number = archive(2, u64::MAX);
        let mut by_size = archive(100, 15_000);
        for n in 0..5 {
            add(&mut by_number, n, n as u64);
            add(&mut by_size, n, n as u64);
        }
        assert_eq!(jobs(&by_number), [4, 3]);
        assert_eq!(jobs(&by_size), [4, 3]);
        assert_eq!(by_number.next_timer(), Some(Timestamp(60_003)));
        by_number.expire(Timestamp(60_003));
        assert_eq!(jobs(&by_number), [4]);
        assert!(by_number.get(JobId(4)).is_some() && by_number.get_mut(JobId(3)).is_none());
        by_number.expire(Timestamp(60_004));
        assert_eq!((jobs(&by_number), by_number.bytes, by_number.next_timer()), (vec![], 0, None));
        let mut tiny = archive(0, 0);
        add(&mut tiny, 1, 1);
        assert_eq!(jobs(&tiny), [1], "the newest stays");
    }
}
