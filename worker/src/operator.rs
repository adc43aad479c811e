//! What flows through a chain, and what an operator is.

use flumen_model::failure::Blame;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A type whose values can be records of a stream: any record may have to cross to another process.
pub trait Data: Clone + Send + Serialize + DeserializeOwned + 'static {}
impl<T: Clone + Send + Serialize + DeserializeOwned + 'static> Data for T {}

/// Records that a batch holds at most by intention: enough that a virtual call, a lock and a wake-up per batch vanish,
/// few enough that a batch of small records stays in the first-level caches while it passes through a chain.
pub const BATCH_RECORDS: usize = 1024;

/// Why a subtask stops before the end of its input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskError {
    /// It was told to.
    Canceled,
    /// It can't go on.
    Failed {
        /// Whose fault.
        blame: Blame,
        /// What happened, with causes.
        message: String,
    },
}

impl TaskError {
    /// A failure with the whole chain of an error's causes.
    pub fn caused_by(blame: Blame, what: impl std::fmt::Display, error: &(dyn std::error::Error + 'static)) -> Self {
        let mut message = format!("{what}: {error}");
        let mut cause = error.source();
        while let Some(error) = cause {
            message.push_str(&format!(": {error}"));
            cause = error.source();
        }
        Self::Failed { blame, message }
    }

    /// A failure without a cause of its own.
    pub fn failed(blame: Blame, message: impl Into<String>) -> Self {
        Self::Failed { blame, message: message.into() }
    }
}

/// The result of a step of a subtask.
pub type TaskResult<T = ()> = Result<T, TaskError>;

/// The receiving end of an operator in a chain: records are pushed from the head to the writers and sinks.
///
/// The order of calls is `(push | flush)* end`; after an error nothing more is called.
pub trait Push<T>: Send {
    /// Takes all records out of the batch, which comes back empty with its capacity.
    fn push(&mut self, batch: &mut Vec<T>) -> TaskResult;

    /// Passes on whatever waits in a buffer: the subtask has nothing else to do.
    fn flush(&mut self) -> TaskResult;

    /// The input is over: emits what is left, passes on everything, and the end.
    fn end(&mut self) -> TaskResult;
}

/// The end of a chain whose records nobody wants.
#[derive(Debug)]
pub struct Discard;

impl<T> Push<T> for Discard {
    fn push(&mut self, batch: &mut Vec<T>) -> TaskResult {
        batch.clear();
        Ok(())
    }
    fn flush(&mut self) -> TaskResult {
        Ok(())
    }
    fn end(&mut self) -> TaskResult {
        Ok(())
    }
}

/// Gives every record to several consumers.
pub struct Tee<T> {
    outputs: Vec<Box<dyn Push<T>>>,
    copy: Vec<T>,
}

impl<T> Tee<T> {
    /// One end for all these outputs.
    pub fn new(outputs: Vec<Box<dyn Push<T>>>) -> Self {
        Self { outputs, copy: Vec::new() }
    }
}

impl<T: Clone + Send> Push<T> for Tee<T> {
    fn push(&mut self, batch: &mut Vec<T>) -> TaskResult {
        let Some((last, others)) = self.outputs.split_last_mut() else {
            batch.clear();
            return Ok(());
        };
        for output in others {
            self.copy.extend_from_slice(batch);
            output.push(&mut self.copy)?;
        }
        last.push(batch)
    }

    fn flush(&mut self) -> TaskResult {
        self.outputs.iter_mut().try_for_each(|o| o.flush())
    }

    fn end(&mut self) -> TaskResult {
        self.outputs.iter_mut().try_for_each(|o| o.end())
    }
}
