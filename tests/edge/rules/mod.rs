//! The checks behind the conformance matrix, one function per rule and transport.

pub mod grpc;
pub mod http;

use podgate::core::error::{ConsumeError, Reason};

use super::harness::{Running, field};

/// A small size limit, so that being over it costs the tests little.
pub const SMALL: &str = "\
protocols:
  grpc:
    endpoint: 127.0.0.1:0
    max_recv_msg_size_mib: 1
  http:
    endpoint: 127.0.0.1:0
    max_request_body_size: 1MiB
    traces_url_path: /custom/traces
";

pub fn always_refuse(running: &Running) {
    let after = Some(std::time::Duration::from_millis(2500));
    let refusal = ConsumeError::Refused { reason: Reason::QUEUE_FULL, after, message: "the queue is full".into() };
    *running.sink.always.lock().unwrap() = Some(refusal);
}

pub fn always_reject(running: &Running, message: String) {
    *running.sink.always.lock().unwrap() = Some(ConsumeError::Rejected { reason: Reason::PERMANENT, message });
}

/// A trace request with a good span, one that is not protobuf inside, and one that nests 65 lists deep.
pub fn two_of_three_bad() -> Vec<u8> {
    let mut value = vec![0x0a, 0x01, b'x'];
    for _ in 0..65 {
        let list = field(1, &value);
        value = field(5, &list);
    }
    let deep_span = field(9, &field(2, &value));
    let good_span = [field(1, &[7; 16]), field(2, &[7; 8]), field(5, b"good")].concat();
    let bad_span = vec![0x0a, 0x7f, 1];
    let spans = [good_span, bad_span, deep_span].map(|span| field(2, &span)).concat();
    field(1, &field(2, &spans))
}

/// A request with a field nobody knows (number 15) at every level.
pub fn with_unknown_fields() -> Vec<u8> {
    let unknown = field(15, b"from the future");
    let span = [field(1, &[7; 16]), field(2, &[7; 8]), field(5, b"x"), unknown.clone()].concat();
    let scope = [field(2, &span), unknown.clone()].concat();
    let resource = [field(1, &unknown), field(2, &scope), unknown.clone()].concat();
    [field(1, &resource), unknown].concat()
}

/// A request of any signal with one item that only has a field nobody knows.
pub fn one_item() -> Vec<u8> {
    field(1, &field(2, &field(2, &field(15, b"x"))))
}
