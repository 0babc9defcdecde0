//! Keeps a listener's certificate current while it serves, and tells when it ends.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::core::report::stats::{Counter, Gauge};
use crate::core::report::status::{State, StatusBoard};
use crate::core::stage::host::Host;
use crate::core::stage::tasks::Pulse;
use crate::core::time::UnixNanos;
use crate::net::server::accept::Stop;
use crate::net::server::tls::source::{Renewal, TlsFiles};

/// A certificate that ends sooner than this is told of.
const SOON: Duration = Duration::from_secs(7 * 86_400);

/// Watches the files of one listener.
pub struct CertificateWatch {
    /// `receivers::otlp::protocols::grpc::tls`
    path: String,
    files: Arc<TlsFiles>,
    status: Arc<StatusBoard>,
    expires: Arc<Gauge>,
    /// After one the files are looked at without a wait.
    reloads: watch::Receiver<u64>,
    renewed: Arc<Counter>,
    unusable: Arc<Counter>,
}

impl CertificateWatch {
    pub fn new(path: &str, files: Arc<TlsFiles>, host: &Host) -> CertificateWatch {
        let (stats, status, reloads) = (&host.stats, host.status.clone(), host.reloads.subscribe());
        let outcome = |outcome| {
            let help = "Reads of changed certificate files, by outcome; an unusable pair leaves the old one in use.";
            stats.counter("podgate_tls_certificate_renewals", help, &[("listener", path), ("outcome", outcome)])
        };
        let help = "When the certificate in use expires, in seconds since 1970; 0 when that cannot be read.";
        let expires = stats.gauge("podgate_tls_certificate_expiry_seconds", help, &[("listener", path)]);
        let (renewed, unusable) = (outcome("renewed"), outcome("unusable"));
        CertificateWatch { path: format!("{path}::tls"), files, status, expires, reloads, renewed, unusable }
    }

    /// Runs until the listener stops.
    pub async fn run(mut self, mut stop: Stop, pulse: Arc<Pulse>) {
        pulse.waits_for("the next read of the certificate files");
        self.tell(UnixNanos::now());
        let mut fault = None;
        let mut due = Instant::now() + self.files.interval();
        loop {
            pulse.beat();
            let wake = due.min(Instant::now() + Pulse::INTERVAL);
            tokio::select! {
                changed = stop.changed() => if changed.is_err() || stop.borrow().is_some() { return },
                () = sleep_until(wake) => {}
                Ok(()) = self.reloads.changed() => due = Instant::now(),
            }
            if Instant::now() < due {
                continue;
            }
            due = Instant::now() + self.files.interval();
            match self.files.renew().await {
                Renewal::Same if fault.take().is_none() => {}
                Renewal::Same => self.tell(UnixNanos::now()),
                Renewal::Renewed => {
                    fault = None;
                    self.renewed.add(1);
                    tracing::info!(component = %self.path, "the certificate was renewed from its files");
                    self.tell(UnixNanos::now());
                }
                Renewal::Unusable(why) if fault.as_ref() != Some(&why) => {
                    self.unusable.add(1);
                    let cure = "the certificate read before stays in use; put a matching pair in place";
                    tracing::warn!(component = %self.path, cause = %why, cure, "the changed certificate files cannot be used; the certificate before stays");
                    self.status.set(&self.path, State::Degraded, format!("{why}; {cure}"));
                    fault = Some(why);
                }
                Renewal::Unusable(_) => {}
            }
        }
    }

    /// Brings status and figures up to date.
    fn tell(&self, now: UnixNanos) {
        let Some(expires) = self.files.expires() else {
            self.status.set(&self.path, State::Ok, "");
            return;
        };
        self.expires.set(i64::try_from(expires).unwrap_or(i64::MAX));
        let until = i64::try_from(expires).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
        let until = until.map_or_else(|| "a far time".to_owned(), |until| until.to_string());
        let left = Duration::from_secs(expires).saturating_sub(Duration::from_nanos(now.0));
        if left > SOON {
            self.status.set(&self.path, State::Ok, format!("the certificate is valid until {until}"));
            return;
        }
        let what = if left.is_zero() { "ended at" } else { "ends at" };
        let cure = "clients that check it are refused from then on; renew its files";
        tracing::warn!(component = %self.path, cure, "the certificate {what} {until}");
        self.status.set(&self.path, State::Degraded, format!("the certificate {what} {until}; {cure}"));
    }
}
