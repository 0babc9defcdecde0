//! From the keys of a client's `tls` block to what the net layer connects with; one place for all exporters.

use crate::config::client::{PemSource, TlsKeys};
use crate::net::client::settings::{Pem, TlsSettings};

/// Certificate authorities, client certificate (`cert_file`, `key_file`) and how strictly to look.
pub fn tls_settings(keys: &TlsKeys) -> TlsSettings {
    let pem = |source: &Option<PemSource>| {
        source.as_ref().map(|source| match source {
            PemSource::File(path) => Pem::File(path.clone()),
            PemSource::Inline(text) => Pem::Inline(text.expose().to_owned()),
        })
    };
    TlsSettings {
        ca: pem(&keys.ca),
        with_system_ca: keys.with_system_ca,
        certificate: pem(&keys.certificate),
        key: pem(&keys.key),
        skip_verify: keys.insecure_skip_verify,
        server_name: keys.server_name.clone(),
        only_1_3: keys.only_1_3,
    }
}
