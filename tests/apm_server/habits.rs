//! What APM Server answers to one request, as it was recorded of 9.6 (2026-08-20) and of its sources: pure.
//!
//! Its acknowledgement is no delivery: while Elasticsearch is away it says OK and loses nearly all of it, and it never
//! says UNAVAILABLE. What it refuses it refuses with codes that the OTLP specification calls final.

use serde::Deserialize;

/// grpc-go's default, which APM Server does not let anybody change. OTLP/HTTP has no such limit there.
pub const MESSAGE_BYTES_MAX: usize = 4_194_304;
/// Of 319,280 documents acknowledged in six seconds without Elasticsearch 5,753 arrived.
pub const OUTAGE_KEEPS_ONE_IN: u64 = 55;

pub const OK: u32 = 0;
pub const UNKNOWN: u32 = 2;
pub const INVALID_ARGUMENT: u32 = 3;
pub const PERMISSION_DENIED: u32 = 7;
pub const RESOURCE_EXHAUSTED: u32 = 8;
pub const UNIMPLEMENTED: u32 = 12;
pub const UNAUTHENTICATED: u32 = 16;

/// How it is configured, and how it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Habits {
    /// Values of `Authorization` that are let in (`Bearer <secret token>`, `ApiKey <base64 of id:key>`); with none
    /// everybody is.
    pub credentials: Vec<String>,
    /// Agents of browsers and phones are let in without credentials, so that all others are refused in another way.
    pub anonymous: bool,
    pub conduct: Conduct,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Conduct {
    #[default]
    Well,
    /// Under load the consumer behind the intake fails: gRPC UNKNOWN, HTTP 500.
    Failing,
    /// Anonymous rate limit or too many decoders: no Retry-After, no RetryInfo.
    Limited,
    /// Elasticsearch does not answer: after some seconds nobody gets an answer any more.
    Hanging,
    /// Elasticsearch answers 503: everything is acknowledged, nearly all of it is lost.
    Outage,
    /// Nothing listens.
    Away,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Grpc,
    Http,
}

/// What becomes of a request before anybody reads its items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Its items are acknowledged.
    Read,
    Refused(Refusal),
    /// No answer ever.
    Silence,
}

/// The code of a `google.rpc.Status`, its words, and the status that HTTP gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: u32,
    pub status: u16,
    pub message: String,
}

impl Refusal {
    pub fn new(code: u32, status: u16, message: impl Into<String>) -> Refusal {
        Refusal { code, status, message: message.into() }
    }
}

impl Habits {
    /// `bytes`: of the message, unpacked. `authorization`: the header as it came.
    pub fn verdict(&self, transport: Transport, authorization: Option<&str>, bytes: usize) -> Verdict {
        if self.conduct == Conduct::Hanging {
            return Verdict::Silence;
        }
        let refused =
            self.too_large(transport, bytes).or_else(|| self.stranger(authorization)).or_else(|| self.trouble());
        refused.map_or(Verdict::Read, Verdict::Refused)
    }

    fn too_large(&self, transport: Transport, bytes: usize) -> Option<Refusal> {
        let message = format!("grpc: received message larger than max ({bytes} vs. {MESSAGE_BYTES_MAX})");
        (transport == Transport::Grpc && bytes > MESSAGE_BYTES_MAX)
            .then(|| Refusal::new(RESOURCE_EXHAUSTED, 413, message))
    }

    fn stranger(&self, authorization: Option<&str>) -> Option<Refusal> {
        if self.credentials.is_empty() {
            return None;
        }
        match authorization {
            Some(given) if self.credentials.iter().any(|known| known == given) => None,
            Some(_) => Some(Refusal::new(UNAUTHENTICATED, 401, "authentication failed")),
            // HTTP says 500 here, with a status of code 2 in its body.
            None if self.anonymous => {
                Some(Refusal::new(PERMISSION_DENIED, 500, "unauthorized: anonymous access not permitted for agent"))
            }
            None => Some(Refusal::new(
                UNAUTHENTICATED,
                401,
                "authentication failed: missing or improperly formatted Authorization header",
            )),
        }
    }

    fn trouble(&self) -> Option<Refusal> {
        match self.conduct {
            Conduct::Failing => Some(Refusal::new(UNKNOWN, 500, "failed to publish events")),
            Conduct::Limited => Some(Refusal::new(RESOURCE_EXHAUSTED, 429, "rate limit exceeded")),
            _ => None,
        }
    }

    /// Whether an acknowledged item is kept, by the number of those acknowledged before it.
    pub fn keeps(&self, number: u64) -> bool {
        self.conduct != Conduct::Outage || number.is_multiple_of(OUTAGE_KEEPS_ONE_IN)
    }
}
