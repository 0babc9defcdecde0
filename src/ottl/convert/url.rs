//! `URL`: the parts of a URL under the names of the conventions, as Go's net/url tells them apart.

use crate::ottl::convert::made::{object, text_value};
use crate::ottl::value::OttlValue;
use crate::ottl::value::failure::EvalFailure;

/// More parameters of a query are refused: each is looked for among the others.
const ELEMENTS_MAX: usize = 1_000;

const WRONG: EvalFailure = EvalFailure("the text is no URL");

/// Which characters stand for themselves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Path,
    User,
    Fragment,
    Host,
}

/// A URL, taken apart; texts are as they were written where they are not said to be decoded.
#[derive(Debug, Default)]
struct Url<'t> {
    scheme: String,
    /// What stands before the host's `@`; `None` without an authority.
    authority: Option<(Option<&'t str>, String)>,
    /// In place of authority and path, as in `mailto:a`.
    opaque: &'t str,
    path: &'t str,
    decoded_path: String,
    query: Option<&'t str>,
    fragment: &'t str,
    decoded_fragment: String,
}

pub fn parse<'a>(text: &str) -> Result<OttlValue<'a>, EvalFailure> {
    if text.is_empty() {
        return Err(EvalFailure("the URL is empty"));
    }
    if let Some(alone) = text.strip_prefix('?') {
        return query(alone);
    }
    Url::read(text)?.parts()
}

impl<'t> Url<'t> {
    fn read(text: &'t str) -> Result<Url<'t>, EvalFailure> {
        if text.bytes().any(|c| c < b' ' || c == 0x7f) {
            return Err(WRONG);
        }
        let (without, fragment) = text.split_once('#').unwrap_or((text, ""));
        let (scheme, rest) = scheme(without)?;
        let (rest, query) = rest.split_once('?').map_or((rest, None), |(rest, query)| (rest, Some(query)));
        let decoded_fragment = unescape(fragment, Place::Fragment)?;
        let mut url = Url { scheme, query, fragment, decoded_fragment, ..Url::default() };
        if !url.scheme.is_empty() && !rest.starts_with('/') && !rest.is_empty() {
            url.opaque = rest;
            return Ok(url);
        }
        if url.scheme.is_empty() && rest.split('/').next().is_some_and(|first| first.contains(':')) {
            return Err(WRONG);
        }
        url.path = rest;
        if let Some(behind) = rest.strip_prefix("//").filter(|_| !rest.starts_with("///") || !url.scheme.is_empty()) {
            let end = behind.find('/').unwrap_or(behind.len());
            let (authority, path) = behind.split_at(end);
            let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
            url.authority = Some((user, checked_host(host)?));
            url.path = path;
        }
        url.decoded_path = unescape(url.path, Place::Path)?;
        Ok(url)
    }

    fn parts<'a>(&self) -> Result<OttlValue<'a>, EvalFailure> {
        let mut pairs = Vec::new();
        let mut put = |key: &str, value: OttlValue<'a>| pairs.push((key.to_owned(), value));
        let host = self.authority.as_ref().map_or("", |(_, host)| host);
        let (name, port) = host_and_port(host);
        put("url.domain", text_value(name));
        put("url.scheme", text_value(&self.scheme));
        put("url.path", text_value(&self.decoded_path));
        if !port.is_empty() {
            put("url.port", OttlValue::Int(port.parse().map_err(|_| WRONG)?));
        }
        if !self.fragment.is_empty() {
            put("url.fragment", text_value(&self.decoded_fragment));
        }
        let user = self.authority.as_ref().and_then(|(user, _)| *user);
        let user = user.map(|user| put_user(user, &mut put)).transpose()?.unwrap_or_default();
        if let Some(query) = self.query.filter(|query| !query.is_empty()) {
            put("url.query", text_value(query));
        }
        if let Some((_, extension)) = self.decoded_path.rsplit_once('.')
            && !extension.is_empty()
        {
            put("url.extension", text_value(extension));
        }
        put("url.original", text_value(&self.written(&user)));
        object(pairs)
    }

    /// The whole, with what must be escaped escaped.
    fn written(&self, user: &str) -> String {
        let mut out = String::new();
        if !self.scheme.is_empty() {
            out.push_str(&self.scheme);
            out.push(':');
        }
        if let Some((_, host)) = &self.authority
            && (!self.scheme.is_empty() || !host.is_empty() || !user.is_empty())
        {
            out.push_str("//");
            out.push_str(user);
            out.push_str(&escape(host, Place::Host));
        }
        out.push_str(self.opaque);
        out.push_str(&shown(self.path, &self.decoded_path, Place::Path));
        if let Some(query) = self.query {
            out.push('?');
            out.push_str(query);
        }
        if !self.fragment.is_empty() {
            out.push('#');
            out.push_str(&shown(self.fragment, &self.decoded_fragment, Place::Fragment));
        }
        out
    }
}

/// A query alone: the values of each parameter.
fn query<'a>(query: &str) -> Result<OttlValue<'a>, EvalFailure> {
    let mut parameters: Vec<(String, OttlValue<'a>)> = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        if pair.contains(';') || parameters.len() == ELEMENTS_MAX {
            return Err(WRONG);
        }
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let plain = |text: &str| unescape(&text.replace('+', " "), Place::Path);
        let (name, value) = (plain(name)?, text_value(&plain(value)?));
        match parameters.iter_mut().find(|(known, _)| *known == name) {
            Some((_, OttlValue::List(values))) => values.push(value),
            _ => parameters.push((name, OttlValue::List(vec![value]))),
        }
    }
    if parameters.is_empty() {
        return object(Vec::new());
    }
    object(vec![("query".to_owned(), object(parameters)?)])
}

