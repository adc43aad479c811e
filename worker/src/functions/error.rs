//! Errors of users' functions.

use std::error::Error;

use flumen_model::failure::Blame;
use flumen_state::StateError;

use crate::operator::TaskError;

/// What a user's function fails with: any error, or a text.
pub type FunctionError = Box<dyn Error + Send + Sync>;

/// The result of a user's function.
pub type FunctionResult<T = ()> = Result<T, FunctionError>;

/// The subtask can't go on: the user's mistake, unless somewhere among the causes is state with another one to blame.
#[cold]
pub(crate) fn user_failure(what: &str, error: FunctionError) -> TaskError {
    let error: &(dyn Error + 'static) = &*error;
    let mut blame = Blame::User;
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<StateError>() {
            blame = error.blame();
        }
        cause = error.source();
    }
    TaskError::caused_by(blame, what, error)
}

/// The subtask can't begin: state that can't be restored keeps its own meaning.
#[cold]
pub(crate) fn not_opened(error: FunctionError) -> TaskError {
    match error.downcast::<StateError>() {
        Ok(error) => TaskError::from(*error),
        Err(error) => user_failure("the function's open() failed", error),
    }
}
