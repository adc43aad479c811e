//! Mutual TLS inside one application: the client makes a certificate authority and one certificate for each application
//! and ships both as one PEM file (authority, certificate, key); every process proves itself with that certificate and
//! trusts nothing but that authority.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// The name in the application's certificate. It stands for the application, not for a host.
pub const INTERNAL_NAME: &str = "flumen.internal";

/// Name of the PEM file in every container.
pub const SECURITY_FILE: &str = "flumen-security.pem";

/// A peer's host that acknowledges nothing for so long, or a peer that reads nothing, is given up: without a limit the kernel
/// tries for a quarter of an hour. Every process reads what comes (senders of records wait for credit instead), so that one
/// which does not hangs.
pub const UNANSWERED_MAX: Duration = Duration::from_secs(60);

/// A connection on which nothing is said is probed so often.
const PROBE_INTERVAL: Duration = Duration::from_secs(15);

/// A connection, encrypted or not.
pub type Stream = Box<dyn AsyncStream>;

/// What a connection can do.
pub trait AsyncStream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> AsyncStream for T {}

/// Why the application's certificate can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SecurityError {
    /// The file can't be read or is no PEM file with the three parts.
    #[error("security file `{path}` can't be used: it must hold authority, certificate and key in PEM")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: rustls::pki_types::pem::Error,
    },
    /// The parts don't belong together.
    #[error("the application's certificate can't be used")]
    Certificate(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Makes and accepts internal connections.
#[derive(Clone)]
pub struct InternalTls {
    sides: Option<(TlsAcceptor, TlsConnector)>,
}

impl InternalTls {
    /// Without TLS (`security.ssl.internal.enabled: false`).
    pub fn disabled() -> Self {
        Self { sides: None }
    }

    /// Reads the application's PEM file.
    pub fn from_file(path: &Path) -> Result<Self, SecurityError> {
        let file = |cause| SecurityError::File { path: path.to_owned(), cause };
        let certificates: Vec<CertificateDer<'static>> =
            CertificateDer::pem_file_iter(path).map_err(file)?.collect::<Result<_, _>>().map_err(file)?;
        let key = PrivateKeyDer::from_pem_file(path).map_err(file)?;
        let [authority, certificate] = certificates.as_slice() else {
            return Err(file(rustls::pki_types::pem::Error::NoItemsFound));
        };
        Self::new(authority.clone(), certificate.clone(), key).map_err(SecurityError::Certificate)
    }

    fn new(
        authority: CertificateDer<'static>,
        certificate: CertificateDer<'static>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(authority)?;
        let roots = Arc::new(roots);
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider)).build()?;
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![certificate.clone()], key.clone_key())?;
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![certificate], key)?;
        Ok(Self { sides: Some((TlsAcceptor::from(Arc::new(server)), TlsConnector::from(Arc::new(client)))) })
    }

    /// The server's side of a new connection. The caller sets the limit of time.
    pub async fn accept(&self, tcp: TcpStream) -> std::io::Result<Stream> {
        prepare(&tcp)?;
        match &self.sides {
            None => Ok(Box::new(tcp)),
            Some((acceptor, _)) => Ok(Box::new(acceptor.accept(tcp).await?)),
        }
    }

    /// The client's side of a new connection. The caller sets the limit of time.
    pub async fn connect(&self, tcp: TcpStream) -> std::io::Result<Stream> {
        prepare(&tcp)?;
        match &self.sides {
            None => Ok(Box::new(tcp)),
            Some((_, connector)) => {
                let name = ServerName::try_from(INTERNAL_NAME).expect("a constant that is a DNS name");
                Ok(Box::new(connector.connect(name, tcp).await?))
            }
        }
    }
}

/// What every internal connection has: nothing waits for more to send, and a cut is noticed on both sides.
fn prepare(tcp: &TcpStream) -> std::io::Result<()> {
    tcp.set_nodelay(true)?;
    let socket = SockRef::from(tcp);
    socket.set_tcp_user_timeout(Some(UNANSWERED_MAX))?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(PROBE_INTERVAL).with_interval(PROBE_INTERVAL))
}

#[cfg(feature = "certificate")]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::application_pem;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    fn application() -> InternalTls {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), application_pem().unwrap()).unwrap();
        InternalTls::from_file(file.path()).unwrap()
    }

    async fn talk(server: InternalTls, client: InternalTls) -> std::io::Result<String> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let serve = async move {
            let mut stream = server.accept(listener.accept().await?.0).await?;
            stream.write_all(b"hello").await?;
            stream.shutdown().await
        };
        let ask = async move {
            let mut stream = client.connect(TcpStream::connect(address).await?).await?;
            let mut text = String::new();
            stream.read_to_string(&mut text).await?;
            Ok(text)
        };
        let (served, asked) = tokio::join!(serve, ask);
        served.and(asked)
    }

    #[tokio::test]
    async fn processes_of_one_application_talk_and_strangers_do_not() {
        let (ours, other) = (application(), application());
        assert_eq!(talk(ours.clone(), ours.clone()).await.unwrap(), "hello");
        assert!(talk(ours.clone(), other.clone()).await.is_err());
        assert!(talk(other, ours).await.is_err());
    }

    /// That the kernel then gives up is the kernel's to test: it takes a cable to be pulled.
    #[tokio::test]
    async fn a_connection_is_given_up_when_its_peer_does_not_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        prepare(&tcp).unwrap();
        let socket = SockRef::from(&tcp);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(UNANSWERED_MAX));
        assert!(socket.keepalive().unwrap());
    }

    #[test]
    fn a_file_without_certificates_is_named_in_the_error() {
        let error = InternalTls::from_file(Path::new("/dev/null")).err().unwrap().to_string();
        assert!(error.contains("/dev/null"), "{error}");
    }
}
