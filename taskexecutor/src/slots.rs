//! Which worker of a job may live: pure.

/// What to do with the command to start a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartDecision {
    /// Start it now.
    Now,
    /// Kill the live worker of the job and start it once that one is gone: both together could need more memory than the
    /// container has.
    AfterTheLiveOne,
    /// A worker of this number or a later one was started before: the command is an old one.
    Outdated,
}

/// Decides about a worker with number `asked`. `greatest` is the greatest number of that job so far, `live` is true when a
/// worker of it has not yet ended.
pub fn on_start(greatest: Option<u32>, live: bool, asked: u32) -> StartDecision {
    match greatest {
        Some(greatest) if asked <= greatest => StartDecision::Outdated,
        Some(_) | None if live => StartDecision::AfterTheLiveOne,
        Some(_) | None => StartDecision::Now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use StartDecision::{AfterTheLiveOne, Now, Outdated};

    #[test]
    fn a_job_has_one_live_worker_and_never_an_earlier_one_again() {
        for (greatest, live, asked, decision) in [
            (None, false, 0, Now),
            (None, false, 7, Now),
            (Some(0), true, 0, Outdated),
            (Some(0), false, 0, Outdated),
            (Some(3), true, 2, Outdated),
            (Some(0), true, 1, AfterTheLiveOne),
            (Some(0), false, 1, Now),
        ] {
            assert_eq!(on_start(greatest, live, asked), decision, "{greatest:?} {live} {asked}");
        }
    }
}
