//! The shared client section of exporters: TLS, headers, compression. Keys are the Collector's configtls, configopaque and
//! configcompression; what is read here is plain values, and nothing is opened.

use std::path::PathBuf;

use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::config::check::{Section, text_of};
use crate::config::tls::{TlsTerms, terms};
use crate::config::value::secret::Secret;
use crate::core::diagnostic::code;

/// PEM text by file or in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PemSource {
    File(PathBuf),
    Inline(Secret),
}

/// The `tls` block of a client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsKeys {
    /// True when the block is written at all.
    pub written: bool,
    /// Plaintext.
    pub insecure: bool,
    pub insecure_skip_verify: bool,
    pub ca: Option<PemSource>,
    pub with_system_ca: bool,
    pub certificate: Option<PemSource>,
    pub key: Option<PemSource>,
    pub server_name: Option<String>,
    pub terms: TlsTerms,
}

/// Reads `tls`.
pub fn tls(section: &Section<'_>) -> TlsKeys {
    let Some(keys) = section.section("tls") else { return TlsKeys::default() };
    keys.without_effect("reload_interval", "files are read again at every new connection");
    let read = TlsKeys {
        written: true,
        insecure: keys.bool("insecure").unwrap_or(false),
        insecure_skip_verify: keys.bool("insecure_skip_verify").unwrap_or(false),
        ca: pem(&keys, "ca_file", "ca_pem"),
        with_system_ca: keys.bool("include_system_ca_certs_pool").unwrap_or(false),
        certificate: pem(&keys, "cert_file", "cert_pem"),
        key: pem(&keys, "key_file", "key_pem"),
        server_name: keys.string("server_name_override").filter(|name| !name.is_empty()),
        terms: terms(&keys),
    };
    if read.insecure_skip_verify && !read.insecure {
        keys.warn(
            "insecure_skip_verify",
            code::INSECURE,
            "certificates of the next hop are not verified: whoever is between can read and change what is sent, credentials included",
            Some("give `ca_file` the certificate of its authority instead, or `server_name_override` the name it has"),
        );
    }
    if read.certificate.is_some() != read.key.is_some() {
        let (has, lacks) = if read.key.is_some() { ("key_file", "cert_file") } else { ("cert_file", "key_file") };
        keys.invalid::<()>(has, format!("`{has}` without `{lacks}`"), "both, or neither");
    }
    keys.finish();
    read
}

/// PEM text under one of two keys.
pub fn pem(keys: &Section<'_>, file: &str, inline: &str) -> Option<PemSource> {
    let path = keys.string(file).filter(|path| !path.is_empty());
    let text = keys.string(inline).filter(|text| !text.is_empty());
    if path.is_some() && text.is_some() {
        keys.invalid::<()>(inline, format!("`{inline}` beside `{file}`"), "only one of the two");
    }
    path.map(|path| PemSource::File(PathBuf::from(path)))
        .or_else(|| text.map(|text| PemSource::Inline(Secret::new(text))))
}

/// Header names that requests set themselves.
const RESERVED: &[&str] =
    &["content-type", "content-length", "content-encoding", "te", "transfer-encoding", "connection"];

/// Headers that are set on every request. A map of headers holds 24,576, and a next hop takes far fewer.
pub const HEADERS_MAX: usize = 1_000;

/// False after reporting that there are too many of them.
pub fn are_few(section: &Section<'_>, key: &str, count: usize) -> bool {
    let are_few = count <= HEADERS_MAX;
    if !are_few {
        section.invalid::<()>(key, format!("{count} headers"), &format!("at most {HEADERS_MAX} headers"));
    }
    are_few
}

/// Reads `headers`: a map, or a list of `{name, value}`. Values never print.
pub fn headers(section: &Section<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let Some(node) = section.node("headers").filter(|node| !node.is_null()) else { return headers };
    if !are_few(section, "headers", node.entries().len().max(node.items().len())) {
        return headers;
    }
    let mut add = |name: &str, value: &str| {
        let expected = "header names of letters, digits and dashes, and values without line breaks";
        let Ok(header) = HeaderName::try_from(name) else {
            return section.invalid::<()>("headers", format!("{name:?} is not a header name"), expected);
        };
        if RESERVED.contains(&header.as_str()) {
            let message = format!("{name:?} is set by the exporter itself");
            return section.invalid::<()>("headers", message, "a header that is not part of the protocol");
        }
        // The value may be a secret, so the message does not show it.
        let Ok(mut value) = HeaderValue::from_str(value) else {
            return section.invalid::<()>("headers", format!("the value of {name:?} cannot be sent"), expected);
        };
        value.set_sensitive(true);
        headers.insert(header, value);
        Some(())
    };
    if node.items().is_empty() {
        for (name, value) in section.string_map("headers").unwrap_or_default() {
            add(&name, &value);
        }
        return headers;
    }
    for (at, item) in node.items().iter().enumerate() {
        let text = |key| item.get(key).and_then(text_of);
        match (text("name"), text("value")) {
            (Some(name), Some(value)) => {
                add(&name, &value);
            }
            _ => {
                section.invalid::<()>(
                    "headers",
                    format!("entry {at} has no name and value"),
                    "{name: ..., value: ...}",
                );
            }
        }
    }
    headers
}

