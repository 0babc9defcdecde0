//! What `doctor` asks of the audit endpoint: whether its certificate can be used, and whether the API server alone may send.
//! That the port is free, or podgate's own, is told beside the other ports; nothing is sent to it.

use crate::core::stage::commands::probe::{Finding, Probe, ProbeHealth, ProbeReport, Remedy};
use crate::core::stage::component::Task;
use crate::core::time::UnixNanos;
use crate::net::server::tls::source::TlsFiles;
use crate::receivers::k8s_audit::config::AuditConfig;

const CERTIFICATE: &str = "certificate";
const SENDERS: &str = "senders";
const NANOS_PER_SECOND: u64 = 1_000_000_000;

pub struct AuditProbe {
    pub config: AuditConfig,
    /// Of the component in the configuration.
    pub path: String,
}

impl Probe for AuditProbe {
    fn ask(&self) -> Task<'_, ProbeReport> {
        Box::pin(async move {
            let files = TlsFiles::of(self.config.tls.as_ref(), &self.path).await;
            let certificate = match files {
                Ok(None) => self.plain(),
                Ok(Some(files)) => in_use(files.expires(), UnixNanos::now()),
                Err(why) => {
                    let finding = Finding::new(ProbeHealth::Bad, CERTIFICATE, why.message);
                    finding.with_help(why.help.unwrap_or_default())
                }
            };
            ProbeReport { findings: vec![certificate, self.senders()], remedies: Vec::new() }
        })
    }

    fn apply<'a>(&'a self, _: &'a Remedy) -> Task<'a, Result<(), String>> {
        Box::pin(async { Err("nothing can be mended here".to_owned()) })
    }
}

impl AuditProbe {
    /// What listens on this machine's own address is reached by its processes alone.
    fn is_local(&self) -> bool {
        self.config.endpoint.fixed_address().is_some_and(|address| address.ip().is_loopback())
    }

    fn plain(&self) -> Finding {
        if self.is_local() {
            return Finding::new(ProbeHealth::Good, CERTIFICATE, "events come without TLS, on this machine alone");
        }
        let message = "events come without TLS: whoever sees the network reads them";
        Finding::new(ProbeHealth::Doubtful, CERTIFICATE, message).with_help("set `tls`, as docs/audit.md shows")
    }

    fn senders(&self) -> Finding {
        let asks_for_certificates = self.config.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
        if asks_for_certificates {
            return Finding::new(ProbeHealth::Good, SENDERS, "a client's certificate is wanted");
        }
        if self.config.auth.is_some() {
            return Finding::new(ProbeHealth::Good, SENDERS, "senders are asked by an authenticator");
        }
        if self.is_local() {
            return Finding::new(ProbeHealth::Good, SENDERS, "processes of this machine alone may send");
        }
        Finding::new(ProbeHealth::Doubtful, SENDERS, "whoever reaches the port may send events")
            .with_help("set `tls::client_ca_file`; `podgate rbac --audit` prints a kubeconfig with a certificate")
    }
}

/// `expires`: seconds since 1970.
fn in_use(expires: Option<u64>, now: UnixNanos) -> Finding {
    let seconds = now.0 / NANOS_PER_SECOND;
    match expires {
        Some(end) if end <= seconds => {
            let message = "the certificate has ended: the API server refuses it";
            Finding::new(ProbeHealth::Bad, CERTIFICATE, message)
                .with_help("renew it; it is read again without a restart")
        }
        _ => Finding::new(ProbeHealth::Good, CERTIFICATE, "the certificate and its key can be used"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receivers::k8s_audit::config;
    use crate::testing::check::sound;

    async fn asked(yaml: &str) -> [ProbeHealth; 2] {
        let (path, config) = ("receivers::k8s_audit", sound("receivers::k8s_audit", yaml, config::check));
        let report = AuditProbe { config, path: path.to_owned() }.ask().await;
        [report.findings[0].health, report.findings[1].health]
    }

    #[tokio::test]
    async fn certificates_that_cannot_be_used_and_open_doors_are_told_of() {
        use ProbeHealth::{Bad, Doubtful, Good};
        assert_eq!(asked("endpoint: 127.0.0.1:9880").await, [Good, Good]);
        assert_eq!(asked("endpoint: 0.0.0.0:9880").await, [Doubtful, Doubtful]);
        let absent = "{endpoint: 0.0.0.0:9880, tls: {cert_file: /nowhere/tls.crt, key_file: /nowhere/tls.key}}";
        assert_eq!(asked(absent).await, [Bad, Doubtful]);
        let asking = absent.replace("key_file", "client_ca_file: /nowhere/ca.crt, key_file");
        assert_eq!(asked(&asking).await, [Bad, Good]);
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/tls");
        let named = |certificate: &str, key: &str| {
            format!(
                "{{endpoint: 0.0.0.0:9880, tls: {{cert_file: {folder}/{certificate}.pem, key_file: {folder}/{key}.key, \
                 client_ca_file: {folder}/ca.pem}}}}"
            )
        };
        assert_eq!(asked(&named("server", "server")).await, [Good, Good]);
        assert_eq!(asked(&named("expired-server", "second-server")).await, [Bad, Good]);
    }

    #[test]
    fn a_certificate_that_has_ended_is_bad_and_one_that_has_not_is_good() {
        let health = |expires| in_use(expires, UnixNanos(100 * NANOS_PER_SECOND)).health;
        assert_eq!([Some(101), Some(100), None].map(health), [ProbeHealth::Good, ProbeHealth::Bad, ProbeHealth::Good]);
    }
}
