//! What the next heartbeat says: the table of asks, the releases, the blacklist, the response id.
//!
//! The ResourceManager keeps, per ask, the number of containers still wanted; a heartbeat carries changed numbers only. If an
//! answer is lost the very same request must go out again: when the ResourceManager had processed the first one, it repeats
//! its answer and does not look at the asks of the second. So changes move from "unsent" into a [`Batch`], which is repeated
//! until it is answered; changes made meanwhile wait.

use std::collections::{BTreeMap, BTreeSet};

use super::{AllocateRequest, ContainerAsk};
use crate::yarn::messages::{AllocateRequestProto, PriorityProto, ResourceBlacklistRequestProto, ResourceRequestProto};
use crate::yarn::{Container, ContainerId, ContainerStatus, Resource};

/// What the ResourceManager tells asks apart by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct RowKey {
    allocation_request_id: i64,
    priority: i32,
    capability: Resource,
    node_label: Option<String>,
}

impl RowKey {
    fn of(ask: &ContainerAsk) -> Self {
        Self {
            allocation_request_id: ask.allocation_request_id,
            priority: ask.priority,
            capability: ask.capability.clone(),
            node_label: ask.node_label.clone(),
        }
    }

    fn ask(&self, count: u32) -> ContainerAsk {
        let Self { allocation_request_id, priority, capability, node_label } = self.clone();
        ContainerAsk { allocation_request_id, priority, capability, count, node_label }
    }
}

/// One request, as it is repeated until answered.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Batch {
    asks: Vec<ContainerAsk>,
    releases: Vec<ContainerId>,
    blacklist_additions: Vec<String>,
    blacklist_removals: Vec<String>,
    progress: f32,
    tracking_url: Option<String>,
}

/// State of the conversation with the ResourceManager.
#[derive(Debug, Default)]
pub(super) struct Heartbeat {
    response_id: i32,
    /// Containers still wanted, by allocation request id.
    wanted: BTreeMap<i64, ContainerAsk>,
    /// Rows whose number the ResourceManager does not know yet.
    unsent: BTreeSet<RowKey>,
    /// Numbers that it knows; to go back to when it refuses a change.
    known: BTreeMap<RowKey, u32>,
    /// Containers given back whose end has not been reported.
    releasing: BTreeSet<ContainerId>,
    unsent_releases: BTreeSet<ContainerId>,
    blacklist: BTreeSet<String>,
    unsent_additions: BTreeSet<String>,
    unsent_removals: BTreeSet<String>,
    progress: f32,
    unsent_url: Option<String>,
    in_flight: Option<Batch>,
}

impl Heartbeat {
    /// Takes what the caller wants to change.
    pub(super) fn note(&mut self, request: &AllocateRequest) {
        for ask in &request.asks {
            self.note_ask(ask);
        }
        for id in &request.releases {
            self.releasing.insert(*id);
            self.unsent_releases.insert(*id);
        }
        for host in &request.blacklist_additions {
            self.blacklist.insert(host.clone());
            self.unsent_additions.insert(host.clone());
            self.unsent_removals.remove(host);
        }
        for host in &request.blacklist_removals {
            self.blacklist.remove(host);
            self.unsent_removals.insert(host.clone());
            self.unsent_additions.remove(host);
        }
        self.progress = request.progress;
        if request.tracking_url.is_some() {
            self.unsent_url.clone_from(&request.tracking_url);
        }
    }

    fn note_ask(&mut self, ask: &ContainerAsk) {
        let old = self.wanted.insert(ask.allocation_request_id, ask.clone());
        if old.as_ref() == Some(ask) {
            return;
        }
        if let Some(old) = old.map(|old| RowKey::of(&old)).filter(|old| *old != RowKey::of(ask)) {
            self.unsent.insert(old);
        }
        self.unsent.insert(RowKey::of(ask));
    }

    /// The number wanted now for a row; 0 when the wish has got another form since.
    fn count(&self, row: &RowKey) -> u32 {
        let wish = self.wanted.get(&row.allocation_request_id).filter(|wish| RowKey::of(wish) == *row);
        wish.map_or(0, |wish| wish.count)
    }

    /// The request to send now: the one that is not answered yet, or a new one with all that is unsent.
    pub(super) fn request(&mut self) -> AllocateRequestProto {
        let batch = match self.in_flight.take() {
            Some(batch) => batch,
            None => self.next_batch(),
        };
        let message = message(&batch, self.response_id);
        self.in_flight = Some(batch);
        message
    }

    fn next_batch(&mut self) -> Batch {
        let rows = std::mem::take(&mut self.unsent);
        let mut asks: Vec<ContainerAsk> = rows.iter().map(|row| row.ask(self.count(row))).collect();
        // within one request the last row of an id wins, so the withdrawn forms of a wish come first
        asks.sort_by_key(|ask| ask.count != 0);
        Batch {
            asks,
            releases: std::mem::take(&mut self.unsent_releases).into_iter().collect(),
            blacklist_additions: std::mem::take(&mut self.unsent_additions).into_iter().collect(),
            blacklist_removals: std::mem::take(&mut self.unsent_removals).into_iter().collect(),
            progress: self.progress,
            tracking_url: self.unsent_url.take(),
        }
    }

