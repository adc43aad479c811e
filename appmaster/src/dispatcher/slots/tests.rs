//! The pool by example, and against random histories.

use proptest::prelude::*;

use super::*;

/// The time of all that is not about patience.
const NOW: Timestamp = Timestamp(0);
/// Until then jobs are patient, if nothing else is said.
const LATER: Timestamp = Timestamp(1000);

fn id(n: usize) -> ExecutorId {
    ExecutorId(n.to_string())
}

fn pool(slots: &[u32]) -> SlotPool {
    let mut pool = SlotPool::default();
    slots.iter().enumerate().for_each(|(n, slots)| pool.add(id(n), *slots));
    pool
}

fn submit(pool: &mut SlotPool, job: u128, slots: u32) {
    pool.declare(JobId(job), slots);
    pool.ready(JobId(job), LATER);
}

/// `job:executor=slots`
fn allotted_at(pool: &mut SlotPool, now: Timestamp) -> Vec<String> {
    let brief = |grant: Grant| format!("{}:{}={}", grant.job.0, grant.executor, grant.slots);
    pool.allot(now).into_iter().map(brief).collect()
}

fn allotted(pool: &mut SlotPool) -> Vec<String> {
    allotted_at(pool, NOW)
}

#[test]
fn jobs_share_executors_and_leave_idle_ones_alone() {
    let mut pool = pool(&[2, 4, 4]);
    submit(&mut pool, 1, 3);
    assert_eq!(allotted(&mut pool), ["1:1=3"], "the whole job fits into one worker");
    submit(&mut pool, 2, 1);
    assert_eq!(allotted(&mut pool), ["2:1=1"], "the fullest that has room");
    submit(&mut pool, 3, 6);
    assert_eq!(allotted(&mut pool), ["3:2=4", "3:0=2"], "as few workers as possible");
    assert_eq!((pool.used(&id(1)), pool.of(JobId(1), &id(1)), pool.declared()), (4, 3, 10));
    assert_eq!(pool.waiting(), []);
}

#[test]
fn whoever_came_first_is_served_first_and_then_whoever_follows() {
    let mut pool = pool(&[2]);
    pool.declare(JobId(1), 1);
    submit(&mut pool, 2, 2);
    submit(&mut pool, 3, 1);
    assert_eq!(allotted(&mut pool), ["2:0=2"], "the first one is not ready yet");
    pool.ready(JobId(1), LATER);
    assert_eq!(allotted(&mut pool), [""; 0]);
    assert_eq!(pool.waiting(), [(JobId(1), 1), (JobId(3), 1)]);
    pool.add(id(1), 1);
    assert_eq!(allotted(&mut pool), ["1:1=1"]);
    pool.forget(JobId(2));
    assert_eq!(allotted(&mut pool), ["3:0=1"]);
}

#[test]
fn a_large_job_holds_nothing_while_it_waits_and_is_passed_only_as_long_as_it_is_patient() {
    let mut pool = pool(&[2]);
    submit(&mut pool, 1, 3);
    submit(&mut pool, 2, 1);
    assert_eq!(allotted(&mut pool), ["2:0=1"], "what is too little for the first is enough for the second");
    submit(&mut pool, 3, 1);
    assert_eq!(allotted_at(&mut pool, LATER), [""; 0], "now what is free is kept");
    pool.add(id(1), 1);
    assert_eq!(allotted_at(&mut pool, LATER), [""; 0]);
    pool.forget(JobId(2));
    assert_eq!(allotted_at(&mut pool, LATER), ["1:0=2", "1:1=1"]);
    pool.forget(JobId(1));
    assert_eq!(allotted_at(&mut pool, LATER), ["3:1=1"], "it goes on behind it");
}

