//! The command `flink`.
mod args;
mod identity;
mod info;
mod installation;
mod meaning;
mod program;
mod report;
mod security;
mod stage;
mod sweep;
mod timings;
mod validate;
fn main() {}
