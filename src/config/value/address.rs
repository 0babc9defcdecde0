//! Addresses to listen on and to send to, in the spellings that charts and variables make of them.
//!
//! A chart writes `${env:MY_POD_IP}:4317` for both families, or `[${env:MY_POD_IP}]:4317`: with the other family the
//! brackets are missing, or too many. Where a variable brought the address in, it is plain which part is it.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::config::check::{Section, text_of};
use crate::core::diagnostic::code;
use crate::core::node::Node;
use crate::core::stage::factory::Checks;

/// The text of an address with brackets around an IPv6 literal that an expression brought in, and none around IPv4.
pub fn text(node: &Node) -> Option<String> {
    let text = text_of(node)?;
    let bracketed = node.expression.as_deref().and_then(|expression| bracketed(&text, expression));
    Some(without_needless_brackets(&bracketed.unwrap_or(text)))
}

/// `fd00::5:4317` of `${env:IP}:4317` is `[fd00::5]:4317`; what stands around the one expression is the same in both.
fn bracketed(text: &str, expression: &str) -> Option<String> {
    let (begin, end) = (expression.find("${")?, expression.rfind('}')? + 1);
    let (before, after) = (&expression[..begin], &expression[end..]);
    let address = text.strip_prefix(before)?.strip_suffix(after)?;
    let wants = after.starts_with(':') && !before.ends_with('[') && address.parse::<Ipv6Addr>().is_ok();
    wants.then(|| format!("{before}[{address}]{after}"))
}

/// `[127.0.0.1]:13133` is `127.0.0.1:13133`, as in Go.
fn without_needless_brackets(text: &str) -> String {
    let Some((before, rest)) = text.split_once('[') else { return text.to_owned() };
    match rest.split_once(']') {
        Some((inner, after)) if inner.parse::<Ipv4Addr>().is_ok() => format!("{before}{inner}{after}"),
        _ => text.to_owned(),
    }
}

/// An address to listen on: `host:port`, `:port` for every interface, `[v6]:port`. Reports a missing or bad port.
pub fn listen(checks: &Checks, section: &Section<'_>, key: &str, default: &str) -> Option<String> {
    let node = section.node(key).filter(|node| !node.is_null());
    section.string(key);
    let text = node.and_then(text).unwrap_or_else(|| default.to_owned());
    let Some((host, port)) = text.rsplit_once(':') else {
        return section.invalid(key, format!("{text:?} has no port"), "host:port, such as localhost:4317");
    };
    if port.parse::<u16>().is_err() {
        return section.invalid(key, format!("{port:?} is not a port"), "a port from 0 to 65535");
    }
    let bare_v6 = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
    if bare_v6 || host.contains('/') || host.contains(char::is_whitespace) {
        return section.invalid(key, format!("{host:?} is not a host"), "host:port, an IPv6 address in brackets");
    }
    warn_of_every_interface(section, key, host.is_empty());
    // An empty host means every interface, IPv6 and IPv4, as in Go.
    let text = if host.is_empty() { format!("[::]:{port}") } else { text };
    if let Some(other) =
        fixed(&text).and_then(|fixed| checks.claim_address(fixed, section.path(), section.place_of(key)))
    {
        let help = Some("give each listener a port of its own");
        section.error(key, code::CONFLICT, format!("{text} is already taken by {other}"), help);
        return None;
    }
    Some(text)
}

/// The address that another listener would clash with, when it is known before start.
pub fn fixed(text: &str) -> Option<SocketAddr> {
    text.parse().ok().or_else(|| format!("127.0.0.1:{}", text.strip_prefix("localhost:")?).parse().ok())
}

/// A host that is empty because a variable is.
pub fn warn_of_every_interface(section: &Section<'_>, key: &str, no_host: bool) {
    if no_host && section.node(key).is_some_and(|node| node.expression.is_some()) {
        let message = "the host is empty, so this listens on every interface";
        section.warn(key, code::LINT, message, Some("write 0.0.0.0 if that is meant"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::node::{Place, Value};

    #[test]
    fn addresses_of_both_families_fit_where_a_variable_brought_them_in() {
        for (expression, address, read) in [
            (Some("${env:IP}:4317"), "fd00::5:4317", "[fd00::5]:4317"),
            (Some("[${env:IP}]:4317"), "[fd00::5]:4317", "[fd00::5]:4317"),
            (Some("[${env:IP}]:4317"), "[10.0.0.5]:4317", "10.0.0.5:4317"),
            (Some("http://${env:IP}:4318/x"), "http://fd00::5:4318/x", "http://[fd00::5]:4318/x"),
            (Some("${env:IP}:${env:PORT}"), "10.0.0.5:4317", "10.0.0.5:4317"),
            (Some("${env:WHOLE}"), "fd00::5:4317", "fd00::5:4317"),
            (None, "fd00::5:4317", "fd00::5:4317"),
            (None, "[127.0.0.1]:13133", "127.0.0.1:13133"),
            (None, "[127.0.0.1]", "127.0.0.1"),
        ] {
            let node = Node {
                expression: expression.map(Into::into),
                ..Node::new(Value::String(address.to_owned()), Place::default())
            };
            assert_eq!(text(&node).as_deref(), Some(read), "{expression:?} {address}");
        }
    }
}
