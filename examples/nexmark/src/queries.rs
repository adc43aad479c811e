//! The queries: each takes the stream of events (or of bids, where it looks at nothing else) and gives its results.

mod joins;
mod records;
mod statistics;
mod top;
mod windows;
mod winners;

pub use joins::{LocalItem, q3, q20};
pub use records::{Calculated, q0, q1, q2, q10, q13, q14, q21, q22};
pub use statistics::{AuctionStatistics, BiddingStatistics, ChannelStatistics, RANK_BOUNDS, q15, q16, q17, rank};
pub use top::{TOP, q18, q19};
pub use windows::{HotItem, q5, q7, q8, q11, q12};
pub use winners::{CategoryAverage, LAST_SOLD, Winner, q4, q6, q9, winners};

use flumen::{DataStream, StreamExecutionEnvironment, WatermarkStrategy};

use crate::generator::Generator;
use crate::model::{Auction, Bid, Event, Person};

/// The first `count` events, with their times and watermarks.
pub fn events(env: &StreamExecutionEnvironment, generator: Generator, count: u64) -> DataStream<Event> {
    let times =
        WatermarkStrategy::for_monotonous_timestamps().with_timestamp_assigner(|event: &Event, _| event.date_time());
    env.generate(count, None, move |n| generator.event(n))
        .uid("events")
        .assign_timestamps_and_watermarks(times)
        .uid("times")
}

/// The persons among the events.
pub fn persons(events: DataStream<Event>) -> DataStream<Person> {
    events.flat_map(|event, out| {
        if let Event::Person(person) = event {
            out.collect(person);
        }
    })
}

/// The auctions among the events.
pub fn auctions(events: DataStream<Event>) -> DataStream<Auction> {
    events.flat_map(|event, out| {
        if let Event::Auction(auction) = event {
            out.collect(auction);
        }
    })
}

/// The bids among the events.
pub fn bids(events: DataStream<Event>) -> DataStream<Bid> {
    events.flat_map(|event, out| {
        if let Event::Bid(bid) = event {
            out.collect(bid);
        }
    })
}
