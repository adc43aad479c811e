//! One job: its JobMaster, who watches it and what was asked of it.

use std::time::Duration;

use flumen_jobmaster::{
    Action, CheckpointStatistics, Event as JobEvent, FormerExecutor, JobDetails, JobMaster, JobResult, Settings, Start,
    Timestamp,
};
use flumen_model::config::{BadConfiguration, Configuration};
use flumen_model::ids::JobId;
use flumen_model::options::{checkpointing, deployment};
use flumen_model::status::{ExecutionState, JobStatus};
use flumen_wire::application::{JobSubmission, Program};
use flumen_wire::control::{PROTOCOL_VERSION, StartWorker};
use flumen_wire::kept::KeptResult;
use tokio::sync::oneshot;

use super::event::{Admission, Admitted};
use super::operations::Operations;
use crate::client_watch::ClientWatch;
use crate::rest::SubmitReply;

/// See the module.
pub(super) struct Job {
    pub(super) id: JobId,
    /// Counts submissions, for their order.
    pub(super) number: u64,
    /// Until the job is admitted one that only says what the job is: it is told nothing.
    pub(super) master: JobMaster,
    /// Set until the job is admitted.
    pending: Option<Box<Pending>>,
    pub(super) operations: Operations,
    pub(super) watch: ClientWatch,
    /// Why the job was cancelled first.
    pub(super) cancelled: Option<&'static str>,
    /// How long jobs behind it may pass it while there are too few slots for it.
    pub(super) slot_patience: Duration,
    /// How it ended, while that is being kept for a later leader: until then it is not over for anybody else.
    pub(super) result: Option<JobResult>,
    /// What is to be removed once that is kept.
    pub(super) left: Vec<String>,
    /// `state.savepoints.dir` is set.
    pub(super) has_savepoint_directory: bool,
    program: Program,
    arguments: Vec<String>,
    configuration: Configuration,
}

/// A job whose outputs are being claimed.
struct Pending {
    submission: JobSubmission,
    settings: Settings,
    /// Who submitted it, and waits.
    replies: Vec<oneshot::Sender<SubmitReply>>,
    /// What the JobMaster has to be told as soon as it is there.
    events: Vec<JobEvent>,
    /// Of a job that is taken over: what it begins with, while it isn't known yet what of it runs.
    admitted: Option<Box<Admitted>>,
}

impl Job {
    /// A job that is to be admitted, and what is needed for that.
    ///
    /// # Errors
    /// An option has a value that it can't have.
    pub(super) fn new(
        submission: JobSubmission,
        number: u64,
        now: Timestamp,
    ) -> Result<(Self, Admission), BadConfiguration> {
        let settings = Settings::read(&submission.configuration, &submission.graph)?;
        let conf = &submission.configuration;
        let watch = match submission.client_heartbeat {
            true => ClientWatch::until(now.after(conf.get(&deployment::CLIENT_HEARTBEAT_TIMEOUT)?)),
            false => ClientWatch::off(),
        };
        let admission = Admission {
            job: submission.job,
            outputs: submission.graph.outputs.clone(),
            from: conf.find(&checkpointing::SAVEPOINT_PATH)?,
            checkpoints: settings.checkpoints.clone(),
            keep: None,
            taken_over: false,
        };
        let graph = submission.graph.clone();
        let (master, _) = JobMaster::new(submission.job, graph, settings.clone(), Start::default(), now);
        let job = Self {
            id: submission.job,
            number,
            master,
            operations: Operations::default(),
            watch,
            cancelled: None,
            slot_patience: settings.slot_request_timeout / 2,
            result: None,
            left: Vec::new(),
            has_savepoint_directory: settings.checkpoints.savepoint_directory.is_some(),
            program: submission.program.clone(),
            arguments: submission.arguments.clone(),
            configuration: submission.configuration.clone(),
            pending: Some(Box::new(Pending {
                submission,
                settings,
                replies: Vec::new(),
                events: Vec::new(),
                admitted: None,
            })),
        };
        Ok((job, admission))
    }

    /// A job of a former leader.
    ///
    /// # Errors
    /// An option has a value that it can't have.
    pub(super) fn taken_over(
        submission: JobSubmission,
        number: u64,
        now: Timestamp,
    ) -> Result<(Self, Admission), BadConfiguration> {
        let (job, admission) = Self::new(submission, number, now)?;
        Ok((job, Admission { taken_over: true, ..admission }))
    }

    /// It waits for slots as long as it takes: there is nobody to ask for containers yet.
    pub(super) fn wait_for_slots(&mut self) {
        if let Some(pending) = &mut self.pending {
            pending.settings.slot_request_timeout = Duration::from_secs(365 * 24 * 3600);
        }
    }

    /// Slots that it needs when it is whole.
    pub(super) fn slots(&self) -> u32 {
        self.master.worker_graph().slots()
    }

    /// Its state.
    pub(super) fn status(&self) -> JobStatus {
        self.master.status()
    }

    pub(super) fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// Whoever submitted the job hears of its admission.
    pub(super) fn reply_on_admission(&mut self, reply: oneshot::Sender<SubmitReply>) {
        match &mut self.pending {
            Some(pending) => pending.replies.push(reply),
            None => drop(reply.send(SubmitReply::Accepted)),
        }
    }

    /// Tells everybody who submitted the job what came of it.
    pub(super) fn answer_submitters(&mut self, outcome: &SubmitReply) {
        for reply in self.pending.iter_mut().flat_map(|pending| pending.replies.drain(..)) {
            // Whoever asked may have gone.
            let _ = reply.send(outcome.clone());
        }
    }

