//! Two streams in the same windows.

use flumen_testkit::{Element, end, harness, rec, watermark};
use flumen_worker::keyed::OwnedKey;
use flumen_worker::operators::Collector;
use flumen_worker::operators::either::{Either, EitherKey};
use flumen_worker::windows::{
    CoGroup, Collecting, EventTimeSessionWindows, Join, TumblingEventTimeWindows, WindowOperator, WindowOutputs,
    Windowing,
};

use super::support::ms;

type Left = (u8, i64);
type Right = (u8, String);

fn selector() -> impl flumen_worker::keyed::KeySelector<Either<Left, Right>, Key = u8> {
    EitherKey(OwnedKey::<_, u8>::new(|left: &Left| left.0), OwnedKey::<_, u8>::new(|right: &Right| right.0))
}

fn key(record: &Either<Left, Right>) -> u8 {
    match record {
        Either::Left(left) => left.0,
        Either::Right(right) => right.0,
    }
}

fn left(key: u8, value: i64, time: i64) -> Element<Either<Left, Right>> {
    rec(Either::Left((key, value))).at(time)
}

fn right(key: u8, value: &str, time: i64) -> Element<Either<Left, Right>> {
    rec(Either::Right((key, value.to_owned()))).at(time)
}

#[test]
fn a_join_has_each_pair_of_a_window() {
    harness(|context, operator, output| {
        let function = Join::new(|a: &Left, b: &Right, out: &mut Collector<(i64, String)>| {
            out.collect((a.1, b.1.clone()));
        });
        let windowing = Windowing::of::<Either<Left, Right>>(TumblingEventTimeWindows::of(ms(10)));
        let outputs = WindowOutputs::default();
        Ok(Box::new(WindowOperator::open(
            context,
            operator,
            selector(),
            windowing,
            Collecting,
            function,
            outputs,
            output,
        )?))
    })
    .input([
        left(1, 1, 1),
        right(1, "a", 9),
        left(1, 2, 5),
        right(2, "b", 5),
        right(1, "c", 10),
        right(1, "d", 3),
        watermark(9),
        left(1, 3, 11),
        end(),
    ])
    .expect([
        rec((1, "a".to_owned())).at(9),
        rec((1, "d".to_owned())).at(9),
        rec((2, "a".to_owned())).at(9),
        rec((2, "d".to_owned())).at(9),
        rec((3, "c".to_owned())).at(19),
    ])
    .keyed_by(key)
    .in_all_modes();
}

#[test]
fn a_co_group_has_both_sides_of_a_window_also_when_one_is_empty() {
    harness(|context, operator, output| {
        let function = CoGroup(|a: Vec<Left>, b: Vec<Right>, out: &mut Collector<(usize, usize)>| {
            out.collect((a.len(), b.len()));
        });
        let windowing = Windowing::of::<Either<Left, Right>>(EventTimeSessionWindows::with_gap(ms(10)));
        let outputs = WindowOutputs::default();
        Ok(Box::new(WindowOperator::open(
            context,
            operator,
            selector(),
            windowing,
            Collecting,
            function,
            outputs,
            output,
        )?))
    })
    .input([left(1, 1, 1), right(1, "a", 20), left(1, 2, 11), right(2, "b", 5), watermark(40), left(3, 1, 50), end()])
    .expect([rec((2, 1)).at(29), rec((0, 1)).at(14), rec((1, 0)).at(59)])
    .keyed_by(key)
    .in_any_order()
    .in_all_modes();
}
