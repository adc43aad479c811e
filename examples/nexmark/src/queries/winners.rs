//! Who won an auction, and what follows from it.

use flumen::{
    Collector, DataStream, FunctionResult, KeyedCoProcessFunction, KeyedContext, KeyedProcessFunction, ListState,
    ListStateDescriptor, MapState, MapStateDescriptor, OpenContext, ValueState, ValueStateDescriptor,
};
use serde::{Deserialize, Serialize};

use crate::model::{Auction, Bid, Event, Millis};
use crate::queries::{auctions, bids};

/// The highest bid of an auction that is over; of several the first, of those the one of the smallest bidder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Winner {
    /// The auction.
    pub auction: u64,
    /// Its category.
    pub category: u64,
    /// Who sold.
    pub seller: u64,
    /// Who bought.
    pub bidder: u64,
    /// For how much, in cents.
    pub price: u64,
    /// When that was bid.
    pub date_time: Millis,
}

/// The winner of each auction, emitted at the moment at which it is over.
pub fn winners(events: DataStream<Event>) -> DataStream<Winner> {
    let auctions = auctions(events.clone());
    auctions.connect(bids(events)).key_by(|auction| auction.id, |bid| bid.auction).process(Highest).uid("winners")
}

/// q9, winning bids.
pub fn q9(events: DataStream<Event>) -> DataStream<Winner> {
    winners(events)
}

#[derive(Clone)]
struct Highest;

/// Price, time and bidder of a bid.
type Offer = (u64, Millis, u64);

struct HighestState {
    auction: ValueState<u64, Auction>,
    /// Bids that came before their auction.
    early: ListState<u64, Offer>,
    highest: ValueState<u64, Offer>,
    /// The auction is over, and everything else forgotten.
    over: ValueState<u64, bool>,
}

fn better(new: Offer, old: Offer) -> bool {
    (new.0, std::cmp::Reverse(new.1), std::cmp::Reverse(new.2))
        > (old.0, std::cmp::Reverse(old.1), std::cmp::Reverse(old.2))
}

impl HighestState {
    fn offer(&self, auction: &Auction, offer: Offer) -> FunctionResult {
        if (auction.date_time..=auction.expires).contains(&offer.1) {
            self.highest.update(|highest| {
                if highest.is_none_or(|highest| better(offer, highest)) {
                    *highest = Some(offer);
                }
            })?;
        }
        Ok(())
    }
}

impl KeyedCoProcessFunction<u64, Auction, Bid, Winner> for Highest {
    type State = HighestState;

    fn open(&self, context: &mut OpenContext<'_, u64>) -> FunctionResult<HighestState> {
        Ok(HighestState {
            auction: context.value_state(ValueStateDescriptor::new("auction"))?,
            early: context.list_state(ListStateDescriptor::new("early"))?,
            highest: context.value_state(ValueStateDescriptor::new("highest"))?,
            over: context.value_state(ValueStateDescriptor::new("over"))?,
        })
    }

    fn process_element1(
        &mut self,
        auction: Auction,
        state: &HighestState,
        ctx: &mut KeyedContext<'_, u64>,
        _: &mut Collector<Winner>,
    ) -> FunctionResult {
        for offer in state.early.get()? {
            state.offer(&auction, offer)?;
        }
        state.early.clear()?;
        ctx.timer_service().register_event_time_timer(auction.expires)?;
        Ok(state.auction.set(auction)?)
    }

    fn process_element2(
        &mut self,
        bid: Bid,
        state: &HighestState,
        _: &mut KeyedContext<'_, u64>,
        _: &mut Collector<Winner>,
    ) -> FunctionResult {
        let offer = (bid.price, bid.date_time, bid.bidder);
        match state.auction.get()? {
            Some(auction) => state.offer(&auction, offer),
            None if state.over.get()?.is_some() => Ok(()),
            None => Ok(state.early.add(offer)?),
        }
    }

    fn on_timer(
        &mut self,
        _: Millis,
        state: &HighestState,
        _: &mut KeyedContext<'_, u64>,
        out: &mut Collector<Winner>,
    ) -> FunctionResult {
        if let (Some(auction), Some((price, date_time, bidder))) = (state.auction.get()?, state.highest.get()?) {
            let Auction { id, category, seller, .. } = auction;
            out.collect(Winner { auction: id, category, seller, bidder, price, date_time });
        }
        state.auction.clear()?;
        state.highest.clear()?;
        Ok(state.over.set(true)?)
    }
}

/// Category, average price in cents, number of auctions.
pub type CategoryAverage = (u64, u64, u64);

/// q4, average price for a category: of the winning bids so far, emitted whenever it changes.
pub fn q4(events: DataStream<Event>) -> DataStream<CategoryAverage> {
    let prices = winners(events).map(|winner| (winner.category, winner.price, 1));
    let sums = prices.key_by_ref(|(category, ..)| category).reduce(|sum: &mut (u64, u64, u64), price| {
        sum.1 += price.1;
        sum.2 += price.2;
    });
    sums.uid("q4").map(|(category, sum, count)| (category, sum / count, count))
}

/// How many auctions q6 looks at.
pub const LAST_SOLD: usize = 10;

/// q6, average selling price by seller: of their last ten auctions by the time at which they were over, emitted at each.
/// Flink's SQL can't express it.
pub fn q6(events: DataStream<Event>) -> DataStream<(u64, u64)> {
    winners(events).key_by_ref(|winner| &winner.seller).process(LastSold).uid("q6")
}

#[derive(Clone)]
struct LastSold;

/// Auctions and prices by the time at which they were over, and the last prices.
type LastSoldState = (MapState<u64, Millis, Vec<(u64, u64)>>, ValueState<u64, Vec<u64>>);

impl KeyedProcessFunction<u64, Winner, (u64, u64)> for LastSold {
    type State = LastSoldState;

    fn open(&self, context: &mut OpenContext<'_, u64>) -> FunctionResult<LastSoldState> {
        let sold = context.map_state(MapStateDescriptor::new("sold"))?;
        Ok((sold, context.value_state(ValueStateDescriptor::new("last"))?))
    }

    fn process_element(
        &mut self,
        winner: Winner,
        (sold, _): &LastSoldState,
        ctx: &mut KeyedContext<'_, u64>,
        _: &mut Collector<(u64, u64)>,
    ) -> FunctionResult {
        // Winners come in no particular order; they are taken in that of time.
        let time = ctx.timestamp().unwrap_or(winner.date_time);
        let mut same_time = sold.get(&time)?.unwrap_or_default();
        same_time.push((winner.auction, winner.price));
        sold.put(time, same_time)?;
        Ok(ctx.timer_service().register_event_time_timer(time)?)
    }

    fn on_timer(
        &mut self,
        time: Millis,
        (sold, last): &LastSoldState,
        ctx: &mut KeyedContext<'_, u64>,
        out: &mut Collector<(u64, u64)>,
    ) -> FunctionResult {
        let mut same_time = sold.get(&time)?.unwrap_or_default();
        sold.remove(&time)?;
        same_time.sort_unstable();
        let mut prices = last.get()?.unwrap_or_default();
        for (_, price) in same_time {
            prices.push(price);
            if prices.len() > LAST_SOLD {
                prices.remove(0);
            }
            out.collect((*ctx.current_key(), prices.iter().sum::<u64>() / prices.len() as u64));
        }
        Ok(last.set(prices)?)
    }
}
