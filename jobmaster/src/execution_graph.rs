//! The states of all subtasks, each in its current execution.

use flumen_model::failure::FailedSubtask;
use flumen_model::ids::{ExecutionAttempt, ExecutorId, SubtaskId, VertexId};
use flumen_model::job_graph::JobGraph;
use flumen_model::status::ExecutionState;
use flumen_wire::control::{SubtaskIo, VertexPlacement};

use crate::details::SubtaskDetails;
use crate::event::Timestamp;
use crate::state::subtask_may_go;

/// Every vertex with its subtasks.
#[derive(Debug)]
pub(crate) struct ExecutionGraph {
    vertices: Vec<ExecutionVertex>,
}

#[derive(Debug)]
struct ExecutionVertex {
    id: VertexId,
    name: String,
    subtasks: Vec<Execution>,
}

/// One execution attempt of one subtask.
#[derive(Debug, Clone)]
pub(crate) struct Execution {
    pub(crate) attempt: ExecutionAttempt,
    pub(crate) state: ExecutionState,
    pub(crate) io: SubtaskIo,
    /// Where it was placed: executor and host.
    location: Option<(ExecutorId, String)>,
    entered: Vec<(ExecutionState, Timestamp)>,
}

impl ExecutionGraph {
    /// All subtasks of a graph, waiting for slots.
    pub(crate) fn new(graph: &JobGraph, attempt: ExecutionAttempt, now: Timestamp) -> Self {
        let vertices = graph
            .vertices
            .iter()
            .map(|vertex| ExecutionVertex {
                id: vertex.id,
                name: vertex.name.clone(),
                subtasks: vec![Execution::new(attempt, now); vertex.parallelism as usize],
            })
            .collect();
        Self { vertices }
    }

    /// Begins the next execution of some subtasks: they wait for slots.
    pub(crate) fn renew(&mut self, ids: &[SubtaskId], attempt: ExecutionAttempt, now: Timestamp) {
        self.each(ids, |_, subtask| *subtask = Execution::new(attempt, now));
    }

    /// Takes over an execution that a former leader began.
    pub(crate) fn adopt(&mut self, id: SubtaskId, execution: Execution) {
        if let Some(subtask) = self.get_mut(id) {
            *subtask = execution;
        }
    }

    /// Puts subtask `k` of every vertex where slot `k` is, for those of `ids`. `slots` has at least as many entries as the
    /// largest vertex has subtasks; those that are needed are not `None`.
    pub(crate) fn assign(&mut self, ids: &[SubtaskId], slots: &[Option<(ExecutorId, String)>]) {
        self.each(ids, |id, subtask| subtask.location = slots.get(id.index as usize).cloned().flatten());
    }

    /// The placement as workers are told it, with `worker_of` giving the worker of each slot.
    pub(crate) fn placement(&self, ids: &[SubtaskId], worker_of: impl Fn(usize) -> u32) -> Vec<VertexPlacement> {
        let place = |vertex: &ExecutionVertex| VertexPlacement {
            vertex: vertex.id,
            worker_of: vec![VertexPlacement::ELSEWHERE; vertex.subtasks.len()],
        };
        let mut placement: Vec<VertexPlacement> = self.vertices.iter().map(place).collect();
        for id in ids {
            let here = placement.iter_mut().find(|p| p.vertex == id.vertex);
            if let Some(worker) = here.and_then(|p| p.worker_of.get_mut(id.index as usize)) {
                *worker = worker_of(id.index as usize);
            }
        }
        placement
    }

    /// A subtask.
    pub(crate) fn get(&self, id: SubtaskId) -> Option<&Execution> {
        self.vertices.iter().find(|vertex| vertex.id == id.vertex)?.subtasks.get(id.index as usize)
    }

    fn get_mut(&mut self, id: SubtaskId) -> Option<&mut Execution> {
        self.vertices.iter_mut().find(|vertex| vertex.id == id.vertex)?.subtasks.get_mut(id.index as usize)
    }

    /// The subtask of that id if it is in that execution and was placed on that executor (JM-5).
    pub(crate) fn on(
        &mut self,
        executor: &ExecutorId,
        attempt: ExecutionAttempt,
        id: SubtaskId,
    ) -> Option<&mut Execution> {
        self.get_mut(id).filter(|subtask| subtask.attempt == attempt && subtask.is_on(executor))
    }

    /// Notes that subtasks were sent to their workers.
    pub(crate) fn deploy(&mut self, ids: &[SubtaskId], now: Timestamp) {
        self.each(ids, |_, subtask| {
            let _ = subtask.go(ExecutionState::Deploying, now);
        });
    }

    /// Cancels subtasks: those that a worker has are CANCELING, the others CANCELED.
    pub(crate) fn cancel(&mut self, ids: &[SubtaskId], now: Timestamp) {
        self.each(ids, |_, subtask| {
            let _ = subtask.go(ExecutionState::Canceling, now)
                || subtask.state == ExecutionState::Scheduled && subtask.go(ExecutionState::Canceled, now);
        });
    }

