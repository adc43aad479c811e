//! What users write: functions with state, timers and side outputs. The names are Flink's.
//!
//! A function is cloned for each subtask. [`open`](KeyedProcessFunction::open) makes what it works with, mostly handles of
//! state, and is called once per subtask and restore; everything happens in the subtask's thread, so that a function needs no
//! locks. An error ends the subtask, as a mistake of the user unless it comes from a state backend.
//!
//! * [`ProcessFunction`], [`CoProcessFunction`]: on any stream, on two connected streams.
//! * [`KeyedProcessFunction`], [`KeyedCoProcessFunction`]: with keyed state and timers.
//! * [`BroadcastProcessFunction`], [`KeyedBroadcastProcessFunction`]: one of the streams goes to all subtasks.
//! * [`ProcessJoinFunction`]: pairs of an interval join.
//! * [`AsyncFunction`]: waits for others without stopping the subtask.

mod asynchronous;
mod broadcast;
mod co_process;
mod context;
mod error;
mod join;
mod keyed;
mod open;
mod process;
mod runtime;

pub use asynchronous::{AsyncFunction, AsyncMode, AsyncOptions, AsyncRetryStrategy};
pub use broadcast::{
    BroadcastContext, BroadcastProcessFunction, BroadcastState, KeyedBroadcastProcessFunction, ReadOnlyBroadcastState,
};
pub use co_process::{CoProcessFunction, KeyedCoProcessFunction};
pub use context::{Context, KeyedContext, TimeDomain, TimerService};
pub use error::{FunctionError, FunctionResult};
pub use join::{JoinContext, ProcessJoinFunction};
pub use keyed::KeyedProcessFunction;
pub use open::{OpenContext, OperatorContext};
pub use process::ProcessFunction;
pub use runtime::RuntimeContext;

pub use broadcast::WithBroadcast;
pub use co_process::BothSides;

pub(crate) use context::{KeyedParts, Parts};
pub(crate) use error::{not_opened, user_failure};
