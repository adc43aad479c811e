//! A stream beside one that goes to all subtasks.

use flumen::{
    BroadcastContext, BroadcastProcessFunction, BroadcastState, Collector, Context, FunctionResult,
    KeyedBroadcastProcessFunction, KeyedContext, OpenContext, OperatorContext, ValueState, ValueStateDescriptor,
};

use crate::world::{env, run};

/// Remembers names, and gives them to numbers; counts how often each number was seen.
#[derive(Clone)]
struct Names;

impl BroadcastProcessFunction<u64, (u64, String), String> for Names {
    type State = BroadcastState<u64, String>;

    fn open(&self, context: &mut OperatorContext<'_>) -> FunctionResult<Self::State> {
        Ok(context.broadcast_state("names")?)
    }

    fn process_element(
        &mut self,
        number: u64,
        names: &Self::State,
        ctx: &mut Context<'_>,
        out: &mut Collector<String>,
    ) -> FunctionResult {
        out.collect(ctx.broadcast_state(names).get(&number).unwrap_or_else(|| "unknown".to_owned()));
        Ok(())
    }

    fn process_broadcast_element(
        &mut self,
        (number, name): (u64, String),
        names: &Self::State,
        ctx: &mut BroadcastContext<'_>,
        out: &mut Collector<String>,
    ) -> FunctionResult {
        ctx.broadcast_state(names).put(number, name.clone());
        out.collect(format!("new: {name}"));
        Ok(())
    }
}

impl KeyedBroadcastProcessFunction<u64, u64, (u64, String), String> for Names {
    type State = ValueState<u64, u64>;

    fn open(&self, context: &mut OpenContext<'_, u64>) -> FunctionResult<Self::State> {
        Ok(context.value_state(ValueStateDescriptor::new("seen"))?)
    }

    fn process_element(
        &mut self,
        number: u64,
        seen: &Self::State,
        _: &mut KeyedContext<'_, u64>,
        out: &mut Collector<String>,
    ) -> FunctionResult {
        let seen = seen.upsert(u64::default, |seen| {
            *seen += 1;
            *seen
        })?;
        out.collect(format!("{number} the {seen}. time"));
        Ok(())
    }

    fn process_broadcast_element(
        &mut self,
        (_, name): (u64, String),
        _: &Self::State,
        ctx: &mut BroadcastContext<'_>,
        out: &mut Collector<String>,
    ) -> FunctionResult {
        out.collect(format!("{name} in {}", ctx.runtime().index_of_this_subtask()));
        Ok(())
    }
}

#[test]
fn all_subtasks_get_the_records_of_the_broadcast_stream() {
    let env = env(3);
    let names = env.from_elements([(1, "one".to_owned()), (2, "two".to_owned())]).broadcast_stream();
    let named = env.generate(9, None, |i| i % 3).connect(names).process(Names);
    let seen = run(&env, named).unwrap();
    let of = |text: &str| seen.iter().filter(|seen| *seen == text).count();
    assert_eq!((of("new: one"), of("new: two")), (3, 3), "{seen:?}");
    // Whether a name is known when a number comes is not fixed.
    assert_eq!(seen.len(), 6 + 9);
    assert!(of("one") <= 3 && of("two") <= 3 && of("unknown") >= 3, "{seen:?}");
}

#[test]
fn a_keyed_stream_has_its_state_beside_a_broadcast_one() {
    let env = env(2);
    let names = env.from_elements([(1, "one".to_owned())]).broadcast_stream();
    let counted = env.generate(6, None, |i| i % 3).key_by_ref(|i| i).connect(names).process(Names);
    let mut expected: Vec<String> = vec!["one in 0".into(), "one in 1".into()];
    expected.extend((0..3).flat_map(|i| [format!("{i} the 1. time"), format!("{i} the 2. time")]));
    expected.sort();
    assert_eq!(run(&env, counted).unwrap(), expected);
}
