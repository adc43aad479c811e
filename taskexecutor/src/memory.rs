//! The memory of workers: what they use, what they may use, and who has to go.

use std::io;

use flumen_model::config::MemorySize;

/// Resident memory of a process in bytes, as YARN counts it too (shared pages included).
///
/// # Errors
/// The process is gone, or `/proc` can't be read.
pub fn resident(pid: u32) -> io::Result<u64> {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm"))?;
    let pages = resident_pages(&statm).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
    Ok(pages.saturating_mul(rustix::param::page_size() as u64))
}

/// The second number of `/proc/<pid>/statm`.
fn resident_pages(statm: &str) -> Option<u64> {
    statm.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// What of `budget` belongs to a worker that has `slots` of the TaskExecutor's `all` slots, in bytes.
pub fn share(budget: u64, slots: u32, all: u32) -> u64 {
    let share = u128::from(budget) * u128::from(slots.clamp(1, all.max(1))) / u128::from(all.max(1));
    u64::try_from(share).unwrap_or(budget)
}

/// The worker that has to go, as an index into `workers` (what each uses, and its share of `budget`): when all together use
/// more than `budget`, the one that is furthest above its share. All in bytes.
pub fn over_budget(budget: u64, workers: &[(u64, u64)]) -> Option<usize> {
    let used: u64 = workers.iter().fold(0, |sum, (used, _)| sum.saturating_add(*used));
    if used <= budget {
        return None;
    }
    (0..workers.len()).max_by_key(|index| {
        let (used, share) = workers[*index];
        i128::from(used) - i128::from(share)
    })
}

/// What the user is told about a worker that was stopped for its memory. `used` by it, its `share`, `budget` of all workers,
/// `container` and what of it is kept for the TaskExecutor, in bytes.
pub fn over_budget_message(used: u64, share: u64, budget: u64, container: u64) -> String {
    let overhead = MemorySize(container.saturating_sub(budget));
    format!(
        "worker used {} mb of its {} mb (taskmanager.memory.process.size {} without taskmanager.memory.framework.size \
         {overhead}) and was stopped before YARN kills the container: raise taskmanager.memory.process.size (-ytm), use \
         fewer slots per TaskExecutor (-ys), or more TaskExecutors",
        MemorySize(used).mib_rounded_up(),
        share >> 20,
        MemorySize(container),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_worker_furthest_above_its_share_goes_when_all_together_use_too_much() {
        for (budget, workers, victim) in [
            (100, &[][..], None),
            (100, &[(100, 100)][..], None),
            (100, &[(101, 100)][..], Some(0)),
            (100, &[(40, 50), (60, 50)][..], None),
            (100, &[(41, 50), (60, 50)][..], Some(1)),
            (100, &[(45, 25), (60, 75)][..], Some(0)),
            (u64::MAX, &[(u64::MAX, 1), (1, 1)][..], None),
        ] {
            assert_eq!(over_budget(budget, workers), victim, "{budget} {workers:?}");
        }
    }

    #[test]
    fn the_message_names_figures_and_ways_out() {
        let message = over_budget_message((511 << 20) + 1, 464 << 20, 464 << 20, 512 << 20);
        assert!(
            message.starts_with("worker used 512 mb of its 464 mb (taskmanager.memory.process.size 512 mb"),
            "{message}"
        );
        assert!(message.contains("framework.size 48 mb") && message.contains("-ytm"), "{message}");
    }

    #[test]
    fn a_share_follows_the_slots() {
        assert_eq!(
            [(1, 4), (4, 4), (0, 4), (9, 4), (1, 0)].map(|(slots, all)| share(100, slots, all)),
            [25, 100, 25, 100, 100]
        );
        assert_eq!(share(u64::MAX, 3, 3), u64::MAX);
    }

    #[test]
    fn this_process_has_a_resident_size() {
        let bytes = resident(std::process::id()).unwrap();
        assert!((100 << 10..10 << 30).contains(&bytes), "{bytes}");
        assert!(resident(u32::MAX).is_err());
    }

    proptest! {
        #[test]
        fn no_text_of_statm_makes_it_panic(text in ".{0,80}") {
            let _ = resident_pages(&text);
        }
    }
}
