//! What a receiving subtask does with the mails of the control plane, and what a writer puts into its gate.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::{Arc, Mutex};

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
        checkpointing: true,
        ..WorkerContext::new(FileSystems::new(FsOptions::default()).unwrap(), runtime.handle().clone())
    };
    SubtaskContext {
        vertex_name: "sink".into(),
        handle,
        ..SubtaskContext::new(id, ExecutionAttempt(0), 1, reports, worker)
    }
}

fn barrier(checkpoint: u64, kind: SnapshotKind, directory: &tempfile::TempDir) -> Barrier {
    let directory = format!("file://{}", directory.path().display());
    Barrier {
        checkpoint: CheckpointId(checkpoint),
        kind,
        alignment: Alignment::Aligned,
        triggered_ms: 0,
        directory: directory.clone(),
        shared_directory: directory,
    }
}

#[test]
fn a_triggered_snapshot_holds_everything_that_the_finished_senders_sent() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (reports, mut reported) = mpsc::channel(16);
    let context = context(&runtime, reports);
    let gate = Arc::new(Gate::<u64>::new(&[ChannelOrigin { edge: 0, source: 0 }], 4, Arc::clone(&context.handle)));
    let directory = tempfile::tempdir().unwrap();
    let barrier = barrier(1, SnapshotKind::Checkpoint, &directory);
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
fn snapshots_that_are_triggered_while_others_wait_for_what_was_sent_last_are_all_taken() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (reports, mut reported) = mpsc::channel(16);
    let context = context(&runtime, reports);
    let gate = Arc::new(Gate::<u64>::new(&[ChannelOrigin { edge: 0, source: 0 }], 4, Arc::clone(&context.handle)));
    let directory = tempfile::tempdir().unwrap();
    let trigger = |checkpoint, kind| context.mailbox.put(Mail::Trigger(barrier(checkpoint, kind, &directory)));
    trigger(1, SnapshotKind::Checkpoint);
    trigger(2, SnapshotKind::Checkpoint);
    context.mailbox.put(Mail::Aborted(CheckpointId(2)));
    trigger(3, SnapshotKind::Savepoint);
    gate.put(0, Item::Control(Control::EndOfData));
    gate.put(0, Item::Control(Control::Close));
    let log = Log { lines: Arc::default(), mailbox: Arc::clone(&context.mailbox) };
    assert_eq!(task::receiving(context, gate, Box::new(log))(), Ok(()));
    let mut taken = Vec::new();
    while let Some(report) = reported.blocking_recv() {
        if let FromWorker::CheckpointAck { checkpoint, .. } = report {
            taken.push(checkpoint.0);
        }
    }
    taken.sort_unstable();
    assert_eq!(taken, [1, 3]);
}

/// Hears only with the second barrier what became of the first one's savepoint. With the news of the second it is cancelled,
/// which nobody sees who has come to the end.
struct LateNews {
    mailbox: Arc<Mailbox>,
    handle: Arc<SubtaskHandle>,
}

impl Push<u64> for LateNews {
    fn push(&mut self, batch: &mut Batch<u64>) -> TaskResult {
        batch.drain().for_each(drop);
        Ok(())
    }

    fn signal(&mut self, signal: Signal<'_>) -> TaskResult {
        match signal {
            Signal::Barrier(snapshot) if snapshot.barrier().checkpoint == CheckpointId(2) => {
                self.mailbox.put(Mail::Aborted(CheckpointId(1)));
                self.mailbox.put(Mail::Completed(CheckpointId(2)));
            }
            Signal::Completed(_) => self.handle.cancel(),
            _ => {}
        }
        Ok(())
    }
}

#[test]
fn a_subtask_ends_with_the_second_savepoint_of_a_stop_whose_first_was_given_up_also_if_it_hears_that_late() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (reports, _reported) = mpsc::channel(16);
    let context = context(&runtime, reports);
    let gate = Arc::new(Gate::<u64>::new(&[ChannelOrigin { edge: 0, source: 0 }], 4, Arc::clone(&context.handle)));
    let directory = tempfile::tempdir().unwrap();
    for checkpoint in [1, 2] {
        // The sender has heard what became of the first, and goes on until the second.
        gate.put(0, Item::Batch(vec![checkpoint].into()));
        let barrier = barrier(checkpoint, SnapshotKind::StopWithSavepoint, &directory);
        gate.put(0, Item::Control(Control::Barrier(Arc::new(barrier))));
    }
    gate.put(0, Item::Control(Control::Close));
    let late = LateNews { mailbox: Arc::clone(&context.mailbox), handle: Arc::clone(&context.handle) };
    assert_eq!(task::receiving(context, gate, Box::new(late))(), Ok(()));
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
