//! Workers and the network between them.

use std::collections::BTreeMap;

use flumen_model::config::Configuration;
use flumen_model::failure::{Blame, Failure};
use flumen_model::ids::{ExecutionAttempt, ExecutorId, SubtaskId};
use flumen_model::job_graph::{JobGraph, RuntimeMode};
use flumen_model::status::ExecutionState;
use flumen_wire::application::Program;
use flumen_wire::control::{Deployment, FromWorker, StartWorker, ToWorker, VertexPlacement, WorkerAddress};
use flumen_wire::report::WorkerReport;

use super::plan::SOURCE;
use super::task::{Element, Out, Task};
use super::{CALM, Happening, JOB, Place, Sim, Worker, Written};

fn starting(instance: u32, slots: u32) -> WorkerReport {
    let graph = JobGraph {
        name: String::new(),
        mode: RuntimeMode::Streaming,
        vertices: vec![],
        edges: vec![],
        outputs: vec![],
        properties: BTreeMap::new(),
    };
    let (program, arguments, configuration) = (Program::localized("p"), vec![], Configuration::new());
    WorkerReport::starting(&StartWorker { job: JOB, instance, program, arguments, graph, configuration, slots })
}

impl Sim {
    pub(super) fn start_worker(&mut self, epoch: u64, executor: ExecutorId, instance: u32) {
        let place = (executor, instance);
        if !self.executors.contains(&place.0) || !self.is_obeyed(epoch, &place.0) {
            return;
        }
        let former = self.reports.keys().filter(|(executor, _)| *executor == place.0).cloned().max();
        if let Some(former) = former {
            assert!(former.1 < instance, "instance {instance} comes after {} on {}", former.1, place.0);
            self.kill(&former);
        }
        self.reports.retain(|(executor, _), _| *executor != place.0);
        self.reports.insert(place.clone(), starting(instance, self.plan.slots));
        self.workers.insert(place.clone(), Worker { tasks: Default::default() });
        let address = WorkerAddress { host: format!("{}/{instance}", place.0), port: 1, socket: None };
        self.report(&place, FromWorker::Ready { address, pid: 1 });
    }

    pub(super) fn stop_worker(&mut self, epoch: u64, executor: ExecutorId, instance: u32) {
        if self.is_obeyed(epoch, &executor) {
            let place = (executor, instance);
            self.kill(&place);
            self.reports.remove(&place);
        }
    }

    /// The worker is no more. Its peers see broken connections.
    pub(super) fn kill(&mut self, place: &Place) {
        let Some(dead) = self.workers.remove(place) else { return };
        let mut broken = Vec::new();
        for (peer, worker) in &self.workers {
            for task in worker.tasks.values().filter(|task| task.running) {
                let gone = dead.tasks.values().filter(|gone| gone.attempt == task.attempt);
                let cut = gone.into_iter().any(|gone| {
                    gone.outputs().contains(&task.id) && !task.is_closed_by(gone.id)
                        || gone.running && task.outputs().contains(&gone.id)
                });
                if cut {
                    broken.push((peer.clone(), task.attempt, task.id));
                }
            }
        }
        for (peer, attempt, id) in broken {
            let at = self.now + self.random.between(0, 40);
            self.at(at, Happening::Broken(peer, attempt, id, Blame::Peer));
        }
    }

    pub(super) fn broken(&mut self, place: &Place, attempt: ExecutionAttempt, id: SubtaskId, blame: Blame) {
        let Some(worker) = self.workers.get_mut(place) else { return };
        let fails = worker.tasks.get(&id).is_some_and(|task| task.attempt == attempt && task.running);
        if fails {
            worker.tasks.remove(&id);
            let failure = Failure::new(blame, "broken");
            self.report_state(place, attempt, id, (ExecutionState::Failed, Some(failure)));
        }
    }

    pub(super) fn obey(&mut self, place: &Place, message: ToWorker) {
        if !self.workers.contains_key(place) {
            return;
        }
        match message {
            ToWorker::Deploy(deployment) => self.deploy(place, &deployment),
            ToWorker::Start { region: _, attempt } => self.start(place, attempt),
            ToWorker::Cancel { region, attempt } => self.cancel(place, region, attempt),
            ToWorker::Split { attempt, subtask, split } => {
                self.with(place, attempt, subtask, |task, out| task.split(split.as_deref(), out));
            }
            ToWorker::Drain { attempt, subtasks } => {
                for id in subtasks {
                    self.with(place, attempt, id, |task, out| task.drain(out));
                }
            }
            ToWorker::TriggerCheckpoint { attempt, subtasks, barrier } => {
                for id in subtasks {
                    self.with(place, attempt, id, |task, out| task.trigger(barrier.clone(), out));
                }
            }
            ToWorker::CheckpointCompleted { attempt, checkpoint } => {
                self.with_all(place, attempt, |task, out| task.completed(checkpoint, out));
            }
            // Tasks of the simulation have no watermarks.
            ToWorker::GroupWatermark { .. } => {}
            ToWorker::CheckpointAborted { attempt, checkpoint } => {
                self.with_all(place, attempt, |task, out| task.aborted(checkpoint, out));
            }
        }
    }

