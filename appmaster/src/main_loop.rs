//! The one task that owns all state. It waits for facts (TaskExecutors, YARN, REST, files, time), hands them to
//! [`Dispatcher`] and carries out what that decides.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::time::Duration;

use flumen_ha::HaError;
use flumen_hadoop::yarn::{AllocateResponse, AmError, ApplicationMasterClient, Container, ContainerId, Resource};
use flumen_model::config::BadConfiguration;
use flumen_model::ids::{ExecutorId, JobId};
use flumen_model::status::JobStatus;
use flumen_model::text::with_causes;
use flumen_wire::application::{Application, Purpose};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::checkpoints;
use crate::clock;
use crate::dispatcher::{Admitted, Dispatcher, Effect, Event, Outcome};
use crate::ending::{self, Verdict};
use crate::executors::{ExecutorEvent, ExecutorServer};
use crate::hadoop;
use crate::high_availability::Kept;
use crate::job_files::{Admittance, JobFiles, NotAdmitted};
use crate::program;
use crate::resource::cluster_view::ClusterView;
use crate::resource::line::Line;
use crate::resource::manager::{self, Action, ResourceManager};
use crate::resource::yarn::{Yarn, YarnEvent};
use crate::rest::RestRequest;
use crate::setup::Parts;
use own::{Own, own};

mod own;

/// The wait when no timer is set: nothing depends on its end.
const NO_TIMER: Duration = Duration::from_secs(3600);
/// How long TaskExecutors may take to stop before their files are cleaned up.
const STOP_LIMIT: Duration = Duration::from_secs(2);

/// How often it is looked for a newer leader: by one who stands in, whom the next attempt follows within seconds, and by an
/// ApplicationMaster beside whom somebody stands by.
const LOOK_STANDING_IN: Duration = Duration::from_millis(200);
const LOOK: Duration = Duration::from_secs(5);

/// How long the files of jobs may take to be in order at the end.
const SETTLE_LIMIT: Duration = Duration::from_secs(60);
/// How long results of operations wait at the end for those who asked for them: whoever stops a job with a savepoint needs to
/// know where it is. Clients look twice a second, but may be on a busy machine.
const READER_LIMIT: Duration = Duration::from_secs(10);

/// How the jobs' part of the application's life ended.
#[derive(Debug)]
pub enum End {
    /// The application's work is over.
    Done {
        /// What YARN is to be told.
        verdict: Verdict,
        /// Workers may be writing still: TaskExecutors are stopped before anything is cleaned up.
        stop_first: bool,
    },
    /// YARN has given up this attempt, with this text: a newer one may run.
    AttemptOver(String),
    /// YARN can't be reached any more.
    Lost(AmError),
}

/// See the module.
pub struct MainLoop {
    dispatcher: Dispatcher,
    yarn: Line,
    cluster: ClusterView,
    front: Front,
    admittance: Admittance,
    /// The files of the jobs that are not over.
    jobs: BTreeMap<JobId, JobFiles>,
    /// Work on files that reports back: outputs and checkpoints. Bounded by what the jobs have under way.
    files: JoinSet<Done>,
    /// Jobs whose files are closed only at the end, with whether they succeeded: that of an application of one job.
    closing: Vec<(JobId, JobFiles, bool)>,
    session: bool,
    /// Done when there is a newer leader of which YARN need not know: only where somebody stands by.
    superseded: Option<Pin<Box<dyn Future<Output = String>>>>,
    end: Option<End>,
}

/// What comes of work on files.
enum Done {
    /// A fact for the dispatcher.
    Told(Event),
    /// A job can begin, or why not.
    Admitted { job: JobId, result: Result<Box<(JobFiles, Admitted)>, NotAdmitted> },
    /// The files of a job that is over are in order.
    Closed,
}

