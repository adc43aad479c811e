//! Two workers that exchange records over a Unix socket, over TCP, and over TCP with TLS.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flumen_fs::{FileSystems, FsOptions};
use flumen_model::failure::Blame;
use flumen_model::ids::{ExecutionAttempt, JobId, OperatorId, SubtaskId, VertexId};
use flumen_model::job_graph::{JobEdge, JobGraph, JobVertex, Partitioner, RuntimeMode, SourceInfo};
use flumen_model::status::ExecutionState;
use flumen_wire::certificate::application_pem;
use flumen_wire::control::{Deployment, FromWorker, ToWorker, VertexPlacement, WorkerAddress};
use flumen_wire::tls::InternalTls;
use flumen_worker::batch::Batch;
use flumen_worker::deployment::{AnyGate, Program, VertexFactory, typed_channels};
use flumen_worker::exchange::channels::OutputChannel;
use flumen_worker::exchange::gate::{ChannelOrigin, Gate};
use flumen_worker::exchange::network::Network;
use flumen_worker::exchange::writer::RoutingWriter;
use flumen_worker::keyed::{BorrowedKey, ByKeyGroup};
use flumen_worker::operator::{Push, Signal, TaskResult};
use flumen_worker::sources::generator::GeneratorSource;
use flumen_worker::subtask::{SubtaskContext, SubtaskHandle, WorkerContext};
use flumen_worker::task::{self, SubtaskBody};
use flumen_worker::worker::{QUEUE, Worker};
use tokio::sync::mpsc;
use tokio::time::timeout;

const JOB: JobId = JobId(7);
const SOURCE: VertexId = VertexId(1);
const SINK: VertexId = VertexId(2);
const LIMIT: Duration = Duration::from_secs(60);

type Record = (u64, String);

/// What the sinks of all workers saw, and whether they may take anything.
#[derive(Default)]
struct Seen {
    records: Mutex<Vec<(u32, Record)>>,
    made: AtomicU64,
    closed: AtomicBool,
}

struct Generator {
    count: u64,
    seen: Arc<Seen>,
}

impl VertexFactory for Generator {
    fn gate(&self, _: &[ChannelOrigin], _: u32, _: Arc<SubtaskHandle>) -> Option<AnyGate> {
        None
    }

    fn subtask(
        &self,
        context: SubtaskContext,
        _: Option<AnyGate>,
        mut outputs: Vec<Vec<OutputChannel<AnyGate>>>,
    ) -> TaskResult<SubtaskBody> {
        let channels = typed_channels(outputs.remove(0), &context);
        let route = ByKeyGroup::new(BorrowedKey::<_, String>::new(|t: &Record| &t.1), 128);
        let seen = Arc::clone(&self.seen);
        let generate = move |i| {
            seen.made.fetch_add(1, Ordering::SeqCst);
            (i, format!("key {}", i % 1000))
        };
        let operator = OperatorId(SOURCE.0);
        let source = GeneratorSource::new(generate, self.count, None, &context, operator)?;
        Ok(task::producing(context, operator, Box::new(source), Box::new(RoutingWriter::new(channels, route))))
    }
}

struct Collect {
    seen: Arc<Seen>,
}

struct CollectOne {
    context: SubtaskContext,
    seen: Arc<Seen>,
}

impl Push<Record> for CollectOne {
    fn push(&mut self, batch: &mut Batch<Record>) -> TaskResult {
        self.context.handle.wait_for(|| (!self.seen.closed.load(Ordering::SeqCst)).then_some(()))?;
        let index = self.context.id.index;
        self.seen.records.lock().unwrap().extend(batch.drain().map(|(record, _)| (index, record)));
        Ok(())
    }
    fn signal(&mut self, _: Signal<'_>) -> TaskResult {
        Ok(())
    }
}

impl VertexFactory for Collect {
    fn gate(&self, origins: &[ChannelOrigin], credit: u32, receiver: Arc<SubtaskHandle>) -> Option<AnyGate> {
        Some(AnyGate::of(Gate::<Record>::new(origins, credit, receiver)))
    }

