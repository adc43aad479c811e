//! Ids, JobGraph, key groups, configuration options. No I/O, no tokio.
