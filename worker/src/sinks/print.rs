//! To standard output: the terminal in an embedded run, `taskmanager.out` on a cluster.

use std::io::Write as _;

use flumen_model::failure::Blame;

use crate::batch::Batch;
use crate::operator::{Push, Signal, TaskError, TaskResult};
use crate::sinks::AsText;

/// Prints one line a record, as Flink does: with the subtask's number before it when there are several.
pub struct PrintSink {
    prefix: String,
    lines: String,
}

impl PrintSink {
    /// The sink of subtask `index` of `parallelism`.
    pub fn new(index: u32, parallelism: u32) -> Self {
        let prefix = if parallelism > 1 { format!("{}> ", index + 1) } else { String::new() };
        Self { prefix, lines: String::new() }
    }
}

impl<T: AsText> Push<T> for PrintSink {
    fn push(&mut self, batch: &mut Batch<T>) -> TaskResult {
        self.lines.clear();
        for (record, _) in batch.drain() {
            self.lines.push_str(&self.prefix);
            record.write_text(&mut self.lines);
            self.lines.push('\n');
        }
        let mut stdout = std::io::stdout().lock();
        stdout
            .write_all(self.lines.as_bytes())
            .and_then(|()| stdout.flush())
            .map_err(|error| TaskError::caused_by(Blame::Outside, "printing to standard output", &error))
    }

    fn signal(&mut self, _: Signal<'_>) -> TaskResult {
        Ok(())
    }
}
