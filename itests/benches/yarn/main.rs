//! Flumen on a real YARN, each figure beside what it is compared with, from the same invocation.
//!
//! ```text
//! cargo bench -p flumen-itests --bench yarn -- [submission] [memory] [wordcount] [sizes]
//!     [--submissions 10] [--runs 3] [--megabytes 256]
//! ```
//!
//! It packages Flumen first and runs the packaged command, as a user would. YARN's heartbeats are the stock ones (1 s). The
//! report is Markdown, on standard output; `docs/figures.md` keeps one. [`submission`] takes the time from the command to the
//! job's RUNNING apart, [`memory`] looks at processes that have nothing to do, [`word_count`] counts words in two worker
//! processes beside a hand-written loop, and [`sizes`] weighs what is shipped.

#![allow(clippy::print_stdout, reason = "a benchmark reports on its standard output")]

mod client;
mod log;
mod memory;
#[path = "../../../datastream/benches/shared/mod.rs"]
mod shared;
mod sizes;
mod spread;
mod submission;
mod word_count;

use anyhow::{Result, ensure};
use clap::{Parser, ValueEnum};
use flumen_itests::say;

use crate::client::Distribution;
use crate::shared::{hand_written, own_process};

#[derive(Parser)]
struct Arguments {
    /// What to measure [default: everything]
    what: Vec<Figure>,
    /// Warm submissions, after a first one
    #[arg(long, default_value_t = 10)]
    submissions: usize,
    /// Runs of each word count
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Size of word count's input, in MiB
    #[arg(long, default_value_t = 256)]
    megabytes: u64,
    /// What `cargo bench` says to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Figure {
    Submission,
    Memory,
    Wordcount,
    Sizes,
}

fn main() -> Result<()> {
    if let Some(task) = own_process::task() {
        ensure!(task.what == "hand", "nothing to measure is named {}", task.what);
        own_process::run(|| hand_written::word_count(&task.input, u64::from(task.parallelism)));
        return Ok(());
    }
    let arguments = Arguments::parse();
    let wanted = |figure| arguments.what.is_empty() || arguments.what.contains(&figure);
    say("packaging Flumen");
    let distribution = Distribution::package()?;
    println!("load of the machine before: {}", load());
    if wanted(Figure::Sizes) {
        sizes::report(&distribution)?;
    }
    if wanted(Figure::Submission) {
        submission::report(&distribution, arguments.submissions)?;
    }
    if wanted(Figure::Memory) {
        memory::report(&distribution)?;
    }
    if wanted(Figure::Wordcount) {
        word_count::report(&distribution, arguments.megabytes, arguments.runs)?;
    }
    println!("\nload of the machine after: {}", load());
    Ok(())
}

/// How many processes wanted to run, on average of the last 1, 5 and 15 minutes.
fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}
