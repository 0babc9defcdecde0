//! Which proxy leads to a target, as Go's programs read the environment: HTTPS_PROXY, HTTP_PROXY, NO_PROXY in upper or lower
//! case, or `proxy_url` of an exporter, which nothing excepts.
//!
//! Pure text work at the check of a configuration. User and password of a proxy's URL stand in one header that never prints.

use std::fmt;
use std::net::IpAddr;

use http::header::HeaderValue;

use crate::config::check::Section;
use crate::core::diagnostic::code;
use crate::core::stage::factory::Environment;
use crate::net::client::target::{Scheme, Target};
use crate::otlp::json::base64;

/// A proxy that speaks HTTP.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    pub target: Target,
    /// The value of Proxy-Authorization.
    pub credentials: Option<HeaderValue>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.target.authority())
    }
}

const EXPECTED: &str = "http://host:port or https://host:port of a proxy, with user:password@ where it wants them";

impl Proxy {
    /// Reads the URL of a proxy. `bare` also takes `host:port`, as in the environment. No message holds the text: it may have
    /// a password.
    fn parse(text: &str, bare: bool) -> Result<Proxy, String> {
        let text = text.trim();
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (scheme.to_ascii_lowercase(), rest),
            None if bare => ("http".to_owned(), text),
            None => return Err("the proxy's URL has no scheme".to_owned()),
        };
        if !["http", "https"].contains(&scheme.as_str()) {
            return Err(format!("proxies by {scheme} are not supported: podgate knows those that speak HTTP"));
        }
        let (rest, _) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (user, address) = match rest.rsplit_once('@') {
            Some((user, address)) => (Some(user), address),
            None => (None, rest),
        };
        let default: fn(Scheme) -> u16 = |scheme| if scheme == Scheme::Https { 443 } else { 80 };
        let target = Target::parse(&format!("{scheme}://{address}"), Some(default))
            .map_err(|_| "the proxy's URL has no usable host and port".to_owned())?;
        let credentials = user.filter(|user| !user.is_empty()).map(basic).transpose()?;
        Ok(Proxy { target, credentials })
    }

    /// Whether the connection to the proxy itself is TLS.
    pub fn is_secure(&self) -> bool {
        self.target.scheme == Scheme::Https
    }
}

/// `user:password` of a URL as a header.
fn basic(user: &str) -> Result<HeaderValue, String> {
    let (user, password) = user.split_once(':').unwrap_or((user, ""));
    let mut plain = unescaped(user);
    plain.push(b':'); // granted: the configuration's own text
    plain.extend(unescaped(password)); // granted: the configuration's own text
    let mut value = b"Basic ".to_vec(); // granted: the configuration's own text
    base64::encode(&mut value, &plain);
    let mut value = HeaderValue::from_bytes(&value).map_err(|_| "the proxy's credentials cannot be sent".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

/// Percent-encoding undone (RFC 3986, 2.1); what is none stays.
fn unescaped(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len()); // granted: the configuration's own text
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let digits = text.get(at + 1..at + 3).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let code = digits.filter(|_| *byte == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok());
        at += if code.is_some() { 3 } else { 1 };
        plain.push(code.unwrap_or(*byte)); // granted: the configuration's own text
    }
    plain
}

/// What a `NO_PROXY` list excepts.
#[derive(Debug, Default)]
struct Excepted {
    everything: bool,
    entries: Vec<Entry>,
}

#[derive(Debug)]
enum Entry {
    Range(IpAddr, u8),
    Address(IpAddr, Option<String>),
    /// `.suffix`, with its own name or without.
    Domain {
        suffix: String,
        itself: bool,
        port: Option<String>,
    },
}

impl Excepted {
    fn parse(list: &str) -> Excepted {
        let texts = list.split(',').map(|text| text.trim().to_ascii_lowercase());
        let mut excepted = Excepted::default();
        for text in texts.filter(|text| !text.is_empty()) {
            if text == "*" {
                excepted.everything = true;
                break;
            }
            excepted.entries.extend(entry(&text)); // granted: the environment's own text
        }
        excepted
    }

