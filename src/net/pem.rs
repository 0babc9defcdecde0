//! Certificates and keys in PEM form, from files that may change or from the configuration itself; for both sides of TLS.
//!
//! Faults are sentences that name the key of the configuration; whoever asked puts its place in front.

use std::fs::File;
use std::io::Read as _;
use std::time::Duration;

use rustls::RootCertStore;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::client::PemSource;

/// A certificate bundle larger than this is a mistake (the system's is about 220 KiB).
const PEM_BYTES_MAX: u64 = 4 << 20;
/// A file system that does not answer within this is given up.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// The text as it is now; `None` where none is configured. `key` is the configuration's, as `cert_file`.
pub async fn read(pem: Option<&PemSource>, key: &str) -> Result<Option<Vec<u8>>, String> {
    let path = match pem {
        None => return Ok(None),
        Some(PemSource::Inline(text)) => return Ok(Some(text.expose().to_owned().into_bytes())),
        Some(PemSource::File(path)) => path,
    };
    let unreadable = |why: String| format!("{key} {}: {why}", path.display());
    let size = tokio::fs::metadata(path).await.map_err(|error| unreadable(error.to_string()))?.len();
    if size > PEM_BYTES_MAX {
        return Err(unreadable(format!("{size} bytes are too many for certificates")));
    }
    match tokio::time::timeout(READ_TIMEOUT, tokio::fs::read(path)).await {
        Ok(Ok(bytes)) => Ok(Some(bytes)),
        Ok(Err(error)) => Err(unreadable(error.to_string())),
        Err(_) => Err(unreadable("the file system did not answer".to_owned())),
    }
}

/// As [`read`], for who may wait in a thread.
pub fn read_now(pem: Option<&PemSource>, key: &str) -> Result<Option<Vec<u8>>, String> {
    let path = match pem {
        None => return Ok(None),
        Some(PemSource::Inline(text)) => return Ok(Some(text.expose().to_owned().into_bytes())),
        Some(PemSource::File(path)) => path,
    };
    let unreadable = |why: String| format!("{key} {}: {why}", path.display());
    let mut text = Vec::new(); // granted: a command's own file, once
    let file = File::open(path).map_err(|error| unreadable(error.to_string()))?;
    let read = file.take(PEM_BYTES_MAX).read_to_end(&mut text); // granted: a command's own file, once
    read.map_err(|error| unreadable(error.to_string()))?;
    Ok(Some(text))
}

/// At least one certificate.
pub fn certificates(pem: &[u8], key: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) => Err(format!("{key} holds no certificate in PEM form")),
        Err(error) => Err(format!("{key} is not PEM: {error}")),
    }
}

pub fn private_key(pem: &[u8], key: &str) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| format!("{key} holds no usable private key: {error}"))
}

/// Adds all certificates of a file to those that are trusted.
pub fn trust(roots: &mut RootCertStore, pem: &[u8], key: &str) -> Result<(), String> {
    for certificate in certificates(pem, key)? {
        roots.add(certificate).map_err(|error| format!("{key} holds a certificate that cannot be used: {error}"))?;
    }
    Ok(())
}
