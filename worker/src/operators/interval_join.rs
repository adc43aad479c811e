//! Pairs of records with the same key whose event times are close to each other.
//!
//! Records of each side are kept in buckets as wide as the interval, so that a record of the other side finds its partners in
//! two of them, and a bucket that nobody can reach any more is forgotten at once.

use std::marker::PhantomData;

use flumen_model::failure::Blame;
use flumen_model::ids::OperatorId;
use flumen_state::{Keyed, StateError, Table, TableDescriptor, Timers};

use crate::batch::{Batch, EventTime, NO_TIME};
use crate::functions::{JoinContext, ProcessJoinFunction, user_failure};
use crate::keyed::{Key, KeySelector};
use crate::operator::{Data, Push, Signal, TaskError, TaskResult};
use crate::operators::Collector;
use crate::operators::either::Either;
use crate::operators::keyed_process::SNAPSHOT_STEP;
use crate::operators::side_output::{OutputTag, SideOutputs};
use crate::subtask::SubtaskContext;

/// How far apart the records of a pair may be: `left + lower ≤ right ≤ left + upper`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    lower_ms: i64,
    upper_ms: i64,
}

impl Interval {
    /// Both bounds included, milliseconds; negative where the right record may be the earlier one.
    ///
    /// # Panics
    /// The lower bound is above the upper one.
    pub fn between(lower_ms: i64, upper_ms: i64) -> Self {
        assert!(
            lower_ms <= upper_ms,
            "the lower bound of an interval join, {lower_ms} ms, is above the upper one, {upper_ms} ms"
        );
        Self { lower_ms, upper_ms }
    }

    /// The lower bound itself does not count.
    #[must_use]
    pub fn lower_bound_exclusive(self) -> Self {
        Self::between(self.lower_ms + 1, self.upper_ms)
    }

    /// The upper bound itself does not count.
    #[must_use]
    pub fn upper_bound_exclusive(self) -> Self {
        Self::between(self.lower_ms, self.upper_ms - 1)
    }

    /// Times of the other side that go with a record of that side.
    fn partners(self, side: Side, time: EventTime) -> (EventTime, EventTime) {
        match side {
            Side::Left => (time.saturating_add(self.lower_ms), time.saturating_add(self.upper_ms)),
            Side::Right => (time.saturating_sub(self.upper_ms), time.saturating_sub(self.lower_ms)),
        }
    }

    fn width(self) -> i64 {
        self.upper_ms.saturating_sub(self.lower_ms).max(1)
    }

