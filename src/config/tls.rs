//! What both sides of TLS may agree on: versions, cipher suites and key exchange groups, by the Collector's keys (configtls).

use crate::config::check::Section;
use crate::core::diagnostic::code;

/// What a side offers or takes. Empty lists are everything that there is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsTerms {
    pub with_1_2: bool,
    pub with_1_3: bool,
    /// Of `SUITES`.
    pub suites: Vec<String>,
    /// Of `GROUPS`, the preferred first.
    pub groups: Vec<String>,
}

impl Default for TlsTerms {
    fn default() -> TlsTerms {
        TlsTerms { with_1_2: true, with_1_3: true, suites: Vec::new(), groups: Vec::new() }
    }
}

/// Cipher suites that there are here. Those of TLS 1.3 stay whatever is written, as in the Collector.
const SUITES: &[&str] = &[
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
];
const GROUPS: &[&str] = &["X25519", "P256", "P384"];

/// Parts of names that a Collector takes and that there are none of here: broken or old ones, and those of another library.
const LACKING: &[&str] =
    &["_CBC_", "_RC4_", "3DES", "TLS_RSA_WITH_", "P521", "X25519MLKEM768", "SecP256r1MLKEM768", "SecP384r1MLKEM1024"];

/// Reads `min_version`, `max_version`, `cipher_suites` and `curve_preferences` of a `tls` block.
pub fn terms(keys: &Section<'_>) -> TlsTerms {
    keys.not_yet(&["tpm", "include_insecure_cipher_suites"]);
    let least = version(keys, "min_version").unwrap_or(2);
    let most = version(keys, "max_version").unwrap_or(3);
    if least > most {
        keys.invalid::<()>("max_version", "`max_version` is below `min_version`", "a version that is not below it");
    }
    let suites = offered(keys, "cipher_suites", SUITES);
    if most == 2 && !suites.is_empty() && suites.iter().all(|suite| !suite.contains("_WITH_")) {
        let message = "none of these suites is of TLS 1.2, and `max_version` allows nothing else";
        keys.invalid::<()>("cipher_suites", message, "at least one whose name holds `_WITH_`");
    }
    TlsTerms { with_1_2: least <= 2, with_1_3: most >= 3, suites, groups: offered(keys, "curve_preferences", GROUPS) }
}

/// The minor version; those that are not spoken here are not taken for others.
fn version(keys: &Section<'_>, key: &str) -> Option<u8> {
    let (minor, is_spoken) = keys.choice(
        key,
        &[("", (0, true)), ("1.0", (0, false)), ("1.1", (1, false)), ("1.2", (2, true)), ("1.3", (3, true))],
    )?;
    if !is_spoken {
        let message = "podgate does not speak TLS 1.0 and 1.1: they are broken";
        keys.error(key, code::NOT_YET, message, Some("use 1.2 or 1.3, or remove the key"));
    }
    Some(minor).filter(|minor| is_spoken && *minor > 0)
}

/// The written names; what is none of `known` is a finding.
fn offered(keys: &Section<'_>, key: &str, known: &[&str]) -> Vec<String> {
    let written = keys.strings(key).unwrap_or_default();
    for name in written.iter().filter(|name| !known.contains(&name.as_str())) {
        if LACKING.iter().any(|lacking| name.contains(lacking)) {
            let message = format!("{name} is not spoken here");
            keys.error(key, code::NOT_YET, message, Some(&format!("known are {}", known.join(", "))));
        } else {
            keys.invalid::<()>(key, format!("{name:?} is not known"), &format!("any of {}", known.join(", ")));
        }
    }
    written
}
