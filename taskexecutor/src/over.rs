//! Jobs whose workers are gone from here: the latest are remembered, so that a session that lasts for months holds no more than
//! one that lasts for a day. Pure.

use std::collections::VecDeque;

use flumen_model::ids::JobId;

/// Which job ended here when: the oldest first.
#[derive(Debug)]
pub struct Over {
    jobs: VecDeque<JobId>,
    most: usize,
}

impl Over {
    /// None yet; `most` are remembered.
    pub fn new(most: usize) -> Self {
        Self { jobs: VecDeque::new(), most }
    }

    /// The last worker of a job has ended. It may not be the last for ever.
    pub fn ended(&mut self, job: JobId) {
        self.started(job);
        self.jobs.push_back(job);
    }

    /// The job has a worker here, again.
    pub fn started(&mut self, job: JobId) {
        self.jobs.retain(|other| *other != job);
    }

    /// Takes out what is beyond the most, the oldest first, as far as it `can_go`; the others count and stay.
    pub fn surplus(&mut self, can_go: impl Fn(JobId) -> bool) -> Vec<JobId> {
        let mut beyond = self.jobs.len().saturating_sub(self.most);
        let mut gone = Vec::new();
        self.jobs.retain(|job| {
            let goes = beyond > 0 && can_go(*job);
            if goes {
                beyond -= 1;
                gone.push(*job);
            }
            !goes
        });
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_jobs_that_ended_first_are_forgotten_first() {
        let mut over = Over::new(2);
        for job in 1..=4 {
            over.ended(JobId(job));
        }
        assert_eq!(over.surplus(|_| true), [JobId(1), JobId(2)]);
        assert_eq!(over.surplus(|_| true), []);
        // One that was restarted here ended later than its first worker did; one that runs again is not over.
        over.ended(JobId(3));
        over.ended(JobId(5));
        assert_eq!(over.surplus(|_| true), [JobId(4)]);
        over.started(JobId(3));
        over.ended(JobId(6));
        assert_eq!(over.surplus(|_| true), []);
    }

    #[test]
    fn one_that_can_not_go_yet_goes_later() {
        let mut over = Over::new(0);
        over.ended(JobId(1));
        over.ended(JobId(2));
        assert_eq!(over.surplus(|job| job == JobId(2)), [JobId(2)]);
        assert_eq!(over.surplus(|_| true), [JobId(1)]);
    }
}
