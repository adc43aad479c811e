//! Operations that a client starts and whose result it asks for later: snapshots and the removal of savepoints. Pure.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use flumen_jobmaster::{RequestId, SnapshotTaken};
use flumen_model::failure::Failure;
use flumen_model::ids::JobId;

/// Finished operations whose results are kept; the oldest go first.
const FINISHED_MAX: usize = 128;
/// Operations that may be under way.
const RUNNING_MAX: usize = 64;

/// The number under which a client asks for an operation, as Flink's `TriggerId`: chosen by the client or at random.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TriggerId(pub u128);

impl fmt::Display for TriggerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl std::str::FromStr for TriggerId {
    type Err = flumen_model::ids::BadId;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // The same form as all of Flink's ids.
        let id: JobId = text.parse().map_err(|error| Self::Err { what: "a trigger id", ..error })?;
        Ok(Self(id.0))
    }
}

/// What kind of operation it is: each has its own path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OperationKind {
    /// A checkpoint on request.
    Checkpoint,
    /// A savepoint, alone or with a cancellation or stop.
    Savepoint,
    /// The removal of a savepoint.
    Disposal,
}

/// How far an operation is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OperationState {
    /// It is under way.
    InProgress,
    /// A snapshot was taken.
    Taken(SnapshotTaken),
    /// A savepoint was removed.
    Disposed,
    /// It failed.
    Failed(Failure),
}

impl OperationState {
    fn is_over(&self) -> bool {
        *self != Self::InProgress
    }
}

#[derive(Debug)]
struct Operation {
    kind: OperationKind,
    state: OperationState,
    /// Whether the job is cancelled when the snapshot is taken.
    then_cancel: bool,
    /// Whether a client has seen its result.
    read: bool,
}

/// What comes of starting one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begun {
    /// It is new.
    New,
    /// One with the same number was started before: nothing more is to be done.
    Known,
    /// There are too many.
    Refused,
}

/// The operations of one job, or those that concern none.
#[derive(Debug, Default)]
pub(super) struct Operations {
    all: BTreeMap<TriggerId, Operation>,
    /// Snapshots that the JobMaster is to answer.
    asked: BTreeMap<RequestId, TriggerId>,
    /// In the order of their end.
    finished: VecDeque<TriggerId>,
    requests: u64,
}

impl Operations {
    /// Notes a new operation.
    pub(super) fn begin(&mut self, trigger: TriggerId, kind: OperationKind) -> Begun {
        if self.all.contains_key(&trigger) {
            return Begun::Known;
        }
        if self.all.len() - self.finished.len() >= RUNNING_MAX {
            return Begun::Refused;
        }
        let state = OperationState::InProgress;
        self.all.insert(trigger, Operation { kind, state, then_cancel: false, read: false });
        Begun::New
    }

    /// Whether an operation of that number and kind was started.
    pub(super) fn knows(&self, trigger: TriggerId, kind: OperationKind) -> bool {
        self.all.get(&trigger).is_some_and(|operation| operation.kind == kind)
    }

    /// The number under which the JobMaster is asked for the snapshot.
    pub(super) fn ask(&mut self, trigger: TriggerId, then_cancel: bool) -> RequestId {
        self.requests += 1;
        let request = RequestId(self.requests);
        self.asked.insert(request, trigger);
        if let Some(operation) = self.all.get_mut(&trigger) {
            operation.then_cancel = then_cancel;
        }
        request
    }

    /// The JobMaster's answer. Returns whether the job is to be cancelled now.
    pub(super) fn answered(&mut self, request: RequestId, result: Result<SnapshotTaken, Failure>) -> bool {
        let Some(trigger) = self.asked.remove(&request) else { return false };
        let then_cancel = self.all.get(&trigger).is_some_and(|operation| operation.then_cancel);
        let cancel = then_cancel && result.is_ok();
        self.end(trigger, result.map_or_else(OperationState::Failed, OperationState::Taken));
        cancel
    }

