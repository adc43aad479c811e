//! Batch execution: folds records of a key together before they are sent to the subtask that owns it.

use crate::batch::{Batch, NO_TIME};
use crate::keyed::KeySelector;
use crate::operator::{BATCH_RECORDS, Data, Push, Signal, TaskResult};
use crate::operators::reduce::{Folded, Reduce, ReduceTable};

/// Keys after which it is looked at whether combining pays.
const SAMPLE_KEYS: usize = 1 << 16;
/// Records that pass by before it is tried again.
const PASS_BY_RECORDS: usize = 1 << 20;

/// Stands before the writer of a keyed exchange. It is never needed for the result: it saves exchange when keys repeat
/// and steps aside when they don't.
pub struct Combine<T, S: KeySelector<T>, F> {
    selector: S,
    reduce: F,
    table: ReduceTable<S::Key, T>,
    memory: usize,
    /// Records folded since the table was empty.
    folded: usize,
    /// Records that still pass by uncombined.
    pass_by: usize,
    output: Box<dyn Push<T>>,
    batch: Batch<T>,
}

impl<T: Data, S: KeySelector<T>, F: Reduce<T>> Combine<T, S, F> {
    /// Pushes partial values into `output`, holding at most about `memory` bytes.
    pub fn new(selector: S, reduce: F, memory: usize, output: Box<dyn Push<T>>) -> Self {
        let table = ReduceTable::new();
        Self { selector, reduce, table, memory, folded: 0, pass_by: 0, output, batch: Batch::new() }
    }

    fn emit_all(&mut self) -> TaskResult {
        self.folded = 0;
        let mut entries = self.table.drain();
        loop {
            for (_, value) in entries.by_ref().take(BATCH_RECORDS) {
                self.batch.push(value, NO_TIME);
            }
            if self.batch.is_empty() {
                return Ok(());
            }
            self.output.push(&mut self.batch)?;
        }
    }
}

impl<T: Data, S: KeySelector<T>, F: Reduce<T>> Push<T> for Combine<T, S, F> {
    fn push(&mut self, batch: &mut Batch<T>) -> TaskResult {
        if self.pass_by > 0 {
            self.pass_by = self.pass_by.saturating_sub(batch.len());
            return self.output.push(batch);
        }
        let mut sampled = false;
        self.folded += batch.len();
        for (record, _) in batch.drain() {
            if let Folded::First(..) = self.table.fold(record, &self.selector, &mut self.reduce) {
                sampled |= self.table.len().is_multiple_of(SAMPLE_KEYS);
            }
        }
        let repeats_seldom = sampled && self.folded < self.table.len() + self.table.len() / 4;
        // What keys and values own elsewhere is taken for as much again.
        if repeats_seldom || 2 * self.table.table_bytes() > self.memory {
            self.pass_by = if repeats_seldom { PASS_BY_RECORDS } else { 0 };
            self.emit_all()?;
            self.table.shrink();
        }
        Ok(())
    }

    fn signal(&mut self, signal: Signal<'_>) -> TaskResult {
        // Until the end, partial values stay: nobody downstream emits anything before it either.
        if let Signal::End = signal {
            self.emit_all()?;
        }
        self.output.signal(signal)
    }
}
