use std::num::NonZeroU32;

use super::*;
use crate::resource::testing::{container, container_id as id, status};

const LIMIT: Duration = Duration::from_secs(300);

fn profile() -> Profile {
    Profile {
        container: Resource::new(1024, 1),
        slots: NonZeroU32::MIN,
        node_label: None,
        failures_per_minute_max: 2.0,
        registration_timeout: LIMIT,
        fit_grace: Duration::from_secs(5),
        appmaster: Resource::new(256, 1),
        user: "alice".into(),
    }
}

/// A manager with a clock that the test moves.
struct World {
    manager: ResourceManager,
    now: Instant,
}

impl World {
    fn new() -> Self {
        let manager = ResourceManager::new(profile(), Resource::new(8192, 8), "root.default".into());
        Self { manager, now: Instant::now() }
    }

    fn step(&mut self, event: Event) -> Vec<String> {
        self.manager.step(self.now, event).iter().map(brief).collect()
    }

    fn later(&mut self, wait: Duration) -> Vec<String> {
        self.now += wait;
        self.step(Event::Tick)
    }

    /// Brings `slots` containers to registration.
    fn running(slots: u32) -> Self {
        let mut world = Self::new();
        world.step(Event::Declared { slots });
        for n in 0..i64::from(slots) {
            world.step(Event::Allocated(vec![container(n + 2, n)]));
            world.step(Event::Launched { id: id(n + 2), result: Ok(()) });
            world.step(Event::ExecutorRegistered(id(n + 2)));
            world.step(Event::Busy { id: id(n + 2), busy: true });
        }
        world
    }
}

/// An action in few words: `ask 0 x1`, `release 2`, `launch 2`.
fn brief(action: &Action) -> String {
    match action {
        Action::Ask(ask) => format!("ask {} x{}", ask.allocation_request_id, ask.count),
        Action::Release { id, .. } => format!("release {}", id.sequence()),
        Action::Launch(container) => format!("launch {}", container.id.sequence()),
        Action::ReportLost { failure, .. } => format!("lost: {failure}"),
        Action::InspectCluster => "inspect".into(),
        Action::GiveUp(failure) => format!("give up: {failure}"),
    }
}

fn lost(n: i64) -> Event {
    Event::ExecutorLost { id: id(n), failure: Failure::new(Blame::Outside, "the connection broke") }
}

#[test]
fn declared_slots_become_registered_executors() {
    let mut world = World::new();
    assert_eq!(world.step(Event::Declared { slots: 2 }), ["ask 0 x1", "ask 1 x1"]);
    assert!(world.manager.awaits_yarn());
    assert_eq!(world.step(Event::Allocated(vec![container(2, 1)])), ["launch 2"]);
    assert_eq!(world.step(Event::Launched { id: id(2), result: Ok(()) }), [""; 0]);
    assert_eq!(world.step(Event::Allocated(vec![container(3, 0)])), ["launch 3"]);
    assert!(!world.manager.awaits_yarn());
    for n in [2, 3] {
        assert_eq!(world.step(Event::ExecutorRegistered(id(n))), [""; 0]);
    }
    assert_eq!(world.step(Event::Launched { id: id(3), result: Ok(()) }), [""; 0], "its TaskExecutor was quicker");
    assert_eq!(world.manager.next_timer(), None);
}

#[test]
fn an_excess_container_goes_back_at_once() {
    let mut world = World::running(1);
    assert_eq!(world.step(Event::Allocated(vec![container(9, 77)])), ["release 9"]);
    assert!(!world.manager.owns(id(9)));
}

#[test]
fn all_idle_containers_go_back_when_the_job_is_over() {
    let mut world = World::running(2);
    world.step(Event::Busy { id: id(2), busy: false });
    assert_eq!(world.step(Event::Declared { slots: 0 }), ["release 2"]);
    assert_eq!(world.step(Event::Busy { id: id(3), busy: false }), ["release 3"]);
}

