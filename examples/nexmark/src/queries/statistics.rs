//! Running statistics, by day.

use flumen::{
    Collector, DataStream, FunctionResult, Key, KeyedContext, KeyedProcessFunction, MapState, MapStateDescriptor,
    OpenContext, ValueState, ValueStateDescriptor,
};
use serde::{Deserialize, Serialize};

use crate::model::{Bid, day, minute};

/// Prices below the first are of rank 0, below the second of rank 1, others of rank 2.
pub const RANK_BOUNDS: [u64; 2] = [10_000, 1_000_000];

/// The rank of a price.
pub fn rank(price: u64) -> usize {
    RANK_BOUNDS.iter().filter(|bound| price >= **bound).count()
}

/// Bids, bidders and auctions: all, and by rank.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BiddingStatistics {
    /// Bids: all, then those of each rank.
    pub bids: [u64; 4],
    /// Different bidders.
    pub bidders: [u64; 4],
    /// Different auctions.
    pub auctions: [u64; 4],
}

/// What [`q16`] emits: channel, day, minute of the day of the last bid, statistics.
pub type ChannelStatistics = (String, i64, i64, BiddingStatistics);

/// q15, bidding statistics report: of each day, emitted with every bid.
pub fn q15(bids: DataStream<Bid>) -> DataStream<(i64, BiddingStatistics)> {
    let counted = bids.key_by(|bid| day(bid.date_time)).process(CountDistinct).uid("q15");
    counted.map(|(day, _, statistics)| (day, statistics))
}

/// q16, channel statistics report: of each channel and day, emitted with every bid.
pub fn q16(bids: DataStream<Bid>) -> DataStream<ChannelStatistics> {
    let counted = bids.key_by(|bid| (bid.channel.clone(), day(bid.date_time))).process(CountDistinct).uid("q16");
    counted.map(|((channel, day), minute, statistics)| (channel, day, minute, statistics))
}

#[derive(Clone)]
struct CountDistinct;

/// What was counted, the last minute, and who and what was seen: a bit for any rank, and one for each.
struct Seen<K> {
    counts: ValueState<K, (i64, BiddingStatistics)>,
    bidders: MapState<K, u64, u8>,
    auctions: MapState<K, u64, u8>,
}

impl<K: Key> KeyedProcessFunction<K, Bid, (K, i64, BiddingStatistics)> for CountDistinct {
    type State = Seen<K>;

    fn open(&self, context: &mut OpenContext<'_, K>) -> FunctionResult<Seen<K>> {
        Ok(Seen {
            counts: context.value_state(ValueStateDescriptor::new("counts"))?,
            bidders: context.map_state(MapStateDescriptor::new("bidders"))?,
            auctions: context.map_state(MapStateDescriptor::new("auctions"))?,
        })
    }

    fn process_element(
        &mut self,
        bid: Bid,
        seen: &Seen<K>,
        ctx: &mut KeyedContext<'_, K>,
        out: &mut Collector<(K, i64, BiddingStatistics)>,
    ) -> FunctionResult {
        let (mut last_minute, mut counts) = seen.counts.get()?.unwrap_or_default();
        last_minute = last_minute.max(minute(bid.date_time));
        let rank = 1 + rank(bid.price);
        for kind in [0, rank] {
            counts.bids[kind] += 1;
        }
        count_new(&seen.bidders, bid.bidder, rank, &mut counts.bidders)?;
        count_new(&seen.auctions, bid.auction, rank, &mut counts.auctions)?;
        seen.counts.set((last_minute, counts.clone()))?;
        out.collect((ctx.current_key().clone(), last_minute, counts));
        Ok(())
    }
}

/// Counts what was not seen before, at all and with that rank.
fn count_new<K: Key>(seen: &MapState<K, u64, u8>, id: u64, rank: usize, counts: &mut [u64; 4]) -> FunctionResult {
    let before = seen.get(&id)?.unwrap_or(0);
    let now = before | 1 | 1 << rank;
    for kind in [0, rank] {
        counts[kind] += u64::from(before & 1 << kind == 0);
    }
    if now != before {
        seen.put(id, now)?;
    }
    Ok(())
}

/// What [`q17`] emits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AuctionStatistics {
    /// The auction.
    pub auction: u64,
    /// The day.
    pub day: i64,
    /// Bids: all, then those of each rank.
    pub bids: [u64; 4],
    /// The lowest price.
    pub min: u64,
    /// The highest price.
    pub max: u64,
    /// The sum of all prices; divided by the number of bids, the average.
    pub sum: u64,
}

/// q17, auction statistics report: of each auction and day, emitted with every bid.
pub fn q17(bids: DataStream<Bid>) -> DataStream<AuctionStatistics> {
    let one = bids.map(|bid| {
        let mut bids = [1, 0, 0, 0];
        bids[1 + rank(bid.price)] = 1;
        let (min, max, sum) = (bid.price, bid.price, bid.price);
        AuctionStatistics { auction: bid.auction, day: day(bid.date_time), bids, min, max, sum }
    });
    let all = one.key_by(|row| (row.auction, row.day)).reduce(|all: &mut AuctionStatistics, bid| {
        all.bids.iter_mut().zip(bid.bids).for_each(|(all, bid)| *all += bid);
        all.min = all.min.min(bid.min);
        all.max = all.max.max(bid.max);
        all.sum += bid.sum;
    });
    all.uid("q17")
}
