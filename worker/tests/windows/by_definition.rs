//! Random records, watermarks and windows: every operator emits what the definition says.

use flumen_testkit::{Element, Harness, Mode, end, harness, processing_time, rec, watermark};
use flumen_worker::windows::{
    Aggregating, ContinuousEventTimeTrigger, ContinuousProcessingTimeTrigger, CountTrigger, EventTimeTrigger,
    InEventTime, InProcessingTime, ProcessingTimeTrigger, PurgingTrigger, SessionWindows, SlidingWindows, TimeDomain,
    TimeWindow, Trigger, WindowAssigner,
};
use proptest::prelude::*;

use super::model::{Fires, Model, Spec, Windows};
use super::support::{
    Fired, FromFirst, Head, Record, ValuesInBits, folding, listing, ms, slicing, slicing_by, windowing,
};

/// A step: a record of a key at a time, or time goes on.
#[derive(Debug, Clone)]
pub enum Step {
    Record(u8, i64),
    Advance(i64),
}

pub fn steps(count: usize) -> impl Strategy<Value = Vec<Step>> {
    steps_of(3, 4, count)
}

/// With so many keys, and so many records each time that time goes on.
pub fn steps_of(keys: u8, records: u32, count: usize) -> impl Strategy<Value = Vec<Step>> {
    // Records are around the present: some before it, some after.
    let step = prop_oneof![
        records => (0..keys, -25..15i64).prop_map(|(key, time)| Step::Record(key, time)),
        1 => (1..20i64).prop_map(Step::Advance),
    ];
    prop::collection::vec(step, 1..count)
}

pub fn windows() -> impl Strategy<Value = Windows> {
    prop_oneof![
        (1..20i64, 0..20i64).prop_map(|(size, offset)| Windows::Regular(size, size, offset % size)),
        (1..30i64, 1..20i64, 0..20i64).prop_map(|(size, slide, offset)| Windows::Regular(size, slide, offset % slide)),
        (1..12i64).prop_map(Windows::Sessions),
    ]
}

fn spec() -> impl Strategy<Value = Spec> {
    let fires = prop_oneof![
        3 => Just(Fires::AtEnd),
        1 => (1..5u64).prop_map(Fires::Count),
        1 => (1..12i64).prop_map(Fires::Continuously),
    ];
    (windows(), fires, any::<bool>(), any::<bool>(), prop_oneof![Just(0), 0..15i64]).prop_map(
        |(windows, fires, purging, event_time, lateness)| Spec { windows, fires, purging, event_time, lateness },
    )
}

/// What the operator is given: the values are numbers, so that each is there once.
pub fn input(steps: &[Step], event_time: bool) -> Vec<Element<Record>> {
    let mut present = 100;
    let mut input = vec![if event_time { watermark(present) } else { processing_time(present) }];
    for (number, step) in steps.iter().enumerate() {
        match step {
            Step::Record(key, time) => input.push(rec((*key, number as i64)).at(present + time)),
            Step::Advance(by) => {
                present += by;
                input.push(if event_time { watermark(present) } else { processing_time(present) });
            }
        }
    }
    input.push(end());
    input
}

fn make<D: TimeDomain>(spec: Spec, folded: bool) -> Harness<Record, Fired> {
    fn with<A, G>(spec: Spec, folded: bool, assigner: A, trigger: G) -> Harness<Record, Fired>
    where
        A: WindowAssigner<Record, Window = TimeWindow>,
        G: Trigger<Record, TimeWindow>,
    {
        if spec.purging {
            return open(spec, folded, assigner, PurgingTrigger::of(trigger));
        }
        open(spec, folded, assigner, trigger)
    }

    fn open<A, G>(spec: Spec, folded: bool, assigner: A, trigger: G) -> Harness<Record, Fired>
    where
        A: WindowAssigner<Record, Window = TimeWindow>,
        G: Trigger<Record, TimeWindow>,
    {
        harness(move |context, operator, output| -> Head {
            let windowing = windowing(assigner.clone(), trigger.clone(), spec.lateness);
            let open = if folded { folding } else { listing };
            open(context, operator, windowing, output)
        })
    }

    fn triggered<A: WindowAssigner<Record, Window = TimeWindow>>(
        spec: Spec,
        folded: bool,
        assigner: A,
    ) -> Harness<Record, Fired> {
        match (spec.fires, spec.event_time) {
            (Fires::AtEnd, true) => with(spec, folded, assigner, EventTimeTrigger),
            (Fires::AtEnd, false) => with(spec, folded, assigner, ProcessingTimeTrigger),
            (Fires::Count(count), _) => with(spec, folded, assigner, CountTrigger::of(count)),
            (Fires::Continuously(interval), true) => {
                with(spec, folded, assigner, ContinuousEventTimeTrigger::of(ms(interval)))
            }
            (Fires::Continuously(interval), false) => {
                with(spec, folded, assigner, ContinuousProcessingTimeTrigger::of(ms(interval)))
            }
        }
    }

    match spec.windows {
        Windows::Regular(size, slide, offset) => {
            let assigner = SlidingWindows::<D>::of(ms(size), ms(slide)).with_offset(ms(offset));
            triggered(spec, folded, assigner)
        }
        Windows::Sessions(gap) => triggered(spec, folded, SessionWindows::<D, _>::with_gap(ms(gap))),
    }
}

