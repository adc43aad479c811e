//! What a type looks like in bytes, and whether the bytes of an older one can be read.
//!
//! Values are written with postcard, which does not describe itself. So a snapshot keeps the schema of each of its states,
//! found out from the type's `Deserialize`. When the program's type has another schema by now, values are read with the old
//! one: fields and variants by name. Added fields need `Option` or `#[serde(default)]`, removed ones are skipped, renamed ones
//! need `#[serde(alias)]`; numbers may widen; a value may become optional. Everything else is [`Incompatible`].
//!
//! A type that refuses all made-up values (most that parse texts of their own kind) can't be looked into. Its schema is its
//! name, and it can't change.

mod bytes;
mod format;
mod graph;
mod incompatible;
mod made_up;
mod read;
mod samples;
mod trace;

#[cfg(test)]
mod tests;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec;
use crate::error::{StateError, StateErrorKind};

use bytes::Bytes;
use made_up::MadeUp;
use read::{Mismatch, Reader};
use trace::Untraced;

pub use format::{Body, Content, Field, Format, Leaf, Named, Schema, Variant};
pub use incompatible::Incompatible;

/// Made-up values by which it is checked whether a type can be read.
const CHECKS_MAX: usize = 10_000;

/// Turns a value's old bytes into new ones, which are appended.
pub(crate) type Convert = dyn Fn(&[u8], &mut Vec<u8>) -> Result<(), StateError>;

/// The schema of a type, as text. The same type always has the same text.
///
/// # Errors
/// The type can't be state, because it asks the bytes what comes next (serde's `flatten`, `untagged` and `tag` do).
pub fn of<T: DeserializeOwned + 'static>(state: &str) -> Result<String, StateError> {
    let type_name = std::any::type_name::<T>();
    match trace::trace::<T>() {
        Ok(schema) => Ok(schema.to_text()),
        Err(Untraced::Opaque) => Ok(Schema::opaque(type_name).to_text()),
        Err(Untraced::Unsupported(reason)) => {
            Err(StateErrorKind::Unsupported { state: state.to_owned(), type_name, reason }.into())
        }
    }
}

/// Whether values that were written with an older schema can be read as this type. Needs no values: such are made up.
///
/// # Errors
/// They can't; the error names state and field.
pub fn check_compatible<T: DeserializeOwned + 'static>(state: &str, old: &str) -> Result<(), Incompatible> {
    match of::<T>(state) {
        Ok(new) if new == old => return Ok(()),
        Ok(_) => {}
        Err(error) => return Err(Incompatible::new(state, "", error.to_string())),
    }
    let old = parse(state, old)?;
    let new = trace::trace::<T>().ok();
    if new.as_ref() == Some(&old) {
        return Ok(());
    }
    let opaque = |format: &Format| matches!(format, Format::Opaque(_));
    if new.is_none() || opaque(&old.root) {
        let was = old.describe(&old.root);
        let now = std::any::type_name::<T>();
        let reason = format!("it was written as {was} and is now {now}, and one of them can't be looked into");
        return Err(Incompatible::new(state, "", reason));
    }
    let mut made_up = MadeUp::default();
    for _ in 0..CHECKS_MAX {
        made_up.begin();
        match T::deserialize(Reader { schema: &old, place: &old.root, source: &mut made_up }) {
            Ok(_) if made_up.progressed() => {}
            Ok(_) => return Ok(()),
            Err(error) if error.refused && made_up.change_last() => {}
            Err(error) => return Err(Incompatible::new(state, &error.field(), error.reason)),
        }
    }
    Ok(())
}

/// What turns values of an older schema into this type's; `None` when they are the same.
pub(crate) fn converter<T: Serialize + DeserializeOwned + 'static>(
    state: &str,
    old: &str,
) -> Result<Option<Box<Convert>>, Incompatible> {
    check_compatible::<T>(state, old)?;
    let schema = parse(state, old)?;
    if trace::trace::<T>().is_ok_and(|new| new == schema) || matches!(schema.root, Format::Opaque(_)) {
        return Ok(None);
    }
    let state = state.to_owned();
    Ok(Some(Box::new(move |old, new| {
        let mut source = Bytes(old);
        let value = T::deserialize(Reader { schema: &schema, place: &schema.root, source: &mut source })
            .and_then(|value| match source.0 {
                [] => Ok(value),
                _ => Err(Mismatch::damaged("there are more bytes than the value takes")),
            })
            .map_err(|error| match error.damaged {
                true => StateError::corrupt(&state, 0, format!("{}: {}", error.field(), error.reason)),
                false => Incompatible::new(&state, &error.field(), error.reason).into(),
            })?;
        let type_name = std::any::type_name::<T>();
        codec::encode(&value, new)
            .map_err(|source| StateErrorKind::NotSerialisable { state: state.clone(), type_name, source }.into())
    })))
}

/// Keys and namespaces can't change: the key group and the place of a row depend on their bytes.
pub(crate) fn check_equal(state: &str, part: &str, old: &str, new: &str) -> Result<(), Incompatible> {
    if old == new {
        return Ok(());
    }
    let (was, now) = (parse(state, old)?, parse(state, new)?);
    if was == now {
        return Ok(());
    }
    let reason = format!(
        "the {part} was written as {} and is now {}; the type of a {part} can't change",
        was.describe(&was.root),
        now.describe(&now.root)
    );
    Err(Incompatible::new(state, "", reason))
}

fn parse(state: &str, text: &str) -> Result<Schema, Incompatible> {
    Schema::of_text(text).ok_or_else(|| Incompatible::new(state, "", format!("its schema can't be read: {text}")))
}
