//! The page at `/` of the admin port: what goes out with it, what is in the file, whom it answers, and its events.

mod support;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use podgate::gateway::Gateway;
use ring::digest::{SHA256, digest};
use serde_json::Value;
use support::{drain, free_port, start};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

/// What a browser of a slow port-forward waits for at most.
const PAGE_BYTES_MAX: usize = 80_000;

fn html() -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/extensions/admin/page.html");
    std::fs::read_to_string(path).expect("the page")
}

/// What stands between `<tag>` and its end; there is one of each.
fn part<'h>(html: &'h str, tag: &str) -> &'h str {
    let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
    assert_eq!((html.matches(&open).count(), html.matches(&close).count()), (1, 1), "{tag}");
    html.split_once(&open).and_then(|(_, rest)| rest.split_once(&close)).expect("both ends").0
}

async fn gateway() -> (Gateway, u16) {
    let admin = free_port();
    let yaml = format!(
        "receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:0'}}}}}}}}\nexporters: {{nop: }}\n\
         extensions: {{admin: {{endpoint: '127.0.0.1:{admin}'}}}}\n\
         service:\n  extensions: [admin]\n  telemetry: {{metrics: {{level: none}}}}\n  \
         pipelines: {{traces: {{receivers: [otlp], exporters: [nop]}}}}\n"
    );
    (start(&yaml).await, admin)
}

async fn send(admin: u16, path: &str, headers: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", admin)).await.expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    stream
}

/// The whole answer to a request with these headers.
async fn get(admin: u16, path: &str, headers: &str) -> String {
    let mut stream = send(admin, path, &format!("{headers}connection: close\r\n")).await;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("an answer");
    String::from_utf8(answer).expect("text")
}

const BROWSER: &str = "accept: text/html,application/xhtml+xml,*/*;q=0.8\r\n";

#[tokio::test]
async fn a_browser_is_given_the_page_with_a_policy_that_lets_nothing_else_load_or_run() {
    let (gateway, admin) = gateway().await;
    let answer = get(admin, "/", &format!("host: 127.0.0.1:{admin}\r\n{BROWSER}")).await;
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("content-type: text/html; charset=utf-8"), "{head}");
    assert_eq!(body, html());
    let policy = head.lines().find_map(|line| line.strip_prefix("content-security-policy: ")).expect("a policy");
    for (directive, tag) in [("style-src", "style"), ("script-src", "script")] {
        let wanted = format!("{directive} 'sha256-{}'", base64(digest(&SHA256, part(body, tag).as_bytes()).as_ref()));
        assert!(policy.contains(&wanted), "{wanted} is not in {policy}");
    }
    for directive in [
        "default-src 'none'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "connect-src 'self'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ] {
        assert!(policy.split("; ").any(|part| part == directive), "{directive} is not in {policy}");
    }
    assert!(!policy.contains("unsafe") && !policy.contains('*') && !policy.contains("http"), "{policy}");
    for header in [
        "x-content-type-options: nosniff",
        "x-frame-options: DENY",
        "referrer-policy: no-referrer",
        "cross-origin-resource-policy: same-origin",
        "cache-control: no-store",
    ] {
        assert!(head.contains(header), "{header} is not in {head}");
    }
    drain(gateway).await;
}

/// By the oracle's own hands: what a browser reckons.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits: Vec<bool> = bytes.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1 == 1)).collect();
    let letter = |six: &[bool]| six.iter().fold(0, |sum, bit| sum * 2 + usize::from(*bit)) << (6 - six.len());
    let mut text: String = bits.chunks(6).map(|six| char::from(LETTERS[letter(six)])).collect();
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    text
}

#[test]
fn the_file_is_small_plain_and_makes_no_markup_of_text() {
    let html = html();
    assert!(html.len() <= PAGE_BYTES_MAX, "{} bytes", html.len());
    assert!(html.is_ascii(), "write other characters as escapes");
    let script = part(&html, "script");
    for word in [
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "createContextualFragment",
        "document.write",
        "eval(",
        "DOMParser",
        "new Function",
        "srcdoc",
        "setHTML",
        "importScripts",
        "javascript:",
    ] {
        assert!(!html.contains(word), "{word}");
    }
    // What would be a handler or a style in markup, which the policy would refuse.
    let markup = html.replace(script, "").replace(part(&html, "style"), "");
    for attribute in
        [" style=", " onclick=", " onload=", " onerror=", " src=", "<iframe", "<object", "<form", "@import"]
    {
        assert!(!markup.contains(attribute), "{attribute}");
    }
    let addresses = html.match_indices("://").map(|(at, _)| &html[at - 5..(at + 20).min(html.len())]);
    let foreign: Vec<&str> = addresses.filter(|address| !address.contains("://www.w3.org/2000/")).collect();
    assert!(foreign.is_empty(), "nothing external: {foreign:?}");
}

