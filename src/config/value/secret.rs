//! Values that must not be seen: a type that cannot print, and the keys whose values are such.
//!
//! `print-config`, logs and debug output meet configuration in many places; the type keeps a key out of all of them
//! without anyone having to remember it.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

/// What is printed in place of a secret.
pub const REDACTED: &str = "[redacted]";

/// A text that is only given out by [`Secret::expose`]. Neither Display nor Serialize, and Debug shows nothing.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The text itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

/// True when the value under `key` is a secret by its name: passwords, tokens, API keys, credentials, private keys, and
/// everything under `headers`, for a header of any name may carry a key (configopaque hides them all).
pub fn is_secret_key(key: &str) -> bool {
    let plain: String = key.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    // Names of files and of other settings that only mention a secret.
    if ["file", "path", "url", "enabled", "type", "name", "allowedheaders", "exposedheaders"]
        .iter()
        .any(|end| plain.ends_with(end))
    {
        return false;
    }
    let words = ["password", "passwd", "secret", "token", "apikey", "accesskey", "privatekey", "credential"];
    words.iter().any(|word| plain.contains(word))
        || plain.ends_with("headers")
        || plain == "endpointparams"
        || ["authorization", "proxyauthorization", "cookie", "keypem", "authorizationheader"].contains(&plain.as_str())
}

/// A part of a secret value as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretPart<'a> {
    /// An expression that names the secret without being it, or a scheme of authorization.
    Shown(&'a str),
    Secret(&'a str),
}

/// Words before a credential that are none.
const SCHEMES: [&str; 6] = ["ApiKey ", "Bearer ", "Basic ", "Token ", "Api-Token ", "AWS4-HMAC-SHA256 "];

/// A secret value cut into what may be seen and what may not. Defaults of expressions may not.
pub fn parts(value: &str) -> Vec<SecretPart<'_>> {
    let mut parts = Vec::new();
    let quote = value.chars().next().filter(|first| matches!(first, '"' | '\''));
    let inner = value.trim_start_matches(['"', '\'']);
    let scheme =
        SCHEMES.iter().find(|scheme| inner.get(..scheme.len()).is_some_and(|word| word.eq_ignore_ascii_case(scheme)));
    let mut rest = value;
    if let Some(scheme) = scheme {
        let (shown, behind) = value.split_at(value.len() - inner.len() + scheme.len());
        parts.push(SecretPart::Shown(shown));
        rest = behind;
    }
    while let Some(open) = rest.find("${") {
        let Some(close) = expression_end(&rest[open..]).map(|length| open + length) else { break };
        // Without this the opening quote alone would be starred beside an expression.
        let before = &rest[..open];
        parts.push(if before.len() == 1 && before.starts_with(['"', '\'']) {
            SecretPart::Shown(before)
        } else {
            SecretPart::Secret(before)
        });
        expression_parts(&rest[open..close], &mut parts);
        rest = &rest[close..];
    }
    let has_expression = parts.iter().any(|part| matches!(part, SecretPart::Shown(text) if text.starts_with("${")));
    let closing = has_expression && rest.len() == 1 && quote.is_some_and(|quote| rest.starts_with(quote));
    parts.push(if closing { SecretPart::Shown(rest) } else { SecretPart::Secret(rest) });
    parts.retain(|part| !matches!(part, SecretPart::Shown("") | SecretPart::Secret("")));
    parts
}

/// How long the expression is that the text begins with, those in it included; `None` where it does not end.
pub fn expression_end(text: &str) -> Option<usize> {
    let (mut depth, mut at) = (0usize, 0);
    while let Some(found) = text[at..].find(['$', '}']).map(|found| at + found) {
        let opens = text[found..].starts_with("${");
        at = found + if opens { 2 } else { 1 };
        if opens {
            depth += 1;
        } else if text[found..].starts_with('}') {
            depth = depth.saturating_sub(1);
            if depth == 0 {
                return Some(at);
            }
        }
    }
    None
}

/// What may be seen of a whole expression: the names in it, but no default and no text that it brings in itself (`yaml:`).
fn expression_parts<'a>(expression: &'a str, parts: &mut Vec<SecretPart<'a>>) {
    // Whether the text is hidden, for each expression that is open.
    let mut open: Vec<bool> = Vec::new();
    let (mut from, mut at) = (0, 0);
    while at < expression.len() {
        let rest = &expression[at..];
        let hidden = open.last().copied().unwrap_or(false);
        let (length, hides) = if rest.starts_with("${yaml:") {
            open.push(hidden); // granted: one for two letters
            ("${yaml:".len(), true)
        } else if rest.starts_with("${") {
            open.push(hidden); // granted: as above
            ("${".len(), false)
        } else if rest.starts_with(":-") && !hidden {
            (":-".len(), true)
        } else if rest.starts_with('}') {
            open.pop();
            (1, open.last().copied().unwrap_or(false))
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
            continue;
        };
        // The sign itself is seen.
        if hidden {
            parts.push(SecretPart::Secret(&expression[from..at])); // granted: as above
            from = at;
        }
        at += length;
        if let Some(top) = open.last_mut() {
            *top = hides;
        }
        if hides {
            parts.push(SecretPart::Shown(&expression[from..at])); // granted: as above
            from = at;
        }
    }
    parts.push(SecretPart::Shown(&expression[from..])); // granted: as above
}

