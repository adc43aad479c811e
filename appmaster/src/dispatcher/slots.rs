//! Which slots of which TaskExecutor belong to which job. Pure.
//!
//! First come, first served: the job that has waited longest gets what is free, even if that is not all it needs, and only
//! what it does not need is left for the next one. So no job is overtaken for ever by smaller ones.
//!
//! Invariants, held by the tests below:
//! * SP-1: no TaskExecutor gives more slots than it has;
//! * SP-2: what a job has is never more than it declared, and while one waits no usable slot is free;
//! * SP-3: a job loses slots only with their TaskExecutor, or when it is over.

use std::collections::BTreeMap;

use flumen_model::ids::{ExecutorId, JobId};

/// A registered TaskExecutor.
#[derive(Debug)]
struct Offer {
    executor: ExecutorId,
    slots: u32,
    /// False once its connection is lost: its slots are given to nobody any more.
    usable: bool,
    /// Whether the ResourceManager was told that jobs have slots there.
    told_busy: bool,
}

/// A job's wish and what it has of it.
#[derive(Debug)]
struct Claim {
    job: JobId,
    declared: u32,
    /// Whether it can take slots already.
    ready: bool,
    given: BTreeMap<ExecutorId, u32>,
}

impl Claim {
    fn has(&self) -> u32 {
        self.given.values().sum()
    }

    fn lacks(&self) -> u32 {
        self.declared.saturating_sub(self.has())
    }
}

/// Slots that a job has on a TaskExecutor from now on: all of them, those that it had before included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) job: JobId,
    pub(super) executor: ExecutorId,
    pub(super) slots: u32,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct SlotPool {
    /// In the order of registration.
    offers: Vec<Offer>,
    /// In the order of submission.
    claims: Vec<Claim>,
}

impl SlotPool {
    /// A job needs that many slots, and gets none before [`ready`](Self::ready).
    pub(super) fn declare(&mut self, job: JobId, slots: u32) {
        match self.claims.iter_mut().find(|claim| claim.job == job) {
            Some(claim) => claim.declared = slots,
            None => self.claims.push(Claim { job, declared: slots, ready: false, given: BTreeMap::new() }),
        }
    }

    /// The job can take slots.
    pub(super) fn ready(&mut self, job: JobId) {
        self.claim_mut(job).into_iter().for_each(|claim| claim.ready = true);
    }

    /// The job is ending: it keeps what it has and needs nothing more.
    pub(super) fn settle_for_less(&mut self, job: JobId) {
        self.claim_mut(job).into_iter().for_each(|claim| claim.declared = claim.has());
    }

    /// The job is over: its slots are free.
    pub(super) fn forget(&mut self, job: JobId) {
        self.claims.retain(|claim| claim.job != job);
    }

    /// A TaskExecutor offers slots.
    pub(super) fn add(&mut self, executor: ExecutorId, slots: u32) {
        self.offers.push(Offer { executor, slots, usable: true, told_busy: false });
    }

    /// A TaskExecutor's connection is lost.
    pub(super) fn close(&mut self, executor: &ExecutorId) {
        self.offers.iter_mut().filter(|offer| offer.executor == *executor).for_each(|offer| offer.usable = false);
    }

    /// A TaskExecutor is gone. Returns the jobs that had slots there.
    pub(super) fn remove(&mut self, executor: &ExecutorId) -> Vec<JobId> {
        self.offers.retain(|offer| offer.executor != *executor);
        let mut losers = Vec::new();
        for claim in &mut self.claims {
            if claim.given.remove(executor).is_some() {
                losers.push(claim.job);
            }
        }
        losers
    }

    /// Slots of all jobs together.
    pub(super) fn declared(&self) -> u32 {
        self.claims.iter().fold(0, |sum, claim| sum.saturating_add(claim.declared))
    }

    /// The jobs that wait for slots, with the number that each needs altogether.
    pub(super) fn waiting(&self) -> Vec<(JobId, u32)> {
        let waiting = self.claims.iter().filter(|claim| claim.lacks() > 0);
        waiting.map(|claim| (claim.job, claim.declared)).collect()
    }

    /// Slots of a TaskExecutor that belong to jobs.
    pub(super) fn used(&self, executor: &ExecutorId) -> u32 {
        self.claims.iter().filter_map(|claim| claim.given.get(executor)).sum()
    }

    /// Slots that a job has on a TaskExecutor.
    pub(super) fn of(&self, job: JobId, executor: &ExecutorId) -> u32 {
        let claim = self.claims.iter().find(|claim| claim.job == job);
        claim.and_then(|claim| claim.given.get(executor)).copied().unwrap_or(0)
    }

    /// TaskExecutors of which jobs have begun or ceased to use slots since the last call: true for begun.
    pub(super) fn turned(&mut self) -> Vec<(ExecutorId, bool)> {
        let mut turned = Vec::new();
        for index in 0..self.offers.len() {
            let busy = self.used(&self.offers[index].executor) > 0;
            let offer = &mut self.offers[index];
            if std::mem::replace(&mut offer.told_busy, busy) != busy {
                turned.push((offer.executor.clone(), busy));
            }
        }
        turned
    }

