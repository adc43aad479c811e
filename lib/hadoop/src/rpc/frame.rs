//! Packets: four bytes of length, then messages, each after its own length as a varint.

use prost::Message;

use super::messages::{
    CONTEXT_CALL_ID, FINAL_PACKET, IpcConnectionContextProto, PROTOBUF_KIND, RequestHeaderProto, RpcRequestHeaderProto,
    RpcResponseHeaderProto, RpcSaslProto, SASL_CALL_ID,
};

/// What a connection begins with: `hrpc`, version 9, service class 0, authentication by SASL (-33).
pub(crate) const PREAMBLE: [u8; 7] = [b'h', b'r', b'p', b'c', 9, 0, 0xdf];

/// Version of every protocol that is spoken here.
const PROTOCOL_VERSION: u64 = 1;

/// Bytes that are no packet, or a packet that does not belong here.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// Longer than allowed.
    #[error("a frame of {length} bytes is longer than the limit of {limit}")]
    TooLong {
        /// Its length.
        length: usize,
        /// The limit.
        limit: usize,
    },
    /// A message does not decode.
    #[error("the {part} does not decode")]
    Decode {
        /// Which message.
        part: &'static str,
        /// Why.
        #[source]
        cause: prost::DecodeError,
    },
    /// An answer to something else.
    #[error("an answer to call {got} came, not to call {expected}")]
    OtherCall {
        /// The call that waits.
        expected: i32,
        /// The call that was answered.
        got: i32,
    },
    /// A status that is neither success, error nor fatal.
    #[error("unknown response status {0}")]
    Status(i32),
    /// A packet of the handshake that does not wrap anything, where a wrapped one had to be.
    #[error("a packet came unprotected or out of turn although the connection is protected")]
    NotWrapped,
    /// Protection of a wrapped packet does not hold.
    #[error("a protected packet does not verify")]
    Protection(#[source] super::SaslError),
}

/// Length of a packet from its first four bytes, checked against the limit before anybody allocates by it.
pub(crate) fn checked_length(prefix: [u8; 4], limit: usize) -> Result<usize, FrameError> {
    let length = u32::from_be_bytes(prefix) as usize;
    if length > limit {
        return Err(FrameError::TooLong { length, limit });
    }
    Ok(length)
}

fn packet(header: &RpcRequestHeaderProto, messages: &[&dyn Encodable]) -> Vec<u8> {
    let mut out = vec![0; 4];
    header.put(&mut out);
    for message in messages {
        message.put(&mut out);
    }
    let length = u32::try_from(out.len() - 4).expect("requests are built here and stay far below 4 GiB");
    out[..4].copy_from_slice(&length.to_be_bytes());
    out
}

/// A message that can be appended with its length before it.
trait Encodable {
    fn put(&self, out: &mut Vec<u8>);
}

impl<M: Message> Encodable for M {
    fn put(&self, out: &mut Vec<u8>) {
        self.encode_length_delimited(out).expect("a Vec grows as needed");
    }
}

fn header(call_id: i32, client_id: &[u8], retry_count: i32) -> RpcRequestHeaderProto {
    RpcRequestHeaderProto {
        rpc_kind: Some(PROTOBUF_KIND),
        rpc_op: Some(FINAL_PACKET),
        call_id,
        client_id: client_id.to_vec(),
        retry_count: Some(retry_count),
    }
}

/// A packet of the handshake or a wrapped one.
pub(crate) fn sasl(message: &RpcSaslProto) -> Vec<u8> {
    packet(&header(SASL_CALL_ID, &[], -1), &[message])
}

/// The packet that names the protocol, first after the handshake.
pub(crate) fn context(client_id: &[u8], protocol: &str) -> Vec<u8> {
    let context = IpcConnectionContextProto { protocol: Some(protocol.to_owned()) };
    packet(&header(CONTEXT_CALL_ID, client_id, -1), &[&context])
}

/// One call.
pub(crate) fn call<M: Message>(client_id: &[u8], call_id: i32, protocol: &str, method: &str, argument: &M) -> Vec<u8> {
    let request = RequestHeaderProto {
        method_name: method.to_owned(),
        declaring_class_protocol_name: protocol.to_owned(),
        client_protocol_version: PROTOCOL_VERSION,
    };
    packet(&header(call_id, client_id, 0), &[&request, argument])
}

/// Splits a received packet (without its length) into header and the rest.
pub(crate) fn response_header(mut bytes: &[u8]) -> Result<(RpcResponseHeaderProto, &[u8]), FrameError> {
    let header = message(&mut bytes, "response header")?;
    Ok((header, bytes))
}

/// Reads one message with its length before it. An empty rest is an empty message, as Java reads it.
pub(crate) fn message<M: Message + Default>(bytes: &mut &[u8], part: &'static str) -> Result<M, FrameError> {
    if bytes.is_empty() {
        return Ok(M::default());
    }
    M::decode_length_delimited(bytes).map_err(|cause| FrameError::Decode { part, cause })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::messages::{state, status};
    use super::*;

    #[test]
    fn the_first_packet_of_a_handshake_is_the_one_that_hadoop_accepts() {
        let negotiate = RpcSaslProto { state: state::NEGOTIATE, ..RpcSaslProto::default() };
        // length 14; header of 10: kind 2, op 0, call -33 zigzag 65, empty client id, retry -1 zigzag 1; message of 2
        let expected = [0, 0, 0, 14, 10, 8, 2, 16, 0, 24, 65, 34, 0, 40, 1, 2, 16, 1];
        assert_eq!(sasl(&negotiate), expected);
    }

    #[test]
    fn an_answer_names_its_call_without_sign() {
        let header = RpcResponseHeaderProto { call_id: 4_294_967_263, status: status::SUCCESS, ..Default::default() };
        let mut bytes = Vec::new();
        header.encode_length_delimited(&mut bytes).unwrap();
        bytes.push(7);
        let (read, rest) = response_header(&bytes).unwrap();
        assert_eq!((read.call_id as i32, rest), (-33, &[7][..]));
    }

    #[test]
    fn a_length_above_the_limit_is_refused() {
        assert_eq!(checked_length([0, 0, 4, 0], 1024).unwrap(), 1024);
        let error = checked_length([0xff; 4], 1024).unwrap_err();
        assert_eq!(error.to_string(), "a frame of 4294967295 bytes is longer than the limit of 1024");
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
            if let Ok((_, mut rest)) = response_header(&bytes) {
                let _ = message::<RpcSaslProto>(&mut rest, "message");
            }
        }
    }
}
