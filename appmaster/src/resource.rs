//! YARN's side of the ApplicationMaster: declared slots become containers with registered TaskExecutors.
//!
//! In: slots that the job declares, answers of YARN, registrations of TaskExecutors. Out: asks, launches, releases; losses of
//! TaskExecutors with their causes. Decisions first ([`slots`], [`failures`], [`fit`], joined by [`manager`]), then what
//! carries them out ([`launch`], [`yarn`], [`cluster_view`]).

pub mod slots;
pub mod standby;

pub mod failures;
pub mod fit;

pub mod manager;

pub mod cluster_view;
pub mod launch;
pub mod line;
pub mod yarn;

#[cfg(test)]
pub(crate) mod testing;
