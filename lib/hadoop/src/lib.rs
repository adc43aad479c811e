//! Hadoop without Java: configuration, tokens, RPC, YARN's REST and ApplicationMaster protocols.

pub mod conf;
pub mod rest;
pub mod rpc;
pub mod token;
pub mod yarn;
