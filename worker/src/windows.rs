//! Windows on keyed streams.
//!
//! * [`WindowAssigner`]: which windows a record belongs to. [`Trigger`]: when a window fires. [`Evictor`]: which of its records
//!   are left out then. [`ProcessWindowFunction`]: what is called. Each can be the user's own.
//! * [`WindowOperator`] takes all of them, as Flink's does.
//! * [`SliceOperator`] is for what is used most: tumbling and sliding windows, folded, with the default trigger. Its cost per
//!   record does not depend on how many windows a record is in.
//!
//! A window of all records of a stream is one of a keyed stream whose keys are all `()`, in one subtask.

mod assigner;
mod contents;
mod continuous;
mod evictor;
mod function;
mod join;
mod merging;
mod operator;
mod output;
mod session;
mod slices;
mod trigger;
mod triggers;
mod window;

pub use assigner::{
    GlobalWindows, InEventTime, InProcessingTime, SlidingEventTimeWindows, SlidingProcessingTimeWindows,
    SlidingWindows, TimeDomain, TumblingEventTimeWindows, TumblingProcessingTimeWindows, TumblingWindows,
    WindowAssigner, window_start,
};
pub use contents::{Aggregating, Collecting, Evicting, Fold, FoldAll, OpenContents, Reducing, WindowContents};
pub use continuous::{ContinuousEventTimeTrigger, ContinuousProcessingTimeTrigger, ContinuousTrigger};
pub use evictor::{After, CountEvictor, DeltaEvictor, Evictor, EvictorContext, TimeEvictor, TimestampedValue};
pub use function::{
    Apply, Elements, EmitContents, ProcessWindowFunction, WindowContext, WindowOpenContext, WindowState,
};
pub use join::{CoGroup, Join};
pub use operator::{WindowOperator, Windowing};
pub use output::WindowOutputs;
pub use session::{
    DynamicGap, EventTimeSessionWindows, FixedGap, ProcessingTimeSessionWindows, SessionGap, SessionWindows,
};
pub use slices::{RegularWindows, SliceOperator, Slicing};
pub use trigger::{Trigger, TriggerContext, TriggerResult};
pub use triggers::{CountTrigger, DeltaTrigger, EventTimeTrigger, NeverTrigger, ProcessingTimeTrigger, PurgingTrigger};
pub use window::{GlobalWindow, TimeWindow, Window};
