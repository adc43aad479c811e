//! The JobMaster.

use flumen_model::ids::JobId;
use flumen_model::job_graph::JobGraph;
use flumen_model::status::JobStatus;

use crate::details::JobDetails;
use crate::event::{Action, Event, Timestamp};
use crate::settings::Settings;

/// One job's life as a state machine: facts in, actions out.
#[derive(Debug)]
pub struct JobMaster {
    job: JobId,
    graph: JobGraph,
    settings: Settings,
    now: Timestamp,
}

impl JobMaster {
    /// Accepts a job. Its first actions declare the slots that it needs.
    pub fn new(job: JobId, graph: JobGraph, settings: Settings, now: Timestamp) -> (Self, Vec<Action>) {
        let slots = graph.slots();
        (Self { job, graph, settings, now }, vec![Action::DeclareSlots(slots)])
    }

    /// Takes a fact in and says what is to be done about it. Facts from a former life (an older worker or attempt, an
    /// unknown executor, after the end) change nothing.
    pub fn step(&mut self, now: Timestamp, _event: Event) -> Vec<Action> {
        self.now = now;
        Vec::new()
    }

    /// When [`Event::Tick`] is due; `None` when nothing waits for a time.
    pub fn next_timer(&self) -> Option<Timestamp> {
        Some(self.now.after(self.settings.slot_request_timeout))
    }

    /// The job's state.
    pub fn status(&self) -> JobStatus {
        JobStatus::Created
    }

    /// Everything that can be shown of the job.
    pub fn details(&self) -> JobDetails {
        JobDetails {
            job: self.job,
            name: self.graph.name.clone(),
            mode: self.graph.mode,
            status: JobStatus::Created,
            entered: vec![],
            start: self.now,
            end: None,
            attempt: Default::default(),
            restarts: 0,
            restart_setting: self.settings.restarts.clone(),
            slots_needed: self.graph.slots(),
            slots_present: 0,
            vertices: vec![],
            edges: self.graph.edges.clone(),
            exceptions: vec![],
            exceptions_truncated: false,
            failure: None,
            progress: None,
        }
    }

    /// The graph that workers get: the job's, without the splits of its sources.
    pub fn worker_graph(&self) -> &JobGraph {
        &self.graph
    }
}
