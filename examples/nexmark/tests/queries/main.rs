//! Every query, in the embedded cluster, beside what plain loops over the same events come to.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod expected;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use expected::World;
use flumen::{Configuration, Data, DataStream, StreamExecutionEnvironment};
use flumen_nexmark::generator::Generator;
use flumen_nexmark::model::{Bid, Event};
use flumen_nexmark::queries::{self as q, bids, events};

/// Two seconds of windows in a few thousand events.
const EVENTS: u64 = 6000;
const SECOND: Duration = Duration::from_secs(1);

fn generator() -> Generator {
    Generator { events_per_second: 500, ..Generator::default() }
}

fn world() -> World {
    World::new((0..EVENTS).map(|n| generator().event(n)))
}

fn env(parallelism: u32) -> StreamExecutionEnvironment {
    let env = StreamExecutionEnvironment::get_with(&Configuration::new()).unwrap();
    env.set_parallelism(parallelism);
    env
}

/// What comes out of a query; rows of one key in their order.
fn results<T: Data>(parallelism: u32, query: impl FnOnce(DataStream<Event>) -> DataStream<T>) -> Vec<T> {
    let env = env(parallelism);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&seen);
    query(events(&env, generator(), EVENTS)).map(move |row| sink.lock().unwrap().push(row));
    env.execute("query").unwrap();
    let mut seen = seen.lock().unwrap();
    std::mem::take(&mut *seen)
}

/// A query whose rows are all results.
fn check<T: Data + Ord + std::fmt::Debug>(
    query: impl Fn(DataStream<Event>) -> DataStream<T>,
    expected: impl FnOnce(&World) -> Vec<T>,
) {
    let mut expected = expected(&world());
    expected.sort();
    assert!(!expected.is_empty(), "nothing is expected: the test shows nothing");
    for parallelism in [1, 3] {
        let mut rows = results(parallelism, &query);
        rows.sort();
        assert_eq!(rows, expected, "parallelism {parallelism}");
    }
}

/// A query that emits the row of a key whenever it changes: the last ones are the result.
fn check_last<T: Data + std::fmt::Debug + PartialEq, K: Ord + std::fmt::Debug>(
    query: impl Fn(DataStream<Event>) -> DataStream<T>,
    key: impl Fn(&T) -> K,
    expected: impl FnOnce(&World) -> Vec<T>,
) {
    let by_key = |rows: Vec<T>| rows.into_iter().map(|row| (key(&row), row)).collect::<BTreeMap<K, T>>();
    let expected = by_key(expected(&world()));
    assert!(!expected.is_empty(), "nothing is expected: the test shows nothing");
    for parallelism in [1, 3] {
        assert_eq!(by_key(results(parallelism, &query)), expected, "parallelism {parallelism}");
    }
}

#[test]
fn q0_passes_bids_through() {
    check(|events| q::q0(bids(events)), |world| world.bids.clone());
}

#[test]
fn q1_converts_currencies() {
    check(|events| q::q1(bids(events)), World::q1);
}

#[test]
fn q2_selects_bids() {
    check(|events| q::q2(bids(events)), World::q2);
}

#[test]
fn q3_joins_sellers_with_their_auctions() {
    check(q::q3, World::q3);
}

#[test]
fn q4_averages_the_winning_bids_of_categories() {
    check_last(q::q4, |row| row.0, World::q4);
}

#[test]
fn q5_finds_hot_items() {
    check(|events| q::q5(bids(events), 4 * SECOND, SECOND), |world| world.q5(4000, 1000));
}

#[test]
fn q6_averages_the_last_sales_of_sellers() {
    check(q::q6, World::q6);
}

#[test]
fn q7_finds_the_highest_bids() {
    check(|events| q::q7(bids(events), 2 * SECOND), |world| world.q7(2000));
}

#[test]
fn q8_finds_new_users_who_sell() {
    check(|events| q::q8(events, 2 * SECOND), |world| world.q8(2000));
}

#[test]
fn q9_finds_winning_bids() {
    check(q::q9, World::winners);
}

#[test]
fn q10_writes_bids_to_files_by_time() {
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("log");
    let env = env(2);
    q::q10(bids(events(&env, generator(), EVENTS)), output.to_str().unwrap());
    env.execute("q10").unwrap();
    let mut lines = BTreeSet::new();
    let mut files = vec![output.clone()];
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let bucket = path.parent().unwrap().strip_prefix(&output).unwrap().to_str().unwrap().to_owned();
        for line in std::fs::read_to_string(&path).unwrap().lines() {
            assert_eq!(line.split('\t').next(), Some(bucket.as_str()), "{}", path.display());
            assert!(lines.insert(line.to_owned()), "{line} is there twice");
        }
    }
    assert_eq!(lines, world().q10().into_iter().collect());
}

#[test]
fn q11_counts_bids_in_sessions() {
    check(|events| q::q11(bids(events), SECOND / 2), |world| world.q11(500));
}

#[test]
fn q12_counts_bids_in_windows_of_the_clock() {
    let rows = results(2, |events| q::q12(bids(events), Duration::from_millis(1)));
    let mut counted: BTreeMap<u64, u64> = BTreeMap::new();
    for (bidder, count, start, end) in rows {
        assert_eq!(end - start, 1);
        *counted.entry(bidder).or_default() += count;
    }
    let all = world().bids_by_bidder();
    // Those of the last windows are not emitted.
    assert!(counted.iter().all(|(bidder, count)| count <= &all[bidder]), "{counted:?}");
}

#[test]
fn q13_joins_bids_with_a_table() {
    let table: BTreeMap<u64, String> = (0..100).map(|i| (i, format!("value {i}"))).collect();
    let side = table.clone();
    check(move |events| q::q13(bids(events), side.clone()), |world| world.q13(&table));
}

#[test]
fn q14_calculates() {
    check(|events| q::q14(bids(events)), World::q14);
}

#[test]
fn q15_counts_bids_bidders_and_auctions_of_a_day() {
    check_last(|events| q::q15(bids(events)), |row| row.0, World::q15);
}

#[test]
fn q16_counts_them_by_channel() {
    check_last(|events| q::q16(bids(events)), |row| (row.0.clone(), row.1), World::q16);
}

#[test]
fn q17_sums_up_auctions() {
    check_last(|events| q::q17(bids(events)), |row| (row.auction, row.day), World::q17);
}

#[test]
fn q18_finds_the_last_bid_of_a_bidder_for_an_auction() {
    check_last(|events| q::q18(bids(events)), |bid: &Bid| (bid.bidder, bid.auction), World::q18);
}

#[test]
fn q19_finds_the_ten_highest_bids_of_an_auction() {
    check_last(|events| q::q19(bids(events)), |row| row.0, World::q19);
}

#[test]
fn q20_expands_bids_with_their_auctions() {
    check(q::q20, World::q20);
}

#[test]
fn q21_adds_channel_ids() {
    check(|events| q::q21(bids(events)), World::q21);
}

#[test]
fn q22_takes_addresses_apart() {
    check(|events| q::q22(bids(events)), World::q22);
}
