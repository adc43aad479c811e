//! SASL as Hadoop RPC uses it.

/// Why client and server could not agree, or why a protected packet does not verify.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SaslError {
    /// The server offers nothing that a token can be used with.
    #[error("the server offers {offered:?}, not TOKEN with DIGEST-MD5")]
    NoMechanism {
        /// What it offers, as `METHOD/MECHANISM`.
        offered: Vec<String>,
    },
}
