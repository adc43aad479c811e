//! How many containers are wanted, and which are too many. Pure: a snapshot in, a plan out.
//!
//! Invariants, held by the tests below:
//! * R-1: containers and open wishes together are exactly as many as are wanted, unless busy containers alone are more;
//! * R-2: a busy container is never given back;
//! * R-3: a plan that was carried out leaves nothing to plan.

use std::num::NonZeroU32;
use std::time::Duration;

use flumen_hadoop::yarn::ContainerId;

/// One wish for one container: its `allocation_request_id` with the ResourceManager of YARN, which comes back in the
/// container that answers it. Never used twice, so that a late answer to a withdrawn wish is recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WishId(pub i64);

/// How far a container is.
///
/// ```text
/// allocated ─▶ launching ─▶ starting ─▶ registered
///     └────────────┴───────────┴────────────┴─▶ gone (given back, or reported as completed)
///                 former attempt ─▶ former ─┘
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Given by YARN; nothing was done with it.
    Allocated,
    /// Its NodeManager is being told what to run.
    Launching,
    /// Its NodeManager localises the files or the TaskExecutor is starting.
    Starting,
    /// An earlier attempt of the application started it; its TaskExecutor is to register with this one.
    Former,
    /// Its TaskExecutor has registered.
    Registered {
        /// True while a job has slots there. In a [`Snapshot`] also while it is kept for the next job.
        busy: bool,
    },
}

/// All that the decision depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Containers that are wanted altogether.
    pub wanted: u32,
    /// Wishes that YARN has not answered, in ascending order.
    pub wishes: Vec<WishId>,
    /// Containers that are ours and alive as far as is known.
    pub containers: Vec<(ContainerId, Stage)>,
}

/// What is to be done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Number of new wishes.
    pub asks: u32,
    /// Wishes to take back.
    pub withdraw: Vec<WishId>,
    /// Containers to start a TaskExecutor in.
    pub launch: Vec<ContainerId>,
    /// Containers to give back.
    pub release: Vec<ContainerId>,
}

/// Number of containers that `slots` need.
pub fn containers_for(slots: u32, slots_per_executor: NonZeroU32) -> u32 {
    slots.div_ceil(slots_per_executor.get())
}

/// TaskExecutors beyond those that jobs need at the moment, and the most that there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reserve {
    /// Whether they are there without any job, too: in a session.
    pub standing: bool,
    /// `slotmanager.number-of-slots.min`.
    pub slots_min: u32,
    /// `slotmanager.number-of-slots.max`.
    pub slots_max: u32,
    /// `slotmanager.redundant-taskmanager-num`: TaskExecutors that replace lost ones at once.
    pub spares: u32,
    /// `resourcemanager.taskmanager-timeout`: how long one that no job uses is kept.
    pub idle_timeout: Duration,
}

impl Reserve {
    /// That of an application of one job, without limits: TaskExecutors go as soon as they are not needed.
    pub fn none() -> Self {
        let idle_timeout = Duration::ZERO;
        Self { standing: false, slots_min: 0, slots_max: u32::MAX, spares: 0, idle_timeout }
    }

    /// The most slots that there can be.
    pub fn slots_possible(&self, per_executor: NonZeroU32) -> u32 {
        self.slots_max - self.slots_max % per_executor
    }

    /// Containers that are wanted when the jobs need that many slots: never more than allowed, and `spared` no reserve
    /// beyond what jobs need.
    pub fn containers(&self, slots: u32, per_executor: NonZeroU32, spared: bool) -> u32 {
        let most = self.slots_max / per_executor;
        let of_jobs = containers_for(slots, per_executor);
        if spared || (slots == 0 && !self.standing) {
            return of_jobs.min(most);
        }
        of_jobs.saturating_add(self.spares).max(containers_for(self.slots_min, per_executor)).min(most)
    }
}

