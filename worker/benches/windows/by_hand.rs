//! The same windows by hand, for sums and for this one purpose: no state that outlives the process, no late records, and sliding
//! sums that rely on subtraction.

use std::collections::{BTreeMap, HashMap};

use flumen_worker::batch::Batch;
use flumen_worker::operator::{BATCH_RECORDS, Push, Signal, TaskResult};
use foldhash::fast::RandomState;

use super::{Out, Record};

/// Emits in batches.
struct Output {
    batch: Batch<Out>,
    next: Box<dyn Push<Out>>,
}

impl Output {
    fn new(next: Box<dyn Push<Out>>) -> Self {
        Self { batch: Batch::with_capacity(BATCH_RECORDS), next }
    }

    fn emit(&mut self, key: u64, start: i64, sum: u64, end: i64) -> TaskResult {
        self.batch.push((key, start, sum), end - 1);
        if self.batch.len() == BATCH_RECORDS { self.next.push(&mut self.batch) } else { Ok(()) }
    }
}

/// A hash map from key to sum for each window.
pub struct Tumbling {
    size: i64,
    windows: BTreeMap<i64, HashMap<u64, u64, RandomState>>,
    output: Output,
}

impl Tumbling {
    pub fn new(size: i64, next: Box<dyn Push<Out>>) -> Self {
        Self { size, windows: BTreeMap::new(), output: Output::new(next) }
    }
}

impl Push<Record> for Tumbling {
    fn push(&mut self, batch: &mut Batch<Record>) -> TaskResult {
        let mut last = (i64::MIN, None);
        for ((key, value), time) in batch.drain() {
            let end = time - time % self.size + self.size;
            if last.0 != end {
                last = (end, None);
            }
            let sums = match last.1.take() {
                Some(sums) => sums,
                None => self.windows.entry(end).or_default(),
            };
            *sums.entry(key).or_default() += value;
        }
        Ok(())
    }

    fn signal(&mut self, signal: Signal<'_>) -> TaskResult {
        let Signal::Watermark(watermark) = signal else { return Ok(()) };
        while let Some(first) = self.windows.first_entry()
            && *first.key() - 1 <= watermark
        {
            let (end, sums) = first.remove_entry();
            for (key, sum) in sums {
                self.output.emit(key, end - self.size, sum, end)?;
            }
        }
        self.output.next.push(&mut self.output.batch)
    }
}

/// One hash map from key to the sums of its slices, in a ring, and the sum of those in the next window.
pub struct Sliding {
    size: i64,
    slide: i64,
    keys: HashMap<u64, Slices, RandomState>,
    /// The window that fires next.
    end: i64,
    newest: i64,
    output: Output,
}

/// More than slices of a window, and those that are open.
const RING: usize = 64;

struct Slices {
    total: u64,
    ring: [u64; RING],
}

impl Sliding {
    pub fn new(size: i64, slide: i64, next: Box<dyn Push<Out>>) -> Self {
        Self { size, slide, keys: HashMap::default(), end: slide, newest: 0, output: Output::new(next) }
    }

    fn fire(&mut self) -> TaskResult {
        let (end, size) = (self.end, self.size);
        let newest = (end / self.slide) as usize % RING;
        let oldest = ((end - size + self.slide) / self.slide).rem_euclid(RING as i64) as usize;
        for (key, slices) in &mut self.keys {
            slices.total += slices.ring[newest];
            if slices.total > 0 {
                self.output.emit(*key, end - size, slices.total, end)?;
            }
            slices.total -= std::mem::take(&mut slices.ring[oldest]);
        }
        self.end += self.slide;
        Ok(())
    }
}

impl Push<Record> for Sliding {
    fn push(&mut self, batch: &mut Batch<Record>) -> TaskResult {
        for ((key, value), time) in batch.drain() {
            let slice = time / self.slide + 1;
            self.newest = self.newest.max(slice * self.slide);
            let slices = self.keys.entry(key).or_insert_with(|| Slices { total: 0, ring: [0; RING] });
            slices.ring[slice as usize % RING] += value;
        }
        Ok(())
    }

    fn signal(&mut self, signal: Signal<'_>) -> TaskResult {
        let Signal::Watermark(watermark) = signal else { return Ok(()) };
        while self.end - 1 <= watermark && self.end < self.newest + self.size {
            self.fire()?;
        }
        self.output.next.push(&mut self.output.batch)
    }
}
