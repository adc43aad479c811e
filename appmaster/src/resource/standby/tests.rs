use super::*;
use crate::resource::manager::Profile;
use crate::resource::manager::ResourceManager;
use crate::resource::slots::Reserve;
use crate::resource::testing::{container, container_id as id, status};

const MINUTE: Duration = Duration::from_secs(60);

/// A manager that is to have a standby on another node than `node9`, and a clock that the test moves.
struct World {
    manager: ResourceManager,
    now: Instant,
}

/// Container number `n` for the standby's wish of that number.
fn standbys(n: i64, wish: i64) -> Container {
    Container { priority: PRIORITY, ..container(n, wish) }
}

impl World {
    fn new() -> Self {
        let profile = Profile {
            container: Resource::new(1024, 1),
            slots: std::num::NonZeroU32::MIN,
            reserve: Reserve::none(),
            node_label: None,
            failures_per_minute_max: 2.0,
            registration_timeout: 5 * MINUTE,
            former_timeout: Some(Duration::from_secs(10)),
            fit_grace: MINUTE,
            appmaster: Resource::new(256, 1),
            user: "alice".into(),
        };
        let mut manager = ResourceManager::new(profile, Resource::new(8192, 8), "root.default".into());
        manager.want_standby(Wanted {
            container: Resource::new(256, 1),
            node_label: None,
            own_host: "node9".into(),
            registration_timeout: 5 * MINUTE,
            former_timeout: Duration::from_secs(10),
        });
        Self { manager, now: Instant::now() }
    }

    fn step(&mut self, event: Event) -> Vec<String> {
        self.manager.step(self.now, event).iter().map(brief).collect()
    }

    fn later(&mut self, wait: Duration) -> Vec<String> {
        self.now += wait;
        self.step(Event::Tick)
    }

    /// One whose standby, in container 2, is registered.
    fn standing_by() -> Self {
        let mut world = Self::new();
        assert_eq!(world.step(Event::Tick), ["ask 0 x1 priority 2 256 MB, 1 vcores"]);
        assert!(world.manager.awaits_yarn());
        assert_eq!(world.step(Event::Allocated(vec![standbys(2, 0)])), ["launch 2"]);
        world.step(Event::Launched { id: id(2), result: Ok(()) });
        assert_eq!(world.step(Event::StandbyRegistered(id(2))), [""; 0]);
        assert!(!world.manager.awaits_yarn());
        world
    }
}

fn brief(action: &Action) -> String {
    let numbers = |ids: &[ContainerId]| ids.iter().map(|id| id.sequence().to_string()).collect::<Vec<_>>().join(" ");
    match action {
        Action::Ask(ask) => {
            let ContainerAsk { allocation_request_id, count, priority, capability, .. } = ask;
            format!("ask {allocation_request_id} x{count} priority {priority} {capability}")
        }
        Action::Release { id, .. } => format!("release {}", id.sequence()),
        Action::Launch(container) => format!("launch {}", container.id.sequence()),
        Action::TellStandby { here, gone, .. } => {
            let here: Vec<ContainerId> = here.iter().map(|container| container.id).collect();
            format!("tell +{} -{}", numbers(&here), numbers(gone))
        }
        Action::DismissStandby(id) => format!("dismiss {}", id.sequence()),
        other => format!("{other:?}"),
    }
}

#[test]
fn a_standby_knows_the_taskexecutors_that_a_next_leader_would_take_over() {
    let mut world = World::standing_by();
    world.step(Event::Declared { slots: 2, largest: 2 });
    world.step(Event::Allocated(vec![container(3, 1), container(4, 2)]));
    assert_eq!(world.step(Event::ExecutorRegistered(id(3))), ["tell +3 -"], "the other has not registered yet");
    assert_eq!(world.step(Event::Tick), [""; 0], "it is told once");
    assert_eq!(world.step(Event::ExecutorRegistered(id(4))), ["tell +4 -"]);
    world.step(Event::Busy { id: id(3), busy: true });
    let told = world.step(Event::Completed(vec![status(3, 137, "")]));
    assert!(told.contains(&"tell + -3".to_owned()), "{told:?}");
    world.step(Event::StandbyLost(id(2)));
    assert_eq!(world.step(Event::StandbyRegistered(id(2))), ["tell +4 -"], "all of it after it has come back");
}