    /// Gives free slots to those who wait.
    pub(super) fn allot(&mut self) -> Vec<Grant> {
        let mut free: Vec<(ExecutorId, u32)> = self
            .offers
            .iter()
            .filter(|offer| offer.usable)
            .map(|offer| (offer.executor.clone(), offer.slots.saturating_sub(self.used(&offer.executor))))
            .collect();
        let mut grants = Vec::new();
        for claim in self.claims.iter_mut().filter(|claim| claim.ready && claim.lacks() > 0) {
            for (executor, slots) in choose(claim.lacks(), &mut free, |executor| claim.given.contains_key(executor)) {
                let given = claim.given.entry(executor.clone()).or_default();
                *given += slots;
                grants.push(Grant { job: claim.job, executor, slots: *given });
            }
        }
        grants
    }

    fn claim_mut(&mut self, job: JobId) -> Option<&mut Claim> {
        self.claims.iter_mut().find(|claim| claim.job == job)
    }
}

/// Takes `wanted` slots, or as many as are `free`. As few TaskExecutors as possible, since a job has one worker on each; of
/// those that can give all that is wanted the fullest, so that idle ones stay idle and may go. TaskExecutors that the job
/// `uses` come last: a worker that runs there has the memory of fewer slots.
fn choose(wanted: u32, free: &mut [(ExecutorId, u32)], uses: impl Fn(&ExecutorId) -> bool) -> Vec<(ExecutorId, u32)> {
    let mut lacks = wanted;
    let mut chosen = Vec::new();
    for of_used in [false, true] {
        while lacks > 0 {
            let eligible = |(executor, slots): &&mut (ExecutorId, u32)| *slots > 0 && uses(executor) == of_used;
            // Those that have enough first, the one with the least among them; else the one with the most.
            let best = free.iter_mut().filter(eligible).min_by_key(|(_, slots)| match *slots >= lacks {
                true => (0, *slots),
                false => (1, u32::MAX - *slots),
            });
            let Some((executor, slots)) = best else { break };
            let taken = lacks.min(*slots);
            (*slots, lacks) = (*slots - taken, lacks - taken);
            chosen.push((executor.clone(), taken));
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
        pool.ready(JobId(job));
    }

    /// `job:executor=slots`
    fn allotted(pool: &mut SlotPool) -> Vec<String> {
        let brief = |grant: Grant| format!("{}:{}={}", grant.job.0, grant.executor, grant.slots);
        pool.allot().into_iter().map(brief).collect()
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
        pool.ready(JobId(1));
        assert_eq!(allotted(&mut pool), [""; 0]);
        assert_eq!(pool.waiting(), [(JobId(1), 1), (JobId(3), 1)]);
        pool.add(id(1), 1);
        assert_eq!(allotted(&mut pool), ["1:1=1"]);
        pool.forget(JobId(2));
        assert_eq!(allotted(&mut pool), ["3:0=1"]);
    }

    #[test]
    fn a_large_job_that_waits_is_not_overtaken() {
        let mut pool = pool(&[2]);
        submit(&mut pool, 1, 3);
        submit(&mut pool, 2, 1);
        assert_eq!(allotted(&mut pool), ["1:0=2"]);
        pool.add(id(1), 2);
        assert_eq!(allotted(&mut pool), ["1:1=1", "2:1=1"]);
    }

    #[test]
    fn more_slots_on_the_same_executor_are_told_as_their_sum() {
        let mut pool = pool(&[3]);
        submit(&mut pool, 1, 2);
        submit(&mut pool, 2, 2);
        assert_eq!(allotted(&mut pool), ["1:0=2", "2:0=1"]);
        pool.forget(JobId(1));
        assert_eq!(allotted(&mut pool), ["2:0=2"]);
        assert_eq!(pool.turned(), [(id(0), true)]);
        pool.forget(JobId(2));
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
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..6u128, 0..8u32).prop_map(|(job, slots)| Step::Submit(job, slots)),
            (0..6u128).prop_map(Step::Forget),
            (0..6u128).prop_map(Step::Settle),
            (0..6usize, 0..5u32).prop_map(|(n, slots)| Step::Add(n, slots)),
            (0..6usize).prop_map(Step::Close),
            (0..6usize).prop_map(Step::Remove),
        ]
    }

    proptest! {
        #[test]
        fn no_slot_is_given_twice_and_none_is_lost(steps in proptest::collection::vec(step(), 0..40)) {
            let mut pool = SlotPool::default();
            // What jobs have, as they were told.
            let mut told: BTreeMap<(JobId, ExecutorId), u32> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Submit(job, slots) if pool.claims.iter().all(|claim| claim.job != JobId(job)) => {
                        submit(&mut pool, job, slots);
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
                }
                for Grant { job, executor, slots } in pool.allot() {
                    let before = told.insert((job, executor), slots);
                    prop_assert!(before.is_none_or(|before| before < slots), "SP-3");
                }
                for offer in &pool.offers {
                    let used: u32 = told.iter().filter(|((_, e), _)| *e == offer.executor).map(|(_, slots)| slots).sum();
                    prop_assert!(used <= offer.slots, "SP-1");
                    prop_assert_eq!(used, pool.used(&offer.executor));
                    let waits = pool.claims.iter().any(|claim| claim.lacks() > 0);
                    prop_assert!(!waits || !offer.usable || used == offer.slots, "SP-2");
                }
                for claim in &pool.claims {
                    let has: u32 = told.iter().filter(|((job, _), _)| *job == claim.job).map(|(_, slots)| slots).sum();
                    prop_assert_eq!(has, claim.has());
                    prop_assert_eq!(claim.declared, has + claim.lacks(), "declared = given + asked for");
                }
                let known: usize = pool.claims.iter().map(|claim| claim.given.len()).sum();
                prop_assert_eq!(known, told.len());
            }
        }
    }
}
