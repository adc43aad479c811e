//! Sessions: what belongs together because it comes without a long pause.
//!
//! ```text
//! session-windowing [--gap-ms MILLISECONDS] [--output DIRECTORY]
//! ```
//!
//! Users do something at moments of event time; a session is over when a user did nothing for the gap. For each session it
//! emits who, when it began and ended, and how many things were done.

use std::time::Duration;

use clap::Parser;
use flumen::windows::EventTimeSessionWindows;
use flumen::{StreamExecutionEnvironment, WatermarkStrategy};

#[derive(Parser)]
struct Arguments {
    /// For how long a user does nothing before the session is over
    #[arg(long, default_value_t = 3)]
    gap_ms: u64,
    /// The directory to write to; without it, sessions are printed
    #[arg(long)]
    output: Option<String>,
}

/// Who, and when.
type Action = (String, i64);

fn main() -> flumen::Result<()> {
    let arguments = Arguments::parse();
    let env = StreamExecutionEnvironment::get()?;
    let actions = [("a", 1), ("b", 1), ("b", 3), ("b", 5), ("c", 6), ("a", 10), ("c", 11)];
    let times = WatermarkStrategy::for_monotonous_timestamps().with_timestamp_assigner(|(_, at): &Action, _| *at);
    let sessions = env
        .from_collection(actions.map(|(user, at)| (user.to_owned(), at)))
        .assign_timestamps_and_watermarks(times)
        .key_by_ref(|(user, _)| user)
        .window(EventTimeSessionWindows::with_gap(Duration::from_millis(arguments.gap_ms)))
        // User, begin, end, number of actions.
        .apply(|user, window, actions, out| out.collect((user.clone(), window.start, window.end, actions.len())))
        .uid("sessions");
    match &arguments.output {
        Some(output) => sessions.write_as_text(output),
        None => sessions.print(),
    };
    env.execute("Session Windowing")?;
    Ok(())
}