#[test]
fn a_lost_executor_is_replaced_at_once_and_reported_with_yarns_cause() {
    let mut world = World::running(2);
    assert_eq!(world.step(lost(2)), ["ask 2 x1"]);
    assert!(world.manager.awaits_yarn());
    let actions = world.step(Event::Completed(vec![status(2, -104, "beyond the 'PHYSICAL' memory limit")]));
    assert_eq!(actions.len(), 1, "{actions:?}");
    assert!(
        actions[0].starts_with("lost: its container ended: YARN killed it because it used more memory"),
        "{actions:?}"
    );
    assert_eq!(world.later(LIMIT)[..0], [""; 0], "it is reported once");
}

#[test]
fn without_yarns_word_the_broken_connection_is_the_cause_and_the_container_goes_back() {
    let mut world = World::running(1);
    world.step(lost(2));
    assert_eq!(world.later(CAUSE_WAIT - Duration::from_millis(1)), [""; 0]);
    assert_eq!(world.later(Duration::from_millis(1)), ["lost: the connection broke", "release 2"]);
    assert_eq!(world.step(Event::Completed(vec![status(2, -100, "")])), [""; 0]);
}

#[test]
fn the_end_of_a_registered_container_is_reported_before_its_connection_breaks() {
    let mut world = World::running(1);
    let actions = world.step(Event::Completed(vec![status(2, 137, "")]));
    assert!(
        actions[0].starts_with("lost: on container_1795228637142_0003_01_000002: its container ended"),
        "{actions:?}"
    );
    assert_eq!(actions[1..], ["ask 1 x1"]);
    assert_eq!(world.step(lost(2)), [""; 0], "it is reported once");
}

#[test]
fn containers_that_do_not_start_are_replaced_up_to_the_rate() {
    let mut world = World::new();
    world.step(Event::Declared { slots: 1 });
    world.step(Event::Allocated(vec![container(2, 0)]));
    assert_eq!(world.step(Event::Completed(vec![status(2, -1000, "no such file")])), ["ask 1 x1"]);
    world.step(Event::Allocated(vec![container(3, 1)]));
    let refused = Event::Launched { id: id(3), result: Err("NodeManager refused".into()) };
    assert_eq!(world.step(refused), ["release 3", "ask 2 x1"]);
    world.step(Event::Allocated(vec![container(4, 2)]));
    let actions = world.step(Event::Completed(vec![status(4, 1, "")]));
    assert_eq!(actions.len(), 1, "nothing more is asked for: {actions:?}");
    for part in [
        "give up: 3 containers",
        "(logs: http://node1:8042/node/containerlogs/container_",
        "no such file",
        "NodeManager refused",
        "exit code 1",
    ] {
        assert!(actions[0].contains(part), "{part}: {actions:?}");
    }
}

#[test]
fn preempted_containers_do_not_count_as_failures() {
    let mut world = World::new();
    world.step(Event::Declared { slots: 1 });
    for n in 0..9 {
        world.step(Event::Allocated(vec![container(n + 2, n)]));
        let actions = world.step(Event::Completed(vec![status(n + 2, -102, "")]));
        assert_eq!(actions, [format!("ask {} x1", n + 1)]);
    }
}

#[test]
fn an_executor_that_does_not_register_in_time_is_replaced() {
    let mut world = World::new();
    world.step(Event::Declared { slots: 1 });
    world.step(Event::Allocated(vec![container(2, 0)]));
    world.step(Event::Launched { id: id(2), result: Ok(()) });
    assert_eq!(world.manager.next_timer(), Some(world.now + LIMIT));
    assert_eq!(world.later(LIMIT), ["release 2", "ask 1 x1"]);
}

#[test]
fn what_was_not_started_before_a_restart_of_yarn_is_asked_for_again() {
    let mut world = World::running(1);
    world.step(Event::Declared { slots: 3 });
    world.step(Event::Allocated(vec![container(8, 1)]));
    assert_eq!(world.step(Event::Reregistered), ["release 8", "ask 3 x1"]);
    let late = Event::Launched { id: id(8), result: Err("rmIdentifier".into()) };
    assert_eq!(world.step(late), [""; 0], "a released container is no failure");
}

