//! The last ones, and the best ones.

use flumen::{
    Collector, DataStream, FunctionResult, KeyedContext, KeyedProcessFunction, OpenContext, ValueState,
    ValueStateDescriptor,
};

use crate::model::{Bid, Millis};

/// q18, find last bid: of each bidder for each auction, emitted whenever it changes. Of several at the same time the greatest.
pub fn q18(bids: DataStream<Bid>) -> DataStream<Bid> {
    let last = bids.key_by(|bid| (bid.bidder, bid.auction)).reduce(|last: &mut Bid, bid| {
        if (bid.date_time, &bid) > (last.date_time, &*last) {
            *last = bid;
        }
    });
    last.uid("q18")
}

/// How many bids q19 looks at.
pub const TOP: usize = 10;

/// Price, time, bidder.
type Offer = (u64, Millis, u64);

/// q19, auction top ten: the ten highest bids of each auction (price, time, bidder; the highest first, of equal ones the last),
/// emitted whenever they change.
pub fn q19(bids: DataStream<Bid>) -> DataStream<(u64, Vec<Offer>)> {
    bids.key_by_ref(|bid| &bid.auction).process(TopBids).uid("q19")
}

#[derive(Clone)]
struct TopBids;

impl KeyedProcessFunction<u64, Bid, (u64, Vec<Offer>)> for TopBids {
    type State = ValueState<u64, Vec<Offer>>;

    fn open(&self, context: &mut OpenContext<'_, u64>) -> FunctionResult<Self::State> {
        Ok(context.value_state(ValueStateDescriptor::new("top"))?)
    }

    fn process_element(
        &mut self,
        bid: Bid,
        top: &Self::State,
        _: &mut KeyedContext<'_, u64>,
        out: &mut Collector<(u64, Vec<Offer>)>,
    ) -> FunctionResult {
        let offer = (bid.price, bid.date_time, bid.bidder);
        let changed = top.upsert(Vec::new, |top| {
            let at = top.partition_point(|other| *other >= offer);
            if at >= TOP {
                return None;
            }
            top.insert(at, offer);
            top.truncate(TOP);
            Some(top.clone())
        })?;
        if let Some(top) = changed {
            out.collect((bid.auction, top));
        }
        Ok(())
    }
}
