//! Functions on streams without keys, and broadcast state.

use flumen_state::operator::OperatorListState;
use flumen_state::{ValueState, ValueStateDescriptor};
use flumen_testkit::{end, harness, rec, watermark};
use flumen_worker::functions::{
    BroadcastContext, BroadcastProcessFunction, BroadcastState, CoProcessFunction, Context, FunctionResult,
    KeyedBroadcastProcessFunction, KeyedContext, OpenContext, OperatorContext, ProcessFunction,
};
use flumen_worker::keyed::OwnedKey;
use flumen_worker::operators::Collector;
use flumen_worker::operators::either::Either;
use flumen_worker::operators::keyed_process::open_keyed_broadcast_process;
use flumen_worker::operators::process::{Process, open_broadcast_process, open_co_process};
use flumen_worker::operators::side_output::SideOutputs;

/// Emits records with the watermark, and at the end those that it has kept: the odd ones.
#[derive(Clone)]
struct KeepOdd;

impl ProcessFunction<u32, (u32, i64)> for KeepOdd {
    type State = OperatorListState<u32>;

    fn open(&self, context: &mut OperatorContext<'_>) -> FunctionResult<Self::State> {
        Ok(context.operator_list_state("odd")?)
    }

    fn process_element(
        &mut self,
        record: u32,
        odd: &Self::State,
        ctx: &mut Context<'_>,
        out: &mut Collector<(u32, i64)>,
    ) -> FunctionResult {
        if record % 2 == 1 {
            odd.add(record);
        } else {
            out.collect((record, ctx.current_watermark()));
        }
        Ok(())
    }

    fn finish(&mut self, odd: &Self::State, _: &mut Context<'_>, out: &mut Collector<(u32, i64)>) -> FunctionResult {
        odd.get().into_iter().for_each(|record| out.collect((record, -1)));
        Ok(())
    }
}

#[test]
fn a_process_function_keeps_operator_state_through_restores_and_rescaling() {
    harness(|context, operator, output| {
        Ok(Box::new(Process::open(context, operator, KeepOdd, SideOutputs::new(), output)?))
    })
    .input([watermark(5), rec(1).at(7), rec(2).at(8), rec(3).at(9), watermark(9), rec(4).at(10), end()])
    .expect([rec((2, 5)).at(8), rec((4, 9)).at(10), rec((1, -1)), rec((3, -1))])
    .keyed_by(|record| *record)
    .in_all_modes();
}

#[derive(Clone)]
struct Texts;

impl CoProcessFunction<u32, String, String> for Texts {
    type State = ();

    fn open(&self, _: &mut OperatorContext<'_>) -> FunctionResult {
        Ok(())
    }

    fn process_element1(
        &mut self,
        record: u32,
        (): &(),
        _: &mut Context<'_>,
        out: &mut Collector<String>,
    ) -> FunctionResult {
        out.collect(record.to_string());
        Ok(())
    }

    fn process_element2(
        &mut self,
        record: String,
        (): &(),
        _: &mut Context<'_>,
        out: &mut Collector<String>,
    ) -> FunctionResult {
        out.collect(record);
        Ok(())
    }
}

#[test]
fn a_co_process_function_takes_records_of_two_types() {
    harness(|context, operator, output| {
        Ok(Box::new(open_co_process(context, operator, Texts, SideOutputs::new(), output)?))
    })
    .input([rec(Either::Left(1)).at(3), rec(Either::Right("two".to_owned())), end()])
    .expect([rec("1".to_owned()).at(3), rec("two".to_owned())])
    .in_all_modes();
}

/// Names of numbers come from the broadcast side.
#[derive(Clone)]
struct Names;

type Name = (u32, Option<String>);

impl BroadcastProcessFunction<u32, Name, String> for Names {
    type State = BroadcastState<u32, String>;

    fn open(&self, context: &mut OperatorContext<'_>) -> FunctionResult<Self::State> {
        Ok(context.broadcast_state("names")?)
    }

