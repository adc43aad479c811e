//! Keyed aggregates and functions on keyed streams.

use flumen_state::{ListState, ListStateDescriptor, ValueState, ValueStateDescriptor};
use flumen_testkit::{end, harness, processing_time, rec, share, watermark};
use flumen_worker::batch::EventTime;
use flumen_worker::functions::{
    FunctionResult, KeyedCoProcessFunction, KeyedContext, KeyedProcessFunction, OpenContext, TimeDomain,
};
use flumen_worker::keyed::{BorrowedKey, OwnedKey};
use flumen_worker::operator::TaskError;
use flumen_worker::operators::either::Either;
use flumen_worker::operators::keyed_process::{KeyedProcess, open_keyed_co_process};
use flumen_worker::operators::reduce::StreamingReduce;
use flumen_worker::operators::side_output::{OutputTag, SideOutputs};
use flumen_worker::operators::{Collector, Map};

type Pair = (String, i64);

fn pair(key: &str, value: i64) -> Pair {
    (key.to_owned(), value)
}

fn by_key() -> BorrowedKey<impl Fn(&Pair) -> &String + Clone + Send + Sync + 'static, String> {
    BorrowedKey::new(|pair: &Pair| &pair.0)
}

#[test]
fn reduce_emits_the_new_value_of_a_key_on_every_record() {
    harness(|context, operator, output| {
        let sum = |sum: &mut Pair, pair: Pair| sum.1 += pair.1;
        Ok(Box::new(StreamingReduce::open(context, operator, by_key(), sum, output)?))
    })
    .input([
        rec(pair("a", 1)).at(5),
        rec(pair("b", 10)),
        rec(pair("a", 2)).at(4),
        watermark(5),
        rec(pair("c", 100)),
        rec(pair("b", 20)),
        end(),
    ])
    .expect([
        rec(pair("a", 1)).at(5),
        rec(pair("b", 10)),
        rec(pair("a", 3)).at(4),
        rec(pair("c", 100)),
        rec(pair("b", 30)),
    ])
    .keyed_by(|pair| pair.0.clone())
    .ordered_by(|pair| pair.0.clone())
    .in_all_modes();
}

/// Collects what a key gets, and emits it when the watermark is ten behind the first record, or five milliseconds after the
/// last one in processing time. Negative values go aside, zero deletes the timer, and 666 is an error.
#[derive(Clone)]
struct Sessions;

struct State {
    values: ListState<String, i64>,
    due: ValueState<String, i64>,
}

fn negative() -> OutputTag<i64> {
    OutputTag::new("negative")
}

impl KeyedProcessFunction<String, Pair, (String, Vec<i64>)> for Sessions {
    type State = State;

    fn open(&self, context: &mut OpenContext<'_, String>) -> FunctionResult<State> {
        assert!(context.runtime().index_of_this_subtask() < context.runtime().number_of_parallel_subtasks());
        Ok(State {
            values: context.list_state(ListStateDescriptor::new("values"))?,
            due: context.value_state(ValueStateDescriptor::new("due"))?,
        })
    }

    fn process_element(
        &mut self,
        (_, value): Pair,
        state: &State,
        ctx: &mut KeyedContext<'_, String>,
        out: &mut Collector<(String, Vec<i64>)>,
    ) -> FunctionResult {
        match (value, ctx.timestamp()) {
            (666, _) => return Err("the number of the beast".into()),
            (..0, _) => ctx.output(&negative(), value)?,
            (0, _) => {
                if let Some(due) = state.due.get()? {
                    ctx.timer_service().delete_event_time_timer(due)?;
                    state.due.clear()?;
                }
                out.collect((ctx.current_key().clone(), vec![]));
            }
            (_, Some(time)) => {
                if state.due.get()?.is_none() {
                    ctx.timer_service().register_event_time_timer(time + 10)?;
                    state.due.set(time + 10)?;
                }
                state.values.add(value)?;
            }
            (_, None) => {
                let now = ctx.timer_service().current_processing_time();
                ctx.timer_service().register_processing_time_timer(now + 5)?;
                state.values.add(value)?;
            }
        }
        Ok(())
    }

    fn on_timer(
        &mut self,
        timestamp: EventTime,
        state: &State,
        ctx: &mut KeyedContext<'_, String>,
        out: &mut Collector<(String, Vec<i64>)>,
    ) -> FunctionResult {
        match ctx.time_domain() {
            Some(TimeDomain::EventTime) => {
                assert_eq!(ctx.timestamp(), Some(timestamp));
                assert!(ctx.timer_service().current_watermark() >= timestamp);
            }
            Some(TimeDomain::ProcessingTime) => assert_eq!(ctx.timestamp(), None),
            None => panic!("a timer has a domain"),
        }
        let values = state.values.get()?;
        state.values.clear()?;
        state.due.clear()?;
        out.collect((ctx.current_key().clone(), values));
        Ok(())
    }
}

type Session = Either<(String, Vec<i64>), i64>;

fn session(key: &str, values: &[i64]) -> Session {
    Either::Left((key.to_owned(), values.to_vec()))
}

