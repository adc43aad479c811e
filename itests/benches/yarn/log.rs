//! Points in time, from the lines that ApplicationMaster and TaskExecutors write into their logs.

use anyhow::{Context as _, Result};
use flumen_itests::hadoop::{ContainerLog, HadoopCluster};

/// The logs of an application's containers.
pub struct Logs(Vec<ContainerLog>);

/// Logs of the ApplicationMaster and of TaskExecutors.
const MASTER: &str = "jobmanager.log";
const EXECUTOR: &str = "taskmanager.log";

impl Logs {
    /// What is in the log folders now.
    pub fn of(cluster: &HadoopCluster, application: &str) -> Result<Logs> {
        Ok(Logs(cluster.container_logs(application)?))
    }

    /// When the ApplicationMaster wrote the first line with this text.
    pub fn master(&self, text: &str) -> Result<f64> {
        self.first(MASTER, text)
    }

    /// When the first TaskExecutor to do so wrote a line with this text.
    pub fn executor(&self, text: &str) -> Result<f64> {
        self.first(EXECUTOR, text)
    }

    /// When the ApplicationMaster wrote the first line with this text about a job.
    pub fn master_of(&self, job: &str, text: &str) -> Result<f64> {
        self.first_of(MASTER, job, text)
    }

    /// When the first TaskExecutor to do so wrote a line with this text about a job.
    pub fn executor_of(&self, job: &str, text: &str) -> Result<f64> {
        self.first_of(EXECUTOR, job, text)
    }

    /// How many lines of the ApplicationMaster have this text.
    pub fn master_lines<'a>(&'a self, text: &'a str) -> impl Iterator<Item = &'a str> {
        self.lines(MASTER).filter(move |line| line.contains(text))
    }

    fn first(&self, file: &str, text: &str) -> Result<f64> {
        self.first_of(file, "", text)
    }

    fn first_of(&self, file: &str, job: &str, text: &str) -> Result<f64> {
        let lines = self.lines(file).filter(|line| line.contains(job) && line.contains(text));
        let times = lines.filter_map(time_of);
        times.min_by(f64::total_cmp).with_context(|| format!("{file} has no line with «{text}»"))
    }

    fn lines<'a>(&'a self, file: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |log| log.file == file).flat_map(|log| log.text.lines())
    }
}

/// `2026-11-21T06:51:16.308001Z  INFO …` in seconds since 1970.
fn time_of(line: &str) -> Option<f64> {
    let (date, time) = line.split_once('Z')?.0.split_once('T')?;
    let number = |text: &str| text.parse::<i64>().ok();
    let mut date = date.split('-').map(number);
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let mut time = time.split(':').map(|text| text.parse::<f64>().ok());
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    // Days since 1970-01-01 of the proleptic Gregorian calendar, with years that begin in March.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some((days * 86_400) as f64 + hour * 3600.0 + minute * 60.0 + second)
}
