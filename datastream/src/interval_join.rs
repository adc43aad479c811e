//! Pairs of records of two keyed streams whose times are near each other.

use std::marker::PhantomData;
use std::sync::Arc;

use flumen_worker::functions::ProcessJoinFunction;
use flumen_worker::keyed::KeySelector;
use flumen_worker::operator::Data;
use flumen_worker::operators::either::Either;
use flumen_worker::operators::interval_join::{Interval, IntervalJoin, LateOutputs};
use flumen_worker::operators::side_output::OutputTag;

use crate::connected::ConnectedKeyedStreams;
use crate::graph::node::{Keeps, MakeOperator};
use crate::graph::records::AnyPush;
use crate::keyed::KeyedStream;
use crate::stream::DataStream;

/// Two keyed streams that are to be joined by time. Needs event time.
pub struct IntervalJoinStreams<A, B, SA, SB> {
    first: KeyedStream<A, SA>,
    second: KeyedStream<B, SB>,
}

/// With the interval.
pub struct IntervalJoined<A, B, SA, SB> {
    both: ConnectedKeyedStreams<A, B, SA, SB>,
    /// Milliseconds, and whether the bound itself counts.
    lower: (i64, bool),
    upper: (i64, bool),
    late: (Option<OutputTag<A>>, Option<OutputTag<B>>),
    records: PhantomData<fn(A, B)>,
}

impl<A: Data, SA: KeySelector<A>> KeyedStream<A, SA> {
    /// Each pair of records of both streams with the same key whose event times are near each other:
    /// `left + lower <= right <= left + upper`.
    pub fn interval_join<B: Data, SB: KeySelector<B, Key = SA::Key>>(
        self,
        other: KeyedStream<B, SB>,
    ) -> IntervalJoinStreams<A, B, SA, SB> {
        IntervalJoinStreams { first: self, second: other }
    }
}

impl<A, B, SA, SB> IntervalJoinStreams<A, B, SA, SB>
where
    A: Data,
    B: Data,
    SA: KeySelector<A>,
    SB: KeySelector<B, Key = SA::Key>,
{
    /// How much later than the first record the second one is, at least and at most: milliseconds, negative for earlier.
    /// Both bounds count.
    pub fn between(self, lower_ms: i64, upper_ms: i64) -> IntervalJoined<A, B, SA, SB> {
        IntervalJoined {
            both: ConnectedKeyedStreams::new(self.first, self.second),
            lower: (lower_ms, true),
            upper: (upper_ms, true),
            late: (None, None),
            records: PhantomData,
        }
    }
}

impl<A, B, SA, SB> IntervalJoined<A, B, SA, SB>
where
    A: Data,
    B: Data,
    SA: KeySelector<A>,
    SB: KeySelector<B, Key = SA::Key>,
{
    /// The lower bound itself does not count.
    pub fn lower_bound_exclusive(mut self) -> Self {
        self.lower.1 = false;
        self
    }

    /// The upper bound itself does not count.
    pub fn upper_bound_exclusive(mut self) -> Self {
        self.upper.1 = false;
        self
    }

    /// Records of the first stream that come too late go into that side output instead of being dropped.
    pub fn side_output_left_late_data(mut self, tag: &OutputTag<A>) -> Self {
        self.late.0 = Some(tag.clone());
        self
    }

    /// Records of the second stream that come too late go into that side output instead of being dropped.
    pub fn side_output_right_late_data(mut self, tag: &OutputTag<B>) -> Self {
        self.late.1 = Some(tag.clone());
        self
    }

    /// Calls the function, or a closure `|left, right, out|`, with each pair.
    pub fn process<Out: Data, F: ProcessJoinFunction<A, B, Out>>(self, function: F) -> DataStream<Out> {
        let Self { both, lower, upper, late, .. } = self;
        // In whole milliseconds, a bound that does not count is the one beside it.
        let lower = lower.0 + i64::from(!lower.1);
        let upper = upper.0 - i64::from(!upper.1);
        if lower > upper {
            both.both.env.mistake(format!("an interval join from {lower} ms to {upper} ms has no pairs"));
            return DataStream::from_inputs(both.both.env.clone(), Vec::new());
        }
        let selectors = both.selectors;
        let make: MakeOperator = Arc::new(move |making, outputs| {
            let (output, sides) = outputs.with_sides::<Out>();
            let operator = IntervalJoin::open(
                making.context,
                making.operator,
                selectors.clone(),
                Interval::between(lower, upper),
                function.clone(),
                LateOutputs { left: late.0.clone(), right: late.1.clone() },
                sides,
                output,
            )?;
            Ok(AnyPush::of::<Either<A, B>>(Box::new(operator)))
        });
        both.both.with_sides("Interval Join", Keeps::KeyedState, make)
    }
}