fn sessions() -> flumen_testkit::Harness<Pair, Session> {
    harness(|context, operator, output| {
        let output = share(output);
        let side = Map::new(Either::Right, Box::new(output.side()));
        let main = Map::new(Either::Left, Box::new(output));
        let sides = SideOutputs::new().with(&negative(), Box::new(side));
        Ok(Box::new(KeyedProcess::open(context, operator, by_key(), Sessions, sides, Box::new(main))?))
    })
    .keyed_by(|pair| pair.0.clone())
    .in_any_order()
}

#[test]
fn event_time_timers_fire_with_the_watermark_at_their_time() {
    sessions()
        .input([
            rec(pair("a", 1)).at(5),
            rec(pair("b", 2)).at(7),
            rec(pair("a", 3)).at(9),
            watermark(14),
            rec(pair("a", 4)).at(14),
            watermark(16),
            rec(pair("a", 5)).at(20),
            rec(pair("c", 6)).at(100),
            end(),
        ])
        .expect([
            rec(session("a", &[1, 3, 4])).at(15),
            rec(session("b", &[2])).at(17),
            rec(session("a", &[5])).at(30),
            rec(session("c", &[6])).at(110),
        ])
        .in_all_modes();
}

#[test]
fn processing_time_timers_fire_when_it_is_time_and_not_at_or_after_the_end() {
    sessions()
        .input([
            rec(pair("a", 1)),
            processing_time(3),
            rec(pair("b", 2)),
            processing_time(4),
            processing_time(5),
            processing_time(6),
            rec(pair("a", 3)),
            processing_time(8),
            end(),
            processing_time(100),
        ])
        .expect([rec(session("a", &[1])), rec(session("b", &[2]))])
        .in_all_modes();
}

#[test]
fn a_deleted_timer_does_not_fire() {
    sessions()
        .input([rec(pair("a", 1)).at(5), rec(pair("b", 1)).at(5), rec(pair("a", 0)).at(6), watermark(50), end()])
        .expect([rec(session("a", &[])).at(6), rec(session("b", &[1])).at(15)])
        .in_all_modes();
}

#[test]
fn side_outputs_get_the_time_of_the_record() {
    sessions()
        .input([rec(pair("a", -1)).at(5), rec(pair("b", -2)), watermark(50), end()])
        .expect([rec(Either::Right(-1)).at(5), rec(Either::Right(-2))])
        .in_all_modes();
}

#[test]
fn an_error_of_the_function_is_the_users() {
    let error = sessions().input([rec(pair("a", 666))]).fails();
    let TaskError::Failed { blame, message } = error else { panic!("{error:?}") };
    assert_eq!(blame, flumen_model::failure::Blame::User);
    assert_eq!(message, "the function failed: the number of the beast");
}

/// Adds up numbers of the first stream and emits their sum for each text of the second.
#[derive(Clone)]
struct Enrich;

impl KeyedCoProcessFunction<u32, (u32, i64), (u32, String), String> for Enrich {
    type State = ValueState<u32, i64>;

    fn open(&self, context: &mut OpenContext<'_, u32>) -> FunctionResult<Self::State> {
        Ok(context.value_state(ValueStateDescriptor::new("sum"))?)
    }

    fn process_element1(
        &mut self,
        record: (u32, i64),
        sum: &Self::State,
        ctx: &mut KeyedContext<'_, u32>,
        _: &mut Collector<String>,
    ) -> FunctionResult {
        sum.upsert(|| 0, |sum| *sum += record.1)?;
        ctx.timer_service().register_event_time_timer(100)?;
        Ok(())
    }

    fn process_element2(
        &mut self,
        record: (u32, String),
        sum: &Self::State,
        _: &mut KeyedContext<'_, u32>,
        out: &mut Collector<String>,
    ) -> FunctionResult {
        out.collect(format!("{}: {}", record.1, sum.get()?.unwrap_or(0)));
        Ok(())
    }

    fn on_timer(
        &mut self,
        _: EventTime,
        sum: &Self::State,
        ctx: &mut KeyedContext<'_, u32>,
        out: &mut Collector<String>,
    ) -> FunctionResult {
        out.collect(format!("{}: {:?}", *ctx.current_key(), sum.get()?));
        Ok(())
    }
}

#[test]
fn a_co_process_function_shares_the_state_of_a_key_between_both_streams() {
    let text = |key: u32, text: &str| rec(Either::Right((key, text.to_owned())));
    harness(|context, operator, output| {
        let selectors = (OwnedKey::new(|r: &(u32, i64)| r.0), OwnedKey::new(|r: &(u32, String)| r.0));
        Ok(Box::new(open_keyed_co_process(context, operator, selectors, Enrich, SideOutputs::new(), output)?))
    })
    .input([
        rec(Either::Left((1, 10))),
        text(1, "one"),
        rec(Either::Left((2, 5))),
        rec(Either::Left((1, 7))),
        text(2, "two"),
        text(3, "three"),
        text(1, "again"),
        watermark(100),
        end(),
    ])
    .expect([
        rec("one: 10".to_owned()),
        rec("two: 5".to_owned()),
        rec("three: 0".to_owned()),
        rec("again: 17".to_owned()),
        rec("1: Some(17)".to_owned()).at(100),
        rec("2: Some(5)".to_owned()).at(100),
    ])
    .keyed_by(|record| match record {
        Either::Left((key, _)) | Either::Right((key, _)) => *key,
    })
    .in_any_order()
    .in_all_modes();
}
