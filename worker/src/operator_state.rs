//! Operator state in checkpoints.

use std::collections::BTreeMap;

use flumen_model::checkpoint::{ListState, StateHandle, StateLocation};
use flumen_model::ids::OperatorId;
use flumen_state::StateError;
use flumen_state::operator::{OperatorState, RestoredList};

use crate::checkpoint::Snapshot;
use crate::subtask::SubtaskContext;

impl SubtaskContext {
    /// The operator state of an operator of this subtask: with what the checkpoint has that the subtask starts from, or
    /// empty.
    pub fn open_operator_state(&self, operator: OperatorId) -> OperatorState {
        let mut restored: BTreeMap<String, Vec<RestoredList>> = BTreeMap::new();
        for (name, (redistribution, schema), items) in self.restored.with_schemas(operator) {
            let mut bytes = Vec::new();
            let mut ends = Vec::new();
            for item in items {
                bytes.extend_from_slice(item);
                ends.push(bytes.len() as u64);
            }
            let nowhere =
                StateHandle { location: StateLocation::Inline(Vec::new()), length: bytes.len() as u64, checksum: 0 };
            let state =
                ListState { redistribution: *redistribution, schema: schema.clone(), items: nowhere, start: 0, ends };
            restored.entry(name.to_owned()).or_default().push(RestoredList { state, bytes });
        }
        // What every subtask was given needs only one that hands it on.
        OperatorState::new(restored, self.id.index == 0)
    }
}

impl Snapshot {
    /// Adds the operator state of an operator.
    ///
    /// # Errors
    /// A type of the user can't be written.
    pub fn operator_state(&mut self, operator: OperatorId, state: &OperatorState) -> Result<(), StateError> {
        for (name, list) in state.snapshot()? {
            let starts = std::iter::once(0).chain(list.ends.iter().copied());
            let items = starts.zip(&list.ends).map(|(start, end)| &list.items[start as usize..*end as usize]);
            self.list(operator, &name, list.redistribution, &list.schema, items);
        }
        Ok(())
    }
}
