use std::num::NonZeroU32;

use super::*;
use crate::resource::slots::Reserve;
use crate::resource::testing::{container, container_id as id, status};

const LIMIT: Duration = Duration::from_secs(300);

fn profile() -> Profile {
    Profile {
        container: Resource::new(1024, 1),
        slots: NonZeroU32::MIN,
        reserve: Reserve::none(),
        node_label: None,
        failures_per_minute_max: 2.0,
        registration_timeout: LIMIT,
        former_timeout: None,
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
        Self::with(Reserve::none())
    }

    fn with(reserve: Reserve) -> Self {
        let profile = Profile { reserve, ..profile() };
        let manager = ResourceManager::new(profile, Resource::new(8192, 8), "root.default".into());
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
        Self::new().brought_up(slots)
    }

    fn brought_up(self, slots: u32) -> Self {
        let mut world = self;
        world.step(declared(slots));
        for n in 0..i64::from(slots) {
            world.step(Event::Allocated(vec![container(n + 2, n)]));
            world.step(Event::Launched { id: id(n + 2), result: Ok(()) });
            world.step(Event::ExecutorRegistered(id(n + 2)));
            world.step(Event::Busy { id: id(n + 2), busy: true });
        }
        world.step(given(slots));
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
        Action::TellStandby { .. } | Action::DismissStandby(_) => "standby".into(),
        Action::GiveUp { needing: 0, failure } => format!("give up: {failure}"),
        Action::GiveUp { needing, failure } => format!("give up {needing}: {failure}"),
    }
}

/// Slots of one job that waits for them.
fn declared(slots: u32) -> Event {
    Event::Declared { slots, largest: slots }
}

/// Slots of jobs that have theirs.
fn given(slots: u32) -> Event {
    Event::Declared { slots, largest: 0 }
}

fn lost(n: i64) -> Event {
    Event::ExecutorLost { id: id(n), failure: Failure::new(Blame::Outside, "the connection broke") }
}

#[test]
fn declared_slots_become_registered_executors() {
    let mut world = World::new();
    assert_eq!(world.step(declared(2)), ["ask 0 x1", "ask 1 x1"]);
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
    assert_eq!(world.step(declared(0)), ["release 2"]);
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
    world.step(declared(1));
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
    world.step(declared(1));
    for n in 0..9 {
        world.step(Event::Allocated(vec![container(n + 2, n)]));
        let actions = world.step(Event::Completed(vec![status(n + 2, -102, "")]));
        assert_eq!(actions, [format!("ask {} x1", n + 1)]);
    }
}

#[test]
fn an_executor_that_does_not_register_in_time_is_replaced() {
    let mut world = World::new();
    world.step(declared(1));
    world.step(Event::Allocated(vec![container(2, 0)]));
    world.step(Event::Launched { id: id(2), result: Ok(()) });
    assert_eq!(world.manager.next_timer(), Some(world.now + LIMIT));
    assert_eq!(world.later(LIMIT), ["release 2", "ask 1 x1"]);
}

#[test]
fn what_was_not_started_before_a_restart_of_yarn_is_asked_for_again() {
    let mut world = World::running(1);
    world.step(declared(3));
    world.step(Event::Allocated(vec![container(8, 1)]));
    assert_eq!(world.step(Event::Reregistered), ["release 8", "ask 3 x1"]);
    let late = Event::Launched { id: id(8), result: Err("rmIdentifier".into()) };
    assert_eq!(world.step(late), [""; 0], "a released container is no failure");
}

#[test]
fn a_container_above_the_maximum_is_given_up_at_once() {
    let mut world = World::new();
    world.manager.maximum = Resource::new(512, 1);
    let actions = world.step(declared(1));
    assert!(actions[0].starts_with("give up: a TaskExecutor's container of 1024 MB"), "{actions:?}");
    assert_eq!(actions.len(), 1, "nothing is asked for: {actions:?}");
}

#[test]
fn more_containers_than_any_cluster_has_are_given_up_at_once() {
    let actions = World::new().step(declared(u32::MAX));
    assert!(
        actions.len() == 1 && actions[0].starts_with("give up 4294967295: the job needs 4294967295 slots"),
        "{actions:?}"
    );
}

fn small_cluster() -> Event {
    let nodes = vec![Resource::new(8192, 8)];
    Event::ClusterInspected(Some(Cluster { nodes, queue_limit: None, counts_cores: true }))
}

