//! Flumen on a real YARN, each figure beside what it is compared with, from the same invocation.
//!
//! ```text
//! cargo bench -p flumen-itests --bench yarn -- [submission] [session] [memory] [wordcount] [sizes] [failures]
//!     [--submissions 10] [--jobs 100] [--runs 3] [--megabytes 256] [--modes batch,streaming] [--distribution DIRECTORY]
//!     [--kills 20] [--nodes 1] [--heartbeat 1000] [--killed master,standby,worker,taskexecutor,spare]
//! ```
//!
//! It packages Flumen first, unless it is given a distribution, and runs the packaged command, as a user would. YARN's
//! heartbeats are the stock ones (1 s), unless [`failures`] is told otherwise. The report is Markdown, on standard output; `docs/figures.md` keeps one.
//! [`submission`] takes the time from the command to the job's RUNNING apart, [`session`] does so with a session and many
//! small jobs in it, [`memory`] looks at processes that have nothing to do, [`word_count`] counts words in two worker
//! processes beside a hand-written loop, [`sizes`] weighs what is shipped, and [`failures`] kills parts of a running
//! job, again and again (only when it is asked for).

#![allow(clippy::print_stdout, reason = "a benchmark reports on its standard output")]

mod client;
mod failures;
mod log;
mod memory;
mod session;
#[path = "../../../datastream/benches/shared/mod.rs"]
mod shared;
mod sizes;
mod spread;
mod submission;
mod word_count;

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use clap::{Parser, ValueEnum};
use flumen_itests::say;

use crate::client::Distribution;
use crate::failures::{Killed, Setting};
use crate::shared::hand_written::{self, Emit};
use crate::shared::own_process;
use crate::word_count::Mode;

/// Names of the measurements in processes of their own: the hand-written loop, and the one that writes as often as streaming
/// execution does.
const HAND: &str = "hand";
const HAND_UPDATES: &str = "hand-updates";

#[derive(Parser)]
struct Arguments {
    /// What to measure [default: everything]
    what: Vec<Figure>,
    /// Warm submissions, after a first one
    #[arg(long, default_value_t = 10)]
    submissions: usize,
    /// Jobs in one session, after a first one
    #[arg(long, default_value_t = 100)]
    jobs: usize,
    /// Runs of each word count
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Size of word count's input, in MiB
    #[arg(long, default_value_t = 256)]
    megabytes: u64,
    /// Execution modes of word count; streaming writes more than twice as much as it reads
    #[arg(long, value_delimiter = ',', default_values = ["batch", "streaming"])]
    modes: Vec<Mode>,
    /// How often each part of a job is killed
    #[arg(long, default_value_t = 20)]
    kills: u64,
    /// Nodes of the cluster on which parts of a job are killed
    #[arg(long, default_value_t = 1)]
    nodes: usize,
    /// Its heartbeats, in ms: those of YARN's nodes, and at most those of the ApplicationMaster
    #[arg(long, default_value_t = failures::STOCK_HEARTBEAT_MS)]
    heartbeat: u64,
    /// What is killed
    #[arg(long, value_delimiter = ',', default_values = ["master", "standby", "worker", "taskexecutor", "spare"])]
    killed: Vec<Killed>,
    /// A distribution that `scripts/package.sh` has made [default: a new one]
    #[arg(long)]
    distribution: Option<PathBuf>,
    /// What `cargo bench` says to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Figure {
    Submission,
    Session,
    Memory,
    Wordcount,
    Sizes,
    Failures,
}

fn main() -> Result<()> {
    if let Some(task) = own_process::task() {
        let (input, threads) = (&task.input, u64::from(task.parallelism));
        match task.what.as_str() {
            HAND => own_process::run(|| hand_written::word_count(input, threads, Emit::Final)),
            HAND_UPDATES => own_process::run(|| hand_written::word_count(input, threads, Emit::Updates)),
            other => bail!("nothing to measure is named {other}"),
        }
        return Ok(());
    }
    let arguments = Arguments::parse();
    let wanted = |figure| (arguments.what.is_empty() && figure != Figure::Failures) || arguments.what.contains(&figure);
    let distribution = match &arguments.distribution {
        Some(dir) => Distribution { dir: dir.canonicalize().with_context(|| format!("finding {}", dir.display()))? },
        None => {
            say("packaging Flumen");
            Distribution::package()?
        }
    };
    println!("load of the machine before: {}", load());
    if wanted(Figure::Sizes) {
        sizes::report(&distribution)?;
    }
    if wanted(Figure::Submission) {
        submission::report(&distribution, arguments.submissions)?;
    }
    if wanted(Figure::Session) {
        session::report(&distribution, arguments.jobs)?;
    }
    if wanted(Figure::Memory) {
        memory::report(&distribution)?;
    }
    if wanted(Figure::Wordcount) {
        word_count::report(&distribution, arguments.megabytes, arguments.runs, &arguments.modes)?;
    }
    if wanted(Figure::Failures) {
        let Arguments { kills, nodes, heartbeat, .. } = arguments;
        failures::report(&distribution, &Setting { kills, nodes, heartbeat }, &arguments.killed)?;
    }
    println!("\nload of the machine after: {}", load());
    Ok(())
}

/// How many processes wanted to run, on average of the last 1, 5 and 15 minutes.
pub(crate) fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}
