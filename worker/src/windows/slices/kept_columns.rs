//! With allowed lateness: the slices of all keys of which a window may fire again.

use crate::batch::EventTime;

use super::super::contents::Fold;
use super::column::{Cell, Column, Spare};
use super::shape::Slicing;

/// See the module.
pub(super) struct KeptColumns<A>(Vec<Column<A>>);

impl<A: Clone> KeptColumns<A> {
    pub(super) fn new() -> Self {
        Self(Vec::new())
    }

    /// Keeps a slice that has come to its end.
    pub(super) fn keep<T, F: Fold<T, Acc = A>>(
        &mut self,
        mut column: Column<A>,
        numbers: usize,
        spare: &mut Spare<A>,
        fold: &mut F,
    ) {
        match self.0.binary_search_by_key(&column.end, |kept| kept.end) {
            Err(at) => {
                spare.give(column.thin(numbers));
                self.0.insert(at, column);
            }
            // Only after a restore where subtasks were at different watermarks.
            Ok(_) => {
                let end = column.end;
                spare.give(column.take(|number, cell| {
                    if let Cell::Sum(acc) = cell {
                        self.insert(end, number, acc, numbers, fold);
                    }
                }));
            }
        }
    }

    /// Adds to a key's slice.
    pub(super) fn insert<T, F: Fold<T, Acc = A>>(
        &mut self,
        end: EventTime,
        number: u32,
        acc: A,
        numbers: usize,
        fold: &mut F,
    ) {
        self.column(end).join(number, acc, numbers, fold);
    }

    /// Whether a key has anything in them.
    pub(super) fn has(&self, number: u32) -> bool {
        self.0.iter().rev().any(|column| !matches!(column.get(number), Cell::Empty))
    }

    /// The slice with that end, which is begun if it is not there.
    fn column(&mut self, end: EventTime) -> &mut Column<A> {
        let at = match self.0.binary_search_by_key(&end, |column| column.end) {
            Ok(at) => at,
            Err(at) => {
                self.0.insert(at, Column::sparse(end));
                at
            }
        };
        &mut self.0[at]
    }

    /// What a key has that is restored.
    pub(super) fn restore(&mut self, number: u32, kept: Vec<(EventTime, A)>, numbers: usize) {
        for (end, acc) in kept {
            self.column(end).fill(number, Cell::Sum(acc), numbers);
        }
    }

    /// What a window that has fired before comes to now.
    pub(super) fn again<T, F: Fold<T, Acc = A>>(
        &self,
        number: u32,
        end: EventTime,
        slicing: &Slicing,
        fold: &mut F,
    ) -> Option<A> {
        let from = self.0.partition_point(|column| column.end <= end.saturating_sub(slicing.size));
        let upto = self.0.partition_point(|column| column.end <= end);
        let accs = self.0[from..upto].iter().filter_map(|column| column.get(number).sum().cloned());
        accs.reduce(|a, b| fold.merge(a, b))
    }

    /// The end of the oldest one.
    pub(super) fn oldest(&self) -> Option<EventTime> {
        self.0.first().map(|column| column.end)
    }

    /// Forgets those of which nothing is wanted any more, and notes the keys that are in them.
    pub(super) fn forget(&mut self, at: EventTime, slicing: &Slicing, spare: &mut Spare<A>, gone: &mut Vec<u32>) {
        let old = self.0.partition_point(|column| slicing.forgotten_at(column.end) <= at);
        for column in self.0.drain(..old) {
            spare.give(column.take(|number, _| gone.push(number)));
        }
    }

    /// What a key has in them, the oldest first.
    pub(super) fn of(&self, number: u32) -> Vec<(EventTime, A)> {
        let slices = self.0.iter().filter_map(|column| Some((column.end, column.get(number).sum()?.clone())));
        slices.collect()
    }
}
