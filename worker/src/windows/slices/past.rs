//! The slices of a key that a window which has fired had in it, and which later windows have in them, too.
//!
//! What the slices of the next window come to is known at any time, and costs two combinations per slice in the mean,
//! however many slices a window has (the queue out of two stacks): each of the older slices is kept as what it and all newer ones
//! among the older come to; of the newer ones, the sum is known. The window loses its oldest slice: the first one is thrown
//! away. When there is no older one left, the newer ones become the older ones, where they are.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::batch::EventTime;

use super::super::contents::Fold;
use super::shape::Slicing;

/// See the module.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct PastSlices<A> {
    /// Ends of slices, the oldest first. Of the first [`Self::summed`], each has what it and those up to there come to; the
    /// newer ones have their own accumulators.
    pub(super) slices: VecDeque<(EventTime, A)>,
    pub(super) summed: usize,
    /// What the newer ones come to.
    pub(super) newer_sum: Option<A>,
    /// With allowed lateness: every slice of which a window may fire again, the oldest first.
    pub(super) kept: Vec<(EventTime, A)>,
}

impl<A> Default for PastSlices<A> {
    fn default() -> Self {
        Self { slices: VecDeque::new(), summed: 0, newer_sum: None, kept: Vec::new() }
    }
}

impl<A: Clone> PastSlices<A> {
    /// The window that ends at `end` fires: `slices` are new since the last one. Returns what it comes to, if there is
    /// anything in it.
    pub(super) fn fire<T, F: Fold<T, Acc = A>>(
        &mut self,
        end: EventTime,
        slices: &mut Vec<(EventTime, A)>,
        slicing: &Slicing,
        fold: &mut F,
    ) -> Option<A> {
        if slicing.lateness > 0 {
            for (end, acc) in slices.iter() {
                keep(&mut self.kept, *end, acc.clone(), fold);
            }
        }
        if slicing.is_tumbling() {
            return slices.drain(..).map(|(_, acc)| acc).reduce(|a, b| fold.merge(a, b));
        }
        self.drop_upto(end.saturating_sub(slicing.size), fold);
        for (end, acc) in slices.drain(..) {
            self.append(end, acc, fold);
        }
        match (self.slices.front().filter(|_| self.summed > 0), &self.newer_sum) {
            (Some((_, older)), Some(newer)) => Some(fold.merge(older.clone(), newer.clone())),
            (Some((_, sum)), None) | (None, Some(sum)) => Some(sum.clone()),
            (None, None) => None,
        }
    }

    #[inline]
    fn append<T, F: Fold<T, Acc = A>>(&mut self, end: EventTime, acc: A, fold: &mut F) {
        if self.newest().is_some_and(|newest| newest >= end) {
            // Only after a restore where subtasks were at different watermarks.
            return self.insert(end, acc, fold);
        }
        self.newer_sum = Some(match self.newer_sum.take() {
            Some(sum) => fold.merge(sum, acc.clone()),
            None => acc.clone(),
        });
        self.slices.push_back((end, acc));
    }

    /// Whether there is nothing in it.
    pub(super) fn is_empty(&self) -> bool {
        self.slices.is_empty() && self.kept.is_empty()
    }

    /// The end of the newest slice of the next window.
    fn newest(&self) -> Option<EventTime> {
        self.slices.back().map(|(end, _)| *end)
    }

    /// Drops the slices that end by then.
    fn drop_upto<T, F: Fold<T, Acc = A>>(&mut self, upto: EventTime, fold: &mut F) {
        loop {
            if self.slices.front().is_none_or(|(end, _)| *end > upto) {
                return;
            }
            if self.summed == 0 {
                self.sum_all(fold);
            }
            self.slices.pop_front();
            self.summed -= 1;
        }
    }

