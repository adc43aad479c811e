//! The environment: where a program begins, and what runs it in the end.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use flumen_model::config::Configuration;
use flumen_model::ids::{JobId, OperatorId};
use flumen_model::job_graph::RuntimeMode;
use flumen_model::options::execution;
use flumen_wire::control::PlanReply;
use flumen_wire::frame;
use flumen_worker::deployment::Program;
use flumen_worker::files::file_systems;
use flumen_worker::operator::{Data, TaskResult};
use flumen_worker::sources::Source;
use flumen_worker::sources::collection::CollectionSource;
use flumen_worker::sources::generator::GeneratorSource;
use flumen_worker::sources::socket::SocketSource;
use flumen_worker::sources::text_file::{self, TextFileSource, TextSplit};
use flumen_worker::subtask::SubtaskContext;
use flumen_worker::{process, task};

use crate::embedded;
use crate::error::{Error, Result};
use crate::graph::job::{self, GraphSettings};
use crate::graph::node::{Chaining, MakeSource, Node, NodeId, Work};
use crate::graph::records::RecordsOf;
use crate::role::{self, Role, Start};
use crate::stream::DataStream;

/// Where a program makes its sources and is executed, as Flink's `StreamExecutionEnvironment`. Clones are the same
/// environment.
#[derive(Clone)]
pub struct StreamExecutionEnvironment {
    start: Start,
    program: Rc<RefCell<Written>>,
}

/// What the program has written so far.
#[derive(Default)]
struct Written {
    nodes: Vec<Node>,
    parallelism: Option<u32>,
    mode: Option<RuntimeMode>,
    mistake: Option<String>,
}

/// What is known of a job that finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobExecutionResult {
    /// The job.
    pub job: JobId,
    /// From its start to its end.
    pub runtime: Duration,
}

impl StreamExecutionEnvironment {
    /// The environment of this process: an embedded cluster, or the role in which Flumen started it.
    ///
    /// # Errors
    /// [`Error::Role`] when the process was started in a role by something that is not Flumen.
    pub fn get() -> Result<Self> {
        Ok(Self { start: role::start()?, program: Rc::default() })
    }

