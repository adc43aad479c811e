//! Integrity and confidentiality of packets after a DIGEST-MD5 handshake (RFC 2831, sections 2.3 and 2.4).
//!
//! auth-int: message, 10 bytes of HMAC-MD5 over number and message, `00 01`, number. auth-conf: message, padding and HMAC are
//! encrypted with two-key triple DES in CBC mode, whose state runs on from packet to packet.

use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, InnerIvInit, KeyInit as _};
use des::TdesEde2;
use hmac::{Hmac, Mac};
use md5::{Digest, Md5};

use super::SaslError;

const MAC_LENGTH: usize = 10;
const BLOCK: usize = 8;
/// Message type and number.
const TRAILER: usize = 6;
const MESSAGE_TYPE: [u8; 2] = [0, 1];
/// More than padding, checksum and trailer can add to a message.
const OVERHEAD: usize = 32;
/// Longest packet that is sent, whatever the server would take.
const MAX_PACKET: usize = 65_536;

/// Quality of protection, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Qop {
    /// Identities only.
    Auth,
    /// Checksums and numbers.
    AuthInt,
    /// Encryption, too.
    AuthConf,
}

impl Qop {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::AuthInt => "auth-int",
            Self::AuthConf => "auth-conf",
        }
    }

    /// The strongest of the offered ones that is known here. Of the ciphers only triple DES is: the others are worse.
    pub(super) fn strongest(offered: &[String], ciphers: &[String]) -> Option<Self> {
        [Self::AuthConf, Self::AuthInt, Self::Auth].into_iter().find(|qop| {
            let possible = *qop != Self::AuthConf || ciphers.iter().any(|cipher| cipher == "3des");
            possible && offered.iter().any(|name| name == qop.name())
        })
    }
}

/// One direction: key of the checksum and number of the next packet.
struct Direction {
    key: [u8; 16],
    number: u32,
}

/// The ciphers of both directions.
struct TripleDes {
    encrypt: cbc::Encryptor<TdesEde2>,
    decrypt: cbc::Decryptor<TdesEde2>,
}

/// Wraps and unwraps the packets of one side of a connection. In both directions the order of packets matters.
pub(crate) struct Protection {
    send: Direction,
    receive: Direction,
    /// With auth-conf only.
    seal: Option<TripleDes>,
    max_message: usize,
}

impl std::fmt::Debug for Protection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Protection").finish_non_exhaustive()
    }
}

fn derived(session_key: &[u8; 16], constant: &str) -> [u8; 16] {
    Md5::new().chain_update(session_key).chain_update(constant).finalize().into()
}

/// Spreads 7 bytes over 8: seven bits each, the lowest one (parity) is not used by DES.
fn spread(key: &[u8]) -> [u8; 8] {
    let bits = key.iter().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
    std::array::from_fn(|i| (bits >> (49 - 7 * i) << 1) as u8)
}

/// The triple DES key and the first block of CBC that belong to a sealing key.
fn triple_des(sealing_key: &[u8; 16]) -> (TdesEde2, [u8; BLOCK]) {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&spread(&sealing_key[..7]));
    key[8..].copy_from_slice(&spread(&sealing_key[7..14]));
    let first = std::array::from_fn(|i| sealing_key[8 + i]);
    (TdesEde2::new(&key.into()), first)
}

impl Direction {
    fn new(session_key: &[u8; 16], to: &str) -> Self {
        Self { key: derived(session_key, &format!("Digest session key to {to} signing key magic constant")), number: 0 }
    }

    fn mac(&self, message: &[u8]) -> Hmac<Md5> {
        let mac = Hmac::<Md5>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        mac.chain_update(self.number.to_be_bytes()).chain_update(message)
    }
}

