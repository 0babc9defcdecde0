//! The client's side of TLS: roots, client certificate, server name, read from their files at every new connection.
//!
//! Reading at connect is what makes a renewed certificate take effect without a restart; the built configuration is
//! kept while the files' bytes stay the same, so that sessions resume.

use std::net::TcpStream;
use std::sync::{Arc, Mutex};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme, StreamOwned};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::config::client::PemSource;
use crate::core::lock::Locked;
use crate::net::client::failure::CallFailure;
use crate::net::client::settings::TlsSettings;
use crate::net::{agreement, pem};

/// Gives the current TLS configuration.
pub struct TlsSource {
    settings: TlsSettings,
    alpn: Vec<Vec<u8>>,
    // The last built configuration and the bytes it was built from; locked briefly, once per connection.
    built: Mutex<Option<(Material, Arc<ClientConfig>)>>,
}

#[derive(Clone, PartialEq, Eq)]
struct Material {
    ca: Option<Vec<u8>>,
    certificate: Option<Vec<u8>>,
    key: Option<Vec<u8>>,
}

/// The same for a connection that a thread waits on: a command of podgate's own, which asks once.
pub fn blocking(
    settings: &TlsSettings,
    host: &str,
    mut stream: TcpStream,
) -> Result<StreamOwned<ClientConnection, TcpStream>, CallFailure> {
    let source = TlsSource::new(settings.clone(), &[b"http/1.1"]);
    let read = |pem: &Option<PemSource>, key| pem::read_now(pem.as_ref(), key).map_err(CallFailure::Setup);
    let material = Material {
        ca: read(&settings.ca, "ca_file")?,
        certificate: read(&settings.certificate, "cert_file")?,
        key: read(&settings.key, "key_file")?,
    };
    let (config, name) = (source.build(&material)?, source.server_name(host)?);
    let connection = ClientConnection::new(Arc::new(config), name);
    let mut connection = connection.map_err(|error| CallFailure::Tls { why: error.to_string() })?;
    while connection.is_handshaking() {
        connection.complete_io(&mut stream).map_err(|error| handshake_failure(&error))?;
    }
    Ok(StreamOwned::new(connection, stream))
}

impl TlsSource {
    pub fn new(settings: TlsSettings, alpn: &[&[u8]]) -> TlsSource {
        // granted: a name of ALPN
        TlsSource { settings, alpn: alpn.iter().map(|name| name.to_vec()).collect(), built: Mutex::default() }
    }

    /// The name to check and to send: the override, else the target's host.
    pub fn server_name(&self, host: &str) -> Result<ServerName<'static>, CallFailure> {
        let name = self.settings.server_name.as_deref().unwrap_or(host);
        ServerName::try_from(name.to_owned())
            .map_err(|_| CallFailure::Setup(format!("{name:?} is not a name a certificate can have")))
    }

    /// Reads the files and builds a configuration when they changed.
    pub async fn current(&self) -> Result<Arc<ClientConfig>, CallFailure> {
        let material = Material {
            ca: pem::read(self.settings.ca.as_ref(), "ca_file").await.map_err(CallFailure::Setup)?,
            certificate: pem::read(self.settings.certificate.as_ref(), "cert_file")
                .await
                .map_err(CallFailure::Setup)?,
            key: pem::read(self.settings.key.as_ref(), "key_file").await.map_err(CallFailure::Setup)?,
        };
        let mut built = self.built.locked();
        if let Some((known, config)) = built.as_ref()
            && *known == material
        {
            return Ok(config.clone());
        }
        let config = Arc::new(self.build(&material)?);
        *built = Some((material, config.clone()));
        Ok(config)
    }

    fn build(&self, material: &Material) -> Result<ClientConfig, CallFailure> {
        let provider = Arc::new(agreement::provider(&self.settings.terms));
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(agreement::versions(&self.settings.terms))
            .map_err(|error| CallFailure::Setup(format!("TLS versions: {error}")))?;
        let verified = if self.settings.skip_verify {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(TrustAnyone(provider)))
        } else {
            builder.with_root_certificates(self.roots(material)?)
        };
        let mut config = match (&material.certificate, &material.key) {
            (Some(certificate), Some(key)) => {
                let chain = pem::certificates(certificate, "cert_file").map_err(CallFailure::Setup)?;
                let key = pem::private_key(key, "key_file").map_err(CallFailure::Setup)?;
                verified.with_client_auth_cert(chain, key).map_err(|error| {
                    CallFailure::Setup(format!("the client certificate and the key do not match: {error}"))
                })?
            }
            _ => verified.with_no_client_auth(),
        };
        config.alpn_protocols.clone_from(&self.alpn);
        Ok(config)
    }

    fn roots(&self, material: &Material) -> Result<RootCertStore, CallFailure> {
        let mut roots = RootCertStore::empty();
        if let Some(ca) = &material.ca {
            pem::trust(&mut roots, ca, "ca_file").map_err(CallFailure::Setup)?;
        }
        if material.ca.is_none() || self.settings.with_system_ca {
            // Some system bundles hold certificates nobody can parse; the rest is what counts.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        if roots.is_empty() {
            return Err(CallFailure::Setup(
                "no trusted certificates: the system has none, so tls needs a ca_file".to_owned(),
            ));
        }
        Ok(roots)
    }
}

/// Tells the handshake's own faults from a peer that speaks no TLS at all.
pub fn handshake_failure(error: &std::io::Error) -> CallFailure {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidMessage(_)) => CallFailure::PeerIsPlaintext,
        Some(error) => CallFailure::Tls { why: error.to_string() },
        None => CallFailure::Tls { why: error.to_string() },
    }
}

/// `insecure_skip_verify`: signatures are still checked, names and chains are not.
#[derive(Debug)]
struct TrustAnyone(Arc<CryptoProvider>);

impl ServerCertVerifier for TrustAnyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
