//! Watches users of a shop: which event may follow which is a state machine, and an event that may not is an alert.
//!
//! ```text
//! state-machine [--users N] [--events N] [--error-rate SHARE] [--rate PER_SECOND] [--seed N] [--output DIRECTORY]
//! ```
//!
//! The generator is part of the job. It lets each user take legal steps, except for the share of events that `--error-rate`
//! says, which are illegal; so with 0 there are no alerts. After an illegal event a user begins anew. The position of the
//! source holds the state of every user, so that the same events are generated again after a failure.

use std::fmt;
use std::time::{Duration, Instant};

use clap::Parser;
use flumen::{
    AsText, Collector, FunctionResult, KeyedContext, KeyedProcessFunction, OpenContext, ReadStatus, RuntimeContext,
    SourceFunction, SourceOutput, StreamExecutionEnvironment, ValueState, ValueStateDescriptor,
};
use flumen_examples::bench::splitmix64;
use serde::{Deserialize, Serialize};

#[derive(Parser)]
struct Arguments {
    /// How many users there are
    #[arg(long, default_value_t = 1000)]
    users: u32,
    /// How many events there are
    #[arg(long, default_value_t = 100_000)]
    events: u64,
    /// Share of the events that are illegal, from 0 to 1
    #[arg(long, default_value_t = 0.0)]
    error_rate: f64,
    /// Events per second of all subtasks together; 0 is as fast as it goes
    #[arg(long, default_value_t = 0.0)]
    rate: f64,
    /// From which the events follow
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The directory to write to; without it, alerts are printed
    #[arg(long)]
    output: Option<String>,
}

/// Where a user is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
enum State {
    #[default]
    Outside,
    Browsing,
    InCart,
    Paying,
}

/// What a user does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Action {
    Login,
    View,
    Add,
    Checkout,
    Pay,
    Cancel,
    Logout,
}

const ACTIONS: [Action; 7] = {
    use Action::*;
    [Login, View, Add, Checkout, Pay, Cancel, Logout]
};

impl State {
    /// The state after an action; `None` when the action is illegal.
    fn after(self, action: Action) -> Option<State> {
        use Action::*;
        use State::*;
        match (self, action) {
            (Outside, Login) => Some(Browsing),
            (Browsing | InCart, View) => Some(self),
            (Browsing | InCart, Add) => Some(InCart),
            (InCart, Checkout) => Some(Paying),
            (Paying, Pay) | (InCart, Cancel) => Some(Browsing),
            (Paying, Cancel) => Some(InCart),
            (Browsing, Logout) => Some(Outside),
            _ => None,
        }
    }
}

/// A user does something.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Event {
    user: u32,
    action: Action,
}

/// A user did what was illegal.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Alert {
    user: u32,
    state: State,
    action: Action,
}

impl fmt::Display for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "user {} was {:?} and did {:?}", self.user, self.state, self.action)
    }
}

impl AsText for Alert {
    fn write_text(&self, out: &mut String) {
        use std::fmt::Write as _;
        let _ = write!(out, "{self}");
    }
}

/// Generates events. A split is some of the users.
#[derive(Clone)]
struct Events {
    users: u32,
    events: u64,
    error_rate: f64,
    /// Per second and split; 0: no limit.
    rate: f64,
    seed: u64,
}

/// So many splits, however many subtasks there are.
const SPLITS: u32 = 16;

/// The users of a split, where they are, and what is left to be generated.
#[derive(Clone, Serialize, Deserialize)]
struct Users {
    first: u32,
    states: Vec<State>,
    generated: u64,
    count: u64,
}

impl Events {
    /// The next event, and the user's state after it.
    fn next(&self, users: &mut Users) -> Event {
        let mut random = splitmix64(self.seed ^ u64::from(users.first) << 40 ^ users.generated);
        let mut below = |bound: u64| {
            random = splitmix64(random);
            random % bound.max(1)
        };
        let index = below(users.states.len() as u64) as usize;
        let illegal = below(1 << 32) < (self.error_rate * (1u64 << 32) as f64) as u64;
        let state = users.states[index];
        let choices = ACTIONS.iter().copied().filter(|action| state.after(*action).is_none() == illegal);
        let choices: Vec<Action> = choices.collect();
        let action = choices[below(choices.len() as u64) as usize];
        users.states[index] = state.after(action).unwrap_or_default();
        users.generated += 1;
        Event { user: users.first + index as u32, action }
    }
}

impl SourceFunction for Events {
    type Out = Event;
    type Split = Users;
    /// When it began, and how many were generated since, for the rate.
    type State = (Instant, u64);

    fn splits(&self) -> Vec<Users> {
        let splits = u64::from(SPLITS.min(self.users.max(1)));
        let part = |of: u64, split: u64| of * split / splits;
        let users = |split| {
            let (first, end) = (part(self.users.max(1).into(), split), part(self.users.max(1).into(), split + 1));
            let count = part(self.events, split + 1) - part(self.events, split);
            Users { first: first as u32, states: vec![State::default(); (end - first) as usize], generated: 0, count }
        };
        (0..splits).map(users).collect()
    }

    fn open(&self, _: &RuntimeContext) -> FunctionResult<Self::State> {
        Ok((Instant::now(), 0))
    }

    fn read(
        &mut self,
        users: &mut Users,
        (since, generated): &mut Self::State,
        out: &mut SourceOutput<'_, Event>,
    ) -> FunctionResult<ReadStatus> {
        while users.generated < users.count && !out.is_full() {
            if self.rate > 0.0 && *generated as f64 > since.elapsed().as_secs_f64() * self.rate {
                return Ok(ReadStatus::Idle(Duration::from_millis(1)));
            }
            out.collect(self.next(users));
            *generated += 1;
        }
        Ok(if users.generated == users.count { ReadStatus::Finished } else { ReadStatus::More })
    }
}

/// Follows each user through the state machine.
#[derive(Clone)]
struct Watch;

impl KeyedProcessFunction<u32, Event, Alert> for Watch {
    type State = ValueState<u32, State>;

    fn open(&self, context: &mut OpenContext<'_, u32>) -> FunctionResult<Self::State> {
        Ok(context.value_state(ValueStateDescriptor::new("state"))?)
    }

    fn process_element(
        &mut self,
        Event { user, action }: Event,
        state: &Self::State,
        _: &mut KeyedContext<'_, u32>,
        out: &mut Collector<Alert>,
    ) -> FunctionResult {
        let now = state.get()?.unwrap_or_default();
        let next = now.after(action);
        if next.is_none() {
            out.collect(Alert { user, state: now, action });
        }
        match next.unwrap_or_default() {
            // As if the user had never been there: nothing to keep.
            State::Outside => state.clear()?,
            next => state.set(next)?,
        }
        Ok(())
    }
}

fn main() -> flumen::Result<()> {
    let arguments = Arguments::parse();
    let env = StreamExecutionEnvironment::get()?;
    let events = Events {
        users: arguments.users,
        events: arguments.events,
        error_rate: arguments.error_rate.clamp(0.0, 1.0),
        rate: arguments.rate.max(0.0) / f64::from(env.parallelism()?),
        seed: arguments.seed,
    };
    let alerts =
        env.add_source(events).uid("events").key_by_ref(|event| &event.user).process(Watch).uid("state machine");
    match &arguments.output {
        Some(output) => alerts.write_as_text(output),
        None => alerts.print(),
    };
    env.execute("State Machine")?;
    Ok(())
}
