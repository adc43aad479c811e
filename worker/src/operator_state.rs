//! Operator state in checkpoints.

use std::collections::BTreeMap;

use flumen_model::checkpoint::{ListState, StateHandle, StateLocation};
use flumen_model::ids::OperatorId;
use flumen_state::operator::{OperatorState, RestoredList};
use flumen_state::{StateError, StateValue};

use crate::checkpoint::Snapshot;
use crate::exchange::codec;
use crate::operator::TaskResult;
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

impl SubtaskContext {
    /// The values of a divided list state at the checkpoint that the subtask starts from, also if they were written by an
    /// older form of the type; `None` when it starts from none. They were put into snapshots with [`schema_of`] their type.
    ///
    /// # Errors
    /// They are of a type that this one can't take the place of, or damaged.
    pub fn restored_values<T: StateValue>(&self, operator: OperatorId, name: &str) -> TaskResult<Option<Vec<T>>> {
        let Some(items) = self.restored_list(operator, name) else { return Ok(None) };
        if self.restored.with_schemas(operator).any(|(known, ..)| known == name) {
            return Ok(Some(self.open_operator_state(operator).list(name)?.get()));
        }
        items.iter().map(|item| codec::decode(&mut &item[..])).collect::<TaskResult<_>>().map(Some)
    }
}

/// The schema of a type of the program, for [`Snapshot::list`]; empty when it has none that could be compared.
pub fn schema_of<T: StateValue>(name: &str) -> String {
    flumen_state::schema::of::<T>(name).unwrap_or_default()
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
