//! From the command to the job's RUNNING on a one-node Hadoop, taken apart.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use flumen_itests::hadoop::HadoopCluster;
use flumen_itests::wait;

use crate::client::{Distribution, Submission};
use crate::log::Logs;
use crate::shared::zipf::Text;
use crate::spread::Spread;

const LIMIT: Duration = Duration::from_secs(120);
/// Input that a job can't have read before its client has seen it running.
const MEGABYTES: u64 = 128;
/// What our own part and the whole may take, in seconds.
const GOAL_OWN: f64 = 0.5;
const GOAL_WHOLE: f64 = 4.0;
/// Flink's time from the command to RUNNING in application mode, in seconds; measured elsewhere, on a machine of this kind.
const FLINK_WHOLE: f64 = 57.0;

/// Who is being waited for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    /// Our programs run, or wait for an answer.
    Ours,
    /// The next heartbeat of a NodeManager or of the ApplicationMaster.
    Heartbeats,
    /// The NodeManager makes a container: files, launch script, shell.
    NodeManager,
}

impl Whose {
    const ALL: [(Whose, &str); 3] =
        [(Whose::Ours, "Flumen"), (Whose::Heartbeats, "heartbeats of YARN"), (Whose::NodeManager, "NodeManager")];

    fn name(self) -> &'static str {
        Whose::ALL.iter().find(|(whose, _)| *whose == self).map_or("", |(_, name)| name)
    }
}

/// The steps, in order: each ends at a point of [`points`].
const STEPS: [(&str, Whose); 10] = [
    ("client: command to submitted", Whose::Ours),
    ("AM allocation: submitted to launched by the ResourceManager", Whose::Heartbeats),
    ("AM launch: launched to process started", Whose::NodeManager),
    ("AM start: process started to registered", Whose::Ours),
    ("AM: registered to container asked for", Whose::Ours),
    ("container allocation: asked for to given", Whose::Heartbeats),
    ("start of the container: given to taken by the NodeManager", Whose::Ours),
    ("container launch: taken to process started", Whose::NodeManager),
    ("TaskExecutor start: process started to registered", Whose::Ours),
    ("worker and deployment: registered to job RUNNING", Whose::Ours),
];

/// Seconds of each step of one submission.
type Steps = [f64; STEPS.len()];

/// Submits a word count once and then `warm` times, and reports where the time goes.
pub fn report(distribution: &Distribution, warm: usize) -> Result<()> {
    let cluster = HadoopCluster::builder().start()?;
    let text = Text::of(MEGABYTES);
    cluster.hdfs().put(&text.path, "/tmp/words.txt", None)?;

    let (first, first_submission) = submit(distribution, &cluster, 0)?;
    let uploaded_first = staged(&cluster, &first_submission)?;
    let (mut steps, mut whole, mut seen) = (vec![Spread::default(); STEPS.len()], Spread::default(), Spread::default());
    let mut own: Vec<Spread> = vec![Spread::default(); Whose::ALL.len()];
    let mut parts: Vec<(String, Spread)> = Vec::new();
    let mut uploaded_second = None;
    finished(&cluster, &first_submission)?;
    for run in 1..=warm {
        let (took, submission) = submit(distribution, &cluster, run)?;
        if uploaded_second.is_none() {
            uploaded_second = Some(staged(&cluster, &submission)?);
        }
        steps.iter_mut().zip(took).for_each(|(spread, seconds)| spread.add(seconds * 1000.0));
        for (spread, (whose, _)) in own.iter_mut().zip(Whose::ALL) {
            spread.add(of(&took, whose) * 1000.0);
        }
        whole.add(took.iter().sum::<f64>() * 1000.0);
        seen.add((submission.ended - submission.begun) * 1000.0);
        for (name, seconds) in &submission.parts {
            match parts.iter_mut().find(|(known, _)| known == name) {
                Some((_, spread)) => spread.add(seconds * 1000.0),
                None => parts.push((name.clone(), Spread::from_iter([seconds * 1000.0]))),
            }
        }
        finished(&cluster, &submission)?;
    }

    println!("\n### Submission: `flink run -m yarn-cluster -d wordcount`, command to job RUNNING\n");
    println!("The first of a cluster and {warm} after it: median (least–greatest), in ms.\n");
    println!("| step | whose | first | later |\n|---|---|--:|--:|");
    for (((name, whose), first), later) in STEPS.iter().zip(first).zip(&steps) {
        println!("| {name} | {} | {:.0} | {later} |", whose.name(), first * 1000.0);
    }
    for ((whose, name), spread) in Whose::ALL.iter().zip(&own) {
        println!("| **sum: {name}** | | {:.0} | **{spread}** |", of(&first, *whose) * 1000.0);
    }
    println!("| **whole** | | {:.0} | **{whole}** |", first.iter().sum::<f64>() * 1000.0);
    println!("| the command returns (it looks every 100 ms) | | | {seen} |");
    let (ours, whole_s) = (own[0].median() / 1000.0, whole.median() / 1000.0);
    println!("\nOur own part: {ours:.2} s, {:.2} of the goal of {GOAL_OWN} s.", ours / GOAL_OWN);
    let (of_goal, of_flink) = (whole_s / GOAL_WHOLE, whole_s / FLINK_WHOLE);
    println!(
        "The whole: {whole_s:.2} s, {of_goal:.2} of the goal of {GOAL_WHOLE} s, {of_flink:.3} of Flink's {FLINK_WHOLE} s."
    );
    println!("\nThe client's parts (plan, facts, hash and staging_reachable run beside each other), in ms:\n");
    println!("| part | first | later |\n|---|--:|--:|");
    for (name, spread) in &parts {
        let first = first_submission.parts.get(name).copied().unwrap_or_default() * 1000.0;
        println!("| {name} | {first:.0} | {spread} |");
    }
    let (cached, own) = uploaded_first;
    let (cached_later, own_later) = uploaded_second.context("no second submission")?;
    println!(
        "\nUploaded by the first submission: {cached} bytes into the cache, {own} of its own; by the second: {} and {own_later}.",
        cached_later - cached
    );
    Ok(())
}

