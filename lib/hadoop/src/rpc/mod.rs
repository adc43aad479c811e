//! Hadoop RPC, version 9, as a client: framed protobuf calls over TCP, authenticated by a token through SASL DIGEST-MD5.
//!
//! In: an address, a protocol's name, a token. Out: [`Connection::call`]. Start at [`Connection`]; `frame` cuts and builds
//! packets, `sasl` is the handshake and the protection of what follows it. Neither of the two does I/O.

mod connection;
mod error;
mod frame;
mod messages;
mod sasl;
#[cfg(test)]
pub(crate) mod test_server;

use std::time::Duration;

pub use connection::Connection;
pub use error::RpcError;
pub use frame::FrameError;
pub use sasl::SaslError;

/// Limits of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RpcOptions {
    /// Limit of name resolution, TCP connection and SASL handshake together; default 20 s, as in Java.
    pub connect_timeout: Duration,
    /// Limit of one call; default 60 s.
    pub call_timeout: Duration,
    /// Longest frame that is accepted, in bytes; default 128 MiB, Java's `ipc.maximum.response.length`.
    pub max_frame: usize,
}

impl Default for RpcOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(20),
            call_timeout: Duration::from_secs(60),
            max_frame: 128 * 1024 * 1024,
        }
    }
}
