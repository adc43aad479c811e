//! The ResourceManager: turns the slots that jobs declare into containers with registered TaskExecutors. Pure: facts with
//! their time in, actions out; the time-outs are facts, too ([`ResourceManager::next_timer`]).

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use flumen_hadoop::yarn::{Container, ContainerAsk, ContainerId, ContainerStatus, Resource};
use flumen_model::failure::{Blame, Failure};
use flumen_model::ids::ExecutorId;

pub use event::{Action, Event, Profile};

use super::failures::{self, FailureRate, Verdict};
use super::fit::{self, Cluster, Demand};
use super::slots::{self, Snapshot, Stage, WishId};
use super::standby::{Standby, Wanted};

mod event;

/// How long the loss of a TaskExecutor waits for YARN's word on its container, which usually comes within one heartbeat
/// and tells the cause ("killed because it used too much memory"); the broken connection alone does not. Below the time that
/// a JobMaster holds back the connections that other workers see break.
const CAUSE_WAIT: Duration = Duration::from_millis(700);

/// Priority of the asks for TaskExecutors' containers; Flink's.
pub const PRIORITY: i32 = 1;

/// Most containers of one application: far beyond any real one, and few enough for one heartbeat to name them all.
const CONTAINERS_MAX: u32 = 20_000;

#[derive(Debug)]
struct Owned {
    container: Container,
    stage: Stage,
    /// When it came into this stage.
    since: Instant,
}

/// See the module.
#[derive(Debug)]
pub struct ResourceManager {
    profile: Profile,
    maximum: Resource,
    queue: String,
    /// Slots of all jobs.
    slots: u32,
    /// Slots of the largest job that waits for some.
    largest: u32,
    next_wish: i64,
    wishes: BTreeSet<WishId>,
    containers: BTreeMap<ContainerId, Owned>,
    /// Executors whose loss is known and whose cause is awaited, with the time at which the wait ends.
    lost: BTreeMap<ContainerId, (Instant, Failure)>,
    failures: FailureRate,
    /// Since when no wish has been answered; `None` while none is open or the cluster was inspected for it.
    unanswered_since: Option<Instant>,
    /// The cluster has held a job of that size once, or can't be judged because YARN was restarted: nodes may be missing
    /// for a while, and the job's own patience (`slot.request.timeout`) decides.
    fits: u32,
    /// Why the cluster can't hold a job of that size. Believed once the ResourceManager that said so still knows this
    /// attempt: one that has just been restarted knows only some of its nodes.
    misfit: Option<(u32, String)>,
    /// After too many failed containers nothing is asked for before then but what jobs need.
    reserve_from: Option<Instant>,
    /// Jobs are being given up in this step: planning waits for what they then declare.
    giving_up: bool,
    /// Jobs of an earlier attempt are being taken over: nothing that runs is given back until it is known who uses it.
    undivided: bool,
    /// The standby JobManager, if there is to be one, and whether YARN is to be spoken to frequently for its sake.
    standby: Option<Standby>,
    standby_awaited: bool,
}

impl ResourceManager {
    /// A manager that wants nothing yet. `maximum` and `queue` are YARN's answers to the registration.
    pub fn new(profile: Profile, maximum: Resource, queue: String) -> Self {
        let failures = FailureRate::new(profile.failures_per_minute_max);
        Self {
            profile,
            maximum,
            queue,
            slots: 0,
            largest: 0,
            next_wish: 0,
            wishes: BTreeSet::new(),
            containers: BTreeMap::new(),
            lost: BTreeMap::new(),
            failures,
            unanswered_since: None,
            fits: 0,
            misfit: None,
            reserve_from: None,
            giving_up: false,
            undivided: false,
            standby: None,
            standby_awaited: false,
        }
    }

    /// From now on a standby JobManager is wanted.
    pub fn want_standby(&mut self, wanted: Wanted) {
        self.standby = Some(Standby::new(wanted));
    }

    /// True while something is awaited from YARN: heartbeats should be frequent.
    pub fn awaits_yarn(&self) -> bool {
        !self.wishes.is_empty() || !self.lost.is_empty() || self.standby_awaited
    }

    /// Jobs of an earlier attempt will be taken over: nothing is given back before [`Event::Divided`].
    pub fn keep_everything(&mut self) {
        self.undivided = true;
    }

    /// True while TaskExecutors that an earlier attempt started may still register.
    pub fn awaits_former(&self) -> bool {
        self.containers.values().any(|owned| owned.stage == Stage::Former)
    }

    /// Whether the container is one of ours and not given back.
    pub fn owns(&self, id: ContainerId) -> bool {
        self.containers.contains_key(&id)
    }

    /// Web address of a container's log directory, when its NodeManager's is known.
    pub fn logs_url(&self, id: ContainerId) -> Option<String> {
        let container = &self.containers.get(&id)?.container;
        (!container.node_http_address.is_empty()).then(|| logs_url(container, &self.profile.user))
    }

