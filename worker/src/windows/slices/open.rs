//! The slices of a key that records are still coming for.

use serde::{Deserialize, Serialize};

use crate::batch::{END_OF_TIME, EventTime, NO_TIME};

use super::super::contents::Fold;

/// See the module. Two slices have their place in the key's entry itself: with records a little out of order that is as many
/// as there are at once, and a record then changes nothing elsewhere.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct OpenSlices<A> {
    /// When something has to be done for the key: the end of its next window that has something in it, or, when there is
    /// none, when its past is forgotten. [`END_OF_TIME`] before the first record.
    pub(super) due: EventTime,
    /// What the key was registered with; [`NO_TIME`]: it was not.
    pub(super) registered: EventTime,
    one: Option<(EventTime, A)>,
    other: Option<(EventTime, A)>,
    /// By end.
    more: Vec<(EventTime, A)>,
}

impl<A> Default for OpenSlices<A> {
    fn default() -> Self {
        Self { due: END_OF_TIME, registered: NO_TIME, one: None, other: None, more: Vec::new() }
    }
}

impl<A> OpenSlices<A> {
    /// Adds a record to the slice with that end; true when it is the first one.
    #[inline]
    pub(super) fn add<T, F: Fold<T, Acc = A>>(&mut self, end: EventTime, record: T, fold: &mut F) -> bool {
        match (&mut self.one, &mut self.other) {
            (Some((known, acc)), _) | (_, Some((known, acc))) if *known == end => {
                fold.add(acc, record);
                false
            }
            _ => self.add_elsewhere(end, record, fold),
        }
    }

    #[inline(never)]
    fn add_elsewhere<T, F: Fold<T, Acc = A>>(&mut self, end: EventTime, record: T, fold: &mut F) -> bool {
        match self.more.binary_search_by_key(&end, |(known, _)| *known) {
            Ok(at) => {
                fold.add(&mut self.more[at].1, record);
                false
            }
            Err(at) => {
                let slice = (end, fold.first(record));
                if self.one.is_none() {
                    self.one = Some(slice);
                } else if self.other.is_none() {
                    self.other = Some(slice);
                } else {
                    self.more.insert(at, slice);
                }
                true
            }
        }
    }

    /// Moves the slices that end by `upto` to `taken`, the oldest first.
    #[inline]
    pub(super) fn take_upto(&mut self, upto: EventTime, taken: &mut Vec<(EventTime, A)>) {
        taken.extend(self.one.take_if(|(end, _)| *end <= upto));
        taken.extend(self.other.take_if(|(end, _)| *end <= upto));
        if !self.more.is_empty() {
            let old = self.more.partition_point(|(end, _)| *end <= upto);
            taken.extend(self.more.drain(..old));
            // The next ones are those that get records. The list keeps its room: it is filled again with the next slice.
            for place in [&mut self.one, &mut self.other] {
                if place.is_none() && !self.more.is_empty() {
                    *place = Some(self.more.remove(0));
                }
            }
        }
        if taken.len() > 1 {
            taken.sort_unstable_by_key(|(end, _)| *end);
        }
    }

    /// The end of the oldest one.
    #[inline]
    pub(super) fn oldest(&self) -> Option<EventTime> {
        let ends = [&self.one, &self.other].into_iter().flatten().chain(self.more.first());
        ends.map(|(end, _)| *end).min()
    }
}
