//! Assigners, triggers and evictors of the user's own.

use flumen_testkit::{end, harness, rec, watermark};
use flumen_worker::batch::EventTime;
use flumen_worker::operator::TaskResult;
use flumen_worker::windows::{
    Collecting, EventTimeTrigger, Evicting, Evictor, EvictorContext, TimeWindow, TimestampedValue, Trigger,
    TriggerContext, TriggerResult, Window, WindowAssigner,
};

use super::support::{Record, keeping, windowing};

/// Positive values are in windows of 10 ms, others in none.
#[derive(Clone)]
struct Positive;

impl WindowAssigner<Record> for Positive {
    type Window = TimeWindow;
    type DefaultTrigger = EventTimeTrigger;

    fn assign(&mut self, record: &Record, time: EventTime, _: EventTime, windows: &mut Vec<TimeWindow>) -> TaskResult {
        windows.extend((record.1 > 0).then(|| TimeWindow::new(time / 10 * 10, time / 10 * 10 + 10)));
        Ok(())
    }

    fn is_event_time(&self) -> bool {
        true
    }

    fn default_trigger(&self) -> EventTimeTrigger {
        EventTimeTrigger
    }
}

/// Fires when the sum of values is even, and at the window's end.
#[derive(Clone)]
struct EvenSum;

impl<W: Window> Trigger<Record, W> for EvenSum {
    type State = i64;

    fn on_element(
        &mut self,
        record: &Record,
        _: EventTime,
        window: &W,
        sum: &mut i64,
        context: &mut TriggerContext,
    ) -> TriggerResult {
        *sum += record.1;
        context.register_event_time_timer(window.max_timestamp());
        if *sum % 2 == 0 { TriggerResult::Fire } else { TriggerResult::Continue }
    }

    fn on_event_time(&mut self, _: EventTime, _: &W, _: &mut i64, _: &mut TriggerContext) -> TriggerResult {
        TriggerResult::FireAndPurge
    }
}

/// Removes values of 3.
#[derive(Clone)]
struct NoThree;

impl<W: Window> Evictor<Record, W> for NoThree {
    fn evict_before(&mut self, elements: &mut Vec<TimestampedValue<Record>>, _: &W, _: &EvictorContext) {
        elements.retain(|element| element.value.1 != 3);
    }
}

#[test]
fn assigners_triggers_and_evictors_can_be_the_user_s_own() {
    harness(|context, operator, output| {
        let contents = Evicting { evictor: NoThree, inner: Collecting };
        keeping(context, operator, windowing(Positive, EvenSum, 0), contents, output)
    })
    .input([
        rec((1, 1)).at(1),
        rec((1, -5)).at(1),
        rec((1, 3)).at(2),
        rec((1, 5)).at(3),
        watermark(9),
        rec((1, 7)).at(12),
        end(),
    ])
    .expect([rec((1, 0, 10, vec![1])).at(9), rec((1, 0, 10, vec![1, 5])).at(9), rec((1, 10, 20, vec![7])).at(19)])
    .keyed_by(|record: &Record| record.0)
    .in_all_modes();
}
