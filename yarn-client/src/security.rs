//! The secrets of one application: its certificate authority, its certificate and the token of its REST interface.

use flumen_wire::tls::INTERNAL_NAME;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, date_time_ymd};

/// Makes the application's PEM file: authority, certificate, key, in this order. The authority's own key is thrown away, so
/// nothing else can ever be signed by it.
///
/// # Errors
/// When the system gives no randomness.
pub fn application_pem() -> Result<String, rcgen::Error> {
    // The name decides, not the time: the certificate dies with the application. A span that no clock error can leave.
    let (not_before, not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2120, 1, 1));
    let authority_key = KeyPair::generate()?;
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    authority.distinguished_name.push(DnType::CommonName, "Flumen application");
    (authority.not_before, authority.not_after) = (not_before, not_after);
    let authority_certificate = authority.self_signed(&authority_key)?;

    let key = KeyPair::generate()?;
    let mut certificate = CertificateParams::new(vec![INTERNAL_NAME.to_owned()])?;
    certificate.distinguished_name.push(DnType::CommonName, INTERNAL_NAME);
    (certificate.not_before, certificate.not_after) = (not_before, not_after);
    let certificate = certificate.signed_by(&key, &Issuer::from_params(&authority, &authority_key))?;
    Ok(format!("{}{}{}", authority_certificate.pem(), certificate.pem(), key.serialize_pem()))
}

/// A new token for changing REST calls: 244 random bits.
pub fn rest_token() -> String {
    format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple())
}

#[cfg(test)]
mod tests {
    use super::*;
    use flumen_wire::tls::InternalTls;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn processes_of_the_application_can_talk_with_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("security.pem");
        std::fs::write(&path, application_pem().unwrap()).unwrap();
        let tls = InternalTls::from_file(&path).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = async {
            let mut stream = tls.accept(listener.accept().await.unwrap().0).await.unwrap();
            stream.write_all(b"hello").await.unwrap();
            stream.shutdown().await.unwrap();
        };
        let client = async {
            let tcp = tokio::net::TcpStream::connect(address).await.unwrap();
            let mut text = String::new();
            tls.connect(tcp).await.unwrap().read_to_string(&mut text).await.unwrap();
            text
        };
        assert_eq!(tokio::join!(server, client).1, "hello");
    }

    #[test]
    fn no_two_tokens_are_alike() {
        assert_eq!(rest_token().len(), 64);
        assert_ne!(rest_token(), rest_token());
    }
}
