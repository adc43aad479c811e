//! One connection.

use prost::Message;

use super::{RpcError, RpcOptions};
use crate::token::Token;

/// An open, authenticated connection for one protocol. Calls go one after the other.
///
/// After any failure but a remote exception, and after a call whose future was dropped, the connection is dead and says so
/// ([`RpcError::Dead`]).
#[derive(Debug)]
pub struct Connection {
    address: String,
}

impl Connection {
    /// Connects and authenticates.
    ///
    /// `address` is `host:port`; all of the host's addresses are tried. `protocol` is the Java name of the protocol's
    /// protobuf interface, as `org.apache.hadoop.yarn.api.ApplicationMasterProtocolPB`.
    pub async fn connect(address: &str, protocol: &str, token: &Token, options: RpcOptions) -> Result<Self, RpcError> {
        let _ = (protocol, token, options);
        Err(RpcError::Dead { address: address.to_owned() })
    }

    /// Calls a method and waits for its answer.
    pub async fn call<Req: Message, Resp: Message + Default>(
        &mut self,
        method: &str,
        request: &Req,
    ) -> Result<Resp, RpcError> {
        let _ = (method, request);
        Err(RpcError::Dead { address: self.address.clone() })
    }
}