#[test]
fn a_job_that_has_begun_takes_what_there_is_before_all_that_have_not() {
    let mut pool = pool(&[2, 2]);
    submit(&mut pool, 1, 1);
    submit(&mut pool, 2, 3);
    assert_eq!(allotted(&mut pool), ["1:0=1", "2:1=2", "2:0=1"]);
    submit(&mut pool, 3, 1);
    pool.remove(&id(1));
    pool.add(id(2), 1);
    assert_eq!(allotted_at(&mut pool, LATER), ["2:2=1"], "a part of what it lost");
    pool.forget(JobId(1));
    assert_eq!(allotted_at(&mut pool, LATER), ["2:0=2"]);
    pool.add(id(3), 1);
    assert_eq!(allotted_at(&mut pool, LATER), ["3:3=1"]);
}

#[test]
fn more_slots_on_the_same_executor_are_told_as_their_sum() {
    let mut pool = pool(&[3, 1]);
    submit(&mut pool, 1, 1);
    submit(&mut pool, 2, 3);
    assert_eq!(allotted(&mut pool), ["1:1=1", "2:0=3"]);
    pool.remove(&id(1));
    pool.forget(JobId(2));
    submit(&mut pool, 4, 2);
    assert_eq!(allotted(&mut pool), ["1:0=1", "4:0=2"]);
    pool.declare(JobId(1), 3);
    pool.forget(JobId(4));
    assert_eq!(allotted(&mut pool), ["1:0=3"]);
    assert_eq!(pool.turned(), [(id(0), true)]);
    pool.forget(JobId(1));
    assert_eq!(pool.turned(), [(id(0), false)]);
    assert_eq!(pool.turned(), []);
}

#[test]
fn a_lost_executor_gives_nothing_and_its_slots_are_missing() {
    let mut pool = pool(&[2, 2]);
    submit(&mut pool, 1, 1);
    submit(&mut pool, 2, 1);
    allotted(&mut pool);
    pool.close(&id(0));
    submit(&mut pool, 3, 1);
    assert_eq!(allotted(&mut pool), ["3:1=1"]);
    assert_eq!(pool.remove(&id(0)), [JobId(1), JobId(2)]);
    assert_eq!(pool.waiting(), [(JobId(1), 1), (JobId(2), 1)]);
    pool.settle_for_less(JobId(2));
    assert_eq!(pool.waiting(), [(JobId(1), 1)]);
}

#[derive(Debug, Clone)]
enum Step {
    Submit(u128, u32),
    Forget(u128),
    Settle(u128),
    Add(usize, u32),
    Close(usize),
    Remove(usize),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..6u128, 0..8u32).prop_map(|(job, slots)| Step::Submit(job, slots)),
        1 => (0..6u128).prop_map(Step::Forget),
        1 => (0..6u128).prop_map(Step::Settle),
        2 => (0..6usize, 0..5u32).prop_map(|(n, slots)| Step::Add(n, slots)),
        1 => (0..6usize).prop_map(Step::Close),
        1 => (0..6usize).prop_map(Step::Remove),
        1 => (0..700u64).prop_map(Step::Wait),
    ]
}

/// What is free on usable TaskExecutors.
fn free(pool: &SlotPool) -> u32 {
    let usable = pool.offers.iter().filter(|offer| offer.usable);
    usable.map(|offer| offer.slots - pool.used(&offer.executor)).sum()
}