/// `compression` of an OTLP client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompressionKey {
    None,
    Gzip,
    Zstd,
    /// The two names of one form.
    Zlib,
    Deflate,
    Snappy,
    SnappyFramed,
}

/// `compression` and, over HTTP, the level of `compression_params`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompressionKeys {
    pub kind: CompressionKey,
    /// `None` is the form's quickest.
    pub level: Option<i32>,
}

/// Levels of gzip and zlib: those of the library, its default (-1) and Huffman's codes alone (-2), which is level 1 here.
const DEFLATE_LEVELS: std::ops::RangeInclusive<i64> = -2..=9;
/// What gzip's default stands for.
const DEFLATE_DEFAULT: i32 = 6;

/// Reads `compression`; the field's default is gzip. gRPC has fewer forms and no levels.
pub fn compression(section: &Section<'_>, is_grpc: bool) -> CompressionKeys {
    let kind = compression_kind(section, is_grpc);
    let params = if is_grpc { None } else { section.section("compression_params") };
    let Some(params) = params else { return CompressionKeys { kind, level: None } };
    let written = params.i64("level").filter(|level| *level != 0);
    params.finish();
    let Some(level) = written else { return CompressionKeys { kind, level: None } };
    let level = match kind {
        CompressionKey::Gzip | CompressionKey::Zlib | CompressionKey::Deflate if DEFLATE_LEVELS.contains(&level) => {
            match level {
                -1 => Some(DEFLATE_DEFAULT),
                level => Some(i32::try_from(level).unwrap_or(1).max(1)),
            }
        }
        // Any number means the nearest level there is.
        CompressionKey::Zstd => Some(i32::try_from(level.clamp(1, 22)).unwrap_or(1)),
        _ => {
            let message = format!("{level} is no level of this compression");
            let expected = "1 to 9 for gzip, zlib and deflate, 1 to 22 for zstd, and none for the others";
            section.invalid("compression_params", message, expected)
        }
    };
    CompressionKeys { kind, level }
}

fn compression_kind(section: &Section<'_>, is_grpc: bool) -> CompressionKey {
    let choices = [
        ("gzip", CompressionKey::Gzip),
        ("zstd", CompressionKey::Zstd),
        ("snappy", CompressionKey::Snappy),
        ("none", CompressionKey::None),
        ("", CompressionKey::None),
        ("zlib", CompressionKey::Zlib),
        ("deflate", CompressionKey::Deflate),
        ("x-snappy-framed", CompressionKey::SnappyFramed),
    ];
    let Some(written) = section.string("compression") else { return CompressionKey::Gzip };
    if written == "lz4" && !is_grpc {
        let message = "compression lz4 is not supported yet";
        section.error("compression", code::NOT_YET, message, Some("use gzip, zstd, snappy or none"));
        return CompressionKey::Gzip;
    }
    let choices = if is_grpc { &choices[..5] } else { &choices[..] };
    section.choice("compression", choices).unwrap_or(CompressionKey::Gzip)
}

/// The form of an Authorization header for a next hop that knows these schemes (`None`: any). Its text is a secret and
/// never shown; `help` says what to write.
pub fn authorization(keys: &Section<'_>, given: &HeaderValue, known: Option<&[&str]>, help: &str) {
    let Ok(given) = given.to_str() else { return };
    let (scheme, rest) = given.split_once(' ').unwrap_or((given, ""));
    let is = |other: &str| scheme.eq_ignore_ascii_case(other);
    if known.is_some_and(|known| !known.iter().any(|known| is(known))) {
        let message = "the Authorization header has a form that this target does not know";
        keys.error("headers", code::INVALID_VALUE, message, Some(help));
    } else if is("ApiKey") && (rest.trim().is_empty() || rest.contains(':')) {
        let message = "the API key in the Authorization header is empty, or is id:key where its base64 is wanted";
        keys.error("headers", code::INVALID_VALUE, message, Some(help));
    }
}
