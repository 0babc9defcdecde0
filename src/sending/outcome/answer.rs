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
pub enum AnswerClass {
    Taken,
    /// The same bytes may be taken later.
    Later,
    /// Final by the specification, passing by experience: tried again a bounded number of times.
    LaterOffSpec,
    Never(AnswerFault),
}

/// What a final error says about the parts of the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerFault {
    /// Credentials, path or service: every part would fail alike, so no search.
    Request,
    /// Some message in it may be to blame.
    Message,
    /// Smaller parts may pass.
    Size,
}

/// How gRPC libraries and gateways say that a message is beyond their limit: "received message larger than max (N vs. M)" of
/// grpc-go, grpc-core and grpc-js, "decoded message length too large" of tonic, "gRPC message exceeds maximum size" of
/// grpc-java, "Received message exceeds the maximum configured message size" of grpc-dotnet.
const SIZE_WORDS: [&str; 4] = ["larger than", "too large", "exceeds maximum size", "exceeds the maximum"];

/// The server's words blame the size of the request.
fn is_about_size(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    SIZE_WORDS.iter().any(|words| message.contains(words))
}

/// `throttled`: the answer carries RetryInfo or gRPC's retry pushback. `message`: the server's words.
pub fn of_grpc(code: Code, throttled: bool, message: &str, profile: Profile) -> AnswerClass {
    match code {
        Code::OK => AnswerClass::Taken,
        Code::CANCELLED
        | Code::DEADLINE_EXCEEDED
        | Code::ABORTED
        | Code::OUT_OF_RANGE
        | Code::UNAVAILABLE
        | Code::DATA_LOSS => AnswerClass::Later,
        Code::RESOURCE_EXHAUSTED if throttled => AnswerClass::Later,
        Code::RESOURCE_EXHAUSTED if profile == Profile::ApmServer => AnswerClass::Later,
        // Without RetryInfo it is final: the request is too large, or a quota is used up and nobody says when to ask again.
        Code::RESOURCE_EXHAUSTED if is_about_size(message) => AnswerClass::Never(AnswerFault::Size),
        Code::UNKNOWN if profile == Profile::ApmServer => AnswerClass::LaterOffSpec,
        Code::UNAUTHENTICATED | Code::PERMISSION_DENIED | Code::UNIMPLEMENTED => {
            AnswerClass::Never(AnswerFault::Request)
        }
        _ => AnswerClass::Never(AnswerFault::Message),
    }
}

pub fn of_http(status: u16, profile: Profile) -> AnswerClass {
    match status {
        200..=299 => AnswerClass::Taken,
        429 | 502..=504 => AnswerClass::Later,
        413 => AnswerClass::Never(AnswerFault::Size),
        500 if profile == Profile::ApmServer => AnswerClass::LaterOffSpec,
        // Redirects are not followed: a POST that moved is a wrong endpoint.
        300..=399 | 401 | 403 | 404 | 405 | 407 | 415 => AnswerClass::Never(AnswerFault::Request),
        _ => AnswerClass::Never(AnswerFault::Message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_codes_are_classed_as_the_specification_does() {
        let retryable = [1, 4, 10, 11, 14, 15];
        for number in 0..40 {
            let class = of_grpc(Code(number), false, "", Profile::Standard);
            assert_eq!(class == AnswerClass::Later, retryable.contains(&number), "{number}");
            assert_eq!(class == AnswerClass::Taken, number == 0, "{number}");
        }
        for (number, fault) in [
            (8, AnswerFault::Message),
            (12, AnswerFault::Request),
            (16, AnswerFault::Request),
            (7, AnswerFault::Request),
            (3, AnswerFault::Message),
        ] {
            assert_eq!(of_grpc(Code(number), false, "", Profile::Standard), AnswerClass::Never(fault), "{number}");
        }
        assert_eq!(of_grpc(Code::RESOURCE_EXHAUSTED, true, "", Profile::Standard), AnswerClass::Later);
    }

    #[test]
    fn an_exhausted_resource_is_a_matter_of_size_only_where_the_server_says_so() {
        let fault = |message| of_grpc(Code::RESOURCE_EXHAUSTED, false, message, Profile::Standard);
        for said in [
            "grpc: received message larger than max (5000000 vs. 4194304)",
            "grpc: received message after decompression larger than max (5000000 vs. 4194304)",
            "CLIENT: Received message larger than max (5000000 vs. 4194304)",
            "Error, decoded message length too large: found 5000000 bytes, the limit is: 4194304 bytes",
            "gRPC message exceeds maximum size 4194304: 5000000",
            "Received message exceeds the maximum configured message size.",
            "the request is larger than the limit of 4194304 bytes",
        ] {
            assert_eq!(fault(said), AnswerClass::Never(AnswerFault::Size), "{said}");
        }
        for said in ["", "rate limit exceeded", "quota of spans exhausted for tenant largest", "too many requests"] {
            assert_eq!(fault(said), AnswerClass::Never(AnswerFault::Message), "{said}");
        }
        let other = of_grpc(Code::INVALID_ARGUMENT, false, "a message larger than max", Profile::Standard);
        assert_eq!(other, AnswerClass::Never(AnswerFault::Message));
    }

    #[test]
    fn only_four_http_statuses_are_retryable() {
        for status in 100..600 {
            let class = of_http(status, Profile::Standard);
            assert_eq!(class == AnswerClass::Later, [429, 502, 503, 504].contains(&status), "{status}");
            assert_eq!(class == AnswerClass::Taken, (200..300).contains(&status), "{status}");
        }
        assert_eq!(of_http(413, Profile::Standard), AnswerClass::Never(AnswerFault::Size));
    }

    #[test]
    fn apm_servers_habits_are_off_spec_and_switchable() {
        assert_eq!(of_http(500, Profile::ApmServer), AnswerClass::LaterOffSpec);
        assert_eq!(of_grpc(Code::UNKNOWN, false, "", Profile::ApmServer), AnswerClass::LaterOffSpec);
        assert_eq!(of_grpc(Code::RESOURCE_EXHAUSTED, false, "", Profile::ApmServer), AnswerClass::Later);
        assert_eq!(of_http(400, Profile::ApmServer), AnswerClass::Never(AnswerFault::Message));
    }
}
