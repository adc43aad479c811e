//! The ApplicationMaster of a job dies, and its standby leads until YARN has started the next attempt. With high availability in
//! a file system, which says who leads.

use std::time::{Instant, SystemTime};

use anyhow::{Result, ensure};
use rustix::process::Signal;
use serde_json::Value;

use super::notes::milliseconds;
use super::{Notes, STRETCH, Succession};
use crate::hadoop::{Daemon, HadoopCluster};
use crate::http::get_json;
use crate::process::{ContainerProcess, signal_pid};
use crate::recovery::notes::wait_out;
use crate::subject::{LIMIT, Subject};
use crate::wait;
use crate::watched::{MASTER, TASKEXECUTOR, Watched};

/// The ResourceManager of YARN, which does nothing until this is dropped.
#[derive(Debug)]
pub struct Stopped(u32);

impl Stopped {
    /// Halts it: no next attempt can help.
    ///
    /// # Errors
    /// When it doesn't run.
    pub fn resource_manager(cluster: &HadoopCluster) -> Result<Stopped> {
        cluster.halt(Daemon::ResourceManager)?;
        Ok(Stopped(cluster.pid(Daemon::ResourceManager).unwrap_or_default()))
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // It has ended with its cluster.
        let _ = signal_pid(self.0, Signal::CONT);
    }
}

/// The ApplicationMasters (or the standbys) of an application.
#[must_use]
pub fn masters(application: &Watched, standbys: bool) -> Vec<ContainerProcess> {
    let mut all = application.processes(MASTER);
    all.retain(|process| process.arguments.iter().any(|argument| argument == "standby") == standbys);
    all
}

/// Who leads: its epoch, and its address of REST.
pub type Leader = (u64, String);

/// Who leads the cluster of an application, as its data in HDFS says.
fn leader(cluster: &HadoopCluster, application: &Watched) -> Result<Leader, String> {
    let directory = format!("/ha/{}/ha-1", application.id);
    let entries = cluster.hdfs().tree(&directory).map_err(|error| format!("{error:#}"))?;
    let names = entries.iter().filter_map(|entry| entry.path.rsplit('/').next());
    let mut said = names.filter_map(|name| {
        let mut parts = name.strip_prefix("at,")?.split(',');
        let epoch = parts.next()?.parse().ok()?;
        Some((epoch, parts.nth(1)?.replace("=3a", ":")))
    });
    said.next().ok_or_else(|| format!("nobody says where the leader is: {entries:?}"))
}

/// Waits for a leader after that of `epoch`.
///
/// # Errors
/// When there is none in time.
pub fn wait_leader_after(cluster: &HadoopCluster, application: &Watched, epoch: u64) -> Result<Leader> {
    wait::closely(&format!("a leader after {epoch}"), LIMIT, || match leader(cluster, application)? {
        (next, rest) if next > epoch => Ok((next, rest)),
        other => Err(format!("{other:?}")),
    })
}

/// Waits until the leader at `rest` has completed a checkpoint that was triggered since then; its number, and how often one was
/// restored.
///
/// # Errors
/// When it hasn't in time.
pub fn wait_checkpoint_since(rest: &str, job: &str, since: SystemTime) -> Result<(u64, u64)> {
    let url = format!("http://{rest}/jobs/{job}/checkpoints");
    let since = milliseconds(since);
    wait::closely(&format!("a checkpoint at {rest}"), LIMIT, || {
        let checkpoints: Value = get_json(&url).map_err(|error| format!("{error:#}"))?;
        let completed = &checkpoints["latest"]["completed"];
        let is_new = completed["trigger_timestamp"].as_u64().is_some_and(|at| at >= since);
        let restored = checkpoints["counts"]["restored"].as_u64().unwrap_or(0);
        let id = completed["id"].as_u64().filter(|_| is_new).ok_or_else(|| checkpoints.to_string())?;
        Ok((id, restored))
    })
}

/// Waits until the ApplicationMaster has a standby other than `former` that has registered; its process.
///
/// # Errors
/// When it hasn't in time.
pub fn wait_standby(cluster: &HadoopCluster, application: &Watched, former: Option<u32>) -> Result<u32> {
    wait::until_ok("a standby JobManager that is registered", LIMIT, || {
        let standbys = masters(application, true);
        let [standby] = &standbys[..] else { return Err(format!("{standbys:?}")) };
        let log = cluster.yarn().page_through_proxy(&application.id, "/jobmanager/log");
        let log = log.map_err(|error| format!("{error:#}"))?;
        let registered = |line: &&str| {
            line.contains("standby JobManager registered") && line.contains(&format!("pid={}", standby.pid))
        };
        match log.lines().find(registered) {
            Some(_) if Some(standby.pid) != former => Ok(standby.pid),
            _ => Err(format!("{standby:?} is not registered: {log}")),
        }
    })
}

/// Kills the ApplicationMaster once, while YARN can't start another, waits until the standby leads, and then until the next
/// attempt has taken back. What is seen of it, and who leads then.
///
/// # Errors
/// When nobody leads in time, or another attempt has begun meanwhile.
pub fn measure(cluster: &HadoopCluster, subject: &Subject, before: &Leader) -> Result<(Succession, Leader)> {
    let (application, notes) = (&subject.application, Notes::in_folder(subject.notes()));
    let (job, jitter) = (&subject.job, notes.jitter(STRETCH)?);
    let current = masters(application, false);
    let [master] = &current[..] else { anyhow::bail!("one ApplicationMaster: {current:?}") };
    let known = (application.pids(TASKEXECUTOR), subject.workers());
    let stopped = Stopped::resource_manager(cluster)?;
    let (start, since) = (Instant::now(), SystemTime::now());
    master.kill()?;
    let (epoch, rest_at) = wait_leader_after(cluster, application, before.0)?;
    let leader = start.elapsed();
    wait::closely("the standby shows the job as running", LIMIT, || {
        let jobs = get_json(&format!("http://{rest_at}/jobs")).map_err(|error| format!("{error:#}"))?;
        let runs = jobs["jobs"][0]["id"] == job.as_str() && jobs["jobs"][0]["status"] == "RUNNING";
        if runs { Ok(()) } else { Err(jobs.to_string()) }
    })?;
    let rest = start.elapsed();
    let (_, mut restored) = wait_checkpoint_since(&rest_at, job, since)?;
    let checkpoint = start.elapsed();
    restored += wait_checkpoint_since(&rest_at, job, SystemTime::now())?.1;
    ensure!(masters(application, false).is_empty(), "another attempt has begun");
    drop(stopped);
    let next = wait_leader_after(cluster, application, epoch)?;
    restored += wait_checkpoint_since(&next.1, job, SystemTime::now())?.1;
    wait_out(start, STRETCH)?;
    let restarted = restored > 0 || (application.pids(TASKEXECUTOR), subject.workers()) != known;
    let gap = notes.longest_gap(since);
    Ok((Succession { leader, rest, checkpoint, gap, jitter, restarted }, next))
}