    /// Ends those of the subtasks that are on an executor and have not ended. True when there was one.
    pub(crate) fn end_on(
        &mut self,
        executor: &ExecutorId,
        ids: &[SubtaskId],
        to: ExecutionState,
        now: Timestamp,
    ) -> bool {
        let mut any = false;
        self.each(ids, |_, subtask| any |= subtask.is_on(executor) && subtask.go(to, now));
        any
    }

    /// Whether some of the subtasks are on an executor and have not ended.
    pub(crate) fn open_on(&self, executor: &ExecutorId, ids: &[SubtaskId]) -> bool {
        let open = |subtask: &Execution| subtask.is_on(executor) && !subtask.state.is_terminal();
        ids.iter().filter_map(|id| self.get(*id)).any(open)
    }

    /// Whether all of the subtasks are in states for which `accept` is true.
    pub(crate) fn are(&self, ids: &[SubtaskId], accept: impl Fn(ExecutionState) -> bool) -> bool {
        ids.iter().filter_map(|id| self.get(*id)).all(|subtask| accept(subtask.state))
    }

    /// Whether all subtasks are in states for which `accept` is true.
    pub(crate) fn all(&self, accept: impl Fn(ExecutionState) -> bool) -> bool {
        self.vertices.iter().flat_map(|vertex| &vertex.subtasks).all(|subtask| accept(subtask.state))
    }

    /// All subtasks with their ids, in the order of the graph.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (SubtaskId, &Execution)> {
        self.vertices.iter().flat_map(|vertex| {
            (0..).zip(&vertex.subtasks).map(|(index, subtask)| (SubtaskId { vertex: vertex.id, index }, subtask))
        })
    }

    /// How a failure names a subtask.
    pub(crate) fn describe(&self, id: SubtaskId) -> Option<FailedSubtask> {
        let vertex = self.vertices.iter().find(|vertex| vertex.id == id.vertex)?;
        Some(FailedSubtask { id, vertex_name: vertex.name.clone(), parallelism: vertex.subtasks.len() as u32 })
    }

    /// What is shown of the subtasks of each vertex, in the order of the graph.
    pub(crate) fn details(&self) -> impl Iterator<Item = Vec<SubtaskDetails>> {
        self.vertices
            .iter()
            .map(|vertex| (0..).zip(&vertex.subtasks).map(|(index, subtask)| subtask.details(index)).collect())
    }

    fn each(&mut self, ids: &[SubtaskId], mut change: impl FnMut(SubtaskId, &mut Execution)) {
        for id in ids {
            if let Some(subtask) = self.get_mut(*id) {
                change(*id, subtask);
            }
        }
    }
}

impl Execution {
    /// CREATED and at once SCHEDULED.
    fn new(attempt: ExecutionAttempt, now: Timestamp) -> Self {
        Self {
            attempt,
            state: ExecutionState::Scheduled,
            io: SubtaskIo::default(),
            location: None,
            entered: vec![(ExecutionState::Created, now), (ExecutionState::Scheduled, now)],
        }
    }

    /// One that is in that state on an executor. When it got there is not known any more.
    pub(crate) fn adopted(
        attempt: ExecutionAttempt,
        location: (ExecutorId, String),
        (state, io): (ExecutionState, SubtaskIo),
        now: Timestamp,
    ) -> Self {
        let mut execution = Self { io, location: Some(location), ..Self::new(attempt, now) };
        for next in [ExecutionState::Deploying, ExecutionState::Running, state] {
            if execution.state != state {
                let _ = execution.go(next, now);
            }
        }
        execution
    }

    /// Where it was placed.
    pub(crate) fn executor(&self) -> Option<&ExecutorId> {
        self.location.as_ref().map(|(id, _)| id)
    }

    /// Moves to a state if that is legal; false, and nothing changes, if it is not.
    pub(crate) fn go(&mut self, to: ExecutionState, now: Timestamp) -> bool {
        let legal = subtask_may_go(self.state, to);
        if legal {
            self.state = to;
            self.entered.push((to, now));
        }
        legal
    }

    fn is_on(&self, executor: &ExecutorId) -> bool {
        self.location.as_ref().is_some_and(|(id, _)| id == executor)
    }

    fn details(&self, index: u32) -> SubtaskDetails {
        let when = |wanted: fn(ExecutionState) -> bool| {
            self.entered.iter().find(|(state, _)| wanted(*state)).map(|(_, at)| *at)
        };
        SubtaskDetails {
            index,
            state: self.state,
            attempt: self.attempt,
            executor: self.location.as_ref().map(|(id, _)| id.clone()),
            host: self.location.as_ref().map(|(_, host)| host.clone()),
            entered: self.entered.clone(),
            start: when(|state| state == ExecutionState::Deploying),
            end: when(ExecutionState::is_terminal),
            io: self.io,
        }
    }
}
