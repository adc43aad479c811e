//! The dispatcher against played TaskExecutors and a played YARN.

mod per_job;
mod recovery;
mod session;
mod stand_in;
mod world;