    /// The same with options that win over those of the process: for programs that set options in their code, and tests.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_with(options: &Configuration) -> Result<Self> {
        let mut start = role::start()?;
        let mut setup = (*start.setup).clone();
        setup.configuration.extend(options);
        start.setup = Arc::new(setup);
        Ok(Self { start, program: Rc::default() })
    }

    /// Sets the parallelism of all operators that don't set their own. It wins over `-p` and `parallelism.default`.
    pub fn set_parallelism(&self, parallelism: u32) {
        self.program.borrow_mut().parallelism = Some(parallelism);
    }

    /// Sets whether keyed aggregates emit on every update or once at the end. It wins over `execution.runtime-mode`.
    pub fn set_runtime_mode(&self, mode: RuntimeMode) {
        self.program.borrow_mut().mode = Some(mode);
    }

    /// The effective configuration: file, `-D` and flags; empty in a program that was started by hand.
    pub fn configuration(&self) -> &Configuration {
        &self.start.setup.configuration
    }

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
        Ok(self.source("Source: Text File", false, Work::Source { bounded: true, splits, make }))
    }

    fn enumerate(&self, input: &str) -> Result<Vec<TextSplit>> {
        let setup = &self.start.setup;
        let failed = |cause| Error::Input { input: input.to_owned(), cause };
        let files = file_systems(&setup.configuration, &setup.hadoop).map_err(|e| Error::Embedded(e.into()))?;
        let split_bytes = setup.configuration.get(&execution::SPLIT_SIZE)?.0.max(1);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(|error| Error::Embedded(error.into()))?;
        runtime.block_on(text_file::enumerate(&files, input, split_bytes)).map_err(failed)
    }

    /// The elements of a collection, in order, with parallelism 1.
    pub fn from_collection<T: Data + Sync>(&self, elements: impl IntoIterator<Item = T>) -> DataStream<T> {
        let elements: Arc<[T]> = elements.into_iter().collect();
        let source =
            move |context: &SubtaskContext, operator| CollectionSource::new(Arc::clone(&elements), context, operator);
        self.typed_source("Source: Collection Source", true, true, source)
    }

    /// These elements, in order, with parallelism 1.
    pub fn from_elements<T: Data + Sync, const N: usize>(&self, elements: [T; N]) -> DataStream<T> {
        self.from_collection(elements)
    }

    /// The lines that a TCP server at `host:port` sends, until it closes; with parallelism 1.
    pub fn socket_text_stream(&self, host: &str, port: u16) -> DataStream<String> {
        let host = host.to_owned();
        let source = move |_: &SubtaskContext, _| Ok(SocketSource::new(host.clone(), port));
        self.typed_source("Source: Socket Stream", false, true, source)
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
        self.typed_source("Source: Data Generator", true, false, source)
    }

    fn typed_source<T: Data, S: Source<T> + 'static>(
        &self,
        name: &str,
        bounded: bool,
        single: bool,
        source: impl Fn(&SubtaskContext, OperatorId) -> TaskResult<S> + Send + Sync + 'static,
    ) -> DataStream<T> {
        let make: MakeSource = Arc::new(move |making, output| {
            let source = Box::new(source(making.context, making.operator)?);
            Ok(task::producing::<T>(making.context.clone(), making.operator, source, output.typed()))
        });
        self.source(name, single, Work::Source { bounded, splits: Vec::new(), make })
    }

    fn source<T: Data>(&self, name: &str, single: bool, work: Work) -> DataStream<T> {
        let node = self.add(Node {
            name: name.to_owned(),
            uid: None,
            parallelism: None,
            max_parallelism: None,
            chaining: Chaining::Always,
            inputs: Vec::new(),
            work,
            output: RecordsOf::<T>::shared(),
            creates: None,
            single,
        });
        DataStream::of(self.clone(), node)
    }

    /// Runs everything written so far as one job and waits for its end.
    ///
    /// In an embedded run it returns when the job has finished. In the processes that Flumen starts (the plan of a
    /// submission, a worker) it does not return.
    ///
    /// # Errors
    /// [`Error::Program`] when the streams make no job, [`Error::Output`] when an output exists already,
    /// [`Error::JobFailed`].
    pub fn execute(&self, name: &str) -> Result<JobExecutionResult> {
        let graph = self.build(name);
        let setup = &self.start.setup;
        match &self.start.role {
            Role::Embedded => embedded::run(graph?, setup),
            Role::Plan(control) => {
                let mut socket = control.take().ok_or_else(|| once("plan"))?;
                let reply = match graph {
                    Ok(program) => PlanReply::Graph(program.graph),
                    Err(error) => PlanReply::Failed(format!("{error:?}")),
                };
                let sent = frame::write_blocking(&mut socket, &reply);
                // What `main` does after the job is not for this process.
                std::process::exit(i32::from(sent.is_err()))
            }
            Role::Worker(control, worker) => {
                let socket = control.take().ok_or_else(|| once("worker"))?;
                process::run(socket, setup, worker, graph?)
            }
        }
    }

    /// Takes what was written so far, as something that can run.
    pub(crate) fn build(&self, name: &str) -> Result<Program> {
        let written = self.program.take();
        if let Some(mistake) = written.mistake {
            return Err(Error::Program(mistake));
        }
        let settings = GraphSettings::read(self.configuration(), written.parallelism, written.mode)?;
        job::build(name, written.nodes, &settings)
    }

    pub(crate) fn add(&self, node: Node) -> NodeId {
        let nodes = &mut self.program.borrow_mut().nodes;
        nodes.push(node);
        nodes.len() - 1
    }

    pub(crate) fn change(&self, node: NodeId, change: impl FnOnce(&mut Node)) {
        if let Some(node) = self.program.borrow_mut().nodes.get_mut(node) {
            change(node);
        }
    }

    /// Remembers the first mistake; `execute` reports it.
    pub(crate) fn mistake(&self, text: String) {
        self.program.borrow_mut().mistake.get_or_insert(text);
    }
}

fn once(role: &str) -> Error {
    let problem = "`execute` was called a second time: a submitted program runs one job".to_owned();
    Error::Role { role: role.to_owned(), problem }
}
