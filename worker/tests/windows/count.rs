//! Windows by count, and evictors.

use flumen_testkit::{Element, end, harness, rec, watermark};
use flumen_worker::batch::END_OF_TIME;
use flumen_worker::windows::{
    After, Aggregating, Collecting, CountEvictor, CountTrigger, DeltaEvictor, DeltaTrigger, Evicting, GlobalWindows,
    PurgingTrigger, TimeEvictor, TumblingEventTimeWindows, Windowing,
};

use super::support::{Fired, Record, Values, keeping, listing, ms, windowing};

fn global(key: u8, values: &[i64]) -> Element<Fired> {
    rec((key, 0, 0, values.to_vec())).at(END_OF_TIME)
}

fn numbers(upto: i64) -> Vec<Element<Record>> {
    (1..=upto).map(|n| rec((1, n))).chain([end()]).collect()
}

#[test]
fn a_tumbling_count_window_fires_at_each_nth_record_and_begins_anew() {
    harness(|context, operator, output| {
        listing(context, operator, windowing(GlobalWindows, PurgingTrigger::of(CountTrigger::of(3)), 0), output)
    })
    .input([rec((1, 1)), rec((2, 10)), rec((1, 2)), rec((1, 3)), rec((1, 4)), rec((2, 20)), rec((2, 30)), end()])
    .expect([global(1, &[1, 2, 3]), global(2, &[10, 20, 30])])
    .keyed_by(|record| record.0)
    .in_all_modes();
}

#[test]
fn a_sliding_count_window_has_the_last_records() {
    let contents = Evicting { evictor: CountEvictor::of(4), inner: Collecting };
    harness(move |context, operator, output| {
        keeping(context, operator, windowing(GlobalWindows, CountTrigger::of(2), 0), contents.clone(), output)
    })
    .input(numbers(7))
    .expect([global(1, &[1, 2]), global(1, &[1, 2, 3, 4]), global(1, &[3, 4, 5, 6])])
    .keyed_by(|record| record.0)
    .in_all_modes();
}

#[test]
fn evicting_after_the_function_shows_in_the_next_firing() {
    let contents = Evicting { evictor: After(CountEvictor::of(1)), inner: Collecting };
    harness(move |context, operator, output| {
        keeping(context, operator, windowing(GlobalWindows, CountTrigger::of(3), 0), contents.clone(), output)
    })
    .input(numbers(6))
    .expect([global(1, &[1, 2, 3]), global(1, &[3, 4, 5, 6])])
    .keyed_by(|record| record.0)
    .in_all_modes();
}

#[test]
fn a_time_evictor_keeps_what_is_near_the_greatest_time() {
    let contents = Evicting { evictor: TimeEvictor::of(ms(10)), inner: Collecting };
    harness(move |context, operator, output| {
        let windowing = Windowing::of::<Record>(TumblingEventTimeWindows::of(ms(100)));
        keeping(context, operator, windowing, contents.clone(), output)
    })
    .input([rec((1, 50)).at(50), rec((1, 41)).at(41), rec((1, 40)).at(40), rec((1, 3)).at(3), watermark(99), end()])
    .expect([rec((1, 0, 100, vec![41, 50])).at(99)])
    .keyed_by(|record| record.0)
    .in_all_modes();
}

#[test]
fn a_delta_evictor_keeps_what_is_near_the_last_record_and_a_delta_trigger_fires_when_it_is_far() {
    let distance = |a: &Record, b: &Record| (a.1 - b.1).abs() as f64;
    harness(move |context, operator, output| {
        let contents = Evicting { evictor: DeltaEvictor::of(10.0, distance), inner: Collecting };
        let trigger = DeltaTrigger::of(10.0, distance);
        keeping(context, operator, windowing(GlobalWindows, trigger, 0), contents, output)
    })
    .input([0, 9, 12, 20, 23].map(|n| rec((1, n))).into_iter().chain([end()]))
    .expect([global(1, &[9, 12]), global(1, &[20, 23])])
    .keyed_by(|record| record.0)
    .in_all_modes();
}

#[test]
fn what_an_evictor_leaves_is_folded() {
    use super::support::by_key;
    use flumen_worker::operators::Collector;
    use flumen_worker::windows::{Apply, Elements, GlobalWindow, WindowOperator, WindowOutputs};

    harness(|context, operator, output| {
        let contents = Evicting { evictor: CountEvictor::of(2), inner: Aggregating(Values) };
        let function =
            Apply(|key: &u8, _: &GlobalWindow, values: Elements<'_, Vec<i64>>, out: &mut Collector<Fired>| {
                values.for_each(|values| out.collect((*key, 0, 0, values)));
            });
        let windowing = windowing(GlobalWindows, CountTrigger::of(3), 0);
        let outputs = WindowOutputs::default();
        Ok(Box::new(WindowOperator::open(context, operator, by_key(), windowing, contents, function, outputs, output)?))
    })
    .input(numbers(6))
    .expect([global(1, &[2, 3]), global(1, &[5, 6])])
    .keyed_by(|record: &Record| record.0)
    .in_all_modes();
}
