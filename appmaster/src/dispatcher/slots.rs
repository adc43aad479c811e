//! Which slots of which TaskExecutor belong to which job. Pure.
//!
//! A job begins with all the slots that it needs, or has none: what waits holds nothing, so jobs never wait for each other's
//! slots. First come, first served, with one exception: as long as a job that has not begun is *patient*, what is not enough
//! for it goes to those behind it. When its patience ends, they get nothing any more until it has its slots or gives up
//! (half of `slot.request.timeout` after it became ready, and at its end): so small jobs neither starve a large one nor wait
//! long for one that can't be served. A job that has begun and lost a TaskExecutor comes before all that have not, and takes what
//! there is: its regions restart one by one. Decided in ADR 0012.
//!
//! Invariants, held by the tests below:
//! * SP-1: no TaskExecutor gives more slots than it has;
//! * SP-2: what a job has is never more than it declared, and all or nothing until it has begun;
//! * SP-3: a job loses slots only with their TaskExecutor, or when it is over;
//! * SP-4: slots are free only if nobody who waits could begin with them, or while they are kept for an impatient job;
//! * SP-5: an impatient job has its slots as soon as those who had theirs at that time, and who waited longer, are over.

use std::collections::BTreeMap;

use flumen_jobmaster::Timestamp;
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
    /// Set once it can take slots: until when others may pass while there are too few for it.
    patient_until: Option<Timestamp>,
    /// It has had slots.
    begun: bool,
    given: BTreeMap<ExecutorId, u32>,
}

impl Claim {
    fn has(&self) -> u32 {
        self.given.values().sum()
    }

    fn lacks(&self) -> u32 {
        self.declared.saturating_sub(self.has())
    }

    fn waits(&self) -> bool {
        self.patient_until.is_some() && self.lacks() > 0
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
            None => self.claims.push(Claim {
                job,
                declared: slots,
                patient_until: None,
                begun: false,
                given: BTreeMap::new(),
            }),
        }
    }

    /// The job has had slots there since before this leader.
    pub(super) fn assign(&mut self, job: JobId, executor: &ExecutorId, slots: u32) {
        if let Some(claim) = self.claim_mut(job) {
            claim.given.insert(executor.clone(), slots);
            claim.begun = true;
        }
    }

    /// The job can take slots. Until that time others may pass it while there are too few for it.
    pub(super) fn ready(&mut self, job: JobId, patient_until: Timestamp) {
        self.claim_mut(job).into_iter().for_each(|claim| claim.patient_until = Some(patient_until));
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
    pub(super) fn allot(&mut self, now: Timestamp) -> Vec<Grant> {
        let mut free: Vec<(ExecutorId, u32)> = self
            .offers
            .iter()
            .filter(|offer| offer.usable)
            .map(|offer| (offer.executor.clone(), offer.slots.saturating_sub(self.used(&offer.executor))))
            .collect();
        let mut grants = Vec::new();
        'all: for begun in [true, false] {
            for claim in self.claims.iter_mut().filter(|claim| claim.begun == begun && claim.waits()) {
                let enough = free.iter().map(|(_, slots)| u64::from(*slots)).sum::<u64>() >= u64::from(claim.lacks());
                if !begun && !enough {
                    if claim.patient_until.is_some_and(|until| until <= now) {
                        break 'all;
                    }
                    continue;
                }
                let chosen = choose(claim.lacks(), &mut free, |executor| claim.given.contains_key(executor));
                for (executor, slots) in chosen {
                    let given = claim.given.entry(executor.clone()).or_default();
                    *given += slots;
                    grants.push(Grant { job: claim.job, executor, slots: *given });
                }
            }
        }
        for grant in &grants {
            self.claim_mut(grant.job).into_iter().for_each(|claim| claim.begun = true);
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
mod tests;
