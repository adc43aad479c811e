//! Where a program's records come from.

use std::sync::Arc;

use flumen_model::ids::OperatorId;
use flumen_model::options::execution;
use flumen_state::schema::check_compatible;
use flumen_worker::files::file_systems;
use flumen_worker::operator::{Data, TaskResult};
use flumen_worker::sources::collection::CollectionSource;
use flumen_worker::sources::generator::GeneratorSource;
use flumen_worker::sources::socket::SocketSource;
use flumen_worker::sources::text_file::{self, TextFileSource, TextSplit};
use flumen_worker::sources::{Position, Source};
use flumen_worker::subtask::SubtaskContext;
use flumen_worker::task;

use crate::environment::StreamExecutionEnvironment;
use crate::error::{Error, Result};
use crate::graph::node::{Keeps, MakeSource, Node, Work};
use crate::graph::records::RecordsOf;
use crate::role::Role;
use crate::source_function::{SourceFunction, SplitSource};
use crate::stream::DataStream;

/// What is special about a source.
#[derive(Clone, Copy)]
struct Traits {
    bounded: bool,
    /// It can't run in parallel.
    single: bool,
    /// It has no position that a checkpoint could hold.
    forgets: bool,
}

const REPLAYS: Traits = Traits { bounded: true, single: false, forgets: false };

impl StreamExecutionEnvironment {
    /// The lines of a file, of the files in a directory, or of all files that match a pattern (`*`, `?`, `[…]`, `{…}`);
    /// read in parallel by byte range, without their line ends (`\n` or `\r\n`). What is not UTF-8 becomes U+FFFD.
    ///
    /// # Errors
    /// [`Error::Input`] when there is no such file, or it can't be looked at: before anything runs.
    pub fn read_text_file(&self, input: &str) -> Result<DataStream<String>> {
        let splits = match &self.start.role {
            // The splits of the submitted graph count.
            Role::Worker(..) => Vec::new(),
            Role::Embedded | Role::Plan(_) => self.enumerate(input)?,
        };
        let make: MakeSource = Arc::new(|making, output| {
            let source = TextFileSource::new(making.context, making.operator)?;
            Ok(task::producing::<String>(making.context.clone(), making.operator, Box::new(source), output.typed()))
        });
        let splits = splits.iter().map(TextSplit::encode).collect();
        Ok(self.source("Source: Text File", REPLAYS, Work::Source { bounded: true, splits, make }))
    }

    fn enumerate(&self, input: &str) -> Result<Vec<TextSplit>> {
        let setup = &self.start.setup;
        let failed = |cause| Error::Input { input: input.to_owned(), cause };
        let files = file_systems(&setup.configuration, &setup.hadoop).map_err(|e| Error::Embedded(e.into()))?;
        let split_bytes = setup.configuration.get(&execution::SPLIT_SIZE)?.0.max(1);
        self.block_on(text_file::enumerate(&files, input, split_bytes))?.map_err(failed)
    }

    /// The elements of a collection, in order, with parallelism 1.
    pub fn from_collection<T: Data + Sync>(&self, elements: impl IntoIterator<Item = T>) -> DataStream<T> {
        let elements: Arc<[T]> = elements.into_iter().collect();
        let source =
            move |context: &SubtaskContext, operator| CollectionSource::new(Arc::clone(&elements), context, operator);
        self.typed_source("Source: Collection Source", Traits { single: true, ..REPLAYS }, source)
    }

    /// These elements, in order, with parallelism 1.
    pub fn from_elements<T: Data + Sync, const N: usize>(&self, elements: [T; N]) -> DataStream<T> {
        self.from_collection(elements)
    }

    /// The lines that a TCP server at `host:port` sends, until it closes; with parallelism 1. What was sent before a failure
    /// does not come again.
    pub fn socket_text_stream(&self, host: &str, port: u16) -> DataStream<String> {
        let host = host.to_owned();
        let source = move |_: &SubtaskContext, _| Ok(SocketSource::new(host.clone(), port));
        self.typed_source("Source: Socket Stream", Traits { bounded: false, single: true, forgets: true }, source)
    }

    /// `generate(i)` for `i` in `0..count`, each subtask a contiguous range in order. `per_second` limits the rate of all
    /// subtasks together; `None` is as fast as it goes.
    pub fn generate<T: Data>(
        &self,
        count: u64,
        per_second: Option<f64>,
        generate: impl FnMut(u64) -> T + Clone + Send + Sync + 'static,
    ) -> DataStream<T> {
        if per_second.is_some_and(|rate| !(rate.is_finite() && rate > 0.0)) {
            self.mistake(format!(
                "a generator's rate must be a positive number of records per second, not {per_second:?}"
            ));
        }
        let source = move |context: &SubtaskContext, operator| {
            GeneratorSource::new(generate.clone(), count, per_second, context, operator)
        };
        self.typed_source("Source: Data Generator", REPLAYS, source)
    }

    /// The records of a source of the program's own.
    pub fn add_source<F: SourceFunction>(&self, function: F) -> DataStream<F::Out> {
        let traits = Traits { bounded: function.is_bounded(), ..REPLAYS };
        let source = move |context: &SubtaskContext, operator| SplitSource::new(function.clone(), context, operator);
        let stream = self.typed_source("Source: Custom Source", traits, source);
        for input in &stream.inputs {
            let keeps = Keeps::List(Position::NAME, check_compatible::<F::Split>);
            self.change(input.node, |node| node.keeps = keeps);
        }
        stream
    }

    fn typed_source<T: Data, S: Source<T> + 'static>(
        &self,
        name: &str,
        traits: Traits,
        source: impl Fn(&SubtaskContext, OperatorId) -> TaskResult<S> + Send + Sync + 'static,
    ) -> DataStream<T> {
        let make: MakeSource = Arc::new(move |making, output| {
            let source = Box::new(source(making.context, making.operator)?);
            Ok(task::producing::<T>(making.context.clone(), making.operator, source, output.typed()))
        });
        self.source(name, traits, Work::Source { bounded: traits.bounded, splits: Vec::new(), make })
    }

    fn source<T: Data>(&self, name: &str, traits: Traits, work: Work) -> DataStream<T> {
        let mut node = Node::new(name, Vec::new(), work, RecordsOf::<T>::shared());
        node.single = traits.single;
        node.keeps = if traits.forgets { Keeps::Nothing } else { Keeps::State };
        let node = self.add(node);
        DataStream::of(self.clone(), node)
    }
}
