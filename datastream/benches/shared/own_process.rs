//! Measurements in processes of their own: the CPU time of each is its own, and its memory begins empty.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// The first argument of a process that measures.
const MEASURE: &str = "--measure";

/// What a process is to measure.
#[derive(Debug)]
pub struct Task {
    /// Name of the measured program.
    pub what: String,
    /// What it reads.
    pub input: PathBuf,
    /// Threads or subtasks.
    pub parallelism: u32,
}

/// What one run of a program took.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    /// Wall time, without the start of the process.
    pub wall: Duration,
    /// CPU time of the process, user and system.
    pub cpu: Duration,
}

/// What this process is to measure, when it was started by [`measure`].
pub fn task() -> Option<Task> {
    let arguments: Vec<String> = std::env::args().collect();
    let at = arguments.iter().position(|a| a == MEASURE)?;
    let parallelism = arguments[at + 3].parse().expect("a number");
    Some(Task { what: arguments[at + 1].clone(), input: arguments[at + 2].clone().into(), parallelism })
}

/// Starts this executable again, for one measurement.
pub fn measure(what: &str, input: &Path, parallelism: u32) -> Measured {
    let executable = std::env::current_exe().expect("this executable");
    let output = Command::new(executable)
        .args([MEASURE, what])
        .arg(input)
        .arg(parallelism.to_string())
        .output()
        .expect("the measurement can be started");
    let text = String::from_utf8_lossy(&output.stdout);
    let mut seconds = text.split_whitespace().filter_map(|n| n.parse().ok().map(Duration::from_secs_f64));
    match (seconds.next(), seconds.next()) {
        (Some(wall), Some(cpu)) => Measured { wall, cpu },
        _ => panic!("no measurement of {what}: {text} {}", String::from_utf8_lossy(&output.stderr)),
    }
}

/// Runs a program and tells who started this process what it took.
#[allow(clippy::print_stdout, reason = "this is how the process that measures answers")]
pub fn run(program: impl FnOnce()) {
    let start = Instant::now();
    program();
    println!("{} {}", start.elapsed().as_secs_f64(), cpu_time().as_secs_f64());
}

/// CPU time of this process, all threads, user and system.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    // The name of the program stands in parentheses and may hold blanks.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().expect("utime") + fields[12].parse::<u64>().expect("stime");
    Duration::from_millis(ticks * 10)
}
