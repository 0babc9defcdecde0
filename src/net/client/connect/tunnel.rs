//! The way by a proxy: a tunnel that CONNECT opens (RFC 9110, 9.3.6), or the connection to the proxy itself where it takes
//! whole requests.

use http::HeaderValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use crate::net::client::connect::proxy::Proxy;
use crate::net::client::connect::stream::ByteTransport;
use crate::net::client::connect::tls::{TlsSource, handshake_failure};
use crate::net::client::failure::CallFailure;
use crate::net::client::settings::{ClientSettings, TlsSettings};

const AGENT: &str = concat!("podgate/", env!("CARGO_PKG_VERSION"));
/// Head of an answer to CONNECT.
const HEAD_BYTES_MAX: usize = 8 << 10;

/// Opens the way to the target on a connection that `reached` the proxy, or did not. The caller bounds the wait.
pub async fn open(
    proxy: &Proxy,
    settings: &ClientSettings,
    proxy_tls: Option<&TlsSource>,
    reached: Result<ByteTransport, CallFailure>,
) -> Result<ByteTransport, CallFailure> {
    let plain = reached.map_err(|failure| refused(proxy, &failure.to_string()))?;
    let mut transport = match proxy_tls {
        None => plain,
        Some(source) => {
            let name = source.server_name(&proxy.target.host)?;
            let connector = TlsConnector::from(source.current().await?);
            let secured = connector.connect(name, plain).await;
            let secured = secured.map_err(|error| refused(proxy, &handshake_failure(&error).to_string()))?;
            ByteTransport::Given(Box::new(secured))
        }
    };
    if !settings.is_forwarded() {
        connect(proxy, settings, &mut transport).await?;
    }
    Ok(transport)
}

/// What secures the connection to an https proxy: what the exporter trusts.
pub fn tls(settings: &ClientSettings) -> Option<TlsSource> {
    settings.proxy.as_ref().filter(|proxy| proxy.is_secure())?;
    let trusted = settings.tls.clone().unwrap_or_default();
    Some(TlsSource::new(TlsSettings { server_name: None, ..trusted }, &[]))
}

/// The proxy is not reached, or said no.
pub fn refused(proxy: &Proxy, why: &str) -> CallFailure {
    CallFailure::Proxy { address: proxy.target.authority().to_string(), why: why.to_owned() }
}

async fn connect(proxy: &Proxy, settings: &ClientSettings, transport: &mut ByteTransport) -> Result<(), CallFailure> {
    let target = settings.target.authority();
    let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: {AGENT}\r\n").into_bytes();
    if let Some(credentials) = proxy.credentials.as_ref().map(HeaderValue::as_bytes) {
        let line = [b"Proxy-Authorization: ", credentials, b"\r\n"];
        line.into_iter().for_each(|part| request.extend_from_slice(part)); // granted: the configuration's own text
    }
    request.extend_from_slice(b"\r\n"); // granted: one request of a connection
    let broken = |error: std::io::Error| refused(proxy, &format!("the connection broke: {error}"));
    transport.write_all(&request).await.map_err(broken)?;
    transport.flush().await.map_err(broken)?;
    let head = head(transport).await.map_err(broken)?;
    let Some(status) = status(&head) else { return Err(refused(proxy, "it does not answer in HTTP/1.1")) };
    if status.starts_with('2') {
        Ok(())
    } else {
        Err(refused(proxy, &format!("it answers CONNECT {target} with {status}")))
    }
}

/// Reads up to the end of the head and no byte further: what comes behind it is the target's, and it may speak first.
async fn head(transport: &mut ByteTransport) -> std::io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while head.len() < HEAD_BYTES_MAX && !head.ends_with(b"\r\n\r\n") {
        head.push(transport.read_u8().await?); // granted: HEAD_BYTES_MAX of them
    }
    Ok(head)
}

/// The status with its words, as a line that may be printed; `None` when the head is none, or has no end.
fn status(head: &[u8]) -> Option<String> {
    let line = head.strip_suffix(b"\r\n\r\n")?.split(|byte| *byte == b'\r').next()?;
    let (version, status) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    let digits = status.get(..3)?.bytes().all(|byte| byte.is_ascii_digit());
    let ends = status.as_bytes().get(3).is_none_or(|byte| *byte == b' ');
    let shown = status.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(80);
    (version.starts_with("HTTP/1.") && digits && ends).then(|| shown.collect::<String>().trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_head_of_http_1_has_a_status() {
        for (head, wanted) in [
            (&b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n"[..], Some("200 Connection established")),
            (b"HTTP/1.0 407 Proxy\x1b[2J\r\n\r\n", Some("407 Proxy [2J")),
            (b"HTTP/1.1 200\r\n\r\n", Some("200")),
            (b"HTTP/1.1 2000\r\n\r\n", None),
            (b"HTTP/1.1 200 OK\r\n", None),
            (b"HTTP/2 200 OK\r\n\r\n", None),
            (b"\x15\x03\x01\r\n\r\n", None),
            (b"", None),
        ] {
            assert_eq!(status(head).as_deref(), wanted, "{head:?}");
        }
    }
}
