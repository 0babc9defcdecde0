//! The page for people: one HTML file with its own style and script, under a policy that lets nothing else load or run.
//!
//! The file builds what it shows by text alone: the policy wants trusted types, of which it makes none, so that no string of
//! a pod or a span can become markup even by a slip.

use std::sync::LazyLock;

use bytes::Bytes;
use ring::digest::{SHA256, digest};

use crate::net::grpc::base64;
use crate::net::pages::page::PageResponse;

const HTML: &str = include_str!("page.html");

/// Made once: the digests are those of the file.
static POLICY: LazyLock<String> = LazyLock::new(|| policy(HTML));

/// The page as it goes out.
pub fn response() -> PageResponse {
    let mut page = PageResponse::full(200, "text/html; charset=utf-8", Bytes::from_static(HTML.as_bytes()));
    page.headers.push(("content-security-policy", POLICY.clone()));
    page.headers.extend(HEADERS.map(|(name, value)| (name, value.to_owned())));
    page
}

const HEADERS: [(&str, &str); 6] = [
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cache-control", "no-store"),
];

/// The one style and the one script of the file by their digests; the icon is an image in the file's head.
fn policy(html: &str) -> String {
    let (style, script) = (hash_of(html, "style"), hash_of(html, "script"));
    format!(
        "default-src 'none'; style-src {style}; script-src {script}; connect-src 'self'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )
}

/// `'sha256-...'` of what stands between the first `<tag>` and its end.
fn hash_of(html: &str, tag: &str) -> String {
    let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
    let inner = html.split_once(&open).and_then(|(_, rest)| rest.split_once(&close)).map_or("", |(inner, _)| inner);
    // Thirty-two bytes leave one place of the last group of four.
    format!("'sha256-{}='", base64(digest(&SHA256, inner.as_bytes()).as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_names_the_digests_that_a_browser_reckons() {
        // printf 'alert(1)' | openssl dgst -sha256 -binary | base64, and of nothing.
        let policy = policy("<style></style><script>alert(1)</script>");
        assert!(policy.contains("script-src 'sha256-bhHHL3z2vDgxUt0W3dWQOrprscmda2Y5pLsLg4GF+pI='"), "{policy}");
        assert!(policy.contains("style-src 'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='"), "{policy}");
        assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
    }
}
