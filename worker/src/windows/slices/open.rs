//! The slices of a key that records are still coming for.

use serde::{Deserialize, Serialize};

use crate::batch::{END_OF_TIME, EventTime, NO_TIME};

use super::super::contents::Fold;
use super::shape::Slicing;

/// See the module. Two slices have their place in the key's entry itself: with records a little out of order that is as many
/// as there are at once, and a record then changes nothing elsewhere.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct OpenSlices<A> {
    /// When something has to be done for the key: the end of its next window that has something in it, or, when there is
    /// none, when its past is forgotten. [`END_OF_TIME`] before the first record.
    pub(super) due: EventTime,
    /// What the key was registered with; [`NO_TIME`]: it was not.
    pub(super) registered: EventTime,
    pub(super) one: Option<(EventTime, A)>,
    pub(super) other: Option<(EventTime, A)>,
    /// By end.
    pub(super) more: Vec<(EventTime, A)>,
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

    /// Something has to be done for the key at that time at the latest. Returns what the key has to be registered with, if it
    /// was not, and whether nothing had to be done before.
    pub(super) fn wake_at(&mut self, time: EventTime) -> (Option<EventTime>, bool) {
        let was = self.registered;
        let earlier = wake_at(time, &mut self.due, &mut self.registered);
        ((was == NO_TIME).then_some(self.registered), earlier)
    }

    /// When something has to be done next, if the past asks for that time.
    #[inline]
    pub(super) fn next_due(&mut self, past_due: Option<EventTime>, slicing: &Slicing) -> Option<EventTime> {
        let open_due = self.oldest().map(|end| slicing.first_window_end(end));
        let next = [past_due, open_due].into_iter().flatten().min()?;
        self.due = next;
        Some(next)
    }

    /// The end of the oldest one.
    #[inline]
    fn oldest(&self) -> Option<EventTime> {
        let ends = [&self.one, &self.other].into_iter().flatten().chain(self.more.first());
        ends.map(|(end, _)| *end).min()
    }
}

/// Something has to be done for a key at that time at the latest. Returns whether nothing had to be done before.
#[inline]
pub(super) fn wake_at(time: EventTime, due: &mut EventTime, registered: &mut EventTime) -> bool {
    if *registered == NO_TIME {
        // Descending: to delete a timer that is not the first one is cheap, and keys go in the order in which they came.
        *registered = time.saturating_neg();
    }
    let earlier = time < *due;
    *due = time.min(*due);
    earlier
}
