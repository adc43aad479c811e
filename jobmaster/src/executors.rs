//! The TaskExecutors that a job may use, and its worker on each.

use std::collections::BTreeMap;

use flumen_model::ids::ExecutorId;
use flumen_wire::control::WorkerAddress;

use crate::place::Offer;

/// The registered TaskExecutors.
#[derive(Debug, Default)]
pub(crate) struct Executors {
    /// In the order of registration. Jobs have tens of executors: a search is cheaper than an index to keep.
    registered: Vec<Executor>,
    /// The last instance number used on each executor, also on those that are gone: one that comes back under its name
    /// must not get a number again.
    instances: BTreeMap<ExecutorId, u32>,
    /// The first instance number has this in front of it.
    before_first: u32,
}

/// One TaskExecutor.
#[derive(Debug)]
pub(crate) struct Executor {
    pub(crate) id: ExecutorId,
    pub(crate) slots: u32,
    pub(crate) host: String,
    pub(crate) worker: Option<Worker>,
}

/// A worker that was started and is not known to be dead.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) instance: u32,
    /// Slots that the job had on its executor when it was started: its memory is that of so many.
    pub(crate) slots: u32,
    /// Set when it is ready.
    pub(crate) address: Option<WorkerAddress>,
}

impl Executors {
    /// None yet; workers are numbered from `before_first` on, without it.
    pub(crate) fn new(before_first: u32) -> Self {
        Self { before_first, ..Self::default() }
    }

    /// Notes a worker that is there already, on an executor that is registered.
    pub(crate) fn adopt_worker(&mut self, id: &ExecutorId, worker: Worker) {
        self.note_instance(id, worker.instance);
        if let Some(executor) = self.get_mut(id) {
            executor.worker = Some(worker);
        }
    }

    /// An executor has had a worker of that number.
    pub(crate) fn note_instance(&mut self, id: &ExecutorId, instance: u32) {
        let last = self.instances.entry(id.clone()).or_insert(self.before_first);
        *last = instance.max(*last);
    }

    /// Adds a TaskExecutor, or slots to it; false when that changes nothing.
    pub(crate) fn register(&mut self, id: ExecutorId, slots: u32, host: String) -> bool {
        match self.get_mut(&id) {
            Some(known) => {
                let more = slots > known.slots;
                known.slots = known.slots.max(slots);
                more
            }
            None => {
                self.registered.push(Executor { id, slots, host, worker: None });
                true
            }
        }
    }

    /// Forgets a TaskExecutor and its worker; false when it is not known.
    pub(crate) fn remove(&mut self, id: &ExecutorId) -> bool {
        let before = self.registered.len();
        self.registered.retain(|executor| executor.id != *id);
        self.registered.len() < before
    }

    /// Whether an executor has more slots for the job than when its worker was started.
    pub(crate) fn has_outgrown_worker(&self, id: &ExecutorId) -> bool {
        let executor = self.get(id);
        executor.is_some_and(|executor| executor.worker.as_ref().is_some_and(|worker| worker.slots < executor.slots))
    }

    pub(crate) fn get(&self, id: &ExecutorId) -> Option<&Executor> {
        self.registered.iter().find(|executor| executor.id == *id)
    }

    fn get_mut(&mut self, id: &ExecutorId) -> Option<&mut Executor> {
        self.registered.iter_mut().find(|executor| executor.id == *id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Executor> {
        self.registered.iter()
    }

    /// The living worker on an executor.
    pub(crate) fn worker(&self, id: &ExecutorId) -> Option<&Worker> {
        self.get(id)?.worker.as_ref()
    }

    /// The living worker on an executor.
    pub(crate) fn worker_mut(&mut self, id: &ExecutorId) -> Option<&mut Worker> {
        self.get_mut(id)?.worker.as_mut()
    }

    /// The worker on an executor if it is that very instance: what an older one says is not listened to.
    pub(crate) fn instance_mut(&mut self, id: &ExecutorId, instance: u32) -> Option<&mut Worker> {
        self.worker_mut(id).filter(|worker| worker.instance == instance)
    }

    /// Notes a new worker on an executor that has none, and gives its number; `None` when the executor is not known or
    /// has a worker.
    pub(crate) fn start_worker(&mut self, id: &ExecutorId) -> Option<u32> {
        let executor = self.get(id)?;
        if executor.worker.is_some() {
            return None;
        }
        let slots = executor.slots;
        let last = self.instances.entry(id.clone()).or_insert(self.before_first);
        *last += 1;
        let instance = *last;
        self.get_mut(id)?.worker = Some(Worker { instance, slots, address: None });
        Some(instance)
    }

    /// Forgets the worker on an executor, and gives the number that it had.
    pub(crate) fn drop_worker(&mut self, id: &ExecutorId) -> Option<u32> {
        self.get_mut(id)?.worker.take().map(|worker| worker.instance)
    }

    /// What `place` decides on.
    pub(crate) fn offers(&self) -> Vec<Offer<'_>> {
        self.iter().map(|executor| Offer { executor: &executor.id, slots: executor.slots }).collect()
    }

    /// Slots of all TaskExecutors.
    pub(crate) fn slots(&self) -> u32 {
        self.iter().fold(0, |sum, executor| sum.saturating_add(executor.slots))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instance_numbers_go_up_even_when_the_executor_was_gone_in_between() {
        let id = ExecutorId("a".into());
        let mut executors = Executors::default();
        assert_eq!(executors.start_worker(&id), None);
        assert!(executors.register(id.clone(), 1, "h".into()));
        assert!(!executors.register(id.clone(), 1, "h".into()));
        assert_eq!(executors.start_worker(&id), Some(1));
        assert_eq!(executors.start_worker(&id), None);
        assert_eq!(executors.drop_worker(&id), Some(1));
        assert_eq!(executors.start_worker(&id), Some(2));
        assert!(executors.remove(&id));
        assert!(!executors.remove(&id));
        executors.register(id.clone(), 1, "h".into());
        assert_eq!(executors.start_worker(&id), Some(3));
        assert!(executors.instance_mut(&id, 2).is_none());
        assert!(executors.instance_mut(&id, 3).is_some());
    }

    #[test]
    fn slots_are_added_and_never_taken_away() {
        let id = ExecutorId("a".into());
        let mut executors = Executors::default();
        executors.register(id.clone(), 1, "h".into());
        executors.start_worker(&id);
        assert!(!executors.has_outgrown_worker(&id));
        assert!(executors.register(id.clone(), 3, "h".into()));
        assert!(!executors.register(id.clone(), 2, "h".into()));
        assert_eq!(executors.slots(), 3);
        assert!(executors.has_outgrown_worker(&id));
        executors.drop_worker(&id);
        executors.start_worker(&id);
        assert!(!executors.has_outgrown_worker(&id));
    }
}
