//! The container of the standby JobManager: asked for, started, kept over attempts, replaced when it is lost. Pure: the part of
//! [`super::manager`] that has nothing to do with slots. What it is told of other containers is for the standby to know.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use flumen_hadoop::yarn::{Container, ContainerAsk, ContainerId, Resource};
use flumen_wire::control::ExecutorInfo;
use flumen_wire::standby::KnownContainer;

use super::manager::{Action, Event};
use super::slots::WishId;

/// Priority of the ask, by which a later attempt recognises the container: after those for TaskExecutors.
pub const PRIORITY: i32 = 2;

/// How long a standby whose connection broke may take to come back before its container is given up.
const RETURN_LIMIT: Duration = Duration::from_secs(10);
/// How long an ask is worth frequent heartbeats: on a full cluster it may stay open for hours.
const FREQUENT: Duration = Duration::from_secs(10);
/// Between a standby that was lost early and the next: none after the first, then doubled from the one to the other.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// One that has lived for so long was no early loss.
const SETTLED: Duration = Duration::from_secs(60);
/// How often a container on the ApplicationMaster's own node is given back: it is of less use there, but better than none.
const MOVES_MAX: u32 = 2;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The container: as large as the ApplicationMaster's.
    pub container: Resource,
    /// Restricts it to nodes of this label.
    pub node_label: Option<String>,
    /// The node that is avoided: the ApplicationMaster's.
    pub own_host: String,
    /// How long a standby that was started may take to register.
    pub registration_timeout: Duration,
    /// The same for one that an earlier attempt started.
    pub former_timeout: Duration,
}

/// See the module.
#[derive(Debug)]
pub struct Standby {
    wanted: Wanted,
    wish: Option<(WishId, Instant)>,
    place: Option<Place>,
    /// Nothing is asked for before then.
    not_before: Option<Instant>,
    pause: Duration,
    moves: u32,
    /// The containers that it knows.
    told: BTreeSet<ContainerId>,
}

#[derive(Debug)]
struct Place {
    container: Container,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Its NodeManager is being told what to run.
    Launching,
    /// It is to register until then.
    Coming { until: Instant },
    /// It stands by, since then.
    Registered { since: Instant },
}

impl Standby {
    /// One that is not there yet.
    pub fn new(wanted: Wanted) -> Self {
        Self {
            wanted,
            wish: None,
            place: None,
            not_before: None,
            pause: Duration::ZERO,
            moves: 0,
            told: BTreeSet::new(),
        }
    }

    /// Takes what concerns the standby; the rest of the event.
    pub fn take(&mut self, now: Instant, event: Event, actions: &mut Vec<Action>) -> Event {
        match event {
            Event::Allocated(containers) => {
                let (ours, others) = divide(containers);
                ours.into_iter().for_each(|container| self.allocated(now, container, actions));
                Event::Allocated(others)
            }
            Event::FoundAgain(containers) => {
                let (ours, others) = divide(containers);
                ours.into_iter().for_each(|container| self.found_again(now, container, actions));
                Event::FoundAgain(others)
            }
            Event::Completed(mut statuses) => {
                statuses.retain(|status| {
                    let ended = self.is(status.id);
                    if ended {
                        tracing::warn!(container = %status.id, exit_code = status.exit_code, "the standby JobManager has ended");
                        drop(self.gone(now));
                    }
                    !ended
                });
                Event::Completed(statuses)
            }
            Event::Launched { id, result } if self.is(id) => {
                self.launched(now, result, actions);
                Event::Tick
            }
            Event::StandbyRegistered(id) => {
                match &mut self.place {
                    Some(place) if place.container.id == id => {
                        place.stage = Stage::Registered { since: now };
                        self.told.clear();
                    }
                    _ => actions.push(Action::DismissStandby(id)),
                }
                Event::Tick
            }
            Event::StandbyLost(id) => {
                if let Some(place) = self.place.as_mut().filter(|place| place.container.id == id) {
                    place.stage = Stage::Coming { until: now + RETURN_LIMIT };
                }
                Event::Tick
            }
            Event::Reregistered => {
                if let Some(place) = self.place.take_if(|place| place.stage == Stage::Launching) {
                    let reason = "it is from before the restart of YARN's ResourceManager";
                    actions.push(Action::Release { id: place.container.id, reason });
                }
                Event::Reregistered
            }
            Event::AskRefused(text) => {
                if self.wish.take().is_some() {
                    self.not_before = Some(now + PAUSE_MAX);
                }
                Event::AskRefused(text)
            }
            other => other,
        }
    }

