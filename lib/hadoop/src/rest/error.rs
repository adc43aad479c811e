//! What can go wrong between a client and the ResourceManager's web services.

use std::error::Error;
use std::time::Duration;

/// A failed request.
#[derive(Debug, thiserror::Error)]
pub enum RmError {
    /// No ResourceManager answered within the budget.
    #[error("no ResourceManager answers at {addresses}: is it running, and does yarn-site.xml name its web address?")]
    Unreachable {
        /// The base URLs that were tried, joined by commas.
        addresses: String,
        /// The last failure.
        #[source]
        cause: Box<dyn Error + Send + Sync>,
    },
    /// ResourceManagers answer, but none of them became active within the budget.
    #[error("no ResourceManager is active at {addresses}: all that answer are on standby")]
    Standby {
        /// The base URLs that were tried, joined by commas.
        addresses: String,
    },
    /// The ResourceManager said no.
    #[error("the ResourceManager refused {request} with {status} {class}: {message}")]
    Refused {
        /// Method and path.
        request: String,
        /// HTTP status.
        status: u16,
        /// Simple name of the Java exception, such as `BadRequestException`; empty when the answer names none.
        class: String,
        /// What it said.
        message: String,
    },
    /// The ResourceManager wants to know who asks, or does not let this user in.
    #[error("the ResourceManager demands authentication for {request} ({scheme})")]
    Unauthorized {
        /// Method and path.
        request: String,
        /// What it offers, such as `Negotiate` (Kerberos).
        scheme: String,
    },
    /// The answer is not what a ResourceManager says.
    #[error("the answer to {request} makes no sense ({reason}): is {url} the web address of a ResourceManager?")]
    Malformed {
        /// Method and path.
        request: String,
        /// The base URL that answered.
        url: String,
        /// What is wrong, and the beginning of the answer.
        reason: String,
    },
    /// There is no such application, node or key.
    #[error("the ResourceManager finds nothing for {request}: {message}")]
    NotFound {
        /// Method and path.
        request: String,
        /// What the ResourceManager said.
        message: String,
    },
    /// An application did not end in time.
    #[error("{what} has not ended after {} s", after.as_secs())]
    NotEnded {
        /// The application.
        what: String,
        /// How long was waited.
        after: Duration,
    },
    /// The client can't be made.
    #[error("the HTTP client can't be set up")]
    Setup(#[source] Box<dyn Error + Send + Sync>),
    /// The configuration does not say where the ResourceManagers are.
    #[error("the ResourceManager can't be found by the Hadoop configuration")]
    Configuration(#[from] crate::conf::ConfError),
    /// The application has nothing to run or its tokens do not decode.
    #[error("the application can't be submitted")]
    Submission(#[source] Box<dyn Error + Send + Sync>),
}

impl RmError {
    /// Whether the same request may succeed later without anybody changing anything.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Standby { .. })
    }
}