    fn holds(&self, host: &str, port: u16) -> bool {
        let ip = host.parse::<IpAddr>().ok();
        let at = |wanted: &Option<String>| wanted.as_ref().is_none_or(|wanted| *wanted == port.to_string());
        self.everything
            || self.entries.iter().any(|entry| match (entry, ip) {
                (Entry::Range(base, bits), Some(ip)) => in_range(*base, *bits, ip),
                (Entry::Address(address, port), Some(ip)) => address.to_canonical() == ip.to_canonical() && at(port),
                (Entry::Domain { suffix, itself, port }, None) => {
                    let is_it = *itself && suffix.get(1..) == Some(host);
                    (host.ends_with(suffix.as_str()) || is_it) && at(port)
                }
                _ => false,
            })
    }
}

fn entry(text: &str) -> Option<Entry> {
    if let Some((base, bits)) = range(text) {
        return Some(Entry::Range(base, bits));
    }
    let (host, port) = split_port(text);
    if let Ok(address) = host.parse::<IpAddr>() {
        return Some(Entry::Address(address, port));
    }
    let host = if host.starts_with("*.") { host.get(1..)? } else { host };
    let itself = !host.is_empty() && !host.starts_with('.');
    let suffix = if itself { format!(".{host}") } else { host.to_owned() };
    (!suffix.is_empty()).then_some(Entry::Domain { suffix, itself, port })
}

fn range(text: &str) -> Option<(IpAddr, u8)> {
    let (base, bits) = text.split_once('/')?;
    let (base, bits) = (base.parse::<IpAddr>().ok()?, bits.parse::<u8>().ok()?);
    (bits <= if base.is_ipv4() { 32 } else { 128 }).then_some((base, bits))
}

/// `host:port` apart; a text that is not of this form is a host.
fn split_port(text: &str) -> (&str, Option<String>) {
    let written = |port: &str| (!port.is_empty()).then(|| port.to_owned());
    match text.rsplit_once(':') {
        Some((host, port)) if host.starts_with('[') && host.ends_with(']') => {
            (host.get(1..host.len() - 1).unwrap_or_default(), written(port))
        }
        Some((host, port)) if !host.contains([':', '[', ']']) && !port.contains(['[', ']']) => (host, written(port)),
        _ => (text, None),
    }
}

fn in_range(base: IpAddr, bits: u8, ip: IpAddr) -> bool {
    let common = |width: u32, difference: u128| difference.checked_shr(width - u32::from(bits)).unwrap_or(0) == 0;
    match (base, ip.to_canonical()) {
        (IpAddr::V4(base), IpAddr::V4(ip)) => common(32, u128::from(u32::from(base) ^ u32::from(ip))),
        (IpAddr::V6(base), IpAddr::V6(ip)) => common(128, u128::from(base) ^ u128::from(ip)),
        _ => false,
    }
}

