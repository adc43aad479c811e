//! Event times and watermarks.

use std::sync::Arc;

use flumen_worker::operator::Data;
use flumen_worker::operators::timestamps_watermarks::{
    TimestampAssigner, TimestampsWatermarks, WatermarkGenerator, WatermarkStrategy,
};

use crate::graph::node::{Keeps, MakeOperator};
use crate::graph::records::AnyPush;
use crate::stream::DataStream;

impl<T: Data> DataStream<T> {
    /// Gives records their event times, and the stream its watermarks. Best directly behind the source, where each split of
    /// the source has watermarks of its own.
    pub fn assign_timestamps_and_watermarks<G, A>(self, strategy: WatermarkStrategy<T, G, A>) -> DataStream<T>
    where
        G: WatermarkGenerator<T>,
        A: TimestampAssigner<T>,
    {
        let make: MakeOperator = Arc::new(move |making, output| {
            let (context, operator) = (making.context, making.operator);
            let operator = TimestampsWatermarks::open(context, operator, strategy.clone(), output.typed::<T>())?;
            Ok(AnyPush::of::<T>(Box::new(operator)))
        });
        self.stateful("Timestamps/Watermarks", Keeps::Watermarks, make)
    }
}
