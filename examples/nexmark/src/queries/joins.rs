//! Joins over everything that ever came.

use flumen::{
    Collector, DataStream, FunctionResult, KeyedCoProcessFunction, KeyedContext, ListState, ListStateDescriptor,
    OpenContext, ValueState, ValueStateDescriptor,
};

use crate::generator::FIRST_CATEGORY;
use crate::model::{Auction, Bid, Event, Person};
use crate::queries::{auctions, bids, persons};

/// Name, city and state of who sells, and the auction.
pub type LocalItem = (String, String, String, u64);

/// q3, local item suggestion: who sells in one category in three states.
pub fn q3(events: DataStream<Event>) -> DataStream<LocalItem> {
    let sold = auctions(events.clone()).filter(|auction| auction.category == FIRST_CATEGORY);
    let local = persons(events).filter(|person| ["OR", "ID", "CA"].contains(&person.state.as_str()));
    sold.connect(local).key_by(|auction| auction.seller, |person| person.id).process(Sellers).uid("q3")
}

#[derive(Clone)]
struct Sellers;

type SellersState = (ListState<u64, u64>, ValueState<u64, (String, String, String)>);

impl KeyedCoProcessFunction<u64, Auction, Person, LocalItem> for Sellers {
    /// Auctions whose seller is not known yet; the seller.
    type State = SellersState;

    fn open(&self, context: &mut OpenContext<'_, u64>) -> FunctionResult<SellersState> {
        let waiting = context.list_state(ListStateDescriptor::new("auctions"))?;
        Ok((waiting, context.value_state(ValueStateDescriptor::new("seller"))?))
    }

    fn process_element1(
        &mut self,
        auction: Auction,
        (waiting, seller): &SellersState,
        _: &mut KeyedContext<'_, u64>,
        out: &mut Collector<LocalItem>,
    ) -> FunctionResult {
        match seller.get()? {
            Some((name, city, state)) => out.collect((name, city, state, auction.id)),
            None => waiting.add(auction.id)?,
        }
        Ok(())
    }

    fn process_element2(
        &mut self,
        person: Person,
        (waiting, seller): &SellersState,
        _: &mut KeyedContext<'_, u64>,
        out: &mut Collector<LocalItem>,
    ) -> FunctionResult {
        let (name, city, state) = (person.name, person.city, person.state);
        for auction in waiting.get()? {
            out.collect((name.clone(), city.clone(), state.clone(), auction));
        }
        waiting.clear()?;
        Ok(seller.set((name, city, state))?)
    }
}

/// q20, expand bid with auction: bids with what they are for, in one category.
pub fn q20(events: DataStream<Event>) -> DataStream<(Bid, Auction)> {
    let wanted = auctions(events.clone()).filter(|auction| auction.category == FIRST_CATEGORY);
    bids(events).connect(wanted).key_by(|bid| bid.auction, |auction| auction.id).process(Expand).uid("q20")
}

#[derive(Clone)]
struct Expand;

type ExpandState = (ListState<u64, Bid>, ValueState<u64, Auction>);

impl KeyedCoProcessFunction<u64, Bid, Auction, (Bid, Auction)> for Expand {
    /// Bids whose auction is not known yet; the auction.
    type State = ExpandState;

    fn open(&self, context: &mut OpenContext<'_, u64>) -> FunctionResult<ExpandState> {
        let waiting = context.list_state(ListStateDescriptor::new("bids"))?;
        Ok((waiting, context.value_state(ValueStateDescriptor::new("auction"))?))
    }

    fn process_element1(
        &mut self,
        bid: Bid,
        (waiting, auction): &ExpandState,
        _: &mut KeyedContext<'_, u64>,
        out: &mut Collector<(Bid, Auction)>,
    ) -> FunctionResult {
        match auction.get()? {
            Some(auction) => out.collect((bid, auction)),
            None => waiting.add(bid)?,
        }
        Ok(())
    }

    fn process_element2(
        &mut self,
        new: Auction,
        (waiting, auction): &ExpandState,
        _: &mut KeyedContext<'_, u64>,
        out: &mut Collector<(Bid, Auction)>,
    ) -> FunctionResult {
        waiting.get()?.into_iter().for_each(|bid| out.collect((bid, new.clone())));
        waiting.clear()?;
        Ok(auction.set(new)?)
    }
}
