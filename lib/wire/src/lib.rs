//! The messages and frames between Flumen's own processes.