proptest! {
    #[test]
    fn no_slot_is_given_twice_and_none_is_held_in_vain(steps in proptest::collection::vec(step(), 0..60)) {
        let mut pool = SlotPool::default();
        let mut now = NOW;
        // What jobs have, as they were told.
        let mut told: BTreeMap<(JobId, ExecutorId), u32> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Submit(job, slots) if pool.claims.iter().all(|claim| claim.job != JobId(job)) => {
                    pool.declare(JobId(job), slots);
                    pool.ready(JobId(job), Timestamp(now.0 + 1000));
                }
                Step::Add(n, slots) if pool.offers.iter().all(|offer| offer.executor != id(n)) => pool.add(id(n), slots),
                Step::Submit(..) | Step::Add(..) => {}
                Step::Forget(job) => {
                    pool.forget(JobId(job));
                    told.retain(|(other, _), _| *other != JobId(job));
                }
                Step::Settle(job) => pool.settle_for_less(JobId(job)),
                Step::Close(n) => pool.close(&id(n)),
                Step::Remove(n) => {
                    let losers = pool.remove(&id(n));
                    let before = told.len();
                    told.retain(|(_, executor), _| *executor != id(n));
                    prop_assert_eq!(losers.len(), before - told.len());
                }
                Step::Wait(time) => now = Timestamp(now.0 + time),
            }
            let had_begun: Vec<JobId> = pool.claims.iter().filter(|claim| claim.begun).map(|claim| claim.job).collect();
            for Grant { job, executor, slots } in pool.allot(now) {
                let before = told.insert((job, executor), slots);
                prop_assert!(before.is_none_or(|before| before < slots), "SP-3");
            }
            for offer in &pool.offers {
                let used: u32 = told.iter().filter(|((_, e), _)| *e == offer.executor).map(|(_, slots)| slots).sum();
                prop_assert!(used <= offer.slots, "SP-1");
                prop_assert_eq!(used, pool.used(&offer.executor));
            }
            for claim in &pool.claims {
                let of_job = told.iter().filter(|((job, _), _)| *job == claim.job);
                prop_assert_eq!(claim.given.iter().map(|(e, s)| ((claim.job, e.clone()), *s)).collect::<Vec<_>>(),
                    of_job.map(|(key, slots)| (key.clone(), *slots)).collect::<Vec<_>>(), "SP-3");
                prop_assert!(claim.has() <= claim.declared, "SP-2");
                let all_or_nothing = claim.has() == 0 || claim.lacks() == 0;
                prop_assert!(had_begun.contains(&claim.job) || all_or_nothing, "SP-2: {:?}", claim);
            }
            let could_begin = |claim: &&Claim| claim.waits() && (claim.begun || claim.lacks() <= free(&pool));
            let kept = pool.claims.iter().any(|claim| {
                claim.waits() && !claim.begun && claim.patient_until.is_some_and(|until| until <= now)
            });
            let someone = pool.claims.iter().find(could_begin);
            prop_assert!(free(&pool) == 0 || kept || someone.is_none(), "SP-4: {:?}", someone);
            prop_assert_eq!(pool.allot(now), [], "what is given is given at once");
        }
    }

    /// Jobs come without end and each runs for a while; one needs everything there is.
    #[test]
    fn a_job_of_any_size_that_fits_begins_once_its_patience_and_the_jobs_before_it_have_ended(
        executors in proptest::collection::vec(1..4u32, 1..4),
        arrivals in proptest::collection::vec((1..6u32, 1..20u64), 150),
        share in 1..=100u32,
        arrives in 0..20usize,
    ) {
        const PATIENCE: u64 = 40;
        let total: u32 = executors.iter().sum();
        let mut pool = pool(&executors);
        let wanted = (total * share).div_ceil(100);
        let large = JobId(u128::MAX);
        let mut ends: Vec<(JobId, u64)> = Vec::new();
        let mut lengths = BTreeMap::new();
        let mut began = None;
        for (time, (slots, length)) in arrivals.into_iter().enumerate() {
            let now = Timestamp(time as u64);
            ends.retain(|(job, end)| {
                let over = *end <= now.0;
                if over { pool.forget(*job); }
                !over
            });
            if time == arrives {
                pool.declare(large, wanted);
                pool.ready(large, Timestamp(now.0 + PATIENCE));
            }
            let job = JobId(time as u128);
            // Those that are too large for what there is give up as they would by their time-out: they are not submitted.
            if slots <= total {
                pool.declare(job, slots);
                pool.ready(job, Timestamp(now.0 + PATIENCE));
                lengths.insert(job, length);
            }
            for Grant { job, .. } in pool.allot(now) {
                if job == large {
                    began.get_or_insert(now.0);
                } else if let Some(length) = lengths.remove(&job) {
                    ends.push((job, now.0 + length));
                }
            }
        }
        // At most `arrives` jobs were before it, each of which may wait for its own patience and run for 20.
        let latest = arrives as u64 + PATIENCE + 20 * (arrives as u64 + 1);
        if latest < 150 {
            prop_assert!(began.is_some_and(|began| began <= latest), "SP-5: {:?} of {}", began, latest);
        }
    }
}
