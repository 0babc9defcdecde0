//! What the library's errors mean here, and what helps.

use krafka::KrafkaError;
use krafka::error::{ErrorCode, ProtocolErrorKind};

use crate::kafka::client::fault::{FaultScope, KafkaFault, UNKNOWN_TOPIC};

/// What an error of the library means here.
pub(super) fn fault_of(error: &KrafkaError) -> KafkaFault {
    let text = error.to_string();
    let of = |scope, code: &str| KafkaFault::new(scope, code, text.clone());
    // The library says what went wrong in a handshake in words only.
    if let Some(cure) = tls_cure(&text) {
        return of(FaultScope::Client, "tls").with_cure(Some(cure));
    }
    match error {
        KrafkaError::Network(_) => of(FaultScope::Passing, "unreachable").with_cure(Some(UNREACHABLE)),
        KrafkaError::Timeout { .. } => of(FaultScope::Passing, "timeout").with_cure(Some(UNREACHABLE)),
        KrafkaError::DeliveryTimeout { .. } => of(FaultScope::Passing, "delivery timeout"),
        KrafkaError::Auth { .. } => of(FaultScope::Client, "authentication").with_cure(Some(CREDENTIALS)),
        KrafkaError::Broker { code, .. } => {
            let scope = if error.is_fatal() { FaultScope::Client } else { scope_of(*code) };
            of(scope, &format!("{code:?}")).with_cure(cure_of(*code))
        }
        KrafkaError::Protocol { kind: ProtocolErrorKind::FrameTooLarge, .. } => of(FaultScope::Size, "too large"),
        KrafkaError::UnknownTopic { .. } => of(FaultScope::Passing, UNKNOWN_TOPIC).with_cure(Some(NO_TOPIC)),
        KrafkaError::Closed { .. } | KrafkaError::Fenced { .. } => of(FaultScope::Client, "closed"),
        KrafkaError::Config { .. } | KrafkaError::Serialization { .. } | KrafkaError::Compression { .. } => {
            of(FaultScope::Record, "record")
        }
        _ => of(FaultScope::Passing, "kafka"),
    }
}

const UNREACHABLE: &str =
    "check `brokers`, the network to them, their advertised listeners, and whether these want `tls`";
/// Words of rustls, in lower case, and what to do about them; the last is for all others.
const TLS_CURES: &[(&str, &str)] = &[
    ("unknownissuer", "set `tls: {ca_file: ...}` to the authority that has signed the brokers' certificates"),
    ("unknown ca", "the brokers do not know who has signed `tls: {cert_file: ...}`"),
    ("notvalidforname", "write `brokers` as their certificates name them, or set `tls: {server_name_override: ...}`"),
    (
        "not valid for name",
        "write `brokers` as their certificates name them, or set `tls: {server_name_override: ...}`",
    ),
    ("certificaterequired", "the brokers want a certificate: set `tls: {cert_file: ..., key_file: ...}`"),
    ("certificate required", "the brokers want a certificate: set `tls: {cert_file: ..., key_file: ...}`"),
    ("invalidcontenttype", "this listener does not speak TLS: remove `tls`, or set `tls: {insecure: true}`"),
    ("corrupt message", "this listener does not speak TLS: remove `tls`, or set `tls: {insecure: true}`"),
    ("", "check `tls`: ca_file, server_name_override, cert_file, and the dates of the certificates"),
];

/// What helps where a handshake of TLS has failed.
fn tls_cure(words: &str) -> Option<&'static str> {
    let words = words.to_ascii_lowercase();
    let is_tls = ["tls handshake", "certificate", "received corrupt message"].iter().any(|word| words.contains(word));
    TLS_CURES.iter().find(|(word, _)| is_tls && words.contains(word)).map(|(_, cure)| *cure)
}

const CREDENTIALS: &str = "check `auth` and `tls`: the brokers' listener says which of SASL and TLS it wants";
const NO_TOPIC: &str = "create the topic, or let the brokers do it (auto.create.topics.enable)";
const RIGHTS: &str = "give the user the right to it (kafka-acls)";

fn scope_of(code: ErrorCode) -> FaultScope {
    match code {
        ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge => FaultScope::Size,
        ErrorCode::InvalidTimestamp
        | ErrorCode::InvalidTopic
        | ErrorCode::InvalidRecord
        | ErrorCode::UnsupportedForMessageFormat
        | ErrorCode::PolicyViolation => FaultScope::Record,
        // Rights and topics are given while podgate runs: what waits is not given up before its time.
        _ => FaultScope::Passing,
    }
}

fn cure_of(code: ErrorCode) -> Option<&'static str> {
    match code {
        ErrorCode::UnknownTopicOrPartition => Some(NO_TOPIC),
        ErrorCode::TopicAuthorizationFailed
        | ErrorCode::GroupAuthorizationFailed
        | ErrorCode::ClusterAuthorizationFailed => Some(RIGHTS),
        ErrorCode::SaslAuthenticationFailed => Some(CREDENTIALS),
        ErrorCode::MessageTooLarge => Some("raise max.message.bytes of the topic, or lower max_message_bytes"),
        ErrorCode::InvalidSessionTimeout => Some("the brokers bound session_timeout (group.min.session.timeout.ms)"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_later_is_told_from_what_is_the_records_fault_or_the_clients() {
        let broker = |code| fault_of(&KrafkaError::broker(code, "words")).scope;
        for (code, scope) in [
            (ErrorCode::MessageTooLarge, FaultScope::Size),
            (ErrorCode::InvalidRecord, FaultScope::Record),
            (ErrorCode::NotEnoughReplicas, FaultScope::Passing),
            (ErrorCode::TopicAuthorizationFailed, FaultScope::Passing),
            (ErrorCode::SaslAuthenticationFailed, FaultScope::Client),
        ] {
            assert_eq!(broker(code), scope, "{code:?}");
        }
        assert_eq!(fault_of(&KrafkaError::auth("no")).scope, FaultScope::Client);
        let handshake = |why: &str| fault_of(&KrafkaError::auth(format!("TLS handshake failed: {why}"))).cure;
        for (why, key) in [
            ("invalid peer certificate: UnknownIssuer", "ca_file"),
            ("invalid peer certificate: certificate not valid for name \"a\"", "server_name_override"),
            ("received fatal alert: CertificateRequired", "cert_file"),
            ("received corrupt message of type InvalidContentType", "insecure: true"),
            ("anything", "`tls`"),
        ] {
            assert!(handshake(why).is_some_and(|cure| cure.contains(key)), "{why}: {:?}", handshake(why));
        }
        let late = fault_of(&KrafkaError::delivery_timeout(true, "late"));
        assert_eq!((late.scope, late.code.as_str()), (FaultScope::Passing, "delivery timeout"));
    }
}