#[test]
fn a_standby_that_is_lost_is_replaced_at_once_and_one_that_is_lost_again_and_again_ever_later() {
    let mut world = World::standing_by();
    world.now += MINUTE;
    assert_eq!(world.step(Event::StandbyLost(id(2))), [""; 0], "its connection may have broken only");
    assert!(world.manager.awaits_yarn(), "YARN may tell of its end");
    assert_eq!(world.step(Event::Completed(vec![status(2, 137, "")])), ["ask 1 x1 priority 2 256 MB, 1 vcores"]);
    for (n, wish, pause) in [(3, 1, 1), (4, 2, 2), (5, 3, 4)] {
        assert_eq!(world.step(Event::Allocated(vec![standbys(n, wish)])), [format!("launch {n}")]);
        assert_eq!(world.step(Event::Launched { id: id(n), result: Err("no".into()) }), [format!("release {n}")]);
        let due = world.manager.next_timer().unwrap();
        assert_eq!(due - world.now, Duration::from_secs(pause));
        let asked = world.later(Duration::from_secs(pause));
        assert_eq!(asked, [format!("ask {} x1 priority 2 256 MB, 1 vcores", wish + 1)]);
    }
}

#[test]
fn a_standby_that_does_not_come_back_is_given_up_with_its_container() {
    let mut world = World::standing_by();
    world.now += MINUTE;
    world.step(Event::StandbyLost(id(2)));
    assert_eq!(world.later(RETURN_LIMIT), ["release 2", "ask 1 x1 priority 2 256 MB, 1 vcores"]);
    assert_eq!(world.step(Event::StandbyRegistered(id(2))), ["dismiss 2"]);
    assert_eq!(world.step(Event::Allocated(vec![standbys(7, 99)])), ["release 7"], "of a wish that is none");
}

#[test]
fn the_standby_of_a_former_attempt_is_recognised_and_no_second_one_kept() {
    let mut world = World::new();
    world.step(Event::Tick);
    let found = world.step(Event::FoundAgain(vec![standbys(2, 7), container(3, 8), standbys(4, 9)]));
    assert_eq!(found, ["ask 0 x0 priority 2 256 MB, 1 vcores", "release 4"]);
    assert!(world.manager.owns(id(3)) && !world.manager.owns(id(2)), "it has no slots");
    assert_eq!(world.step(Event::StandbyRegistered(id(2))), ["tell +3 -"], "what is to report counts as well");
}

#[test]
fn another_node_than_the_leaders_is_preferred_and_not_insisted_on() {
    let mut world = World::new();
    world.step(Event::Tick);
    for n in 2..4 {
        let mut near = standbys(n, n - 2);
        near.node.host = "node9".into();
        assert_eq!(world.step(Event::Allocated(vec![near])), [format!("release {n}")]);
        world.later(PAUSE_FIRST);
    }
    let mut near = standbys(4, 2);
    near.node.host = "node9".into();
    assert_eq!(world.step(Event::Allocated(vec![near])), ["launch 4"]);
}

#[test]
fn a_wish_that_a_full_cluster_does_not_grant_is_no_reason_for_frequent_heartbeats() {
    let mut world = World::new();
    world.step(Event::Tick);
    assert!(world.manager.awaits_yarn());
    world.later(FREQUENT);
    assert!(!world.manager.awaits_yarn());
}

#[test]
fn a_container_is_described_to_a_standby_as_far_as_it_matters() {
    let told = known(described(&container(3, 8))).unwrap();
    assert_eq!(told, Container { allocation_request_id: -1, ..container(3, 8) });
    assert_eq!(known(KnownContainer { id: "x".into(), ..described(&container(3, 8)) }), None);
}
