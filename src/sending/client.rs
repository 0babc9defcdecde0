//! From the keys of a client's `tls` block to what the net layer connects with; one place for all exporters.

use crate::config::client::TlsKeys;
use crate::net::client::settings::TlsSettings;

/// Certificate authorities, client certificate (`cert_file`, `key_file`) and how strictly to look.
pub fn tls_settings(keys: &TlsKeys) -> TlsSettings {
    TlsSettings {
        ca: keys.ca.clone(),
        with_system_ca: keys.with_system_ca,
        certificate: keys.certificate.clone(),
        key: keys.key.clone(),
        skip_verify: keys.insecure_skip_verify,
        server_name: keys.server_name.clone(),
        terms: keys.terms.clone(),
    }
}
