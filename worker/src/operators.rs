//! Operators: one file each.

mod filter;
mod flat_map;
mod map;

pub mod aggregate;
pub mod async_io;
pub mod combine;
pub mod either;
pub mod interval_join;
pub mod keyed_process;
pub mod process;
pub mod reduce;
pub mod side_output;
pub mod timestamps_watermarks;

pub use filter::Filter;
pub use flat_map::{Collector, FlatMap};
pub use map::Map;
