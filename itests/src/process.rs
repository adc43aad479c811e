//! What runs on this machine, seen in `/proc`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};

/// A process of a YARN container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerProcess {
    /// Its process id.
    pub pid: u32,
    /// The container it belongs to.
    pub container: String,
    /// The name of its program, without folders.
    pub program: String,
    /// Its arguments, the program included.
    pub arguments: Vec<String>,
}

impl ContainerProcess {
    /// Sends it a signal; that it has ended meanwhile is fine.
    ///
    /// # Errors
    /// When its id is out of range.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        signal_pid(self.pid, signal)
    }

    /// Ends it with SIGKILL.
    ///
    /// # Errors
    /// When its id is out of range.
    pub fn kill(&self) -> Result<()> {
        self.signal(Signal::KILL)
    }

    /// How long ago it was started, to a hundredth of a second; `None` when it has ended.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        /// Of the kernel's account for programs; the same on every Linux that this runs on.
        const TICKS: f64 = 100.0;
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok()?;
        // Behind the name, which may have anything in it, field 3 is the first.
        let started: f64 = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
        let uptime = std::fs::read_to_string("/proc/uptime").ok()?;
        let uptime: f64 = uptime.split_whitespace().next()?.parse().ok()?;
        Some(Duration::from_secs_f64((uptime - started / TICKS).max(0.0)))
    }

    /// Its resident memory in KiB; `None` when it has ended.
    #[must_use]
    pub fn resident_kib(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok())
    }
}

/// Sends a signal to a process; that there is none any more is fine.
///
/// # Errors
/// When the id is out of range.
pub fn signal_pid(pid: u32, signal: Signal) -> Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).context("a process id is a positive number")?;
    let _ = kill_process(pid, signal);
    Ok(())
}

/// The live processes of an application's containers (not those that start them: `bash` and its launch script).
#[must_use]
pub fn of_application(application: &str) -> Vec<ContainerProcess> {
    let mark = format!("_{}_", application.trim_start_matches("application_"));
    all().into_iter().filter(|process| process.container.contains(&mark)).collect()
}

/// The live processes of one container.
#[must_use]
pub fn of_container(container: &str) -> Vec<ContainerProcess> {
    all().into_iter().filter(|process| process.container == container).collect()
}

fn all() -> Vec<ContainerProcess> {
    let pids = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut processes: Vec<_> = pids.filter_map(container_process).collect();
    processes.sort_by_key(|process| process.pid);
    processes
}

fn container_process(pid: u32) -> Option<ContainerProcess> {
    let strings = |file: &str| -> Option<Vec<String>> {
        let bytes = std::fs::read(format!("/proc/{pid}/{file}")).ok()?;
        Some(bytes.split(|byte| *byte == 0).map(|text| String::from_utf8_lossy(text).into_owned()).collect())
    };
    let environment = strings("environ")?;
    let container = environment.iter().find_map(|entry| entry.strip_prefix("CONTAINER_ID="))?.to_owned();
    let mut arguments = strings("cmdline")?;
    arguments.pop(); // after the last NUL
    let program = PathBuf::from(arguments.first()?).file_name()?.to_string_lossy().into_owned();
    (program != "bash").then_some(ContainerProcess { pid, container, program, arguments })
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;
    use crate::wait;

    #[test]
    fn a_process_is_found_by_its_container_and_gone_after_its_end() {
        let container = format!("container_1_{}_01_000002", std::process::id());
        let mut child = Command::new("cat")
            .env("CONTAINER_ID", &container)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let find = || of_application(&format!("application_1_{}", std::process::id())).pop();
        // Between fork and exec it is still us.
        let found =
            wait::until("cat is found", Duration::from_secs(60), || find().filter(|found| found.program == "cat"));
        let found = found.unwrap();
        assert_eq!((found.pid, &found.container), (child.id(), &container));
        assert!(found.resident_kib().unwrap() > 0);
        assert!(found.age().unwrap() < Duration::from_secs(120), "{:?}", found.age());

        found.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(of_container(&container), []);
    }
}
