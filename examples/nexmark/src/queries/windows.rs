//! Queries over windows.

use std::time::Duration;

use flumen::windows::{
    Apply, Elements, EventTimeSessionWindows, SlidingEventTimeWindows, TimeWindow, TumblingEventTimeWindows,
    TumblingProcessingTimeWindows,
};
use flumen::{AggregateFunction, Collector, DataStream};

use crate::model::{Bid, Event, Millis};
use crate::queries::{auctions, persons};

/// Counts bids.
#[derive(Clone)]
struct Count;

impl AggregateFunction for Count {
    type In = Bid;
    type Acc = u64;
    type Out = u64;

    fn create_accumulator(&self) -> u64 {
        0
    }

    fn add(&self, count: &mut u64, _: Bid) {
        *count += 1;
    }

    fn get_result(&self, count: &u64) -> u64 {
        *count
    }

    fn merge(&self, a: u64, b: u64) -> u64 {
        a + b
    }
}

/// Key, count, start and end of the window.
fn counted(key: &u64, window: &TimeWindow, counts: Elements<'_, u64>, out: &mut Collector<(u64, u64, Millis, Millis)>) {
    counts.for_each(|count| out.collect((*key, count, window.start, window.end)));
}

/// Auction, number of bids, start and end of the window.
pub type HotItem = (u64, u64, Millis, Millis);

/// q5, hot items: the auctions with the most bids in the last `size`, every `slide`.
pub fn q5(bids: DataStream<Bid>, size: Duration, slide: Duration) -> DataStream<HotItem> {
    let counts = bids
        .key_by_ref(|bid| &bid.auction)
        .window(SlidingEventTimeWindows::of(size, slide))
        .aggregate_with(Count, Apply(counted))
        .uid("q5-counts");
    // Counts carry the last moment of their window: those of one window are in one window here.
    let hottest = counts.window_all(TumblingEventTimeWindows::of(slide)).apply(|(), _, counts, out| {
        let counts: Vec<HotItem> = counts.collect();
        let most = counts.iter().map(|item| item.1).max().unwrap_or(0);
        counts.into_iter().filter(|item| item.1 == most).for_each(|item| out.collect(item));
    });
    hottest.uid("q5")
}

/// Keeps the bids with the highest price.
#[derive(Clone)]
struct HighestBids;

impl AggregateFunction for HighestBids {
    type In = Bid;
    type Acc = Vec<Bid>;
    type Out = Vec<Bid>;

    fn create_accumulator(&self) -> Vec<Bid> {
        Vec::new()
    }

    fn add(&self, highest: &mut Vec<Bid>, bid: Bid) {
        match highest.first().map(|first| first.price.cmp(&bid.price)) {
            Some(std::cmp::Ordering::Greater) => {}
            Some(std::cmp::Ordering::Equal) => highest.push(bid),
            Some(std::cmp::Ordering::Less) | None => *highest = vec![bid],
        }
    }

    fn get_result(&self, highest: &Vec<Bid>) -> Vec<Bid> {
        highest.clone()
    }

    fn merge(&self, mut a: Vec<Bid>, b: Vec<Bid>) -> Vec<Bid> {
        b.into_iter().for_each(|bid| self.add(&mut a, bid));
        a
    }
}

/// q7, highest bid: the bids with the highest price of every `size`.
pub fn q7(bids: DataStream<Bid>, size: Duration) -> DataStream<Bid> {
    let highest = bids.window_all(TumblingEventTimeWindows::of(size)).aggregate(HighestBids).uid("q7");
    highest.flat_map(|bids, out| bids.into_iter().for_each(|bid| out.collect(bid)))
}

/// q8, monitor new users: who registered and opened an auction within the same `size`. Id, name, start of the window.
pub fn q8(events: DataStream<Event>, size: Duration) -> DataStream<(u64, String, Millis)> {
    let (persons, auctions) = (persons(events.clone()), auctions(events));
    let millis = size.as_millis() as i64;
    let both = persons.co_group(auctions).where_(|person| person.id).equal_to(|auction| auction.seller);
    let new = both.window(TumblingEventTimeWindows::of(size)).apply(move |persons, auctions, out| {
        if !auctions.is_empty() {
            for person in persons {
                out.collect((person.id, person.name, person.date_time - person.date_time.rem_euclid(millis)));
            }
        }
    });
    new.uid("q8")
}

/// q11, user sessions: how many bids somebody made until nothing came for `gap`. Bidder, bids, start and end.
pub fn q11(bids: DataStream<Bid>, gap: Duration) -> DataStream<(u64, u64, Millis, Millis)> {
    let sessions = bids.key_by_ref(|bid| &bid.bidder).window(EventTimeSessionWindows::with_gap(gap));
    sessions.aggregate_with(Count, Apply(counted)).uid("q11")
}

/// q12, windows of processing time: how many bids of somebody came within every `size` of the clock. Bidder, bids, start and
/// end. What is in a window when the input ends is not emitted.
pub fn q12(bids: DataStream<Bid>, size: Duration) -> DataStream<(u64, u64, Millis, Millis)> {
    let windows = bids.key_by_ref(|bid| &bid.bidder).window(TumblingProcessingTimeWindows::of(size));
    windows.aggregate_with(Count, Apply(counted)).uid("q12")
}
