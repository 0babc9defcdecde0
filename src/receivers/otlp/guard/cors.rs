//! Cross-origin requests from browsers: which pages may send here (Fetch standard, "CORS protocol").
//!
//! A refused preflight says so in its body, because all the developer of the page sees is the network tab. The headers
//! an OTLP page cannot do without (content-type, content-encoding) need not be listed, unlike with the Collector.

use std::collections::BTreeSet;

use http::Method;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderValue, ORIGIN, VARY,
};

use crate::receivers::otlp::fault::RequestFault;

/// Request headers that are always allowed.
const ALWAYS_ALLOWED: [&str; 5] = ["accept", "accept-language", "content-language", "content-type", "content-encoding"];

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cors {
    /// Origins in lower case; `*` in them stands for any text, `*` alone for every origin.
    pub allowed_origins: Vec<String>,
    /// Names in lower case; `*` allows all.
    pub allowed_headers: BTreeSet<String>,
    pub exposed_headers: Vec<String>,
    pub max_age_seconds: Option<u64>,
}

impl Cors {
    /// The answer to a preflight: its headers, or why not. `None` when the request is no preflight.
    pub fn preflight(&self, method: &Method, request: &HeaderMap) -> Option<Result<HeaderMap, RequestFault>> {
        let wanted = request.get(ACCESS_CONTROL_REQUEST_METHOD)?;
        let origin = request.get(ORIGIN)?;
        if method != Method::OPTIONS {
            return None;
        }
        Some(self.check(origin, wanted, request))
    }

    fn check(
        &self,
        origin: &HeaderValue,
        wanted: &HeaderValue,
        request: &HeaderMap,
    ) -> Result<HeaderMap, RequestFault> {
        let origin_text = String::from_utf8_lossy(origin.as_bytes());
        if !self.allows_origin(&origin_text) {
            return Err(RequestFault::Origin(format!("origin {origin_text:?} is not in cors.allowed_origins")));
        }
        if wanted != "POST" {
            return Err(RequestFault::Origin("only POST is allowed across origins".to_owned()));
        }
        let asked = request.get_all(ACCESS_CONTROL_REQUEST_HEADERS).iter();
        let asked = asked.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
        let asked: Vec<String> = asked.map(|name| String::from_utf8_lossy(name).trim().to_ascii_lowercase()).collect();
        if let Some(name) = asked.iter().find(|name| !self.allows_header(name)) {
            return Err(RequestFault::Origin(format!("header {name:?} is not in cors.allowed_headers")));
        }
        let mut headers = HeaderMap::new();
        self.mark(request, &mut headers);
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST"));
        if let Ok(list) = HeaderValue::try_from(asked.join(", ")) {
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, list);
        }
        if let Some(seconds) = self.max_age_seconds {
            headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from(seconds));
        }
        let vary = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers";
        headers.insert(VARY, HeaderValue::from_static(vary));
        Ok(headers)
    }

    /// Lets the page read the answer to a request of an allowed origin.
    pub fn mark(&self, request: &HeaderMap, answer: &mut HeaderMap) {
        let Some(origin) = request.get(ORIGIN) else { return };
        if !self.allows_origin(&String::from_utf8_lossy(origin.as_bytes())) {
            return;
        }
        answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        answer.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        if let Ok(names) = HeaderValue::try_from(self.exposed_headers.join(", "))
            && !names.is_empty()
        {
            answer.insert(ACCESS_CONTROL_EXPOSE_HEADERS, names);
        }
    }

    fn allows_origin(&self, origin: &str) -> bool {
        let origin = origin.to_ascii_lowercase();
        self.allowed_origins.iter().any(|pattern| matches_pattern(pattern, &origin))
    }

    fn allows_header(&self, name: &str) -> bool {
        name.is_empty()
            || ALWAYS_ALLOWED.contains(&name)
            || self.allowed_headers.contains("*")
            || self.allowed_headers.contains(name)
    }
}

/// `*` stands for any text. Linear in the text for each piece between stars.
fn matches_pattern(pattern: &str, text: &str) -> bool {
    let mut pieces = pattern.split('*');
    let Some(rest) = pieces.next().and_then(|head| text.strip_prefix(head)) else { return false };
    let mut rest = rest;
    let mut pieces: Vec<&str> = pieces.collect();
    let Some(tail) = pieces.pop() else { return rest.is_empty() };
    for piece in pieces {
        let Some(at) = rest.find(piece) else { return false };
        rest = &rest[at + piece.len()..];
    }
    rest.ends_with(tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cors() -> Cors {
        Cors {
            allowed_origins: vec!["http://ok.example".into(), "https://*.apps.example".into()],
            allowed_headers: BTreeSet::from(["x-a".to_owned()]),
            exposed_headers: vec!["retry-after".into()],
            max_age_seconds: Some(7200),
        }
    }

    fn preflight(origin: &str, method: &str, headers: &str) -> Result<HeaderMap, RequestFault> {
        let mut request = HeaderMap::new();
        request.insert(ORIGIN, origin.parse().unwrap());
        request.insert(ACCESS_CONTROL_REQUEST_METHOD, method.parse().unwrap());
        request.insert(ACCESS_CONTROL_REQUEST_HEADERS, headers.parse().unwrap());
        cors().preflight(&Method::OPTIONS, &request).unwrap()
    }

    #[test]
    fn preflights_are_allowed_by_origin_method_and_headers() {
        for (origin, method, headers, allowed) in [
            ("http://ok.example", "POST", "content-type,x-a", true),
            ("http://OK.example", "POST", "", true),
            ("https://shop.apps.example", "POST", "content-type", true),
            ("https://apps.example", "POST", "", false),
            ("http://ok.example.evil", "POST", "", false),
            ("http://bad.example", "POST", "", false),
            ("http://ok.example", "PUT", "", false),
            ("http://ok.example", "POST", "x-b", false),
        ] {
            let answer = preflight(origin, method, headers);
            assert_eq!(answer.is_ok(), allowed, "{origin} {method} {headers} {answer:?}");
        }
    }

    #[test]
    fn an_allowed_preflight_says_what_the_page_may_do() {
        let headers = preflight("http://ok.example", "POST", "X-A, content-type").unwrap();
        for (name, value) in [
            ("access-control-allow-origin", "http://ok.example"),
            ("access-control-allow-headers", "x-a, content-type"),
            ("access-control-allow-methods", "POST"),
            ("access-control-max-age", "7200"),
            ("access-control-expose-headers", "retry-after"),
        ] {
            assert_eq!(headers[name], value);
        }
    }

    #[test]
    fn answers_to_other_origins_are_not_marked() {
        let mut request = HeaderMap::new();
        request.insert(ORIGIN, HeaderValue::from_static("http://bad.example"));
        let mut answer = HeaderMap::new();
        cors().mark(&request, &mut answer);
        assert!(answer.is_empty());
    }

    #[test]
    fn stars_stand_for_any_text() {
        for (pattern, text, matched) in [
            ("*", "anything", true),
            ("http://*", "http://x", true),
            ("http://*", "https://x", false),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "acb", false),
            ("abc", "abc", true),
            ("abc", "abcd", false),
            ("a*a", "a", false),
        ] {
            assert_eq!(matches_pattern(pattern, text), matched, "{pattern} {text}");
        }
    }
}
