//! The shared server section of receivers: TLS. Keys are the Collector's configtls; what is read here is plain values, and
//! nothing is opened.

use std::time::Duration;

use crate::config::check::Section;
use crate::config::client::{PemSource, pem};
use crate::config::tls::{TlsTerms, terms};

/// The `tls` block of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTlsKeys {
    pub certificate: PemSource,
    pub key: PemSource,
    pub client_ca: Option<PemSource>,
    pub terms: TlsTerms,
    pub reload_interval: Duration,
}

/// How often certificate files are looked at where the configuration does not say.
const RELOAD_INTERVAL: Duration = Duration::from_secs(10);
/// Looking more often would cost more than it tells.
const RELOAD_INTERVAL_MIN: Duration = Duration::from_secs(1);

/// Reads `tls` of a listener; `None` where there is none, or after an error.
pub fn tls(section: &Section<'_>) -> Option<ServerTlsKeys> {
    section.node("tls").filter(|node| !node.is_null())?;
    let keys = section.section("tls")?;
    keys.without_effect("client_ca_file_reload", "the file is checked with the others, every `reload_interval`");
    keys.without_effect("include_system_ca_certs_pool", "it concerns servers; clients are checked by `client_ca_file`");
    keys.without_effect("ca_file", "it concerns servers; clients are checked by `client_ca_file`");
    keys.without_effect("ca_pem", "it concerns servers; clients are checked by `client_ca_file`");
    let certificate = pem(&keys, "cert_file", "cert_pem");
    let key = pem(&keys, "key_file", "key_pem");
    let client_ca =
        keys.string("client_ca_file").filter(|path| !path.is_empty()).map(|path| PemSource::File(path.into()));
    let interval = keys.duration("reload_interval").filter(|interval| !interval.is_zero());
    let read = ServerTlsKeys {
        certificate: certificate.clone().unwrap_or_else(|| PemSource::File("".into())),
        key: key.clone().unwrap_or_else(|| PemSource::File("".into())),
        client_ca,
        terms: terms(&keys),
        reload_interval: interval.unwrap_or(RELOAD_INTERVAL).max(RELOAD_INTERVAL_MIN),
    };
    let both = required(&keys, "cert_file", certificate.is_some()) & required(&keys, "key_file", key.is_some());
    keys.finish();
    both.then_some(read)
}

fn required(keys: &Section<'_>, key: &str, is_there: bool) -> bool {
    if !is_there {
        keys.missing::<()>(key, "the listener's certificate and its key, each as a `_file` or a `_pem`");
    }
    is_there
}
