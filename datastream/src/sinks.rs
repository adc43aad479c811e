//! Where streams end.

use std::sync::Arc;

use flumen_worker::functions::RuntimeContext;
use flumen_worker::operator::Data;
use flumen_worker::sinks::AsText;
use flumen_worker::sinks::file::{BucketAssigner, Encoder, FileSink, RollingPolicy};
use flumen_worker::sinks::print::PrintSink;
use flumen_worker::sinks::text;

use crate::environment::StreamExecutionEnvironment;
use crate::graph::node::{Chaining, Keeps, MakeOperator, NodeId};
use crate::graph::records::AnyPush;
use crate::sink_function::{FunctionSink, SinkFunction};
use crate::stream::DataStream;

impl<T: Data> DataStream<T> {
    fn sink(self, name: &str, keeps: Keeps, creates: Option<String>, make: MakeOperator) -> DataStreamSink {
        let mut node = self.node::<()>(name, make);
        node.creates = creates;
        node.keeps = keeps;
        let id = self.env.add(node);
        DataStreamSink { env: self.env, node: id }
    }

    /// Writes to files, each record exactly once if the job takes checkpoints.
    pub fn sink_to<E, A, R>(self, sink: FileSink<E, A, R>) -> DataStreamSink
    where
        E: Encoder<T>,
        A: BucketAssigner<T>,
        R: RollingPolicy<T>,
    {
        let make: MakeOperator =
            Arc::new(move |making, _| Ok(AnyPush::of::<T>(sink.open(making.context, making.operator)?)));
        self.sink("Sink: File Sink", Keeps::State, None, make)
    }

    /// Gives every record to a sink of the program's own.
    pub fn add_sink<F: SinkFunction<T> + Clone + Send + Sync>(self, function: F) -> DataStreamSink {
        let make: MakeOperator = Arc::new(move |making, _| {
            let context = RuntimeContext::new(making.context);
            Ok(AnyPush::of::<T>(Box::new(FunctionSink::open(function.clone(), &context)?)))
        });
        self.sink("Sink: Custom Sink", Keeps::Nothing, None, make)
    }
}

impl<T: Data + AsText> DataStream<T> {
    /// Prints each record on a line of standard output: the terminal in an embedded run, the TaskExecutor's
    /// `taskmanager.out` on a cluster.
    pub fn print(self) -> DataStreamSink {
        let make: MakeOperator = Arc::new(|making, _| {
            Ok(AnyPush::of::<T>(Box::new(PrintSink::new(making.context.id.index, making.context.parallelism))))
        });
        self.sink("Sink: Print to Std. Out", Keeps::Nothing, None, make)
    }

    /// Writes each record on a line of a text file: one file `part-<subtask>` per subtask in the directory `output`.
    ///
    /// The directory must not exist, or be empty: a job is refused before anything of it runs. The files appear when the
    /// whole job has finished. In a job that takes checkpoints they are those of [`sink_to`](DataStream::sink_to) instead:
    /// closed at every checkpoint, and there when it is complete.
    pub fn write_as_text(self, output: &str) -> DataStreamSink {
        let path = output.to_owned();
        let make: MakeOperator =
            Arc::new(move |making, _| Ok(AnyPush::of::<T>(text::open(&path, making.context, making.operator)?)));
        self.sink("Sink: Text File", Keeps::State, Some(output.to_owned()), make)
    }
}

/// The end of a stream.
pub struct DataStreamSink {
    env: StreamExecutionEnvironment,
    node: NodeId,
}

impl DataStreamSink {
    /// Sets the number of its subtasks.
    pub fn set_parallelism(self, parallelism: u32) -> Self {
        self.env.change(self.node, |node| node.parallelism = Some(parallelism));
        self
    }

    /// Sets its name.
    pub fn name(self, name: &str) -> Self {
        self.env.change(self.node, |node| node.name = name.to_owned());
        self
    }

    /// Sets the id under which it keeps its state across changes of the program.
    pub fn uid(self, uid: &str) -> Self {
        self.env.change(self.node, |node| node.uid = Some(uid.to_owned()));
        self
    }

    /// It does not share a thread with the operator before it.
    pub fn disable_chaining(self) -> Self {
        self.env.change(self.node, |node| node.chaining = Chaining::Never);
        self
    }
}
