//! Programs that start from a snapshot of another one.

use flumen_checkpoint::{Origin, store};
use flumen_fs::{FileSystems, FsOptions};
use flumen_model::checkpoint::{
    CheckpointId, CompletedCheckpoint, ListState, OperatorDescription, OperatorSnapshot, Redistribution, SnapshotKind,
    StateHandle, StateLocation, SubtaskSnapshot, VertexSnapshot,
};
use flumen_model::config::Configuration;
use flumen_model::ids::{Epoch, JobId};
use flumen_model::job_graph::JobGraph;
use flumen_worker::functions::{
    BroadcastContext, BroadcastProcessFunction, BroadcastState, Context, FunctionResult, KeyedContext,
    KeyedProcessFunction, OpenContext, OperatorContext, ProcessFunction,
};
use flumen_worker::operators::Collector;
use serde::{Deserialize, Serialize};

use flumen_worker::functions::RuntimeContext;
use flumen_worker::operator::Data;

use crate::async_io::AsyncDataStream;
use crate::environment::StreamExecutionEnvironment;
use crate::error::{Error, Result};
use crate::source_function::{ReadStatus, SourceFunction, SourceOutput};

#[derive(Clone, Default, Serialize, Deserialize)]
struct Total {
    count: u32,
    name: String,
}

/// As [`Total`], with a field more and a wider number.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct WiderTotal {
    count: u64,
    name: String,
    last: Option<i64>,
}

/// The count has become a text.
#[derive(Clone, Default, Serialize, Deserialize)]
struct OtherTotal {
    count: String,
    name: String,
}

/// Keeps one value of that type for each key.
#[derive(Clone)]
struct Keep<V>(std::marker::PhantomData<fn() -> V>);

impl<V: flumen_state::StateValue> KeyedProcessFunction<u64, u64, u64> for Keep<V> {
    type State = flumen_state::ValueState<u64, V>;

    fn open(&self, context: &mut OpenContext<'_, u64>) -> FunctionResult<Self::State> {
        Ok(context.value_state(flumen_state::ValueStateDescriptor::new("total"))?)
    }

    fn process_element(
        &mut self,
        _: u64,
        _: &Self::State,
        _: &mut KeyedContext<'_, u64>,
        _: &mut Collector<u64>,
    ) -> FunctionResult {
        Ok(())
    }
}

fn build<V: flumen_state::StateValue>(options: &[(&str, &str)], uid: &str) -> Result<JobGraph> {
    let mut configuration = Configuration::new();
    configuration.set("execution.checkpointing.interval", "1 h");
    options.iter().for_each(|(key, value)| configuration.set(*key, *value));
    let env = StreamExecutionEnvironment::get_with(&configuration).unwrap();
    let numbers = env.generate(1, None, |i| i).uid("numbers");
    numbers.key_by_ref(|i| i).process(Keep::<V>(std::marker::PhantomData)).uid(uid).print();
    Ok(env.build("test")?.graph)
}

/// A savepoint of that graph, in which every operator has something.
fn savepoint(graph: &JobGraph, directory: &std::path::Path) -> String {
    savepoint_with(graph, directory, &[("x", Redistribution::Split, String::new())])
}

/// A savepoint of that graph, in which every operator has these lists: name, redistribution, schema.
fn savepoint_with(graph: &JobGraph, directory: &std::path::Path, lists: &[(&str, Redistribution, String)]) -> String {
    let list = |(name, redistribution, schema): &(&str, Redistribution, String)| {
        let items = StateHandle { location: StateLocation::Inline(Vec::new()), length: 0, checksum: 0 };
        let list =
            ListState { redistribution: *redistribution, schema: schema.clone(), items, start: 0, ends: Vec::new() };
        ((*name).to_owned(), vec![list])
    };
    let kept = OperatorSnapshot { lists: lists.iter().map(list).collect(), ..OperatorSnapshot::default() };
    let vertices = graph.vertices.iter().map(|vertex| VertexSnapshot {
        vertex: vertex.id,
        name: vertex.name.clone(),
        parallelism: vertex.parallelism,
        max_parallelism: vertex.max_parallelism,
        operators: vertex
            .operators
            .iter()
            .map(|operator| OperatorDescription {
                id: operator.id,
                name: operator.name.clone(),
                uid: operator.uid.clone(),
                states: operator.states.clone(),
            })
            .collect(),
        subtasks: vec![SubtaskSnapshot {
            operators: vertex.operators.iter().filter(|o| o.uid.is_some()).map(|o| (o.id, kept.clone())).collect(),
            ..SubtaskSnapshot::default()
        }],
        source: None,
    });
    let path = format!("{}/savepoint", directory.to_str().unwrap());
    let checkpoint = CompletedCheckpoint {
        life: None,
        id: CheckpointId(1),
        kind: SnapshotKind::Savepoint,
        triggered_ms: 1,
        completed_ms: 2,
        directory: format!("file://{path}"),
        vertices: vertices.collect(),
    };
    let systems = FileSystems::new(FsOptions::default()).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let origin = Origin { job: JobId(1), epoch: Epoch(1) };
    runtime.block_on(store(&systems, origin, &checkpoint)).unwrap();
    path
}

