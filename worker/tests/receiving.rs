//! What a receiving subtask does with the mails of the control plane, and what a writer puts into its gate.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use flumen_fs::{FileSystems, FsOptions};
use flumen_model::checkpoint::{Alignment, Barrier, CheckpointId, SnapshotKind};
use flumen_model::ids::{ExecutionAttempt, SubtaskId, VertexId};
use flumen_wire::control::FromWorker;
use flumen_worker::batch::{Batch, NO_TIME};
use flumen_worker::exchange::channels::{ChannelTarget, Channels, OutputChannel};
use flumen_worker::exchange::credit::Credit;
use flumen_worker::exchange::gate::{ChannelOrigin, Control, Gate, Item};
use flumen_worker::exchange::writer::{Forward, RoutingWriter};
use flumen_worker::operator::{Push, Signal, TaskResult};
use flumen_worker::subtask::{Mail, Mailbox, SubtaskContext, SubtaskHandle, WorkerContext};
use flumen_worker::task;
use tokio::sync::mpsc;

/// Writes down what it is given, and completes a checkpoint as soon as its barrier comes.
struct Log {
    lines: Arc<Mutex<Vec<String>>>,
    mailbox: Arc<Mailbox>,
}

impl Push<u64> for Log {
    fn push(&mut self, batch: &mut Batch<u64>) -> TaskResult {
        let records: Vec<u64> = batch.drain().map(|(record, _)| record).collect();
        self.lines.lock().unwrap().push(format!("{records:?}"));
        Ok(())
    }

    fn signal(&mut self, signal: Signal<'_>) -> TaskResult {
        let line = match signal {
            Signal::Barrier(snapshot) => {
                self.mailbox.put(Mail::Completed(snapshot.barrier().checkpoint));
                "barrier"
            }
            Signal::End => "end",
            Signal::Close => "close",
            _ => return Ok(()),
        };
        let mut lines = self.lines.lock().unwrap();
        // Else the subtask would wait for another checkpoint, for ever.
        assert!(line != "end" || !lines.contains(&"barrier".to_owned()), "the barrier came before the end: {lines:?}");
        lines.push(line.to_owned());
        Ok(())
    }
}

fn context(runtime: &tokio::runtime::Runtime, reports: mpsc::Sender<FromWorker>) -> SubtaskContext {
    let id = SubtaskId { vertex: VertexId(1), index: 0 };
    let handle = Arc::new(SubtaskHandle::default());
    handle.attach_current_thread();
    let worker = WorkerContext {
        configuration: Arc::default(),
        files: FileSystems::new(FsOptions::default()).unwrap(),
        runtime: runtime.handle().clone(),
        operator_memory: 1 << 20,
        tmp_dirs: Arc::new([]),
        buffer_timeout: Duration::from_millis(100),
        segment_bytes: 32 << 10,
        checkpointing: true,
        state: Default::default(),
        time: Default::default(),
    };
    SubtaskContext {
        vertex_name: "sink".into(),
        handle,
        ..SubtaskContext::new(id, ExecutionAttempt(0), 1, reports, worker)
    }
}

#[test]
fn a_triggered_snapshot_holds_everything_that_the_finished_senders_sent() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (reports, mut reported) = mpsc::channel(16);
    let context = context(&runtime, reports);
    let gate = Arc::new(Gate::<u64>::new(&[ChannelOrigin { edge: 0, source: 0 }], 4, Arc::clone(&context.handle)));
    let directory = tempfile::tempdir().unwrap();
    let barrier = Barrier {
        checkpoint: CheckpointId(1),
        kind: SnapshotKind::Checkpoint,
        alignment: Alignment::Aligned,
        triggered_ms: 0,
        directory: format!("file://{}", directory.path().display()),
        shared_directory: format!("file://{}", directory.path().display()),
    };
    // The JobMaster knows that the sender has finished before its last records have been taken.
    context.mailbox.put(Mail::Trigger(barrier));
    gate.put(0, Item::Batch(vec![1, 2].into()));
    gate.put(0, Item::Control(Control::EndOfData));
    gate.put(0, Item::Control(Control::Close));
    let lines: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = Log { lines: Arc::clone(&lines), mailbox: Arc::clone(&context.mailbox) };
    assert_eq!(task::receiving(context, gate, Box::new(log))(), Ok(()));
    assert_eq!(*lines.lock().unwrap(), ["[1, 2]", "end", "barrier", "close"]);
    assert!(matches!(reported.blocking_recv(), Some(FromWorker::EndOfData { .. })));
    assert!(matches!(reported.blocking_recv(), Some(FromWorker::CheckpointAck { checkpoint: CheckpointId(1), .. })));
}

#[test]
fn a_writer_to_one_channel_sends_all_records_in_order_with_their_times_in_buffers_that_are_not_too_large() {
    const BUFFER_MAX: usize = 1024;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (reports, _reported) = mpsc::channel(16);
    let context = context(&runtime, reports);
    let gate = Arc::new(Gate::<u64>::new(&[ChannelOrigin { edge: 0, source: 0 }], 4, Arc::clone(&context.handle)));
    let credit = Arc::new(Credit::new(1000, Arc::clone(&context.handle)));
    let target = ChannelTarget::Local { gate: Arc::clone(&gate), channel: 0 };
    let channels = Channels::new(vec![OutputChannel { edge: 0, subtask: 0, target, credit }], &context);
    let mut writer = RoutingWriter::new(channels, Forward);
    let mut sent = Vec::new();
    // Batches that fit, that fill up what is there, that are handed over as they are, and that have to be divided.
    for length in [1, 600, 600, 1024, 0, 3, 1021, 1024, 513, 512, 511, 3000, 700, 1024, 5] {
        let mut batch = Batch::with_capacity(length);
        for _ in 0..length {
            let record = sent.len() as u64;
            let time = if record % 5000 < 2500 { NO_TIME } else { record as i64 };
            batch.push(record, time);
            sent.push((record, time));
        }
        writer.push(&mut batch).unwrap();
        assert!(batch.is_empty() && batch.capacity() >= length, "the batch comes back empty with its room");
    }
    writer.signal(Signal::Flush).unwrap();
    let (mut received, mut buffers) = (Vec::new(), 0);
    while let Some((0, Item::Batch(mut batch))) = gate.take().unwrap() {
        assert!((1..=BUFFER_MAX).contains(&batch.len()), "a buffer of {} records", batch.len());
        received.extend(batch.drain());
        buffers += 1;
    }
    assert_eq!(received, sent);
    assert!(buffers <= 2 * sent.len().div_ceil(BUFFER_MAX), "{buffers} buffers of credit for {} records", sent.len());
}