fn put_user<'a>(user: &str, put: &mut impl FnMut(&str, OttlValue<'a>)) -> Result<String, EvalFailure> {
    let known = |c: u8| c.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&c);
    if !user.bytes().all(known) {
        return Err(WRONG);
    }
    let (name, password) = match user.split_once(':') {
        Some((name, password)) => (name, Some(unescape(password, Place::User)?)),
        None => (user, None),
    };
    let name = unescape(name, Place::User)?;
    let mut shown = escape(&name, Place::User);
    if let Some(password) = &password {
        shown.push(':');
        shown.push_str(&escape(password, Place::User));
    }
    put("url.user_info", text_value(&shown));
    if !name.is_empty() {
        put("url.username", text_value(&name));
    }
    if let Some(password) = &password {
        put("url.password", text_value(password));
    }
    shown.push('@');
    Ok(shown)
}

/// As it was written where that is a way to write it, else written anew.
fn shown(written: &str, meant: &str, place: Place) -> String {
    let valid = |c: u8| c == b'%' || b"!'()*;,[]".contains(&c) || stands_alone(c, place);
    if written.bytes().all(valid) { written.to_owned() } else { escape(meant, place) }
}

/// The scheme in lower case, and what follows its colon.
fn scheme(url: &str) -> Result<(String, &str), EvalFailure> {
    for (at, c) in url.bytes().enumerate() {
        match c {
            b'a'..=b'z' | b'A'..=b'Z' => {}
            b'0'..=b'9' | b'+' | b'-' | b'.' if at > 0 => {}
            b':' if at == 0 => return Err(WRONG),
            b':' => return Ok((url[..at].to_ascii_lowercase(), &url[at + 1..])),
            _ => return Ok((String::new(), url)),
        }
    }
    Ok((String::new(), url))
}

fn checked_host(host: &str) -> Result<String, EvalFailure> {
    let port_is_right =
        |port: &str| port.is_empty() || port.strip_prefix(':').is_some_and(|p| p.bytes().all(|c| c.is_ascii_digit()));
    if host.starts_with('[') {
        let end = host.rfind(']').ok_or(WRONG)?;
        if !port_is_right(&host[end + 1..]) {
            return Err(WRONG);
        }
    } else if let Some(at) = host.find(':')
        && (!port_is_right(&host[at..]) || host[at + 1..].contains(':'))
    {
        return Err(WRONG);
    }
    if host.bytes().any(|c| b" <>\"^`{|}\\".contains(&c)) {
        return Err(WRONG);
    }
    unescape(host, Place::Host)
}

/// Without the brackets of an IPv6 address.
fn host_and_port(host: &str) -> (&str, &str) {
    if let Some((address, behind)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (address, behind.strip_prefix(':').unwrap_or_default());
    }
    host.rsplit_once(':').unwrap_or((host, ""))
}

fn unescape(text: &str, place: Place) -> Result<String, EvalFailure> {
    let (bytes, mut out) = (text.as_bytes(), Vec::with_capacity(text.len()));
    let mut at = 0;
    while let Some(c) = bytes.get(at) {
        if *c != b'%' {
            out.push(*c);
            at += 1;
            continue;
        }
        let value = text.get(at + 1..at + 3).and_then(|digits| u8::from_str_radix(digits, 16).ok()).ok_or(WRONG)?;
        // A host takes only what cannot be written otherwise.
        if place == Place::Host && value < 0x80 && value != b'%' {
            return Err(WRONG);
        }
        out.push(value);
        at += 3;
    }
    Ok(String::from_utf8_lossy(&out).into_owned())
}

fn stands_alone(c: u8, place: Place) -> bool {
    if c.is_ascii_alphanumeric() || b"-_.~".contains(&c) {
        return true;
    }
    match place {
        Place::Path => b"$&+,/:;=@".contains(&c),
        Place::User => b"$&+,;=".contains(&c),
        Place::Fragment => b"!()*$&+,/:;=?@".contains(&c),
        Place::Host => b"!$&'()*+,;=:[]<>\"".contains(&c),
    }
}

fn escape(text: &str, place: Place) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.bytes() {
        if stands_alone(c, place) {
            out.push(char::from(c));
        } else {
            out.push_str(&format!("%{c:02X}"));
        }
    }
    out
}
