//! What a writer does with a barrier while its receiver takes nothing.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use flumen_fs::{FileSystems, FsOptions};
use flumen_model::checkpoint::{Alignment, Barrier, CheckpointId, SnapshotKind, SubtaskSnapshot};
use flumen_model::ids::{ExecutionAttempt, SubtaskId, VertexId};
use flumen_worker::batch::Batch;
use flumen_worker::checkpoint::Snapshot;
use flumen_worker::exchange::channels::{ChannelTarget, Channels, OutputChannel};
use flumen_worker::exchange::credit::Credit;
use flumen_worker::exchange::gate::{ChannelOrigin, Control, CreditReturn, Gate, Item};
use flumen_worker::exchange::writer::{Forward, RoutingWriter};
use flumen_worker::operator::{Push, Signal, TaskError};
use flumen_worker::sources::SplitRequests;
use flumen_worker::subtask::{SubtaskContext, SubtaskHandle, WorkerContext};
use tokio::sync::mpsc;

fn context(runtime: &tokio::runtime::Runtime) -> SubtaskContext {
    let id = SubtaskId { vertex: VertexId(1), index: 0 };
    let (reports, _) = mpsc::channel(1);
    SubtaskContext {
        id,
        vertex_name: "source".into(),
        parallelism: 1,
        max_parallelism: 1,
        attempt: ExecutionAttempt(0),
        handle: Arc::new(SubtaskHandle::default()),
        io: Arc::default(),
        splits: SplitRequests::new(id, ExecutionAttempt(0), reports.clone()),
        mailbox: Arc::default(),
        backlog: Arc::default(),
        restored: Arc::default(),
        reports,
        batch_records: flumen_worker::operator::BATCH_RECORDS,
        worker: WorkerContext {
            buffer_timeout: Duration::from_secs(3600),
            segment_bytes: 128,
            checkpointing: true,
            state: flumen_worker::keyed_state::StateSettings { inline_below: 1 << 20, ..Default::default() },
            ..WorkerContext::new(FileSystems::new(FsOptions::default()).unwrap(), runtime.handle().clone())
        },
    }
}

/// A writer with one channel, whose receiver may have one buffer of sixteen records.
struct Test {
    runtime: tokio::runtime::Runtime,
    context: SubtaskContext,
    gate: Arc<Gate<u64>>,
    writer: RoutingWriter<u64, Forward>,
}

impl Test {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let context = context(&runtime);
        let credit = Arc::new(Credit::new(1, Arc::clone(&context.handle)));
        let gate = Arc::new(Gate::new(&[ChannelOrigin { edge: 4, source: 0 }], 1, Arc::default()));
        gate.connect(0, CreditReturn::Local(Arc::clone(&credit)));
        let target = ChannelTarget::Local { gate: Arc::clone(&gate), channel: 0 };
        let channels = Channels::new(vec![OutputChannel { edge: 4, subtask: 7, target, credit }], &context);
        Self { runtime, context, gate, writer: RoutingWriter::new(channels, Forward) }
    }

    /// Writes records, then the barrier of a checkpoint that is triggered now.
    fn write(&mut self, records: std::ops::Range<u64>, alignment: Alignment) -> Snapshot {
        self.writer.push(&mut Batch::from(records.collect::<Vec<_>>())).unwrap();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let mut snapshot = Snapshot::new(Barrier {
            checkpoint: CheckpointId(1),
            kind: SnapshotKind::Checkpoint,
            alignment,
            triggered_ms: now.as_millis() as u64,
            directory: "file:///nowhere".to_owned(),
            shared_directory: "file:///nowhere".to_owned(),
        });
        self.writer.signal(Signal::Barrier(&mut snapshot)).unwrap();
        snapshot
    }

    /// What has arrived, as text. Buffers are given back.
    fn arrived(&mut self) -> Vec<String> {
        let mut arrived = Vec::new();
        while let Some((channel, item)) = self.gate.take().unwrap() {
            arrived.push(match item {
                Item::Batch(batch) => {
                    self.gate.give_back(channel);
                    format!("{}..", batch.records()[0])
                }
                Item::Control(Control::Barrier(barrier)) => format!("{:?}", barrier.alignment),
                item => panic!("{item:?}"),
            });
            self.writer.signal(Signal::Resume).unwrap();
        }
        arrived
    }

    fn written(&self, snapshot: Snapshot) -> Result<SubtaskSnapshot, TaskError> {
        let writes = async { tokio::time::timeout(Duration::from_secs(60), snapshot.write(&self.context)).await };
        self.runtime.block_on(writes).expect("it is known what the barrier overtook")
    }
}

#[test]
fn a_barrier_that_has_waited_for_too_long_overtakes_the_records_that_wait_for_credit() {
    let mut test = Test::new();
    let snapshot = test.write(0..48, Alignment::AlignedUntil(0));
    test.writer.signal(Signal::Resume).unwrap();
    assert_eq!(test.arrived(), ["0..", "Unaligned", "16..", "32.."]);
    let snapshot = test.written(snapshot).unwrap();
    let [flight] = &snapshot.in_flight[..] else { panic!("{snapshot:?}") };
    assert_eq!((flight.edge, flight.source, flight.target, flight.records.length), (4, 0, 7, 32));
    assert!(test.context.backlog.is_empty());
}

#[test]
fn a_barrier_that_comes_to_its_turn_in_time_overtakes_nothing() {
    let mut test = Test::new();
    let patient = Alignment::AlignedUntil(3_600_000);
    let snapshot = test.write(0..48, patient);
    test.writer.signal(Signal::Resume).unwrap();
    assert_eq!(test.arrived(), ["0..", "16..", "32..", "AlignedUntil(3600000)"]);
    assert_eq!(test.written(snapshot).unwrap().in_flight, []);
    assert!(test.context.backlog.is_empty());
}

#[test]
fn a_snapshot_does_not_wait_for_a_barrier_whose_checkpoint_is_given_up() {
    let mut test = Test::new();
    let snapshot = test.write(0..48, Alignment::AlignedUntil(3_600_000));
    test.writer.signal(Signal::Aborted(CheckpointId(1))).unwrap();
    assert_eq!(test.written(snapshot), Err(TaskError::Canceled));
}