    /// Makes older ones of the newer ones, when there are no others.
    fn sum_all<T, F: Fold<T, Acc = A>>(&mut self, fold: &mut F) {
        let mut sum: Option<A> = None;
        for (_, acc) in self.slices.iter_mut().rev() {
            if let Some(newer) = sum {
                *acc = fold.merge(acc.clone(), newer);
            }
            sum = Some(acc.clone());
        }
        self.summed = self.slices.len();
        self.newer_sum = None;
    }

    /// A record came after windows that its slice is in had fired.
    pub(super) fn add<T, F: Fold<T, Acc = A>>(
        &mut self,
        slice_end: EventTime,
        acc: A,
        next_window_end: EventTime,
        slicing: &Slicing,
        fold: &mut F,
    ) {
        let in_next_window = slice_end > next_window_end.saturating_sub(slicing.size) && !slicing.is_tumbling();
        if slicing.lateness > 0 {
            if in_next_window {
                self.insert(slice_end, acc.clone(), fold);
            }
            keep(&mut self.kept, slice_end, acc, fold);
        } else if in_next_window {
            self.insert(slice_end, acc, fold);
        }
    }

    /// Adds to a slice that may be anywhere.
    fn insert<T, F: Fold<T, Acc = A>>(&mut self, slice_end: EventTime, acc: A, fold: &mut F) {
        let found = self.slices.binary_search_by_key(&slice_end, |(end, _)| *end);
        let (Ok(at) | Err(at)) = found;
        if at >= self.summed {
            match found {
                Ok(at) => self.slices[at].1 = fold.merge(self.slices[at].1.clone(), acc.clone()),
                Err(at) => self.slices.insert(at, (slice_end, acc.clone())),
            }
            self.newer_sum = Some(match self.newer_sum.take() {
                Some(sum) => fold.merge(sum, acc),
                None => acc,
            });
            return;
        }
        let with_it = if found.is_ok() { at + 1 } else { at };
        for (_, sum) in self.slices.range_mut(..with_it) {
            *sum = fold.merge(sum.clone(), acc.clone());
        }
        if found.is_err() {
            let newer = self.slices[at].1.clone();
            self.slices.insert(at, (slice_end, fold.merge(acc, newer)));
            self.summed += 1;
        }
    }

    /// What a window that has fired before comes to now.
    pub(super) fn again<T, F: Fold<T, Acc = A>>(&self, end: EventTime, slicing: &Slicing, fold: &mut F) -> Option<A> {
        let from = self.kept.partition_point(|(slice, _)| *slice <= end.saturating_sub(slicing.size));
        let upto = self.kept.partition_point(|(slice, _)| *slice <= end);
        self.kept[from..upto].iter().map(|(_, acc)| acc.clone()).reduce(|a, b| fold.merge(a, b))
    }

    /// Forgets what no window after the one that ends at `end` needs, and says when something has to be done next.
    pub(super) fn next_due(&mut self, end: EventTime, slicing: &Slicing) -> Option<EventTime> {
        if !self.kept.is_empty() {
            let gone = self.kept.partition_point(|(slice, _)| slicing.forgotten_at(*slice) <= end);
            self.kept.drain(..gone);
        }
        let next = slicing.window_end_upto(end).saturating_add(slicing.slide);
        if self.newest().is_some_and(|newest| newest > next.saturating_sub(slicing.size)) {
            return Some(next);
        }
        self.slices.clear();
        self.summed = 0;
        self.newer_sum = None;
        self.kept.last().map(|(slice, _)| slicing.forgotten_at(*slice))
    }
}

/// Adds to a list by end.
fn keep<T, A, F: Fold<T, Acc = A>>(slices: &mut Vec<(EventTime, A)>, end: EventTime, acc: A, fold: &mut F)
where
    A: Clone,
{
    match slices.binary_search_by_key(&end, |(known, _)| *known) {
        Ok(at) => slices[at].1 = fold.merge(slices[at].1.clone(), acc),
        Err(at) => slices.insert(at, (end, acc)),
    }
}
