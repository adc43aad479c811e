//! Flumen: a distributed, stateful stream processor that runs natively where Apache Flink runs.
//!
//! A job is an ordinary program:
//!
//! ```no_run
//! use flumen::{Collector, StreamExecutionEnvironment};
//!
//! fn main() -> flumen::Result<()> {
//!     let env = StreamExecutionEnvironment::get()?; // finds out by itself where it runs
//!     env.read_text_file("input.txt")?
//!         .flat_map(|line: String, out: &mut Collector<(String, u64)>| {
//!             line.split_whitespace().for_each(|word| out.collect((word.to_owned(), 1)))
//!         })
//!         .key_by_ref(|(word, _)| word)
//!         .sum(|t| &mut t.1)
//!         .write_as_text("counts");
//!     env.execute("WordCount")?;
//!     Ok(())
//! }
//! ```
//!
//! Started by hand it runs in an embedded cluster inside its own process. Started by `flink run` the same executable first
//! says what it would run, and is then started once in every container of the job as its worker. Code before
//! [`StreamExecutionEnvironment::execute`] therefore runs in every one of these processes, and must build the same graph
//! from the same arguments in each.
//!
//! Start reading at [`StreamExecutionEnvironment`] and [`DataStream`].

mod environment;
mod keyed;
mod stream;
mod transformations;

mod async_io;
mod broadcast;
mod connected;
mod interval_join;
mod joined;
mod process;
mod side_output;
mod time;
mod windowed;

mod sinks;

mod function_error;
mod sink_function;
mod source_function;

mod graph;

mod embedded;
mod role;

mod error;

pub use async_io::AsyncDataStream;
pub use broadcast::{BroadcastConnectedKeyedStream, BroadcastConnectedStream, BroadcastStream};
pub use connected::{ConnectKeyedWith, ConnectWith, ConnectedKeyedStreams, ConnectedStreams};
pub use embedded::JobClient;
pub use environment::{
    CheckpointConfig, CheckpointingMode, ExternalizedCheckpointRetention, JobExecutionResult, RestartStrategy,
    StreamExecutionEnvironment,
};
pub use error::{Error, Result};
pub use interval_join::{IntervalJoinStreams, IntervalJoined};
pub use joined::{Groups, JoinedKeyed, JoinedStreams, JoinedWhere, JoinedWindows, Pairs};
pub use keyed::KeyedStream;
pub use sink_function::{SinkContext, SinkFunction};
pub use sinks::DataStreamSink;
pub use source_function::{ReadStatus, SourceFunction, SourceOutput};
pub use stream::DataStream;
pub use windowed::{EvictingWindowedStream, OpenWindows, WindowedStream};

pub use flumen_model::config::Configuration;
pub use flumen_model::job_graph::RuntimeMode;
pub use flumen_state::{
    AggregateFunction, AggregatingState, AggregatingStateDescriptor, ListState, ListStateDescriptor, MapState,
    MapStateDescriptor, ReducingState, ReducingStateDescriptor, StateError, StateTtlConfig, TtlUpdate, TtlVisibility,
    ValueState, ValueStateDescriptor,
};
pub use flumen_worker::batch::{END_OF_TIME, EventTime, NO_TIME};
pub use flumen_worker::functions::{
    AsyncFunction, AsyncMode, AsyncOptions, AsyncRetryStrategy, BroadcastContext, BroadcastProcessFunction,
    BroadcastState, CoProcessFunction, Context, FunctionError, FunctionResult, JoinContext,
    KeyedBroadcastProcessFunction, KeyedCoProcessFunction, KeyedContext, KeyedProcessFunction, OpenContext,
    OperatorContext, ProcessFunction, ProcessJoinFunction, ReadOnlyBroadcastState, RuntimeContext, TimeDomain,
    TimerService,
};
pub use flumen_worker::keyed::{Key, KeySelector};
pub use flumen_worker::operator::Data;
pub use flumen_worker::operators::Collector;
pub use flumen_worker::operators::side_output::OutputTag;
pub use flumen_worker::operators::timestamps_watermarks::{
    BoundedOutOfOrderness, NoWatermarks, TimestampAssigner, WatermarkGenerator, WatermarkOutput, WatermarkStrategy,
};
pub use flumen_worker::sinks::AsText;

/// The file sink: what files are called, where they lie, when they are closed.
pub mod files {
    pub use flumen_worker::sinks::file::{
        BadDatePattern, BasePathBucketAssigner, BucketAssigner, BucketContext, DateTimeBucketAssigner,
        DefaultRollingPolicy, Encoder, FileSink, MissingParts, OnCheckpointRollingPolicy, OutputFileConfig,
        PartFileInfo, RollingPolicy, SimpleStringEncoder, SinkError, Zone,
    };
}

/// Windows: which there are, when they fire, and what is called then.
pub mod windows {
    pub use flumen_worker::windows::{
        Apply, ContinuousEventTimeTrigger, ContinuousProcessingTimeTrigger, CountEvictor, CountTrigger, DeltaEvictor,
        DeltaTrigger, Elements, EventTimeSessionWindows, EventTimeTrigger, Evictor, EvictorContext, GlobalWindow,
        GlobalWindows, InEventTime, InProcessingTime, NeverTrigger, ProcessWindowFunction,
        ProcessingTimeSessionWindows, ProcessingTimeTrigger, PurgingTrigger, SessionGap, SlidingEventTimeWindows,
        SlidingProcessingTimeWindows, TimeEvictor, TimeWindow, TimestampedValue, Trigger, TriggerContext,
        TriggerResult, TumblingEventTimeWindows, TumblingProcessingTimeWindows, Window, WindowAssigner, WindowContext,
        WindowOpenContext, WindowState,
    };
}

/// The programs of the user guide are compiled and run as tests of this crate.
#[cfg(doctest)]
mod user_guide {
    #[doc = include_str!("../../docs/user-guide/first-program.md")]
    struct FirstProgram;

    #[doc = include_str!("../../docs/user-guide/coming-from-flink.md")]
    struct ComingFromFlink;

    #[doc = include_str!("../../docs/user-guide/state.md")]
    struct State;

    #[doc = include_str!("../../docs/user-guide/time.md")]
    struct Time;

    #[doc = include_str!("../../docs/user-guide/windows.md")]
    struct Windows;

    #[doc = include_str!("../../docs/user-guide/checkpoints.md")]
    struct Checkpoints;
}