impl Protection {
    /// `client` tells which side this is; `maxbuf` is the longest packet that the other side takes.
    pub(super) fn new(qop: Qop, session_key: &[u8; 16], client: bool, maxbuf: usize) -> Option<Self> {
        if qop == Qop::Auth {
            return None;
        }
        let (to, from) =
            if client { ("client-to-server", "server-to-client") } else { ("server-to-client", "client-to-server") };
        let seal = (qop == Qop::AuthConf).then(|| {
            let sealing = |to: &str| {
                let (cipher, first) =
                    triple_des(&derived(session_key, &format!("Digest H(A1) to {to} sealing key magic constant")));
                (cipher, first.into())
            };
            let ((out, out_first), (back, back_first)) = (sealing(to), sealing(from));
            TripleDes {
                encrypt: cbc::Encryptor::inner_iv_init(out, &out_first),
                decrypt: cbc::Decryptor::inner_iv_init(back, &back_first),
            }
        });
        Some(Self {
            send: Direction::new(session_key, to),
            receive: Direction::new(session_key, from),
            seal,
            max_message: maxbuf.min(MAX_PACKET) - OVERHEAD,
        })
    }

    /// Longest message that may be wrapped at once; a longer one is cut.
    pub(crate) fn max_message(&self) -> usize {
        self.max_message
    }

    pub(crate) fn wrap(&mut self, message: &[u8]) -> Vec<u8> {
        let mac = self.send.mac(message).finalize().into_bytes();
        let mut out = message.to_vec();
        if let Some(TripleDes { encrypt, .. }) = &mut self.seal {
            let padding = BLOCK - (message.len() + MAC_LENGTH) % BLOCK;
            out.extend(std::iter::repeat_n(padding as u8, padding));
            out.extend_from_slice(&mac[..MAC_LENGTH]);
            for block in out.chunks_exact_mut(BLOCK) {
                encrypt.encrypt_block(block.try_into().expect("chunks of one block"));
            }
        } else {
            out.extend_from_slice(&mac[..MAC_LENGTH]);
        }
        out.extend_from_slice(&MESSAGE_TYPE);
        out.extend_from_slice(&self.send.number.to_be_bytes());
        self.send.number = self.send.number.wrapping_add(1);
        out
    }

    pub(crate) fn unwrap(&mut self, packet: &[u8]) -> Result<Vec<u8>, SaslError> {
        let (body, trailer) = split_end(packet, TRAILER).ok_or(SaslError::Packet("it is too short"))?;
        if trailer[..2] != MESSAGE_TYPE {
            return Err(SaslError::Packet("its type is not 1"));
        }
        let got = u32::from_be_bytes([trailer[2], trailer[3], trailer[4], trailer[5]]);
        if got != self.receive.number {
            return Err(SaslError::Sequence { expected: self.receive.number, got });
        }
        let mut body = body.to_vec();
        if let Some(TripleDes { decrypt, .. }) = &mut self.seal {
            if !body.len().is_multiple_of(BLOCK) {
                return Err(SaslError::Packet("its length is no multiple of the cipher's block"));
            }
            for block in body.chunks_exact_mut(BLOCK) {
                decrypt.decrypt_block(block.try_into().expect("chunks of one block"));
            }
        }
        let (message, mac) = split_end(&body, MAC_LENGTH).ok_or(SaslError::Packet("it is too short"))?;
        let message = if self.seal.is_some() { without_padding(message)? } else { message };
        self.receive.mac(message).verify_truncated_left(mac).map_err(|_| SaslError::Checksum)?;
        self.receive.number = self.receive.number.wrapping_add(1);
        Ok(message.to_vec())
    }
}

fn split_end(bytes: &[u8], tail: usize) -> Option<(&[u8], &[u8])> {
    bytes.split_at_checked(bytes.len().checked_sub(tail)?)
}