    /// An operation is over.
    pub(super) fn end(&mut self, trigger: TriggerId, state: OperationState) {
        let Some(operation) = self.all.get_mut(&trigger).filter(|operation| !operation.state.is_over()) else { return };
        operation.state = state;
        self.finished.push_back(trigger);
        if self.finished.len() > FINISHED_MAX
            && let Some(oldest) = self.finished.pop_front()
        {
            self.all.remove(&oldest);
        }
    }

    /// How far it is, for a client; `None` when there is none of that kind.
    pub(super) fn read(&mut self, trigger: TriggerId, kind: OperationKind) -> Option<OperationState> {
        let operation = self.all.get_mut(&trigger).filter(|operation| operation.kind == kind)?;
        operation.read |= operation.state.is_over();
        Some(operation.state.clone())
    }

    /// Whether there are results that no client has seen.
    pub(super) fn awaits_reader(&self) -> bool {
        self.all.values().any(|operation| operation.state.is_over() && !operation.read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flumen_model::checkpoint::CheckpointId;
    use flumen_model::failure::Blame;

    fn taken() -> SnapshotTaken {
        SnapshotTaken { checkpoint: CheckpointId(3), directory: "file:///sp".into() }
    }

    #[test]
    fn a_result_is_told_under_its_number_and_kind() {
        let mut operations = Operations::default();
        let trigger = TriggerId(1);
        assert_eq!(operations.begin(trigger, OperationKind::Savepoint), Begun::New);
        let request = operations.ask(trigger, false);
        assert_eq!(operations.read(trigger, OperationKind::Savepoint), Some(OperationState::InProgress));
        assert!(!operations.answered(request, Ok(taken())));
        assert!(operations.awaits_reader());
        assert_eq!(operations.read(trigger, OperationKind::Checkpoint), None);
        assert!(operations.awaits_reader());
        assert_eq!(operations.read(trigger, OperationKind::Savepoint), Some(OperationState::Taken(taken())));
        assert!(!operations.awaits_reader());
        assert!(!operations.answered(request, Err(Failure::new(Blame::Outside, "late"))));
        assert_eq!(operations.read(trigger, OperationKind::Savepoint), Some(OperationState::Taken(taken())));
    }

    #[test]
    fn the_same_number_starts_nothing_twice() {
        let mut operations = Operations::default();
        assert_eq!(operations.begin(TriggerId(1), OperationKind::Savepoint), Begun::New);
        assert_eq!(operations.begin(TriggerId(1), OperationKind::Savepoint), Begun::Known);
    }

    #[test]
    fn a_job_is_cancelled_only_after_a_savepoint_that_was_taken() {
        let mut operations = Operations::default();
        for (result, expected) in [(Ok(taken()), true), (Err(Failure::new(Blame::Outside, "disk")), false)] {
            let trigger = TriggerId(u128::from(expected));
            operations.begin(trigger, OperationKind::Savepoint);
            let request = operations.ask(trigger, true);
            assert_eq!(operations.answered(request, result), expected);
        }
    }

    #[test]
    fn neither_running_nor_finished_ones_grow_without_bound() {
        let mut operations = Operations::default();
        for n in 0..1000 {
            let begun = operations.begin(TriggerId(n), OperationKind::Disposal);
            assert_eq!(begun == Begun::New, n < RUNNING_MAX as u128);
        }
        for n in 0..1000 {
            operations.begin(TriggerId(n), OperationKind::Disposal);
            operations.end(TriggerId(n), OperationState::Disposed);
        }
        assert_eq!(operations.all.len(), FINISHED_MAX);
        assert_eq!(operations.read(TriggerId(999), OperationKind::Disposal), Some(OperationState::Disposed));
        assert_eq!(operations.read(TriggerId(0), OperationKind::Disposal), None);
    }

    #[test]
    fn a_number_is_read_back_from_its_text() {
        assert_eq!(TriggerId(0xab).to_string().parse(), Ok(TriggerId(0xab)));
        assert!("ab".parse::<TriggerId>().unwrap_err().to_string().contains("trigger id"));
    }
}
