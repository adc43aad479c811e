//! The environment: where a program begins, and what runs it in the end.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use flumen_model::checkpoint::CompletedCheckpoint;
use flumen_model::config::{ConfigOption, Configuration};
use flumen_model::ids::JobId;
use flumen_model::job_graph::RuntimeMode;
use flumen_model::options::{checkpointing, execution, memory};
use flumen_wire::control::{PlanReply, ProgramSetup};
use flumen_wire::frame;
use flumen_worker::deployment::Program;
use flumen_worker::files::file_systems;
use flumen_worker::process::{self, worker_context};

use crate::embedded::{self, JobClient};
use crate::error::{Error, Result};
use crate::graph::declare::declare;
use crate::graph::job::{self, Built};
use crate::graph::node::{Node, NodeId};
use crate::graph::restore;
use crate::graph::settings::{Former, GraphSettings};
use crate::role::{self, Role, Start};

mod checkpoint_config;
mod sources;

pub use checkpoint_config::{CheckpointConfig, CheckpointingMode, ExternalizedCheckpointRetention, RestartStrategy};

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
    /// Options that the program sets; they win over the configuration.
    properties: BTreeMap<String, String>,
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

    /// The parallelism of operators that don't set their own.
    ///
    /// # Errors
    /// `parallelism.default` is no number.
    pub fn parallelism(&self) -> Result<u32> {
        match self.program.borrow().parallelism {
            Some(parallelism) => Ok(parallelism),
            None => Ok(self.configuration().get(&execution::PARALLELISM)?),
        }
    }

    /// Sets the number of key groups of all operators that don't set their own: the bound of every later parallelism. It
    /// wins over `pipeline.max-parallelism`.
    pub fn set_max_parallelism(&self, max_parallelism: u32) {
        self.set_property(&execution::MAX_PARALLELISM, max_parallelism);
    }

    /// Sets whether keyed aggregates emit on every update or once at the end. It wins over `execution.runtime-mode`.
    pub fn set_runtime_mode(&self, mode: RuntimeMode) {
        self.program.borrow_mut().mode = Some(mode);
    }

    /// Operators that could run in one thread don't.
    pub fn disable_operator_chaining(&self) {
        self.set_property(&execution::OPERATOR_CHAINING, false);
    }

    /// Upper bound of the time that a record waits in a partly filled buffer.
    pub fn set_buffer_timeout(&self, timeout: Duration) {
        self.set_property(&execution::BUFFER_TIMEOUT, checkpoint_config::millis(timeout));
    }

    /// Time between two watermarks of a source.
    pub fn set_auto_watermark_interval(&self, interval: Duration) {
        self.set_property(&checkpointing::AUTO_WATERMARK_INTERVAL, checkpoint_config::millis(interval));
    }

    /// Takes a checkpoint every so often. Other settings are those of [`checkpoint_config`](Self::checkpoint_config).
    pub fn enable_checkpointing(&self, interval: Duration, mode: CheckpointingMode) {
        let config = self.checkpoint_config();
        config.set_checkpoint_interval(interval).set_checkpointing_consistency_mode(mode);
    }

    /// The settings of this program's checkpoints.
    pub fn checkpoint_config(&self) -> CheckpointConfig {
        CheckpointConfig { env: self.clone() }
    }

    /// Sets what happens after a failure of the job.
    pub fn set_restart_strategy(&self, strategy: RestartStrategy) {
        strategy.apply(self);
    }

    /// Sets options for this job; they win over the configuration.
    pub fn configure(&self, options: &Configuration) {
        let pairs = options.iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
        self.program.borrow_mut().properties.extend(pairs);
    }

    /// The effective configuration: file, `-D` and flags; empty in a program that was started by hand. What the program
    /// itself sets is not in it.
    pub fn configuration(&self) -> &Configuration {
        &self.start.setup.configuration
    }

    /// Runs everything written so far as one job and waits for its end.
    ///
    /// In an embedded run it returns when the job has finished. In the processes that Flumen starts (the plan of a
    /// submission, a worker) it does not return.
    ///
    /// # Errors
    /// [`Error::Program`] when the streams make no job, [`Error::Output`] when an output exists already,
    /// [`Error::Snapshot`] and [`Error::Restore`] when it can't start from the savepoint that it is to start from,
    /// [`Error::JobFailed`].
    pub fn execute(&self, name: &str) -> Result<JobExecutionResult> {
        self.run(name, embedded::run)
    }

    /// Starts everything written so far as one job, and comes back while it runs: for tests and programs that run by
    /// themselves. In the processes that Flumen starts it does what [`execute`](Self::execute) does.
    ///
    /// # Errors
    /// As [`execute`](Self::execute); that the job failed, [`JobClient::wait`] says.
    pub fn execute_async(&self, name: &str) -> Result<JobClient> {
        self.run(name, embedded::start)
    }

    fn run<R>(&self, name: &str, embedded: impl FnOnce(Program, &ProgramSetup) -> Result<R>) -> Result<R> {
        let setup = self.effective_setup();
        let program = self.build(name);
        match &self.start.role {
            Role::Embedded => embedded(program?, &setup),
            Role::Plan(control) => {
                let mut socket = control.take().ok_or_else(|| once("plan"))?;
                let reply = match program {
                    Ok(program) => PlanReply::Graph(program.graph),
                    Err(error) => PlanReply::Failed(format!("{error:?}")),
                };
                let sent = frame::write_blocking(&mut socket, &reply);
                // What `main` does after the job is not for this process.
                std::process::exit(i32::from(sent.is_err()))
            }
            Role::Worker(control, worker) => {
                let socket = control.take().ok_or_else(|| once("worker"))?;
                process::run(socket, &setup, worker, program?)
            }
        }
    }

    /// The set-up of this process with what the program sets.
    fn effective_setup(&self) -> ProgramSetup {
        let mut setup = (*self.start.setup).clone();
        for (key, value) in &self.program.borrow().properties {
            setup.configuration.set(key, value);
        }
        setup
    }

    /// Takes what was written so far, as something that can run.
    pub(crate) fn build(&self, name: &str) -> Result<Program> {
        let setup = self.effective_setup();
        let configuration = &setup.configuration;
        let written = self.program.take();
        if let Some(mistake) = written.mistake {
            return Err(Error::Program(mistake));
        }
        let mut settings = GraphSettings::read(configuration, written.parallelism, written.mode)?;
        settings.properties = written.properties;
        if let Role::Worker(_, worker) = &self.start.role {
            settings.former = Former::of_graph(&worker.graph);
            return Ok(job::build(name, written.nodes, &settings)?.program);
        }
        let snapshot = self.snapshot(&setup)?;
        if let Some((_, snapshot)) = &snapshot {
            settings.former = Former::of_checkpoint(snapshot);
        }
        let Built { mut program, without_uid, nodes, operators } = job::build(name, written.nodes, &settings)?;
        let state_matters = self.state_matters(&program, configuration)?;
        let mut problems = Vec::new();
        if state_matters {
            let runtime = runtime()?;
            let memory = configuration.get(&memory::TASKMANAGER_PROCESS)?.0;
            let worker = worker_context(&setup, &program.graph, runtime.handle().clone(), memory, 1, &[], &[]);
            let worker = worker.map_err(|error| Error::Embedded(error.into()))?;
            let from = snapshot.as_ref().map(|(_, snapshot)| snapshot);
            problems = declare(&mut program.graph, &nodes, &operators, &worker, from);
            warn_of_missing_uids(&without_uid);
        }
        if let Some((path, snapshot)) = snapshot {
            let ignore_unclaimed = configuration.get(&checkpointing::IGNORE_UNCLAIMED)?;
            problems.extend(restore::check(&program.graph, &snapshot, ignore_unclaimed));
            if !problems.is_empty() {
                return Err(Error::Restore { path, problems });
            }
        }
        Ok(program)
    }

    /// The savepoint or checkpoint that the job is to start from, with its path.
    fn snapshot(&self, setup: &ProgramSetup) -> Result<Option<(String, CompletedCheckpoint)>> {
        let Some(path) = setup.configuration.find(&checkpointing::SAVEPOINT_PATH)?.filter(|path| !path.is_empty())
        else {
            return Ok(None);
        };
        let files = file_systems(&setup.configuration, &setup.hadoop).map_err(|e| Error::Embedded(e.into()))?;
        let loaded = self.block_on(restore::load(&files, &path))?;
        let snapshot = loaded.map_err(|cause| Error::Snapshot { path: path.clone(), cause: cause.into() })?;
        Ok(Some((path, snapshot)))
    }

    /// Whether the job's state could be wanted again.
    fn state_matters(&self, program: &Program, configuration: &Configuration) -> Result<bool> {
        let submitted = matches!(self.start.role, Role::Plan(_));
        let periodic = configuration.find(&checkpointing::INTERVAL)?.is_some_and(|interval| !interval.is_zero());
        let wanted = submitted || periodic || configuration.is_set(&checkpointing::SAVEPOINT_PATH);
        Ok(wanted && program.graph.mode == RuntimeMode::Streaming)
    }

    /// Runs a future to its end in a runtime of its own.
    fn block_on<F: Future>(&self, future: F) -> Result<F::Output> {
        Ok(runtime()?.block_on(future))
    }

    pub(crate) fn set_property<T>(&self, option: &ConfigOption<T>, value: impl Display) {
        self.program.borrow_mut().properties.insert(option.key.to_owned(), value.to_string());
    }

    pub(crate) fn add(&self, node: Node) -> NodeId {
        let nodes = &mut self.program.borrow_mut().nodes;
        nodes.push(node);
        nodes.len() - 1
    }

    pub(crate) fn change<R>(&self, node: NodeId, change: impl FnOnce(&mut Node) -> R) -> R {
        change(&mut self.program.borrow_mut().nodes[node])
    }

    /// Remembers the first mistake; `execute` reports it.
    pub(crate) fn mistake(&self, text: String) {
        self.program.borrow_mut().mistake.get_or_insert(text);
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.map_err(|error| Error::Embedded(error.into()))
}

/// Once for each job.
fn warn_of_missing_uids(operators: &[String]) {
    if !operators.is_empty() {
        let names = operators.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        tracing::warn!(
            "operators with state and without uid: {names}. Their ids follow from their places in the program: when operators are added or removed before them, a savepoint's state is not found again. Give each a uid: `.uid(\"…\")`"
        );
    }
}

fn once(role: &str) -> Error {
    let problem = "`execute` was called a second time: a submitted program runs one job".to_owned();
    Error::Role { role: role.to_owned(), problem }
}