    /// When [`Event::Tick`] is due next.
    pub fn next_timer(&self) -> Option<Instant> {
        let registrations =
            self.containers.values().filter_map(|owned| Some(owned.since + self.patience(owned.stage)?));
        registrations
            .chain(self.lost.values().map(|(until, _)| *until))
            .chain(self.unanswered_since.map(|since| since + self.profile.fit_grace))
            .chain(self.reserve_from)
            .chain(self.next_idle())
            .chain(self.standby.as_ref().and_then(Standby::next_timer))
            .min()
    }

    /// When the next TaskExecutor has been idle long enough to go.
    fn next_idle(&self) -> Option<Instant> {
        if self.undivided || self.containers.len() <= self.wanted() as usize {
            return None;
        }
        let idle = self.containers.values().filter(|owned| owned.stage == Stage::Registered { busy: false });
        idle.map(|owned| owned.since + self.profile.reserve.idle_timeout).min()
    }

    /// How long a container may be in a stage.
    fn patience(&self, stage: Stage) -> Option<Duration> {
        match stage {
            Stage::Starting => Some(self.profile.registration_timeout),
            Stage::Former => self.profile.former_timeout,
            Stage::Allocated | Stage::Launching | Stage::Registered { .. } => None,
        }
    }

    fn wanted(&self) -> u32 {
        let reserve = &self.profile.reserve;
        reserve.containers(self.slots, self.profile.slots, self.reserve_from.is_some()).min(CONTAINERS_MAX)
    }

    /// Takes a fact in and says what to do about it.
    pub fn step(&mut self, now: Instant, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        let event = match &mut self.standby {
            Some(standby) => standby.take(now, event, &mut actions),
            None => event,
        };
        match event {
            Event::Declared { slots, largest } => self.declared(slots, largest, &mut actions),
            Event::Answered => {
                if let Some((needing, reason)) = self.misfit.take().filter(|(slots, _)| *slots > self.fits) {
                    self.give_up(needing, reason, &mut actions);
                }
            }
            Event::Allocated(containers) => self.allocated(now, containers),
            Event::Completed(statuses) => {
                for status in statuses {
                    self.completed(now, &status, &mut actions);
                }
            }
            Event::Reregistered => self.reregistered(&mut actions),
            Event::FoundAgain(containers) => self.found_again(now, containers, &mut actions),
            Event::Divided => self.undivided = false,
            Event::AskRefused(text) => {
                // Which of the asks was bad is not told, and they are all alike.
                self.wishes.clear();
                self.reserve_from = Some(now + failures::WINDOW);
                self.give_up(
                    0,
                    format!("YARN refuses the containers of {}: {text}", self.profile.container),
                    &mut actions,
                );
            }
            Event::Launched { id, result } => self.launched(now, id, result, &mut actions),
            Event::ExecutorRegistered(id) => self.enter(now, id, Stage::Registered { busy: false }),
            Event::Busy { id, busy } => {
                if matches!(self.containers.get(&id), Some(Owned { stage: Stage::Registered { .. }, .. })) {
                    self.enter(now, id, Stage::Registered { busy });
                }
            }
            Event::ExecutorLost { id, failure } => {
                if self.containers.remove(&id).is_some() {
                    self.lost.insert(id, (now + CAUSE_WAIT, failure));
                }
            }
            Event::ClusterInspected(cluster) => self.inspected(cluster.as_ref()),
            Event::StandbyRegistered(id) => actions.push(Action::DismissStandby(id)),
            Event::StandbyLost(_) | Event::Tick => {}
        }
        self.timers(now, &mut actions);
        if !std::mem::take(&mut self.giving_up) {
            self.plan(now, &mut actions);
        }
        if let Some(standby) = &mut self.standby {
            let comes_back = |owned: &&Owned| matches!(owned.stage, Stage::Registered { .. } | Stage::Former);
            let known = self.containers.values().filter(comes_back).map(|owned| &owned.container);
            standby.plan(now, &mut self.next_wish, known, &mut actions);
            self.standby_awaited = standby.awaits_yarn(now);
        }
        actions
    }

    fn declared(&mut self, slots: u32, largest: u32, actions: &mut Vec<Action>) {
        (self.slots, self.largest) = (slots, largest);
        if largest == 0 {
            return;
        }
        let Profile { slots: per_executor, ref reserve, .. } = self.profile;
        let possible = reserve.slots_possible(per_executor);
        let containers = slots::containers_for(largest, per_executor);
        if let Some(reason) = fit::one_container(&self.profile.container, &self.maximum) {
            self.give_up(0, reason, actions);
        } else if largest > possible {
            let reason = format!(
                "the job needs {largest} slots, and there may be {possible} at most (slotmanager.number-of-slots.max is \
                 {}): lower the parallelism or raise the limit",
                reserve.slots_max
            );
            self.give_up(possible + 1, reason, actions);
        } else if containers > CONTAINERS_MAX {
            let reason = format!(
                "the job needs {largest} slots in {containers} containers, more than the {CONTAINERS_MAX} that one \
                 application may have: lower the parallelism or raise taskmanager.numberOfTaskSlots"
            );
            self.give_up(largest, reason, actions);
        }
    }