/// A secret value as it may be printed: its expressions and scheme stay.
pub fn redacted(value: &str) -> String {
    let shown = parts(value).into_iter().map(|part| match part {
        SecretPart::Shown(text) => text,
        SecretPart::Secret(_) => REDACTED,
    });
    shown.collect()
}

/// A text with user and password of every URL redacted.
pub fn without_userinfo(text: &str) -> Cow<'_, str> {
    with_userinfo_as(text, |_| REDACTED.into())
}

/// A text with `shown` in place of user and password of every URL.
pub fn with_userinfo_as(text: &str, shown: impl Fn(&str) -> String) -> Cow<'_, str> {
    let ranges = userinfos(text);
    if ranges.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut from = 0;
    for range in ranges {
        out.push_str(&text[from..range.start]);
        out.push_str(&shown(&text[range.clone()]));
        from = range.end;
    }
    out.push_str(&text[from..]);
    Cow::Owned(out)
}

/// Where user and password of every URL in a text stand, without the `@`. Linear in the text.
fn userinfos(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    if !text.contains("://") {
        return found;
    }
    let ends = |letter: char| letter.is_whitespace() || matches!(letter, '"' | '\'' | ',');
    let mut begin = 0;
    for word in text.split_inclusive(ends) {
        let mut from = 0;
        let last = word.rfind('@');
        while let Some(scheme) = word[from..].find("://").map(|at| from + at + 3) {
            let authority = word[scheme..].find(['/', '?', '#']).map_or(word.len(), |at| scheme + at);
            // A password may hold a slash that nobody escaped: up to a blank or quote, the last `@` decides.
            let slips = || last.filter(|at| *at > scheme && word[scheme..*at].contains(':'));
            match word[scheme..authority].rfind('@').map(|at| scheme + at).or_else(slips) {
                Some(at) => {
                    found.push(begin + scheme..begin + at);
                    from = at;
                }
                None => from = scheme,
            }
        }
        begin += word.len();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_print() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret:?}"), "[redacted]");
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn names_in_expressions_are_shown_and_what_they_bring_in_themselves_is_not() {
        for (text, expected) in [
            ("${env:A}", "${env:A}"),
            ("${env:A:-b}", "${env:A:-[redacted]}"),
            ("Bearer ${env:A}b", "Bearer ${env:A}[redacted]"),
            ("${yaml:b}", "${yaml:[redacted]}"),
            ("a${yaml:b}", "[redacted]${yaml:[redacted]}"),
            ("${env:A_${env:B}}", "${env:A_${env:B}}"),
            ("${env:A_${env:B:-c}:-d}e", "${env:A_${env:B:-[redacted]}:-[redacted]}[redacted]"),
            ("${env:A:-b${env:C}d:-e}", "${env:A:-[redacted]${env:C}[redacted]}"),
            ("${env:A:-${yaml:b}}", "${env:A:-${yaml:[redacted]}}"),
            ("${env:${yaml:A}_B}", "${env:${yaml:[redacted]}_B}"),
            ("${env:A_${env:B}", "[redacted]"),
        ] {
            assert_eq!(redacted(text), expected);
        }
        let deep = format!("{}{}", "${env:".repeat(50_000), "}".repeat(50_000));
        assert_eq!(redacted(&deep), deep);
    }

    #[test]
    fn a_text_of_many_urls_is_one_pass() {
        let many = "http://u:p@h/,".repeat(100_000);
        assert_eq!(without_userinfo(&many), "http://[redacted]@h/,".repeat(100_000));
        let none = "a://".repeat(500_000);
        assert_eq!(without_userinfo(&none), none);
        let slash = "see http://u:a/b@h/c and http://h/a@b, http://u@h";
        assert_eq!(without_userinfo(slash), "see http://[redacted]@h/c and http://h/a@b, http://[redacted]@h");
    }

    #[test]
    fn keys_that_hold_secrets_are_known_by_name() {
        for key in ["Authorization", "api_key", "x-api-key", "ELASTIC_API_KEY", "password", "secret_token", "key_pem"] {
            assert!(is_secret_key(key), "{key}");
        }
        for key in ["headers", "default_headers"] {
            assert!(is_secret_key(key), "{key}");
        }
        for key in [
            "endpoint",
            "allowed_headers",
            "token_file",
            "key_file",
            "ca_file",
            "content-type",
            "compression",
            "username",
        ] {
            assert!(!is_secret_key(key), "{key}");
        }
    }
}
