//! The only place that prints. Results go to standard output, everything else to standard error.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is where a command line talks to its user")]

use std::convert::Infallible;
use std::error::Error;
use std::io::{IsTerminal as _, Write as _};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use flumen_model::text::causes;
use flumen_staging::Progress;

/// How often a line on a terminal is drawn anew.
const REFRESH: Duration = Duration::from_millis(200);

/// Time between two lines of progress where lines stay, such as in a log file.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// Waiting that is shorter is not mentioned.
const PATIENCE: Duration = Duration::from_secs(2);

/// Bytes of an upload below which its progress is not shown.
const WORTH_SHOWING: u64 = 1_000_000;

/// Talks to the user.
#[derive(Debug)]
pub struct Reporter {
    quiet: bool,
    terminal: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// A line of progress stands on the terminal and is to be overwritten.
    open: bool,
    /// When the last line of progress was printed where lines stay.
    printed: Option<Instant>,
}

impl Reporter {
    /// A reporter that says only results and errors when `quiet`.
    pub fn new(quiet: bool) -> Self {
        Self { quiet, terminal: std::io::stderr().is_terminal(), state: Mutex::default() }
    }

    /// A result: what scripts may read.
    pub fn result(&self, text: &str) {
        self.close_line();
        println!("{text}");
        let _ = std::io::stdout().flush();
    }

    /// Something that happened.
    pub fn event(&self, text: &str) {
        if !self.quiet {
            self.close_line();
            eprintln!("{text}");
        }
    }

    /// Something that the user should know although nothing is wrong with it.
    pub fn note(&self, text: &str) {
        self.close_line();
        eprintln!("note: {text}");
    }

    /// How far something is: redrawn in place on a terminal, now and then a line elsewhere.
    pub fn progress(&self, text: &str) {
        if self.quiet {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if self.terminal {
            eprint!("\r{text}\x1b[K");
            let _ = std::io::stderr().flush();
            state.open = true;
        } else if state.printed.is_none_or(|at| at.elapsed() >= LINE_INTERVAL) {
            eprintln!("{text}");
            state.printed = Some(Instant::now());
        }
    }

    /// Draws the progress of uploads until it is dropped.
    pub async fn uploads(&self, progress: &Progress) -> Infallible {
        let start = Instant::now();
        loop {
            tokio::time::sleep(REFRESH).await;
            let (sent, total) = (progress.sent.load(Ordering::Relaxed), progress.total.load(Ordering::Relaxed));
            if total >= WORTH_SHOWING {
                self.progress(&upload_line(sent, total, start.elapsed()));
            }
        }
    }

    /// Says what is waited for once it takes long, until it is dropped.
    pub async fn waiting(&self, what: &str) -> Infallible {
        let start = Instant::now();
        tokio::time::sleep(PATIENCE).await;
        loop {
            self.progress(&format!("Waiting for {what} ({} s)", start.elapsed().as_secs()));
            tokio::time::sleep(REFRESH).await;
        }
    }

    /// A line for benchmarks.
    pub fn timings(&self, line: &str) {
        self.close_line();
        eprintln!("{line}");
    }

    /// An error of a command with all its causes.
    pub fn error(&self, command: &str, error: &anyhow::Error) {
        self.close_line();
        eprintln!("{command}: {}", with_causes(error.as_ref()));
    }

    /// The failure of a job, in Flink's words.
    pub fn job_failed(&self, cause: &str) {
        self.close_line();
        eprintln!("\n{}\n The program finished with the following exception:\n\n{cause}", "-".repeat(60));
    }

    fn close_line(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut state.open) {
            eprint!("\r\x1b[K");
        }
        state.printed = None;
    }
}

/// The text of an error and of its causes, each on a line of its own.
fn with_causes(error: &(dyn Error + 'static)) -> String {
    causes(error).fold(error.to_string(), |text, cause| format!("{text}\n  caused by: {cause}"))
}

/// `Uploading: 12.3 of 45.6 MB, 7.8 MB/s`.
fn upload_line(sent: u64, total: u64, elapsed: Duration) -> String {
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    let rate = megabytes(sent) / elapsed.as_secs_f64().max(0.001);
    format!("Uploading: {:.1} of {:.1} MB, {rate:.1} MB/s", megabytes(sent), megabytes(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_told_with_its_causes() {
        let error =
            anyhow::Error::new(std::io::Error::other("disk")).context("staging failed").context("no submission");
        assert_eq!(with_causes(error.as_ref()), "no submission\n  caused by: staging failed\n  caused by: disk");
    }

    #[test]
    fn uploads_are_shown_with_their_rate() {
        let line = upload_line(10_000_000, 40_000_000, Duration::from_secs(2));
        assert_eq!(line, "Uploading: 10.0 of 40.0 MB, 5.0 MB/s");
    }
}
