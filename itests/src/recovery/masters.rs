//! The ApplicationMaster of a job dies, and YARN starts the next attempt.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Result, anyhow};

use super::{Notes, STRETCH, Succession};
use crate::hadoop::HadoopCluster;
use crate::recovery::notes::wait_out;
use crate::subject::{LIMIT, Subject};
use crate::wait;
use crate::watched::{TASKEXECUTOR, Watched};

/// Kills the ApplicationMaster and waits for the next; how long it took until that one's process was started.
///
/// # Errors
/// When there isn't one, or no next one comes in time.
pub fn kill(application: &Watched) -> Result<Duration> {
    let master = application.master().map_err(|error| anyhow!(error))?;
    let since = Instant::now();
    master.kill()?;
    let next = application.wait_master_after(&[master.pid])?;
    let took = since.elapsed();
    // It is found a little later than it starts.
    Ok(took.saturating_sub(next.age().unwrap_or_default()))
}

/// Flags of `flink run`: attempts are counted for ever, so that YARN allows for so many kills.
#[must_use]
pub fn flags(kills: u64) -> String {
    format!(
        "-D yarn.application-attempts={} -D yarn.application-attempt-failures-validity-interval=-1 \
         -D execution.checkpointing.interval=200ms",
        kills + 1
    )
}

/// Kills the ApplicationMaster once.
///
/// # Errors
/// When no other comes, answers for the job and completes a checkpoint in time.
pub fn measure(cluster: &HadoopCluster, subject: &Subject) -> Result<Succession> {
    let (application, notes) = (&subject.application, Notes::in_folder(subject.notes()));
    subject.wait_progress(cluster)?;
    let known = (application.pids(TASKEXECUTOR), subject.workers());
    let jitter = notes.jitter(STRETCH)?;
    let (start, since) = (Instant::now(), SystemTime::now());
    let leader = kill(application)?;
    wait::closely("REST shows the job as running", LIMIT, || match application.jobs(cluster, "RUNNING")? {
        shown if shown == [subject.job.as_str()] => Ok(()),
        // It answers before it has taken over.
        other => Err(format!("{other:?}")),
    })?;
    let rest = start.elapsed();
    let restored = wait::closely("a checkpoint of the next leader", LIMIT, || {
        let found = application.checkpoints(cluster, &subject.job)?;
        let is_new = found.triggered_ms >= super::notes::milliseconds(since);
        if is_new { Ok(found.restored) } else { Err(format!("{found:?}")) }
    })?;
    let checkpoint = start.elapsed();
    wait_out(start, STRETCH)?;
    let restarted = restored > 0 || (application.pids(TASKEXECUTOR), subject.workers()) != known;
    Ok(Succession { leader, rest, checkpoint, gap: notes.longest_gap(since), jitter, restarted })
}
