//! A sink that throws its records away and writes down how many there were, and when.
//!
//! Lines: milliseconds since 1970, records so far, sum so far, tag, with tabs between. Tags: `OPEN`, `FIRST` at the first
//! record, `-` at most every 100 ms, `END` at the end of the input, `CLOSE`.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use flumen::{FunctionResult, RuntimeContext, SinkContext, SinkFunction};

/// How often lines are written.
const EVERY: Duration = Duration::from_millis(100);
/// How often the clock is looked at, in records.
const RECORDS: u64 = 1024;

/// The sink. `amount` says what a record adds to the sum.
#[derive(Clone)]
pub struct ProbeSink<F> {
    directory: String,
    look_at_every_record: bool,
    amount: F,
}

impl<F> ProbeSink<F> {
    /// Writes files `sink-<subtask>-a<attempt>-p<pid>.log` into a directory, which is made if it isn't there.
    pub fn new(directory: &str, look_at_every_record: bool, amount: F) -> Self {
        Self { directory: directory.to_owned(), look_at_every_record, amount }
    }
}

/// The sink of one subtask.
pub struct Probe {
    lines: File,
    records: u64,
    sum: u64,
    written: Instant,
}

impl Probe {
    fn line(&mut self, tag: &str) -> std::io::Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        self.written = Instant::now();
        writeln!(self.lines, "{now}\t{}\t{}\t{tag}", self.records, self.sum)
    }
}

impl<T, F> SinkFunction<T> for ProbeSink<F>
where
    F: Fn(&T) -> u64 + Clone + Send + Sync + 'static,
{
    type State = Probe;

    fn open(&self, context: &RuntimeContext) -> FunctionResult<Probe> {
        std::fs::create_dir_all(&self.directory)?;
        let (subtask, attempt) = (context.index_of_this_subtask(), context.attempt_number());
        let path = format!("{}/sink-{subtask}-a{attempt}-p{}.log", self.directory, std::process::id());
        let lines = OpenOptions::new().create(true).append(true).open(path)?;
        let mut probe = Probe { lines, records: 0, sum: 0, written: Instant::now() };
        probe.line("OPEN")?;
        Ok(probe)
    }

    #[inline]
    fn invoke(&mut self, record: T, probe: &mut Probe, _: &SinkContext) -> FunctionResult {
        probe.records += 1;
        probe.sum += (self.amount)(&record);
        if probe.records == 1 {
            probe.line("FIRST")?;
        } else if (self.look_at_every_record || probe.records.is_multiple_of(RECORDS))
            && probe.written.elapsed() >= EVERY
        {
            probe.line("-")?;
        }
        Ok(())
    }

    fn finish(&mut self, probe: &mut Probe) -> FunctionResult {
        Ok(probe.line("END")?)
    }

    fn close(&mut self, mut probe: Probe) {
        // As well as it can be done: the job is over.
        let _ = probe.line("CLOSE");
    }
}
