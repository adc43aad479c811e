//! Two streams in one operator.

use std::collections::BTreeMap;
use std::time::Duration;

use flumen::windows::TumblingEventTimeWindows;
use flumen::{
    Collector, FunctionResult, KeyedCoProcessFunction, KeyedContext, ListState, ListStateDescriptor, OpenContext,
};

use crate::world::{env, run, second_field};

const N: u64 = 300;

fn left(i: u64) -> (u64, i64) {
    (i % 10, i as i64 * 7)
}

fn right(i: u64) -> (u64, i64) {
    (i % 15, i as i64 * 5)
}

fn windows() -> TumblingEventTimeWindows {
    TumblingEventTimeWindows::of(Duration::from_millis(100))
}

#[test]
fn a_window_join_has_each_pair_of_a_key_and_a_window_and_a_co_group_all_at_once() {
    let mut pairs = Vec::new();
    let mut groups: BTreeMap<(u64, i64), (usize, usize)> = BTreeMap::new();
    for (a, b) in (0..N).map(left).flat_map(|a| (0..N).map(right).map(move |b| (a, b))) {
        if a.0 == b.0 && a.1 / 100 == b.1 / 100 {
            pairs.push((a.0, a.1, b.1));
        }
    }
    for (key, time) in (0..N).map(left) {
        groups.entry((key, time / 100)).or_default().0 += 1;
    }
    for (key, time) in (0..N).map(right) {
        groups.entry((key, time / 100)).or_default().1 += 1;
    }
    pairs.sort_unstable();
    let mut sizes: Vec<_> = groups.into_iter().map(|((key, _), (a, b))| (key, a, b)).collect();
    sizes.sort_unstable();
    for parallelism in [1, 3] {
        let env = env(parallelism);
        let streams = || {
            let left = env.generate(N, None, left).assign_timestamps_and_watermarks(second_field(0));
            (left, env.generate(N, None, right).assign_timestamps_and_watermarks(second_field(0)))
        };
        let (a, b) = streams();
        let joined = a.join(b).where_(|a| a.0).equal_to(|b| b.0).window(windows());
        let joined = joined.apply(|a, b, out| out.collect((a.0, a.1, b.1)));
        assert_eq!(run(&env, joined).unwrap(), pairs);

        env.set_parallelism(parallelism);
        let (a, b) = streams();
        let grouped = a.co_group(b).where_(|a| a.0).equal_to(|b| b.0).window(windows()).apply(|a, b, out| {
            let key = a.iter().chain(&b).map(|record: &(u64, i64)| record.0).max().unwrap_or(0);
            out.collect((key, a.len(), b.len()));
        });
        assert_eq!(run(&env, grouped).unwrap(), sizes);
    }
}

/// Joins everything with everything of the same key.
#[derive(Clone)]
struct JoinAll;

type Lists = (ListState<u64, i64>, ListState<u64, String>);

impl KeyedCoProcessFunction<u64, (u64, i64), (u64, String), (u64, i64, String)> for JoinAll {
    type State = Lists;

    fn open(&self, context: &mut OpenContext<'_, u64>) -> FunctionResult<Lists> {
        let times = context.list_state(ListStateDescriptor::new("times"))?;
        Ok((times, context.list_state(ListStateDescriptor::new("texts"))?))
    }

    fn process_element1(
        &mut self,
        (key, time): (u64, i64),
        (times, texts): &Lists,
        _: &mut KeyedContext<'_, u64>,
        out: &mut Collector<(u64, i64, String)>,
    ) -> FunctionResult {
        texts.get()?.into_iter().for_each(|text| out.collect((key, time, text)));
        Ok(times.add(time)?)
    }

    fn process_element2(
        &mut self,
        (key, text): (u64, String),
        (times, texts): &Lists,
        _: &mut KeyedContext<'_, u64>,
        out: &mut Collector<(u64, i64, String)>,
    ) -> FunctionResult {
        times.get()?.into_iter().for_each(|time| out.collect((key, time, text.clone())));
        Ok(texts.add(text)?)
    }
}

#[test]
fn connected_streams_share_the_state_of_a_key() {
    let text = |i: u64| (i % 6, format!("text {i}"));
    let mut expected = Vec::new();
    for (key, time) in (0..40).map(left) {
        expected.extend((0..40).map(text).filter(|(other, _)| *other == key).map(|(_, text)| (key, time, text)));
    }
    expected.sort();
    for parallelism in [1, 3] {
        let env = env(parallelism);
        let (numbers, texts) = (env.generate(40, None, left), env.generate(40, None, text));
        let joined = numbers.connect(texts).key_by(|a| a.0, |b| b.0).process(JoinAll);
        assert_eq!(run(&env, joined).unwrap(), expected);

        env.set_parallelism(parallelism);
        let (numbers, texts) = (env.generate(40, None, left), env.generate(40, None, text));
        let joined = numbers
            .key_by_ref(|a| &a.0)
            .connect(texts.union(env.from_elements([(99, "x".to_owned())])).key_by_ref(|b| &b.0));
        assert_eq!(run(&env, joined.process(JoinAll)).unwrap(), expected);
    }
}

#[test]
fn connected_streams_without_keys_are_mapped_each_by_its_function() {
    let env = env(2);
    let (numbers, texts) = (env.generate(3, None, |i| i), env.from_elements(["a".to_owned()]));
    let both = numbers.connect(texts).map(|number| number.to_string(), |text| text);
    assert_eq!(run(&env, both).unwrap(), ["0", "1", "2", "a"]);
    let (numbers, texts) = (env.generate(3, None, |i| i), env.from_elements(["a b".to_owned()]));
    let both = numbers.connect(texts).flat_map(
        |number, out: &mut Collector<String>| (0..number).for_each(|_| out.collect(number.to_string())),
        |text: String, out| text.split(' ').for_each(|word| out.collect(word.to_owned())),
    );
    assert_eq!(run(&env, both).unwrap(), ["1", "2", "2", "a", "b"]);
}
