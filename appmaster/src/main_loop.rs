//! The one task that owns all state. It waits for facts (TaskExecutors, YARN, REST, files, time), hands them to
//! [`JobDriver`] and carries out what that decides.

use std::time::Duration;

use flumen_hadoop::yarn::{AllocateResponse, AmError, ApplicationMasterClient};
use flumen_jobmaster::JobResult;
use flumen_wire::application::{Application, JobSubmission};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::checkpoints::Checkpoints;
use crate::clock;
use crate::ending::{self, Verdict};
use crate::executors::{ExecutorEvent, ExecutorServer};
use crate::hadoop;
use crate::job::{Effect, Event, JobDriver};
use crate::outputs::Outputs;
use crate::resource::cluster_view::ClusterView;
use crate::resource::manager::{self, Action, ResourceManager};
use crate::resource::yarn::{Yarn, YarnEvent};
use crate::rest::RestRequest;
use crate::setup::Parts;

/// The wait when no timer is set: nothing depends on its end.
const NO_TIMER: Duration = Duration::from_secs(3600);
/// How long TaskExecutors may take to stop before their files are cleaned up.
const STOP_LIMIT: Duration = Duration::from_secs(2);

/// How long files of checkpoints that are not needed any more may take to be removed at the end.
const SETTLE_LIMIT: Duration = Duration::from_secs(30);
/// How long results of operations wait at the end for those who asked for them.
const READER_LIMIT: Duration = Duration::from_secs(3);

/// How the job's part of the application's life ended.
#[derive(Debug)]
pub enum End {
    /// The job is over.
    Done {
        /// How it ended.
        result: JobResult,
        /// What YARN is to be told.
        verdict: Verdict,
    },
    /// YARN has given up this attempt, with this text: a newer one may run.
    AttemptOver(String),
    /// YARN can't be reached any more.
    Lost(AmError),
}

/// See the module.
pub struct MainLoop {
    driver: JobDriver,
    yarn: Yarn,
    cluster: ClusterView,
    outputs: Outputs,
    front: Front,
    checkpoints: Checkpoints,
    /// Work on files that reports back: outputs and checkpoints. Bounded by what the driver has under way.
    files: JoinSet<Event>,
    end: Option<End>,
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
                ExecutorEvent::Registered(info) => Event::ExecutorRegistered(info),
                ExecutorEvent::Report { id, report } => Event::ExecutorReport { id, report },
                ExecutorEvent::Lost { id, failure } => Event::ExecutorLost { id, failure },
            },
            Some(request) = self.requests.recv() => Event::Rest(request),
        }
    }
}

impl MainLoop {
    /// Registers with YARN, accepts the job and begins to claim its outputs.
    ///
    /// # Errors
    /// [`AmError`] when YARN does not take the registration.
    pub async fn begin(
        parts: Parts,
        application: &Application,
        submission: &JobSubmission,
        client: ApplicationMasterClient,
        outputs: Outputs,
    ) -> Result<Self, AmError> {
        let Parts {
            executors,
            requests,
            registration,
            context,
            profile,
            intervals,
            settings,
            start,
            checkpoints,
            watch,
        } = parts;
        let (yarn, registered) = Box::pin(Yarn::register(client, &registration, context, intervals)).await?;
        tracing::info!(queue = registered.queue, maximum = %registered.maximum_capability, "registered with YARN");

        let cluster = ClusterView {
            hadoop: hadoop::configuration(&application.hadoop),
            user: application.user.clone(),
            queue: registered.queue.clone(),
            node_label: profile.node_label.clone(),
        };
        let resources = ResourceManager::new(profile, registered.maximum_capability, registered.queue);
        let (driver, effects) = JobDriver::new(submission.clone(), settings, start, resources, watch, clock::now());
        let front = Front { executors, requests };
        let mut main = Self { driver, yarn, cluster, outputs, checkpoints, front, files: JoinSet::new(), end: None };
        main.carry_out(effects);
        main.tell(Event::Resource(manager::Event::FoundAgain(registered.containers_from_previous_attempts)));
        let outputs = main.outputs.clone();
        main.files.spawn(async move { Event::OutputsPrepared(outputs.prepare().await) });
        Ok(main)
    }

