//! Operators: one file each.

mod filter;
mod flat_map;
mod map;

pub mod aggregate;
pub mod combine;
pub mod reduce;

pub use filter::Filter;
pub use flat_map::{Collector, FlatMap};
pub use map::Map;
