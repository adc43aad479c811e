//! Operators that keep nothing.

use flumen_testkit::{active, end, harness, idle, rec, watermark};
use flumen_worker::operators::{Collector, Filter, FlatMap, Map};

#[test]
fn map_keeps_times_and_passes_signals_on_behind_the_records_before_them() {
    harness(|_, _, output| Ok(Box::new(Map::new(|n: u32| n * 10, output))))
        .input([rec(1).at(5), rec(2), watermark(7), idle(), active(), rec(3).at(9), end()])
        .expect([rec(10).at(5), rec(20), watermark(7), idle(), active(), rec(30).at(9)])
        .stateless()
        .in_all_modes();
}

#[test]
fn filter_lets_records_through_with_their_times() {
    harness(|_, _, output| Ok(Box::new(Filter::new(|n: &u32| n % 2 == 1, output))))
        .input([rec(1).at(5), rec(2).at(6), watermark(6), rec(4).at(7), rec(3), end()])
        .expect([rec(1).at(5), watermark(6), rec(3)])
        .keyed_by(|n| *n)
        .except(flumen_testkit::Mode::Rescaled) // each instance passes the watermark on
        .stateless()
        .in_all_modes();
}

#[test]
fn flat_map_gives_what_it_emits_the_time_of_the_record() {
    let repeat = |n: u32, out: &mut Collector<u32>| (0..n).for_each(|_| out.collect(n));
    harness(move |_, _, output| Ok(Box::new(FlatMap::new(repeat, output))))
        .input([rec(2).at(5), rec(0).at(6), rec(1), watermark(6), end()])
        .expect([rec(2).at(5), rec(2).at(5), rec(1), watermark(6)])
        .stateless()
        .in_all_modes();
}
