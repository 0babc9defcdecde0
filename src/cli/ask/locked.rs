//! The way through a locked admin page: which certificates are trusted and shown, and which credential a question carries.
//!
//! Each has a variable, so that a pod's spec says it once and `kubectl exec POD -- /podgate status` needs no flag.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;

use clap::Args;

use crate::config::client::PemSource;
use crate::net::client::connect::tls;
use crate::net::client::settings::TlsSettings;
use crate::otlp::json::base64;

/// A file with a token or a password is one short line.
const LINE_BYTES_MAX: u64 = 64 << 10;

#[derive(Clone, Debug, Default, Args)]
pub struct LockArgs {
    /// Certificates that are trusted for an admin page with `tls`, PEM; without it the system's, when --admin is https://
    #[arg(long, env = "PODGATE_ADMIN_CA", value_name = "FILE")]
    pub admin_ca: Option<PathBuf>,
    /// Name that the page's certificate has, where it is asked by another one, such as 127.0.0.1
    #[arg(long, env = "PODGATE_ADMIN_SERVER_NAME", value_name = "NAME")]
    pub admin_server_name: Option<String>,
    /// Certificate to show to a page with `client_ca_file`, PEM
    #[arg(long, env = "PODGATE_ADMIN_CERT", value_name = "FILE", requires = "admin_key")]
    pub admin_cert: Option<PathBuf>,
    /// Its private key, PEM
    #[arg(long, env = "PODGATE_ADMIN_KEY", value_name = "FILE", requires = "admin_cert")]
    pub admin_key: Option<PathBuf>,
    /// File with the credential for a page with `auth`: a token, USER:PASSWORD, or a whole value such as `ApiKey KEY`
    #[arg(long, env = "PODGATE_ADMIN_CREDENTIAL_FILE", value_name = "FILE")]
    pub admin_credential_file: Option<PathBuf>,
}

impl LockArgs {
    /// What TLS goes by; `None` is plaintext. `https`: the address says so.
    pub fn tls(&self, https: bool) -> Option<TlsSettings> {
        let wanted = https || self.admin_ca.is_some() || self.admin_cert.is_some() || self.admin_server_name.is_some();
        let pem = |path: &Option<PathBuf>| path.clone().map(PemSource::File);
        wanted.then(|| TlsSettings {
            ca: pem(&self.admin_ca),
            certificate: pem(&self.admin_cert),
            key: pem(&self.admin_key),
            server_name: self.admin_server_name.clone(),
            ..TlsSettings::default()
        })
    }

    /// The value of Authorization. The error never holds what the file does.
    pub fn credential(&self) -> Result<Option<String>, String> {
        let Some(path) = &self.admin_credential_file else { return Ok(None) };
        let unreadable = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
        let file = std::fs::File::open(path).map_err(|error| unreadable(&error))?;
        let mut text = String::new();
        file.take(LINE_BYTES_MAX).read_to_string(&mut text).map_err(|error| unreadable(&error))?;
        let value = authorization(text.trim()).ok_or_else(|| {
            unreadable(&"expected one line: a token, USER:PASSWORD, or a scheme and what follows it (ApiKey KEY)")
        })?;
        Ok(Some(value))
    }
}

/// A line as a header's value: as it is where it begins with a scheme, else a user with a password or a bearer token.
fn authorization(line: &str) -> Option<String> {
    if line.is_empty() || line.chars().any(char::is_control) {
        return None;
    }
    if line.split_once(' ').is_some_and(|(scheme, _)| scheme.bytes().all(|byte| byte.is_ascii_alphabetic())) {
        return line.is_ascii().then(|| line.to_owned());
    }
    if line.contains(':') {
        let mut value = b"Basic ".to_vec();
        base64::encode(&mut value, line.as_bytes());
        return String::from_utf8(value).ok();
    }
    line.bytes().all(|byte| byte.is_ascii_graphic()).then(|| format!("Bearer {line}"))
}

/// A connection to the admin page.
pub trait Conversation: Read + Write {}
impl<T: Read + Write> Conversation for T {}

/// The connection, in TLS where it is wanted. What the two cannot agree on is `InvalidData`, as rustls calls what comes later.
pub fn over(settings: Option<&TlsSettings>, host: &str, stream: TcpStream) -> io::Result<Box<dyn Conversation>> {
    let Some(settings) = settings else { return Ok(Box::new(stream)) };
    let stream = tls::blocking(settings, host, stream)
        .map_err(|failure| io::Error::new(io::ErrorKind::InvalidData, failure.to_string()))?;
    Ok(Box::new(stream))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credentials_line_is_read_as_a_token_a_user_or_a_whole_value() {
        for (line, value) in [
            ("token", Some("Bearer token")),
            ("eyJh.b.c", Some("Bearer eyJh.b.c")),
            ("ann:se cret", Some("Basic YW5uOnNlIGNyZXQ=")),
            ("ApiKey aWQ6a2V5", Some("ApiKey aWQ6a2V5")),
            ("Basic YW5uOng=", Some("Basic YW5uOng=")),
            ("", None),
            ("a\nb", None),
            ("a-b c", None),
        ] {
            assert_eq!(authorization(line).as_deref(), value, "{line}");
        }
    }

    #[test]
    fn a_credential_that_cannot_be_used_is_named_by_its_file_and_not_shown() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let lock = LockArgs { admin_credential_file: Some(file.path().to_owned()), ..LockArgs::default() };
        std::fs::write(file.path(), "kanari-1\nkanari-2\n").unwrap();
        let told = lock.credential().unwrap_err();
        assert!(told.contains("one line") && !told.contains("kanari"), "{told}");
        std::fs::write(file.path(), " token\n").unwrap();
        assert_eq!(lock.credential(), Ok(Some("Bearer token".to_owned())));
        assert!(lock.tls(false).is_none() && lock.tls(true).is_some());
    }
}