fn of(steps: &Steps, whose: Whose) -> f64 {
    steps.iter().zip(STEPS).filter(|(_, (_, of))| *of == whose).map(|(seconds, _)| seconds).sum()
}

fn submit(distribution: &Distribution, cluster: &HadoopCluster, run: usize) -> Result<(Steps, Submission)> {
    // Another moment between two heartbeats each time.
    let (start, offset) = (Instant::now(), Duration::from_millis(run as u64 * 370 % 1000));
    wait::until("the next submission is due", LIMIT, || (start.elapsed() >= offset).then_some(()))?;
    let (program, output) = (distribution.example("wordcount"), format!("{}/tmp/counts-{run}", cluster.hdfs_url()));
    let (program, input) =
        (program.to_str().context("a path in UTF-8")?, format!("{}/tmp/words.txt", cluster.hdfs_url()));
    let submission = distribution.run(cluster, &["-d", program, "--input", &input, "--output", &output])?;
    let points = points(cluster, &submission)?;
    let mut steps = Steps::default();
    let mut before = submission.begun;
    for (step, point) in steps.iter_mut().zip(points) {
        *step = point - before;
        before = point;
    }
    Ok((steps, submission))
}

/// When each step ended, in seconds since 1970.
fn points(cluster: &HadoopCluster, submission: &Submission) -> Result<Steps> {
    let logs = Logs::of(cluster, &submission.application)?;
    let launched = cluster.yarn().application(&submission.application)?.json["launchTime"].as_f64();
    Ok([
        submission.submitted,
        launched.context("the ResourceManager knows no launchTime")? / 1000.0,
        logs.master("ApplicationMaster starts")?,
        logs.master("registered with YARN")?,
        logs.master(": ask ")?,
        logs.master("container given")?,
        logs.master("container started")?,
        logs.executor("TaskExecutor starts")?,
        logs.master("TaskExecutor registered")?,
        logs.master("CREATED -> RUNNING")?,
    ])
}

/// Waits for the job's end, so that the next one finds the cluster as this one did.
fn finished(cluster: &HadoopCluster, submission: &Submission) -> Result<()> {
    let ended = cluster.yarn().wait_ended(&submission.application, LIMIT)?;
    ensure!(ended.final_status == "SUCCEEDED", "{}: {}", ended.final_status, ended.diagnostics);
    Ok(())
}

/// Bytes in the cache of all submissions, and in the running application's own directory.
fn staged(cluster: &HadoopCluster, submission: &Submission) -> Result<(u64, u64)> {
    let bytes = |below: &str| -> Result<u64> {
        let entries = cluster.hdfs().tree(&format!("/user/{}/.flink/{below}", cluster.user()))?;
        Ok(entries.iter().map(|entry| entry.length).sum())
    };
    Ok((bytes("cache")?, bytes(&submission.application)?))
}
