//! From "who runs what" to wired subtasks: gates, channels, credits, connections.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use flumen_model::checkpoint::SubtaskRestore;
use flumen_model::ids::{SubtaskId, VertexId};
use flumen_model::job_graph::{JobEdge, JobGraph};
use flumen_wire::control::{Deployment, FromWorker, VertexPlacement};
use flumen_wire::data::ChannelId;
use tokio::sync::mpsc;

use crate::exchange::channels::{ChannelTarget, Channels, OutputChannel};
use crate::exchange::connection::{Hello, InboundChannel, Outbound};
use crate::exchange::credit::Credit;
use crate::exchange::gate::{ChannelOrigin, CreditReturn, Gate, RemoteGate};
use crate::exchange::network::Network;
use crate::operator::{Data, TaskResult};
use crate::subtask::{SubtaskContext, SubtaskHandle, WorkerContext};
use crate::task::SubtaskBody;

/// A gate without the type of its records.
#[derive(Clone)]
pub struct AnyGate {
    typed: Arc<dyn Any + Send + Sync>,
    remote: Arc<dyn RemoteGate>,
}

impl AnyGate {
    /// Forgets the type.
    pub fn of<T: Data>(gate: Gate<T>) -> Self {
        let gate = Arc::new(gate);
        Self { typed: Arc::clone(&gate) as _, remote: gate }
    }

    /// Remembers the type.
    ///
    /// # Panics
    /// When it is another one: both ends of an edge were made from one typed stream.
    pub fn typed<T: Data>(&self) -> Arc<Gate<T>> {
        Arc::clone(&self.typed).downcast().expect("both ends of an edge have the type of its stream")
    }
}

/// The channels of an output with the type of its records.
pub fn typed_channels<T: Data>(channels: Vec<OutputChannel<AnyGate>>, context: &SubtaskContext) -> Channels<T> {
    let typed = |output: OutputChannel<AnyGate>| OutputChannel::<Arc<Gate<T>>> {
        edge: output.edge,
        subtask: output.subtask,
        target: match output.target {
            ChannelTarget::Local { gate, channel } => ChannelTarget::Local { gate: gate.typed(), channel },
            ChannelTarget::Remote { connection, channel } => ChannelTarget::Remote { connection, channel },
        },
        credit: output.credit,
    };
    Channels::new(channels.into_iter().map(typed).collect(), context)
}

/// Makes the subtasks of one vertex. Implemented by the typed API, which alone knows the records' types.
pub trait VertexFactory: Send + Sync {
    /// An input gate, `None` for a vertex that begins with a source.
    fn gate(&self, origins: &[ChannelOrigin], credit: u32, receiver: Arc<SubtaskHandle>) -> Option<AnyGate>;

    /// A subtask, wired to its channels: `outputs[k]` are the channels of the vertex's `k`-th output. Called in the
    /// subtask's own thread, so it may wait for I/O.
    fn subtask(
        &self,
        context: SubtaskContext,
        gate: Option<AnyGate>,
        outputs: Vec<Vec<OutputChannel<AnyGate>>>,
    ) -> TaskResult<SubtaskBody>;
}

/// A program that can run: its graph and what makes its vertices.
pub struct Program {
    /// The graph.
    pub graph: JobGraph,
    /// By vertex of the graph.
    pub vertices: HashMap<VertexId, Arc<dyn VertexFactory>>,
}

/// A subtask that waits to be started.
pub struct Wired {
    /// Makes its body.
    pub factory: Arc<dyn VertexFactory>,
    /// What it will know of itself.
    pub context: SubtaskContext,
    /// Its input.
    pub gate: Option<AnyGate>,
    /// Its outputs.
    pub outputs: Vec<Vec<OutputChannel<AnyGate>>>,
    /// The checkpoint's pieces that it starts with.
    pub restore: Option<SubtaskRestore>,
}

/// The part of a deployment that runs in one worker.
pub struct Prepared {
    /// Its subtasks.
    pub subtasks: Vec<Wired>,
    /// Connections to make when it starts.
    pub connections: Vec<Outbound>,
}

/// A deployment that makes no sense: a mistake of the JobMaster.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadDeployment {
    /// A vertex of the graph has no or another number of places.
    #[error("vertex `{vertex}` needs {needed} places and was given {given}")]
    Places {
        /// The vertex's name.
        vertex: String,
        /// Its parallelism.
        needed: u32,
        /// Places in the deployment.
        given: usize,
    },
    /// A place is no worker of the list.
    #[error("a subtask of `{vertex}` was placed on worker {worker} of {workers}")]
    Worker {
        /// The vertex's name.
        vertex: String,
        /// The index.
        worker: u32,
        /// How many there are.
        workers: usize,
    },
    /// A channel leads to another process, and this one has no network.
    #[error("an embedded job was deployed to several workers")]
    NoNetwork,
}

