//! High availability: who leads a cluster, and what outlives its leader.
//!
//! In: candidates that want to lead, job graphs and results that a leader wants to have kept. Out: at most one leader whose
//! writes count, with an epoch greater than every earlier one's; its addresses for whoever looks for it; and everything that
//! was acknowledged, for the next leader.
//!
//! * [`HaStore`] is what all stores do, [`open`] makes the configured one;
//! * [`NoHaStore`] keeps nothing, [`FileSystemStore`] keeps everything in files, and with the feature `zookeeper`
//!   `ZooKeeperStore` keeps in ZooKeeper who leads;
//! * [`Candidate`] becomes [`Leadership`], others see a [`Leader`].
//!
//! The rules that every store keeps (`HA-1` …):
//!
//! | | |
//! |---|---|
//! | HA-1 | Epochs of one cluster rise: no two leaders have the same, a later leader has a greater one. |
//! | HA-2 | Once a newer leader has its leadership, no write of a former one takes effect, whenever it arrives. |
//! | HA-3 | What was acknowledged is there for every later leader. |
//! | HA-4 | A lost answer is never taken for a success or a failure: what stands there is read back. |
//! | HA-5 | A job with a result is not among the jobs to run again. |
//! | HA-6 | A cluster id that belongs to another application is taken over only from one that the caller names as ended. |
//! | HA-7 | After the clean-up nothing is left, and whoever begins anew finds an empty store. |

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod error;
mod filesystem;
mod layout;
mod leadership;
mod none;
mod settings;
mod store;
#[cfg(feature = "zookeeper")]
mod zookeeper;

pub use error::HaError;
pub use filesystem::FileSystemStore;
pub use leadership::{Addresses, Candidate, Leader, Leadership};
pub use none::NoHaStore;
pub use settings::{HaSettings, HaType, Owner, ZooKeeperSettings, open};
pub use store::HaStore;
#[cfg(feature = "zookeeper")]
pub use zookeeper::ZooKeeperStore;
