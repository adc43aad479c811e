//! What all parts of Flumen talk about: ids, the JobGraph, key groups, states, failures and configuration options.
//!
//! In: nothing but values. Out: values. No I/O, no tokio, no knowledge of YARN: this crate is what everything else may
//! depend on. Start reading at [`job_graph`].

pub mod job_graph;

pub mod checkpoint;

pub mod failure;
pub mod ids;
pub mod key_group;
pub mod status;
pub mod text;

pub mod config;
pub mod options;
