//! One job: its JobMaster, who watches it and what was asked of it.

use std::time::Duration;

use flumen_jobmaster::{Action, Event as JobEvent, JobMaster, Settings, Start, Timestamp};
use flumen_model::config::{BadConfiguration, Configuration};
use flumen_model::ids::JobId;
use flumen_model::options::{checkpointing, deployment};
use flumen_model::status::JobStatus;
use flumen_wire::application::{JobSubmission, Program};
use flumen_wire::control::StartWorker;
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
            has_savepoint_directory: settings.checkpoints.savepoint_directory.is_some(),
            program: submission.program.clone(),
            arguments: submission.arguments.clone(),
            configuration: submission.configuration.clone(),
            pending: Some(Box::new(Pending { submission, settings, replies: Vec::new(), events: Vec::new() })),
        };
        Ok((job, admission))
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
        let Some(pending) = self.pending.take() else { return Vec::new() };
        let Pending { submission, mut settings, events, .. } = *pending;
        settings.checkpoints = admitted.checkpoints;
        let (master, mut actions) = JobMaster::new(self.id, submission.graph, settings, admitted.start, now);
        self.master = master;
        for event in events {
            actions.extend(self.master.step(now, event));
        }
        actions
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
