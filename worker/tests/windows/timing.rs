//! Late records, processing time, records without time, dynamic gaps.

use flumen_model::failure::Blame;
use flumen_testkit::{end, harness, processing_time, rec, share, watermark};
use flumen_worker::operator::{Push, TaskError};
use flumen_worker::operators::Map;
use flumen_worker::operators::side_output::{OutputTag, SideOutputs};
use flumen_worker::windows::{
    Aggregating, Apply, ContinuousProcessingTimeTrigger, DeltaTrigger, EventTimeSessionWindows,
    ProcessingTimeSessionWindows, SliceOperator, Slicing, SlidingEventTimeWindows, TumblingEventTimeWindows,
    TumblingProcessingTimeWindows, WindowOperator, WindowOutputs, Windowing,
};

use super::support::{Fired, Record, Values, by_key, fired, folding, listing, ms, slicing, windowing};

/// Late records as if they had fired: without window.
fn late_outputs(output: Box<dyn Push<Fired>>) -> (WindowOutputs<Record>, Box<dyn Push<Fired>>) {
    let output = share(output);
    let late = OutputTag::new("late");
    let as_fired = Map::new(|(key, value): Record| (key, 0, 0, vec![value]), Box::new(output.side()));
    let sides = SideOutputs::new().with(&late, Box::new(as_fired));
    (WindowOutputs { late: Some(late), sides }, Box::new(output))
}

#[test]
fn late_records_go_to_their_side_output_with_their_own_time() {
    let input = || {
        [
            rec((1, 1)).at(5),
            watermark(9),
            rec((1, 2)).at(6),
            rec((1, 3)).at(10),
            watermark(13),
            rec((1, 4)).at(7),
            watermark(14),
            rec((1, 5)).at(8),
            end(),
        ]
    };
    // With a lateness of 5 ms, the window up to 10 is forgotten at 14.
    let expected = || {
        [
            rec((1, 0, 10, vec![1])).at(9),
            rec((1, 0, 10, vec![1, 2])).at(9),
            rec((1, 0, 10, vec![1, 2, 4])).at(9),
            rec((1, 0, 0, vec![5])).at(8),
            rec((1, 10, 20, vec![3])).at(19),
        ]
    };
    harness(|context, operator, output| {
        let (outputs, output) = late_outputs(output);
        let mut windowing = Windowing::of::<Record>(TumblingEventTimeWindows::of(ms(10)));
        windowing.allowed_lateness = ms(5);
        let (contents, function) = (Aggregating(Values), Apply(fired));
        Ok(Box::new(WindowOperator::open(context, operator, by_key(), windowing, contents, function, outputs, output)?))
    })
    .input(input())
    .expect(expected())
    .keyed_by(|record: &Record| record.0)
    .in_all_modes();
    harness(|context, operator, output| {
        let (outputs, output) = late_outputs(output);
        let slicing = Slicing::of(&TumblingEventTimeWindows::of(ms(10)), ms(5), false).unwrap();
        let (contents, function) = (Aggregating(Values), Apply(fired));
        Ok(Box::new(SliceOperator::open(context, operator, by_key(), slicing, contents, function, outputs, output)?))
    })
    .input(input())
    .expect(expected())
    .keyed_by(|record: &Record| record.0)
    .in_all_modes();
}

#[test]
fn a_record_that_is_too_late_for_some_windows_is_in_the_others() {
    let expected = [rec((1, 0, 30, vec![1, 2])).at(29), rec((1, 10, 40, vec![1, 2])).at(39)];
    harness(|context, operator, output| {
        slicing(context, operator, &SlidingEventTimeWindows::of(ms(30), ms(10)), 0, output)
    })
    .input([watermark(19), rec((1, 1)).at(12), rec((1, 2)).at(11), end()])
    .expect(expected)
    .keyed_by(|record: &Record| record.0)
    .in_all_modes();
}

#[test]
fn a_window_of_processing_time_takes_records_until_its_last_moment_is_over() {
    for sliced in [false, true] {
        harness(move |context, operator, output| {
            let windows = TumblingProcessingTimeWindows::of(ms(10));
            if sliced {
                slicing(context, operator, &windows, 0, output)
            } else {
                folding(context, operator, Windowing::of::<Record>(windows), output)
            }
        })
        .input([
            processing_time(3),
            rec((1, 1)),
            processing_time(9),
            rec((1, 2)),
            processing_time(10),
            rec((1, 3)),
            processing_time(25),
            processing_time(26),
            rec((1, 4)),
            end(),
        ])
        // What is not due at the end of the input never is.
        .expect([rec((1, 0, 10, vec![1, 2])).at(9), rec((1, 10, 20, vec![3])).at(19)])
        .keyed_by(|record: &Record| record.0)
        .in_all_modes();
    }
}

#[test]
fn a_continuous_trigger_fires_at_the_end_of_a_window_that_is_shorter_than_a_moment_is_long() {
    harness(|context, operator, output| {
        let trigger = ContinuousProcessingTimeTrigger::of(ms(5));
        folding(context, operator, windowing(TumblingProcessingTimeWindows::of(ms(1)), trigger, 0), output)
    })
    .input([processing_time(100), rec((1, 1)), processing_time(101), end()])
    .expect([rec((1, 100, 101, vec![1])).at(100)])
    .keyed_by(|record: &Record| record.0)
    .in_all_modes();
}

#[test]
fn a_record_without_time_is_refused_by_windows_of_event_time() {
    for sliced in [false, true] {
        let error = harness(move |context, operator, output| {
            let windows = TumblingEventTimeWindows::of(ms(10));
            if sliced {
                slicing(context, operator, &windows, 0, output)
            } else {
                listing(context, operator, Windowing::of::<Record>(windows), output)
            }
        })
        .input([rec((1, 1)), end()])
        .fails();
        let TaskError::Failed { blame: Blame::User, message } = &error else { panic!("{error:?}") };
        assert!(message.contains("assign_timestamps_and_watermarks"), "{message}");
    }
}

#[test]
fn sessions_have_the_gap_that_each_record_asks_for() {
    harness(|context, operator, output| {
        let gap = |record: &Record| ms(record.1);
        listing(context, operator, Windowing::of::<Record>(EventTimeSessionWindows::with_dynamic_gap(gap)), output)
    })
    .input([rec((1, 10)).at(0), rec((1, 3)).at(11), rec((1, 100)).at(5), rec((1, 2)).at(200), watermark(300), end()])
    .expect([rec((1, 0, 105, vec![3, 10, 100])).at(104), rec((1, 200, 202, vec![2])).at(201)])
    .keyed_by(|record: &Record| record.0)
    .in_all_modes();
    let error = harness(|context, operator, output| {
        let gap = |_: &Record| ms(0);
        listing(context, operator, Windowing::of::<Record>(ProcessingTimeSessionWindows::with_dynamic_gap(gap)), output)
    })
    .input([rec((1, 1)), end()])
    .fails();
    assert!(format!("{error:?}").contains("gap"), "{error:?}");
}

#[test]
fn a_trigger_that_can_t_merge_is_refused_for_sessions() {
    let error = harness(|context, operator, output| {
        let trigger = DeltaTrigger::of(1.0, |a: &Record, b: &Record| (a.1 - b.1) as f64);
        listing(context, operator, windowing(EventTimeSessionWindows::with_gap(ms(1)), trigger, 0), output)
    })
    .input([end()])
    .fails();
    assert!(format!("{error:?}").contains("DeltaTrigger"), "{error:?}");
}