    /// Takes the answer to the last request: its id, what was given, what ended.
    pub(super) fn answered(&mut self, response_id: i32, allocated: &[Container], completed: &[ContainerStatus]) {
        self.response_id = response_id;
        let batch = self.in_flight.take().unwrap_or_default();
        for ask in &batch.asks {
            self.known.insert(RowKey::of(ask), ask.count);
        }
        for container in allocated {
            let Some(wish) = self.wanted.get_mut(&container.allocation_request_id) else {
                continue;
            };
            wish.count = wish.count.saturating_sub(1);
            let row = RowKey::of(wish);
            if batch.asks.iter().any(|ask| RowKey::of(ask) == row) {
                // the container was given before the number in this request was read: that number is one too high now
                self.unsent.insert(row);
            } else if let Some(known) = self.known.get_mut(&row) {
                *known = known.saturating_sub(1);
            }
        }
        self.known.retain(|_, count| *count > 0);
        self.wanted.retain(|id, wish| wish.count > 0 || self.unsent.iter().any(|row| row.allocation_request_id == *id));
        for status in completed {
            self.releasing.remove(&status.id);
        }
    }

    /// The ResourceManager refused the asks of the last request: forgets them, keeps the rest for the next request.
    pub(super) fn asks_refused(&mut self) -> Vec<ContainerAsk> {
        let Some(mut batch) = self.in_flight.take() else {
            return Vec::new();
        };
        let asks = std::mem::take(&mut batch.asks);
        for ask in &asks {
            if self.wanted.get(&ask.allocation_request_id).is_some_and(|wish| RowKey::of(wish) == RowKey::of(ask)) {
                self.wanted.remove(&ask.allocation_request_id);
            }
        }
        for (row, count) in &self.known {
            self.wanted.entry(row.allocation_request_id).or_insert_with(|| row.ask(*count));
        }
        self.take_back(batch);
        asks
    }

    /// The same for the releases.
    pub(super) fn releases_refused(&mut self) -> Vec<ContainerId> {
        let Some(mut batch) = self.in_flight.take() else {
            return Vec::new();
        };
        let releases = std::mem::take(&mut batch.releases);
        for id in &releases {
            self.releasing.remove(id);
        }
        self.take_back(batch);
        releases
    }

    /// The same for the blacklist.
    pub(super) fn blacklist_refused(&mut self) {
        let Some(mut batch) = self.in_flight.take() else {
            return;
        };
        for host in std::mem::take(&mut batch.blacklist_additions) {
            self.blacklist.remove(&host);
        }
        batch.blacklist_removals.clear();
        self.take_back(batch);
    }

    /// The last request was refused as a whole: all of it goes out again with the next.
    pub(super) fn refused(&mut self) {
        if let Some(batch) = self.in_flight.take() {
            self.take_back(batch);
        }
    }

    /// Makes a batch unsent again, where nothing newer has been noted.
    fn take_back(&mut self, batch: Batch) {
        self.unsent.extend(batch.asks.iter().map(RowKey::of));
        self.unsent_releases.extend(batch.releases);
        let known_again = |host: &String| self.blacklist.contains(host);
        self.unsent_additions.extend(batch.blacklist_additions.into_iter().filter(known_again));
        self.unsent_removals.extend(batch.blacklist_removals.into_iter().filter(|host| !known_again(host)));
        self.unsent_url = self.unsent_url.take().or(batch.tracking_url);
    }

    /// After a new registration: the ResourceManager knows nothing, so everything still wanted is unsent.
    pub(super) fn reset(&mut self) {
        self.response_id = 0;
        self.known.clear();
        if let Some(batch) = self.in_flight.take() {
            self.unsent_url = self.unsent_url.take().or(batch.tracking_url);
        }
        self.unsent = self.wanted.values().filter(|wish| wish.count > 0).map(RowKey::of).collect();
        self.unsent_releases.clone_from(&self.releasing);
        self.unsent_additions.clone_from(&self.blacklist);
        self.unsent_removals.clear();
    }
}

fn message(batch: &Batch, response_id: i32) -> AllocateRequestProto {
    let blacklist = ResourceBlacklistRequestProto {
        blacklist_additions: batch.blacklist_additions.clone(),
        blacklist_removals: batch.blacklist_removals.clone(),
    };
    let changed = !blacklist.blacklist_additions.is_empty() || !blacklist.blacklist_removals.is_empty();
    AllocateRequestProto {
        ask: batch.asks.iter().map(row_message).collect(),
        release: batch.releases.iter().map(|id| (*id).into()).collect(),
        blacklist_request: changed.then_some(blacklist),
        response_id: Some(response_id),
        progress: Some(if batch.progress.is_nan() { 0.0 } else { batch.progress.clamp(0.0, 1.0) }),
        tracking_url: batch.tracking_url.clone(),
    }
}

fn row_message(ask: &ContainerAsk) -> ResourceRequestProto {
    ResourceRequestProto {
        priority: Some(PriorityProto { priority: Some(ask.priority) }),
        resource_name: Some("*".to_owned()),
        capability: Some((&ask.capability).into()),
        num_containers: Some(i32::try_from(ask.count).unwrap_or(i32::MAX)),
        relax_locality: Some(true),
        node_label_expression: ask.node_label.clone(),
        allocation_request_id: Some(ask.allocation_request_id),
    }
}

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;
