//! The shapes of the answers, as Flink 1.20 gives them. They are views of what is inside, not what is inside: no inner type
//! is serialised as it is.

pub(super) mod checkpoints;
pub(super) mod cluster;
pub(super) mod job;
pub(super) mod operation;
pub(super) mod outcome;
pub(super) mod plan;
mod summary;
mod throwable;

use flumen_jobmaster::Timestamp;

/// Flink's way to say that a time or duration is not there.
pub(super) const NONE: i64 = -1;

/// Milliseconds as Flink gives them.
pub(super) fn ms(at: Timestamp) -> i64 {
    i64::try_from(at.0).unwrap_or(i64::MAX)
}

/// Milliseconds of a moment that may not have come.
pub(super) fn ms_or_none(at: Option<Timestamp>) -> i64 {
    at.map_or(NONE, ms)
}

/// From a start to an end or, while there is none, to now; none before the start.
pub(super) fn duration(start: Option<Timestamp>, end: Option<Timestamp>, now: Timestamp) -> i64 {
    start.map_or(NONE, |start| ms(Timestamp(end.unwrap_or(now).since(start))))
}