fn general(spec: Spec, folded: bool) -> Harness<Record, Fired> {
    if spec.event_time { make::<InEventTime>(spec, folded) } else { make::<InProcessingTime>(spec, folded) }
}

/// What slices are made of, which decides how they are kept.
#[derive(Debug, Clone, Copy)]
enum Sums {
    Lists,
    /// For which nothing is done when they go.
    Bits,
    /// And none is there before the first record.
    BitsFromFirst,
}

fn sums() -> impl Strategy<Value = Sums> {
    prop_oneof![Just(Sums::Lists), Just(Sums::Bits), Just(Sums::BitsFromFirst)]
}

fn sliced(spec: Spec, sums: Sums) -> Option<Harness<Record, Fired>> {
    fn of<D: TimeDomain>(spec: Spec, sums: Sums) -> Option<Harness<Record, Fired>> {
        let Windows::Regular(size, slide, offset) = spec.windows else { return None };
        let windows = SlidingWindows::<D>::of(ms(size), ms(slide)).with_offset(ms(offset));
        (slide <= size).then(|| {
            harness(move |context, operator, output| -> Head {
                let (bits, lateness) = (Aggregating(ValuesInBits), spec.lateness);
                match sums {
                    Sums::Lists => slicing(context, operator, &windows, lateness, output),
                    Sums::Bits => slicing_by(bits, context, operator, &windows, lateness, output),
                    Sums::BitsFromFirst => slicing_by(FromFirst(bits), context, operator, &windows, lateness, output),
                }
            })
        })
    }

    if spec.event_time { of::<InEventTime>(spec, sums) } else { of::<InProcessingTime>(spec, sums) }
}

fn check(spec: Spec, steps: &[Step], harness: Harness<Record, Fired>, modes: &[Mode]) {
    let input = input(steps, spec.event_time);
    let (expected, _) = Model::run(spec, &input);
    let mut harness = harness.input(input).expect(expected).keyed_by(|record| record.0).in_any_order();
    for mode in EASY.into_iter().chain(HARD).filter(|mode| !modes.contains(mode)) {
        harness = harness.except(mode);
    }
    harness.in_all_modes();
}

const EASY: [Mode; 2] = [Mode::OneByOne, Mode::Batched];
const HARD: [Mode; 5] =
    [Mode::SlowReceiver, Mode::Checkpoints, Mode::DuringCheckpoints, Mode::RestoreAfterEach, Mode::Rescaled];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn the_general_operator_does_what_windows_are_by_definition(spec in spec(), steps in steps(60), folded: bool) {
        check(spec, &steps, general(spec, folded), &EASY);
    }

    #[test]
    fn the_operator_for_slices_does_what_windows_are_by_definition(spec in spec(), steps in steps(60), sums in sums()) {
        let spec = Spec { fires: Fires::AtEnd, purging: false, ..spec };
        if let Some(harness) = sliced(spec, sums) {
            check(spec, &steps, harness, &EASY);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(12) })]

    #[test]
    fn the_general_operator_begins_where_it_was(spec in spec(), steps in steps(25), folded: bool) {
        check(spec, &steps, general(spec, folded), &HARD);
    }

    #[test]
    fn the_operator_for_slices_begins_where_it_was(spec in spec(), steps in steps(25), sums in sums()) {
        let spec = Spec { fires: Fires::AtEnd, purging: false, ..spec };
        if let Some(harness) = sliced(spec, sums) {
            check(spec, &steps, harness, &HARD);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(4) })]

    #[test]
    fn the_operator_for_slices_begins_where_it_was_with_all_of_many_keys(
        spec in spec(),
        (size, slide) in (1..8i64, 1..15i64),
        steps in steps_of(100, 30, 150),
        sums in sums(),
    ) {
        let windows = Windows::Regular(size * slide, slide, 0);
        let spec = Spec { windows, fires: Fires::AtEnd, purging: false, ..spec };
        if let Some(harness) = sliced(spec, sums) {
            check(spec, &steps, harness, &HARD);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(4) })]

    #[test]
    fn the_operator_for_slices_does_it_with_large_batches_while_a_snapshot_is_written(
        spec in spec(),
        (size, slide) in (1..8i64, 1..15i64),
        steps in steps_of(20, 400, 1500),
    ) {
        let windows = Windows::Regular(size * slide, slide, 0);
        let spec = Spec { windows, fires: Fires::AtEnd, purging: false, ..spec };
        // Bits have room for 256 records.
        if let Some(harness) = sliced(spec, Sums::Lists) {
            check(spec, &steps, harness, &[Mode::Batched, Mode::DuringCheckpoints]);
        }
    }
}
