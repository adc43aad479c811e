//! The exchange between two processes: bytes per second beside a plain TCP loop with the same frame size and beside a
//! program that does by hand what the records need, and how long a record is on its way at a limited rate, also while
//! checkpoints are taken.
//!
//! ```text
//! cargo bench -p flumen-worker --bench exchange -- [--megabytes 2048] [--seconds 10] [--rate 100000]
//! ```
//!
//! This process holds the source, a child the keyed receiver. The latency of a record is the time from its creation in the
//! source to the receiver's look at it; both processes read the same clock.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark reports on its standard output, or fails")]

mod by_hand;

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use flumen_fs::{FileSystems, FsOptions};
use flumen_model::checkpoint::{Alignment, Barrier, CheckpointId, SnapshotKind};
use flumen_model::ids::{ExecutionAttempt, JobId, OperatorId, SubtaskId, VertexId};
use flumen_model::job_graph::{JobEdge, JobGraph, JobVertex, Partitioner, RuntimeMode, SourceInfo};
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

const SOURCE: VertexId = VertexId(1);
const SINK: VertexId = VertexId(2);
const ATTEMPT: ExecutionAttempt = ExecutionAttempt(0);
const FRAME: usize = 32 << 10;
/// Bytes of a record's text, for the throughput.
const TEXT: usize = 1000;
const KEYS: u64 = 100_000;

/// Key, time of creation in nanoseconds, payload.
type Record = (u64, u64, String);

fn nanos() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64
}

fn key(i: u64) -> u64 {
    i.wrapping_mul(0x9e37_79b9_7f4a_7c15) % KEYS
}

/// What a receiver saw.
#[derive(Default)]
struct Measured {
    bytes: u64,
    begun: Option<Instant>,
    micros: Vec<u32>,
}

impl Measured {
    /// The time at which records are looked at.
    fn look(&mut self) -> u64 {
        self.begun.get_or_insert_with(Instant::now);
        nanos()
    }

    fn record(&mut self, now: u64, created: u64, text: &str) {
        self.bytes += text.len() as u64;
        self.micros.push((now.saturating_sub(created) / 1000).try_into().unwrap_or(u32::MAX));
    }

    fn print(&mut self) {
        let seconds = self.begun.map_or(0.0, |begun| begun.elapsed().as_secs_f64());
        let [p50, p99, p9999] = self.micros();
        println!("RESULT {} {seconds} {p50} {p99} {p9999}", self.bytes);
        std::io::stdout().flush().unwrap();
    }

    /// Median, 99 and 99.99 of 100.
    fn micros(&mut self) -> [u64; 3] {
        // The first second is for warming up.
        let skip = self.micros.len() / 10;
        let measured = &mut self.micros[skip..];
        measured.sort_unstable();
        let at = |share: f64| measured.get((measured.len() as f64 * share) as usize).copied().unwrap_or(0);
        [0.5, 0.99, 0.9999].map(|share| at(share).into())
    }
}

/// How late a thread is that sleeps between records and does nothing else: no program on this machine is earlier.
fn sleeping(count: u64, rate: f64) -> Numbers {
    let (begun, mut measured) = (nanos(), Measured::default());
    let (mut made, mut last) = (0, begun);
    while made < count {
        std::thread::park_timeout(Duration::from_micros(100));
        let now = measured.look();
        while made < count && begun + (made as f64 / rate * 1e9) as u64 <= now {
            // What it sleeps at most is no delay.
            measured.record(now, last + 100_000, "");
            made += 1;
        }
        last = now;
    }
    Numbers { bytes: 0.0, seconds: 0.0, micros: measured.micros() }
}

struct Source {
    count: u64,
    rate: Option<f64>,
    text: usize,
}