/// Why the work can't begin.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    /// YARN does not take the registration.
    #[error(transparent)]
    Yarn(#[from] AmError),
    /// An option of the job has a value that it can't have.
    #[error(transparent)]
    Configuration(#[from] BadConfiguration),
}

/// Those who speak first: TaskExecutors and REST.
struct Front {
    executors: ExecutorServer,
    requests: mpsc::Receiver<RestRequest>,
}

impl Front {
    async fn next(&mut self) -> Event {
        tokio::select! {
            event = self.executors.next() => match event {
                ExecutorEvent::Registered { info, workers } => Event::ExecutorRegistered { info, workers },
                ExecutorEvent::Report { id, report } => Event::ExecutorReport { id, report },
                ExecutorEvent::Lost { id, failure } => Event::ExecutorLost { id, failure },
                ExecutorEvent::StandbyRegistered(id) => of_standby(&id, manager::Event::StandbyRegistered),
                ExecutorEvent::StandbyLost(id) => of_standby(&id, manager::Event::StandbyLost),
                ExecutorEvent::Superseded(reason) => Event::Superseded(reason),
            },
            Some(request) = self.requests.recv() => Event::Rest(request),
        }
    }
}

/// What the ResourceManager is told of a standby JobManager.
fn of_standby(id: &ExecutorId, event: fn(ContainerId) -> manager::Event) -> Event {
    id.0.parse().map_or(Event::Tick, |container| Event::Resource(event(container)))
}

/// What YARN has told this leader, or the leader before it.
struct Ground {
    line: Line,
    queue: String,
    maximum: Resource,
    /// Containers that run already.
    former: Vec<Container>,
}

impl MainLoop {
    /// Registers with YARN, and takes over what a former leader left; without one it accepts the job that came with the
    /// application, or asks the program that did for it. Says then where this leader is.
    ///
    /// # Errors
    /// [`BeginError`].
    pub async fn begin(
        mut parts: Parts,
        application: &Application,
        client: ApplicationMasterClient,
        admittance: Admittance,
    ) -> Result<Self, BeginError> {
        let context = std::mem::take(&mut parts.context);
        let (mut yarn, registered) =
            Box::pin(Yarn::register(client, &parts.registration, context, parts.intervals)).await?;
        tracing::info!(queue = registered.queue, maximum = %registered.maximum_capability, "registered with YARN");
        if let Some(standby) = &mut parts.standby {
            yarn.run_standby(std::mem::take(&mut standby.context));
        }
        let ground = Ground {
            line: Line::Yarn(Box::new(yarn)),
            queue: registered.queue,
            maximum: registered.maximum_capability,
            former: registered.containers_from_previous_attempts,
        };
        Self::on(ground, parts, application, admittance)
    }

    /// Takes over what a former leader left, as one who has stood by: without YARN, until there is a newer leader. `former` are
    /// the containers of the TaskExecutors that the former one had.
    ///
    /// # Errors
    /// [`BeginError`].
    pub fn stand_in(
        parts: Parts,
        application: &Application,
        admittance: Admittance,
        former: Vec<Container>,
    ) -> Result<Self, BeginError> {
        // What may be asked for is for the next attempt to find out.
        let maximum = Resource::new(u64::MAX, u32::MAX);
        let ground = Ground { line: Line::None, queue: String::new(), maximum, former };
        Self::on(ground, parts, application, admittance)
    }

    fn on(ground: Ground, parts: Parts, application: &Application, admittance: Admittance) -> Result<Self, BeginError> {
        let Ground { line, queue, maximum, former } = ground;
        let Parts { executors, requests, profile, archive, kept, addresses, standby, .. } = parts;
        let stands_in = matches!(line, Line::None);
        let cluster = ClusterView {
            hadoop: hadoop::configuration(&application.hadoop),
            user: application.user.clone(),
            queue: queue.clone(),
            node_label: profile.node_label.clone(),
        };
        let session = matches!(application.purpose, Purpose::Session);
        let mut resources = ResourceManager::new(profile, maximum, queue);
        let lead = admittance.lead.clone();
        let mut superseded: Option<Pin<Box<dyn Future<Output = String>>>> = None;
        if let Some(standby) = standby {
            if !stands_in {
                resources.want_standby(standby.wanted);
            }
            let (lead, interval) = (lead.clone(), if stands_in { LOOK_STANDING_IN } else { LOOK });
            superseded = Some(Box::pin(async move { lead.superseded(interval).await }));
        }
        let mut dispatcher = Dispatcher::new(session, lead.is_on(), resources, archive);
        if stands_in {
            dispatcher.stand_in();
        }
        let Own { recover, begin } = own(application, kept, lead.follows_another());
        let mut effects = match recover {
            Some(Kept { jobs, ended }) => dispatcher.recover(clock::now(), jobs, ended)?,
            None => Vec::new(),
        };
        if let Some(Purpose::Job(submission)) = begin {
            effects.extend(dispatcher.submit_own(clock::now(), submission.as_ref().clone())?);
        }
        let mut main = Self {
            dispatcher,
            yarn: line,
            cluster,
            front: Front { executors, requests },
            admittance,
            jobs: BTreeMap::new(),
            files: JoinSet::new(),
            closing: Vec::new(),
            session,
            superseded,
            end: None,
        };
        main.carry_out(effects);
        if let Some(Purpose::Program(submission)) = begin
            && !stands_in
        {
            let planned = program::planned(submission.as_ref().clone(), application);
            main.files.spawn(async move { Done::Told(Event::Planned(planned.await.map(Box::new))) });
        }
        main.tell(Event::Resource(manager::Event::FoundAgain(former)));
        // Whoever comes now is of a container that is known.
        main.files.spawn(async move {
            match lead.announce(&addresses).await {
                Err(HaError::Superseded { .. }) => Done::Told(Event::Superseded("it can't announce itself".to_owned())),
                Err(error) => {
                    tracing::error!(error = with_causes(&error), "nobody will find this JobManager after it was lost");
                    Done::Told(Event::Tick)
                }
                Ok(()) => Done::Told(Event::Tick),
            }
        });
        Ok(main)
    }

    /// Runs the jobs to the end of the application.
    pub async fn run(&mut self) -> End {
        loop {
            if let Some(end) = self.end.take() {
                return end;
            }
            let timer =
                self.dispatcher.next_timer(clock::now()).map_or_else(|| Instant::now() + NO_TIMER, Instant::from_std);
            let event = tokio::select! {
                event = self.front.next() => event,
                event = self.yarn.next() => {
                    self.yarn_event(event);
                    continue;
                }
                reason = in_time(&mut self.superseded) => Event::Superseded(reason),
                Some(done) = self.files.join_next() => match done {
                    Ok(done) => self.done(done),
                    Err(error) => {
                        tracing::error!(%error, "work on a job's files ended abnormally");
                        Event::Tick
                    }
                },
                () = sleep_until(timer) => Event::Tick,
            };
            self.tell(event);
        }
    }

    fn yarn_event(&mut self, event: YarnEvent) {
        match event {
            YarnEvent::Answered(answer) => self.answered(answer),
            YarnEvent::AskRefused(text) => self.tell(Event::Resource(manager::Event::AskRefused(text))),
            YarnEvent::Launched { id, result } => {
                if result.is_ok() {
                    tracing::info!(container = %id, "container started");
                }
                self.tell(Event::Resource(manager::Event::Launched { id, result }));
            }
            YarnEvent::Inspected(cluster) => self.tell(Event::Resource(manager::Event::ClusterInspected(cluster))),
            YarnEvent::Silent => self.ask_for_a_successor(),
            YarnEvent::AttemptOver(reason) => self.end = Some(End::AttemptOver(reason)),
            YarnEvent::Lost(error) => self.end = Some(End::Lost(error)),
        }
        // Once a heartbeat is enough: a job's details may be long.
        self.yarn.set_progress(self.dispatcher.progress());
    }

    /// YARN does not speak to this attempt. If that is because it is cut off, the next attempt may lead already, and its
    /// TaskExecutors would never look for that one as long as this one speaks to them.
    fn ask_for_a_successor(&mut self) {
        let lead = self.admittance.lead.clone();
        if lead.is_on() {
            tracing::warn!("YARN does not answer: is there a newer JobManager?");
            self.files.spawn(async move {
                Done::Told(match lead.still_leads().await {
                    Err(error) => Event::Superseded(error.to_string()),
                    Ok(()) => Event::Tick,
                })
            });
        }
    }

    fn answered(&mut self, answer: AllocateResponse) {
        if answer.reregistered {
            tracing::warn!(
                "YARN's ResourceManager had forgotten this attempt (a restart or failover) and took it back"
            );
            self.tell(Event::Resource(manager::Event::Reregistered));
        }
        self.tell(Event::Resource(manager::Event::Answered));
        if !answer.containers_from_previous_attempts.is_empty() {
            self.tell(Event::Resource(manager::Event::FoundAgain(answer.containers_from_previous_attempts)));
        }
        for container in &answer.allocated {
            tracing::info!(container = %container.id, node = %container.node, resource = %container.resource, "container given");
        }
        if !answer.allocated.is_empty() {
            self.tell(Event::Resource(manager::Event::Allocated(answer.allocated)));
        }
        for status in &answer.completed {
            let ended = status.diagnostics.lines().next().unwrap_or_default();
            tracing::info!(container = %status.id, exit_code = status.exit_code, diagnostics = ended, "container ended");
        }
        if !answer.completed.is_empty() {
            self.tell(Event::Resource(manager::Event::Completed(answer.completed)));
        }
    }

    fn tell(&mut self, event: Event) {
        let effects = self.dispatcher.handle(clock::now(), event);
        self.carry_out(effects);
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::ToExecutor { id, command } => self.front.executors.send(&id, command),
                Effect::Resource(action) => self.resource_action(action),
                Effect::Admit(admission) => {
                    let (job, admittance) = (admission.job, self.admittance.clone());
                    self.files.spawn(async move {
                        let result = admittance.admit(*admission).await.map(Box::new);
                        Done::Admitted { job, result }
                    });
                }
                Effect::CommitOutputs { job, attempt } => {
                    let lead = self.admittance.lead.clone();
                    self.work(job, async move |files: JobFiles| match lead.still_leads().await {
                        Err(error) => Event::Superseded(error.to_string()),
                        Ok(()) => Event::OutputsCommitted { job, result: files.outputs.commit(attempt).await },
                    });
                }
                Effect::KeepResult(result) => {
                    let lead = self.admittance.lead.clone();
                    self.files.spawn(async move {
                        Done::Told(match lead.put_result(&result).await {
                            Err(error) => Event::Superseded(error.to_string()),
                            Ok(()) => Event::ResultKept { job: result.submission.job },
                        })
                    });
                }
                Effect::ForgetResult { job } => {
                    let lead = self.admittance.lead.clone();
                    self.files.spawn(async move {
                        lead.forget(job).await;
                        Done::Told(Event::Tick)
                    });
                }
                Effect::StoreCheckpoint { job, checkpoint } => {
                    self.work(job, async move |files: JobFiles| files.checkpoints.store(checkpoint).await);
                }
                Effect::DiscardFiles { job, paths } => {
                    self.work(job, async move |files: JobFiles| files.checkpoints.discard(paths).await);
                }
                Effect::DisposeSavepoint { trigger, path } => {
                    let disposed = checkpoints::dispose(self.admittance.files.clone(), trigger, path);
                    self.files.spawn(async move { Done::Told(disposed.await) });
                }
                Effect::CloseJob { job, succeeded } => self.close(job, succeeded),
                Effect::StepDown(reason) => self.end = Some(End::AttemptOver(reason)),
                Effect::Done(outcome) => self.outcome(&outcome),
            }
        }
        self.yarn.set_awaiting(self.dispatcher.awaits_yarn());
    }

    /// Works on the files of a job, until they are closed.
    fn work<F>(&mut self, job: JobId, work: impl FnOnce(JobFiles) -> F + 'static)
    where
        F: Future<Output = Event> + Send + 'static,
    {
        let Some(files) = self.jobs.get(&job) else { return };
        let Some(in_use) = files.in_use() else { return };
        let work = work(files.clone());
        self.files.spawn(async move {
            let event = work.await;
            drop(in_use);
            Done::Told(event)
        });
    }

    /// Takes note of what was done about files; the fact for the dispatcher.
    fn done(&mut self, done: Done) -> Event {
        match done {
            Done::Told(event) => event,
            Done::Closed => Event::Tick,
            Done::Admitted { job, result } => {
                let result = match result {
                    Ok(admitted) => {
                        let (files, admitted) = *admitted;
                        self.jobs.insert(job, files);
                        Ok(Box::new(admitted))
                    }
                    Err(NotAdmitted::Refused(failure)) => Err(failure),
                    Err(NotAdmitted::Superseded(reason)) => return Event::Superseded(reason),
                };
                Event::Admitted { job, result }
            }
        }
    }

    fn close(&mut self, job: JobId, succeeded: bool) {
        let Some(files) = self.jobs.remove(&job) else { return };
        if self.session {
            self.spawn_close(job, files, succeeded);
        } else {
            self.closing.push((job, files, succeeded));
        }
    }

    fn spawn_close(&mut self, job: JobId, files: JobFiles, succeeded: bool) {
        let closed = self.admittance.clone().close(job, files, succeeded);
        self.files.spawn(async move {
            closed.await;
            Done::Closed
        });
    }

    fn outcome(&mut self, outcome: &Outcome) {
        let stop_first = match outcome {
            Outcome::Job { result, .. } => {
                tracing::info!(job = %result.job, status = %result.status, runtime_ms = result.runtime_ms, "job is over");
                result.status != JobStatus::Finished
            }
            Outcome::NoJob(_) | Outcome::Stopped => false,
        };
        self.end = Some(End::Done { verdict: ending::verdict(outcome), stop_first });
    }

    fn resource_action(&mut self, action: Action) {
        match action {
            Action::Ask(ask) => {
                tracing::info!(wish = ask.allocation_request_id, count = ask.count, resource = %ask.capability, "ask");
                self.yarn.ask(ask);
            }
            Action::Release { id, .. } => self.yarn.release(id),
            Action::Launch(container) => {
                tracing::info!(container = %container.id, node = %container.node, "container is being started");
                self.yarn.launch(*container);
            }
            Action::InspectCluster => {
                tracing::info!("containers are still awaited: is the cluster large enough?");
                self.yarn.inspect_cluster(self.cluster.clone().inspect());
            }
            // The dispatcher keeps these to itself.
            Action::ReportLost { .. }
            | Action::GiveUp { .. }
            | Action::TellStandby { .. }
            | Action::DismissStandby(_) => {}
        }
    }

    /// Tells all TaskExecutors to stop their workers and exit, and waits until they are gone or a limit is reached. REST goes
    /// on answering meanwhile.
    pub async fn stop_executors(&mut self, reason: &str) {
        let Front { executors, requests } = &mut self.front;
        let stopped = executors.shut_down(reason, STOP_LIMIT);
        answering(&mut self.dispatcher, requests, stopped).await;
    }

    /// After the end of all jobs: waits, within limits, until their files are in order and the results of operations have
    /// been fetched. REST goes on answering meanwhile.
    pub async fn settle(&mut self) {
        for (job, files, succeeded) in std::mem::take(&mut self.closing) {
            self.spawn_close(job, files, succeeded);
        }
        let Self { dispatcher, front: Front { requests, .. }, files, .. } = self;
        let limit = Instant::now() + SETTLE_LIMIT;
        while !files.is_empty() {
            tokio::select! {
                Some(done) = files.join_next() => {
                    if let Ok(Done::Told(event)) = done {
                        drop(dispatcher.handle(clock::now(), event));
                    }
                }
                Some(request) = requests.recv() => drop(dispatcher.handle(clock::now(), Event::Rest(request))),
                () = sleep_until(limit) => {
                    tracing::warn!(limit = ?SETTLE_LIMIT, "the files of jobs were not in order in time");
                    files.abort_all();
                    break;
                }
            }
        }
        let limit = Instant::now() + READER_LIMIT;
        while dispatcher.awaits_reader() {
            tokio::select! {
                Some(request) = requests.recv() => drop(dispatcher.handle(clock::now(), Event::Rest(request))),
                () = sleep_until(limit) => break,
            }
        }
    }

    /// As one who stands in: after the end of all that it leads, waits for the newer leader who can tell YARN. REST goes on
    /// answering meanwhile.
    pub async fn succeeded(&mut self) -> String {
        let Self { dispatcher, front: Front { executors, requests }, superseded, .. } = self;
        let work = async {
            let thrown_away = async {
                loop {
                    drop(executors.next().await);
                }
            };
            tokio::select! {
                reason = in_time(superseded) => reason,
                never = thrown_away => never,
            }
        };
        answering(dispatcher, requests, work).await
    }

    /// Tells YARN how the application ended, until it has stored it. REST goes on answering meanwhile.
    ///
    /// # Errors
    /// [`AmError`] when YARN could not be told.
    pub async fn finish(self, verdict: &Verdict) -> Result<(), AmError> {
        let Self { mut dispatcher, yarn, front: Front { mut executors, mut requests }, .. } = self;
        tracing::info!(status = ?verdict.status, diagnostics = verdict.diagnostics, "application ends");
        let finish = async {
            let stopped = executors.shut_down("the application is over", STOP_LIMIT);
            tokio::join!(yarn.finish(verdict.status, &verdict.diagnostics), stopped).0
        };
        answering(&mut dispatcher, &mut requests, finish).await
    }
}

/// The outcome of what is waited for; never, when nothing is. Safe to cancel.
async fn in_time(waited_for: &mut Option<Pin<Box<dyn Future<Output = String>>>>) -> String {
    match waited_for {
        Some(waited_for) => waited_for.await,
        None => std::future::pending().await,
    }
}

/// Waits for `work` and answers REST meanwhile. What else the dispatcher would do is not done any more.
async fn answering<T>(
    dispatcher: &mut Dispatcher,
    requests: &mut mpsc::Receiver<RestRequest>,
    work: impl Future<Output = T>,
) -> T {
    let mut work = Box::pin(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            Some(request) = requests.recv() => drop(dispatcher.handle(clock::now(), Event::Rest(request))),
        }
    }
}