    fn allocated(&mut self, now: Instant, containers: Vec<Container>) {
        for container in containers {
            // An answer to a wish that was taken back makes one container too many; the plan gives one back.
            self.wishes.remove(&WishId(container.allocation_request_id));
            let id = container.id;
            self.containers.insert(id, Owned { container, stage: Stage::Allocated, since: now });
            self.unanswered_since = Some(now);
        }
    }

    fn completed(&mut self, now: Instant, status: &ContainerStatus, actions: &mut Vec<Action>) {
        let why = failures::explain(status.exit_code, &status.diagnostics);
        if let Some((_, failure)) = self.lost.remove(&status.id) {
            let message = format!("its container ended: {why}");
            actions.push(Action::ReportLost { id: executor_id(status.id), failure: Failure { message, ..failure } });
        } else if let Some(owned) = self.containers.remove(&status.id) {
            let Owned { container, stage, .. } = owned;
            if matches!(stage, Stage::Registered { .. }) {
                let id = executor_id(status.id);
                let failure = Failure::new(Blame::Outside, format!("its container ended: {why}")).on(&id);
                actions.push(Action::ReportLost { id, failure });
            } else if stage != Stage::Former && !failures::is_clusters_doing(status.exit_code) {
                self.failed_start(now, &container, &why, actions);
            }
        }
    }

    fn reregistered(&mut self, actions: &mut Vec<Action>) {
        self.fits = self.fits.max(self.largest);
        let void: Vec<ContainerId> = self
            .containers
            .iter()
            .filter(|(_, owned)| matches!(owned.stage, Stage::Allocated | Stage::Launching))
            .map(|(id, _)| *id)
            .collect();
        for id in void {
            self.containers.remove(&id);
            actions.push(Action::Release { id, reason: "it is from before the restart of YARN's ResourceManager" });
        }
    }

    /// What an earlier attempt left is of use only if its jobs are taken over.
    fn found_again(&mut self, now: Instant, containers: Vec<Container>, actions: &mut Vec<Action>) {
        for container in containers {
            let id = container.id;
            if self.containers.contains_key(&id) || self.lost.contains_key(&id) {
                continue;
            }
            // YARN names the former ApplicationMaster's own, too, when it knows of no end of it but only of its silence.
            if container.priority != PRIORITY {
                actions
                    .push(Action::Release { id, reason: "no TaskExecutor runs in it, but a former ApplicationMaster" });
            } else if self.profile.former_timeout.is_some() {
                self.containers.insert(id, Owned { container, stage: Stage::Former, since: now });
            } else {
                actions.push(Action::Release { id, reason: "it is from an earlier application attempt" });
            }
        }
    }

    fn launched(&mut self, now: Instant, id: ContainerId, result: Result<(), String>, actions: &mut Vec<Action>) {
        match result {
            // Its TaskExecutor may have been quicker than the answer.
            Ok(()) if self.containers.get(&id).is_some_and(|owned| owned.stage == Stage::Launching) => {
                self.enter(now, id, Stage::Starting);
            }
            Ok(()) => {}
            Err(why) => {
                if let Some(owned) = self.containers.remove(&id) {
                    actions.push(Action::Release { id, reason: "it could not be started" });
                    self.failed_start(now, &owned.container, &why, actions);
                }
            }
        }
    }

    fn enter(&mut self, now: Instant, id: ContainerId, stage: Stage) {
        if let Some(owned) = self.containers.get_mut(&id) {
            owned.stage = stage;
            owned.since = now;
        }
    }

    fn failed_start(&mut self, now: Instant, container: &Container, why: &str, actions: &mut Vec<Action>) {
        let mut cause = format!("{} on {}: {why}", container.id, container.node);
        if !container.node_http_address.is_empty() {
            cause.push_str(&format!(" (logs: {})", logs_url(container, &self.profile.user)));
        }
        tracing::warn!(container = %container.id, node = %container.node, why, "container failed before its TaskExecutor registered");
        if let Verdict::GiveUp(reason) = self.failures.record(now, cause) {
            self.reserve_from = Some(now + failures::WINDOW);
            self.give_up(0, reason, actions);
        }
    }

