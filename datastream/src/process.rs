//! Functions of the program that take records one by one.

use std::sync::Arc;

use flumen_worker::functions::ProcessFunction;
use flumen_worker::operator::Data;
use flumen_worker::operators::process::Process;

use crate::graph::node::{Keeps, MakeOperator};
use crate::graph::records::AnyPush;
use crate::stream::DataStream;

impl<T: Data> DataStream<T> {
    /// Takes records one by one, and emits any number, also into side outputs. State and timers of a key:
    /// [`KeyedStream::process`](crate::KeyedStream::process).
    pub fn process<Out: Data, F: ProcessFunction<T, Out>>(self, function: F) -> DataStream<Out> {
        let make: MakeOperator = Arc::new(move |making, outputs| {
            let (output, sides) = outputs.with_sides::<Out>();
            let operator = Process::open(making.context, making.operator, function.clone(), sides, output)?;
            Ok(AnyPush::of::<T>(Box::new(operator)))
        });
        self.with_sides("Process", Keeps::MaybeOperatorState, make)
    }
}
