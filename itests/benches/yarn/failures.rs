//! Parts of a running job are killed, again and again: how long what takes. In the end each record must be in the output once.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::ValueEnum;
use flumen_itests::hadoop::{HadoopCluster, Site};
use flumen_itests::recovery::workers::{self, PARALLELISM, Restart, Victim};
use flumen_itests::recovery::{STRETCH, Succession, masters, standby};
use flumen_itests::say;
use flumen_itests::subject::{Plan, Programs, Subject};

use crate::client::Distribution;
use crate::spread::Spread;

/// How often YARN's nodes and ResourceManager talk unless they are told otherwise.
pub const STOCK_HEARTBEAT_MS: u64 = 1000;
/// Of each source subtask, in events a second: a batch takes some 50 ms.
const RATE: u64 = 10_000;
/// A job must last until the last of its parts has been killed; what is left in the end is read at full speed.
const LASTS_S: u64 = 60;
const LASTS_PER_KILL_S: u64 = 12;

/// The cluster, and how often each part is killed on it.
pub struct Setting {
    /// How often each part is killed.
    pub kills: u64,
    /// Nodes of the cluster.
    pub nodes: usize,
    /// Of YARN, in ms.
    pub heartbeat: u64,
}

/// What is killed.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Killed {
    /// The ApplicationMaster
    Master,
    /// The ApplicationMaster, which has a standby
    Standby,
    /// A worker
    Worker,
    /// A TaskExecutor
    Taskexecutor,
    /// A TaskExecutor, with one to spare
    Spare,
}

/// Kills each of these so often, and reports what was seen.
pub fn report(distribution: &Distribution, setting: &Setting, killed: &[Killed]) -> Result<()> {
    let Setting { kills, nodes, heartbeat } = setting;
    let cluster = HadoopCluster::builder()
        .nodes(*nodes)
        .node_resources(12_288, 16)
        .property(Site::Yarn, "yarn.resourcemanager.am.max-attempts", "1000")
        .property(Site::Yarn, "yarn.resourcemanager.nodemanagers.heartbeat-interval-ms", &heartbeat.to_string())
        .start()?;
    println!("\n### Parts of a job are killed: {nodes} node(s), heartbeats of {heartbeat} ms, {kills} kills of each\n");
    println!("In ms, since the kill. With fewer than a hundred kills the last column is the slowest of them.\n");
    println!("| killed | what is seen | median (least–greatest) | 90 % | 99 % |\n|---|---|--:|--:|--:|");
    for one in killed {
        let before = crate::load();
        match one {
            Killed::Master => master_killed(distribution, &cluster, setting)?,
            Killed::Standby => standby_leads(distribution, &cluster, setting)?,
            Killed::Worker => restarted(distribution, &cluster, setting, "worker", Victim::Worker, 0)?,
            Killed::Taskexecutor => {
                restarted(distribution, &cluster, setting, "TaskExecutor, none to spare", Victim::TaskExecutor, 0)?;
            }
            Killed::Spare => {
                restarted(distribution, &cluster, setting, "TaskExecutor, one to spare", Victim::TaskExecutor, 1)?;
            }
        }
        println!("| | load of the machine before and after | {before}; {} | | |", crate::load());
    }
    println!(
        "\nJitter is the longest time without a record in a stretch of {} s before each kill, in which nothing happened.",
        STRETCH.as_secs()
    );
    Ok(())
}

/// Starts a job that lasts until all kills are over.
fn start(
    distribution: &Distribution,
    cluster: &HadoopCluster,
    setting: &Setting,
    (name, parallelism, flags): (&str, u64, &str),
) -> Result<Subject> {
    let job = PathBuf::from(env!("CARGO_BIN_EXE_itest-stateful"));
    let programs = Programs::Packaged { distribution: distribution.dir.clone(), job };
    let events = parallelism * RATE * (LASTS_S + setting.kills * LASTS_PER_KILL_S);
    let mut flags = flags.to_owned();
    if setting.heartbeat < STOCK_HEARTBEAT_MS {
        flags += &format!(" -D yarn.heartbeat.interval={}ms", setting.heartbeat);
    }
    Plan { programs, rate: RATE, ..Plan::new(name, events, &flags) }.start(cluster)
}

