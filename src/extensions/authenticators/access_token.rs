//! A token as a token endpoint gives it, and for how long it is used (RFC 6749, 4.4 and 5). Pure.

use std::time::Duration;

use http::header::HeaderValue;
use serde::Deserialize;
use tokio::time::Instant;

/// Letters of an endpoint's own words that go into a message.
const WORDS_MAX: usize = 200;

/// What exporters send until it ends.
#[derive(Clone)]
pub struct AccessToken {
    /// `Bearer ...`
    pub header: HeaderValue,
    /// When another one is asked for, and when this one is worth nothing; `None` for a token without an end.
    times: Option<(Instant, Instant)>,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    token_type: Option<String>,
    expires_in: Option<serde_json::Value>,
}

#[derive(Deserialize, Default)]
struct Refused {
    #[serde(default)]
    error: String,
    #[serde(default)]
    error_description: String,
}

impl AccessToken {
    /// Of the body of a 200 that came at `now`. A new one is asked for `buffer` before the end, though not before half of
    /// the token's time is over. Errors never show the token.
    pub fn of(body: &[u8], buffer: Duration, now: Instant) -> Result<AccessToken, String> {
        let granted: Granted =
            serde_json::from_slice(body).map_err(|_| "the answer is not a token in JSON (RFC 6749, 5.1)".to_owned())?;
        if granted.access_token.is_empty() {
            return Err("the answer's access_token is empty".to_owned());
        }
        let scheme = match granted.token_type.as_deref() {
            None | Some("") => "Bearer",
            Some(kind) if kind.eq_ignore_ascii_case("bearer") => "Bearer",
            Some(kind) => kind,
        };
        let header = HeaderValue::try_from(format!("{scheme} {}", granted.access_token));
        let mut header = header.map_err(|_| "the answer's token cannot be sent in a header".to_owned())?;
        header.set_sensitive(true);
        let lasts = granted.expires_in.as_ref().and_then(seconds).filter(|lasts| !lasts.is_zero());
        let times = lasts.and_then(|lasts| {
            let used = lasts.saturating_sub(buffer).max(lasts / 2);
            Some((now.checked_add(used)?, now.checked_add(lasts)?))
        });
        Ok(AccessToken { header, times })
    }

    /// No other one need be asked for yet.
    pub fn is_fresh(&self, now: Instant) -> bool {
        self.times.is_none_or(|(renewed, _)| now < renewed)
    }

    /// It has not ended.
    pub fn is_usable(&self, now: Instant) -> bool {
        self.times.is_none_or(|(_, ends)| now < ends)
    }
}

/// `expires_in` as a number, or as the text of one, which some endpoints send.
fn seconds(value: &serde_json::Value) -> Option<Duration> {
    let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())?;
    Duration::try_from_secs_f64(number).ok()
}

/// Why an endpoint gave none, from its status and its body (RFC 6749, 5.2).
pub fn refusal(status: u16, body: &[u8]) -> String {
    let refused: Refused = serde_json::from_slice(body).unwrap_or_default();
    let words = [refused.error, refused.error_description].join(" ");
    let words: String = words.trim().chars().filter(|letter| !letter.is_control()).take(WORDS_MAX).collect();
    let colon = if words.is_empty() { "" } else { ": " };
    format!("the token endpoint answers HTTP {status}{colon}{words}")
}

/// Pairs as `application/x-www-form-urlencoded` (RFC 6749, appendix B).
pub fn form(pairs: &[(&str, &str)]) -> String {
    let pairs = pairs.iter().map(|(key, value)| format!("{}={}", escaped(key), escaped(value)));
    pairs.collect::<Vec<_>>().join("&")
}

/// A text as a part of a form.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' ' => out.push('+'),
            b'*' | b'-' | b'.' | b'_' => out.push(char::from(byte)),
            byte if byte.is_ascii_alphanumeric() => out.push(char::from(byte)),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn a_token_is_renewed_before_its_end_and_not_before_half_of_its_time() {
        let now = Instant::now();
        for (lasts, buffer, renewed, ends) in [
            ("3600", 300.0, 3300.0, 3600.0),
            ("\"3600\"", 300.0, 3300.0, 3600.0),
            ("60", 300.0, 30.0, 60.0),
            ("10.5", 0.0, 10.5, 10.5),
        ] {
            let body = format!("{{\"access_token\": \"t\", \"token_type\": \"bearer\", \"expires_in\": {lasts}}}");
            let token = AccessToken::of(body.as_bytes(), after(buffer), now).unwrap();
            let at = |seconds: f64| now + after(seconds);
            assert!(token.is_fresh(at(renewed - 0.1)) && !token.is_fresh(at(renewed)), "{lasts}");
            assert!(token.is_usable(at(ends - 0.1)) && !token.is_usable(at(ends)), "{lasts}");
            assert_eq!(token.header, "Bearer t");
        }
        for lasts in ["null", "0", "-5", "\"soon\"", "1e300"] {
            let body = format!("{{\"access_token\": \"t\", \"expires_in\": {lasts}}}");
            let token = AccessToken::of(body.as_bytes(), after(300.0), now).unwrap();
            assert!(token.is_fresh(now + after(1e9)), "{lasts}: without an end");
        }
    }

    #[test]
    fn an_answer_that_is_no_token_is_told_without_what_it_holds() {
        for body in ["", "[]", "{\"access_token\": 7}", "{\"access_token\": \"\"}", "{\"access_token\": \"kanari\\n\"}"]
        {
            let told = AccessToken::of(body.as_bytes(), Duration::ZERO, Instant::now()).err().unwrap();
            assert!(!told.contains("kanari"), "{told}");
        }
        let told = refusal(400, b"{\"error\": \"invalid_scope\", \"error_description\": \"no\\u0000 such scope\"}");
        assert_eq!(told, "the token endpoint answers HTTP 400: invalid_scope no such scope");
        assert_eq!(refusal(502, b"<html>"), "the token endpoint answers HTTP 502");
        assert!(refusal(400, format!("{{\"error\": \"{}\"}}", "x".repeat(9999)).as_bytes()).len() < 300);
    }

    #[test]
    fn a_form_is_encoded_as_browsers_do() {
        assert_eq!(form(&[("a b", "c&d=e"), ("x", "\u{e4}*-._~")]), "a+b=c%26d%3De&x=%C3%A4*-._%7E");
    }
}
