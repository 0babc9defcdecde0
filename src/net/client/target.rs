//! Where a client connects: scheme, host and port, read from the spellings the field uses.
//!
//! Pure text work, so that `validate` finds a wrong endpoint before anything is opened. Knows nothing of TLS settings.

use http::uri::{Authority, PathAndQuery};

/// How the connection is secured, as far as the endpoint says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Https,
    /// `host:port` or `dns:///host:port`: the `tls` block decides.
    Unstated,
}

/// A parsed endpoint. Only made by [`Target::parse`], so that its parts always fit into a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub scheme: Scheme,
    /// Without brackets.
    pub host: String,
    pub port: u16,
    /// Empty, or begins with `/`.
    pub path: String,
    authority: Authority,
}

impl Target {
    /// Parses `host:port`, `http(s)://host[:port][/path]` and `dns://[resolver]/host:port`.
    ///
    /// `default_port` is used for URLs without a port; pass `None` where a port must be written.
    /// The error is one sentence for the reader of the configuration.
    pub fn parse(text: &str, default_port: Option<fn(Scheme) -> u16>) -> Result<Target, String> {
        let text = text.trim();
        if text.is_empty() {
            return Err("the endpoint is empty".to_owned());
        }
        let (scheme, rest) = scheme_of(text)?;
        let (authority, path) = match rest.find(['/', '?', '#']) {
            None => (rest, ""),
            Some(at) => rest.split_at(at),
        };
        if path.contains(['?', '#']) {
            return Err(format!("{text:?} has a query or fragment, which an endpoint cannot have"));
        }
        if !path.is_empty() && PathAndQuery::try_from(path).is_err() {
            return Err(format!("the path of {text:?} has characters that a URL cannot have"));
        }
        if authority.contains('@') {
            return Err("podgate does not send a user and password from an endpoint; use headers".to_owned());
        }
        let (host, port) = split_authority(authority)?;
        if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c == '$' || !c.is_ascii_graphic()) {
            return Err(format!("{text:?} has no usable host name"));
        }
        let port = match (port, default_port) {
            (Some(port), _) => port,
            (None, Some(default)) if scheme != Scheme::Unstated => default(scheme),
            _ => return Err(format!("{text:?} has no port")),
        };
        let written = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let authority =
            Authority::try_from(written).map_err(|_| format!("{host:?} is not a host name or an address"))?;
        Ok(Target { scheme, host: host.to_owned(), port, path: path.to_owned(), authority })
    }

    /// `host:port`, with brackets around an IPv6 address.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }
}

fn scheme_of(text: &str) -> Result<(Scheme, &str), String> {
    let Some((scheme, rest)) = text.split_once("://") else { return Ok((Scheme::Unstated, text)) };
    match scheme.to_ascii_lowercase().as_str() {
        "http" => Ok((Scheme::Http, rest)),
        "https" => Ok((Scheme::Https, rest)),
        // gRPC naming: dns://[resolver]/host:port, passthrough:///host:port. Names are looked up by the system's resolver.
        "dns" | "passthrough" => match rest.split_once('/') {
            Some((_, name)) => Ok((Scheme::Unstated, name)),
            None => Err(format!("{text:?} names no host; write {scheme}:///host:port")),
        },
        "unix" | "unix-abstract" => Err("unix sockets are not supported yet".to_owned()),
        other => Err(format!("{other:?} is not a scheme an exporter can use")),
    }
}

fn split_authority(authority: &str) -> Result<(&str, Option<u16>), String> {
    let parse = |port: &str| match port.parse::<u16>() {
        Ok(port) if port > 0 => Ok(Some(port)),
        _ => Err(format!("{port:?} is not a port between 1 and 65535")),
    };
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, after) =
            rest.split_once(']').ok_or_else(|| format!("{authority:?} opens a bracket and does not close it"))?;
        return match after.strip_prefix(':') {
            Some(port) => Ok((host, parse(port)?)),
            None if after.is_empty() => Ok((host, None)),
            None => Err(format!("{authority:?} has text between bracket and port")),
        };
    }
    match authority.matches(':').count() {
        0 => Ok((authority, None)),
        1 => {
            let (host, port) = authority.split_once(':').unwrap_or((authority, ""));
            Ok((host, parse(port)?))
        }
        _ => Err(format!("{authority:?} is an IPv6 address without brackets")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url_port(scheme: Scheme) -> u16 {
        if scheme == Scheme::Https { 443 } else { 80 }
    }

    #[test]
    fn endpoints_are_read_in_every_spelling_of_the_field() {
        for (text, scheme, authority, path) in [
            ("gateway:4317", Scheme::Unstated, "gateway:4317", ""),
            ("10.0.0.1:8200", Scheme::Unstated, "10.0.0.1:8200", ""),
            ("[::1]:4317", Scheme::Unstated, "[::1]:4317", ""),
            ("http://gateway:4318", Scheme::Http, "gateway:4318", ""),
            ("https://apm.example.com/", Scheme::Https, "apm.example.com:443", "/"),
            ("https://api.example.com/otlp/v1", Scheme::Https, "api.example.com:443", "/otlp/v1"),
            ("dns:///gateway.ns.svc:4317", Scheme::Unstated, "gateway.ns.svc:4317", ""),
            ("dns://8.8.8.8/gateway:4317", Scheme::Unstated, "gateway:4317", ""),
            ("passthrough:///10.0.0.1:4317", Scheme::Unstated, "10.0.0.1:4317", ""),
            ("HTTP://Gateway:4318", Scheme::Http, "Gateway:4318", ""),
        ] {
            let target = Target::parse(text, Some(url_port)).unwrap_or_else(|why| panic!("{text}: {why}"));
            assert_eq!((target.scheme, target.authority().as_str(), target.path.as_str()), (scheme, authority, path));
        }
    }

    #[test]
    fn an_endpoint_nobody_could_reach_is_refused_with_a_sentence() {
        for text in [
            "",
            "gateway",
            "gateway:",
            "gateway:0",
            "gateway:70000",
            ":4317",
            "::1:4317",
            "[::1:4317",
            "[::1]x:1",
            "ftp://x:1",
            "unix:///tmp/x",
            "dns://8.8.8.8",
            "http://u:p@x:1",
            "http://x:1/?q",
            "a b:1",
            "$ADDR:1",
            "http://x:1/a b",
            "a^b:1",
        ] {
            assert!(Target::parse(text, Some(url_port)).is_err(), "{text}");
        }
        assert!(Target::parse("http://gateway", None).is_err(), "a gRPC endpoint needs its port");
    }
}