fn master_killed(distribution: &Distribution, cluster: &HadoopCluster, setting: &Setting) -> Result<()> {
    let flags = format!("-ytm 384m -p 3 {}", masters::flags(setting.kills));
    let subject = start(distribution, cluster, setting, ("master", 3, &flags))?;
    let mut seen = Vec::new();
    for kill in 1..=setting.kills {
        let one = masters::measure(cluster, &subject)?;
        say(&format!("ApplicationMaster, kill {kill}: {one:?}"));
        seen.push(one);
    }
    subject.ends_well(cluster)?;
    successions("ApplicationMaster", "the next attempt's process, which is YARN's part", &seen);
    Ok(())
}

fn standby_leads(distribution: &Distribution, cluster: &HadoopCluster, setting: &Setting) -> Result<()> {
    let flags = format!("-ytm 384m -p 2 -D jobmanager.standby=1 {}", masters::flags(setting.kills));
    let subject = start(distribution, cluster, setting, ("standby", 2, &flags))?;
    let mut leader = standby::wait_leader_after(cluster, &subject.application, 0)?;
    let mut seen = Vec::new();
    for kill in 1..=setting.kills {
        standby::wait_standby(cluster, &subject.application, None)?;
        subject.wait_progress(cluster)?;
        let one;
        (one, leader) = standby::measure(cluster, &subject, &leader)?;
        say(&format!("ApplicationMaster with a standby, kill {kill}: {one:?}"));
        seen.push(one);
    }
    subject.ends_well(cluster)?;
    successions("ApplicationMaster with a standby", "the standby has said where it leads", &seen);
    Ok(())
}

fn successions(killed: &str, leader: &str, seen: &[Succession]) {
    row(killed, leader, seen.iter().map(|one| one.leader));
    row("", "REST shows the job as running", seen.iter().map(|one| one.rest));
    row("", "the first checkpoint is complete", seen.iter().map(|one| one.checkpoint));
    row("", "REST, after the first", seen.iter().map(|one| one.rest.saturating_sub(one.leader)));
    row("", "checkpoint, after the first", seen.iter().map(|one| one.checkpoint.saturating_sub(one.leader)));
    row("", "longest time without a record", seen.iter().map(|one| one.gap));
    row("", "the same before, jitter", seen.iter().map(|one| one.jitter));
    let restarted = seen.iter().filter(|one| one.restarted).count();
    println!("| | restarts | {restarted} of {} | | |", seen.len());
}

fn restarted(
    distribution: &Distribution,
    cluster: &HadoopCluster,
    setting: &Setting,
    killed: &str,
    victim: Victim,
    spares: usize,
) -> Result<()> {
    let name = format!("{}-{spares}", if victim == Victim::Worker { "worker" } else { "taskexecutor" });
    let parallelism = PARALLELISM as u64;
    let subject = start(distribution, cluster, setting, (&name, parallelism, &workers::flags(spares)))?;
    let mut seen: Vec<Restart> = Vec::new();
    for kill in 1..=setting.kills {
        let one = workers::measure(cluster, &subject, victim, spares)?;
        say(&format!("{killed}, kill {kill}: {one:?}"));
        seen.push(one);
    }
    let restored = subject.restored(cluster).map_err(|error| anyhow::anyhow!(error))?;
    ensure!(restored >= setting.kills, "{restored} restarts after {} kills", setting.kills);
    subject.ends_well(cluster)?;
    row(killed, "all subtasks have records again", seen.iter().map(|one| one.records));
    let process = match (victim, spares) {
        (Victim::Worker, _) => "the next worker's process",
        (Victim::TaskExecutor, 0) => "the next TaskExecutor's process, which is YARN's part",
        (Victim::TaskExecutor, _) => "the next spare one's process",
    };
    row("", process, seen.iter().map(|one| one.process));
    if (victim, spares) == (Victim::TaskExecutor, 0) {
        row("", "records, after that", seen.iter().map(|one| one.records.saturating_sub(one.process)));
    }
    Ok(())
}

fn row(killed: &str, what: &str, times: impl Iterator<Item = Duration>) {
    let spread: Spread = times.map(|time| time.as_secs_f64() * 1000.0).collect();
    println!("| {killed} | {what} | {spread} | {:.0} | {:.0} |", spread.quantile(0.9), spread.quantile(0.99));
}