#[test]
fn a_container_above_the_maximum_is_given_up_at_once() {
    let mut world = World::new();
    world.manager.maximum = Resource::new(512, 1);
    let actions = world.step(Event::Declared { slots: 1 });
    assert!(actions[0].starts_with("give up: a TaskExecutor's container of 1024 MB"), "{actions:?}");
    assert_eq!(actions.len(), 1, "nothing is asked for: {actions:?}");
}

#[test]
fn more_containers_than_any_cluster_has_are_given_up_at_once() {
    let actions = World::new().step(Event::Declared { slots: u32::MAX });
    assert!(actions.len() == 1 && actions[0].starts_with("give up: the job needs 4294967295 slots"), "{actions:?}");
}

fn small_cluster() -> Event {
    let nodes = vec![Resource::new(8192, 8)];
    Event::ClusterInspected(Some(Cluster { nodes, queue_limit: None, counts_cores: true }))
}

#[test]
fn a_job_larger_than_the_cluster_is_given_up_after_the_grace_period() {
    let mut world = World::new();
    world.step(Event::Declared { slots: 9 });
    world.later(Duration::from_secs(4));
    world.step(Event::Allocated(vec![container(2, 0)]));
    assert_eq!(world.later(Duration::from_secs(4)), [""; 0], "something came");
    assert_eq!(world.later(Duration::from_secs(1)), ["inspect"]);
    assert_eq!(world.step(Event::ClusterInspected(None)), [""; 0], "nothing is known, so it waits");
    assert_eq!(world.step(Event::Answered), [""; 0]);
    assert_eq!(world.step(small_cluster()), [""; 0], "the ResourceManager may have been restarted");
    let actions = world.step(Event::Answered);
    assert!(actions[0].starts_with("give up: the job needs 9 containers of 1024 MB"), "{actions:?}");
    assert!(actions.contains(&"release 2".to_owned()) && actions.contains(&"ask 8 x0".to_owned()), "{actions:?}");
}

#[test]
fn a_restarted_resourcemanager_that_lacks_nodes_ends_no_job() {
    let mut world = World::new();
    world.step(Event::Declared { slots: 9 });
    assert_eq!(world.later(Duration::from_secs(5)), ["inspect"]);
    let none = Cluster { nodes: vec![], queue_limit: None, counts_cores: true };
    world.step(Event::ClusterInspected(Some(none)));
    assert_eq!(world.step(Event::Answered), [""; 0], "no node at all: it has only just begun");
    world.step(small_cluster());
    world.step(Event::Reregistered);
    assert_eq!(world.step(Event::Answered), [""; 0]);
    assert_eq!(world.later(Duration::from_secs(600)), [""; 0], "nor is it asked again");
}

#[test]
fn a_cluster_that_held_the_job_once_is_not_doubted_when_a_node_is_lost() {
    let mut world = World::running(2);
    world.step(lost(2));
    world.later(CAUSE_WAIT);
    assert_eq!(world.later(Duration::from_secs(600)), [""; 0]);
    assert_eq!(world.manager.next_timer(), None);
}

#[test]
fn a_refused_ask_is_given_up_with_yarns_text() {
    let mut world = World::new();
    world.step(Event::Declared { slots: 2 });
    let actions = world.step(Event::AskRefused("InvalidLabelResourceRequestException: gpu".into()));
    assert!(actions.len() == 1 && actions[0].contains("gpu"), "{actions:?}");
}

#[test]
fn containers_of_an_earlier_attempt_go_back_and_ones_own_stay() {
    let mut world = World::running(1);
    assert_eq!(world.step(Event::FoundAgain(vec![container(2, 0), container(50, 0)])), ["release 50"]);
    assert!(world.manager.owns(id(2)));
}
