//! What the row states of one operator subtask share.

use std::cell::{Ref, RefCell};
use std::rc::Rc;

use crate::codec::{self, put_bytes};
use crate::context::Context;
use crate::error::{StateError, StateErrorKind};
use crate::traits::{Key, Namespace};

use super::RowStore;

pub(crate) struct RowContext<K> {
    pub(crate) context: Rc<Context<K>>,
    pub(crate) store: Rc<dyn RowStore>,
    /// Which current key it belongs to, and the beginning of its rows: group, key, empty namespace.
    current: RefCell<(u64, Vec<u8>)>,
    buffers: RefCell<Vec<Vec<u8>>>,
}

impl<K: Key> RowContext<K> {
    pub(crate) fn new(context: Rc<Context<K>>, store: Rc<dyn RowStore>) -> Self {
        Self { context, store, current: RefCell::new((0, Vec::new())), buffers: RefCell::default() }
    }

    /// The beginning of the rows of the current key in states without namespace.
    pub(crate) fn current_row(&self, state: &str) -> Result<Ref<'_, [u8]>, StateError> {
        let number = self.context.current_number();
        if self.current.borrow().0 != number || number == 0 {
            let (of, row) = &mut *self.current.borrow_mut();
            self.context.with_current(|key| self.row(state, key, &(), row))?;
            *of = number;
        }
        Ok(Ref::map(self.current.borrow(), |current| current.1.as_slice()))
    }

    /// Replaces `row` by the beginning of the rows of a key and namespace.
    pub(crate) fn row<N: Namespace>(
        &self,
        state: &str,
        key: &K,
        namespace: &N,
        row: &mut Vec<u8>,
    ) -> Result<(), StateError> {
        self.with_buffer(|bytes| {
            let group = self.context.encode_key(key, bytes).map_err(not_serialisable::<K>(state))?;
            row.clear();
            row.extend_from_slice(&(group as u16).to_be_bytes());
            put_bytes(bytes, row);
            bytes.clear();
            codec::encode(namespace, bytes).map_err(not_serialisable::<N>(state))?;
            put_bytes(bytes, row);
            Ok(())
        })
    }

    /// Calls with an empty buffer, which is used again afterwards.
    pub(crate) fn with_buffer<R>(&self, f: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        let mut buffer = self.buffers.borrow_mut().pop().unwrap_or_default();
        buffer.clear();
        let result = f(&mut buffer);
        self.buffers.borrow_mut().push(buffer);
        result
    }
}

/// The error of a type that can't be written.
pub(super) fn not_serialisable<T>(state: &str) -> impl Fn(postcard::Error) -> StateError {
    move |source| {
        let type_name = std::any::type_name::<T>();
        StateErrorKind::NotSerialisable { state: state.to_owned(), type_name, source }.into()
    }
}

/// The error of a row that is none of the state's types.
pub(super) fn not_read<T>(state: &str) -> impl Fn(postcard::Error) -> StateError {
    move |source| {
        let what = format!("a row can't be read as {}: {source}", std::any::type_name::<T>());
        StateError::corrupt(state, 0, what)
    }
}
