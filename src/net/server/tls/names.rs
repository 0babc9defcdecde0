//! Which of the clients that an authority vouches for are let in: those whose certificate has one of the listed names.
//!
//! An authority often signs for a whole company. The names are looked at after the chain was verified, and only the alternative
//! names count (RFC 6125, 6.4.4: a common name tells nothing where there are some).

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use crate::config::server::ClientName;

/// How many of a stranger's names are told.
const NAMES_TOLD: usize = 4;

/// Why a certificate of the right authority is refused.
#[derive(Debug, thiserror::Error)]
#[error("the client's certificate has none of the names in `client_names`: {0}")]
struct UnlistedClient(String);

/// Verifies as the verifier inside, then looks at the names.
#[derive(Debug)]
pub struct NamedClients {
    inside: Arc<dyn ClientCertVerifier>,
    names: Vec<ClientName>,
}

impl NamedClients {
    /// Without names everybody is let in whom `inside` lets in.
    pub fn or_all(inside: Arc<dyn ClientCertVerifier>, names: &[ClientName]) -> Arc<dyn ClientCertVerifier> {
        if names.is_empty() {
            return inside;
        }
        // granted: the configuration's list
        Arc::new(NamedClients { inside, names: names.to_vec() })
    }
}

/// The alternative names that can be listed; a certificate that does not say them readably has none.
fn names_of(certificate: &CertificateDer<'_>) -> Vec<GeneralName> {
    let Ok(certificate) = Certificate::from_der(certificate) else { return Vec::new() };
    let found = certificate.tbs_certificate().get_extension::<SubjectAltName>();
    found.ok().flatten().map(|(_, names)| names.0).unwrap_or_default()
}

fn is_listed(listed: &ClientName, name: &GeneralName) -> bool {
    match (listed, name) {
        // Names of hosts have no case (RFC 4343); mailboxes may have one, URIs do.
        (ClientName::Dns(listed), GeneralName::DnsName(name)) => listed.eq_ignore_ascii_case(name.as_str()),
        (ClientName::Email(listed), GeneralName::Rfc822Name(name)) => listed == name.as_str(),
        (ClientName::Uri(listed), GeneralName::UniformResourceIdentifier(name)) => listed == name.as_str(),
        (ClientName::UrisBelow(listed), GeneralName::UniformResourceIdentifier(name)) => {
            // `spiffe://cluster.local/ns/shop/*` is everything below, and not the folder itself.
            name.as_str().strip_prefix(listed.as_str()).is_some_and(|rest| !rest.is_empty())
        }
        _ => false,
    }
}

/// A stranger's names, for the log; what a certificate holds is its owner's text, so it is shown escaped and short.
fn told(names: &[GeneralName]) -> String {
    let texts = names.iter().filter_map(|name| match name {
        GeneralName::DnsName(name) | GeneralName::Rfc822Name(name) | GeneralName::UniformResourceIdentifier(name) => {
            let short: String = name.as_str().chars().take(100).collect();
            Some(format!("{short:?}"))
        }
        _ => None,
    });
    let texts: Vec<String> = texts.take(NAMES_TOLD).collect();
    if texts.is_empty() {
        "it has no alternative name at all".to_owned()
    } else {
        format!("it has {}", texts.join(", "))
    }
}

impl ClientCertVerifier for NamedClients {
    fn offer_client_auth(&self) -> bool {
        self.inside.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.inside.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inside.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.inside.verify_client_cert(end_entity, intermediates, now)?;
        let names = names_of(end_entity);
        if self.names.iter().any(|listed| names.iter().any(|name| is_listed(listed, name))) {
            return Ok(verified);
        }
        let why = Arc::new(UnlistedClient(told(&names)));
        Err(Error::InvalidCertificate(CertificateError::Other(OtherError(why))))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inside.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inside.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inside.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use x509_cert::der::asn1::Ia5String;

    use super::*;

    fn ia5(text: &str) -> Ia5String {
        Ia5String::new(text).unwrap()
    }

    #[test]
    fn names_are_of_their_kind_and_whole_unless_a_star_ends_them() {
        let dns = |text| GeneralName::DnsName(ia5(text));
        let uri = |text| GeneralName::UniformResourceIdentifier(ia5(text));
        let email = |text| GeneralName::Rfc822Name(ia5(text));
        for (listed, name, expected) in [
            ("agent.podgate", dns("agent.podgate"), true),
            ("agent.podgate", dns("AGENT.podgate"), true),
            ("agent.podgate", dns("x.agent.podgate"), false),
            ("agent.podgate", dns("agent.podgate.evil.example"), false),
            ("agent.podgate", email("agent.podgate"), false),
            ("agent.podgate", uri("agent.podgate"), false),
            ("ops@shop.example", email("ops@shop.example"), true),
            ("ops@shop.example", email("ops@shop.example.evil"), false),
            ("spiffe://c/ns/shop/sa/web", uri("spiffe://c/ns/shop/sa/web"), true),
            ("spiffe://c/ns/shop/sa/web", uri("spiffe://c/ns/shop/sa/web2"), false),
            ("spiffe://c/ns/shop/*", uri("spiffe://c/ns/shop/sa/web"), true),
            ("spiffe://c/ns/shop/*", uri("spiffe://c/ns/shop/"), false),
            ("spiffe://c/ns/shop/*", uri("spiffe://c/ns/shop-evil/sa/web"), false),
            ("spiffe://c/ns/shop/*", uri("SPIFFE://c/ns/shop/sa/web"), false),
            ("spiffe://c/ns/shop/*", dns("spiffe.c"), false),
        ] {
            let parsed = ClientName::parse(listed).unwrap();
            assert_eq!(is_listed(&parsed, &name), expected, "{listed} {name:?}");
        }
    }

    #[test]
    fn a_strangers_names_are_told_short_and_escaped() {
        let long = "x".repeat(500);
        let told = told(&[GeneralName::DnsName(ia5("a\nb")), GeneralName::DnsName(ia5(&long))]);
        assert!(told.contains("a\\nb") && told.len() < 200, "{told}");
    }
}
