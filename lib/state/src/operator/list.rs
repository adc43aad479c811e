//! Lists outside of keys.

use std::cell::RefCell;
use std::rc::Rc;

use crate::codec;
use crate::traits::StateValue;

use super::Items;

/// A list of one subtask. A cheap clone of a handle.
pub struct OperatorListState<T>(Rc<RefCell<Vec<T>>>);

impl<T> Clone for OperatorListState<T> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<T: StateValue> OperatorListState<T> {
    pub(super) fn new(items: Vec<T>) -> Self {
        Self(Rc::new(RefCell::new(items)))
    }

    pub(super) fn items(&self) -> Rc<dyn Items> {
        Rc::clone(&self.0) as Rc<dyn Items>
    }

    /// The items.
    pub fn get(&self) -> Vec<T> {
        self.0.borrow().clone()
    }

    /// Looks at the items.
    pub fn with<R>(&self, f: impl FnOnce(&[T]) -> R) -> R {
        f(&self.0.borrow())
    }

    /// Changes the items.
    pub fn change<R>(&self, f: impl FnOnce(&mut Vec<T>) -> R) -> R {
        f(&mut self.0.borrow_mut())
    }

    /// Adds an item at the end.
    pub fn add(&self, item: T) {
        self.0.borrow_mut().push(item);
    }

    /// Adds items at the end.
    pub fn add_all(&self, items: impl IntoIterator<Item = T>) {
        self.0.borrow_mut().extend(items);
    }

    /// Replaces the list.
    pub fn update(&self, items: impl IntoIterator<Item = T>) {
        *self.0.borrow_mut() = items.into_iter().collect();
    }

    /// Forgets all items.
    pub fn clear(&self) {
        self.0.borrow_mut().clear();
    }
}

impl<T: StateValue> Items for RefCell<Vec<T>> {
    fn encode(&self, bytes: &mut Vec<u8>, ends: &mut Vec<u64>) -> postcard::Result<()> {
        self.borrow().iter().try_for_each(|item| {
            codec::encode(item, bytes)?;
            ends.push(bytes.len() as u64);
            Ok(())
        })
    }

    fn type_name(&self) -> &'static str {
        std::any::type_name::<T>()
    }
}
