//! State of an operator outside of keys: lists that are divided or shared out on restore, and broadcast state.
//!
//! It is small and stays in memory whatever the backend; its snapshot is taken at once.

mod broadcast;
mod list;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::collections::BTreeMap;
use std::rc::Rc;

use flumen_model::checkpoint::{ListState as ListSnapshot, Redistribution};

use crate::error::StateError;
use crate::schema::{self, Convert};
use crate::traits::{Key, StateValue};

pub use broadcast::BroadcastState;
pub use list::OperatorListState;

/// The operator state of one subtask. Handles are cheap clones.
#[derive(Default)]
pub struct OperatorState {
    states: BTreeMap<String, State>,
    restored: BTreeMap<String, Vec<RestoredList>>,
    keeps_unions: bool,
}

struct State {
    redistribution: Redistribution,
    schema: String,
    items: Rc<dyn Items>,
    handle: Box<dyn Any>,
}

/// A piece of a list to begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoredList {
    /// What was written; its handle is not looked at.
    pub state: ListSnapshot,
    /// The bytes behind its handle.
    pub bytes: Vec<u8>,
}

/// What becomes a [`ListSnapshot`] once its bytes are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListBytes {
    /// How it is divided on restore.
    pub redistribution: Redistribution,
    /// Schema of the items.
    pub schema: String,
    /// The bytes of all items, one after another.
    pub items: Vec<u8>,
    /// Where each item ends.
    pub ends: Vec<u64>,
}

/// Items whose type is not known.
trait Items {
    /// Appends each item's bytes, and where it ends.
    fn encode(&self, bytes: &mut Vec<u8>, ends: &mut Vec<u64>) -> postcard::Result<()>;
    /// The name of the items' type.
    fn type_name(&self) -> &'static str;
}

impl OperatorState {
    /// Begins with the pieces that concern this subtask, by state name. `keeps_unions` is true in one subtask of the operator:
    /// in its snapshots the union lists stay that nobody asks for. If all kept them, the next restore would multiply them.
    pub fn new(restored: BTreeMap<String, Vec<RestoredList>>, keeps_unions: bool) -> Self {
        Self { states: BTreeMap::new(), restored, keeps_unions }
    }

    /// A list whose items are divided among the subtasks on restore.
    ///
    /// # Errors
    /// What was restored under this name is of another kind, damaged, or of a type that this one can't take the place of; the
    /// state was asked for with another type before; the type can't be state. The same in the following ones.
    pub fn list<T: StateValue>(&mut self, name: &str) -> Result<OperatorListState<T>, StateError> {
        self.items_of::<T>(name, Redistribution::Split)
    }

    /// A list of which every subtask gets the items of all on restore.
    ///
    /// # Errors
    /// See [`Self::list`].
    pub fn union_list<T: StateValue>(&mut self, name: &str) -> Result<OperatorListState<T>, StateError> {
        self.items_of::<T>(name, Redistribution::Union)
    }

    /// A map that is the same in all subtasks.
    ///
    /// # Errors
    /// See [`Self::list`].
    pub fn broadcast<K: Key, V: StateValue>(&mut self, name: &str) -> Result<BroadcastState<K, V>, StateError> {
        let redistribution = Redistribution::Broadcast;
        self.state::<(K, V), _>(name, redistribution, |entries| {
            let state = BroadcastState::new(entries);
            (state.clone(), state.items())
        })
    }

    fn items_of<T: StateValue>(
        &mut self,
        name: &str,
        redistribution: Redistribution,
    ) -> Result<OperatorListState<T>, StateError> {
        self.state::<T, _>(name, redistribution, |items| {
            let state = OperatorListState::new(items);
            (state.clone(), state.items())
        })
    }