    fn deploy(&mut self, place: &Place, deployment: &Deployment) {
        if self.leader_of(&place.0) != Some(self.epoch_to_come()) && !self.is_whole(deployment) {
            // A former leader goes back to what the new one has removed.
            let (region, attempt) = (deployment.region, deployment.attempt);
            for restore in &deployment.restore {
                let failure = Failure::new(Blame::Outside, "its state is gone");
                self.report_state(place, attempt, restore.subtask, (ExecutionState::Failed, Some(failure)));
            }
            return self.report(place, FromWorker::Deployed { region, attempt });
        }
        let worker_of = |id: SubtaskId| {
            let vertex = deployment.placement.iter().find(|placement| placement.vertex == id.vertex)?;
            vertex.worker_of.get(id.index as usize).copied().filter(|worker| *worker != VertexPlacement::ELSEWHERE)
        };
        let mut commits = Vec::new();
        for vertex in self.graph.vertices.clone() {
            for index in 0..vertex.parallelism {
                let id = SubtaskId { vertex: vertex.id, index };
                if worker_of(id) != Some(deployment.me) {
                    continue;
                }
                let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
                for edge in &self.graph.edges {
                    let parallelism = |vertex| self.graph.vertex(vertex).map_or(0, |v| v.parallelism);
                    if edge.source == vertex.id {
                        let targets = edge.partitioner.targets(index, parallelism(edge.target));
                        outputs.extend(targets.map(|index| SubtaskId { vertex: edge.target, index }));
                    }
                    if edge.target == vertex.id {
                        let sends =
                            |sender: &u32| edge.partitioner.targets(*sender, vertex.parallelism).contains(&index);
                        let senders = (0..parallelism(edge.source)).filter(sends);
                        inputs.extend(senders.map(|index| SubtaskId { vertex: edge.source, index }));
                    }
                }
                let mut task = Task::new((id, deployment.attempt, vertex.parallelism, self.life), inputs, outputs);
                if let Some(restore) = deployment.restore.iter().find(|restore| restore.subtask == id) {
                    let files = &self.files;
                    let read = |path: &str| {
                        files
                            .get(path)
                            .cloned()
                            .unwrap_or_else(|| panic!("CC-4: {path} is gone, and needed for a restore"))
                    };
                    task.restore(restore, read, &mut commits);
                }
                if let Some(worker) = self.workers.get_mut(place) {
                    worker.tasks.insert(id, task);
                }
            }
        }
        self.do_all(place, deployment.attempt, SubtaskId { vertex: SOURCE, index: 0 }, commits);
        let (region, attempt) = (deployment.region, deployment.attempt);
        self.report(place, FromWorker::Deployed { region, attempt });
    }

    fn start(&mut self, place: &Place, attempt: ExecutionAttempt) {
        let slow = self.plan.slow;
        let Some(worker) = self.workers.get_mut(place) else { return };
        let waiting = worker.tasks.values_mut().filter(|task| task.attempt == attempt && task.waits());
        let ids: Vec<SubtaskId> = waiting
            .map(|task| {
                task.start(slow);
                task.id
            })
            .collect();
        for id in ids {
            self.report_state(place, attempt, id, (ExecutionState::Running, None));
            if id.vertex == SOURCE || slow {
                self.at(self.now, Happening::Work(place.clone(), attempt, id));
            }
            let mut resent = 0;
            self.with(place, attempt, id, |task, out| {
                task.resend(out);
                resent = out.len() as u64;
                task.pump(out);
            });
            self.resent += resent;
        }
    }

    fn cancel(&mut self, place: &Place, region: u32, attempt: ExecutionAttempt) {
        let members: Vec<SubtaskId> = self.members(region);
        let Some(worker) = self.workers.get_mut(place) else { return };
        let gone = |id: &SubtaskId, task: &mut Task| members.contains(id) && task.attempt <= attempt;
        let gone: Vec<(SubtaskId, Task)> = worker.tasks.extract_if(.., gone).collect();
        for (id, task) in gone {
            if task.running || task.waits() {
                self.report_state(place, task.attempt, id, (ExecutionState::Canceled, None));
            }
        }
    }