    fn process_element(
        &mut self,
        record: u32,
        names: &Self::State,
        ctx: &mut Context<'_>,
        out: &mut Collector<String>,
    ) -> FunctionResult {
        out.collect(ctx.broadcast_state(names).get(&record).unwrap_or_else(|| record.to_string()));
        Ok(())
    }

    fn process_broadcast_element(
        &mut self,
        (number, name): Name,
        names: &Self::State,
        ctx: &mut BroadcastContext<'_>,
        _: &mut Collector<String>,
    ) -> FunctionResult {
        let names = ctx.broadcast_state(names);
        match name {
            Some(name) => names.put(number, name),
            None => names.remove(&number),
        }
        Ok(())
    }
}

/// As [`Names`], and counts per number.
#[derive(Clone)]
struct CountedNames;

impl KeyedBroadcastProcessFunction<u32, u32, Name, String> for CountedNames {
    type State = (BroadcastState<u32, String>, ValueState<u32, u32>);

    fn open(&self, context: &mut OpenContext<'_, u32>) -> FunctionResult<Self::State> {
        Ok((context.broadcast_state("names")?, context.value_state(ValueStateDescriptor::new("count"))?))
    }

    fn process_element(
        &mut self,
        record: u32,
        (names, count): &Self::State,
        ctx: &mut KeyedContext<'_, u32>,
        out: &mut Collector<String>,
    ) -> FunctionResult {
        let name = ctx.broadcast_state(names).get(&record).unwrap_or_else(|| record.to_string());
        let count = count.upsert(
            || 0,
            |count| {
                *count += 1;
                *count
            },
        )?;
        out.collect(format!("{name} {count}"));
        Ok(())
    }

    fn process_broadcast_element(
        &mut self,
        name: Name,
        (names, _): &Self::State,
        ctx: &mut BroadcastContext<'_>,
        out: &mut Collector<String>,
    ) -> FunctionResult {
        Names.process_broadcast_element(name, names, ctx, out)
    }
}

fn named(number: u32, name: &str) -> Either<u32, Name> {
    Either::Right((number, Some(name.to_owned())))
}

fn texts(texts: &[&str]) -> Vec<flumen_testkit::Element<String>> {
    texts.iter().map(|text| rec((*text).to_owned())).collect()
}

#[test]
fn broadcast_state_is_the_same_in_all_instances_also_after_rescaling() {
    harness(|context, operator, output| {
        Ok(Box::new(open_broadcast_process(context, operator, Names, SideOutputs::new(), output)?))
    })
    .input([
        rec(Either::Left(1)),
        rec(named(1, "one")),
        rec(named(2, "two")),
        rec(Either::Left(1)),
        rec(Either::Left(2)),
        rec(Either::Right((1, None))),
        rec(Either::Left(1)),
        rec(Either::Left(2)),
        end(),
    ])
    .expect(texts(&["1", "one", "two", "1", "two"]))
    .routed_by(|record| match record {
        Either::Left(number) => Some(*number),
        Either::Right(_) => None,
    })
    .in_all_modes();
}

#[test]
fn a_keyed_broadcast_function_has_state_of_both_kinds() {
    harness(|context, operator, output| {
        let selector = OwnedKey::new(|number: &u32| *number);
        let sides = SideOutputs::new();
        Ok(Box::new(open_keyed_broadcast_process(context, operator, selector, CountedNames, sides, output)?))
    })
    .input([
        rec(Either::Left(1)),
        rec(named(1, "one")),
        rec(Either::Left(1)),
        rec(Either::Left(2)),
        rec(named(2, "two")),
        rec(Either::Left(2)),
        rec(Either::Left(1)),
        end(),
    ])
    .expect(texts(&["1 1", "one 2", "2 1", "two 2", "one 3"]))
    .routed_by(|record| match record {
        Either::Left(number) => Some(*number),
        Either::Right(_) => None,
    })
    .in_all_modes();
}
