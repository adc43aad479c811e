//! Functions on windows with state, side outputs and errors.

use flumen_model::failure::Blame;
use flumen_state::{ValueState, ValueStateDescriptor};
use flumen_testkit::{end, harness, rec, share, watermark};
use flumen_worker::functions::FunctionResult;
use flumen_worker::operator::TaskError;
use flumen_worker::operators::Collector;
use flumen_worker::operators::side_output::{OutputTag, SideOutputs};
use flumen_worker::windows::{
    Aggregating, Collecting, Elements, ProcessWindowFunction, Reducing, SliceOperator, Slicing, TimeWindow,
    TumblingEventTimeWindows, WindowContext, WindowOpenContext, WindowOperator, WindowOutputs, WindowState, Windowing,
};

use super::support::{Fired, Record, Values, by_key, ms};

/// Emits how often the key's windows have fired, and how often this one has; the latter also to a side output.
#[derive(Clone)]
struct Firings;

struct Counters {
    of_key: ValueState<u8, i64>,
    of_window: WindowState<u8, TimeWindow, i64>,
}

impl<In: 'static> ProcessWindowFunction<u8, TimeWindow, In, Fired> for Firings {
    type State = Counters;

    fn open(&self, context: &mut WindowOpenContext<'_, u8, TimeWindow>) -> FunctionResult<Counters> {
        let of_key = context.global_state().value(ValueStateDescriptor::new("firings"))?;
        Ok(Counters { of_key, of_window: context.window_state("firings")? })
    }

    fn process(
        &mut self,
        key: &u8,
        state: &Counters,
        ctx: &mut WindowContext<'_, u8, TimeWindow>,
        elements: Elements<'_, In>,
        out: &mut Collector<Fired>,
    ) -> FunctionResult {
        let of_key = state.of_key.upsert(|| 0, |count| std::mem::replace(count, *count + 1))?;
        let of_window = state.of_window.get(ctx)?.unwrap_or(0);
        state.of_window.set(ctx, of_window + 1)?;
        let window = *ctx.window();
        out.collect((*key, window.start, window.end, vec![of_key, of_window, elements.count() as i64]));
        ctx.output(&OutputTag::<Fired>::new("again"), (*key, 0, 0, vec![of_window, ctx.current_watermark()]))
    }

    fn clear(&mut self, _: &u8, state: &Counters, ctx: &mut WindowContext<'_, u8, TimeWindow>) -> FunctionResult {
        Ok(state.of_window.clear(ctx)?)
    }
}

#[test]
fn a_function_has_state_of_its_key_and_of_its_window() {
    harness(|context, operator, output| {
        let mut windowing = Windowing::of::<Record>(TumblingEventTimeWindows::of(ms(10)));
        windowing.allowed_lateness = ms(10);
        let output = share(output);
        let sides = SideOutputs::new().with(&OutputTag::new("again"), Box::new(output.side()));
        let outputs = WindowOutputs { late: None, sides };
        let output = Box::new(output);
        Ok(Box::new(WindowOperator::open(
            context,
            operator,
            by_key(),
            windowing,
            Collecting,
            Firings,
            outputs,
            output,
        )?))
    })
    .input([
        rec((1, 1)).at(1),
        rec((1, 2)).at(2),
        watermark(10),
        rec((1, 3)).at(3),
        rec((1, 4)).at(12),
        watermark(19),
        end(),
    ])
    .expect([
        rec((1, 0, 10, vec![0, 0, 2])).at(9),
        rec((1, 0, 0, vec![0, 10])).at(9),
        rec((1, 0, 10, vec![1, 1, 3])).at(9),
        rec((1, 0, 0, vec![1, 10])).at(9),
        rec((1, 10, 20, vec![2, 0, 1])).at(19),
        rec((1, 0, 0, vec![0, 19])).at(19),
    ])
    .keyed_by(|record: &Record| record.0)
    .in_any_order()
    .in_all_modes();
}

#[test]
fn a_function_on_folded_windows_of_slices_has_state_too() {
    harness(|context, operator, output| {
        let slicing = Slicing::of(&TumblingEventTimeWindows::of(ms(10)), ms(0), true).unwrap();
        let (fold, outputs) = (Aggregating(Values), WindowOutputs::default());
        Ok(Box::new(SliceOperator::open(context, operator, by_key(), slicing, fold, Firings, outputs, output)?))
    })
    .input([rec((1, 1)).at(1), rec((1, 2)).at(12), watermark(9), watermark(19), rec((1, 4)).at(22), end()])
    .expect([
        rec((1, 0, 10, vec![0, 0, 1])).at(9),
        rec((1, 10, 20, vec![1, 0, 1])).at(19),
        rec((1, 20, 30, vec![2, 0, 1])).at(29),
    ])
    .keyed_by(|record: &Record| record.0)
    .in_all_modes();
}

#[test]
fn the_error_of_a_function_is_the_user_s() {
    let error = harness(|context, operator, output| {
        let function =
            |_: &u8, _: &mut WindowContext<'_, u8, TimeWindow>, _: Elements<'_, Record>, _: &mut Collector<Record>| {
                FunctionResult::Err("no such sensor".into())
            };
        let windowing = Windowing::of::<Record>(TumblingEventTimeWindows::of(ms(10)));
        let contents = Reducing(|sum: &mut Record, record: Record| sum.1 += record.1);
        let outputs = WindowOutputs::default();
        Ok(Box::new(WindowOperator::open(context, operator, by_key(), windowing, contents, function, outputs, output)?))
    })
    .input([rec((1, 1)).at(1), end()])
    .fails();
    let TaskError::Failed { blame: Blame::User, message } = &error else { panic!("{error:?}") };
    assert!(message.contains("no such sensor"), "{message}");
}