struct Wiring<'a> {
    graph: &'a JobGraph,
    deployment: &'a Deployment,
    places: HashMap<VertexId, &'a [u32]>,
}

impl<'a> Wiring<'a> {
    fn check(graph: &'a JobGraph, deployment: &'a Deployment) -> Result<Self, BadDeployment> {
        let places: HashMap<VertexId, &[u32]> =
            deployment.placement.iter().map(|p| (p.vertex, p.worker_of.as_slice())).collect();
        let workers = deployment.workers.len();
        for vertex in &graph.vertices {
            let given = places.get(&vertex.id).map_or(0, |p| p.len());
            if given != vertex.parallelism as usize {
                return Err(BadDeployment::Places { vertex: vertex.name.clone(), needed: vertex.parallelism, given });
            }
            let no_worker = |worker: &&u32| **worker as usize >= workers && **worker != VertexPlacement::ELSEWHERE;
            if let Some(&worker) = places[&vertex.id].iter().find(no_worker) {
                return Err(BadDeployment::Worker { vertex: vertex.name.clone(), worker, workers });
            }
        }
        Ok(Self { graph, deployment, places })
    }

    fn worker_of(&self, vertex: VertexId, index: u32) -> u32 {
        self.places[&vertex][index as usize]
    }

    fn parallelism(&self, vertex: VertexId) -> u32 {
        self.places[&vertex].len() as u32
    }

    /// The channels into a subtask in the order of its gate: by edge, then by source subtask.
    fn inputs(&self, subtask: SubtaskId) -> impl Iterator<Item = (usize, &'a JobEdge, u32)> + '_ {
        let edges = self.graph.edges.iter().enumerate().filter(move |(_, edge)| edge.target == subtask.vertex);
        edges.flat_map(move |(number, edge)| {
            let targets = self.parallelism(edge.target);
            let sends = move |source: &u32| edge.partitioner.targets(*source, targets).contains(&subtask.index);
            let here = move |source: &u32| self.worker_of(edge.source, *source) != VertexPlacement::ELSEWHERE;
            let sources = (0..self.parallelism(edge.source)).filter(sends).filter(here);
            sources.map(move |source| (number, edge, source))
        })
    }

    fn own_subtasks(&self) -> impl Iterator<Item = SubtaskId> + '_ {
        let me = self.deployment.me;
        self.graph.vertices.iter().flat_map(move |vertex| {
            (0..vertex.parallelism)
                .map(|index| SubtaskId { vertex: vertex.id, index })
                .filter(move |subtask| self.worker_of(subtask.vertex, subtask.index) == me)
        })
    }

    fn channel(&self, edge: usize, source: u32, target: u32) -> ChannelId {
        ChannelId { attempt: self.deployment.attempt, edge: edge as u32, source, target }
    }
}

/// Watermarks, barriers and ends of one channel that may wait in a connection's queue besides those between its buffers.
const CONTROLS_AHEAD: usize = 4;

/// A connection that is being planned.
struct Planned {
    sender: mpsc::Sender<Bytes>,
    frames: mpsc::Receiver<Bytes>,
    credits: HashMap<ChannelId, Arc<Credit>>,
}

