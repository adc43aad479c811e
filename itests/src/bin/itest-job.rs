//! A job for tests: counts numbers under a thousand names, slowly while its gate is closed, and goes wrong where it is told to.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use flumen::{RuntimeMode, StreamExecutionEnvironment};
use flumen_itests::job::name_of;

/// While the gate is closed a source looks at it once in so many records …
const LOOK_EVERY: u64 = 16;
/// … and waits this long.
const PAUSE: Duration = Duration::from_millis(20);

#[derive(Clone, Parser)]
struct Arguments {
    /// How many numbers there are
    #[arg(long, default_value_t = 100_000)]
    count: u64,
    /// While this file does not exist, each source subtask emits no more than 800 numbers a second
    #[arg(long)]
    gate: Option<PathBuf>,
    /// What goes wrong
    #[arg(long, requires = "at")]
    fault: Option<Fault>,
    /// At which number
    #[arg(long)]
    at: Option<u64>,
    /// It goes wrong only while this file does not exist, and creates it before
    #[arg(long)]
    once: Option<PathBuf>,
    /// Where the counts go, else to standard output
    #[arg(long)]
    output: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Fault {
    /// A panic in the user's code
    Panic,
    /// The process aborts
    Abort,
    /// The process takes memory until somebody stops it
    Exhaust,
}

fn main() -> flumen::Result<()> {
    let arguments = Arguments::parse();
    let env = StreamExecutionEnvironment::get()?;
    env.set_runtime_mode(RuntimeMode::Batch);
    let (source, checking) = (arguments.clone(), arguments.clone());
    let counts = env
        .generate(arguments.count, None, move |number| {
            if number % LOOK_EVERY == 0 && source.gate_is_closed() {
                pause();
            }
            number
        })
        .rebalance()
        .map(move |number| {
            if checking.at == Some(number) {
                checking.go_wrong(number);
            }
            (name_of(number), 1u64)
        })
        .name("Checking")
        .key_by_ref(|(name, _)| name)
        .sum(|count| &mut count.1);
    match &arguments.output {
        Some(output) => counts.write_as_text(output),
        None => counts.print(),
    };
    env.execute("itest")?;
    Ok(())
}

impl Arguments {
    fn gate_is_closed(&self) -> bool {
        self.gate.as_ref().is_some_and(|gate| !gate.is_file())
    }

    fn go_wrong(&self, number: u64) {
        if let Some(once) = &self.once
            && std::fs::File::create_new(once).is_err()
        {
            return;
        }
        match self.fault {
            Some(Fault::Panic) => panic!("number {number} is bad"),
            Some(Fault::Abort) => std::process::abort(),
            Some(Fault::Exhaust) => exhaust(),
            None => {}
        }
    }
}

/// 4 MB a step, written so that they are resident, and slow enough that whoever watches over memory can be in time.
fn exhaust() {
    let mut taken = Vec::new();
    loop {
        taken.push(vec![1u8; 4 << 20]);
        pause();
    }
}

#[expect(clippy::disallowed_methods, reason = "this job is slow on purpose")]
fn pause() {
    std::thread::sleep(PAUSE);
}
