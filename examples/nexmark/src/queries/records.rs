//! Queries that look at one bid at a time.

use std::collections::BTreeMap;
use std::sync::Arc;

use flumen::files::{BucketContext, FileSink, OnCheckpointRollingPolicy, SimpleStringEncoder};
use flumen::{DataStream, DataStreamSink};
use serde::{Deserialize, Serialize};

use crate::model::{Bid, Millis, day, hour};

/// q0, pass through: every bid as it is.
pub fn q0(bids: DataStream<Bid>) -> DataStream<Bid> {
    bids.map(|bid| bid)
}

/// q1, currency conversion: prices in another currency.
pub fn q1(bids: DataStream<Bid>) -> DataStream<Bid> {
    bids.map(|bid| Bid { price: bid.price * 908 / 1000, ..bid })
}

/// q2, selection: auction and price of the bids for some auctions.
pub fn q2(bids: DataStream<Bid>) -> DataStream<(u64, u64)> {
    bids.filter(|bid| bid.auction.is_multiple_of(123)).map(|bid| (bid.auction, bid.price))
}

/// q10, log to the file system: every bid as a line, in a directory for each day and hour of its time.
pub fn q10(bids: DataStream<Bid>, directory: &str) -> DataStreamSink {
    let line = |bid: Bid| {
        let (day, hour) = (day(bid.date_time), hour(bid.date_time));
        format!("{day}/{hour:02}\t{},{},{},{}", bid.auction, bid.bidder, bid.price, bid.date_time)
    };
    let bucket = |line: &String, _: &BucketContext| line.split('\t').next().unwrap_or_default().to_owned();
    let sink = FileSink::for_row_format(directory, SimpleStringEncoder::new())
        .with_bucket_assigner(bucket)
        .with_rolling_policy(OnCheckpointRollingPolicy);
    bids.map(line).sink_to(sink).uid("log")
}

/// q13, join with a bounded side input: each bid with the value that the table has for its auction. The table is one that the
/// program holds, where SQL reads it from a file.
pub fn q13(bids: DataStream<Bid>, table: BTreeMap<u64, String>) -> DataStream<(u64, u64, u64, String)> {
    let table = Arc::new(table);
    bids.flat_map(move |bid, out| {
        if let Some(value) = table.get(&(bid.auction % 1000)) {
            out.collect((bid.auction, bid.bidder, bid.price, value.clone()));
        }
    })
}

/// A row of [`q14`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Calculated {
    /// The auction.
    pub auction: u64,
    /// The bidder.
    pub bidder: u64,
    /// In another currency.
    pub price: u64,
    /// Day, night or other.
    pub time_of_day: String,
    /// When.
    pub date_time: Millis,
    /// How many `c` the padding has.
    pub count_of_c: u64,
}

/// q14, calculation: prices in another currency within bounds, time of the day, letters counted.
pub fn q14(bids: DataStream<Bid>) -> DataStream<Calculated> {
    let calculated = bids.map(|bid| Calculated {
        auction: bid.auction,
        bidder: bid.bidder,
        price: bid.price * 908 / 1000,
        time_of_day: match hour(bid.date_time) {
            8..=18 => "dayTime",
            0..=6 | 20..=23 => "nightTime",
            _ => "otherTime",
        }
        .to_owned(),
        date_time: bid.date_time,
        count_of_c: bid.extra.matches('c').count() as u64,
    });
    calculated.filter(|row| (1_000_000..50_000_000).contains(&row.price))
}

/// q21, add channel id: that of known channels, else the one in the page's address; bids without any are left out.
pub fn q21(bids: DataStream<Bid>) -> DataStream<(u64, u64, u64, String, String)> {
    bids.flat_map(|bid, out| {
        let id = match bid.channel.to_lowercase().as_str() {
            "apple" => Some("0"),
            "google" => Some("1"),
            "facebook" => Some("2"),
            "baidu" => Some("3"),
            _ => bid.url.split(['&', '?']).find_map(|parameter| parameter.strip_prefix("channel_id=")),
        };
        if let Some(id) = id {
            out.collect((bid.auction, bid.bidder, bid.price, bid.channel.clone(), id.to_owned()));
        }
    })
}

/// q22, directories of the page's address.
pub fn q22(bids: DataStream<Bid>) -> DataStream<(u64, u64, u64, String, [String; 3])> {
    bids.map(|bid| {
        let mut parts = bid.url.split('/').skip(3).map(str::to_owned);
        let directories = std::array::from_fn(|_| parts.next().unwrap_or_default());
        (bid.auction, bid.bidder, bid.price, bid.channel, directories)
    })
}
