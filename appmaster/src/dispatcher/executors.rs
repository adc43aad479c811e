//! The registered TaskExecutors and what is known of each.

use std::collections::BTreeMap;

use flumen_hadoop::yarn::ContainerId;
use flumen_jobmaster::Timestamp;
use flumen_model::ids::ExecutorId;
use flumen_wire::control::ExecutorInfo;

use crate::rest::ExecutorView;

#[derive(Debug)]
struct Executor {
    info: ExecutorInfo,
    container: ContainerId,
    logs_url: Option<String>,
    /// Counts registrations, for their order.
    number: u64,
    resident: u64,
    last_heartbeat: Timestamp,
}

/// By name.
#[derive(Debug, Default)]
pub(super) struct Executors {
    by_id: BTreeMap<ExecutorId, Executor>,
    registrations: u64,
}

impl Executors {
    /// A TaskExecutor in that container. `logs_url` is where its log directory can be read.
    pub(super) fn add(&mut self, info: ExecutorInfo, container: ContainerId, logs_url: Option<String>, now: Timestamp) {
        self.registrations += 1;
        let id = info.id.clone();
        let number = self.registrations;
        let executor = Executor { info, container, logs_url, number, resident: 0, last_heartbeat: now };
        self.by_id.insert(id, executor);
    }

    /// Forgets one.
    pub(super) fn remove(&mut self, id: &ExecutorId) {
        self.by_id.remove(id);
    }

    pub(super) fn info(&self, id: &ExecutorId) -> Option<&ExecutorInfo> {
        self.by_id.get(id).map(|executor| &executor.info)
    }

    pub(super) fn container(&self, id: &ExecutorId) -> Option<ContainerId> {
        self.by_id.get(id).map(|executor| executor.container)
    }

    pub(super) fn heard(&mut self, id: &ExecutorId, now: Timestamp) {
        if let Some(executor) = self.by_id.get_mut(id) {
            executor.last_heartbeat = now;
        }
    }

    pub(super) fn set_resident(&mut self, id: &ExecutorId, bytes: u64) {
        if let Some(executor) = self.by_id.get_mut(id) {
            executor.resident = bytes;
        }
    }

    /// All of them for the eyes of users, in the order of their registration. `used_slots` tells how many of one's slots
    /// are used.
    pub(super) fn views(&self, used_slots: impl Fn(&ExecutorId) -> u32) -> Vec<ExecutorView> {
        let mut all: Vec<&Executor> = self.by_id.values().collect();
        all.sort_by_key(|executor| executor.number);
        all.into_iter().map(|executor| executor.view(used_slots(&executor.info.id))).collect()
    }
}

impl Executor {
    fn view(&self, used_slots: u32) -> ExecutorView {
        ExecutorView {
            id: self.info.id.clone(),
            host: self.info.host.clone(),
            slots: self.info.slots,
            free_slots: self.info.slots.saturating_sub(used_slots),
            cpu_cores: self.info.cpu_cores,
            memory: self.info.memory,
            resident: self.resident,
            last_heartbeat: self.last_heartbeat,
            logs_url: self.logs_url.clone(),
        }
    }
}
