//! Interval joins.

use flumen_testkit::{Element, Harness, end, harness, rec, share, watermark};
use flumen_worker::keyed::OwnedKey;
use flumen_worker::operator::TaskError;
use flumen_worker::operators::either::Either;
use flumen_worker::operators::interval_join::{Interval, IntervalJoin, LateOutputs};
use flumen_worker::operators::side_output::{OutputTag, SideOutputs};
use flumen_worker::operators::{Collector, Map};

type Left = (u32, char);
type Right = (u32, u32);

fn joining(interval: Interval) -> Harness<Either<Left, Right>, String> {
    harness(move |context, operator, output| {
        let output = share(output);
        let (late_left, late_right) = (OutputTag::<Left>::new("left"), OutputTag::<Right>::new("right"));
        let sides = SideOutputs::new()
            .with(&late_left, Box::new(Map::new(|r: Left| format!("late {}", r.1), Box::new(output.side()))))
            .with(&late_right, Box::new(Map::new(|r: Right| format!("late {}", r.1), Box::new(output.side()))));
        let late = LateOutputs { left: Some(late_left), right: Some(late_right) };
        let pair = |l: &Left, r: &Right, out: &mut Collector<String>| out.collect(format!("{}{}", l.1, r.1));
        let selectors = (OwnedKey::new(|r: &Left| r.0), OwnedKey::new(|r: &Right| r.0));
        let output = Box::new(output);
        Ok(Box::new(IntervalJoin::open(context, operator, selectors, interval, pair, late, sides, output)?))
    })
    .keyed_by(|record| match record {
        Either::Left((key, _)) | Either::Right((key, _)) => *key,
    })
    .in_any_order()
}

fn left(key: u32, name: char, time: i64) -> Element<Either<Left, Right>> {
    rec(Either::Left((key, name))).at(time)
}

fn right(key: u32, number: u32, time: i64) -> Element<Either<Left, Right>> {
    rec(Either::Right((key, number))).at(time)
}

fn out(text: &str, time: i64) -> Element<String> {
    rec(text.to_owned()).at(time)
}

#[test]
fn records_of_a_key_within_the_bounds_are_pairs_whichever_comes_first() {
    joining(Interval::between(-2, 3))
        .input([
            left(1, 'a', 10),
            right(1, 7, 7),
            right(1, 8, 8),
            right(1, 13, 13),
            right(1, 14, 14),
            right(2, 10, 10),
            left(1, 'b', 6),
            left(2, 'c', 12),
            end(),
        ])
        .expect([out("a8", 10), out("a13", 13), out("b7", 7), out("b8", 8), out("c10", 12)])
        .in_all_modes();
}

#[test]
fn exclusive_bounds_do_not_count() {
    joining(Interval::between(-2, 3).lower_bound_exclusive().upper_bound_exclusive())
        .input([left(1, 'a', 10), right(1, 8, 8), right(1, 9, 9), right(1, 12, 12), right(1, 13, 13), end()])
        .expect([out("a9", 10), out("a12", 12)])
        .in_all_modes();
}

#[test]
fn partners_are_kept_until_the_watermark_has_passed_them_and_late_records_go_aside() {
    joining(Interval::between(0, 100))
        .input([
            left(1, 'a', 10),
            watermark(100),
            right(1, 110, 110),
            watermark(109),
            right(1, 109, 109),
            watermark(110),
            right(1, 50, 50),
            left(1, 'b', 20),
            right(1, 111, 111),
            left(1, 'c', 111),
            end(),
        ])
        .expect([out("a110", 110), out("a109", 109), out("late 50", 50), out("late b", 20), out("c111", 111)])
        .in_all_modes();
}

#[test]
fn a_record_without_event_time_is_refused_with_what_to_do() {
    let error = joining(Interval::between(0, 1)).input([rec(Either::Left((1, 'a')))]).fails();
    let TaskError::Failed { message, .. } = error else { panic!("{error:?}") };
    assert!(message.contains("assign_timestamps_and_watermarks"), "{message}");
}
