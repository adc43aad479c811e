//! Tells that a job waits for slots, and why once that takes long.

use std::time::{Duration, Instant};

use flumen_model::config::Configuration;

use crate::cluster::Cluster;
use crate::report::Reporter;
use crate::rest::JobView;
use crate::submit;
use crate::validate::{self, Demand};

/// Milliseconds that a job waits for its start before that is said; a container takes two seconds.
const WORTH_SAYING_MS: i64 = 4000;

/// Time between two looks at the cluster.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// What was found out of the waiting so far.
pub struct Slots {
    /// What one TaskExecutor asks of YARN; `None`: it is not known.
    one: Option<Demand>,
    looked: Option<Instant>,
    explained: String,
}

impl Slots {
    /// Nothing yet. `configuration` is that of the application, if it is known.
    pub fn of(configuration: Option<&Configuration>) -> Self {
        let one = configuration.and_then(|configuration| submit::demand(configuration, 1).ok());
        Self { one, looked: None, explained: String::new() }
    }

    /// Tells of a job that has not begun: what it lacks is said once, and again when it changes.
    pub async fn show(&mut self, view: &JobView, cluster: Option<&Cluster>, reporter: &Reporter) {
        if view.duration < WORTH_SAYING_MS {
            return;
        }
        if let (Some(one), Some(cluster)) = (&self.one, cluster)
            && self.looked.is_none_or(|at| at.elapsed() >= LOOK_INTERVAL)
        {
            self.looked = Some(Instant::now());
            let facts = cluster.facts().await.ok();
            if let Some(why) = facts.and_then(|facts| validate::shortage(one, &facts))
                && why != self.explained
            {
                reporter.event(&format!("The job waits for slots: {why}"));
                self.explained = why;
            }
        }
        reporter.progress(&format!("Job CREATED for {} s: it waits for slots", view.duration / 1000));
    }
}
