//! Why a call did not give its answer.

use std::io;
use std::time::Duration;

use super::frame::FrameError;
use super::sasl::SaslError;

/// Why a connection could not be made or a call did not give its answer. After every variant but a [`RpcError::Remote`]
/// that is not fatal the connection is dead; whether the server carried the call out is then unknown, unless the variant is
/// `Connect`, `Sasl` or `Dead`.
#[derive(Debug, thiserror::Error)]
pub enum RpcError {
    /// No connection came about.
    #[error("could not connect to `{address}`; is the daemon running, and is the address right?")]
    Connect {
        /// `host:port`.
        address: String,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The connection broke.
    #[error("the connection to `{address}` broke during {doing}")]
    Io {
        /// `host:port`.
        address: String,
        /// The handshake or the method.
        doing: String,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// No answer in time.
    #[error("`{address}` did not finish {doing} within {after:?}")]
    Timeout {
        /// `host:port`.
        address: String,
        /// The handshake or the method.
        doing: String,
        /// The limit.
        after: Duration,
    },
    /// The server sent bytes that are no Hadoop RPC, or the answer is none.
    #[error("`{address}` sent something malformed during {doing}; is it a Hadoop RPC port?")]
    Malformed {
        /// `host:port`.
        address: String,
        /// The handshake or the method.
        doing: String,
        /// What is wrong with it.
        #[source]
        cause: FrameError,
    },
    /// Client and server could not agree on who they are.
    #[error("SASL authentication with `{address}` failed")]
    Sasl {
        /// `host:port`.
        address: String,
        /// Why.
        #[source]
        cause: SaslError,
    },
    /// The server answered with an exception.
    #[error("`{address}` refused {doing}: {class}: {message}")]
    Remote {
        /// `host:port`.
        address: String,
        /// The handshake or the method.
        doing: String,
        /// Full name of the exception's Java class.
        class: String,
        /// Its text, without the stack trace.
        message: String,
        /// Whether the server closed the connection with it.
        fatal: bool,
    },
    /// The connection was already dead: an earlier call on it failed or was abandoned before its answer.
    #[error("the connection to `{address}` is dead since an earlier failure; open another")]
    Dead {
        /// `host:port`.
        address: String,
    },
}

impl RpcError {
    /// For a remote exception the name of its class without package and outer class: `StandbyException`,
    /// `InvalidToken`.
    pub fn remote_class(&self) -> Option<&str> {
        match self {
            Self::Remote { class, .. } => class.rsplit(['.', '$']).next(),
            _ => None,
        }
    }

    /// Whether the server may have carried the call out although no answer came.
    pub fn is_ambiguous(&self) -> bool {
        match self {
            Self::Io { .. } | Self::Timeout { .. } | Self::Malformed { .. } => true,
            Self::Connect { .. } | Self::Sasl { .. } | Self::Remote { .. } | Self::Dead { .. } => false,
        }
    }
}

/// An exception's text up to its stack trace, which Hadoop appends.
pub(super) fn without_stack_trace(message: &str) -> String {
    let end = message.find("\n\tat").unwrap_or(message.len());
    message[..end].trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stack_traces_are_cut_and_class_names_shortened() {
        assert_eq!(without_stack_trace("not here \n\tat org.A.b(A.java:1)\n\tat c"), "not here");
        assert_eq!(without_stack_trace("plain"), "plain");
        let error = RpcError::Remote {
            address: "rm:8030".into(),
            doing: "allocate".into(),
            class: "org.apache.hadoop.security.token.SecretManager$InvalidToken".into(),
            message: "gone".into(),
            fatal: true,
        };
        assert_eq!(error.remote_class(), Some("InvalidToken"));
        assert_eq!(
            error.to_string(),
            "`rm:8030` refused allocate: org.apache.hadoop.security.token.SecretManager$InvalidToken: gone"
        );
    }
}
