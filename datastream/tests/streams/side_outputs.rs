//! Streams beside the main one.

use flumen::{Collector, Context, FunctionResult, OperatorContext, OutputTag, ProcessFunction};

use crate::world::{env, run, seen, sorted};

/// Even numbers go on; odd ones, as texts, to the side.
#[derive(Clone)]
struct Split {
    odd: OutputTag<String>,
    unread: OutputTag<u64>,
}

impl ProcessFunction<u64, u64> for Split {
    type State = ();

    fn open(&self, _: &mut OperatorContext<'_>) -> FunctionResult {
        Ok(())
    }

    fn process_element(
        &mut self,
        number: u64,
        (): &(),
        ctx: &mut Context<'_>,
        out: &mut Collector<u64>,
    ) -> FunctionResult {
        ctx.output(&self.unread, number)?;
        if number.is_multiple_of(2) {
            out.collect(number);
        } else {
            ctx.output(&self.odd, number.to_string())?;
        }
        Ok(())
    }
}

fn split() -> Split {
    Split { odd: OutputTag::new("odd"), unread: OutputTag::new("unread") }
}

#[test]
fn what_goes_to_the_side_is_a_stream_of_its_own_in_and_between_subtasks() {
    for chained in [true, false] {
        let env = env(2);
        let function = split();
        let odd = function.odd.clone();
        let even = env.generate(1000, None, |i| i).process(function);
        let twice = even.get_side_output(&odd);
        let odd = if chained { even.get_side_output(&odd) } else { even.get_side_output(&odd).rebalance() };
        let (odd, twice) =
            (seen(odd.map(|text| text.parse::<u64>().unwrap())), seen(twice.key_by(String::len).reduce(|_, _| {})));
        assert_eq!(run(&env, even).unwrap(), (0..500).map(|i| 2 * i).collect::<Vec<u64>>());
        assert_eq!(sorted(&odd), (0..500).map(|i| 2 * i + 1).collect::<Vec<_>>());
        assert_eq!(twice.lock().unwrap().len(), 500);
    }
}

#[test]
fn a_side_output_is_refused_where_there_is_none_or_where_it_has_another_type() {
    let env = env(1);
    let stream = env.generate(1, None, |i| i).map(|i| i);
    stream.get_side_output(&OutputTag::<u64>::new("odd")).print();
    let error = env.execute("refused").unwrap_err().to_string();
    assert!(error.contains("`Map` has no side outputs"), "{error}");

    let stream = env.generate(1, None, |i| i).process(split());
    stream.get_side_output(&OutputTag::<String>::new("odd")).print();
    stream.get_side_output(&OutputTag::<u64>::new("odd")).print();
    let error = env.execute("refused").unwrap_err().to_string();
    assert!(error.contains("`odd`") && error.contains("String") && error.contains("u64"), "{error}");

    let stream = env.generate(10, None, |i| i).process(split());
    stream.get_side_output(&OutputTag::<u64>::new("odd")).print();
    let error = env.execute("fails").unwrap_err().to_string();
    assert!(error.contains("side output `odd`"), "{error}");
}
