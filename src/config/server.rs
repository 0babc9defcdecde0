//! The shared server section of receivers and pages: TLS. Keys are the Collector's configtls; what is read here is plain
//! values, and nothing is opened.

use std::time::Duration;

use crate::config::auth::authenticator;
use crate::config::check::Section;
use crate::config::client::{PemSource, pem};
use crate::config::tls::{TlsTerms, terms};
use crate::core::stage::auth::AuthSide;
use crate::core::stage::factory::Checks;

/// The `tls` block of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTlsKeys {
    pub certificate: PemSource,
    pub key: PemSource,
    pub client_ca: Option<PemSource>,
    /// Whom of those with a certificate it lets in; empty: all.
    pub client_names: Vec<ClientName>,
    pub terms: TlsTerms,
    pub reload_interval: Duration,
}

/// A name that a client's certificate has to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientName {
    Dns(String),
    Email(String),
    Uri(String),
    /// URIs that begin so and go on.
    UrisBelow(String),
}

impl ClientName {
    /// What kind it is shows by its form: `scheme://`, an `@`, or a name of hosts. The error is a sentence.
    pub fn parse(text: &str) -> Result<ClientName, String> {
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) || text.is_empty() {
            return Err("a name is one word of ASCII letters".to_owned());
        }
        if let Some((scheme, rest)) = text.split_once("://") {
            let folder = rest.strip_suffix('*');
            if folder.unwrap_or(rest).contains('*') || scheme.contains('*') {
                return Err(format!("{text:?} has a star elsewhere than at its end"));
            }
            // Without a folder in front of the star another trust domain's names would fit.
            return match folder {
                None => Ok(ClientName::Uri(text.to_owned())),
                Some(folder) if folder.ends_with('/') && folder.len() > 1 => {
                    Ok(ClientName::UrisBelow(format!("{scheme}://{folder}")))
                }
                Some(_) => Err(format!("the star of {text:?} does not follow a slash behind the trust domain")),
            };
        }
        match text.contains('*') {
            true => Err(format!("{text:?} has a star; only a URI may end with one")),
            false if text.contains('@') => Ok(ClientName::Email(text.to_owned())),
            false => Ok(ClientName::Dns(text.to_owned())),
        }
    }
}

/// By what a listener of pages is locked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PageLock {
    pub tls: Option<ServerTlsKeys>,
    /// The id of its authenticator.
    pub auth: Option<String>,
}

/// Reads `tls` and `auth` of a listener of pages.
pub fn page_lock(section: &Section<'_>, checks: &Checks) -> PageLock {
    PageLock { tls: tls(section), auth: authenticator(section, checks, AuthSide::Server) }
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
    let client_names = client_names(&keys, client_ca.is_some());
    let interval = keys.duration("reload_interval").filter(|interval| !interval.is_zero());
    let read = ServerTlsKeys {
        certificate: certificate.clone().unwrap_or_else(|| PemSource::File("".into())),
        key: key.clone().unwrap_or_else(|| PemSource::File("".into())),
        client_ca,
        client_names,
        terms: terms(&keys),
        reload_interval: interval.unwrap_or(RELOAD_INTERVAL).max(RELOAD_INTERVAL_MIN),
    };
    let both = required(&keys, "cert_file", certificate.is_some()) & required(&keys, "key_file", key.is_some());
    keys.finish();
    both.then_some(read)
}

/// `podgate: {client_names: [...]}`, which a Collector's configuration does not have.
fn client_names(keys: &Section<'_>, asks_for_certificates: bool) -> Vec<ClientName> {
    let Some(own) = keys.section("podgate") else { return Vec::new() };
    let texts = own.strings("client_names");
    let mut names = Vec::new();
    for text in texts.iter().flatten() {
        match ClientName::parse(text) {
            Ok(name) => names.push(name),
            Err(why) => {
                let expected = "agent.podgate, ops@example.com, or spiffe://cluster.local/ns/shop/*";
                own.invalid::<()>("client_names", why, expected);
            }
        }
    }
    if texts.as_ref().is_some_and(Vec::is_empty) {
        own.invalid::<()>("client_names", "an empty list would let nobody in", "at least one name, or no such key");
    }
    if texts.is_some() && !asks_for_certificates {
        let message = "`client_names` without `client_ca_file`: no client is asked for a certificate";
        own.invalid::<()>("client_names", message, "`client_ca_file` beside it, with the authority of the clients");
    }
    own.finish();
    names
}

fn required(keys: &Section<'_>, key: &str, is_there: bool) -> bool {
    if !is_there {
        keys.missing::<()>(key, "the listener's certificate and its key, each as a `_file` or a `_pem`");
    }
    is_there
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_ends_a_uri_behind_a_slash_and_stands_nowhere_else() {
        for text in ["agent.podgate", "ops@example.com", "spiffe://c/ns/shop/sa/web", "spiffe://c/*", "spiffe://c/ns/*"]
        {
            assert!(ClientName::parse(text).is_ok(), "{text}");
        }
        for text in
            ["", "*", "*.podgate", "a b", "spiffe://*", "spiffe:///*", "spiffe://c*", "spiffe://c/*/x", "*@example.com"]
        {
            assert!(ClientName::parse(text).is_err(), "{text}");
        }
    }
}
