//! The file sink beside a loop that writes the same bytes with `std::fs`, closing and syncing files as often.
//!
//! ```text
//! cargo bench -p flumen-worker --bench file_sink -- [--megabytes 256] [--directory /tmp]
//! ```
//!
//! Wall time and CPU time of both, as ratios (the loop is 1); and the memory that the sink takes with one bucket and with
//! many.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark reports on its standard output, or fails")]

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use flumen_fs::{FileSystems, FsOptions};
use flumen_model::checkpoint::{Alignment, Barrier, CheckpointId, SnapshotKind};
use flumen_model::ids::{ExecutionAttempt, OperatorId, SubtaskId, VertexId};
use flumen_worker::batch::Batch;
use flumen_worker::checkpoint::Snapshot;
use flumen_worker::operator::{Push, Signal};
use flumen_worker::sinks::AsText;
use flumen_worker::sinks::file::{
    BasePathBucketAssigner, BucketContext, FileSink, OnCheckpointRollingPolicy, SimpleStringEncoder, SinkError,
};
use flumen_worker::subtask::{SubtaskContext, SubtaskHandle, WorkerContext};
use tokio::sync::mpsc;

const OPERATOR: OperatorId = OperatorId(1);
const BATCH: usize = 1024;
const CHUNK: usize = 1 << 20;
const LINE: &str =
    "2026-08-01T12:00:00.000Z INFO  the quick brown fox jumps over the lazy dog while nobody looks at it\n";

#[derive(Debug, Clone, Copy)]
struct Cost {
    wall: Duration,
    cpu: Duration,
}

fn measured(work: impl FnOnce()) -> Cost {
    let (begun, cpu) = (Instant::now(), cpu_time());
    work();
    Cost { wall: begun.elapsed(), cpu: cpu_time() - cpu }
}

/// User and system time of this process, in ticks of 10 ms.
fn cpu_time() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

/// The most memory that was resident since the last call, in bytes.
fn peak_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    fs::write("/proc/self/clear_refs", "5").unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

fn context(runtime: &tokio::runtime::Runtime) -> SubtaskContext {
    let id = SubtaskId { vertex: VertexId(1), index: 0 };
    let (reports, _) = mpsc::channel(1);
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

/// Gives `records` to the sink, with a checkpoint after every quarter of them.
fn run_sink<T>(
    context: &SubtaskContext,
    out: &Path,
    mut sink: Box<dyn Push<T>>,
    records: u64,
    make: impl Fn(u64) -> T,
) {
    let mut batch = Batch::with_capacity(BATCH);
    let place = format!("file://{}", out.with_extension("checkpoints").display());
    let mut position = 0;
    for checkpoint in 1..=4 {
        while position < records / 4 * checkpoint {
            (position..position + BATCH as u64).for_each(|n| batch.push(make(n), n as i64));
            position += BATCH as u64;
            sink.push(&mut batch).unwrap();
        }
        let barrier = Barrier {
            checkpoint: CheckpointId(checkpoint),
            kind: SnapshotKind::Checkpoint,
            alignment: Alignment::Aligned,
            triggered_ms: 0,
            directory: place.clone(),
            shared_directory: place.clone(),
        };
        let mut snapshot = Snapshot::new(barrier);
        sink.signal(Signal::Barrier(&mut snapshot)).unwrap();
        context.worker.runtime.block_on(snapshot.write(context)).unwrap();
        sink.signal(Signal::Completed(CheckpointId(checkpoint))).unwrap();
    }
    sink.signal(Signal::Close).unwrap();
}

/// The loop that the sink is compared with.
fn run_loop(out: &Path, records: u64, mut encode: impl FnMut(u64, &mut String)) {
    fs::create_dir_all(out).unwrap();
    let mut buffer = String::with_capacity(CHUNK + CHUNK / 8);
    let mut position = 0;
    for part in 1..=4 {
        let path = out.join(format!("part-{part}"));
        let mut file = File::create(&path).unwrap();
        while position < records / 4 * part {
            (position..position + BATCH as u64).for_each(|n| encode(n, &mut buffer));
            position += BATCH as u64;
            if buffer.len() >= CHUNK {
                file.write_all(buffer.as_bytes()).unwrap();
                buffer.clear();
            }
        }
        file.write_all(buffer.as_bytes()).unwrap();
        buffer.clear();
        file.sync_all().unwrap();
    }
}

fn bytes_in(out: &Path) -> u64 {
    let entries = fs::read_dir(out).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| if entry.path().is_dir() { bytes_in(&entry.path()) } else { entry.metadata().unwrap().len() })
        .sum()
}