    fn inspected(&mut self, cluster: Option<&Cluster>) {
        // Without any node the ResourceManager has only just begun.
        let Some(cluster) = cluster.filter(|cluster| !cluster.nodes.is_empty()) else { return };
        let demand = Demand {
            container: self.profile.container.clone(),
            containers: slots::containers_for(self.largest, self.profile.slots),
            appmaster: self.profile.appmaster.clone(),
            queue: self.queue.clone(),
        };
        // Jobs that have their slots may end: each is compared with an empty cluster.
        self.misfit = fit::all_containers(&demand, cluster).map(|reason| (self.largest, reason));
    }

    fn timers(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let due: Vec<ContainerId> =
            self.lost.iter().filter(|(_, (until, _))| *until <= now).map(|(id, _)| *id).collect();
        for id in due {
            if let Some((_, failure)) = self.lost.remove(&id) {
                actions.push(Action::ReportLost { id: executor_id(id), failure });
                actions.push(Action::Release { id, reason: "its TaskExecutor is lost" });
            }
        }
        let late = |owned: &Owned| self.patience(owned.stage).is_some_and(|limit| owned.since + limit <= now);
        let late: Vec<ContainerId> =
            self.containers.iter().filter(|(_, owned)| late(owned)).map(|(id, _)| *id).collect();
        for id in late {
            if let Some(owned) = self.containers.remove(&id) {
                actions.push(Action::Release { id, reason: "its TaskExecutor did not register in time" });
                if owned.stage == Stage::Former {
                    tracing::warn!(
                        container = %id, node = %owned.container.node,
                        "a TaskExecutor of an earlier attempt did not register in time \
                         (resourcemanager.previous-worker.recovery.timeout): what ran there is restarted elsewhere"
                    );
                    continue;
                }
                let limit = self.profile.registration_timeout;
                let why = format!(
                    "its TaskExecutor did not register within {} s (resourcemanager.taskmanager-registration.timeout); \
                     its logs may tell why",
                    limit.as_secs()
                );
                self.failed_start(now, &owned.container, &why, actions);
            }
        }
        if self.largest <= self.fits {
            self.unanswered_since = None;
        }
        self.reserve_from = self.reserve_from.filter(|from| *from > now);
        if self.unanswered_since.is_some_and(|since| since + self.profile.fit_grace <= now) {
            self.unanswered_since = None;
            actions.push(Action::InspectCluster);
        }
    }

    fn plan(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let idle_timeout = self.profile.reserve.idle_timeout;
        let stage = |owned: &Owned| match owned.stage {
            Stage::Former => Stage::Registered { busy: true },
            Stage::Registered { busy: false } => {
                Stage::Registered { busy: self.undivided || owned.since + idle_timeout > now }
            }
            stage => stage,
        };
        let snapshot = Snapshot {
            wanted: self.wanted(),
            wishes: self.wishes.iter().copied().collect(),
            containers: self.containers.iter().map(|(id, owned)| (*id, stage(owned))).collect(),
        };
        let plan = slots::plan(&snapshot);
        for wish in plan.withdraw {
            self.wishes.remove(&wish);
            actions.push(Action::Ask(self.ask(wish, 0)));
        }
        for id in plan.release {
            self.containers.remove(&id);
            actions.push(Action::Release { id, reason: "it is not needed" });
        }
        for id in plan.launch {
            if let Some(owned) = self.containers.get_mut(&id) {
                owned.stage = Stage::Launching;
                owned.since = now;
                actions.push(Action::Launch(Box::new(owned.container.clone())));
            }
        }
        for _ in 0..plan.asks {
            let wish = WishId(self.next_wish);
            self.next_wish += 1;
            self.wishes.insert(wish);
            actions.push(Action::Ask(self.ask(wish, 1)));
            self.unanswered_since = Some(now);
        }
        if self.wishes.is_empty() {
            self.unanswered_since = None;
            if !self.containers.is_empty() {
                self.fits = self.fits.max(self.largest);
            }
        }
    }

    fn ask(&self, wish: WishId, count: u32) -> ContainerAsk {
        ContainerAsk {
            allocation_request_id: wish.0,
            priority: PRIORITY,
            capability: self.profile.container.clone(),
            count,
            node_label: self.profile.node_label.clone(),
        }
    }

    fn give_up(&mut self, needing: u32, reason: String, actions: &mut Vec<Action>) {
        self.giving_up = true;
        actions.push(Action::GiveUp { needing, failure: Failure::new(Blame::Outside, reason) });
    }
}

/// Where a NodeManager shows the logs of a container.
fn logs_url(container: &Container, user: &str) -> String {
    format!("http://{}/node/containerlogs/{}/{user}", container.node_http_address, container.id)
}

/// A TaskExecutor's name on YARN.
pub fn executor_id(container: ContainerId) -> ExecutorId {
    ExecutorId(container.to_string())
}

#[cfg(test)]
mod tests;