    fn subtask(
        &self,
        context: SubtaskContext,
        gate: Option<AnyGate>,
        _: Vec<Vec<OutputChannel<AnyGate>>>,
    ) -> TaskResult<SubtaskBody> {
        let sink = CollectOne { context: context.clone(), seen: Arc::clone(&self.seen) };
        Ok(task::receiving(context, gate.unwrap().typed::<Record>(), Box::new(sink)))
    }
}

fn graph(parallelism: u32) -> JobGraph {
    let vertex = |id, source| JobVertex {
        id,
        name: format!("vertex {id}"),
        operators: vec![],
        parallelism,
        max_parallelism: 128,
        source,
    };
    let source = SourceInfo { bounded: true, splits: vec![] };
    JobGraph {
        name: "exchange".into(),
        mode: RuntimeMode::Streaming,
        vertices: vec![vertex(SOURCE, Some(source)), vertex(SINK, None)],
        edges: vec![JobEdge { source: SOURCE, target: SINK, partitioner: Partitioner::Hash, output: 0 }],
        outputs: vec![],
        properties: Default::default(),
    }
}

struct Running {
    commands: mpsc::Sender<ToWorker>,
    reports: mpsc::Receiver<FromWorker>,
    address: WorkerAddress,
    _directory: tempfile::TempDir,
}

/// How two workers reach each other.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Socket,
    Tcp,
    Tls,
}

async fn start(way: Way, tls: &InternalTls, count: u64, seen: &Arc<Seen>) -> Running {
    let directory = tempfile::tempdir().unwrap();
    let (network, mut address) = Network::listen(JOB, "127.0.0.1", tls.clone(), directory.path()).await.unwrap();
    if way != Way::Socket {
        address.socket = None;
    } else {
        // Nothing listens there: what arrives came over the socket.
        address.port = 1;
    }
    let generator: Arc<dyn VertexFactory> = Arc::new(Generator { count, seen: Arc::clone(seen) });
    let collect: Arc<dyn VertexFactory> = Arc::new(Collect { seen: Arc::clone(seen) });
    let program = Program { graph: graph(2), vertices: HashMap::from([(SOURCE, generator), (SINK, collect)]) };
    let context = WorkerContext {
        segment_bytes: 4 << 10,
        ..WorkerContext::new(FileSystems::new(FsOptions::default()).unwrap(), tokio::runtime::Handle::current())
    };
    let (reports, reported) = mpsc::channel(QUEUE);
    let (commands, obeyed) = mpsc::channel(QUEUE);
    tokio::spawn(Worker::new(JOB, Arc::new(program), context, Some(network), 3, reports).run(obeyed));
    Running { commands, reports: reported, address, _directory: directory }
}

async fn two(way: Way, count: u64, seen: &Arc<Seen>) -> [Running; 2] {
    let tls = if way == Way::Tls { application_tls() } else { InternalTls::disabled() };
    let mut workers = [start(way, &tls, count, seen).await, start(way, &tls, count, seen).await];
    let addresses: Vec<_> = workers.iter().map(|w| w.address.clone()).collect();
    for (me, worker) in workers.iter_mut().enumerate() {
        let deployment = Deployment {
            region: 0,
            restore: Vec::new(),
            attempt: ExecutionAttempt(0),
            workers: addresses.clone(),
            me: me as u32,
            placement: [SOURCE, SINK].map(|vertex| VertexPlacement { vertex, worker_of: vec![0, 1] }).to_vec(),
        };
        worker.commands.send(ToWorker::Deploy(deployment)).await.unwrap();
        let report = timeout(LIMIT, worker.reports.recv()).await.unwrap().unwrap();
        assert!(matches!(report, FromWorker::Deployed { .. }), "{report:?}");
    }
    for worker in &workers {
        worker.commands.send(ToWorker::Start { region: 0, attempt: ExecutionAttempt(0) }).await.unwrap();
    }
    workers
}

/// The last state of each of a worker's two subtasks.
async fn ends(worker: &mut Running) -> HashMap<SubtaskId, FromWorker> {
    let mut ends = HashMap::new();
    let both = async {
        while ends.len() < 2 {
            let report = worker.reports.recv().await.unwrap();
            if let FromWorker::State { subtask, state, .. } = &report
                && state.is_terminal()
            {
                ends.insert(*subtask, report);
            }
        }
    };
    timeout(LIMIT, both).await.expect("a subtask does not end");
    ends
}

