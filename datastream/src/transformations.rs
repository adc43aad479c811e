//! Operators that look at one record at a time.

use std::sync::Arc;

use flumen_worker::operator::Data;
use flumen_worker::operators::{Collector, Filter, FlatMap, Map};

use crate::graph::records::AnyPush;
use crate::stream::DataStream;

impl<T: Data> DataStream<T> {
    /// One record for each record.
    pub fn map<U: Data>(self, function: impl FnMut(T) -> U + Clone + Send + Sync + 'static) -> DataStream<U> {
        self.operator(
            "Map",
            Arc::new(move |_, output| Ok(AnyPush::of::<T>(Box::new(Map::new(function.clone(), output.typed::<U>()))))),
        )
    }

    /// Any number of records for each record: the function gives them to the collector.
    pub fn flat_map<U: Data>(
        self,
        function: impl FnMut(T, &mut Collector<U>) + Clone + Send + Sync + 'static,
    ) -> DataStream<U> {
        self.operator(
            "Flat Map",
            Arc::new(move |_, output| {
                Ok(AnyPush::of::<T>(Box::new(FlatMap::new(function.clone(), output.typed::<U>()))))
            }),
        )
    }

    /// The records for which the predicate holds.
    pub fn filter(self, predicate: impl FnMut(&T) -> bool + Clone + Send + Sync + 'static) -> DataStream<T> {
        self.operator(
            "Filter",
            Arc::new(move |_, output| {
                Ok(AnyPush::of::<T>(Box::new(Filter::new(predicate.clone(), output.typed::<T>()))))
            }),
        )
    }
}