    /// The subtasks of a region, as the JobMaster numbers them: one region, or one for each index.
    fn members(&self, region: u32) -> Vec<SubtaskId> {
        let full = self.plan.options.iter().any(|(_, value)| value == "full");
        let all = self
            .graph
            .vertices
            .iter()
            .flat_map(|vertex| (0..vertex.parallelism).map(move |index| SubtaskId { vertex: vertex.id, index }));
        all.filter(|id| self.plan.keyed || full || id.index == region).collect()
    }

    pub(super) fn work(&mut self, place: &Place, attempt: ExecutionAttempt, id: SubtaskId) {
        let (keys, keyed, now) = (self.plan.keys, self.plan.keyed, self.now);
        // In calm times nobody is so slow that no checkpoint ever completes.
        let count = if now < CALM { self.random.between(1, 4) as usize } else { usize::MAX };
        let does = |task: &mut Task, out: &mut Vec<Out>| {
            task.work(keys, keyed, out);
            task.work_on(count, now, out);
            task.hand_over(count, out);
        };
        if self.with(place, attempt, id, does) {
            let at = self.now + self.random.between(1, 15);
            self.at(at, Happening::Work(place.clone(), attempt, id));
        }
    }

    pub(super) fn deliver(
        &mut self,
        from: (Place, SubtaskId),
        to: SubtaskId,
        attempt: ExecutionAttempt,
        element: Element,
    ) {
        // What a dead worker had sent is lost with its connections.
        let sent = self.workers.get(&from.0).is_some_and(|worker| worker.tasks.contains_key(&from.1));
        let here = |worker: &Worker| worker.tasks.get(&to).is_some_and(|task| task.attempt == attempt);
        let place = self.workers.iter().find(|(_, worker)| here(worker)).map(|(place, _)| place.clone());
        if let Some(place) = place.filter(|_| sent) {
            self.with(&place, attempt, to, |task, out| task.receive(from.1, element, out));
        }
    }

    pub(super) fn written(&mut self, place: &Place, attempt: ExecutionAttempt, id: SubtaskId, written: Written) {
        if !self.workers.contains_key(place) {
            return;
        }
        self.files.extend(written.files);
        let checkpoint = written.barrier.checkpoint;
        let (snapshot, times) = (Box::new(written.snapshot), Default::default());
        self.report(place, FromWorker::CheckpointAck { attempt, subtask: id, checkpoint, snapshot, times });
    }

    /// Lets a subtask of an execution do something; false when it is not there.
    fn with(
        &mut self,
        place: &Place,
        attempt: ExecutionAttempt,
        id: SubtaskId,
        does: impl FnOnce(&mut Task, &mut Vec<Out>),
    ) -> bool {
        let task = self.workers.get_mut(place).and_then(|worker| worker.tasks.get_mut(&id));
        let Some(task) = task.filter(|task| task.attempt == attempt) else { return false };
        let mut out = Vec::new();
        does(task, &mut out);
        self.do_all(place, attempt, id, out);
        true
    }

    fn with_all(&mut self, place: &Place, attempt: ExecutionAttempt, does: impl Fn(&mut Task, &mut Vec<Out>)) {
        let ids: Vec<SubtaskId> =
            self.workers.get(place).map(|worker| worker.tasks.keys().copied().collect()).unwrap_or_default();
        for id in ids {
            self.with(place, attempt, id, &does);
        }
    }

    fn do_all(&mut self, place: &Place, attempt: ExecutionAttempt, id: SubtaskId, outs: Vec<Out>) {
        for out in outs {
            match out {
                Out::Send(to, element) => {
                    let from = (place.clone(), id);
                    let connection = format!("{attempt} {id} {to}");
                    self.send(connection, Happening::Deliver { from, to, attempt, element });
                }
                Out::RequestSplit => self.report(place, FromWorker::RequestSplit { attempt, subtask: id }),
                Out::EndOfData => self.report(place, FromWorker::EndOfData { attempt, subtask: id }),
                Out::Snapshot(barrier, snapshot, files) => {
                    let at = self.now + self.random.between(0, 3 * self.plan.latency);
                    let written = Box::new(Written { barrier, snapshot, files });
                    self.at(at, Happening::Written(place.clone(), attempt, id, written));
                }
                Out::Decline(checkpoint) => {
                    let failure = Failure::new(Blame::Flumen, "a newer barrier came");
                    self.report(place, FromWorker::CheckpointDeclined { attempt, subtask: id, checkpoint, failure });
                }
                Out::Commit(name, records) => {
                    self.check_commit(&name);
                    let known = self.committed.entry(name.clone()).or_insert_with(|| records.clone());
                    assert_eq!(*known, records, "transaction {name} is committed twice with different records");
                }
                Out::Finished => self.report_state(place, attempt, id, (ExecutionState::Finished, None)),
            }
        }
    }
}