    /// Begins, with the JobMaster's first actions.
    pub(super) fn begin(&mut self, now: Timestamp, admitted: Admitted) -> Vec<Action> {
        self.begin_with(now, admitted, None)
    }

    /// It is admitted, and begins when it is known what of it runs.
    pub(super) fn hold(&mut self, admitted: Box<Admitted>) {
        if let Some(pending) = &mut self.pending {
            pending.admitted = Some(admitted);
        }
    }

    /// Whether that is all that it waits for.
    pub(super) fn is_admitted(&self) -> bool {
        self.pending.as_ref().is_some_and(|pending| pending.admitted.is_some())
    }

    /// Goes on with what runs of it, with the JobMaster's first actions.
    pub(super) fn adopt(&mut self, now: Timestamp, former: Vec<FormerExecutor>) -> Vec<Action> {
        let admitted = self.pending.as_mut().and_then(|pending| pending.admitted.take());
        admitted.map(|admitted| self.begin_with(now, *admitted, Some(former))).unwrap_or_default()
    }

    fn begin_with(&mut self, now: Timestamp, admitted: Admitted, former: Option<Vec<FormerExecutor>>) -> Vec<Action> {
        let Some(pending) = self.pending.take() else { return Vec::new() };
        let Pending { submission, mut settings, events, .. } = *pending;
        settings.checkpoints = admitted.checkpoints;
        let accepted = submission.accepted_ms.map(Timestamp);
        let (id, graph, start) = (self.id, submission.graph, Start { accepted, ..admitted.start });
        let (master, mut actions) = match former {
            None => JobMaster::new(id, graph, settings, start, now),
            Some(former) => JobMaster::adopt(id, graph, settings, start, former, now),
        };
        self.master = master;
        for event in events {
            actions.extend(self.master.step(now, event));
        }
        actions
    }

    /// As it is shown.
    pub(super) fn details(&self) -> JobDetails {
        let mut details = self.master.details();
        if self.result.is_some() {
            // It is over once that can't be forgotten any more.
            details.end = None;
            details.status = match details.status {
                JobStatus::Failed => JobStatus::Failing,
                JobStatus::Canceled => JobStatus::Cancelling,
                _ => JobStatus::Running,
            };
        }
        details
    }

    /// How it ended, as it is kept for a later leader.
    pub(super) fn kept(&self, result: &JobResult) -> KeptResult {
        KeptResult {
            submission: JobSubmission {
                protocol: PROTOCOL_VERSION,
                job: self.id,
                graph: self.master.worker_graph().clone(),
                program: self.program.clone(),
                arguments: self.arguments.clone(),
                configuration: self.configuration.clone(),
                client_heartbeat: false,
                accepted_ms: Some(result.start.0),
            },
            status: result.status,
            failure: result.failure.clone(),
            cancelled: self.cancelled.map(str::to_owned),
            start_ms: result.start.0,
            runtime_ms: result.runtime_ms,
            restarts: result.restarts,
            retained: result.retained.clone(),
        }
    }

    /// It could not be admitted, and its JobMaster is to say why.
    pub(super) fn begin_refused(&mut self) {
        self.pending = None;
    }

    /// Tells the JobMaster a fact; before the admission only those that matter afterwards.
    pub(super) fn step(&mut self, now: Timestamp, event: JobEvent) -> Vec<Action> {
        match &mut self.pending {
            None => self.master.step(now, event),
            Some(pending) => {
                if matches!(event, JobEvent::Cancel | JobEvent::ResourcesUnavailable { .. })
                    && pending.events.is_empty()
                {
                    pending.events.push(event);
                }
                Vec::new()
            }
        }
    }

    /// When the JobMaster is to be told the time.
    pub(super) fn next_timer(&self) -> Option<Timestamp> {
        let of_master = if self.is_pending() { None } else { self.master.next_timer() };
        of_master.into_iter().chain(self.watch.expires()).min()
    }

    /// What the TaskExecutor needs for a worker of the job.
    pub(super) fn start_worker(&self, instance: u32, slots: u32) -> StartWorker {
        StartWorker {
            job: self.id,
            instance,
            program: self.program.clone(),
            arguments: self.arguments.clone(),
            graph: self.master.worker_graph().clone(),
            configuration: self.configuration.clone(),
            slots,
        }
    }
}

/// A job that ended under a former leader, as it is shown.
///
/// # Errors
/// An option has a value that it can't have.
pub(super) fn as_ended(
    kept: &KeptResult,
    start: Timestamp,
) -> Result<(JobDetails, CheckpointStatistics), BadConfiguration> {
    let JobSubmission { job, graph, configuration, .. } = &kept.submission;
    let settings = Settings::read(configuration, graph)?;
    let (master, _) = JobMaster::new(*job, graph.clone(), settings, Start::default(), start);
    let end = Timestamp(kept.start_ms.saturating_add(kept.runtime_ms));
    let mut details = master.details();
    details.status = kept.status;
    details.entered.push((kept.status, end));
    details.end = Some(end);
    details.restarts = kept.restarts;
    details.failure.clone_from(&kept.failure);
    let state = match kept.status {
        JobStatus::Finished => ExecutionState::Finished,
        JobStatus::Failed => ExecutionState::Failed,
        _ => ExecutionState::Canceled,
    };
    let subtasks = details.vertices.iter_mut().flat_map(|vertex| &mut vertex.subtasks);
    subtasks.for_each(|subtask| subtask.state = state);
    Ok((details, master.checkpoints()))
}
