//! Values that must not be seen: a type that cannot print, and the keys whose values are such.
//!
//! `print-config`, logs and debug output meet configuration in many places; the type keeps a key out of all of them
//! without anyone having to remember it.

use std::fmt;

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

/// True when the value under `key` is a secret by its name: passwords, tokens, API keys, credentials, private keys.
pub fn is_secret_key(key: &str) -> bool {
    let plain: String = key.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    // Names of files and of other settings that only mention a secret.
    if ["file", "path", "enabled", "type", "name"].iter().any(|end| plain.ends_with(end)) {
        return false;
    }
    let words = ["password", "passwd", "secret", "token", "apikey", "accesskey", "privatekey", "credential"];
    words.iter().any(|word| plain.contains(word))
        || ["authorization", "proxyauthorization", "cookie", "keypem", "authorizationheader"].contains(&plain.as_str())
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
    fn keys_that_hold_secrets_are_known_by_name() {
        for key in ["Authorization", "api_key", "x-api-key", "ELASTIC_API_KEY", "password", "secret_token", "key_pem"] {
            assert!(is_secret_key(key), "{key}");
        }
        for key in ["endpoint", "token_file", "key_file", "ca_file", "content-type", "compression", "username"] {
            assert!(!is_secret_key(key), "{key}");
        }
    }
}
