//! Batch execution: one value per key, emitted at the end of the input, in bounded memory.
//!
//! Values are folded in a hash table. When it outgrows its memory it is written out sorted by key (a run) and begins
//! anew; at the end the runs are merged, and values of equal keys folded together.

use crate::batch::{Batch, NO_TIME};
use crate::exchange::codec;
use crate::keyed::KeySelector;
use crate::operator::{BATCH_RECORDS, Data, Push, Signal, TaskResult};
use crate::operators::reduce::{Folded, Reduce, ReduceTable};
use crate::spill::{Merge, Run, SpillDirectories};

/// Runs that are merged at once: each needs a file descriptor and a buffer.
const MERGE_WAYS: usize = 64;

/// Folds records per key and emits each key's value once.
pub struct BatchReduce<T, S: KeySelector<T>, F> {
    selector: S,
    reduce: F,
    table: ReduceTable<S::Key, T>,
    /// Estimate of what keys and values own outside of the table: their serialised lengths.
    owned_bytes: usize,
    memory: usize,
    scratch: Vec<u8>,
    runs: Vec<Run>,
    spill: SpillDirectories,
    output: Box<dyn Push<T>>,
    batch: Batch<T>,
}

impl<T: Data, S: KeySelector<T>, F: Reduce<T>> BatchReduce<T, S, F> {
    /// Pushes the values into `output`, holding at most about `memory` bytes.
    pub fn new(selector: S, reduce: F, memory: usize, spill: SpillDirectories, output: Box<dyn Push<T>>) -> Self {
        Self {
            selector,
            reduce,
            table: ReduceTable::new(),
            owned_bytes: 0,
            // The sorted copy that becomes a run needs about as much as the table.
            memory: memory / 2,
            scratch: Vec::new(),
            runs: Vec::new(),
            spill,
            output,
            batch: Batch::new(),
        }
    }

    fn write_run(&mut self) -> TaskResult {
        let mut sorted = self.spill.sorter();
        for (key, value) in self.table.drain() {
            sorted.add(&key, &value)?;
        }
        self.table.shrink();
        self.owned_bytes = 0;
        self.runs.push(sorted.write()?);
        tracing::debug!(runs = self.runs.len(), "keyed aggregate spilled");
        if self.runs.len() >= MERGE_WAYS {
            let runs = std::mem::take(&mut self.runs);
            let mut merged = self.spill.run_writer()?;
            let mut merge = Merge::<T>::new(runs)?;
            while let Some((key, value)) = merge.next(&mut self.reduce)? {
                merged.append(key, &value)?;
            }
            self.runs.push(merged.finish()?);
        }
        Ok(())
    }

    fn emit(&mut self, value: T) -> TaskResult {
        self.batch.push(value, NO_TIME);
        if self.batch.len() < BATCH_RECORDS { Ok(()) } else { self.output.push(&mut self.batch) }
    }
}

impl<T: Data, S: KeySelector<T>, F: Reduce<T>> Push<T> for BatchReduce<T, S, F> {
    fn push(&mut self, batch: &mut Batch<T>) -> TaskResult {
        for (record, _) in batch.drain() {
            if let Folded::First(key, value) = self.table.fold(record, &self.selector, &mut self.reduce) {
                self.scratch.clear();
                codec::encode(key, &mut self.scratch)?;
                codec::encode(value, &mut self.scratch)?;
                self.owned_bytes += self.scratch.len();
            }
        }
        if self.table.table_bytes() + self.owned_bytes > self.memory { self.write_run() } else { Ok(()) }
    }

    fn signal(&mut self, signal: Signal<'_>) -> TaskResult {
        if let Signal::End = signal {
            self.emit_all()?;
        }
        self.output.signal(signal)
    }
}

impl<T: Data, S: KeySelector<T>, F: Reduce<T>> BatchReduce<T, S, F> {
    fn emit_all(&mut self) -> TaskResult {
        if self.runs.is_empty() {
            let mut table = std::mem::replace(&mut self.table, ReduceTable::new());
            for (_, value) in table.drain() {
                self.emit(value)?;
            }
        } else {
            self.write_run()?;
            let mut merge = Merge::<T>::new(std::mem::take(&mut self.runs))?;
            let mut reduce = self.reduce.clone();
            while let Some((_, value)) = merge.next(&mut reduce)? {
                self.emit(value)?;
            }
        }
        self.output.push(&mut self.batch)
    }
}