    fn state<T: StateValue, H: Clone + 'static>(
        &mut self,
        name: &str,
        redistribution: Redistribution,
        make: impl FnOnce(Vec<T>) -> (H, Rc<dyn Items>),
    ) -> Result<H, StateError> {
        let schema = schema::of::<T>(name)?;
        if let Some(known) = self.states.get(name) {
            let same = known.redistribution == redistribution && known.schema == schema;
            return known.handle.downcast_ref::<H>().filter(|_| same).cloned().ok_or_else(|| {
                StateError::misuse(format!("state `{name}` is used twice with different types: give each its own name"))
            });
        }
        let mut items = Vec::new();
        let pieces = self.restored.get(name).map(Vec::as_slice).unwrap_or_default();
        for piece in pieces {
            read(name, piece, redistribution, &schema, &mut items)?;
            if redistribution == Redistribution::Broadcast {
                break;
            }
        }
        self.restored.remove(name);
        let (handle, items) = make(items);
        let state = State { redistribution, schema, items, handle: Box::new(handle.clone()) };
        self.states.insert(name.to_owned(), state);
        Ok(handle)
    }

    /// What there is now, by state name. What was restored and nobody asked for stays in it.
    ///
    /// # Errors
    /// A type of the user can't be written; or the subtasks have written a list that nobody asks for in different ways: only
    /// who knows its type can bring them together.
    pub fn snapshot(&self) -> Result<BTreeMap<String, ListBytes>, StateError> {
        let mut lists = BTreeMap::new();
        for (name, pieces) in &self.restored {
            let Some(first) = pieces.first() else { continue };
            let ListSnapshot { redistribution, schema, .. } = &first.state;
            if *redistribution == Redistribution::Union && !self.keeps_unions {
                continue;
            }
            if pieces.iter().any(|piece| piece.state.schema != *schema || piece.state.redistribution != *redistribution)
            {
                return Err(StateError::misuse(format!(
                    "state `{name}` was restored from parts that were written in different ways, and can't be kept without \
                     its type: ask for it in `open` of every subtask, even if it is not used"
                )));
            }
            let mut list = ListBytes {
                redistribution: *redistribution,
                schema: schema.clone(),
                items: Vec::new(),
                ends: Vec::new(),
            };
            for piece in pieces.iter().take(if *redistribution == Redistribution::Broadcast { 1 } else { usize::MAX }) {
                let start = list.items.len() as u64;
                list.items.extend_from_slice(&piece.bytes);
                list.ends.extend(piece.state.ends.iter().map(|end| end + start));
            }
            lists.insert(name.clone(), list);
        }
        for (name, state) in &self.states {
            let (mut items, mut ends) = (Vec::new(), Vec::new());
            state.items.encode(&mut items, &mut ends).map_err(|source| {
                let type_name = state.items.type_name();
                crate::StateErrorKind::NotSerialisable { state: name.clone(), type_name, source }
            })?;
            let list = ListBytes { redistribution: state.redistribution, schema: state.schema.clone(), items, ends };
            lists.insert(name.clone(), list);
        }
        Ok(lists)
    }
}

/// Adds the items of a piece.
fn read<T: StateValue>(
    name: &str,
    piece: &RestoredList,
    redistribution: Redistribution,
    schema: &str,
    items: &mut Vec<T>,
) -> Result<(), StateError> {
    let ListSnapshot { redistribution: written, schema: old, ends, .. } = &piece.state;
    if *written != redistribution {
        let what = format!("it was written as {written:?} state and is now {redistribution:?} state");
        return Err(schema::Incompatible::new(name, "", what).into());
    }
    let convert: Option<Box<Convert>> = if old.is_empty() { None } else { schema::converter::<T>(name, old)? };
    let convert = convert.filter(|_| old != schema);
    let mut start = 0;
    let mut converted = Vec::new();
    for &end in ends {
        let end = usize::try_from(end).unwrap_or(usize::MAX);
        let Some(mut item) = piece.bytes.get(start..end) else {
            return Err(StateError::corrupt(name, start as u64, "an item ends outside of the list"));
        };
        if let Some(convert) = &convert {
            converted.clear();
            convert(item, &mut converted)?;
            item = &converted;
        }
        let read = crate::codec::decode(item);
        items.push(
            read.map_err(|error| StateError::corrupt(name, start as u64, format!("an item can't be read: {error}")))?,
        );
        start = end;
    }
    if start != piece.bytes.len() {
        return Err(StateError::corrupt(name, start as u64, "there is more than the items"));
    }
    Ok(())
}
