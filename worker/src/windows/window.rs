//! Windows: what records are put into.

use std::fmt::Debug;

use flumen_state::Namespace;
use serde::{Deserialize, Serialize};

use crate::batch::{END_OF_TIME, EventTime};

/// A piece of a stream whose records are worked on together. Part of the state's key: its serialised form is part of snapshots.
pub trait Window: Namespace + Ord + Debug {
    /// The last moment that belongs to it: results carry this time. [`END_OF_TIME`] when it never ends.
    fn max_timestamp(&self) -> EventTime;
}

/// From `start` up to, but without, `end` (milliseconds since 1970).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TimeWindow {
    /// The first moment.
    pub start: EventTime,
    /// The first moment after it.
    pub end: EventTime,
}

impl TimeWindow {
    /// A window over these times.
    pub fn new(start: EventTime, end: EventTime) -> Self {
        Self { start, end }
    }

    /// Whether they have a moment in common or touch: sessions that do are one.
    pub fn intersects(&self, other: &Self) -> bool {
        self.start <= other.end && self.end >= other.start
    }

    /// The smallest window that has both in it.
    pub fn cover(&self, other: &Self) -> Self {
        Self { start: self.start.min(other.start), end: self.end.max(other.end) }
    }
}

impl Window for TimeWindow {
    fn max_timestamp(&self) -> EventTime {
        self.end.saturating_sub(1)
    }
}

/// The one window that everything of a key is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GlobalWindow;

impl Window for GlobalWindow {
    fn max_timestamp(&self) -> EventTime {
        END_OF_TIME
    }
}
