//! The one table of what an answer means for a payload: taken, later, never. OTLP specification, "Failures" and "OTLP/HTTP
//! Response".
//!
//! Two peers' habits are known by name: APM Server uses RESOURCE_EXHAUSTED, UNKNOWN and HTTP 500 for passing trouble, against
//! the specification; [`Profile::ApmServer`] takes them so, a bounded number of times.

use crate::net::client::grpc::Code;

/// Whose habits to expect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    #[default]
    Standard,
    ApmServer,
}

/// What to do with a payload after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Taken,
    /// The same bytes may be taken later.
    Later,
    /// Final by the specification, passing by experience: tried again a bounded number of times.
    LaterOffSpec,
    Never(Fault),
}

/// What a final error says about the parts of the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Credentials, path or service: every part would fail alike, so no search.
    Request,
    /// Some message in it may be to blame.
    Message,
    /// Smaller parts may pass.
    Size,
}

/// `throttled`: the answer carries RetryInfo or gRPC's retry pushback.
pub fn of_grpc(code: Code, throttled: bool, profile: Profile) -> Class {
    match code {
        Code::OK => Class::Taken,
        Code::CANCELLED
        | Code::DEADLINE_EXCEEDED
        | Code::ABORTED
        | Code::OUT_OF_RANGE
        | Code::UNAVAILABLE
        | Code::DATA_LOSS => Class::Later,
        Code::RESOURCE_EXHAUSTED if throttled => Class::Later,
        Code::RESOURCE_EXHAUSTED if profile == Profile::ApmServer => Class::Later,
        // Without RetryInfo it means that the request is too large, or a quota nobody says when to ask again.
        Code::RESOURCE_EXHAUSTED => Class::Never(Fault::Size),
        Code::UNKNOWN if profile == Profile::ApmServer => Class::LaterOffSpec,
        Code::UNAUTHENTICATED | Code::PERMISSION_DENIED | Code::UNIMPLEMENTED => Class::Never(Fault::Request),
        _ => Class::Never(Fault::Message),
    }
}

pub fn of_http(status: u16, profile: Profile) -> Class {
    match status {
        200..=299 => Class::Taken,
        429 | 502..=504 => Class::Later,
        413 => Class::Never(Fault::Size),
        500 if profile == Profile::ApmServer => Class::LaterOffSpec,
        // Redirects are not followed: a POST that moved is a wrong endpoint.
        300..=399 | 401 | 403 | 404 | 405 | 407 | 415 => Class::Never(Fault::Request),
        _ => Class::Never(Fault::Message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_codes_are_classed_as_the_specification_does() {
        let retryable = [1, 4, 10, 11, 14, 15];
        for number in 0..40 {
            let class = of_grpc(Code(number), false, Profile::Standard);
            assert_eq!(class == Class::Later, retryable.contains(&number), "{number}");
            assert_eq!(class == Class::Taken, number == 0, "{number}");
        }
        for (number, fault) in
            [(8, Fault::Size), (12, Fault::Request), (16, Fault::Request), (7, Fault::Request), (3, Fault::Message)]
        {
            assert_eq!(of_grpc(Code(number), false, Profile::Standard), Class::Never(fault), "{number}");
        }
        assert_eq!(of_grpc(Code::RESOURCE_EXHAUSTED, true, Profile::Standard), Class::Later);
    }

    #[test]
    fn only_four_http_statuses_are_retryable() {
        for status in 100..600 {
            let class = of_http(status, Profile::Standard);
            assert_eq!(class == Class::Later, [429, 502, 503, 504].contains(&status), "{status}");
            assert_eq!(class == Class::Taken, (200..300).contains(&status), "{status}");
        }
        assert_eq!(of_http(413, Profile::Standard), Class::Never(Fault::Size));
    }

    #[test]
    fn apm_servers_habits_are_off_spec_and_switchable() {
        assert_eq!(of_http(500, Profile::ApmServer), Class::LaterOffSpec);
        assert_eq!(of_grpc(Code::UNKNOWN, false, Profile::ApmServer), Class::LaterOffSpec);
        assert_eq!(of_grpc(Code::RESOURCE_EXHAUSTED, false, Profile::ApmServer), Class::Later);
        assert_eq!(of_http(400, Profile::ApmServer), Class::Never(Fault::Message));
    }
}
