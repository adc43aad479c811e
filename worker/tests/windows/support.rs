//! Records, operators and functions that the tests share.

use std::time::Duration;

use flumen_model::ids::OperatorId;
use flumen_state::AggregateFunction;
use flumen_worker::keyed::{KeySelector, OwnedKey};
use flumen_worker::operator::{Push, TaskResult};
use flumen_worker::operators::Collector;
use flumen_worker::subtask::SubtaskContext;
use flumen_worker::windows::{
    Aggregating, Apply, Collecting, Elements, Fold, RegularWindows, SliceOperator, Slicing, TimeWindow, Trigger,
    Window, WindowAssigner, WindowContents, WindowOperator, WindowOutputs, Windowing,
};

/// Key and value.
pub type Record = (u8, i64);
/// Key, start and end of the window, values in ascending order.
pub type Fired = (u8, i64, i64, Vec<i64>);

pub fn ms(ms: i64) -> Duration {
    Duration::from_millis(ms as u64)
}

pub fn by_key() -> impl KeySelector<Record, Key = u8> {
    OwnedKey::<_, u8>::new(|record: &Record| record.0)
}

/// Folds records into their values.
#[derive(Clone)]
pub struct Values;

impl AggregateFunction for Values {
    type In = Record;
    type Acc = Vec<i64>;
    type Out = Vec<i64>;

    fn create_accumulator(&self) -> Vec<i64> {
        Vec::new()
    }

    fn add(&self, values: &mut Vec<i64>, record: Record) {
        values.push(record.1);
    }

    fn get_result(&self, values: &Vec<i64>) -> Vec<i64> {
        let mut values = values.clone();
        values.sort_unstable();
        values
    }

    fn merge(&self, mut a: Vec<i64>, mut b: Vec<i64>) -> Vec<i64> {
        a.append(&mut b);
        a
    }
}

/// As [`Values`], of numbers below 256, in an accumulator for which nothing is done when it goes, and which isn't all zero in the beginning.
#[derive(Clone)]
pub struct ValuesInBits;

impl AggregateFunction for ValuesInBits {
    type In = Record;
    /// Which numbers have come, and how many.
    type Acc = ([u64; 4], i64);
    type Out = Vec<i64>;

    fn create_accumulator(&self) -> Self::Acc {
        ([!0; 4], -1)
    }

    fn add(&self, (missing, count): &mut Self::Acc, record: Record) {
        missing[record.1 as usize / 64] &= !(1 << (record.1 % 64));
        *count += 1;
    }

    fn get_result(&self, (missing, count): &Self::Acc) -> Vec<i64> {
        let has = |value: &i64| missing[*value as usize / 64] >> (value % 64) & 1 == 0;
        let values: Vec<i64> = (0..256).filter(has).collect();
        assert_eq!(values.len() as i64, count + 1, "each has come once");
        values
    }

    fn merge(&self, a: Self::Acc, b: Self::Acc) -> Self::Acc {
        (std::array::from_fn(|at| a.0[at] & b.0[at]), a.1 + b.1 + 1)
    }
}

/// As a reduce function folds: there is no accumulator of no record.
pub struct FromFirst<F>(pub F);

impl<F: Fold<Record>> Fold<Record> for FromFirst<F> {
    type Acc = F::Acc;
    type Item = F::Item;

    fn first(&mut self, record: Record) -> F::Acc {
        self.0.first(record)
    }

    fn add(&mut self, acc: &mut F::Acc, record: Record) {
        self.0.add(acc, record);
    }

    fn merge(&mut self, a: F::Acc, b: F::Acc) -> F::Acc {
        self.0.merge(a, b)
    }

    fn item(&mut self, acc: &F::Acc) -> F::Item {
        self.0.item(acc)
    }
}

pub fn fired(key: &u8, window: &TimeWindow, values: Elements<'_, Vec<i64>>, out: &mut Collector<Fired>) {
    values.for_each(|values| out.collect((*key, window.start, window.end, values)));
}

pub fn listed<W: Window + Bounds>(key: &u8, window: &W, records: Elements<'_, Record>, out: &mut Collector<Fired>) {
    let mut values: Vec<i64> = records.map(|record| record.1).collect();
    values.sort_unstable();
    let (start, end) = window.bounds();
    out.collect((*key, start, end, values));
}

/// Start and end.
pub trait Bounds {
    fn bounds(&self) -> (i64, i64);
}

impl Bounds for TimeWindow {
    fn bounds(&self) -> (i64, i64) {
        (self.start, self.end)
    }
}

impl Bounds for flumen_worker::windows::GlobalWindow {
    fn bounds(&self) -> (i64, i64) {
        (0, 0)
    }
}

pub type Head = TaskResult<Box<dyn Push<Record>>>;

/// The general operator, whose windows keep all records.
pub fn listing<A, G>(
    context: &SubtaskContext,
    operator: OperatorId,
    windowing: Windowing<A, G>,
    output: Box<dyn Push<Fired>>,
) -> Head
where
    A: WindowAssigner<Record>,
    A::Window: Bounds,
    G: Trigger<Record, A::Window>,
{
    keeping(context, operator, windowing, Collecting, output)
}

/// The general operator, whose windows keep something that lists of records are made of.
pub fn keeping<A, G, C>(
    context: &SubtaskContext,
    operator: OperatorId,
    windowing: Windowing<A, G>,
    contents: C,
    output: Box<dyn Push<Fired>>,
) -> Head
where
    A: WindowAssigner<Record>,
    A::Window: Bounds,
    G: Trigger<Record, A::Window>,
    C: WindowContents<u8, Record, A::Window, Item = Record>,
{
    let function = Apply(listed::<A::Window>);
    let outputs = WindowOutputs::default();
    Ok(Box::new(WindowOperator::open(context, operator, by_key(), windowing, contents, function, outputs, output)?))
}

/// The general operator, whose windows are folded.
pub fn folding<A, G>(
    context: &SubtaskContext,
    operator: OperatorId,
    windowing: Windowing<A, G>,
    output: Box<dyn Push<Fired>>,
) -> Head
where
    A: WindowAssigner<Record, Window = TimeWindow>,
    G: Trigger<Record, TimeWindow>,
{
    let outputs = WindowOutputs::default();
    let function = Apply(fired);
    let contents = Aggregating(Values);
    Ok(Box::new(WindowOperator::open(context, operator, by_key(), windowing, contents, function, outputs, output)?))
}

/// The operator for slices.
pub fn slicing(
    context: &SubtaskContext,
    operator: OperatorId,
    windows: &impl RegularWindows,
    lateness: i64,
    output: Box<dyn Push<Fired>>,
) -> Head {
    slicing_by(Aggregating(Values), context, operator, windows, lateness, output)
}

/// As [`slicing`], folded like that.
pub fn slicing_by(
    fold: impl Fold<Record, Item = Vec<i64>>,
    context: &SubtaskContext,
    operator: OperatorId,
    windows: &impl RegularWindows,
    lateness: i64,
    output: Box<dyn Push<Fired>>,
) -> Head {
    let slicing = Slicing::of(windows, ms(lateness), false).unwrap();
    let outputs = WindowOutputs::default();
    Ok(Box::new(SliceOperator::open(context, operator, by_key(), slicing, fold, Apply(fired), outputs, output)?))
}

/// With that trigger and lateness.
pub fn windowing<A, G>(assigner: A, trigger: G, lateness: i64) -> Windowing<A, G> {
    Windowing { assigner, trigger, allowed_lateness: ms(lateness) }
}
