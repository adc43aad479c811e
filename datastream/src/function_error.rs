//! Errors of the program's own code.

use std::error::Error;

use flumen_model::failure::Blame;
use flumen_worker::operator::TaskError;

/// An error of the program's code as that of its subtask.
pub(crate) fn failed(what: &str, error: &(dyn Error + Send + Sync + 'static)) -> TaskError {
    TaskError::caused_by(Blame::User, what, error)
}