fn refused(result: Result<JobGraph>) -> String {
    match result {
        Err(error @ Error::Restore { .. }) => error.to_string(),
        Err(error) => panic!("{error:?}"),
        Ok(_) => panic!("it was not refused"),
    }
}

#[test]
fn the_states_of_a_function_are_in_the_graph_before_it_runs() {
    let graph = build::<Total>(&[], "totals").unwrap();
    let states = &graph.vertices[1].operators[0].states;
    let total = states.get("total").unwrap_or_else(|| panic!("{states:?}"));
    assert!(total.contains("count") && total.contains("name"), "{total}");
}

#[test]
fn a_program_starts_from_what_it_can_read_and_takes_over_the_number_of_key_groups() {
    let directory = tempfile::tempdir().unwrap();
    let graph = build::<Total>(&[("pipeline.max-parallelism", "37")], "totals").unwrap();
    let path = savepoint(&graph, directory.path());
    for options in [&[("parallelism.default", "3")][..], &[("pipeline.max-parallelism", "37")]] {
        let options = [options, &[("execution.state-recovery.path", path.as_str())]].concat();
        let again = build::<WiderTotal>(&options, "totals").unwrap();
        assert_eq!(again.vertices[1].max_parallelism, 37);
    }
}

#[test]
fn what_can_not_be_taken_over_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let graph = build::<Total>(&[], "totals").unwrap();
    let path = savepoint(&graph, directory.path());
    let from = ("execution.state-recovery.path", path.as_str());

    let error = refused(build::<OtherTotal>(&[from], "totals"));
    assert!(error.contains("Keyed Process") && error.contains("`total`") && error.contains("count"), "{error}");

    let error = refused(build::<Total>(&[from], "renamed"));
    assert!(error.contains("uid `totals`") && error.contains("--allowNonRestoredState"), "{error}");
    let ignore = ("execution.state-recovery.ignore-unclaimed-state", "true");
    assert!(build::<Total>(&[from, ignore], "renamed").is_ok());

    let error = refused(build::<Total>(&[from, ("pipeline.max-parallelism", "64")], "totals"));
    assert!(error.contains("maximum parallelism 64 and had 128"), "{error}");

    let error = build::<Total>(&[from, ("parallelism.default", "129")], "totals").unwrap_err().to_string();
    assert!(error.contains("lower the parallelism to at most 128"), "{error}");
}

/// Keeps operator state of that type: a list, a union list.
#[derive(Clone)]
struct Remember<V>(std::marker::PhantomData<fn() -> V>);

impl<V: flumen_state::StateValue> ProcessFunction<u64, u64> for Remember<V> {
    type State = [flumen_state::operator::OperatorListState<V>; 2];

    fn open(&self, context: &mut OperatorContext<'_>) -> FunctionResult<Self::State> {
        Ok([context.operator_list_state("divided")?, context.union_list_state("united")?])
    }

    fn process_element(
        &mut self,
        _: u64,
        _: &Self::State,
        _: &mut Context<'_>,
        _: &mut Collector<u64>,
    ) -> FunctionResult {
        Ok(())
    }
}

/// Keeps broadcast state with values of that type.
#[derive(Clone)]
struct Rules<V>(std::marker::PhantomData<fn() -> V>);

impl<V: flumen_state::StateValue> BroadcastProcessFunction<u64, u64, u64> for Rules<V> {
    type State = BroadcastState<u64, V>;

    fn open(&self, context: &mut OperatorContext<'_>) -> FunctionResult<Self::State> {
        Ok(context.broadcast_state("rules")?)
    }

    fn process_element(
        &mut self,
        _: u64,
        _: &Self::State,
        _: &mut Context<'_>,
        _: &mut Collector<u64>,
    ) -> FunctionResult {
        Ok(())
    }

    fn process_broadcast_element(
        &mut self,
        _: u64,
        _: &Self::State,
        _: &mut BroadcastContext<'_>,
        _: &mut Collector<u64>,
    ) -> FunctionResult {
        Ok(())
    }
}