#[test]
fn a_job_larger_than_the_cluster_is_given_up_after_the_grace_period() {
    let mut world = World::new();
    world.step(declared(9));
    world.later(Duration::from_secs(4));
    world.step(Event::Allocated(vec![container(2, 0)]));
    assert_eq!(world.later(Duration::from_secs(4)), [""; 0], "something came");
    assert_eq!(world.later(Duration::from_secs(1)), ["inspect"]);
    assert_eq!(world.step(Event::ClusterInspected(None)), [""; 0], "nothing is known, so it waits");
    assert_eq!(world.step(Event::Answered), [""; 0]);
    assert_eq!(world.step(small_cluster()), [""; 0], "the ResourceManager may have been restarted");
    let actions = world.step(Event::Answered);
    assert!(actions[0].starts_with("give up 9: the job needs 9 containers of 1024 MB"), "{actions:?}");
    let actions = world.step(declared(0));
    assert!(actions.contains(&"release 2".to_owned()) && actions.contains(&"ask 8 x0".to_owned()), "{actions:?}");
}

#[test]
fn a_restarted_resourcemanager_that_lacks_nodes_ends_no_job() {
    let mut world = World::new();
    world.step(declared(9));
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
    world.step(declared(2));
    let actions = world.step(Event::AskRefused("InvalidLabelResourceRequestException: gpu".into()));
    assert!(actions.len() == 1 && actions[0].contains("gpu"), "{actions:?}");
}

#[test]
fn containers_of_an_earlier_attempt_go_back_and_ones_own_stay() {
    let mut world = World::running(1);
    assert_eq!(world.step(Event::FoundAgain(vec![container(2, 0), container(50, 0)])), ["release 50"]);
    assert!(world.manager.owns(id(2)));
}

fn session() -> Reserve {
    Reserve { standing: true, idle_timeout: Duration::from_secs(30), ..Reserve::none() }
}

#[test]
fn a_session_keeps_idle_executors_for_the_next_job_for_a_while() {
    let mut world = World::with(session()).brought_up(2);
    world.step(given(0));
    world.step(Event::Busy { id: id(2), busy: false });
    world.later(Duration::from_secs(20));
    assert_eq!(world.step(Event::Busy { id: id(3), busy: false }), [""; 0]);
    assert_eq!(world.manager.next_timer(), Some(world.now + Duration::from_secs(10)));
    world.later(Duration::from_secs(9));
    assert_eq!(world.step(Event::Busy { id: id(2), busy: true }), [""; 0], "the next job needs one of them");
    world.step(given(1));
    assert_eq!(world.later(Duration::from_secs(20)), [""; 0]);
    assert_eq!(world.later(Duration::from_secs(1)), ["release 3"]);
    world.step(given(0));
    world.step(Event::Busy { id: id(2), busy: false });
    assert_eq!(world.later(Duration::from_secs(30)), ["release 2"]);
    assert_eq!(world.manager.next_timer(), None);
}

#[test]
fn idle_executors_within_the_minimum_stay() {
    let mut world = World::with(Reserve { slots_min: 1, ..session() });
    assert_eq!(world.later(Duration::ZERO), ["ask 0 x1"], "there before any job");
    world = world.brought_up(2);
    world.step(given(0));
    for n in [2, 3] {
        world.step(Event::Busy { id: id(n), busy: false });
    }
    assert_eq!(world.later(Duration::from_secs(30)), ["release 2"]);
    assert_eq!(world.later(Duration::from_secs(3000)), [""; 0]);
    assert_eq!(world.manager.next_timer(), None);
}

#[test]
fn a_spare_executor_replaces_a_lost_one_and_is_replaced_itself() {
    let mut world = World::with(Reserve { spares: 1, ..session() });
    world.step(declared(1));
    for n in 0..2 {
        world.step(Event::Allocated(vec![container(n + 2, n)]));
        world.step(Event::ExecutorRegistered(id(n + 2)));
    }
    world.step(Event::Busy { id: id(2), busy: true });
    world.step(given(1));
    assert_eq!(world.later(Duration::from_secs(300)), [""; 0], "it is idle, and stays");
    assert_eq!(world.step(lost(2)), ["ask 2 x1"]);
}

#[test]
fn a_job_above_the_limit_of_slots_is_given_up_and_others_wait_for_their_turn() {
    let mut world = World::with(Reserve { slots_max: 3, ..session() });
    let actions = world.step(declared(4));
    assert!(actions.len() == 1 && actions[0].starts_with("give up 4: the job needs 4 slots"), "{actions:?}");
    assert!(actions[0].contains("slotmanager.number-of-slots.max"), "{actions:?}");
    assert_eq!(world.step(Event::Declared { slots: 5, largest: 3 }), ["ask 0 x1", "ask 1 x1", "ask 2 x1"]);
}

