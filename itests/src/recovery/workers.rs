//! A worker or a TaskExecutor of a job dies, and its regions are restarted.

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};

use super::Notes;
use super::notes::milliseconds;
use crate::hadoop::HadoopCluster;
use crate::process::ContainerProcess;
use crate::subject::{LIMIT, Subject, WORKER};
use crate::wait;
use crate::watched::TASKEXECUTOR;

/// Who dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Victim {
    /// A worker.
    Worker,
    /// A TaskExecutor that has workers.
    TaskExecutor,
}

/// Of each job, in subtasks and TaskExecutors.
pub const PARALLELISM: usize = 2;

/// What is seen of one death. Times begin when it is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restart {
    /// Until the process that takes its place is started; of a TaskExecutor without a spare one that is YARN's part, and with a spare
    /// one the next spare one.
    pub process: Duration,
    /// Until all keyed subtasks have records again.
    pub records: Duration,
}

/// Flags of `flink run`, with so many TaskExecutors to spare.
#[must_use]
pub fn flags(spares: usize) -> String {
    format!(
        "-ytm 384m -p {PARALLELISM} -D execution.checkpointing.interval=1s \
         -D restart-strategy.type=fixed-delay -D restart-strategy.fixed-delay.attempts=100000 \
         -D restart-strategy.fixed-delay.delay=0s -D slotmanager.redundant-taskmanager-num={spares}"
    )
}

/// Kills one of them, once all is well and so many TaskExecutors are to spare.
///
/// # Errors
/// When not all subtasks have records again in time.
pub fn measure(cluster: &HadoopCluster, subject: &Subject, victim: Victim, spares: usize) -> Result<Restart> {
    let (application, notes) = (&subject.application, Notes::in_folder(subject.notes()));
    subject.wait_progress(cluster)?;
    wait::until_ok("all TaskExecutors, spare ones too, have registered", LIMIT, || {
        let registered = application.ask(cluster, "/taskmanagers")?;
        match registered["taskmanagers"].as_array().map(Vec::len) {
            Some(count) if count == PARALLELISM + spares => Ok(()),
            _ => Err(registered.to_string()),
        }
    })?;
    let program = if victim == Victim::Worker { WORKER } else { TASKEXECUTOR };
    let before = application.processes(program);
    let workers = application.processes(WORKER);
    // Not the spare one, which nobody would miss.
    let used = |process: &&ContainerProcess| workers.iter().any(|worker| worker.container == process.container);
    let dies = before.iter().find(used).context("no process to kill")?;
    let since = milliseconds(SystemTime::now());
    dies.kill()?;
    let first = wait::until_ok("all subtasks have records again", LIMIT, || match notes.first_records(since) {
        first if first.len() >= PARALLELISM => Ok(first),
        first => Err(format!("{first:?}")),
    })?;
    let records = first.into_iter().max().unwrap_or_default() - since;
    let process = wait::until("another process is there", LIMIT, || {
        let now = application.processes(program).into_iter();
        let mut new = now.filter(|process| before.iter().all(|known| known.pid != process.pid));
        let age = new.find_map(|process| process.age())?;
        Some(milliseconds(SystemTime::now() - age).saturating_sub(since))
    })?;
    Ok(Restart { process: Duration::from_millis(process), records: Duration::from_millis(records) })
}
