//! Nexmark: people open auctions and bid in them, and queries look at the stream of what they do.
//!
//! [`generator`] makes event `n` from its number and a seed; [`queries`] has the queries q0 to q22 as functions over streams.
//! Where SQL has a table that is updated, a function emits the new row of a key whenever it changes. Two queries differ from
//! their SQL, and say how: q6, which Flink's SQL can't express, and q13, whose side input is a table that the program holds.
//! Start at [`queries`].

pub mod generator;
pub mod model;
pub mod queries;
