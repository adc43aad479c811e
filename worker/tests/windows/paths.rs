//! The operator for slices emits at each step what the general one does.

use std::cell::RefCell;
use std::rc::Rc;

use flumen_testkit::{Harness, Mode, harness};
use flumen_worker::batch::Batch;
use flumen_worker::operator::{Push, Signal, TaskResult};
use flumen_worker::windows::{SlidingEventTimeWindows, Windowing};
use proptest::prelude::*;

use super::by_definition::{input, steps, steps_of};
use super::support::{Fired, Record, folding, ms, slicing};

type Emitted = Rc<RefCell<Vec<(Fired, i64)>>>;

/// Keeps what it is given.
struct Keep(Emitted);

impl Push<Fired> for Keep {
    fn push(&mut self, batch: &mut Batch<Fired>) -> TaskResult {
        self.0.borrow_mut().extend(batch.drain());
        Ok(())
    }

    fn signal(&mut self, _: Signal<'_>) -> TaskResult {
        Ok(())
    }
}

/// Gives everything to two operators, and compares.
struct Both {
    heads: [Box<dyn Push<Record>>; 2],
    emitted: [Emitted; 2],
}

impl Both {
    fn compare(&self) {
        let [general, sliced] = &self.emitted;
        let (mut general, mut sliced) = (general.borrow_mut(), sliced.borrow_mut());
        general.sort();
        sliced.sort();
        assert_eq!(*sliced, *general);
        general.clear();
        sliced.clear();
    }
}

impl Push<Record> for Both {
    fn push(&mut self, batch: &mut Batch<Record>) -> TaskResult {
        self.heads[0].push(&mut batch.clone())?;
        self.heads[1].push(batch)?;
        self.compare();
        Ok(())
    }

    fn signal(&mut self, mut signal: Signal<'_>) -> TaskResult {
        self.heads.iter_mut().try_for_each(|head| head.signal(signal.again()))?;
        self.compare();
        Ok(())
    }
}

fn both(size: i64, slide: i64, offset: i64, lateness: i64) -> Harness<Record, Fired> {
    harness(move |context, operator, _| {
        let windows = SlidingEventTimeWindows::of(ms(size), ms(slide)).with_offset(ms(offset));
        let emitted: [Emitted; 2] = Default::default();
        let output = |at: usize| Box::new(Keep(Rc::clone(&emitted[at])));
        let mut windowing = Windowing::of::<Record>(windows.clone());
        windowing.allowed_lateness = ms(lateness);
        let heads = [
            folding(context, operator, windowing, output(0))?,
            slicing(context, operator, &windows, lateness, output(1))?,
        ];
        Ok(Box::new(Both { heads, emitted }))
    })
    // Two operators can't be restored from the state of one.
    .except(Mode::Checkpoints)
    .except(Mode::DuringCheckpoints)
    .except(Mode::RestoreAfterEach)
    .except(Mode::Rescaled)
    .stateless()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn slices_and_the_general_operator_emit_the_same(
        slide in 1..15i64,
        times in 1..8i64,
        rest in 0..15i64,
        offset in 0..15i64,
        lateness in prop_oneof![Just(0), 0..30i64],
        steps in steps(100),
    ) {
        both(slide * times + rest % slide, slide, offset % slide, lateness).input(input(&steps, true)).in_all_modes();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(30) })]

    #[test]
    fn slices_and_the_general_operator_emit_the_same_of_many_keys(
        slide in 1..15i64,
        times in 1..8i64,
        rest in 0..15i64,
        lateness in prop_oneof![Just(0), 0..30i64],
        steps in steps_of(200, 40, 1500),
    ) {
        both(slide * times + rest % slide, slide, 0, lateness).input(input(&steps, true)).in_all_modes();
    }
}
