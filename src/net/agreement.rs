//! What both sides of TLS may agree on, in the library's terms.

use rustls::crypto::{CryptoProvider, ring};
use rustls::{NamedGroup, SupportedProtocolVersion};

use crate::config::tls::TlsTerms;

const ONLY_1_2: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];
const ONLY_1_3: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

/// The suites and groups that are allowed.
pub fn provider(terms: &TlsTerms) -> CryptoProvider {
    let mut provider = ring::default_provider();
    if !terms.suites.is_empty() {
        let allowed = |name: &str| name.starts_with("TLS13_") || terms.suites.iter().any(|suite| suite == name);
        provider.cipher_suites.retain(|suite| suite.suite().as_str().is_some_and(allowed));
    }
    if !terms.groups.is_empty() {
        let place = |group: NamedGroup| terms.groups.iter().position(|name| group_of(name) == group);
        provider.kx_groups.retain(|group| place(group.name()).is_some());
        provider.kx_groups.sort_by_key(|group| place(group.name()));
    }
    provider
}

pub fn versions(terms: &TlsTerms) -> &'static [&'static SupportedProtocolVersion] {
    match (terms.with_1_2, terms.with_1_3) {
        (true, false) => ONLY_1_2,
        (false, true) => ONLY_1_3,
        _ => rustls::ALL_VERSIONS,
    }
}

/// The group by the Collector's name; the configuration takes no others.
fn group_of(name: &str) -> NamedGroup {
    match name {
        "P256" => NamedGroup::secp256r1,
        "P384" => NamedGroup::secp384r1,
        _ => NamedGroup::X25519,
    }
}
