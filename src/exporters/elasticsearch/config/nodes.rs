//! Where Elasticsearch is: `endpoint`, `endpoints`, `cloudid` or the variable the Collector reads, and how to connect there.

use std::time::Duration;

use crate::config::check::Section;
use crate::config::client::{TlsKeys, tls};
use crate::core::stage::factory::Checks;
use crate::net::client::connect::proxy::proxy_for;
use crate::net::client::settings::{ClientHttp, ClientSettings, TlsSettings};
use crate::net::client::target::{Scheme, Target};
use crate::otlp::json::base64;

/// Read when no key says where, as upstream.
const VARIABLE: &str = "ELASTICSEARCH_URL";
/// More would be a mistake, or a case for a load balancer.
const NODES_MAX: usize = 64;

/// The nodes, or `None` after reporting.
pub fn check(keys: &Section<'_>, checks: &Checks, timeout: Duration) -> Option<Vec<ClientSettings>> {
    let tls = tls(keys);
    let http1_max = keys.usize("max_conns_per_host").filter(|max| *max > 0).unwrap_or(64);
    let idle_timeout = keys.duration("idle_conn_timeout").filter(|idle| !idle.is_zero());
    let targets = targets(keys)?;
    let client = |target: Target| {
        let secured = tls_of(&target, &tls);
        let proxy = proxy_for(keys, &checks.environment, &target, (false, secured.is_some()));
        ClientSettings {
            tls: secured,
            proxy,
            http1_max,
            idle_timeout: idle_timeout.unwrap_or(Duration::from_secs(90)),
            connect_timeout: Duration::from_secs(5).min(timeout.mul_f64(0.8)),
            ..ClientSettings::new(target, ClientHttp::ByAgreement)
        }
    };
    Some(targets.into_iter().map(client).collect())
}

fn tls_of(target: &Target, keys: &TlsKeys) -> Option<TlsSettings> {
    (target.scheme == Scheme::Https).then(|| TlsSettings::of(keys))
}

fn targets(keys: &Section<'_>) -> Option<Vec<Target>> {
    let endpoint = keys.string("endpoint").filter(|text| !text.is_empty());
    let endpoints = keys.strings("endpoints").filter(|list| !list.is_empty());
    let cloud = keys.string("cloudid").filter(|text| !text.is_empty());
    let written = [("endpoint", endpoint.is_some()), ("endpoints", endpoints.is_some()), ("cloudid", cloud.is_some())];
    let named: Vec<&str> = written.iter().filter(|(_, there)| *there).map(|(key, _)| *key).collect();
    if let [first, second, ..] = named[..] {
        return keys.invalid(
            second,
            format!("`{second}` beside `{first}`"),
            "only one of endpoint, endpoints, cloudid",
        );
    }
    if let Some(cloud) = cloud {
        return match cloud_target(&cloud) {
            Some(target) => Some(vec![target]),
            None => keys.invalid("cloudid", "this is no cloud id", "name:base64 as Elastic Cloud shows it"),
        };
    }
    let (key, urls) = match (endpoint, endpoints) {
        (Some(one), _) => ("endpoint", vec![one]),
        (None, Some(list)) => ("endpoints", list),
        (None, None) => {
            let variable = std::env::var(VARIABLE).unwrap_or_default();
            let urls: Vec<String> =
                variable.split(',').map(str::trim).filter(|url| !url.is_empty()).map(str::to_owned).collect();
            ("endpoints", urls)
        }
    };
    if urls.is_empty() {
        return keys.missing("endpoints", "URLs of Elasticsearch nodes, such as [http://elasticsearch:9200]");
    }
    if urls.len() > NODES_MAX {
        return keys.invalid(key, format!("{} nodes", urls.len()), "at most 64 nodes");
    }
    let targets: Vec<Target> = urls.iter().filter_map(|url| target(keys, key, url)).collect();
    (targets.len() == urls.len()).then_some(targets)
}

fn target(keys: &Section<'_>, key: &str, url: &str) -> Option<Target> {
    let expected = "a URL such as http://elasticsearch:9200";
    match Target::parse(url, Some(|scheme| if scheme == Scheme::Https { 443 } else { 80 })) {
        Ok(target) if target.scheme == Scheme::Unstated => {
            keys.invalid(key, format!("{url:?} has no scheme"), "http:// or https:// before the host")
        }
        Ok(target) => Some(target),
        Err(why) => keys.invalid(key, why, expected),
    }
}

/// `name:base64(host[:port]$elasticsearch[:port]$kibana)`: the elasticsearch part is the first label of the host's name
/// (contrib #44306: there may be more parts).
fn cloud_target(id: &str) -> Option<Target> {
    let (_, encoded) = id.rsplit_once(':')?;
    let mut decoded = Vec::new();
    base64::decode(&mut decoded, encoded.as_bytes())?;
    let decoded = String::from_utf8(decoded).ok()?;
    let mut parts = decoded.split('$');
    let (host, cluster) = (parts.next()?, parts.next().filter(|part| !part.is_empty())?);
    let split = |text: &str| match text.split_once(':') {
        Some((name, port)) => (name.to_owned(), Some(port.to_owned())),
        None => (text.to_owned(), None),
    };
    let ((host, shared_port), (cluster, own_port)) = (split(host), split(cluster));
    let port = own_port.or(shared_port).unwrap_or_else(|| "443".to_owned());
    Target::parse(&format!("https://{cluster}.{host}:{port}"), None).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cloud_id_names_one_host() {
        let id = |text: &str| {
            let mut encoded = b"my:deployment:".to_vec();
            base64::encode(&mut encoded, text.as_bytes());
            String::from_utf8(encoded).unwrap()
        };
        for (text, wanted) in [
            ("eu.cloud.es.io$abc$def", Some("abc.eu.cloud.es.io:443")),
            ("eu.cloud.es.io:9243$abc$def$more", Some("abc.eu.cloud.es.io:9243")),
            ("eu.cloud.es.io$abc:9244$", Some("abc.eu.cloud.es.io:9244")),
            ("eu.cloud.es.io$", None),
            ("eu.cloud.es.io", None),
        ] {
            assert_eq!(
                cloud_target(&id(text)).map(|target| target.authority().to_string()).as_deref(),
                wanted,
                "{text}"
            );
        }
        assert!(cloud_target("nothing").is_none() && cloud_target("a:%%%").is_none());
    }
}
