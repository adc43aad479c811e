//! A session on a one-node Hadoop: its start, and small jobs of one executable one after another, each taken apart.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use flumen_itests::hadoop::HadoopCluster;
use flumen_itests::{http, process, wait};

use crate::client::{Distribution, Done};
use crate::log::Logs;
use crate::spread::Spread;

const LIMIT: Duration = Duration::from_secs(120);
/// What a command into a warm session may take, and the start of one beside YARN's heartbeats, in seconds.
const GOAL_RUN: f64 = 0.3;
const GOAL_START: f64 = 0.5;
/// The same of Flink, in seconds; measured elsewhere, on a machine of this kind.
const FLINK_RUN: f64 = 8.0;
const FLINK_START: f64 = 25.0;

/// Starts of a session after the first, which uploads.
const LATER_STARTS: usize = 3;

const FLUMEN: &str = "Flumen";

/// Where the time of a start goes, and whose doing that is.
const START_STEPS: [(&str, &str); 5] = [
    ("client: command to submitted", FLUMEN),
    ("AM allocation: submitted to launched by the ResourceManager", "heartbeats of YARN"),
    ("AM launch: launched to process started", "NodeManager"),
    ("AM start: process started to registered", FLUMEN),
    ("the command has seen that REST answers, and returns", FLUMEN),
];

/// Between which points the time of one job goes.
const STEPS: [&str; 7] = [
    "client: command to submission taken by the JobManager",
    "admission: outputs claimed, JobMaster made",
    "slots given",
    "worker told to start",
    "worker's process started by the TaskExecutor",
    "worker connected, job deployed and RUNNING",
    "the command has seen it and returns",
];

/// One `flink run -d`.
struct Run {
    job: String,
    begun: f64,
    ended: f64,
    parts: BTreeMap<String, f64>,
}

/// What a process holds.
struct Held {
    program: String,
    resident_mb: f64,
    anonymous_mb: f64,
    files: usize,
    threads: usize,
}

/// Starts a session, runs that many jobs in it, and reports where the time goes and what is left.
pub fn report(distribution: &Distribution, jobs: usize) -> Result<()> {
    let cluster = HadoopCluster::builder().start()?;
    let properties = tempfile::tempdir()?;
    let location = format!("yarn.properties-file.location={}", properties.path().display());
    let own = |command: &[&str]| -> Vec<String> {
        command.iter().copied().chain(["-D", &location]).map(str::to_owned).collect()
    };
    cluster.hdfs().write("/tmp/words.txt", b"to be or not to be")?;

    let command = own(&["yarn-session", "-d", "-jm", "256m", "-tm", "512m", "-s", "2"]);
    let mut starts = Vec::new();
    let session = loop {
        let start = distribution.flink(&cluster, &command)?;
        let session = start.application()?;
        starts.push(points(&cluster, &start, &session)?);
        if starts.len() > LATER_STARTS {
            break session;
        }
        cluster.yarn().kill(&session)?;
        cluster.yarn().wait_ended(&session, LIMIT)?;
    };
    // YARN's proxy would open a connection for each request, which the ApplicationMaster then holds for a minute.
    let address = cluster.yarn().application(&session)?.json["amRPCAddress"].as_str().map(str::to_owned);
    let address = address.context("the session has no address")?;
    let program = distribution.example("wordcount");
    let program = program.to_str().context("a path in UTF-8")?;
    let input = format!("{}/tmp/words.txt", cluster.hdfs_url());
    let staged = || -> Result<u64> {
        let below = format!("/user/{}/.flink", cluster.user());
        Ok(cluster.hdfs().tree(&below)?.iter().map(|entry| entry.length).sum())
    };

    let (mut runs, mut held, mut bytes) = (Vec::new(), Vec::new(), vec![staged()?]);
    for number in 0..=jobs {
        let output = format!("{}/tmp/counts-{number}", cluster.hdfs_url());
        let command = own(&["run", "-d", "-yid", &session]);
        let arguments = [program, "--input", &input, "--output", &output].map(str::to_owned);
        let done = distribution.flink(&cluster, &[command, arguments.to_vec()].concat())?;
        let job = done.job()?;
        wait::until("the job is over and its worker gone", LIMIT, || {
            let state = http::get_json(&format!("http://{address}/jobs/{job}")).ok()?;
            let workers = process::of_application(&session).iter().filter(|one| one.program == "wordcount").count();
            (state["state"] == "FINISHED" && workers == 0).then_some(())
        })?;
        runs.push(Run { job, begun: done.begun, ended: done.ended, parts: done.parts()? });
        bytes.push(staged()?);
        if number == 0 || number == jobs {
            held.push(holding(&session)?);
        }
    }
    let logs = Logs::of(&cluster, &session)?;
    starts_report(&starts);
    jobs_report(&logs, &runs)?;

    let mb = |bytes: u64| bytes as f64 / 1e6;
    println!(
        "\nBytes in the staging directory: {:.3} MB when the session began, {:.3} after the first job, {:.3} after the last.",
        mb(bytes[0]),
        mb(bytes[1]),
        mb(bytes[jobs + 1])
    );
    println!("\n| process | | resident, MB | of it anonymous, MB | open files | threads |\n|---|---|--:|--:|--:|--:|");
    for (when, processes) in ["after the first job", "after the last"].iter().zip(&held) {
        for Held { program, resident_mb, anonymous_mb, files, threads } in processes {
            println!("| {program} | {when} | {resident_mb:.1} | {anonymous_mb:.1} | {files} | {threads} |");
        }
    }
    cluster.yarn().kill(&session)?;
    cluster.yarn().wait_ended(&session, LIMIT)?;
    Ok(())
}

