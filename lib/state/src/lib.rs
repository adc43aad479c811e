//! State of operators: keyed state in memory or in RocksDB, operator state, their snapshots and schemas.
//!
//! In: keys, values, the parts of earlier snapshots. Out: values, and snapshots as streams of bytes; no tokio, no file system
//! of its own. Start at [`Keyed`], the keyed state of one operator subtask. The operator's thread owns everything; handles
//! such as [`ValueState`] are cheap clones, and an access neither locks nor allocates.
//!
//! * [`schema`]: what a type looks like in bytes, and whether the bytes of an older one can be read.
//! * [`canonical`]: the format of a snapshot that every backend writes and reads (`docs/formats/keyed-state.md`).
//! * [`operator`]: state outside of keys.
//! * [`rows`]: what a backend such as RocksDB provides.

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;

mod aggregate;
mod codec;
mod context;
mod descriptor;
mod error;
mod handles;
mod keyed;
mod layout;
mod memory;
mod meta;
mod options;
mod prefetch;
mod restore;
mod snapshot;
mod table;
mod timers;
mod traits;
mod ttl;
mod typed;

pub mod canonical;
pub mod operator;
pub mod rows;
pub mod schema;

#[cfg(feature = "rocksdb")]
pub mod rocksdb;

pub use aggregate::AggregateFunction;
pub use codec::encode;
pub use descriptor::{
    AggregatingStateDescriptor, ListStateDescriptor, MapStateDescriptor, ReducingStateDescriptor, StateDescription,
    TableDescriptor, ValueStateDescriptor,
};
pub use error::{StateError, StateErrorKind};
pub use handles::{AggregatingState, ListState, MapState, ReducingState, ValueState};
pub use keyed::{Keyed, LookAhead};
pub use layout::{LaidOut, Layout};
pub use meta::{StateKind, StateMeta};
pub use options::{BackendKind, BackendOptions};
pub use prefetch::prefetch;
pub use restore::{PartCopy, PartsInMemory, RestoredKeyed, SnapshotReader};
pub use snapshot::{CanonicalBlocks, FileSource, PendingSnapshot, SnapshotBytes, SnapshotFile, SnapshotStep};
pub use table::Table;
pub use timers::Timers;
pub use traits::{Key, Namespace, StateValue};
pub use ttl::{StateTtlConfig, TtlUpdate, TtlVisibility};