/// Wires this worker's subtasks of a deployment. Channels from other workers are announced to the network, so that their
/// connections can come as soon as the deployment starts.
///
/// # Errors
/// [`BadDeployment`].
pub fn prepare(
    program: &Program,
    deployment: &Deployment,
    worker: &WorkerContext,
    network: Option<(&Network, flumen_model::ids::JobId)>,
    credit: u32,
    reports: &mpsc::Sender<FromWorker>,
) -> Result<Prepared, BadDeployment> {
    let graph = &program.graph;
    let wiring = Wiring::check(graph, deployment)?;
    let me = deployment.me;

    let handles: HashMap<SubtaskId, Arc<SubtaskHandle>> =
        wiring.own_subtasks().map(|subtask| (subtask, Arc::default())).collect();
    let mut gates = HashMap::new();
    // Where each local channel ends: by edge, source and target.
    let mut ends: HashMap<ChannelId, (AnyGate, u32)> = HashMap::new();
    for subtask in wiring.own_subtasks() {
        let inputs: Vec<_> = wiring.inputs(subtask).collect();
        let handle = Arc::clone(&handles[&subtask]);
        let origin = |(edge, _, source): &(usize, &JobEdge, u32)| ChannelOrigin { edge: *edge as u32, source: *source };
        let origins: Vec<_> = inputs.iter().map(origin).collect();
        let Some(gate) = program.vertices[&subtask.vertex].gate(&origins, credit, handle) else { continue };
        for (index, (edge_number, edge, source)) in inputs.into_iter().enumerate() {
            let id = wiring.channel(edge_number, source, subtask.index);
            let from = wiring.worker_of(edge.source, source);
            if from == me {
                ends.insert(id, (gate.clone(), index as u32));
            } else {
                let (network, _) = network.ok_or(BadDeployment::NoNetwork)?;
                let channel = InboundChannel { gate: Arc::clone(&gate.remote), index: index as u32 };
                network.expect(deployment.region, from, id, channel, credit);
            }
        }
        gates.insert(subtask, gate);
    }

    // A connection's queue holds the credit of all its channels and a control before and behind each buffer, so that a
    // sender hardly ever waits for it.
    let mut queue = HashMap::<u32, usize>::new();
    let outputs = |subtask: SubtaskId| {
        let edges = graph.edges.iter().enumerate().filter(move |(_, edge)| edge.source == subtask.vertex);
        edges.map(move |(number, edge)| (number, edge, subtask.index))
    };
    for (_, edge, source) in wiring.own_subtasks().flat_map(outputs) {
        for target in edge.partitioner.targets(source, wiring.parallelism(edge.target)) {
            *queue.entry(wiring.worker_of(edge.target, target)).or_default() += 2 * credit as usize + CONTROLS_AHEAD;
        }
    }
    queue.remove(&me);
    let planned = |(to, room)| {
        let (sender, frames) = mpsc::channel(room);
        (to, Planned { sender, frames, credits: HashMap::new() })
    };
    let mut planned: HashMap<u32, Planned> = queue.into_iter().map(planned).collect();

    let mut subtasks = Vec::new();
    for subtask in wiring.own_subtasks() {
        let handle = &handles[&subtask];
        let mut channels_of_outputs = Vec::new();
        for (number, edge, source) in outputs(subtask) {
            let mut channels = Vec::new();
            for target in edge.partitioner.targets(source, wiring.parallelism(edge.target)) {
                let id = wiring.channel(number, source, target);
                let channel_credit = Arc::new(Credit::new(credit, Arc::clone(handle)));
                let receiver = target;
                let target = match planned.get_mut(&wiring.worker_of(edge.target, target)) {
                    Some(connection) => {
                        connection.credits.insert(id, Arc::clone(&channel_credit));
                        ChannelTarget::Remote { connection: connection.sender.clone(), channel: id }
                    }
                    None => {
                        let (gate, channel) = ends.remove(&id).ok_or(BadDeployment::NoNetwork)?;
                        gate.remote.connect(channel, CreditReturn::Local(Arc::clone(&channel_credit)));
                        ChannelTarget::Local { gate, channel }
                    }
                };
                let edge = number as u32;
                channels.push(OutputChannel { edge, subtask: receiver, target, credit: channel_credit });
            }
            channels_of_outputs.push(channels);
        }
        let vertex = graph.vertex(subtask.vertex).expect("own subtasks come from the graph");
        let attempt = deployment.attempt;
        subtasks.push(Wired {
            factory: Arc::clone(&program.vertices[&subtask.vertex]),
            context: SubtaskContext {
                vertex_name: vertex.name.as_str().into(),
                max_parallelism: vertex.max_parallelism,
                handle: Arc::clone(handle),
                ..SubtaskContext::new(subtask, attempt, vertex.parallelism, reports.clone(), worker.clone())
            },
            gate: gates.remove(&subtask),
            outputs: channels_of_outputs,
            restore: deployment.restore.iter().find(|restore| restore.subtask == subtask).cloned(),
        });
    }

    let mut connections = Vec::new();
    for (to, connection) in planned {
        let (network, job) = network.ok_or(BadDeployment::NoNetwork)?;
        connections.push(Outbound {
            hello: Hello { job, region: deployment.region, attempt: deployment.attempt, sender: me },
            peer: deployment.workers[to as usize].clone(),
            host: network.host().to_owned(),
            tls: network.tls().clone(),
            frames: connection.frames,
            credits: connection.credits,
        });
    }
    Ok(Prepared { subtasks, connections })
}
