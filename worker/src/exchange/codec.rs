//! Records as bytes between two workers of one job: postcard, one record after the other.
//!
//! Both ends are the same executable, so the format need not outlive a run; it is the one that state has, so that a type that can be a
//! record can also be state.

use flumen_model::failure::Blame;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::batch::EventTime;
use crate::operator::{TaskError, TaskResult};

/// Appends one value.
///
/// # Errors
/// The user's type can't be serialised ([`Blame::User`]).
#[inline]
pub fn encode<T: Serialize + ?Sized>(value: &T, bytes: &mut Vec<u8>) -> TaskResult {
    flumen_state::encode(value, bytes).map_err(|error| {
        TaskError::caused_by(Blame::User, format!("a {} can't be serialised", std::any::type_name::<T>()), &error)
    })
}

/// Reads one value from the start of the bytes and moves past it.
///
/// # Errors
/// The bytes are not a value of this type: the sender has another one, or the user's type does not read what it writes.
#[inline]
pub fn decode<T: DeserializeOwned>(bytes: &mut &[u8]) -> TaskResult<T> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, rest)) => {
            *bytes = rest;
            Ok(value)
        }
        Err(error) => Err(TaskError::caused_by(
            Blame::User,
            format!("received bytes are no {}: it does not read what it writes", std::any::type_name::<T>()),
            &error,
        )),
    }
}

/// Reads the event time that stands before a record of a timed buffer.
///
/// # Errors
/// The buffer ends in the middle of it.
#[inline]
pub fn decode_time(bytes: &mut &[u8]) -> TaskResult<EventTime> {
    let Some((time, rest)) = bytes.split_first_chunk::<8>() else {
        return Err(TaskError::failed(Blame::Flumen, "a received buffer ends in the middle of an event time"));
    };
    *bytes = rest;
    Ok(EventTime::from_le_bytes(*time))
}

/// Appends an event time.
#[inline]
pub fn encode_time(time: EventTime, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&time.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn records_are_read_back_in_order(records in proptest::collection::vec((".*", any::<u64>()), 0..20)) {
            let mut bytes = Vec::new();
            records.iter().try_for_each(|r| encode(r, &mut bytes)).unwrap();
            let mut rest = bytes.as_slice();
            let mut read = Vec::<(String, u64)>::new();
            while !rest.is_empty() {
                read.push(decode(&mut rest).unwrap());
            }
            prop_assert_eq!(read, records);
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = decode::<(String, u64)>(&mut bytes.as_slice());
            let _ = decode::<Vec<Option<String>>>(&mut bytes.as_slice());
        }
    }
}