#[tokio::test]
async fn only_loopbacks_names_are_answered_and_no_other_origin_holds_a_stream() {
    let (gateway, admin) = gateway().await;
    for path in ["/", "/v1/events", "/v1/flow"] {
        let answer = get(admin, path, &format!("host: evil.example:{admin}\r\n{BROWSER}")).await;
        assert!(answer.starts_with("HTTP/1.1 403 ") && !answer.contains("<html"), "{path}: {answer}");
    }
    let host = format!("host: localhost:{admin}\r\n");
    let answer = get(admin, "/v1/events", &format!("{host}origin: http://evil.example\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("another origin"), "{answer}");
    // A port that kubectl port-forward chose is another than ours.
    let forwarded = "host: localhost:18080\r\norigin: http://localhost:18080\r\n";
    let mut stream = send(admin, "/v1/events", forwarded).await;
    assert!(read_until(&mut stream, "event: snapshot").await.starts_with("HTTP/1.1 200 "));
    let answer = get(admin, "/", &host).await;
    assert!(
        answer.contains("application/json") && answer.contains("/v1/runs") == answer.contains("/v1/explain"),
        "{answer}"
    );
    drop(stream);
    drain(gateway).await;
}

async fn read_until(stream: &mut TcpStream, word: &str) -> String {
    let mut seen = Vec::new();
    let reading = async {
        while !String::from_utf8_lossy(&seen).contains(word) {
            assert!(stream.read_buf(&mut seen).await.expect("readable") > 0, "ended without {word}");
        }
    };
    timeout(Duration::from_secs(10), reading).await.expect("within ten seconds");
    String::from_utf8_lossy(&seen).into_owned()
}

#[tokio::test]
async fn events_come_as_they_are_made_hold_what_the_views_need_and_end_with_the_gateway() {
    let (gateway, admin) = gateway().await;
    let mut stream = send(admin, "/v1/events", &format!("host: 127.0.0.1:{admin}\r\n")).await;
    let first = read_until(&mut stream, "event: snapshot").await;
    assert!(first.contains("content-type: text/event-stream") && first.contains("retry: 2000"), "{first}");
    let lanes = first.find("event: lanes").expect("lanes come first");
    assert!(lanes < first.find("event: snapshot").expect("then the snapshot"), "{first}");
    let rest = read_until(&mut stream, "event: snapshot").await + &read_until(&mut stream, "event: snapshot").await;
    let mut data = rest.lines().filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok());
    let snapshot = data.find(|data| data["balance"].is_object()).expect("JSON on one line");
    assert_eq!(snapshot["status"]["state"], "ok");
    assert!(snapshot["balance"]["traces"]["received"].is_number(), "{snapshot}");
    let pipeline = &snapshot["flow"]["pipelines"][0];
    assert_eq!((&pipeline["name"], &pipeline["receivers"][0]["accepted"]), (&"traces".into(), &0.0.into()));
    let begun = Instant::now();
    drain(gateway).await;
    let mut rest = Vec::new();
    timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await.expect("it ends").expect("in order");
    assert!(rest.ends_with(b"0\r\n\r\n"), "the stream is whole: {}", String::from_utf8_lossy(&rest));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

/// Custom properties of a `:root` block.
fn palette(block: &str) -> BTreeMap<String, [f64; 3]> {
    let declarations =
        block.split([';', '{', '}']).filter_map(|part| part.trim().strip_prefix("--")?.split_once(": #"));
    let channel = |hex: &str, at: usize| f64::from(u8::from_str_radix(&hex[at..at + 2], 16).expect("hex")) / 255.0;
    declarations
        .filter(|(_, hex)| hex.len() == 6)
        .map(|(name, hex)| (name.to_owned(), [channel(hex, 0), channel(hex, 2), channel(hex, 4)]))
        .collect()
}

/// Relative luminance and contrast as WCAG 2.2 defines them.
fn contrast(one: [f64; 3], other: [f64; 3]) -> f64 {
    let linear = |c: f64| if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) };
    let luminance = |[r, g, b]: [f64; 3]| 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
    let (light, dark) = (luminance(one).max(luminance(other)), luminance(one).min(luminance(other)));
    (light + 0.05) / (dark + 0.05)
}

#[test]
fn every_text_and_mark_stands_out_enough_in_light_and_in_dark() {
    let html = html();
    let style = part(&html, "style");
    let (light, rest) = style.split_once("@media (prefers-color-scheme: dark)").expect("both schemes");
    let light = palette(light);
    let dark = palette(rest.split_once("* { box-sizing").expect("the end of the palette").0);
    assert_eq!(light.keys().collect::<Vec<_>>(), dark.keys().collect::<Vec<_>>());
    assert!(contrast([0.0; 3], [1.0; 3]) > 20.99 && light.len() >= 18, "{light:?}");
    // WCAG 1.4.3: text 4.5; 1.4.11: what shows a state or a control 3.
    let text = [
        ("ink", "bg"),
        ("ink", "card"),
        ("ink", "soft"),
        ("ink", "soft-bad"),
        ("ink", "soft-held"),
        ("dim", "bg"),
        ("dim", "card"),
        ("dim", "soft"),
        ("run", "bg"),
        ("run", "card"),
        ("run", "soft"),
        ("on-run", "run"),
        ("on-past", "past"),
        ("held", "card"),
        ("refused", "card"),
        ("bad", "card"),
        ("kept", "card"),
    ];
    let marks = [
        ("edge", "card"),
        ("edge", "bg"),
        ("out", "card"),
        ("disk", "card"),
        ("bad", "past"),
        ("run", "past"),
        ("held", "soft-held"),
        ("bad", "soft-bad"),
        ("edge", "soft"),
    ];
    let wanted = text.iter().map(|pair| (pair, 4.5)).chain(marks.iter().map(|pair| (pair, 3.0)));
    let mut faults = Vec::new();
    for ((over, under), least) in wanted {
        for (scheme, colors) in [("light", &light), ("dark", &dark)] {
            let found = contrast(colors[*over], colors[*under]);
            if found < least {
                faults.push(format!("{scheme}: {over} on {under} has {found:.2}, wants {least}"));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}
