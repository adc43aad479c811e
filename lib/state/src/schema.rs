//! What a type looks like in bytes, and whether the bytes of an older one can be read.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::StateError;

mod incompatible;

pub use incompatible::Incompatible;

/// Turns a value's old bytes into new ones, which are appended.
pub(crate) type Convert = dyn Fn(&[u8], &mut Vec<u8>) -> Result<(), StateError>;

pub(crate) fn of<T: DeserializeOwned + 'static>(_state: &str) -> Result<String, StateError> {
    Ok(std::any::type_name::<T>().to_owned())
}

pub(crate) fn converter<T: Serialize + DeserializeOwned + 'static>(
    state: &str,
    old: &str,
) -> Result<Option<Box<Convert>>, Incompatible> {
    check_equal(state, "", old, std::any::type_name::<T>())?;
    Ok(None)
}

pub(crate) fn check_equal(state: &str, part: &str, old: &str, new: &str) -> Result<(), Incompatible> {
    if old == new {
        return Ok(());
    }
    Err(Incompatible::new(state, part, format!("it was written as {old} and is now {new}")))
}