fn build_remembering<V: flumen_state::StateValue>(from: &str) -> Result<JobGraph> {
    let mut configuration = Configuration::new();
    configuration.set("execution.checkpointing.interval", "1 h");
    if !from.is_empty() {
        configuration.set("execution.state-recovery.path", from);
    }
    let env = StreamExecutionEnvironment::get_with(&configuration).unwrap();
    let numbers = env.generate(1, None, |i| i).uid("numbers").process(Remember::<V>(std::marker::PhantomData));
    let rules = env.generate(1, None, |i| i).uid("sent").broadcast_stream();
    let ruled = numbers.uid("remembering").connect(rules).process(Rules::<V>(std::marker::PhantomData));
    ruled.uid("ruled").print();
    Ok(env.build("test")?.graph)
}

#[test]
fn operator_state_that_can_not_be_read_is_refused_by_state_and_field() {
    let directory = tempfile::tempdir().unwrap();
    let graph = build_remembering::<Total>("").unwrap();
    let total = flumen_state::schema::of::<Total>("x").unwrap();
    let entry = flumen_state::schema::of::<(u64, Total)>("x").unwrap();
    let lists = [
        ("divided", Redistribution::Split, total.clone()),
        ("united", Redistribution::Union, total.clone()),
        ("rules", Redistribution::Broadcast, entry),
    ];
    let path = savepoint_with(&graph, directory.path(), &lists);
    assert!(build_remembering::<Total>(&path).is_ok());
    assert!(build_remembering::<WiderTotal>(&path).is_ok(), "an added and a wider field can be read");

    let error = refused(build_remembering::<OtherTotal>(&path));
    for state in ["divided", "united", "rules"] {
        let line = error.lines().find(|line| line.contains(&format!("`{state}`")));
        assert!(line.is_some_and(|line| line.contains("count")), "{state}: {error}");
    }
    assert!(error.contains("`Process`") && error.contains("`Co-Process-Broadcast`"), "{error}");

    let other = tempfile::tempdir().unwrap();
    let path = savepoint_with(&graph, other.path(), &[("divided", Redistribution::Union, total)]);
    let error = refused(build_remembering::<Total>(&path));
    assert!(error.contains("`divided`") && error.contains("Union"), "{error}");
}

/// Splits of that type.
#[derive(Clone)]
struct Splits<S>(std::marker::PhantomData<fn() -> S>);

impl<S: Data + Default> SourceFunction for Splits<S> {
    type Out = S;
    type Split = S;
    type State = ();

    fn splits(&self) -> Vec<S> {
        vec![S::default()]
    }

    fn open(&self, _: &RuntimeContext) -> FunctionResult {
        panic!("nothing is opened where nothing runs")
    }

    fn read(&mut self, _: &mut S, (): &mut (), _: &mut SourceOutput<'_, S>) -> FunctionResult<ReadStatus> {
        Ok(ReadStatus::Finished)
    }
}

fn build_reading<S: Data + Default>(from: &str) -> Result<JobGraph> {
    let mut configuration = Configuration::new();
    configuration.set("execution.checkpointing.interval", "1 h");
    if !from.is_empty() {
        configuration.set("execution.state-recovery.path", from);
    }
    let env = StreamExecutionEnvironment::get_with(&configuration).unwrap();
    let read = env.add_source(Splits::<S>(std::marker::PhantomData)).uid("read");
    let ask = |_: S| async { Ok(vec![1_u64]) };
    AsyncDataStream::unordered_wait(read, ask, std::time::Duration::from_secs(1), 2).uid("asked").print();
    Ok(env.build("test")?.graph)
}

#[test]
fn splits_and_records_on_their_way_that_can_not_be_read_are_refused_by_state_and_field() {
    let directory = tempfile::tempdir().unwrap();
    let graph = build_reading::<Total>("").unwrap();
    let lists = [
        ("source-position", Redistribution::Split, flumen_state::schema::of::<Total>("x").unwrap()),
        ("async-in-flight", Redistribution::Split, flumen_state::schema::of::<(i64, Total)>("x").unwrap()),
    ];
    let path = savepoint_with(&graph, directory.path(), &lists);
    assert!(build_reading::<Total>(&path).is_ok());
    assert!(build_reading::<WiderTotal>(&path).is_ok(), "an added and a wider field can be read");

    let error = refused(build_reading::<OtherTotal>(&path));
    for (operator, state) in [("`Source: Custom Source`", "source-position"), ("`Async Wait`", "async-in-flight")] {
        let line = error.lines().find(|line| line.contains(&format!("`{state}`")));
        assert!(line.is_some_and(|line| line.contains("count") && line.contains(operator)), "{state}: {error}");
    }
}
