//! The configuration that new connections are accepted with, and its renewal: a pair of files that does not parse or does not
//! belong together never replaces one that does.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::Decode;

use crate::config::server::ServerTlsKeys;
use crate::core::error::StartError;
use crate::net::server::tls::names::NamedClients;
use crate::net::{agreement, pem};

#[derive(Clone, PartialEq, Eq)]
struct Files {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

struct Loaded {
    files: Files,
    config: Arc<ServerConfig>,
    /// When the certificate ends, seconds since 1970; `None` where it does not say so readably.
    expires: Option<u64>,
}

/// What a look at the files found.
#[derive(Debug, PartialEq, Eq)]
pub enum Renewal {
    Same,
    Renewed,
    /// The old ones stay.
    Unusable(String),
}

/// Gives the current configuration; shared by the accept loop and whoever renews it.
pub struct TlsFiles {
    settings: ServerTlsKeys,
    loaded: ArcSwap<Loaded>,
}

impl TlsFiles {
    /// Reads the files of a listener for the first time, where it has a `tls` block. `path` is the listener's.
    pub async fn of(keys: Option<&ServerTlsKeys>, path: &str) -> Result<Option<Arc<TlsFiles>>, StartError> {
        let Some(keys) = keys else { return Ok(None) };
        TlsFiles::open(keys.clone()).await.map(Some).map_err(|why| StartError {
            component: format!("{path}::tls"),
            message: why,
            help: Some("the files are read when podgate starts; mount the secret that holds them".to_owned()),
        })
    }

    /// Reads the files for the first time.
    async fn open(settings: ServerTlsKeys) -> Result<Arc<TlsFiles>, String> {
        let files = files(&settings).await?;
        let loaded = ArcSwap::from_pointee(load(&settings, files)?);
        Ok(Arc::new(TlsFiles { settings, loaded }))
    }

    pub fn current(&self) -> Arc<ServerConfig> {
        self.loaded.load().config.clone()
    }

    /// When the certificate in use ends, seconds since 1970.
    pub fn expires(&self) -> Option<u64> {
        self.loaded.load().expires
    }

    pub fn interval(&self) -> Duration {
        self.settings.reload_interval
    }

    /// Reads the files again; connections accepted from now on see what changed.
    pub async fn renew(&self) -> Renewal {
        let files = match files(&self.settings).await {
            Ok(files) if files == self.loaded.load().files => return Renewal::Same,
            Ok(files) => files,
            Err(why) => return Renewal::Unusable(why),
        };
        match load(&self.settings, files) {
            Ok(loaded) => {
                self.loaded.store(Arc::new(loaded));
                Renewal::Renewed
            }
            Err(why) => Renewal::Unusable(why),
        }
    }
}

async fn files(settings: &ServerTlsKeys) -> Result<Files, String> {
    Ok(Files {
        certificate: pem::read(Some(&settings.certificate), "cert_file").await?.unwrap_or_default(),
        key: pem::read(Some(&settings.key), "key_file").await?.unwrap_or_default(),
        client_ca: pem::read(settings.client_ca.as_ref(), "client_ca_file").await?,
    })
}

fn load(settings: &ServerTlsKeys, files: Files) -> Result<Loaded, String> {
    let provider = Arc::new(agreement::provider(&settings.terms));
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(agreement::versions(&settings.terms))
        .map_err(|error| format!("the versions and cipher suites leave nothing to agree on: {error}"))?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(authorities) => {
            let mut roots = RootCertStore::empty();
            pem::trust(&mut roots, authorities, "client_ca_file")?;
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            let verifier = verifier.map_err(|error| format!("client_ca_file: {error}"))?;
            builder.with_client_cert_verifier(NamedClients::or_all(verifier, &settings.client_names))
        }
    };
    let chain = pem::certificates(&files.certificate, "cert_file")?;
    let expires = chain.first().and_then(expiry);
    let key = pem::private_key(&files.key, "key_file")?;
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|error| format!("cert_file and key_file do not match: {error}"))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()]; // granted: two names
    Ok(Loaded { files, config: Arc::new(config), expires })
}

fn expiry(certificate: &CertificateDer<'_>) -> Option<u64> {
    let certificate = Certificate::from_der(certificate).ok()?;
    Some(certificate.tbs_certificate().validity().not_after.to_unix_duration().as_secs())
}