fn application_tls() -> InternalTls {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), application_pem().unwrap()).unwrap();
    InternalTls::from_file(file.path()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_record_reaches_the_subtask_of_its_key_once_over_every_way() {
    const COUNT: u64 = 50_000;
    for way in [Way::Socket, Way::Tcp, Way::Tls] {
        let seen = Arc::new(Seen::default());
        let mut workers = two(way, COUNT, &seen).await;
        let mut crossed = 0;
        for worker in &mut workers {
            for (subtask, end) in ends(worker).await {
                let FromWorker::State { state, failure, io, .. } = end else { panic!("{end:?}") };
                assert_eq!((state, failure), (ExecutionState::Finished, None), "{way:?} {subtask}");
                crossed += io.bytes_in;
            }
        }
        assert!(crossed > 100_000, "{way:?}: only {crossed} bytes crossed between the workers");
        let records = std::mem::take(&mut *seen.records.lock().unwrap());
        let mut owner = HashMap::new();
        for (subtask, (_, key)) in &records {
            assert_eq!(owner.entry(key.clone()).or_insert(*subtask), subtask, "{way:?}: `{key}` went to two subtasks");
        }
        let mut numbers: Vec<u64> = records.into_iter().map(|(_, (i, _))| i).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..COUNT).collect::<Vec<_>>(), "{way:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_takes_nothing_stops_its_senders_and_a_cancellation_ends_both() {
    let seen = Arc::new(Seen::default());
    seen.closed.store(true, Ordering::SeqCst);
    let mut workers = two(Way::Tcp, u64::MAX, &seen).await;
    // The senders stop by themselves: nothing more is made.
    let settled = async {
        let mut last = 0;
        loop {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let made = seen.made.load(Ordering::SeqCst);
            if made == last && made > 0 {
                return made;
            }
            last = made;
        }
    };
    let made = timeout(LIMIT, settled).await.expect("the senders never stopped");
    // Two senders with two channels each: three buffers of credit, one filling, one in the receiver, of at most 1024.
    assert!(made <= 2 * 2 * 6 * 1024, "{made} records were made although nobody took any");
    for worker in &mut workers {
        worker.commands.send(ToWorker::Cancel { region: 0, attempt: ExecutionAttempt(0) }).await.unwrap();
    }
    for worker in &mut workers {
        for (subtask, end) in ends(worker).await {
            // The second worker may see the first one's connections go before it is cancelled itself.
            let FromWorker::State { state, failure, .. } = end else { panic!("{end:?}") };
            let blame = failure.map(|failure| failure.blame);
            let expected = [(ExecutionState::Canceled, None), (ExecutionState::Failed, Some(Blame::Peer))];
            assert!(expected.contains(&(state, blame)), "{subtask}: {state} {blame:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_whose_peer_vanishes_fails_and_blames_the_peer() {
    let seen = Arc::new(Seen::default());
    let [mut survivor, victim] = two(Way::Tcp, u64::MAX, &seen).await;
    // Each source has one half of the numbers. Were a connection not there yet, its end could not be seen: it would be the
    // JobManager's to notice that a worker is gone.
    let is_connected = |records: &[(u32, Record)]| {
        let from = |source: u32, sink| {
            records.iter().any(|(at, (number, _))| *at == sink && (*number >= u64::MAX / 2) == (source == 1))
        };
        from(1, 0) && from(0, 1)
    };
    let some = async {
        while !is_connected(&seen.records.lock().unwrap()) {
            tokio::task::yield_now().await;
        }
    };
    timeout(LIMIT, some).await.expect("no records flowed");
    // What a killed process does: its end of every connection closes.
    drop(victim);
    for (subtask, end) in ends(&mut survivor).await {
        let FromWorker::State { state: ExecutionState::Failed, failure: Some(failure), .. } = end else {
            panic!("{subtask}: {end:?}");
        };
        assert_eq!(failure.blame, Blame::Peer, "{failure}");
    }
}