/// The points in time between which the steps of a start lie.
fn points(cluster: &HadoopCluster, start: &Done, session: &str) -> Result<[f64; START_STEPS.len() + 1]> {
    let launched = cluster.yarn().application(session)?.json["launchTime"].as_f64();
    let logs = Logs::of(cluster, session)?;
    Ok([
        start.begun,
        start.reached("submitted")?,
        launched.context("the ResourceManager knows no launchTime")? / 1000.0,
        logs.master("ApplicationMaster starts")?,
        logs.master("registered with YARN")?,
        start.ended,
    ])
}

fn starts_report(starts: &[[f64; START_STEPS.len() + 1]]) {
    println!(
        "\n### A session\n\n`yarn-session.sh -d`, to usable, the first and {LATER_STARTS} after it: median (least–greatest), in ms.\n"
    );
    println!("| step | whose | first | later |\n|---|---|--:|--:|");
    let (mut whole, mut ours) = ((0.0, Spread::default()), (0.0, Spread::default()));
    let mut own = vec![0.0; starts.len()];
    for (step, (name, whose)) in START_STEPS.iter().enumerate() {
        let (mut first, mut later) = (0.0, Spread::default());
        for (number, points) in starts.iter().enumerate() {
            let took = (points[step + 1] - points[step]) * 1000.0;
            own[number] += if *whose == FLUMEN { took } else { 0.0 };
            if number == 0 { first = took } else { later.add(took) }
        }
        println!("| {name} | {whose} | {first:.0} | {later} |");
    }
    for (number, points) in starts.iter().enumerate() {
        let took = (points[START_STEPS.len()] - points[0]) * 1000.0;
        if number == 0 {
            (whole.0, ours.0) = (took, own[0]);
        } else {
            whole.1.add(took);
            ours.1.add(own[number]);
        }
    }
    println!("| **sum: Flumen** | | {:.0} | **{}** |", ours.0, ours.1);
    println!("| **whole** | | {:.0} | **{}** |", whole.0, whole.1);
    println!(
        "\nOf later starts, the whole is {:.2} of Flink's {FLINK_START} s, and our own part {:.2} of the goal of {GOAL_START} s.",
        whole.1.median() / 1000.0 / FLINK_START,
        ours.1.median() / 1000.0 / GOAL_START
    );
}

fn jobs_report(logs: &Logs, runs: &[Run]) -> Result<()> {
    let mut first = [0.0; STEPS.len()];
    let (mut steps, mut whole) = (vec![Spread::default(); STEPS.len()], Spread::default());
    let mut parts: BTreeMap<&str, Spread> = BTreeMap::new();
    for (number, run) in runs.iter().enumerate() {
        let points = [
            run.begun,
            logs.master_of(&run.job, "job is submitted")?,
            logs.master_of(&run.job, "job declares slots")?,
            logs.master_of(&run.job, "job is given slots")?,
            logs.master_of(&run.job, "worker is started")?,
            logs.executor_of(&run.job, "started")?,
            logs.master_of(&run.job, "CREATED -> RUNNING")?,
            run.ended,
        ];
        for (index, pair) in points.windows(2).enumerate() {
            let took = (pair[1] - pair[0]) * 1000.0;
            if number == 0 { first[index] = took } else { steps[index].add(took) }
        }
        if number > 0 {
            whole.add((run.ended - run.begun) * 1000.0);
            run.parts.iter().for_each(|(name, took)| parts.entry(name).or_default().add(took * 1000.0));
        }
    }
    println!(
        "\n`flink run -d` of a small word count, the first job of the session and {} after it: median (least–greatest), in ms.\n",
        runs.len() - 1
    );
    println!("| step | first | later |\n|---|--:|--:|");
    for ((name, first), later) in STEPS.iter().zip(first).zip(&steps) {
        println!("| {name} | {first:.0} | {later:.1} |");
    }
    println!("| **whole** | {:.0} | **{whole}** |", first.iter().sum::<f64>());
    let tenths: Vec<String> = [0.1, 0.25, 0.75, 0.9, 0.99]
        .map(|share| format!("{:.0} % {:.0}", share * 100.0, whole.quantile(share)))
        .to_vec();
    println!("\nDistribution of the whole: {} ms.", tenths.join(", "));
    let median = whole.median() / 1000.0;
    println!(
        "Median {median:.3} s: {:.2} of the goal of {GOAL_RUN} s, {:.3} of Flink's {FLINK_RUN} s.",
        median / GOAL_RUN,
        median / FLINK_RUN
    );
    println!(
        "\nThe client's parts (locate, plan and hash run beside each other), in ms:\n\n| part | later |\n|---|--:|"
    );
    parts.iter().for_each(|(name, spread)| println!("| {name} | {spread:.1} |"));
    Ok(())
}

/// What ApplicationMaster and TaskExecutors hold now.
fn holding(session: &str) -> Result<Vec<Held>> {
    process::of_application(session)
        .into_iter()
        .map(|process| {
            let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid))?;
            let value = |key: &str| -> Result<f64> {
                let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
                let number = line.and_then(|line| line.split_whitespace().next()).context("no such line")?;
                Ok(number.parse::<f64>()?)
            };
            Ok(Held {
                resident_mb: value("VmRSS")? * 1024.0 / 1e6,
                anonymous_mb: value("RssAnon")? * 1024.0 / 1e6,
                files: std::fs::read_dir(format!("/proc/{}/fd", process.pid))?.count(),
                threads: value("Threads")? as usize,
                program: process.program,
            })
        })
        .collect()
}
