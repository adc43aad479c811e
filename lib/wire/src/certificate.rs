//! Makes the certificate of an application: the counterpart of [`crate::tls::InternalTls::from_file`].

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, date_time_ymd};

use crate::tls::INTERNAL_NAME;

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
