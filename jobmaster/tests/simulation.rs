//! Checkpoints, failover and changes of the leader under a simulated network and clock, by seed: subtasks really align barriers or let them overtake
//! records, keep state and commit by checkpoint; workers, executors and the JobManager die, or it is cut off and goes on beside the next one, connections break, storage refuses, users take savepoints and stop the
//! job, which then goes on from its savepoint with another parallelism. Whatever happens, the output is that of a run in
//! which nothing did.
//!
//! `FLUMEN_SIM_SEED=<n> cargo test -p flumen-jobmaster --test simulation -- --nocapture` replays one seed, with all that
//! happens; `FLUMEN_SIM_SEEDS=<n>` tries so many.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test, whose failing seed is printed")]

mod sim;

use std::panic::{AssertUnwindSafe, catch_unwind};

use sim::former::Fence;

const SEEDS: u64 = 3_000;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn the_output_is_exactly_once_whatever_happens() {
    if let Some(seed) = number("FLUMEN_SIM_SEED") {
        println!("{:?}", sim::run(seed, true));
        return;
    }
    let (mut completed, mut restarts, mut resent, mut stopped) = (0, 0, 0, 0);
    let (mut taken, mut untouched, mut partial, mut beside) = (0, 0, 0, 0);
    for seed in 0..number("FLUMEN_SIM_SEEDS").unwrap_or(SEEDS) {
        match catch_unwind(AssertUnwindSafe(|| sim::run(seed, false))) {
            Ok(outcome) => {
                completed += outcome.completed;
                restarts += u64::from(outcome.restarts);
                resent += outcome.resent;
                stopped += u64::from(outcome.stopped);
                taken += outcome.adoptions.taken;
                untouched += outcome.adoptions.untouched;
                partial += outcome.adoptions.partial;
                beside += outcome.adoptions.beside;
            }
            Err(panic) => {
                println!("seed {seed} failed; replay it with FLUMEN_SIM_SEED={seed}");
                std::panic::resume_unwind(panic);
            }
        }
    }
    println!(
        "{completed} checkpoints, {restarts} restarts, {resent} records in flight sent again, {stopped} jobs stopped with a \
         savepoint and resumed, {taken} JobManagers that took over, {untouched} of them without touching anything, {partial} with \
         a restart of some regions, {beside} beside one that was cut off"
    );
    assert!(completed > 0 && restarts > 0 && resent > 0 && stopped > 0, "the simulation has not tried much");
    assert!(
        taken > untouched && untouched > 0 && partial > 0 && beside > 0,
        "JobManagers have not died in enough ways"
    );
}

#[test]
fn each_rule_that_fences_a_former_jobmanager_is_needed() {
    for fence in [Fence::Executors, Fence::Head, Fence::Numbers] {
        let fails = |seed: &u64| catch_unwind(|| sim::run_without(Some(fence), *seed, false)).is_err();
        let seed = (0..SEEDS).find(fails);
        println!("without {fence:?}, seed {seed:?} fails");
        assert!(seed.is_some(), "nothing goes wrong without {fence:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..50 {
        assert_eq!(sim::run(seed, false), sim::run(seed, false), "seed {seed}");
    }
    assert_ne!(sim::run(1, false).trace, sim::run(2, false).trace);
}
