//! Hadoop without Java: configuration, tokens, RPC, YARN's REST and ApplicationMaster protocols.
