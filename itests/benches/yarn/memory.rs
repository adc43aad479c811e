//! Memory of the processes of a job that has nothing to do: words from a socket on which nobody speaks.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use flumen_itests::hadoop::HadoopCluster;
use flumen_itests::{process, wait};

use crate::client::Distribution;

const LIMIT: Duration = Duration::from_secs(60);
/// After this time nothing of the start is going on any more.
const SETTLED: Duration = Duration::from_secs(3);

/// Resident memory of ApplicationMaster, TaskExecutor and worker.
pub fn report(distribution: &Distribution) -> Result<()> {
    let cluster = HadoopCluster::builder().start()?;
    let socket = TcpListener::bind("127.0.0.1:0")?;
    let port = socket.local_addr()?.port().to_string();
    let program = distribution.example("socket-wordcount");
    let program = program.to_str().context("a path in UTF-8")?;
    let submission = distribution.run(&cluster, &["-d", program, "--hostname", "127.0.0.1", "--port", &port])?;
    let running = Instant::now();
    wait::until("everything has settled", LIMIT, || (running.elapsed() > SETTLED).then_some(()))?;

    println!("\n### Memory, idle\n\n| process | resident, MB | of it anonymous, MB | peak, MB |\n|---|--:|--:|--:|");
    for process in process::of_application(&submission.application) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid))?;
        let megabytes = |key: &str| -> Option<f64> {
            let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
            Some(line.split_whitespace().next()?.parse::<f64>().ok()? * 1024.0 / 1e6)
        };
        let value = |key| megabytes(key).with_context(|| format!("no {key} of {}", process.program));
        let (resident, anonymous, peak) = (value("VmRSS")?, value("RssAnon")?, value("VmHWM")?);
        println!("| {} | {resident:.1} | {anonymous:.1} | {peak:.1} |", process.program);
    }
    cluster.yarn().kill(&submission.application)?;
    cluster.yarn().wait_ended(&submission.application, LIMIT)?;
    Ok(())
}
