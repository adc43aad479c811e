//! Operators that wait for others: a database, a service.

use std::sync::Arc;
use std::time::Duration;

use flumen_state::schema::check_compatible;
use flumen_worker::batch::EventTime;
use flumen_worker::functions::{AsyncFunction, AsyncMode, AsyncOptions};
use flumen_worker::operator::Data;
use flumen_worker::operators::async_io::{AsyncIo, IN_FLIGHT};

use crate::graph::node::{Keeps, MakeOperator};
use crate::graph::records::AnyPush;
use crate::stream::DataStream;

/// Flink's way to write asynchronous operators; [`DataStream::async_wait`] is the other one.
#[derive(Debug, Clone, Copy)]
pub struct AsyncDataStream;

impl AsyncDataStream {
    /// Results come out as they come in, up to the next watermark. At most `capacity` records are on their way in a subtask,
    /// each for at most `timeout`.
    pub fn unordered_wait<T: Data, Out: Data>(
        stream: DataStream<T>,
        function: impl AsyncFunction<T, Out>,
        timeout: Duration,
        capacity: usize,
    ) -> DataStream<Out> {
        stream.async_wait(function, AsyncOptions { capacity, ..AsyncOptions::new(AsyncMode::Unordered, timeout) })
    }

    /// Results come out in the order of the records.
    pub fn ordered_wait<T: Data, Out: Data>(
        stream: DataStream<T>,
        function: impl AsyncFunction<T, Out>,
        timeout: Duration,
        capacity: usize,
    ) -> DataStream<Out> {
        stream.async_wait(function, AsyncOptions { capacity, ..AsyncOptions::new(AsyncMode::Ordered, timeout) })
    }
}

impl<T: Data> DataStream<T> {
    /// Any number of records for each record, from a function that waits for others without stopping the subtask. Records on
    /// their way are part of checkpoints: after a restore they are asked for again.
    pub fn async_wait<Out: Data>(
        self,
        function: impl AsyncFunction<T, Out>,
        options: AsyncOptions<Out>,
    ) -> DataStream<Out> {
        let make: MakeOperator = Arc::new(move |making, output| {
            let (context, operator) = (making.context, making.operator);
            let output = output.typed::<Out>();
            let operator = AsyncIo::open(context, operator, function.clone(), options.clone(), output)?;
            Ok(AnyPush::of::<T>(Box::new(operator)))
        });
        self.stateful("Async Wait", Keeps::List(IN_FLIGHT, check_compatible::<(EventTime, T)>), make)
    }
}