impl VertexFactory for Source {
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
        let route = ByKeyGroup::new(BorrowedKey::<_, u64>::new(|record: &Record| &record.0), 128);
        let text = "x".repeat(self.text);
        let generate = move |i: u64| (key(i), nanos(), text.clone());
        let operator = OperatorId(SOURCE.0);
        let source = GeneratorSource::new(generate, self.count, self.rate, &context, operator)?;
        Ok(task::producing(context, operator, Box::new(source), Box::new(RoutingWriter::new(channels, route))))
    }
}

/// Keeps a count per key, and what every record's latency was.
struct Sink;

struct Receive {
    context: SubtaskContext,
    state: flumen_state::Keyed<u64>,
    counts: flumen_state::Table<u64, (), u64>,
    measured: Measured,
}

impl Push<Record> for Receive {
    fn push(&mut self, batch: &mut Batch<Record>) -> TaskResult {
        let now = self.measured.look();
        for ((key, created, text), _) in batch.drain() {
            self.counts.upsert(&key, &(), || 0, |count| *count += 1)?;
            self.measured.record(now, created, &text);
        }
        Ok(())
    }

    fn signal(&mut self, signal: Signal<'_>) -> TaskResult {
        match signal {
            Signal::Barrier(snapshot) => {
                let state = self.state.snapshot(snapshot.barrier().kind)?;
                snapshot.keyed(OperatorId(SINK.0), state);
            }
            Signal::Background(more) => *more |= self.state.snapshot_step(4096),
            Signal::End => self.measured.print(),
            _ => {}
        }
        let _ = &self.context;
        Ok(())
    }
}

impl VertexFactory for Sink {
    fn gate(&self, origins: &[ChannelOrigin], credit: u32, receiver: Arc<SubtaskHandle>) -> Option<AnyGate> {
        Some(AnyGate::of(Gate::<Record>::new(origins, credit, receiver)))
    }

    fn subtask(
        &self,
        context: SubtaskContext,
        gate: Option<AnyGate>,
        _: Vec<Vec<OutputChannel<AnyGate>>>,
    ) -> TaskResult<SubtaskBody> {
        let mut state = context.open_keyed::<u64>(OperatorId(SINK.0))?;
        let counts = state.table(flumen_state::TableDescriptor::new("counts"))?;
        let sink = Receive { context: context.clone(), state, counts, measured: Measured::default() };
        Ok(task::receiving(context, gate.unwrap().typed::<Record>(), Box::new(sink)))
    }
}

