//! Streams: what operators are applied to.

use std::marker::PhantomData;

use flumen_model::job_graph::Partitioner;
use flumen_worker::keyed::{BorrowedKey, Key, KeySelector, OwnedKey};
use flumen_worker::operator::Data;

use crate::environment::StreamExecutionEnvironment;
use crate::graph::node::{Chaining, Input, Keeps, MAIN, MakeOperator, Node, NodeId, Partition, Work};
use crate::graph::records::RecordsOf;
use crate::keyed::KeyedStream;

/// A stream of records of type `T`, as Flink's `DataStream`.
///
/// Every method takes the stream and returns the next one; clone a stream to use it more than once: each use then gets
/// every record.
pub struct DataStream<T> {
    pub(crate) env: StreamExecutionEnvironment,
    pub(crate) inputs: Vec<Input>,
    records: PhantomData<fn() -> T>,
}

impl<T> Clone for DataStream<T> {
    fn clone(&self) -> Self {
        Self { env: self.env.clone(), inputs: self.inputs.clone(), records: PhantomData }
    }
}

impl<T: Data> DataStream<T> {
    /// The output of a node.
    pub(crate) fn of(env: StreamExecutionEnvironment, node: NodeId) -> Self {
        Self::from_inputs(env, vec![Input::of(node)])
    }

    pub(crate) fn from_inputs(env: StreamExecutionEnvironment, inputs: Vec<Input>) -> Self {
        Self { env, inputs, records: PhantomData }
    }

    /// Adds an operator that takes this stream and keeps nothing.
    pub(crate) fn operator<U: Data>(self, name: &str, make: MakeOperator) -> DataStream<U> {
        self.stateful(name, Keeps::Nothing, make)
    }

    /// Adds an operator that takes this stream.
    pub(crate) fn stateful<U: Data>(self, name: &str, keeps: Keeps, make: MakeOperator) -> DataStream<U> {
        let mut node = self.node::<U>(name, make);
        node.keeps = keeps;
        let id = self.env.add(node);
        DataStream::of(self.env, id)
    }

    /// Adds an operator that takes this stream and may emit into side outputs.
    pub(crate) fn with_sides<U: Data>(self, name: &str, keeps: Keeps, make: MakeOperator) -> DataStream<U> {
        let mut node = self.node::<U>(name, make);
        node.keeps = keeps;
        node.has_sides = true;
        let id = self.env.add(node);
        DataStream::of(self.env, id)
    }

    pub(crate) fn node<U: Data>(&self, name: &str, make: MakeOperator) -> Node {
        let work = Work::Operator { records: RecordsOf::<T>::shared(), make };
        Node::new(name, self.inputs.clone(), work, RecordsOf::<U>::shared())
    }

    fn partitioned(mut self, partition: Partition) -> Self {
        for input in &mut self.inputs {
            input.partition = partition.clone();
        }
        self
    }

    /// All records of this stream and of another one, in no particular order between the two.
    pub fn union(mut self, other: DataStream<T>) -> Self {
        self.inputs.extend(other.inputs);
        self
    }

    /// Sends the records to the subtasks of the next operator in turn.
    pub fn rebalance(self) -> Self {
        self.partitioned(Partition::Explicit(Partitioner::Rebalance))
    }

    /// Sends each record to a subtask of the next operator that is chosen at random.
    pub fn shuffle(self) -> Self {
        self.partitioned(Partition::Explicit(Partitioner::Shuffle))
    }

    /// Sends each record to all subtasks of the next operator.
    pub fn broadcast(self) -> Self {
        self.partitioned(Partition::Explicit(Partitioner::Broadcast))
    }

    /// Sends the records of subtask `i` to subtask `i` of the next operator, which must have the same parallelism.
    pub fn forward(self) -> Self {
        self.partitioned(Partition::Explicit(Partitioner::Forward))
    }

    /// Groups the records by a key that the function makes. Equal keys must be serialised equally (with serde).
    ///
    /// Where the key is a part of the record, [`key_by_ref`](Self::key_by_ref) saves making it for every record.
    pub fn key_by<K: Key>(
        self,
        key: impl Fn(&T) -> K + Clone + Send + Sync + 'static,
    ) -> KeyedStream<T, impl KeySelector<T, Key = K>> {
        KeyedStream::new(self, OwnedKey::new(key))
    }

    /// Groups the records by a part of them.
    pub fn key_by_ref<K: Key>(
        self,
        key: impl Fn(&T) -> &K + Clone + Send + Sync + 'static,
    ) -> KeyedStream<T, impl KeySelector<T, Key = K>> {
        KeyedStream::new(self, BorrowedKey::new(key))
    }

    /// Sets the parallelism of the operator that this stream comes from.
    pub fn set_parallelism(self, parallelism: u32) -> Self {
        self.change("set_parallelism", |node| node.parallelism = Some(parallelism))
    }

    /// Sets the number of key groups of the operator that this stream comes from: the bound of every later parallelism.
    pub fn set_max_parallelism(self, max_parallelism: u32) -> Self {
        self.change("set_max_parallelism", |node| node.max_parallelism = Some(max_parallelism))
    }

    /// Sets the name of the operator that this stream comes from, as the web page and errors show it.
    pub fn name(self, name: &str) -> Self {
        self.change("name", |node| node.name = name.to_owned())
    }

    /// Sets the id under which the operator that this stream comes from keeps its state across changes of the program.
    pub fn uid(self, uid: &str) -> Self {
        self.change("uid", |node| node.uid = Some(uid.to_owned()))
    }

    /// The operator that this stream comes from does not share a thread with the one before it.
    pub fn start_new_chain(self) -> Self {
        self.change("start_new_chain", |node| node.chaining = Chaining::Head)
    }

    /// The operator that this stream comes from does not share a thread with any other.
    pub fn disable_chaining(self) -> Self {
        self.change("disable_chaining", |node| node.chaining = Chaining::Never)
    }

    /// The operator that this stream comes from can't run in parallel.
    pub(crate) fn in_one_subtask(self) -> Self {
        self.change("parallelism", |node| node.single = true)
    }

    fn change(self, what: &str, change: impl FnOnce(&mut Node)) -> Self {
        if let Some(node) = self.own_node(what) {
            self.env.change(node, change);
        }
        self
    }

    /// The operator that this stream comes from, for a method that must follow directly on it.
    pub(crate) fn own_node(&self, what: &str) -> Option<NodeId> {
        match self.inputs.as_slice() {
            [Input { node, port: MAIN, partition: Partition::Default, adapt: None }] => Some(*node),
            _ => {
                self.env.mistake(format!(
                    "`{what}` must follow directly on the operator that it is for, not on `union`, a partitioning or a side output"
                ));
                None
            }
        }
    }
}
