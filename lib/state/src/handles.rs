//! What a function of the user holds: state of the current key.

mod aggregating;
mod list;
mod map;
mod reducing;
mod value;

pub use aggregating::AggregatingState;
pub use list::ListState;
pub use map::MapState;
pub use reducing::ReducingState;
pub use value::ValueState;

pub(crate) use list::ListInner;
pub(crate) use map::MapInner;
pub(crate) use value::ValueInner;
