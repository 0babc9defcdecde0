//! The question to Elasticsearch whether an API key has privileges, and what its answer means. Pure.

use http::HeaderMap;
use http::header::HeaderName;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::core::data::origin::Identity;
use crate::core::stage::auth::AuthFault;

/// Values of one request's headers that become resources.
const RESOURCES_MAX: usize = 64;

/// What a key has to be allowed, of one application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplicationPrivileges {
    pub application: String,
    pub privileges: Vec<String>,
    pub resources: Vec<String>,
    pub of_headers: Vec<HeaderResource>,
}

/// A resource that a request names in a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderResource {
    pub header: HeaderName,
    /// Stand before and behind the header's value.
    pub around: (String, String),
}

impl HeaderResource {
    /// `format` is Go's with one `%s`; the error says what is wrong with it.
    pub fn new(header: HeaderName, format: &str) -> Result<HeaderResource, String> {
        let (mut parts, mut part) = (Vec::new(), String::new());
        let mut letters = format.chars();
        while let Some(letter) = letters.next() {
            match (letter, if letter == '%' { letters.next() } else { None }) {
                ('%', Some('s')) => parts.push(std::mem::take(&mut part)),
                ('%', Some('%')) => part.push('%'),
                ('%', _) => return Err(format!("{format:?} has a `%` that begins neither `%s` nor `%%`")),
                (letter, _) => part.push(letter),
            }
        }
        parts.push(part);
        match <[String; 2]>::try_from(parts) {
            Ok([before, behind]) => Ok(HeaderResource { header, around: (before, behind) }),
            Err(_) => Err(format!("{format:?} does not have exactly one `%s`")),
        }
    }
}

/// The body of the question. The error is what the sender hears.
pub fn question(wanted: &[ApplicationPrivileges], headers: &HeaderMap) -> Result<String, String> {
    let applications: Result<Vec<Value>, String> = wanted.iter().map(|wanted| application(wanted, headers)).collect();
    Ok(json!({ "application": applications? }).to_string())
}

fn application(wanted: &ApplicationPrivileges, headers: &HeaderMap) -> Result<Value, String> {
    let mut resources = wanted.resources.clone();
    for HeaderResource { header, around: (before, behind) } in &wanted.of_headers {
        let values = headers.get_all(header).iter().take(RESOURCES_MAX + 1);
        let values: Result<Vec<&str>, _> = values.map(|value| value.to_str()).collect();
        let values = values.map_err(|_| format!("the header {header} is no text"))?;
        if values.is_empty() || values.len() > RESOURCES_MAX {
            return Err(format!("the header {header} is missing, or there more than {RESOURCES_MAX} times"));
        }
        resources.extend(values.iter().map(|value| format!("{before}{value}{behind}")));
    }
    Ok(json!({ "application": wanted.application, "privileges": wanted.privileges, "resources": resources }))
}

#[derive(Deserialize)]
struct Answer {
    username: String,
    /// Absent in the answer about who a key is.
    has_all_requested: Option<bool>,
}

/// What an answer means: whom the key stands for, why it is refused, or why that cannot be told (the outer error).
pub fn verdict(status: u16, body: &[u8], id: &str, asked: bool) -> Result<Result<Identity, AuthFault>, String> {
    match status {
        200 => {}
        401 => return Ok(Err(unauthenticated("Elasticsearch does not know the API key"))),
        403 => return Ok(Err(AuthFault::Forbidden("the API key may not ask for its own privileges".to_owned()))),
        other => return Err(format!("Elasticsearch answers {other}")),
    }
    let answer: Answer =
        serde_json::from_slice(body).map_err(|_| "the answer is none of Elasticsearch's security API".to_owned())?;
    match (asked, answer.has_all_requested) {
        (false, _) | (true, Some(true)) => {}
        (true, Some(false)) => {
            return Ok(Err(AuthFault::Forbidden(
                "the API key lacks the privileges that are asked for here".to_owned(),
            )));
        }
        (true, None) => return Err("the answer says nothing of privileges".to_owned()),
    }
    let attributes = vec![("username", answer.username), ("api_key", id.to_owned())];
    Ok(Ok(Identity { subject: id.into(), tells_senders: true, attributes }))
}

/// With the challenge of API keys.
pub fn unauthenticated(message: &str) -> AuthFault {
    let challenge = http::HeaderValue::from_static("ApiKey");
    AuthFault::Unauthenticated { message: message.to_owned(), challenge }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_has_one_place_for_the_headers_value() {
        let header = || HeaderName::from_static("x-tenant");
        let made = |format: &str| HeaderResource::new(header(), format).map(|resource| resource.around);
        assert_eq!(made("%s"), Ok((String::new(), String::new())));
        assert_eq!(made("tenant:%s:100%%"), Ok(("tenant:".to_owned(), ":100%".to_owned())));
        for wrong in ["", "x", "%s%s", "%d", "%", "a%"] {
            assert!(made(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn answers_are_told_apart_and_only_a_whole_yes_lets_in() {
        let yes = br#"{"username":"ann","has_all_requested":true,"cluster":{},"index":{},"application":{}}"#;
        let identity = verdict(200, yes, "key1", true).unwrap().unwrap();
        assert_eq!((identity.attribute("subject"), identity.attribute("username")), (Some("key1"), Some("ann")));
        assert!(verdict(200, br#"{"username":"ann"}"#, "key1", false).unwrap().is_ok());
        let no = br#"{"username":"ann","has_all_requested":false}"#;
        assert!(matches!(verdict(200, no, "key1", true), Ok(Err(AuthFault::Forbidden(_)))));
        assert!(matches!(verdict(401, b"", "key1", true), Ok(Err(AuthFault::Unauthenticated { .. }))));
        assert!(matches!(verdict(403, b"", "key1", true), Ok(Err(AuthFault::Forbidden(_)))));
        for (status, body) in
            [(200, &b"{\"username\":\"ann\"}"[..]), (200, b"<html>"), (500, yes), (429, b""), (302, b"")]
        {
            assert!(verdict(status, body, "key1", true).is_err(), "{status}");
        }
    }
}
