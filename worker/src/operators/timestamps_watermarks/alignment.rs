//! Subtasks of one worker that wait for the slowest of them, so that nobody has to keep what the fast ones read ahead.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use flumen_model::config::Configuration;

use super::strategy::WatermarkAlignment;
use crate::batch::EventTime;
use crate::subtask::{Backlog, SubtaskContext};

/// Subtasks of one job and worker that wait for each other.
struct Group {
    name: String,
    /// The job's, shared by all subtasks of the worker: as long as the group is there, no other job has the same.
    job: Arc<Configuration>,
    members: Mutex<Members>,
}

#[derive(Default)]
struct Members {
    next: u64,
    /// Of those that are neither idle nor at their end.
    watermarks: BTreeMap<u64, EventTime>,
}

/// The groups of this process.
static GROUPS: Mutex<Vec<Weak<Group>>> = Mutex::new(Vec::new());

/// One subtask's part in its group.
pub(super) struct Member {
    group: Arc<Group>,
    number: u64,
    alignment: WatermarkAlignment,
    backlog: Arc<Backlog>,
    waits: bool,
    next_update: EventTime,
}

impl Member {
    pub(super) fn join(alignment: &WatermarkAlignment, context: &SubtaskContext) -> Self {
        Self::of_job(alignment, &context.worker.configuration, &context.backlog)
    }

    fn of_job(alignment: &WatermarkAlignment, job: &Arc<Configuration>, backlog: &Arc<Backlog>) -> Self {
        let group = find(&alignment.group, job);
        let mut members = group.lock();
        members.next += 1;
        let number = members.next;
        drop(members);
        let (alignment, backlog) = (alignment.clone(), Arc::clone(backlog));
        Self { group, number, alignment, backlog, waits: false, next_update: EventTime::MIN }
    }

    /// Says how far this subtask is (`None`: nobody has to wait for it), and lets it wait or go on. Returns when to call
    /// again.
    pub(super) fn update(&mut self, watermark: Option<EventTime>, now: EventTime) -> Option<EventTime> {
        if now < self.next_update && watermark.is_some() {
            return Some(self.next_update);
        }
        self.next_update = now.saturating_add(self.alignment.update_interval_ms);
        let mut members = self.group.lock();
        match watermark {
            Some(watermark) => members.watermarks.insert(self.number, watermark),
            None => members.watermarks.remove(&self.number),
        };
        let slowest = members.watermarks.values().min().copied();
        drop(members);
        let limit = slowest.map(|slowest| slowest.saturating_add(self.alignment.max_drift_ms));
        self.wait(watermark.zip(limit).is_some_and(|(watermark, limit)| watermark > limit));
        watermark.map(|_| self.next_update)
    }

    fn wait(&mut self, waits: bool) {
        if waits != self.waits {
            self.waits = waits;
            // Counts as something that has to be sent first: until then the subtask takes no input.
            if waits { self.backlog.add() } else { self.backlog.remove() }
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.group.lock().watermarks.remove(&self.number);
        self.wait(false);
    }
}

impl Group {
    fn lock(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn find(name: &str, job: &Arc<Configuration>) -> Arc<Group> {
    let mut groups = GROUPS.lock().unwrap_or_else(PoisonError::into_inner);
    groups.retain(|group| group.strong_count() > 0);
    let known = groups.iter().filter_map(Weak::upgrade).find(|g| g.name == name && Arc::ptr_eq(&g.job, job));
    known.unwrap_or_else(|| {
        let group = Group { name: name.to_owned(), job: Arc::clone(job), members: Mutex::default() };
        let group = Arc::new(group);
        groups.push(Arc::downgrade(&group));
        group
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Subtask {
        member: Member,
        backlog: Arc<Backlog>,
    }

    fn subtask(group: &str, job: &Arc<Configuration>) -> Subtask {
        let alignment = WatermarkAlignment { group: group.to_owned(), max_drift_ms: 100, update_interval_ms: 10 };
        let backlog = Arc::new(Backlog::default());
        Subtask { member: Member::of_job(&alignment, job, &backlog), backlog }
    }

    impl Subtask {
        fn waits(&mut self, watermark: impl Into<Option<EventTime>>, now: EventTime) -> bool {
            self.member.update(watermark.into(), now);
            !self.backlog.is_empty()
        }
    }

    #[test]
    fn who_is_ahead_by_more_than_the_drift_waits_until_the_slowest_has_come_after() {
        let job = Arc::default();
        let (mut fast, mut slow) = (subtask("all", &job), subtask("all", &job));
        assert!(!fast.waits(500, 0), "nobody else has said anything yet");
        assert!(!slow.waits(300, 0));
        assert!(!fast.waits(500, 9), "asked again too early");
        assert!(fast.waits(500, 10));
        assert!(!slow.waits(400, 10));
        assert!(!fast.waits(500, 20), "exactly the drift is allowed");
        assert!(fast.waits(501, 30));
    }

    #[test]
    fn nobody_waits_for_the_idle_the_finished_other_groups_and_other_jobs() {
        let (job, other_job) = (Arc::default(), Arc::default());
        let (mut fast, mut idle) = (subtask("a", &job), subtask("a", &job));
        let mut strangers = [subtask("b", &job), subtask("a", &other_job)];
        strangers.iter_mut().for_each(|stranger| assert!(!stranger.waits(0, 0)));
        assert!(!fast.waits(900, 0));
        assert!(!idle.waits(0, 0));
        assert!(fast.waits(900, 10));
        assert!(!idle.waits(None, 10));
        assert!(!fast.waits(900, 20));
        let mut finished = idle;
        assert!(!finished.waits(0, 30));
        assert!(fast.waits(900, 30));
        drop(finished);
        assert!(!fast.waits(900, 40));
        assert!(fast.backlog.is_empty());
    }
}
