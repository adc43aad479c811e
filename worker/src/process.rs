//! A worker as a process of its own: the child of a TaskExecutor, joined to it by one socket.
//!
//! When the socket closes, the TaskExecutor is gone or has given up this worker: the process ends at once, whatever its
//! subtasks are doing. That is what keeps a lost container from leaving a worker behind.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use flumen_model::config::BadConfiguration;
use flumen_model::failure::{Blame, Failure};
use flumen_model::job_graph::RuntimeMode;
use flumen_model::options::{checkpointing, execution, memory};
use flumen_model::text::with_causes;
use flumen_wire::control::{FromWorker, ProgramSetup, ToWorker, WorkerSetup};
use flumen_wire::frame;
use flumen_wire::tls::{InternalTls, SecurityError};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::deployment::Program;
use crate::exchange::network::Network;
use crate::files::{FilesError, file_systems};
use crate::keyed_state::StateSettings;
use crate::subtask::{TimeSource, WorkerContext};
use crate::worker::{QUEUE, Worker};

/// Why a worker could not begin.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// An option has a wrong value.
    #[error(transparent)]
    Configuration(#[from] BadConfiguration),
    /// No file systems.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The certificate can't be used.
    #[error("internal TLS can't be set up")]
    Security(#[from] SecurityError),
    /// No network or threads.
    #[error("the worker can't be set up")]
    Io(#[from] std::io::Error),
}

/// What the subtasks of a worker share, from the configuration. `memory_bytes` are the worker's; `state_dirs` go before the option for
/// RocksDB's directories, as they are the worker's own.
pub fn worker_context(
    setup: &ProgramSetup,
    graph: &flumen_model::job_graph::JobGraph,
    runtime: tokio::runtime::Handle,
    memory_bytes: u64,
    slots: u32,
    tmp_dirs: &[String],
    state_dirs: &[String],
) -> Result<WorkerContext, SetupError> {
    let configuration = graph.configuration(&setup.configuration);
    let managed = configuration.get(&memory::MANAGED_FRACTION)?.clamp(0.0, 1.0) * memory_bytes as f64;
    // In each slot, every vertex may hold two tables at a time: what it receives and what it combines to send.
    let tables = 2 * graph.vertices.len().max(1) as u64 * u64::from(slots.max(1));
    let tmp_dirs: Arc<[PathBuf]> = tmp_dirs.iter().map(PathBuf::from).collect();
    let own: Vec<PathBuf> = state_dirs.iter().map(PathBuf::from).collect();
    let configured = configuration.find(&checkpointing::ROCKSDB_LOCAL_DIRS)?.unwrap_or_default().0;
    let state_dirs = [&own, &configured, &tmp_dirs[..]].into_iter().find(|dirs| !dirs.is_empty()).unwrap_or_default();
    Ok(WorkerContext {
        state: StateSettings::read(&configuration, state_dirs, managed as u64, slots)?,
        files: file_systems(&configuration, &setup.hadoop)?,
        runtime,
        operator_memory: (managed as u64 / tables) as usize,
        tmp_dirs,
        buffer_timeout: configuration.get(&execution::BUFFER_TIMEOUT)?,
        segment_bytes: configuration.get(&memory::SEGMENT_SIZE)?.0.clamp(1 << 10, 16 << 20) as usize,
        checkpointing: graph.mode == RuntimeMode::Streaming
            && configuration.find(&checkpointing::INTERVAL)?.is_some_and(|interval| !interval.is_zero()),
        time: TimeSource::System,
        configuration: Arc::new(configuration),
    })
}

/// A worker that has nothing to say says so this often: one that says nothing is taken for hung, and killed.
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);

/// Threads for asynchronous I/O: connections and files wait more than they work.
const IO_THREADS: usize = 2;

/// Runs the worker on its control socket and ends the process.
pub fn run(control: UnixStream, setup: &ProgramSetup, worker: &WorkerSetup, program: Program) -> ! {
    let code = match begin(control, setup, worker, program) {
        Ok(()) => 0,
        Err(error) => {
            tracing::error!("{}", with_causes(&error));
            1
        }
    };
    // The rest of the user's `main` is not for workers, and threads of the user must not keep the process.
    std::process::exit(code)
}

fn begin(control: UnixStream, setup: &ProgramSetup, worker: &WorkerSetup, program: Program) -> Result<(), SetupError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(IO_THREADS)
        .thread_name("worker-io")
        .enable_all()
        .build()?;
    runtime.block_on(async {
        control.set_nonblocking(true)?;
        let (mut read, mut write) = tokio::net::UnixStream::from_std(control)?.into_split();
        if let Err(mismatch) = worker.graph.same_structure(&program.graph) {
            let refused = FromWorker::Refused(Failure::new(Blame::User, mismatch.to_string()));
            // When it can't be told any more, the exit code tells.
            let _ = frame::write(&mut write, &refused).await;
            return Ok(());
        }
        let (reports, mut to_report) = mpsc::channel::<FromWorker>(QUEUE);
        let ready = match listen(setup, worker, program, reports).await {
            Ok((worker, address)) => Ok((worker, FromWorker::Ready { address, pid: std::process::id() })),
            Err(error) => Err(FromWorker::Refused(Failure::new(Blame::Outside, with_causes(&error)))),
        };
        let (worker, first) = match ready {
            Ok((worker, first)) => (Some(worker), first),
            Err(refused) => (None, refused),
        };
        if frame::write(&mut write, &first).await.is_err() {
            return Ok(());
        }
        let Some(worker) = worker else { return Ok(()) };
        let (commands, obeyed) = mpsc::channel::<ToWorker>(QUEUE);
        tokio::spawn(worker.run(obeyed));
        tokio::spawn(async move {
            loop {
                let report = match timeout(SIGN_OF_LIFE, to_report.recv()).await {
                    Ok(Some(report)) => report,
                    Ok(None) => return,
                    Err(_) => FromWorker::Alive,
                };
                if let Err(error) = frame::write(&mut write, &report).await {
                    return tracing::warn!(%error, "a report was lost");
                }
            }
        });
        loop {
            match frame::read::<ToWorker>(&mut read).await {
                Ok(Some(command)) => {
                    if commands.send(command).await.is_err() {
                        return Ok(());
                    }
                }
                Ok(None) => return Ok(()),
                Err(error) => {
                    tracing::error!("{}", with_causes(&error));
                    return Ok(());
                }
            }
        }
    })
}

async fn listen(
    setup: &ProgramSetup,
    worker: &WorkerSetup,
    program: Program,
    reports: mpsc::Sender<FromWorker>,
) -> Result<(Worker, flumen_wire::control::WorkerAddress), SetupError> {
    let tls = match &worker.security {
        Some(file) => InternalTls::from_file(Path::new(file))?,
        None => InternalTls::disabled(),
    };
    let directory = worker.tmp_dirs.first().map_or_else(std::env::temp_dir, PathBuf::from);
    let (network, address) = Network::listen(worker.job, &worker.host, tls, &directory).await?;
    let runtime = tokio::runtime::Handle::current();
    let context = worker_context(
        setup,
        &program.graph,
        runtime,
        worker.memory,
        worker.slots,
        &worker.tmp_dirs,
        &worker.state_dirs,
    )?;
    let credit = setup.configuration.get(&memory::NETWORK_BATCHES_PER_CHANNEL)?;
    Ok((Worker::new(worker.job, Arc::new(program), context, Some(network), credit, reports), address))
}