fn graph() -> JobGraph {
    let vertex = |id, source| JobVertex {
        id,
        name: format!("vertex {id}"),
        operators: vec![],
        parallelism: 1,
        max_parallelism: 128,
        source,
    };
    JobGraph {
        name: "exchange".into(),
        mode: RuntimeMode::Streaming,
        vertices: vec![vertex(SOURCE, Some(SourceInfo { bounded: true, splits: vec![] })), vertex(SINK, None)],
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

async fn start(source: Source) -> Running {
    let directory = tempfile::tempdir().unwrap();
    let listening = Network::listen(JobId(7), "127.0.0.1", InternalTls::disabled(), directory.path()).await.unwrap();
    let (network, mut address) = listening;
    // Over TCP, as the reference.
    address.socket = None;
    let source: Arc<dyn VertexFactory> = Arc::new(source);
    let sink: Arc<dyn VertexFactory> = Arc::new(Sink);
    let program = Program { graph: graph(), vertices: HashMap::from([(SOURCE, source), (SINK, sink)]) };
    let context = WorkerContext {
        segment_bytes: FRAME,
        ..WorkerContext::new(FileSystems::new(FsOptions::default()).unwrap(), tokio::runtime::Handle::current())
    };
    let (reports, reported) = mpsc::channel(QUEUE);
    let (commands, obeyed) = mpsc::channel(QUEUE);
    tokio::spawn(Worker::new(JobId(7), Arc::new(program), context, Some(network), 8, reports).run(obeyed));
    Running { commands, reports: reported, address, _directory: directory }
}

fn deployment(workers: &[WorkerAddress; 2], me: u32) -> Deployment {
    let place = |vertex, worker| VertexPlacement { vertex, worker_of: vec![worker] };
    Deployment {
        region: 0,
        attempt: ATTEMPT,
        workers: workers.to_vec(),
        me,
        placement: vec![place(SOURCE, 0), place(SINK, 1)],
        restore: Vec::new(),
    }
}

/// The receiving process: prints its address, takes the sender's, works until its input ends.
#[tokio::main]
async fn receive() {
    let mut worker = start(Source { count: 0, rate: None, text: 0 }).await;
    println!("{}", serde_json::to_string(&worker.address).unwrap());
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    let sender: WorkerAddress = serde_json::from_str(&line).unwrap();
    let workers = [sender, worker.address.clone()];
    worker.commands.send(ToWorker::Deploy(deployment(&workers, 1))).await.unwrap();
    worker.commands.send(ToWorker::Start { region: 0, attempt: ATTEMPT }).await.unwrap();
    while let Some(report) = worker.reports.recv().await {
        match report {
            FromWorker::Deployed { .. } => println!("DEPLOYED"),
            FromWorker::State { state, failure, .. } if state.is_terminal() => {
                assert_eq!(failure, None);
                // The sender has still to say that nothing follows: it ends first.
                std::io::stdin().read_line(&mut line).unwrap();
                return;
            }
            _ => {}
        }
    }
}

/// What a child printed.
struct Numbers {
    bytes: f64,
    seconds: f64,
    /// Median, 99 and 99.99 of 100.
    micros: [u64; 3],
}

impl Numbers {
    fn parse(line: &str) -> Self {
        let numbers: Vec<f64> = line.split_whitespace().skip(1).map(|n| n.parse().unwrap()).collect();
        Self { bytes: numbers[0], seconds: numbers[1], micros: [2, 3, 4].map(|i| numbers[i] as u64) }
    }

    fn speed(&self) -> f64 {
        self.bytes / self.seconds
    }

    fn latency(&self) -> String {
        let [p50, p99, p9999] = self.micros;
        format!("p50 {p50} µs, p99 {p99} µs, p99.99 {p9999} µs")
    }
}

fn child(role: &str) -> (Child, BufReader<ChildStdout>) {
    let executable = std::env::current_exe().unwrap();
    let mut child = Command::new(executable).arg(role).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    (child, output)
}

fn line(output: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    line
}

#[tokio::main]
async fn exchange(source: Source, checkpoints: bool) -> Numbers {
    let (mut child, mut output) = child("--receive");
    let receiver: WorkerAddress = serde_json::from_str(&line(&mut output)).unwrap();
    let mut worker = start(source).await;
    let workers = [worker.address.clone(), receiver];
    writeln!(child.stdin.as_mut().unwrap(), "{}", serde_json::to_string(&worker.address).unwrap()).unwrap();
    assert_eq!(line(&mut output).trim(), "DEPLOYED");
    worker.commands.send(ToWorker::Deploy(deployment(&workers, 0))).await.unwrap();
    worker.commands.send(ToWorker::Start { region: 0, attempt: ATTEMPT }).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let mut every_second = tokio::time::interval(Duration::from_secs(1));
    let mut checkpoint = 0;
    loop {
        tokio::select! {
            report = worker.reports.recv() => match report.unwrap() {
                FromWorker::State { state, failure, .. } if state.is_terminal() => {
                    assert_eq!(failure, None);
                    break;
                }
                _ => {}
            },
            _ = every_second.tick() => if checkpoints {
                checkpoint += 1;
                let chk = directory.path().join(format!("chk-{checkpoint}")).display().to_string();
                let barrier = Barrier {
                    checkpoint: CheckpointId(checkpoint),
                    kind: SnapshotKind::Checkpoint,
                    alignment: Alignment::Aligned,
                    triggered_ms: nanos() / 1_000_000,
                    shared_directory: chk.clone(),
                    directory: chk,
                };
                let subtasks = vec![SubtaskId { vertex: SOURCE, index: 0 }];
                let trigger = ToWorker::TriggerCheckpoint { attempt: ATTEMPT, subtasks, barrier };
                worker.commands.send(trigger).await.unwrap();
            },
        }
    }
    let result = line(&mut output);
    drop(child.stdin.take());
    child.wait().unwrap();
    Numbers::parse(&result)
}

/// Frames of the same size through one TCP connection to a child that reads them.
fn plain(bytes: u64) -> f64 {
    let (mut child, mut output) = child("--read");
    let address = line(&mut output);
    let mut stream = TcpStream::connect(address.trim()).unwrap();
    let frame = vec![b'x'; FRAME];
    let begun = Instant::now();
    for _ in 0..bytes / FRAME as u64 {
        stream.write_all(&frame).unwrap();
    }
    drop(stream);
    line(&mut output);
    let seconds = begun.elapsed().as_secs_f64();
    child.wait().unwrap();
    bytes as f64 / seconds
}

fn read() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("{}", listener.local_addr().unwrap());
    let (mut stream, _) = listener.accept().unwrap();
    let mut buffer = vec![0; FRAME];
    while stream.read(&mut buffer).unwrap() > 0 {}
    println!("READ");
}

/// What was measured, and the seconds of CPU that this process and the children that have ended took meanwhile.
fn with_cpu(measure: impl FnOnce() -> f64) -> (f64, f64) {
    let cpu = || {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let (_, after_name) = stat.rsplit_once(')').unwrap();
        // User and system time, of the process and of its children, in hundredths of a second.
        let ticks = after_name.split_whitespace().skip(11).take(4);
        ticks.map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() / 100.0
    };
    let before = cpu();
    let measured = measure();
    (measured, cpu() - before)
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("--receive") => return receive(),
        Some("--read") => return read(),
        Some("--receive-by-hand") => return by_hand::receive(),
        _ => {}
    }
    let value = |name: &str, default: u64| {
        arguments.iter().position(|a| a == name).map_or(default, |at| arguments[at + 1].parse().expect("a number"))
    };
    let bytes = value("--megabytes", 2048) << 20;
    let (seconds, rate) = (value("--seconds", 10), value("--rate", 100_000));
    let count = bytes / TEXT as u64;
    if bytes > 0 {
        let (raw, raw_cpu) = with_cpu(|| plain(bytes));
        let (by_hand, by_hand_cpu) = with_cpu(|| by_hand::exchange(count, None, TEXT).speed());
        let (ours, cpu) = with_cpu(|| exchange(Source { count, rate: None, text: TEXT }, false).speed());
        let per_gb = 1e9 / bytes as f64;
        let compared = |name: String, speed: f64, other: f64| {
            let (speed, other) = (speed / 1e9, other * per_gb);
            let (ratio, ratio_cpu) = (ours / 1e9 / speed, other / (cpu * per_gb));
            println!("{name}: {speed:.2} GB/s, {other:.2} s of CPU per GB; ratios {ratio:.2} and {ratio_cpu:.2}");
        };
        compared(format!("records of {TEXT} bytes through keyBy"), ours, cpu);
        compared("the same records by hand".to_owned(), by_hand, by_hand_cpu);
        compared(format!("plain TCP, frames of {FRAME} bytes"), raw, raw_cpu);
    }
    println!(
        "latency at {rate} records/s of a thread that sleeps: {}",
        sleeping(rate * seconds, rate as f64).latency()
    );
    let by_hand = by_hand::exchange(rate * seconds, Some(rate as f64), 16);
    println!("latency at {rate} records/s by hand: {}", by_hand.latency());
    for checkpoints in [false, true] {
        let source = Source { count: rate * seconds, rate: Some(rate as f64), text: 16 };
        let what = if checkpoints { "with a checkpoint each second" } else { "without checkpoints" };
        println!("latency at {rate} records/s {what}: {}", exchange(source, checkpoints).latency());
    }
}
