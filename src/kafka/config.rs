//! The keys that the receiver and the exporter have in common (the Collector's configkafka 0.165): brokers, who we are to
//! them, TLS, metadata.

use std::time::Duration;

use crate::config::check::Section;
use crate::config::client::{TlsKeys, tls};
use crate::config::tls::TlsTerms;
use crate::config::value::secret::Secret;
use crate::core::diagnostic::code;
use crate::kafka::client::seam::{ClusterSettings, SaslKind, SaslUser};
use crate::net::client::target::Target;

const PORT: u16 = 9092;
const BROKERS: &str = "host:port of one or more brokers, such as [kafka-0:9092, kafka-1:9092]";
const BROKERS_MAX: usize = 256;
/// Topics and leaders are looked up at least this often, and at most this often.
const REFRESH: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(86_400);
/// The library takes no request for lost before.
const TIMEOUT_MIN: Duration = Duration::from_secs(1);

/// Reads the keys of a client whose requests take `timeout` at most; `None` after at least one error.
pub fn cluster(keys: &Section<'_>, timeout: Duration) -> Option<ClusterSettings> {
    let brokers = brokers(keys);
    keys.without_effect("protocol_version", "the version is agreed on with each broker");
    keys.without_effect("resolve_canonical_bootstrap_servers_only", "it has no effect in the Collector either");
    if keys.bool("use_leader_epoch") == Some(false) {
        let message = "`use_leader_epoch: false` is not supported: leader epochs are always used";
        keys.error("use_leader_epoch", code::NOT_YET, message, Some("remove the key"));
    }
    let (sasl, old_tls) = auth(keys);
    let own_tls = tls(keys);
    let tls = if own_tls.written { own_tls } else { old_tls };
    if tls.terms != TlsTerms::default() {
        let message = "versions, suites and curves of TLS to Kafka cannot be chosen yet: 1.2 and 1.3 are offered";
        keys.error("tls", code::NOT_YET, message, Some("remove min_version, max_version and their like"));
    }
    if sasl.as_ref().is_some_and(|user| user.kind == SaslKind::Plain) && !is_secured(&tls) {
        let message = "the password is sent in clear text: SASL/PLAIN without TLS";
        keys.warn("auth", code::INSECURE, message, Some("add `tls: {}`, or use SCRAM-SHA-512"));
    }
    let idle_timeout = keys.duration("conn_idle_timeout").filter(|idle| !idle.is_zero());
    let refresh_interval = metadata(keys);
    let client_id = keys.string("client_id").unwrap_or_else(|| "otel-collector".to_owned());
    let rack = keys.string("rack_id").filter(|rack| !rack.is_empty());
    Some(ClusterSettings {
        brokers: brokers?,
        client_id,
        rack,
        sasl,
        tls: is_secured(&tls).then_some(tls),
        timeout: timeout.max(TIMEOUT_MIN),
        idle_timeout,
        refresh_interval,
        creates_topics: false,
    })
}

fn is_secured(tls: &TlsKeys) -> bool {
    tls.written && !tls.insecure
}

fn brokers(keys: &Section<'_>) -> Option<Vec<String>> {
    let Some(written) = keys.strings("brokers") else { return Some(vec![format!("localhost:{PORT}")]) };
    if written.is_empty() || written.len() > BROKERS_MAX {
        return keys.invalid("brokers", format!("{} brokers", written.len()), BROKERS);
    }
    let read = written.iter().map(|text| {
        let bare = !text.contains("://") && (!text.contains(':') || text.ends_with(']'));
        let text = if bare { format!("{text}:{PORT}") } else { text.clone() };
        let is_plain = !text.contains("://") && !text.contains('/');
        Target::parse(&text, None).and_then(|target| match is_plain {
            true => Ok(target.authority().to_string()),
            false => Err(format!("{text:?} is no host:port")),
        })
    });
    let (brokers, wrong): (Vec<_>, Vec<_>) = read.partition(Result::is_ok);
    for why in wrong.iter().filter_map(|one| one.as_ref().err()) {
        keys.invalid::<()>("brokers", why.clone(), BROKERS);
    }
    wrong.is_empty().then(|| brokers.into_iter().flatten().collect())
}

const MECHANISMS: &[(&str, SaslKind)] =
    &[("PLAIN", SaslKind::Plain), ("SCRAM-SHA-256", SaslKind::ScramSha256), ("SCRAM-SHA-512", SaslKind::ScramSha512)];
/// The Collector has them and podgate does not.
const LACKING: [&str; 3] = ["AWS_MSK_IAM_OAUTHBEARER", "AWS_MSK_IAM", "OAUTHBEARER"];

/// Who we are, and the TLS block at its older place.
fn auth(keys: &Section<'_>) -> (Option<SaslUser>, TlsKeys) {
    let Some(auth) = keys.section("auth") else { return (None, TlsKeys::default()) };
    auth.not_yet(&["kerberos"]);
    let plain = auth.section("plain_text").and_then(|plain| {
        let user = user(&plain, SaslKind::Plain);
        plain.finish();
        user
    });
    let sasl = auth.section("sasl").and_then(|sasl| {
        sasl.without_effect("version", "the handshake's version is agreed on");
        sasl.not_yet(&["aws_msk", "oauthbearer_token_source"]);
        let kind = mechanism(&sasl);
        let user = kind.and_then(|kind| user(&sasl, kind));
        sasl.finish();
        user
    });
    let tls = tls(&auth);
    auth.finish();
    (sasl.or(plain), tls)
}

fn mechanism(sasl: &Section<'_>) -> Option<SaslKind> {
    let Some(written) = sasl.string("mechanism") else {
        return sasl.missing("mechanism", "one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512");
    };
    if LACKING.contains(&written.as_str()) {
        let message = format!("the mechanism {written} is not supported yet");
        sasl.error("mechanism", code::NOT_YET, message, Some("use SCRAM-SHA-512, or a client certificate by `tls`"));
        return None;
    }
    sasl.choice("mechanism", MECHANISMS)
}

fn user(keys: &Section<'_>, kind: SaslKind) -> Option<SaslUser> {
    let username = keys.string("username").filter(|name| !name.is_empty());
    let password = keys.string("password").filter(|password| !password.is_empty());
    if username.is_none() {
        keys.missing::<()>("username", "the user's name");
    }
    if password.is_none() {
        keys.missing::<()>("password", "the user's password, best by ${env:NAME}");
    }
    Some(SaslUser { kind, username: username?, password: Secret::new(password?) })
}

/// How often topics and leaders are looked up when nothing tells of a change.
fn metadata(keys: &Section<'_>) -> Duration {
    const DEFAULT: Duration = Duration::from_secs(600);
    let Some(keys) = keys.section("metadata") else { return DEFAULT };
    keys.without_effect("full", "only the topics in use are asked for");
    if let Some(retry) = keys.section("retry") {
        retry.without_effect("max", "the cluster is looked for until it is found");
        retry.without_effect("backoff", "the cluster is looked for until it is found");
        retry.finish();
    }
    let written = keys.duration("refresh_interval").unwrap_or(DEFAULT);
    let interval = match REFRESH.contains(&written) {
        true => Some(written),
        false => keys.invalid("refresh_interval", format!("{written:?} is outside"), "a duration from 1s to 24h"),
    };
    keys.finish();
    interval.unwrap_or(DEFAULT)
}
