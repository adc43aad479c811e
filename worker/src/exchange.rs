//! Records between subtasks: batches as they are within a process, serialised frames between processes, and credit that
//! lets a slow receiver stop its own channels only.
//!
//! Every channel (from one subtask to one subtask over one edge) has a credit of a few buffers. A sender takes one for each
//! buffer; without it, buffers wait in the sender and the sender takes no more input. The receiver gives it back when it
//! has processed the buffer.

pub mod channels;
pub mod codec;
pub mod credit;
pub(crate) mod frames;
pub mod gate;
pub(crate) mod input;
pub mod writer;

pub mod connection;
pub mod network;
