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
        let group = find(&alignment.group, &context.worker.configuration);
        let mut members = group.lock();
        members.next += 1;
        let number = members.next;
        drop(members);
        let (alignment, backlog) = (alignment.clone(), Arc::clone(&context.backlog));
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