/// Compares what is needed with what is there or asked for. What is too much goes in the order of what it has cost so
/// far: wishes (newest first), then containers, those furthest from working first.
pub fn plan(now: &Snapshot) -> Plan {
    let needed = now.wanted as usize;
    let have = now.containers.len() + now.wishes.len();
    let mut surplus = have.saturating_sub(needed);

    let withdraw: Vec<WishId> = now.wishes.iter().rev().take(surplus).copied().collect();
    surplus -= withdraw.len();

    let mut by_progress: Vec<(Stage, ContainerId)> = now.containers.iter().map(|(id, stage)| (*stage, *id)).collect();
    by_progress.sort_unstable();
    let release: Vec<ContainerId> = by_progress
        .iter()
        .filter(|(stage, _)| *stage != Stage::Registered { busy: true })
        .take(surplus)
        .map(|(_, id)| *id)
        .collect();

    let launch = now
        .containers
        .iter()
        .filter(|(id, stage)| *stage == Stage::Allocated && !release.contains(id))
        .map(|(id, _)| *id)
        .collect();
    Plan { asks: u32::try_from(needed.saturating_sub(have)).unwrap_or(u32::MAX), withdraw, launch, release }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::resource::testing::container_id as id;

    const IDLE: Stage = Stage::Registered { busy: false };
    const BUSY: Stage = Stage::Registered { busy: true };

    fn snapshot(slots: u32, per: u32, wishes: &[i64], stages: &[Stage]) -> Snapshot {
        Snapshot {
            wanted: containers_for(slots, NonZeroU32::new(per).unwrap()),
            wishes: wishes.iter().copied().map(WishId).collect(),
            containers: (2..).map(id).zip(stages.iter().copied()).collect(),
        }
    }

    #[test]
    fn the_plan_follows_from_the_snapshot() {
        use Stage::{Allocated, Launching, Starting};
        // what, snapshot (containers are numbered from 2), asks, withdrawn, launched, released
        type Row = (&'static str, Snapshot, u32, &'static [i64], &'static [i64], &'static [i64]);
        let rows: [Row; 12] = [
            ("nothing is needed and nothing there", snapshot(0, 1, &[], &[]), 0, &[], &[], &[]),
            ("all is missing", snapshot(3, 1, &[], &[]), 3, &[], &[], &[]),
            ("the last executor is only half needed", snapshot(3, 2, &[], &[]), 2, &[], &[], &[]),
            ("wishes are under way", snapshot(3, 1, &[0, 1, 2], &[]), 0, &[], &[], &[]),
            ("one came, two are under way", snapshot(3, 1, &[1, 2], &[Allocated]), 0, &[], &[2], &[]),
            ("a working container was lost", snapshot(2, 1, &[], &[BUSY]), 1, &[], &[], &[]),
            ("the newest wishes go first", snapshot(1, 1, &[4, 5, 6], &[]), 0, &[6, 5], &[], &[]),
            ("an excess container goes back unlaunched", snapshot(1, 1, &[], &[IDLE, Allocated]), 0, &[], &[], &[3]),
            ("wishes go before containers", snapshot(1, 1, &[7], &[Starting, Starting]), 0, &[7], &[], &[2]),
            ("the least advanced goes first", snapshot(1, 1, &[], &[IDLE, Starting, Launching]), 0, &[], &[], &[4, 3]),
            ("busy ones stay when nothing is needed", snapshot(0, 1, &[], &[BUSY, IDLE]), 0, &[], &[], &[3]),
            ("a job of the largest size", snapshot(u32::MAX, 1, &[], &[]), u32::MAX, &[], &[], &[]),
        ];
        for (what, now, asks, withdraw, launch, release) in rows {
            let expected = Plan {
                asks,
                withdraw: withdraw.iter().copied().map(WishId).collect(),
                launch: launch.iter().copied().map(id).collect(),
                release: release.iter().copied().map(id).collect(),
            };
            assert_eq!(plan(&now), expected, "{what}");
        }
    }

    #[test]
    fn a_reserve_is_kept_within_the_limits() {
        let two = NonZeroU32::new(2).unwrap();
        let session = Reserve { standing: true, slots_min: 3, slots_max: 9, spares: 1, ..Reserve::none() };
        let per_job = Reserve { standing: false, ..session };
        // slots of jobs, containers of a session, of a per-job application, while the reserve is spared
        for (slots, of_session, of_job, spared) in
            [(0, 2, 0, 0), (1, 2, 2, 1), (3, 3, 3, 2), (4, 3, 3, 2), (7, 4, 4, 4), (100, 4, 4, 4)]
        {
            assert_eq!(session.containers(slots, two, false), of_session, "{slots}");
            assert_eq!(per_job.containers(slots, two, false), of_job, "{slots}");
            assert_eq!(session.containers(slots, two, true), spared, "{slots}");
        }
        assert_eq!(session.slots_possible(two), 8);
        assert_eq!(Reserve::none().containers(u32::MAX, NonZeroU32::MIN, false), u32::MAX);
    }

    fn stage() -> impl Strategy<Value = Stage> {
        prop_oneof![Just(Stage::Allocated), Just(Stage::Launching), Just(Stage::Starting), Just(IDLE), Just(BUSY)]
    }

    fn carried_out(mut now: Snapshot, plan: &Plan) -> Snapshot {
        now.wishes.retain(|wish| !plan.withdraw.contains(wish));
        let first = now.wishes.last().map_or(1000, |wish| wish.0 + 1);
        now.wishes.extend((first..).take(plan.asks as usize).map(WishId));
        now.containers.retain(|(id, _)| !plan.release.contains(id));
        for (id, stage) in &mut now.containers {
            if plan.launch.contains(id) {
                *stage = Stage::Launching;
            }
        }
        now
    }

    proptest! {
        #[test]
        fn no_snapshot_leads_to_more_or_fewer_containers_than_needed(
            slots in 0u32..40, per in 1u32..5, wishes in 0i64..20, stages in proptest::collection::vec(stage(), 0..20),
        ) {
            let now = snapshot(slots, per, &(0..wishes).collect::<Vec<_>>(), &stages);
            let plan_now = plan(&now);
            let busy = stages.iter().filter(|stage| **stage == BUSY).count();
            let then = carried_out(now, &plan_now);
            let needed = containers_for(slots, NonZeroU32::new(per).unwrap()) as usize;
            prop_assert_eq!(then.wishes.len() + then.containers.len(), needed.max(busy), "R-1");
            prop_assert_eq!(then.containers.iter().filter(|(_, stage)| *stage == BUSY).count(), busy, "R-2");
            prop_assert_eq!(plan(&then), Plan::default(), "R-3");
        }
    }
}
