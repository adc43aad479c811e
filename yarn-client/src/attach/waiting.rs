//! Tells that an application waits for its container, and why once that takes long.

use std::time::{Duration, Instant};

use crate::cluster::AppReport;
use crate::report::Reporter;

/// A submission that waits for longer is told why.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the user was told of the waiting so far.
pub struct Waiting {
    start: Instant,
    explained: String,
}

impl Waiting {
    /// Nothing yet.
    pub fn begun() -> Self {
        Self { start: Instant::now(), explained: String::new() }
    }

    /// How long it has taken.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Tells how the application stands: each of YARN's reasons once.
    pub fn show(&mut self, report: &AppReport, reporter: &Reporter) {
        let why = report.diagnostics.trim();
        if self.elapsed() > PATIENCE && !why.is_empty() && self.explained != why {
            reporter.event(&format!("Deploying cluster, application is not running yet: {why}"));
            self.explained = why.to_owned();
        } else {
            let waited = self.elapsed().as_secs();
            reporter.progress(&format!("Deploying cluster, current state ACCEPTED ({waited} s)"));
        }
    }
}