    /// Runs the job to its end.
    pub async fn run(&mut self) -> End {
        loop {
            if let Some(end) = self.end.take() {
                return end;
            }
            let timer =
                self.driver.next_timer(clock::now()).map_or_else(|| Instant::now() + NO_TIMER, Instant::from_std);
            let event = tokio::select! {
                event = self.front.next() => event,
                event = self.yarn.next() => {
                    self.yarn_event(event);
                    continue;
                }
                Some(done) = self.files.join_next() => match done {
                    Ok(event) => event,
                    Err(error) => {
                        tracing::error!(%error, "work on the job's files ended abnormally");
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
            YarnEvent::AttemptOver(reason) => self.end = Some(End::AttemptOver(reason)),
            YarnEvent::Lost(error) => self.end = Some(End::Lost(error)),
        }
        // Once a heartbeat is enough: a job's details may be long.
        self.yarn.set_progress(self.driver.progress());
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
        let effects = self.driver.handle(clock::now(), event);
        self.carry_out(effects);
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::ToExecutor { id, command } => self.front.executors.send(&id, command),
                Effect::Resource(action) => self.resource_action(action),
                Effect::CommitOutputs { attempt } => {
                    let outputs = self.outputs.clone();
                    self.files.spawn(async move { Event::OutputsCommitted(outputs.commit(attempt).await) });
                }
                Effect::StoreCheckpoint(checkpoint) => {
                    self.files.spawn(self.checkpoints.clone().store(checkpoint));
                }
                Effect::DiscardFiles(paths) => drop(self.files.spawn(self.checkpoints.clone().discard(paths))),
                Effect::DisposeSavepoint { trigger, path } => {
                    self.files.spawn(self.checkpoints.clone().dispose(trigger, path));
                }
                Effect::StepDown(reason) => self.end = Some(End::AttemptOver(reason)),
                Effect::Done { result, cancelled } => {
                    tracing::info!(job = %result.job, status = %result.status, runtime_ms = result.runtime_ms, "job is over");
                    let verdict = ending::verdict(&result, cancelled);
                    self.end = Some(End::Done { result, verdict });
                }
            }
        }
        self.yarn.set_awaiting(self.driver.awaits_yarn());
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
            // The driver keeps these two to itself.
            Action::ReportLost { .. } | Action::GiveUp(_) => {}
        }
    }

    /// What the job writes.
    pub fn outputs(&self) -> Outputs {
        self.outputs.clone()
    }

    /// Tells all TaskExecutors to stop their workers and exit, and waits until they are gone or a limit is reached. REST goes
    /// on answering meanwhile.
    pub async fn stop_executors(&mut self, reason: &str) {
        let Front { executors, requests } = &mut self.front;
        let stopped = executors.shut_down(reason, STOP_LIMIT);
        answering(&mut self.driver, requests, stopped).await;
    }

    /// After the job's end: waits, within limits, until its files are in order and the results of operations have been
    /// fetched. REST goes on answering meanwhile.
    pub async fn settle(&mut self) {
        let Self { driver, front: Front { requests, .. }, files, checkpoints, .. } = self;
        let limit = Instant::now() + SETTLE_LIMIT;
        while !files.is_empty() {
            tokio::select! {
                Some(done) = files.join_next() => {
                    if let Ok(event) = done {
                        drop(driver.handle(clock::now(), event));
                    }
                }
                Some(request) = requests.recv() => drop(driver.handle(clock::now(), Event::Rest(request))),
                () = sleep_until(limit) => {
                    tracing::warn!(limit = ?SETTLE_LIMIT, "files of checkpoints were not removed in time");
                    files.abort_all();
                    break;
                }
            }
        }
        let cleaned = tokio::time::timeout_at(limit, checkpoints.clean_up());
        let _ = answering(driver, requests, cleaned).await;
        let limit = Instant::now() + READER_LIMIT;
        while driver.awaits_reader() {
            tokio::select! {
                Some(request) = requests.recv() => drop(driver.handle(clock::now(), Event::Rest(request))),
                () = sleep_until(limit) => break,
            }
        }
    }

    /// Tells YARN how the job ended, until it has stored it. REST goes on answering meanwhile.
    ///
    /// # Errors
    /// [`AmError`] when YARN could not be told.
    pub async fn finish(self, verdict: &Verdict) -> Result<(), AmError> {
        let Self { mut driver, yarn, front: Front { mut executors, mut requests }, .. } = self;
        tracing::info!(status = ?verdict.status, diagnostics = verdict.diagnostics, "application ends");
        let finish = async {
            let stopped = executors.shut_down("the application is over", STOP_LIMIT);
            tokio::join!(yarn.finish(verdict.status, &verdict.diagnostics, ""), stopped).0
        };
        answering(&mut driver, &mut requests, finish).await
    }
}

/// Waits for `work` and answers REST meanwhile. What else the driver would do is not done any more.
async fn answering<T>(
    driver: &mut JobDriver,
    requests: &mut mpsc::Receiver<RestRequest>,
    work: impl Future<Output = T>,
) -> T {
    let mut work = Box::pin(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            Some(request) = requests.recv() => drop(driver.handle(clock::now(), Event::Rest(request))),
        }
    }
}
