//! What a function gets its state from.

use flumen_state::operator::{OperatorListState, OperatorState};
use flumen_state::{
    AggregateFunction, AggregatingState, AggregatingStateDescriptor, Key, Keyed, ListState, ListStateDescriptor,
    MapState, MapStateDescriptor, ReducingState, ReducingStateDescriptor, StateError, StateValue, ValueState,
    ValueStateDescriptor,
};

use crate::functions::broadcast::BroadcastState;
use crate::functions::runtime::RuntimeContext;

/// Opens state that has nothing to do with keys.
pub struct OperatorContext<'a> {
    pub(crate) operator: &'a mut OperatorState,
    pub(crate) runtime: &'a RuntimeContext,
}

impl OperatorContext<'_> {
    /// A list whose items are divided among the subtasks after a restore.
    ///
    /// # Errors
    /// What was restored under this name is of another kind or of a type that this one can't take the place of; the state
    /// was asked for with another type before; the type can't be state. The same in the following ones.
    pub fn operator_list_state<T: StateValue>(&mut self, name: &str) -> Result<OperatorListState<T>, StateError> {
        self.operator.list(name)
    }

    /// A list of which every subtask gets the items of all after a restore.
    ///
    /// # Errors
    /// See [`Self::operator_list_state`].
    pub fn union_list_state<T: StateValue>(&mut self, name: &str) -> Result<OperatorListState<T>, StateError> {
        self.operator.union_list(name)
    }

    /// A map that is the same in all subtasks. It is changed from elements of a broadcast stream only.
    ///
    /// # Errors
    /// See [`Self::operator_list_state`].
    pub fn broadcast_state<UK: Key, UV: StateValue>(
        &mut self,
        name: &str,
    ) -> Result<BroadcastState<UK, UV>, StateError> {
        Ok(BroadcastState::new(self.operator.broadcast(name)?))
    }

    /// The subtask.
    pub fn runtime(&self) -> &RuntimeContext {
        self.runtime
    }
}

/// Opens state of a function on a keyed stream.
pub struct OpenContext<'a, K> {
    pub(crate) keyed: &'a mut Keyed<K>,
    pub(crate) operator: OperatorContext<'a>,
}

impl<K: Key> OpenContext<'_, K> {
    /// One value per key.
    ///
    /// # Errors
    /// See [`OperatorContext::operator_list_state`]; besides, the backend's store may fail. The same in the following ones.
    pub fn value_state<V: StateValue>(
        &mut self,
        descriptor: ValueStateDescriptor<V>,
    ) -> Result<ValueState<K, V>, StateError> {
        self.keyed.value(descriptor)
    }

    /// A list per key.
    ///
    /// # Errors
    /// See [`Self::value_state`].
    pub fn list_state<V: StateValue>(
        &mut self,
        descriptor: ListStateDescriptor<V>,
    ) -> Result<ListState<K, V>, StateError> {
        self.keyed.list(descriptor)
    }

    /// A map per key.
    ///
    /// # Errors
    /// See [`Self::value_state`].
    pub fn map_state<UK: Key, UV: StateValue>(
        &mut self,
        descriptor: MapStateDescriptor<UK, UV>,
    ) -> Result<MapState<K, UK, UV>, StateError> {
        self.keyed.map(descriptor)
    }

    /// One value per key, into which others are folded.
    ///
    /// # Errors
    /// See [`Self::value_state`].
    pub fn reducing_state<V: StateValue, F: Fn(V, V) -> V>(
        &mut self,
        descriptor: ReducingStateDescriptor<V, F>,
    ) -> Result<ReducingState<K, V, F>, StateError> {
        self.keyed.reducing(descriptor)
    }

    /// One accumulator per key.
    ///
    /// # Errors
    /// See [`Self::value_state`].
    pub fn aggregating_state<A: AggregateFunction>(
        &mut self,
        descriptor: AggregatingStateDescriptor<A>,
    ) -> Result<AggregatingState<K, A>, StateError> {
        self.keyed.aggregating(descriptor)
    }

    /// A map that is the same in all subtasks. It is changed from elements of a broadcast stream only.
    ///
    /// # Errors
    /// See [`OperatorContext::operator_list_state`].
    pub fn broadcast_state<UK: Key, UV: StateValue>(
        &mut self,
        name: &str,
    ) -> Result<BroadcastState<UK, UV>, StateError> {
        self.operator.broadcast_state(name)
    }

    /// The subtask.
    pub fn runtime(&self) -> &RuntimeContext {
        self.operator.runtime
    }
}
