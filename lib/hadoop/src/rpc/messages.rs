//! `RpcHeader.proto`, `IpcConnectionContext.proto`, `ProtobufRpcEngine2.proto`: what surrounds every call.

use prost::Message;

/// Marks packets of the SASL handshake and, after it, wrapped ones.
pub(crate) const SASL_CALL_ID: i32 = -33;
/// Marks the packet that opens the use of a connection.
pub(crate) const CONTEXT_CALL_ID: i32 = -3;
/// `RPC_PROTOCOL_BUFFER`.
pub(crate) const PROTOBUF_KIND: i32 = 2;
/// `RPC_FINAL_PACKET`.
pub(crate) const FINAL_PACKET: i32 = 0;

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct RpcRequestHeaderProto {
    #[prost(int32, optional, tag = "1")]
    pub rpc_kind: Option<i32>,
    #[prost(int32, optional, tag = "2")]
    pub rpc_op: Option<i32>,
    #[prost(sint32, required, tag = "3")]
    pub call_id: i32,
    #[prost(bytes = "vec", required, tag = "4")]
    pub client_id: Vec<u8>,
    #[prost(sint32, optional, tag = "5")]
    pub retry_count: Option<i32>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct RpcResponseHeaderProto {
    /// Unsigned on the wire: -33 arrives as 4294967263.
    #[prost(uint32, required, tag = "1")]
    pub call_id: u32,
    /// See [`status`].
    #[prost(int32, required, tag = "2")]
    pub status: i32,
    #[prost(string, optional, tag = "4")]
    pub exception_class_name: Option<String>,
    #[prost(string, optional, tag = "5")]
    pub error_msg: Option<String>,
}

/// `RpcStatusProto`.
pub(crate) mod status {
    pub(crate) const SUCCESS: i32 = 0;
    pub(crate) const ERROR: i32 = 1;
    /// The server closes the connection.
    pub(crate) const FATAL: i32 = 2;
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct RequestHeaderProto {
    #[prost(string, required, tag = "1")]
    pub method_name: String,
    #[prost(string, required, tag = "2")]
    pub declaring_class_protocol_name: String,
    #[prost(uint64, required, tag = "3")]
    pub client_protocol_version: u64,
}

/// Without `userInfo`: the token tells the user, and the server refuses a claim that differs from it.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct IpcConnectionContextProto {
    #[prost(string, optional, tag = "3")]
    pub protocol: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct RpcSaslProto {
    /// See [`state`].
    #[prost(int32, required, tag = "2")]
    pub state: i32,
    #[prost(bytes = "vec", optional, tag = "3")]
    pub token: Option<Vec<u8>>,
    #[prost(message, repeated, tag = "4")]
    pub auths: Vec<SaslAuthProto>,
}

/// `RpcSaslProto.SaslState`.
pub(crate) mod state {
    pub(crate) const SUCCESS: i32 = 0;
    pub(crate) const NEGOTIATE: i32 = 1;
    pub(crate) const INITIATE: i32 = 2;
    pub(crate) const CHALLENGE: i32 = 3;
    pub(crate) const RESPONSE: i32 = 4;
    pub(crate) const WRAP: i32 = 5;
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct SaslAuthProto {
    #[prost(string, required, tag = "1")]
    pub method: String,
    #[prost(string, required, tag = "2")]
    pub mechanism: String,
    #[prost(string, optional, tag = "3")]
    pub protocol: Option<String>,
    #[prost(string, optional, tag = "4")]
    pub server_id: Option<String>,
    #[prost(bytes = "vec", optional, tag = "5")]
    pub challenge: Option<Vec<u8>>,
}