fn without_padding(message: &[u8]) -> Result<&[u8], SaslError> {
    let padding = message.last().copied().map_or(0, usize::from);
    if !(1..=BLOCK).contains(&padding) {
        return Err(SaslError::Packet("its padding is wrong"));
    }
    let (message, _) = split_end(message, padding).ok_or(SaslError::Packet("its padding is wrong"))?;
    Ok(message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pair(qop: Qop) -> (Protection, Protection) {
        let key = [7; 16];
        (Protection::new(qop, &key, true, 65_536).unwrap(), Protection::new(qop, &key, false, 65_536).unwrap())
    }

    #[test]
    fn seven_bits_go_into_each_byte_of_a_des_key() {
        assert_eq!(spread(&[0xff; 7]), [0xfe; 8]);
        assert_eq!(spread(&[0x80, 0, 0, 0, 0, 0, 1]), [0x80, 0, 0, 0, 0, 0, 0, 2]);
        assert_eq!(spread(&[0x01, 0, 0, 0, 0, 0, 0]), [0, 0x80, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn the_strongest_known_protection_is_taken() {
        let words = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
        for (offered, ciphers, expected) in [
            ("auth", "", Some(Qop::Auth)),
            ("auth,auth-int", "", Some(Qop::AuthInt)),
            ("auth-conf,auth-int,auth", "rc4,3des", Some(Qop::AuthConf)),
            ("auth-conf,auth", "rc4,des", Some(Qop::Auth)),
            ("auth-conf", "rc4", None),
            ("other", "", None),
        ] {
            assert_eq!(Qop::strongest(&words(offered), &words(ciphers)), expected, "{offered} {ciphers}");
        }
    }

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    /// Computed with Python's hashlib and hmac and with OpenSSL's DES.
    #[test]
    fn packets_are_those_of_another_implementation() {
        for (qop, first, second) in [
            (
                Qop::AuthInt,
                "68656c6c6f7ac5f32a94f901f7885b000100000000",
                "61207365636f6e642c206c6f6e676572206d65737361676535eece01c8289719a906000100000001",
            ),
            (
                Qop::AuthConf,
                "be24660984654fa29f6844e04182cf23000100000000",
                "606d9e4169e5f0d972f9f3db6f9e656fd04de100fd26cc8aa5b41e8140d48caffda6f2b66c5f6caf000100000001",
            ),
        ] {
            let (mut client, mut server) = pair(qop);
            for (message, packet) in [("hello", first), ("a second, longer message", second)] {
                assert_eq!(client.wrap(message.as_bytes()), bytes(packet), "{qop:?} {message}");
                assert_eq!(server.unwrap(&bytes(packet)).unwrap(), message.as_bytes());
            }
        }
    }

    #[test]
    fn lost_repeated_and_changed_packets_are_found() {
        for qop in [Qop::AuthInt, Qop::AuthConf] {
            let (mut client, mut server) = pair(qop);
            let (first, second) = (client.wrap(b"first message"), client.wrap(b"second message"));
            assert_eq!(server.unwrap(&second), Err(SaslError::Sequence { expected: 0, got: 1 }));
            assert_eq!(server.unwrap(&first).unwrap(), b"first message");
            assert_eq!(server.unwrap(&first), Err(SaslError::Sequence { expected: 1, got: 0 }));
            let mut changed = second.clone();
            changed[0] ^= 1;
            assert!(server.unwrap(&changed).is_err());
            assert_eq!(server.unwrap(&second[..5]), Err(SaslError::Packet("it is too short")));
            let mut other_type = second;
            let at = other_type.len() - 5;
            other_type[at] = 2;
            assert_eq!(server.unwrap(&other_type), Err(SaslError::Packet("its type is not 1")));
        }
    }

    #[test]
    fn a_side_does_not_take_its_own_packets() {
        for qop in [Qop::AuthInt, Qop::AuthConf] {
            let (mut client, _) = pair(qop);
            let packet = client.wrap(b"reflected message");
            assert!(client.unwrap(&packet).is_err());
        }
    }

    proptest! {
        #[test]
        fn packets_of_any_length_go_through_in_order(lengths in proptest::collection::vec(0usize..100, 1..8), conf: bool) {
            let (mut client, mut server) = pair(if conf { Qop::AuthConf } else { Qop::AuthInt });
            for length in lengths {
                let message = vec![length as u8; length];
                let packet = client.wrap(&message);
                prop_assert!(packet.len() <= message.len() + OVERHEAD);
                prop_assert_eq!(server.unwrap(&packet).unwrap(), message.clone());
                let back = server.wrap(&message);
                prop_assert_eq!(client.unwrap(&back).unwrap(), message);
            }
        }

        #[test]
        fn no_bytes_make_unwrapping_panic(mut bytes: Vec<u8>, numbered: bool, conf: bool) {
            let (mut client, _) = pair(if conf { Qop::AuthConf } else { Qop::AuthInt });
            if numbered {
                bytes.extend_from_slice(&[0, 1, 0, 0, 0, 0]);
            }
            prop_assert!(client.unwrap(&bytes).is_err());
        }
    }
}
