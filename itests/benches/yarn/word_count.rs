//! WordCount in two worker processes on YARN, beside the hand-written loop with two threads on the same file.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;
use flumen_itests::hadoop::{Daemon, HadoopCluster};
use flumen_itests::{process, say, wait};

use crate::client::{Distribution, file_url};
use crate::log::Logs;
use crate::shared::own_process;
use crate::shared::zipf::Text;
use crate::spread::Spread;
use crate::{HAND, HAND_UPDATES};

const LIMIT: Duration = Duration::from_secs(60);
const PARALLELISM: u32 = 2;
/// The least share of the hand-written loop's words per second.
const GOAL: f64 = 1.0 / 3.0;
/// The greatest share of Flink's CPU time.
const GOAL_CPU: f64 = 0.1;

/// How a job is executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Each word once, at the end.
    Batch,
    /// A line for every word that is read.
    Streaming,
}

impl Mode {
    fn option(self) -> &'static str {
        match self {
            Mode::Batch => "BATCH",
            Mode::Streaming => "STREAMING",
        }
    }

    /// Flink's CPU time per word, in µs; measured elsewhere, on a machine of this kind.
    fn flink_cpu(self) -> f64 {
        match self {
            Mode::Batch => 2.3,
            Mode::Streaming => 4.4,
        }
    }

    /// The hand-written loop that writes as much.
    fn by_hand(self) -> &'static str {
        match self {
            Mode::Batch => HAND,
            Mode::Streaming => HAND_UPDATES,
        }
    }
}

/// Measurements of one program.
#[derive(Default)]
struct Figures {
    /// Millions of words per second.
    speed: Spread,
    /// CPU time per word, in µs.
    cpu: Spread,
}

impl Figures {
    fn add(&mut self, words: u64, wall: f64, cpu: f64) {
        self.speed.add(words as f64 / 1e6 / wall);
        self.cpu.add(cpu * 1e6 / words as f64);
    }
}

/// Counts words on one node and on two, in these execution modes.
pub fn report(distribution: &Distribution, megabytes: u64, runs: usize, modes: &[Mode]) -> Result<()> {
    let text = Text::of(megabytes);
    println!(
        "\n### WordCount in two worker processes, {megabytes} MiB, {:.1} M words, {runs} runs\n",
        text.words as f64 / 1e6
    );
    println!(
        "Median (least–greatest). CPU time is that of all processes of the application, the shells that start them included. \
         Goals: at least {GOAL:.2} of the loop's words per second, at most {GOAL_CPU:.2} of Flink's CPU time.\n"
    );
    println!(
        "| program | M words/s | ratio to the loop | to the one that writes as often | CPU µs/word | to Flink's CPU |"
    );
    println!("|---|--:|--:|--:|--:|--:|");
    for (nodes, way) in [(1, "one node, Unix socket"), (2, "two nodes, TCP with TLS")] {
        // Of two nodes, neither has room for both workers.
        let cluster = HadoopCluster::builder().nodes(nodes).node_resources(4096 / nodes as u32, 8).start()?;
        let mut by_hand: Vec<(&str, Figures)> = vec![(HAND, Figures::default())];
        if modes.contains(&Mode::Streaming) {
            by_hand.push((HAND_UPDATES, Figures::default()));
        }
        let mut on_yarn: Vec<(Mode, Figures)> = modes.iter().map(|mode| (*mode, Figures::default())).collect();
        // In turns, so that what else the machine does meets all of them.
        for run in 1..=runs {
            say(&format!("run {run} of {runs}, {way}"));
            for (what, figures) in &mut by_hand {
                let measured = own_process::measure(what, &text.path, PARALLELISM);
                figures.add(text.words, measured.wall.as_secs_f64(), measured.cpu.as_secs_f64());
            }
            for (mode, figures) in &mut on_yarn {
                let (wall, cpu) = count(distribution, &cluster, &text, *mode)?;
                figures.add(text.words, wall, cpu);
            }
        }
        let speed_of =
            |what: &str| by_hand.iter().find(|(name, _)| *name == what).map_or(0.0, |(_, f)| f.speed.median());
        for (what, Figures { speed, cpu }) in &by_hand {
            let (name, ratio) =
                (if *what == HAND { "counts at the end" } else { "a line per word" }, speed.median() / speed_of(HAND));
            println!("| hand-written loop, two threads, {name} | {speed:.2} | {ratio:.2} | | {cpu:.3} | |");
        }
        for (mode, Figures { speed, cpu }) in &on_yarn {
            let (ratio, same) = (speed.median() / speed_of(HAND), speed.median() / speed_of(mode.by_hand()));
            let (mode, of_flink) = (mode.option(), cpu.median() / mode.flink_cpu());
            println!("| Flumen, {mode}, {way} | {speed:.2} | {ratio:.2} | {same:.2} | {cpu:.3} | {of_flink:.3} |");
        }
    }
    Ok(())
}

/// Seconds from RUNNING to FINISHED, and CPU seconds of the application.
fn count(distribution: &Distribution, cluster: &HadoopCluster, text: &Text, mode: Mode) -> Result<(f64, f64)> {
    let output = tempfile::tempdir()?;
    let (input, counts) = (file_url(&text.path), file_url(&output.path().join("counts")));
    let program = distribution.example("wordcount");
    let program = program.to_str().context("a path in UTF-8")?;
    let parallelism = PARALLELISM.to_string();
    let before = containers_cpu(cluster)?;
    let arguments = ["-p", &parallelism, "-ytm", "1024", program, "--execution-mode", mode.option()];
    let arguments = [&arguments[..], &["--input", &input, "--output", &counts]].concat();
    let application = distribution.run(cluster, &arguments)?.application;
    wait::until("its processes are gone", LIMIT, || process::of_application(&application).is_empty().then_some(()))?;
    let cpu = containers_cpu(cluster)? - before;

    let logs = Logs::of(cluster, &application)?;
    let workers = logs.master_lines("worker is started").count();
    let nodes: BTreeSet<_> =
        logs.master_lines("container given").filter_map(|line| line.split("node=").nth(1)).collect();
    ensure!(workers == 2 && nodes.len() == cluster.nodes(), "{workers} workers, containers on {nodes:?}");
    Ok((logs.master("RUNNING -> FINISHED")? - logs.master("CREATED -> RUNNING")?, cpu))
}

/// CPU seconds of everything that the NodeManagers have started and that has ended. Each of our processes is waited for by
/// the one that started it, so nothing is missing, and nothing needs to be caught before it ends.
fn containers_cpu(cluster: &HadoopCluster) -> Result<f64> {
    let mut ticks = 0.0;
    for node in 1..=cluster.nodes() {
        let pid = cluster.pid(Daemon::NodeManager(node)).context("the NodeManager runs")?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // After the program's name, which may hold blanks: cutime and cstime are the 14th and 15th field.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        for field in fields.get(13..15).context("the times of ended children")? {
            ticks += field.parse::<f64>()?;
        }
    }
    Ok(ticks / 100.0)
}