fn report(name: &str, bytes: u64, records: u64, reference: &[Cost], sink: &[Cost]) {
    let best = |costs: &[Cost], of: fn(&Cost) -> Duration| costs.iter().map(of).min().unwrap().as_secs_f64();
    let wall: fn(&Cost) -> Duration = |cost| cost.wall;
    let cpu: fn(&Cost) -> Duration = |cost| cost.cpu;
    println!(
        "{name}: {} MB, {records} records; std::fs {:.2} s wall {:.2} s cpu; sink {:.2} s wall {:.2} s cpu; \
         ratio of throughput {:.2}, of cpu {:.2}; sink {:.1} ns of cpu a record",
        bytes >> 20,
        best(reference, wall),
        best(reference, cpu),
        best(sink, wall),
        best(sink, cpu),
        best(reference, wall) / best(sink, wall),
        best(reference, cpu) / best(sink, cpu),
        best(sink, cpu) * 1e9 / records as f64,
    );
}

fn main() {
    let option = |name: &str| {
        let mut arguments = std::env::args().skip_while(|argument| argument != name);
        arguments.nth(1)
    };
    let bytes: u64 = option("--megabytes").map_or(256, |text| text.parse().unwrap()) << 20;
    let directory = option("--directory").map_or_else(std::env::temp_dir, PathBuf::from);
    let directory = tempfile::tempdir_in(directory).unwrap();
    let out = directory.path().join("out");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let context = context(&runtime);
    let base = out.to_str().unwrap();

    // Lines that are ready to be written: what the sink itself costs.
    let records = bytes / LINE.len() as u64 / 4096 * 4096;
    let line = |line: &&'static str, out: &mut Vec<u8>| {
        out.extend_from_slice(line.as_bytes());
        Ok::<(), SinkError>(())
    };
    let lines = FileSink::for_row_format(base, line)
        .with_bucket_assigner(BasePathBucketAssigner)
        .with_rolling_policy(OnCheckpointRollingPolicy);
    let (mut reference, mut sink) = (Vec::new(), Vec::new());
    let mut written = [0; 2];
    for _ in 0..3 {
        reference.push(measured(|| run_loop(&out, records, |_, buffer| buffer.push_str(LINE))));
        written[0] = bytes_in(&out);
        fs::remove_dir_all(&out).unwrap();
        let opened = lines.open::<&'static str>(&context, OPERATOR).unwrap();
        sink.push(measured(|| run_sink(&context, &out, opened, records, |_| LINE)));
        written[1] = bytes_in(&out);
        fs::remove_dir_all(&out).unwrap();
    }
    assert_eq!(written[0], written[1], "both write the same bytes");
    report("lines of 100 bytes", written[0], records, &reference, &sink);

    // Numbers as text: what a record costs.
    let records = bytes / 10 / 4096 * 4096;
    let numbers = FileSink::for_row_format(base, SimpleStringEncoder::new())
        .with_bucket_assigner(BasePathBucketAssigner)
        .with_rolling_policy(OnCheckpointRollingPolicy);
    let (mut reference, mut sink) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let encode = |n: u64, buffer: &mut String| {
            (n + 100_000_000).write_text(buffer);
            buffer.push('\n');
        };
        reference.push(measured(|| run_loop(&out, records, encode)));
        written[0] = bytes_in(&out);
        fs::remove_dir_all(&out).unwrap();
        let opened = numbers.open::<u64>(&context, OPERATOR).unwrap();
        sink.push(measured(|| run_sink(&context, &out, opened, records, |n| n + 100_000_000)));
        written[1] = bytes_in(&out);
        fs::remove_dir_all(&out).unwrap();
    }
    assert_eq!(written[0], written[1], "both write the same bytes");
    report("numbers", written[0], records, &reference, &sink);

    for buckets in [1_u64, 100, 1000] {
        let sink = FileSink::for_row_format(base, SimpleStringEncoder::new())
            .with_bucket_assigner(move |n: &u64, _: &BucketContext| (n % buckets).to_string())
            .with_rolling_policy(OnCheckpointRollingPolicy);
        peak_memory();
        let before = peak_memory();
        let opened = sink.open::<u64>(&context, OPERATOR).unwrap();
        let cost = measured(|| run_sink(&context, &out, opened, records, |n| n + 100_000_000));
        let more = peak_memory().saturating_sub(before);
        println!(
            "{buckets} buckets: {:.1} MB more memory at the peak, {:.2} s wall, {:.2} s cpu",
            more as f64 / 1048576.0,
            cost.wall.as_secs_f64(),
            cost.cpu.as_secs_f64()
        );
        assert!(more < 64 << 20, "the sink's memory does not grow with what it writes");
        fs::remove_dir_all(&out).unwrap();
    }
}
