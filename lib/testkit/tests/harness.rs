//! The harness finds the mistakes that it is there for.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::panic::{AssertUnwindSafe, catch_unwind};

use flumen_model::checkpoint::Redistribution;
use flumen_model::ids::OperatorId;
use flumen_testkit::{Harness, end, harness, rec, watermark};
use flumen_worker::batch::Batch;
use flumen_worker::operator::{Push, Signal, TaskResult};

/// What is wrong with a counting operator.
#[derive(Clone, Copy, PartialEq)]
enum Mistake {
    None,
    ForgetsItsState,
    HoldsRecordsBack,
    CountsBatches,
    GoesBackWhenCompleted,
}

/// Emits how many records there were so far.
struct Count {
    count: u32,
    at_barrier: u32,
    mistake: Mistake,
    operator: OperatorId,
    held: Batch<u32>,
    output: Box<dyn Push<u32>>,
}

impl Push<u32> for Count {
    fn push(&mut self, batch: &mut Batch<u32>) -> TaskResult {
        if self.mistake == Mistake::CountsBatches {
            self.count += 1;
        }
        for (_, time) in batch.drain() {
            if self.mistake != Mistake::CountsBatches {
                self.count += 1;
            }
            self.held.push(self.count, time);
        }
        if self.mistake == Mistake::HoldsRecordsBack { Ok(()) } else { self.output.push(&mut self.held) }
    }

    fn signal(&mut self, mut signal: Signal<'_>) -> TaskResult {
        if !self.held.is_empty() && matches!(signal, Signal::Watermark(_) | Signal::End) {
            self.output.push(&mut self.held)?;
        }
        if let Signal::Barrier(snapshot) = &mut signal
            && self.mistake != Mistake::ForgetsItsState
        {
            self.at_barrier = self.count;
            let item = self.count.to_le_bytes();
            snapshot.list(self.operator, "count", Redistribution::Split, "", [&item[..]]);
        }
        if self.mistake == Mistake::GoesBackWhenCompleted && matches!(signal, Signal::Completed(_)) {
            self.count = self.at_barrier;
        }
        self.output.signal(signal)
    }
}

fn counting(mistake: Mistake) -> Harness<u32, u32> {
    harness(move |context, operator, output| {
        let items = context.restored_list(operator, "count").unwrap_or_default();
        let count = items.iter().map(|item| u32::from_le_bytes(item[..].try_into().unwrap())).sum();
        Ok(Box::new(Count { count, at_barrier: 0, mistake, operator, held: Batch::new(), output }))
    })
    .input([rec(7), rec(7).at(3), watermark(3), rec(7), watermark(5), rec(7), watermark(6), rec(7), end()])
    .expect([rec(1), rec(2).at(3), watermark(3), rec(3), watermark(5), rec(4), watermark(6), rec(5)])
}

fn complaint(mistake: Mistake) -> String {
    let result = catch_unwind(AssertUnwindSafe(|| counting(mistake).in_all_modes()));
    *result.unwrap_err().downcast::<String>().unwrap()
}

#[test]
fn an_operator_without_mistakes_passes() {
    counting(Mistake::None).in_all_modes();
}

#[test]
fn state_that_is_not_in_the_snapshot_is_missed() {
    let complaint = complaint(Mistake::ForgetsItsState);
    assert!(complaint.contains("in mode RestoreAfterEach"), "{complaint}");
}

#[test]
fn records_that_are_held_back_over_a_barrier_are_missed() {
    let complaint = complaint(Mistake::HoldsRecordsBack);
    assert!(complaint.contains("in mode RestoreAfterEach"), "{complaint}");
}

#[test]
fn an_operator_that_depends_on_the_size_of_batches_is_found() {
    let complaint = complaint(Mistake::CountsBatches);
    assert!(complaint.contains("in mode Batched"), "{complaint}");
}

#[test]
fn what_comes_while_a_checkpoint_is_running_is_missed_when_it_gets_lost() {
    let complaint = complaint(Mistake::GoesBackWhenCompleted);
    assert!(complaint.contains("in mode DuringCheckpoints"), "{complaint}");
}
