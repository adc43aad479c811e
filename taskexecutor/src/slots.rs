//! Which workers may live: pure.

/// What to do with the command to start a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartDecision {
    /// Start it now.
    Now,
    /// Kill the live worker of the job and start it once that one is gone: both together could need more memory than the
    /// container has.
    AfterTheLiveOne,
    /// Start it once workers of other jobs are gone: until then they have the memory of its slots. They were told to stop, or
    /// its slots could not have been given away.
    AfterOthers,
    /// A worker of this number or a later one was started before: the command is an old one.
    Outdated,
}

/// Decides about a worker with number `asked`. `greatest` is the greatest number of that job so far, `live` is true when a
/// worker of it has not yet ended, `fits` when its slots are not those of live workers of other jobs ([`fit`]).
pub fn on_start(greatest: Option<u32>, live: bool, fits: bool, asked: u32) -> StartDecision {
    match greatest {
        Some(greatest) if asked <= greatest => StartDecision::Outdated,
        Some(_) | None if live => StartDecision::AfterTheLiveOne,
        Some(_) | None if !fits => StartDecision::AfterOthers,
        Some(_) | None => StartDecision::Now,
    }
}

/// Whether a worker that has `slots` of the TaskExecutor's `all` can live beside workers that have `taken` ones.
pub fn fit(slots: u32, taken: impl Iterator<Item = u32>, all: u32) -> bool {
    let taken = taken.map(u64::from).sum::<u64>();
    taken + u64::from(slots.min(all)) <= u64::from(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use StartDecision::{AfterOthers, AfterTheLiveOne, Now, Outdated};

    #[test]
    fn a_job_has_one_live_worker_and_never_an_earlier_one_again() {
        for (greatest, live, asked, decision, crowded) in [
            (None, false, 0, Now, AfterOthers),
            (None, false, 7, Now, AfterOthers),
            (Some(0), true, 0, Outdated, Outdated),
            (Some(0), false, 0, Outdated, Outdated),
            (Some(3), true, 2, Outdated, Outdated),
            (Some(0), true, 1, AfterTheLiveOne, AfterTheLiveOne),
            (Some(0), false, 1, Now, AfterOthers),
        ] {
            assert_eq!(on_start(greatest, live, true, asked), decision, "{greatest:?} {live} {asked}");
            assert_eq!(on_start(greatest, live, false, asked), crowded, "{greatest:?} {live} {asked}");
        }
    }

    #[test]
    fn a_worker_fits_beside_others_that_leave_it_its_slots() {
        for (slots, taken, all, fits) in [
            (1, &[][..], 1, true),
            (1, &[1], 2, true),
            (2, &[1], 2, false),
            (1, &[1, 1], 2, false),
            (9, &[], 2, true),
            (9, &[1], 2, false),
        ] {
            assert_eq!(fit(slots, taken.iter().copied(), all), fits, "{slots} {taken:?} {all}");
        }
    }
}