#[test]
fn a_job_that_waits_for_others_to_end_is_compared_with_an_empty_cluster() {
    let mut world = World::with(session()).brought_up(6);
    world.step(Event::Declared { slots: 9, largest: 3 });
    world.later(Duration::from_secs(5));
    world.step(small_cluster());
    assert_eq!(world.step(Event::Answered), [""; 0], "it fits once the other is over");
    world.step(Event::Declared { slots: 15, largest: 9 });
    assert_eq!(world.later(Duration::from_secs(5)), ["inspect"]);
    world.step(small_cluster());
    let actions = world.step(Event::Answered);
    assert!(actions[0].starts_with("give up 9: the job needs 9 containers"), "{actions:?}");
}

#[test]
fn a_reserve_that_fails_again_and_again_is_let_be_for_a_while_and_jobs_are_served() {
    let mut world = World::with(Reserve { slots_min: 1, ..session() });
    world.later(Duration::ZERO);
    for n in 0..3 {
        world.step(Event::Allocated(vec![container(n + 2, n)]));
        world.step(Event::Completed(vec![status(n + 2, 1, "")]));
    }
    assert_eq!(world.step(given(0)), [""; 0]);
    assert_eq!(world.step(declared(1)), ["ask 3 x1"]);
    assert_eq!(world.step(declared(0)), ["ask 3 x0"]);
    assert_eq!(world.later(Duration::from_secs(60)), ["ask 4 x1"]);
}

/// A second attempt that takes jobs over; what the first left has ten seconds to register.
fn second_attempt(reserve: Reserve) -> World {
    let mut world = World::with(reserve);
    world.manager.profile.former_timeout = Some(Duration::from_secs(10));
    world.manager.keep_everything();
    world
}

#[test]
fn containers_of_an_earlier_attempt_are_kept_and_counted_until_their_jobs_have_them() {
    let mut world = second_attempt(Reserve::none());
    assert_eq!(world.step(declared(2)), ["ask 0 x1", "ask 1 x1"]);
    let former = Event::FoundAgain(vec![container(2, 7), container(3, 8), container(4, 9)]);
    assert_eq!(world.step(former.clone()), ["ask 1 x0", "ask 0 x0"], "they are as good as new ones");
    assert_eq!(world.step(former), [""; 0], "named again");
    assert!(world.manager.awaits_former() && world.manager.owns(id(2)));
    for n in [2, 3, 4] {
        assert_eq!(world.step(Event::ExecutorRegistered(id(n))), [""; 0]);
    }
    assert!(!world.manager.awaits_former());
    for n in [2, 3] {
        assert_eq!(world.step(Event::Busy { id: id(n), busy: true }), [""; 0]);
    }
    assert_eq!(world.step(Event::Divided), ["release 4"], "nobody uses it");
}

#[test]
fn the_container_of_a_former_applicationmaster_that_is_only_silent_is_not_waited_for() {
    let mut world = second_attempt(Reserve::none());
    let masters = Container { priority: 0, ..container(1, 0) };
    assert_eq!(world.step(Event::FoundAgain(vec![masters, container(2, 7)])), ["release 1"]);
    world.step(Event::ExecutorRegistered(id(2)));
    assert!(!world.manager.awaits_former());
}

#[test]
fn a_former_container_that_does_not_report_is_replaced() {
    let mut world = second_attempt(Reserve::none());
    world.step(Event::FoundAgain(vec![container(2, 7), container(3, 8)]));
    assert_eq!(world.step(declared(2)), [""; 0]);
    assert_eq!(world.step(Event::Completed(vec![status(3, -100, "the node is lost")])), ["ask 0 x1"]);
    assert_eq!(world.manager.next_timer(), Some(world.now + Duration::from_secs(5)), "the check of the cluster");
    world.later(Duration::from_secs(5));
    assert!(world.manager.awaits_former());
    assert_eq!(world.later(Duration::from_secs(5)), ["release 2", "ask 1 x1"]);
    assert!(!world.manager.awaits_former() && !world.manager.owns(id(2)));
}

#[test]
fn former_containers_that_end_are_no_failed_starts() {
    let mut world = second_attempt(Reserve::none());
    let former: Vec<i64> = (2..10).collect();
    world.step(Event::FoundAgain(former.iter().map(|n| container(*n, *n)).collect()));
    for n in former {
        assert_eq!(world.step(Event::Completed(vec![status(n, 1, "killed")])), [""; 0]);
    }
}