    /// What is to be done after each event. `known` are the containers of TaskExecutors that a next leader would take over;
    /// `next_wish` numbers wishes.
    pub fn plan<'a>(
        &mut self,
        now: Instant,
        next_wish: &mut i64,
        known: impl Iterator<Item = &'a Container>,
        actions: &mut Vec<Action>,
    ) {
        if let Some(Place { stage: Stage::Coming { until }, .. }) = self.place
            && until <= now
        {
            tracing::warn!("the standby JobManager did not register in time: another one is asked for");
            if let Some(container) = self.gone(now) {
                actions.push(Action::Release { id: container.id, reason: "its standby JobManager is lost" });
            }
        }
        self.not_before = self.not_before.filter(|from| *from > now);
        if self.place.is_none() && self.wish.is_none() && self.not_before.is_none() {
            let wish = WishId(*next_wish);
            *next_wish += 1;
            self.wish = Some((wish, now));
            actions.push(Action::Ask(ContainerAsk {
                allocation_request_id: wish.0,
                priority: PRIORITY,
                capability: self.wanted.container.clone(),
                count: 1,
                node_label: self.wanted.node_label.clone(),
            }));
        }
        self.tell(known, actions);
    }

    /// Whether heartbeats should be frequent for its sake.
    pub fn awaits_yarn(&self, now: Instant) -> bool {
        self.wish.is_some_and(|(_, since)| now < since + FREQUENT)
            || self.place.as_ref().is_some_and(|place| matches!(place.stage, Stage::Coming { .. }))
    }

    /// When the time alone changes something.
    pub fn next_timer(&self) -> Option<Instant> {
        let until = self.place.as_ref().and_then(|place| match place.stage {
            Stage::Coming { until } => Some(until),
            Stage::Launching | Stage::Registered { .. } => None,
        });
        until.into_iter().chain(self.not_before).min()
    }

    fn is(&self, id: ContainerId) -> bool {
        self.place.as_ref().is_some_and(|place| place.container.id == id)
    }

    fn allocated(&mut self, now: Instant, container: Container, actions: &mut Vec<Action>) {
        let id = container.id;
        if self.wish.take_if(|(wish, _)| wish.0 == container.allocation_request_id).is_none() || self.place.is_some() {
            actions.push(Action::Release { id, reason: "it is not needed" });
        } else if container.node.host == self.wanted.own_host && self.moves < MOVES_MAX {
            self.moves += 1;
            self.not_before = Some(now + PAUSE_FIRST);
            actions
                .push(Action::Release { id, reason: "a standby JobManager is better on another node than its leader" });
        } else {
            actions.push(Action::Launch(Box::new(container.clone())));
            self.place = Some(Place { container, stage: Stage::Launching });
        }
    }

    fn found_again(&mut self, now: Instant, container: Container, actions: &mut Vec<Action>) {
        if self.is(container.id) {
            return;
        }
        if self.place.is_some() {
            actions.push(Action::Release { id: container.id, reason: "there is another standby JobManager" });
            return;
        }
        if let Some((wish, _)) = self.wish.take() {
            actions.push(Action::Ask(ContainerAsk {
                allocation_request_id: wish.0,
                priority: PRIORITY,
                capability: self.wanted.container.clone(),
                count: 0,
                node_label: self.wanted.node_label.clone(),
            }));
        }
        self.place = Some(Place { container, stage: Stage::Coming { until: now + self.wanted.former_timeout } });
    }

    fn launched(&mut self, now: Instant, result: Result<(), String>, actions: &mut Vec<Action>) {
        let Some(place) = &mut self.place else { return };
        match result {
            // It may have been quicker than the answer.
            Ok(()) if place.stage == Stage::Launching => {
                place.stage = Stage::Coming { until: now + self.wanted.registration_timeout };
            }
            Ok(()) => {}
            Err(why) => {
                tracing::warn!(container = %place.container.id, why, "the standby JobManager could not be started");
                if let Some(container) = self.gone(now) {
                    actions.push(Action::Release { id: container.id, reason: "it could not be started" });
                }
            }
        }
    }

    /// It is lost: the next one is asked for at once, unless the last ones were lost early, too.
    fn gone(&mut self, now: Instant) -> Option<Container> {
        let Place { container, stage } = self.place.take()?;
        if matches!(stage, Stage::Registered { since } if since + SETTLED <= now) {
            self.pause = Duration::ZERO;
        }
        self.not_before = Some(now + self.pause);
        self.pause = (self.pause * 2).clamp(PAUSE_FIRST, PAUSE_MAX);
        Some(container)
    }

    /// What has changed of the other containers since the last time.
    fn tell<'a>(&mut self, known: impl Iterator<Item = &'a Container>, actions: &mut Vec<Action>) {
        let Some(Place { container, stage: Stage::Registered { .. } }) = &self.place else { return };
        let mut gone = std::mem::take(&mut self.told);
        let mut here = Vec::new();
        for container in known {
            if !gone.remove(&container.id) {
                here.push(container.clone());
            }
            self.told.insert(container.id);
        }
        if !here.is_empty() || !gone.is_empty() {
            actions.push(Action::TellStandby { to: container.id, here, gone: gone.into_iter().collect() });
        }
    }
}

/// The containers that were asked for with the standby's priority, and the others.
fn divide(containers: Vec<Container>) -> (Vec<Container>, Vec<Container>) {
    containers.into_iter().partition(|container| container.priority == PRIORITY)
}

/// A container as a standby is told of it.
pub fn described(container: &Container) -> KnownContainer {
    KnownContainer {
        id: container.id.to_string(),
        host: container.node.host.clone(),
        port: container.node.port,
        web: container.node_http_address.clone(),
        memory_mb: container.resource.memory_mb,
        vcores: container.resource.vcores,
    }
}

/// The container of which a standby was told; `None` when its id is none.
pub fn known(described: KnownContainer) -> Option<Container> {
    let KnownContainer { id, host, port, web, memory_mb, vcores } = described;
    Some(Container {
        id: id.parse().ok()?,
        node: flumen_hadoop::yarn::NodeId { host, port },
        node_http_address: web,
        resource: Resource::new(memory_mb, vcores),
        priority: super::manager::PRIORITY,
        token: None,
        allocation_request_id: -1,
    })
}

/// The container of a TaskExecutor that registers, as far as that tells.
pub fn unheard_of(info: &ExecutorInfo) -> Option<Container> {
    known(KnownContainer {
        id: info.id.0.clone(),
        host: info.host.clone(),
        port: 0,
        web: String::new(),
        memory_mb: info.memory >> 20,
        vcores: info.slots,
    })
}

#[cfg(test)]
mod tests;
