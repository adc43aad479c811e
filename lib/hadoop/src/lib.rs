//! Hadoop without Java: configuration, tokens, RPC, YARN's REST and ApplicationMaster protocols.

pub mod rpc;
pub mod token;
pub mod yarn;
