//! Executions that end before their time, at every step and in any order.

use flumen_worker::operator::TaskResult;
use flumen_worker::sinks::file::{BucketContext, DefaultRollingPolicy, FileSink, SimpleStringEncoder};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::world::{Crash, Make, OPERATOR, World};

/// Two buckets and small parts, so that a checkpoint lists several.
fn sink(out: &str) -> Make {
    let sink = FileSink::for_row_format(out, SimpleStringEncoder::new())
        .with_bucket_assigner(|record: &u64, _: &BucketContext| format!("b{}", record % 2))
        .with_rolling_policy(DefaultRollingPolicy::default().with_max_part_size(20));
    Box::new(move |context| sink.open(context, OPERATOR))
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Push(u64, usize),
    Barrier,
    Store,
    Notify(usize),
    Abort,
    Pass(i64),
    Crash(Crash, u32),
    Settle,
}

fn carry_out(world: &mut World, step: Step) -> TaskResult {
    match step {
        Step::Push(records, subtask) => world.push(records, subtask),
        Step::Barrier => world.barrier().map(drop),
        Step::Store => world.store().map(drop),
        Step::Notify(subtasks) => world.notify(subtasks),
        Step::Abort => world.abort(),
        Step::Pass(ms) => world.pass(ms),
        Step::Crash(crash, parallelism) => {
            world.crash(crash);
            world.start(parallelism)
        }
        Step::Settle => {
            world.notify(usize::MAX)?;
            world.wait_visible()
        }
    }
}

/// Carries the steps out and ends the job; every record is visible once then.
fn run(steps: impl IntoIterator<Item = Step>) {
    let mut world = World::new(sink);
    world.start(1).unwrap();
    for step in steps {
        carry_out(&mut world, step).unwrap_or_else(|error| panic!("{step:?}: {error:?}"));
        world.assert_never_too_much();
    }
    let missing = 40_u64.saturating_sub(world.position);
    world.push(missing, 0).unwrap();
    let count = world.position;
    world.end().unwrap();
    assert_eq!(world.visible(), (0..count).collect::<Vec<_>>());
}

#[test]
fn a_crash_at_any_step_loses_nothing_and_repeats_nothing() {
    let script = [
        Step::Push(10, 0),
        Step::Barrier,
        Step::Push(3, 1),
        Step::Store,
        Step::Push(3, 2),
        Step::Notify(1),
        Step::Notify(3),
        Step::Push(5, 1),
        Step::Barrier,
        Step::Push(2, 2),
        Step::Abort,
        Step::Barrier,
        Step::Push(1, 0),
        Step::Barrier,
        Step::Store,
        Step::Store,
        Step::Notify(2),
        Step::Pass(100_000),
        Step::Push(4, 0),
    ];
    for crash in [Crash::Kill, Crash::Cancel, Crash::CutOff] {
        for at in 0..=script.len() {
            // Three subtasks, two afterwards; and the second execution crashes at once, too.
            for again in [None, Some(Step::Crash(crash, 1))] {
                let steps = std::iter::once(Step::Crash(Crash::Kill, 3)).chain(script[..at].iter().copied());
                run(steps.chain([Step::Crash(crash, 2)]).chain(again).chain([Step::Push(4, 1), Step::Settle]));
            }
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    let crash = prop_oneof![Just(Crash::Kill), Just(Crash::Cancel), Just(Crash::CutOff)];
    prop_oneof![
        6 => (1..8_u64, 0..3_usize).prop_map(|(records, subtask)| Step::Push(records, subtask)),
        4 => Just(Step::Barrier),
        4 => Just(Step::Store),
        3 => (0..4_usize).prop_map(Step::Notify),
        1 => Just(Step::Abort),
        1 => (0..100_000_i64).prop_map(Step::Pass),
        2 => (crash, prop_oneof![Just(1_u32), Just(3), Just(2)]).prop_map(|(crash, to)| Step::Crash(crash, to)),
        1 => Just(Step::Settle),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn in_any_order_of_records_checkpoints_and_crashes_each_record_is_visible_once(steps in vec(step(), 0..30)) {
        run(steps);
    }
}
