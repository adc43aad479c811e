//! The states of all subtasks of the current attempt.

use flumen_model::failure::FailedSubtask;
use flumen_model::ids::{ExecutionAttempt, ExecutorId, SubtaskId, VertexId};
use flumen_model::job_graph::JobGraph;
use flumen_model::status::ExecutionState;
use flumen_wire::control::{SubtaskIo, VertexPlacement};

use crate::details::SubtaskDetails;
use crate::event::Timestamp;
use crate::state::subtask_may_go;

/// One attempt of a job: every vertex with its subtasks.
#[derive(Debug)]
pub(crate) struct ExecutionGraph {
    pub(crate) attempt: ExecutionAttempt,
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
    pub(crate) state: ExecutionState,
    pub(crate) io: SubtaskIo,
    /// Where it was placed: executor and host.
    location: Option<(ExecutorId, String)>,
    entered: Vec<(ExecutionState, Timestamp)>,
}

impl ExecutionGraph {
    /// All subtasks of a graph, CREATED and at once SCHEDULED: they wait for slots.
    pub(crate) fn new(graph: &JobGraph, attempt: ExecutionAttempt, now: Timestamp) -> Self {
        let scheduled = Execution {
            state: ExecutionState::Scheduled,
            io: SubtaskIo::default(),
            location: None,
            entered: vec![(ExecutionState::Created, now), (ExecutionState::Scheduled, now)],
        };
        let vertices = graph
            .vertices
            .iter()
            .map(|vertex| ExecutionVertex {
                id: vertex.id,
                name: vertex.name.clone(),
                subtasks: vec![scheduled.clone(); vertex.parallelism as usize],
            })
            .collect();
        Self { attempt, vertices }
    }

    /// Puts subtask `k` of every vertex where slot `k` is. `slots` has at least as many entries as the largest vertex
    /// has subtasks.
    pub(crate) fn assign(&mut self, slots: &[(ExecutorId, String)]) {
        for vertex in &mut self.vertices {
            for (subtask, slot) in vertex.subtasks.iter_mut().zip(slots) {
                subtask.location = Some(slot.clone());
            }
        }
    }

    /// The placement as workers are told it, with `worker_of` giving the worker of each slot.
    pub(crate) fn placement(&self, worker_of: &[u32]) -> Vec<VertexPlacement> {
        self.vertices
            .iter()
            .map(|vertex| VertexPlacement {
                vertex: vertex.id,
                worker_of: worker_of.iter().take(vertex.subtasks.len()).copied().collect(),
            })
            .collect()
    }

    /// The subtask of that id if it was placed on that executor.
    pub(crate) fn on(&mut self, executor: &ExecutorId, id: SubtaskId) -> Option<&mut Execution> {
        let vertex = self.vertices.iter_mut().find(|vertex| vertex.id == id.vertex)?;
        vertex.subtasks.get_mut(id.index as usize).filter(|subtask| subtask.is_on(executor))
    }

    /// Notes that all subtasks were sent to their workers.
    pub(crate) fn deploy_all(&mut self, now: Timestamp) {
        for subtask in self.vertices.iter_mut().flat_map(|vertex| &mut vertex.subtasks) {
            subtask.go(ExecutionState::Deploying, now);
        }
    }

    /// Cancels all subtasks: those that a worker has are CANCELING, the others CANCELED.
    pub(crate) fn cancel_all(&mut self, now: Timestamp) {
        for subtask in self.vertices.iter_mut().flat_map(|vertex| &mut vertex.subtasks) {
            let _ = subtask.go(ExecutionState::Canceling, now)
                || subtask.state == ExecutionState::Scheduled && subtask.go(ExecutionState::Canceled, now);
        }
    }

    /// Ends all subtasks on an executor that have not ended. True when there was one.
    pub(crate) fn end_on(&mut self, executor: &ExecutorId, to: ExecutionState, now: Timestamp) -> bool {
        let mut any = false;
        for subtask in self.vertices.iter_mut().flat_map(|vertex| &mut vertex.subtasks) {
            any |= subtask.is_on(executor) && subtask.go(to, now);
        }
        any
    }

    /// Whether an executor has a subtask that has not ended.
    pub(crate) fn open_on(&self, executor: &ExecutorId) -> bool {
        self.subtasks().any(|subtask| subtask.is_on(executor) && !subtask.state.is_terminal())
    }

    /// Whether all subtasks are in states for which `accept` is true.
    pub(crate) fn all(&self, accept: impl Fn(ExecutionState) -> bool) -> bool {
        self.subtasks().all(|subtask| accept(subtask.state))
    }

    /// How a failure names a subtask.
    pub(crate) fn describe(&self, id: SubtaskId) -> Option<FailedSubtask> {
        let vertex = self.vertices.iter().find(|vertex| vertex.id == id.vertex)?;
        Some(FailedSubtask { id, vertex_name: vertex.name.clone(), parallelism: vertex.subtasks.len() as u32 })
    }

    /// What is shown of the subtasks of each vertex, in the order of the graph.
    pub(crate) fn details(&self) -> impl Iterator<Item = Vec<SubtaskDetails>> {
        self.vertices.iter().map(|vertex| {
            (0..).zip(&vertex.subtasks).map(|(index, subtask)| subtask.details(index, self.attempt)).collect()
        })
    }

    fn subtasks(&self) -> impl Iterator<Item = &Execution> {
        self.vertices.iter().flat_map(|vertex| &vertex.subtasks)
    }
}

impl Execution {
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

    fn details(&self, index: u32, attempt: ExecutionAttempt) -> SubtaskDetails {
        let when = |wanted: fn(ExecutionState) -> bool| {
            self.entered.iter().find(|(state, _)| wanted(*state)).map(|(_, at)| *at)
        };
        SubtaskDetails {
            index,
            state: self.state,
            attempt,
            executor: self.location.as_ref().map(|(id, _)| id.clone()),
            host: self.location.as_ref().map(|(_, host)| host.clone()),
            entered: self.entered.clone(),
            start: when(|state| state == ExecutionState::Deploying),
            end: when(ExecutionState::is_terminal),
            io: self.io,
        }
    }
}