/// Whether the environment's proxies are asked for this host at all.
fn is_own_machine(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

fn variable(environment: &Environment, upper: &'static str) -> Option<(String, String)> {
    let lower = upper.to_ascii_lowercase();
    [upper.to_owned(), lower].into_iter().find_map(|name| {
        let value = environment.variable(&name).filter(|value| !value.is_empty())?;
        Some((name, value))
    })
}

/// The environment's proxy for a target; `secure`: of https. The error names the variable and not its value.
fn of_environment(environment: &Environment, target: &Target, secure: bool) -> Result<Option<Proxy>, String> {
    let Some((name, value)) = variable(environment, if secure { "HTTPS_PROXY" } else { "HTTP_PROXY" }) else {
        return Ok(None);
    };
    let (_, excepted) = variable(environment, "NO_PROXY").unwrap_or_default();
    let host = target.host.to_ascii_lowercase();
    if is_own_machine(&target.host) || Excepted::parse(&excepted).holds(&host, target.port) {
        return Ok(None);
    }
    Proxy::parse(&value, true).map(Some).map_err(|why| format!("the environment's {name}: {why}"))
}

/// The proxy that requests to `target` go by: the component's `proxy_url`, else the environment's. `tls`: the target's
/// connection is TLS. gRPC goes by HTTPS_PROXY whatever it is, as grpc-go does.
pub fn proxy_for(
    keys: &Section<'_>,
    environment: &Environment,
    target: &Target,
    (is_grpc, tls): (bool, bool),
) -> Option<Proxy> {
    let written = if is_grpc { None } else { keys.string("proxy_url") };
    if let Some(url) = written.filter(|url| !url.is_empty()) {
        return match Proxy::parse(&url, false) {
            Ok(proxy) => Some(proxy),
            Err(why) => keys.invalid("proxy_url", why, EXPECTED),
        };
    }
    environment_proxy((keys, "endpoint"), environment, target, tls || is_grpc)
}

/// The environment's proxy alone, where no key may name one; `key` says where the target stands. `secure`: the target's
/// connection is TLS.
pub fn environment_proxy(
    (keys, key): (&Section<'_>, &str),
    environment: &Environment,
    target: &Target,
    secure: bool,
) -> Option<Proxy> {
    match of_environment(environment, target, secure) {
        Ok(proxy) => proxy,
        Err(why) => {
            let help = format!("write {EXPECTED}, or list the host in NO_PROXY");
            keys.error(key, code::INVALID_VALUE, why, Some(&help));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> Target {
        Target::parse(url, Some(|scheme| if scheme == Scheme::Https { 443 } else { 80 })).expect("a target")
    }

    fn found(variables: &'static [(&str, &str)], url: &str, secure: bool) -> Result<Option<Proxy>, String> {
        let look_up = |name: &str| variables.iter().find(|(own, _)| *own == name).map(|(_, value)| (*value).to_owned());
        of_environment(&Environment::of(look_up), &target(url), secure)
    }

    #[test]
    fn exceptions_are_those_of_gos_own_reader_on_every_recorded_pair() {
        let golden = include_str!("../../../../tests/golden/config/no_proxy.json");
        let golden: serde_json::Value = serde_json::from_str(golden).unwrap();
        let mut compared = 0;
        for (list, wanted) in golden["lists"].as_object().unwrap() {
            for (url, wanted) in golden["urls"].as_array().unwrap().iter().zip(wanted.as_str().unwrap().chars()) {
                let to = target(url.as_str().unwrap());
                // The oracle compares names in the case of its own URL parser, which is lower for names alone.
                let direct =
                    is_own_machine(&to.host) || Excepted::parse(list).holds(&to.host.to_ascii_lowercase(), to.port);
                assert_eq!(direct, wanted == 'd', "NO_PROXY={list:?} {url}");
                compared += 1;
            }
        }
        assert_eq!(compared, 616);
    }

    #[test]
    fn each_scheme_has_its_variable_in_upper_case_first_and_a_bare_address_is_taken() {
        let both = &[("HTTPS_PROXY", "https://up:1"), ("https_proxy", "low:2"), ("http_proxy", "plain:3")];
        assert_eq!(format!("{:?}", found(both, "https://hop", true)), "Ok(Some(up:1))");
        assert_eq!(format!("{:?}", found(both, "http://hop", false)), "Ok(Some(plain:3))");
        assert_eq!(found(&[("HTTP_PROXY", "http://p:1"), ("no_proxy", "hop")], "http://hop", false), Ok(None));
        assert_eq!(found(&[("HTTPS_PROXY", "http://p:1")], "http://hop", false), Ok(None));
        let unknown = found(&[("HTTPS_PROXY", "socks5://u:SECRET@p:1")], "https://hop", true).unwrap_err();
        assert!(unknown.starts_with("the environment's HTTPS_PROXY: ") && !unknown.contains("SECRET"), "{unknown}");
    }

    #[test]
    fn user_and_password_become_a_header_that_does_not_print() {
        let proxy = Proxy::parse("http://user:p%40ss%2Fword@proxy.test:3128/", false).unwrap();
        let value = proxy.credentials.clone().unwrap();
        let mut wanted = b"Basic ".to_vec();
        base64::encode(&mut wanted, b"user:p@ss/word");
        assert_eq!(value.as_bytes(), wanted);
        assert_eq!(format!("{proxy:?} {value:?}"), "proxy.test:3128 Sensitive");
        for broken in ["http://", "proxy:1", "ftp://p:1", "http://u:SECRET@p:notaport"] {
            assert!(!Proxy::parse(broken, false).unwrap_err().contains("SECRET"), "{broken}");
        }
    }
}
