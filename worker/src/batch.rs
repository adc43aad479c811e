//! Records on their way, with their event times.

/// A moment in event time or processing time: milliseconds since 1970 (UTC).
pub type EventTime = i64;

/// The event time of a record that has none. Earlier than every other.
pub const NO_TIME: EventTime = i64::MIN;

/// The watermark at the end of a stream: nothing follows.
pub const END_OF_TIME: EventTime = i64::MAX;

/// Records and, if any of them has one, their event times.
///
/// A stream without event time pays nothing for it: the second vector stays empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch<T> {
    records: Vec<T>,
    /// Empty when no record has a time; else one for each, [`NO_TIME`] for those without.
    times: Vec<EventTime>,
}

impl<T> Default for Batch<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> From<Vec<T>> for Batch<T> {
    fn from(records: Vec<T>) -> Self {
        Self { records, times: Vec::new() }
    }
}

impl<T> Batch<T> {
    /// An empty batch without room.
    pub const fn new() -> Self {
        Self { records: Vec::new(), times: Vec::new() }
    }

    /// An empty batch with room for that many records.
    pub fn with_capacity(records: usize) -> Self {
        Self { records: Vec::with_capacity(records), times: Vec::new() }
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Records that fit without growing.
    pub fn capacity(&self) -> usize {
        self.records.capacity()
    }

    /// Makes room for that many more records.
    pub fn reserve(&mut self, records: usize) {
        self.records.reserve_exact(records);
    }

    /// Removes all records; the room stays.
    pub fn clear(&mut self) {
        self.records.clear();
        self.times.clear();
    }

    /// Adds a record with its time, or [`NO_TIME`].
    #[inline]
    pub fn push(&mut self, record: T, time: EventTime) {
        if time != NO_TIME || !self.times.is_empty() {
            if self.times.len() != self.records.len() {
                // Records before the first one with a time have none.
                self.times.resize(self.records.len(), NO_TIME);
            }
            self.times.push(time);
        }
        self.records.push(record);
    }

    /// Adds records without a time.
    #[inline]
    pub fn extend(&mut self, records: impl Iterator<Item = T>) {
        self.records.extend(records);
        if !self.times.is_empty() {
            self.times.resize(self.records.len(), NO_TIME);
        }
    }

    /// Whether some record has a time.
    pub fn is_timed(&self) -> bool {
        !self.times.is_empty()
    }

    /// The time of the record at an index, or [`NO_TIME`].
    #[inline]
    pub fn time(&self, index: usize) -> EventTime {
        self.times.get(index).copied().unwrap_or(NO_TIME)
    }

    /// The times of all records, [`NO_TIME`] for those without; empty when no record has one.
    pub fn times(&self) -> &[EventTime] {
        &self.times
    }

    /// The records.
    pub fn records(&self) -> &[T] {
        &self.records
    }

    /// The records, without a way to change their number.
    pub fn records_mut(&mut self) -> &mut [T] {
        &mut self.records
    }

    /// Takes all records out, with their times or [`NO_TIME`]; the room stays.
    #[inline]
    pub fn drain(&mut self) -> impl Iterator<Item = (T, EventTime)> + '_ {
        let timed = !self.times.is_empty();
        let mut times = self.times.drain(..);
        self.records.drain(..).map(move |record| {
            let time = if timed { times.next().unwrap_or(NO_TIME) } else { NO_TIME };
            (record, time)
        })
    }

    /// As [`Self::drain`], for those to whom the time of few records matters: beside the records all times, as [`Self::times`]. These
    /// stay: the batch has to be cleared before records are added.
    #[inline]
    pub fn drain_beside_times(&mut self) -> (impl Iterator<Item = T> + '_, &[EventTime]) {
        (self.records.drain(..), &self.times)
    }

    /// Moves everything to the end of another batch.
    pub fn append_to(&mut self, other: &mut Batch<T>) {
        if !self.times.is_empty() || !other.times.is_empty() {
            other.times.resize(other.records.len(), NO_TIME);
            self.times.resize(self.records.len(), NO_TIME);
            other.times.append(&mut self.times);
        }
        other.records.append(&mut self.records);
    }

    /// Replaces every record by what the function makes of it, at the same time, in an empty batch.
    #[inline]
    pub fn map_into<U>(&mut self, other: &mut Batch<U>, function: impl FnMut(T) -> U) {
        debug_assert!(other.is_empty(), "the batch that a map fills is empty");
        other.records.extend(self.records.drain(..).map(function));
        std::mem::swap(&mut self.times, &mut other.times);
        self.times.clear();
    }

    /// Keeps the records for which the function says so.
    pub fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        if self.times.is_empty() {
            return self.records.retain(keep);
        }
        let mut kept = 0;
        let times = &mut self.times;
        let mut index = 0;
        self.records.retain(|record| {
            let keeps = keep(record);
            if keeps {
                times[kept] = times[index];
                kept += 1;
            }
            index += 1;
            keeps
        });
        self.times.truncate(kept);
    }

    /// Gives every record a time: the function gets the record and the time that it has.
    pub fn assign_times(&mut self, mut time: impl FnMut(&T, EventTime) -> EventTime) {
        self.times.resize(self.records.len(), NO_TIME);
        for (record, at) in self.records.iter().zip(&mut self.times) {
            *at = time(record, *at);
        }
    }
}

impl<T: Clone> Batch<T> {
    /// Adds copies of all records of another batch.
    pub fn extend_from(&mut self, other: &Batch<T>) {
        if !self.times.is_empty() || !other.times.is_empty() {
            self.times.resize(self.records.len(), NO_TIME);
            self.times.extend((0..other.len()).map(|index| other.time(index)));
        }
        self.records.extend_from_slice(&other.records);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(records: &[(u32, EventTime)]) -> Batch<u32> {
        let mut batch = Batch::new();
        records.iter().for_each(|(record, time)| batch.push(*record, *time));
        batch
    }

    fn contents(mut batch: Batch<u32>) -> Vec<(u32, EventTime)> {
        batch.drain().collect()
    }

    #[test]
    fn records_keep_their_times_through_every_operation() {
        for records in [
            &[(1, NO_TIME), (2, NO_TIME), (3, NO_TIME)][..],
            &[(1, 10), (2, 20), (3, 30)],
            &[(1, NO_TIME), (2, 20), (3, NO_TIME)],
        ] {
            assert_eq!(contents(batch(records)), records);

            let mut kept = batch(records);
            kept.retain(|record| *record != 1);
            assert_eq!(contents(kept), records[1..]);

            let mut mapped = Batch::new();
            batch(records).map_into(&mut mapped, |record| record);
            assert_eq!(contents(mapped), records);

            for first in [&[][..], &[(9, NO_TIME)], &[(9, 9)]] {
                let expected = [first, records].concat();
                let mut moved = batch(first);
                batch(records).append_to(&mut moved);
                assert_eq!(contents(moved), expected);
                let mut copied = batch(first);
                copied.extend_from(&batch(records));
                assert_eq!(contents(copied), expected);
            }

            let mut assigned = batch(records);
            assigned.assign_times(|record, _| EventTime::from(*record));
            assert_eq!(contents(assigned), [(1, 1), (2, 2), (3, 3)]);
        }
    }

    #[test]
    fn a_batch_without_times_has_no_room_for_them() {
        let untimed = batch(&[(1, NO_TIME), (2, NO_TIME)]);
        assert!(!untimed.is_timed());
        assert_eq!(untimed.times.capacity(), 0);
    }
}