    /// The watermark at which no record of the other side can reach that bucket of a side any more.
    fn unreachable_at(self, side: Side, bucket: i64) -> EventTime {
        let last = bucket.saturating_add(1).saturating_mul(self.width()) - 1;
        let (_, last_partner) = self.partners(side, last);
        // Records of its own side may still come, up to its end: they would begin the bucket anew.
        last_partner.max(last)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Left,
    Right,
}

/// The records of one bucket, with their times.
type Bucket<T> = Vec<(EventTime, T)>;

/// Where records go that came too late.
pub struct LateOutputs<A, B> {
    /// Those of the left side.
    pub left: Option<OutputTag<A>>,
    /// Those of the right side.
    pub right: Option<OutputTag<B>>,
}

impl<A, B> Default for LateOutputs<A, B> {
    fn default() -> Self {
        Self { left: None, right: None }
    }
}

/// See the module.
pub struct IntervalJoin<A: Data, B: Data, Out, K, SA, SB, F> {
    operator: OperatorId,
    interval: Interval,
    selectors: (SA, SB),
    function: F,
    late: LateOutputs<A, B>,
    keyed: Keyed<K>,
    left: Table<K, i64, Bucket<A>>,
    right: Table<K, i64, Bucket<B>>,
    /// When which bucket (true: of the left side) can be forgotten.
    forget: Timers<K, (bool, i64)>,
    watermark: EventTime,
    sides: SideOutputs,
    out: Collector<Out>,
    keys: PhantomData<K>,
}

impl<A, B, Out, K, SA, SB, F> IntervalJoin<A, B, Out, K, SA, SB, F>
where
    A: Data,
    B: Data,
    K: Key,
    SA: KeySelector<A, Key = K>,
    SB: KeySelector<B, Key = K>,
    F: ProcessJoinFunction<A, B, Out>,
{
    /// Emits into `output`, and late records into side outputs.
    ///
    /// # Errors
    /// The state can't be restored.
    #[allow(clippy::too_many_arguments, reason = "what the user has said, one by one")]
    pub fn open(
        context: &SubtaskContext,
        operator: OperatorId,
        selectors: (SA, SB),
        interval: Interval,
        function: F,
        late: LateOutputs<A, B>,
        sides: SideOutputs,
        output: Box<dyn Push<Out>>,
    ) -> TaskResult<Self> {
        let mut keyed = context.open_keyed::<K>(operator)?;
        let left = keyed.table(TableDescriptor::new("left"))?;
        let right = keyed.table(TableDescriptor::new("right"))?;
        let forget = keyed.timers("forget")?;
        Ok(Self {
            operator,
            interval,
            selectors,
            function,
            late,
            keyed,
            left,
            right,
            forget,
            watermark: NO_TIME,
            sides,
            out: Collector::new(output),
            keys: PhantomData,
        })
    }

    fn take_left(&mut self, record: A, time: EventTime) -> TaskResult {
        if time < self.watermark {
            return self.late.left.as_ref().map_or(Ok(()), |tag| self.sides.emit(tag, record, time));
        }
        let key = self.selectors.0.key(&record);
        let (from, to) = self.interval.partners(Side::Left, time);
        let (function, out) = (&mut self.function, &mut self.out);
        each_partner(&self.right, &key, self.interval, (from, to), |partner_time, partner| {
            let context = JoinContext { left_timestamp: time, right_timestamp: partner_time };
            out.set_time(context.timestamp());
            function.process_element(&record, partner, &context, out).map_err(failed)
        })?;
        keep(&self.left, &self.forget, &key, self.interval, Side::Left, record, time)?;
        Ok(())
    }

    fn take_right(&mut self, record: B, time: EventTime) -> TaskResult {
        if time < self.watermark {
            return self.late.right.as_ref().map_or(Ok(()), |tag| self.sides.emit(tag, record, time));
        }
        let key = self.selectors.1.key(&record);
        let (from, to) = self.interval.partners(Side::Right, time);
        let (function, out) = (&mut self.function, &mut self.out);
        each_partner(&self.left, &key, self.interval, (from, to), |partner_time, partner| {
            let context = JoinContext { left_timestamp: partner_time, right_timestamp: time };
            out.set_time(context.timestamp());
            function.process_element(partner, &record, &context, out).map_err(failed)
        })?;
        keep(&self.right, &self.forget, &key, self.interval, Side::Right, record, time)?;
        Ok(())
    }

    fn forget(&mut self, watermark: EventTime) -> TaskResult {
        self.watermark = watermark;
        while let Some((_, key, (left, bucket))) = self.forget.pop_due(watermark)? {
            if left {
                self.left.remove(&key, &bucket)?;
            } else {
                self.right.remove(&key, &bucket)?;
            }
        }
        Ok(())
    }
}

fn failed(error: crate::functions::FunctionError) -> TaskError {
    user_failure("the join function failed", error)
}

/// Calls with every record whose time is in the range, both ends included.
fn each_partner<K: Key, T: Data>(
    table: &Table<K, i64, Bucket<T>>,
    key: &K,
    interval: Interval,
    (from, to): (EventTime, EventTime),
    mut take: impl FnMut(EventTime, &T) -> TaskResult,
) -> TaskResult {
    let width = interval.width();
    for bucket in from.div_euclid(width)..=to.div_euclid(width) {
        table.with(key, &bucket, |records| {
            let mut records = records.into_iter().flatten().filter(|(time, _)| (from..=to).contains(time));
            records.try_for_each(|(time, record)| take(*time, record))
        })??;
    }
    Ok(())
}

/// Keeps a record for partners that are still to come.
fn keep<K: Key, T: Data>(
    table: &Table<K, i64, Bucket<T>>,
    forget: &Timers<K, (bool, i64)>,
    key: &K,
    interval: Interval,
    side: Side,
    record: T,
    time: EventTime,
) -> Result<(), StateError> {
    let bucket = time.div_euclid(interval.width());
    let first = table.upsert(key, &bucket, Vec::new, |records| {
        records.push((time, record));
        records.len() == 1
    })?;
    if first {
        forget.register(interval.unreachable_at(side, bucket), key, &(side == Side::Left, bucket))?;
    }
    Ok(())
}

impl<A, B, Out, K, SA, SB, F> Push<Either<A, B>> for IntervalJoin<A, B, Out, K, SA, SB, F>
where
    A: Data,
    B: Data,
    K: Key,
    SA: KeySelector<A, Key = K>,
    SB: KeySelector<B, Key = K>,
    F: ProcessJoinFunction<A, B, Out>,
{
    fn push(&mut self, batch: &mut Batch<Either<A, B>>) -> TaskResult {
        for (record, time) in batch.drain() {
            if time == NO_TIME {
                return Err(without_time());
            }
            match record {
                Either::Left(record) => self.take_left(record, time)?,
                Either::Right(record) => self.take_right(record, time)?,
            }
        }
        self.sides.finish()?;
        self.out.finish()
    }

    fn signal(&mut self, mut signal: Signal<'_>) -> TaskResult {
        match &mut signal {
            Signal::Watermark(time) => self.forget(*time)?,
            Signal::Barrier(snapshot) => {
                let state = self.keyed.snapshot(snapshot.barrier().kind)?;
                snapshot.keyed(self.operator, state);
            }
            Signal::Background(more) => **more |= self.keyed.snapshot_step(SNAPSHOT_STEP),
            Signal::Close => self.keyed.finish_snapshots(),
            _ => {}
        }
        self.sides.signal(&mut signal)?;
        self.out.signal(signal)
    }
}

#[cold]
fn without_time() -> TaskError {
    let message =
        "a record without event time came to an interval join: call assign_timestamps_and_watermarks before it";
    TaskError::failed(Blame::User, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_forgotten_only_when_no_partner_can_reach_any_of_its_times() {
        for (lower, upper) in [(-5, 7), (0, 0), (3, 9), (-9, -3), (-1, 0)] {
            let interval = Interval::between(lower, upper);
            for side in [Side::Left, Side::Right] {
                for time in -30..30_i64 {
                    let forgotten = interval.unreachable_at(side, time.div_euclid(interval.width()));
                    let (_, last_partner) = interval.partners(side, time);
                    assert!(forgotten >= last_partner, "{interval:?} {side:?} {time}");
                }
            }
        }
    }
}
