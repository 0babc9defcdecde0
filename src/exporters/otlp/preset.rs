//! `podgate: {target: ...}`: what is known of Elastic's ways in by their names - how large a request may be, what its answers
//! mean, which compression it can read, how it wants to be authenticated.
//!
//! Pure: reads keys, gives facts and findings. Sources: APM Server 9.6 and the Collector 0.161 as recorded, Elasticsearch's
//! and Elastic's documents for the rest (docs/elastic.md says which is which).

use std::time::Duration;

use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::config::check::Section;
use crate::config::client::authorization;
use crate::core::diagnostic::code;
use crate::core::limits::REQUEST_BYTES_MAX;
use crate::net::client::compress::Compression;
use crate::net::client::settings::ClientHttp;
use crate::net::client::target::{Scheme, Target};
use crate::sending::outcome::answer::Profile;

const MIB: u64 = 1 << 20;
const APM_SERVER_TIMEOUT: Duration = Duration::from_secs(10);

/// A next hop by its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preset {
    /// Anything that speaks OTLP.
    #[default]
    Any,
    /// APM Server's intake, 8200.
    ApmServer,
    /// Elastic Agent as a gateway (OTel mode, formerly EDOT Collector): a Collector's OTLP receiver.
    ElasticAgent,
    /// Elastic Cloud's managed OTLP endpoint.
    ManagedOtlp,
    /// Elasticsearch's own OTLP endpoints below `/_otlp`.
    Elasticsearch,
}

const NAMES: &[(&str, Preset)] = &[
    ("apm_server", Preset::ApmServer),
    ("elastic_agent", Preset::ElasticAgent),
    ("managed_otlp", Preset::ManagedOtlp),
    ("elasticsearch", Preset::Elasticsearch),
];

/// What else the exporter is configured with.
pub struct Beside<'a> {
    pub headers: &'a HeaderMap,
    pub compression: Compression,
    pub targets: &'a [&'a Target],
    pub plaintext: bool,
    pub speech: ClientHttp,
    /// An attempt may take as long as it likes.
    pub endless: bool,
}

impl Preset {
    /// Reads `target` and the older `apm_server` of the `podgate` block; `None` where neither is written.
    pub fn read(own: &Section<'_>) -> Option<Preset> {
        let target = own.choice("target", NAMES);
        let old = own.bool("apm_server").map(|is| if is { Preset::ApmServer } else { Preset::Any });
        if let (Some(target), Some(old)) = (target, old)
            && target != old
        {
            let message = "`apm_server` and `target` contradict each other";
            own.error("apm_server", code::CONFLICT, message, Some("remove apm_server: target says the same"));
        }
        target.or(old)
    }

    pub fn profile(self) -> Profile {
        if self == Preset::ApmServer { Profile::ApmServer } else { Profile::Standard }
    }

    /// The largest request it takes, in bytes of protobuf.
    pub fn bytes_max(self, speech: ClientHttp) -> u64 {
        match (self, speech) {
            // grpc-go's default for one message, which APM Server does not let anybody change.
            (Preset::ApmServer, _) | (Preset::ElasticAgent, ClientHttp::Http2) => 4 * MIB,
            // confighttp's default, answered with 400 and not 413.
            (Preset::ElasticAgent, _) => 20 * MIB,
            (Preset::Any | Preset::ManagedOtlp | Preset::Elasticsearch, _) => REQUEST_BYTES_MAX,
        }
    }

    /// The timeout of an attempt where none is written.
    pub fn timeout(self, default: Duration) -> Duration {
        // Accepted requests take half a second at 25,000 spans/s there, and a hanging one is never answered.
        if self == Preset::ApmServer { APM_SERVER_TIMEOUT } else { default }
    }

    /// Findings about what this next hop cannot take. `stated`: its name is written, not guessed from a port.
    pub fn check(self, keys: &Section<'_>, stated: bool, beside: &Beside<'_>) {
        self.check_compression(keys, stated, beside.compression);
        if !stated {
            return;
        }
        if self == Preset::ApmServer && beside.endless {
            let message = "`timeout: 0` waits without end, and APM Server stops answering while Elasticsearch hangs";
            keys.error("timeout", code::CONFLICT, message, Some("write the time that an answer may take, such as 10s"));
        }
        self.check_endpoint(keys, beside);
        self.check_authorization(keys, beside.headers);
    }

    fn check_compression(self, keys: &Section<'_>, stated: bool, compression: Compression) {
        let Some(token) = compression.token().filter(|_| !matches!(compression, Compression::Gzip(_))) else { return };
        let message = match self {
            Preset::ApmServer if matches!(compression, Compression::Zlib(..)) => return,
            Preset::ApmServer => format!("APM Server reads {token} as protobuf: it acknowledges what it never stores"),
            Preset::Elasticsearch => "Elasticsearch reads gzip and nothing else".to_owned(),
            Preset::Any | Preset::ElasticAgent | Preset::ManagedOtlp => return,
        };
        let help = Some("use gzip or none");
        if stated {
            keys.error("compression", code::CONFLICT, message, help);
        } else {
            keys.warn("compression", code::LINT, message, help);
        }
    }

    fn check_endpoint(self, keys: &Section<'_>, beside: &Beside<'_>) {
        if self == Preset::ManagedOtlp && beside.plaintext {
            let message = "the managed endpoint is reached by TLS alone, and an API key would be sent in clear text";
            keys.error("endpoint", code::CONFLICT, message, Some("write https://, without tls.insecure"));
        }
        if self != Preset::Elasticsearch {
            return;
        }
        if beside.speech == ClientHttp::Http2 {
            let message = "Elasticsearch accepts OTLP by HTTP only";
            keys.error("endpoint", code::CONFLICT, message, Some("use otlp_http with https://host:9200/_otlp"));
            return;
        }
        let elsewhere = |target: &&&Target| target.scheme != Scheme::Unstated && !target.path.contains("/_otlp");
        if beside.targets.iter().any(|target| elsewhere(&target)) {
            let message = "Elasticsearch accepts OTLP below /_otlp only";
            let help = "write https://host:9200/_otlp; /v1/traces and its like are added";
            keys.error("endpoint", code::CONFLICT, message, Some(help));
        }
    }

    /// The form of the credentials; their text is a secret and never shown.
    fn check_authorization(self, keys: &Section<'_>, headers: &HeaderMap) {
        let Some(given) = headers.get(AUTHORIZATION) else {
            if self == Preset::ManagedOtlp {
                let message = "the managed endpoint refuses requests without an API key";
                let help = "set headers: {Authorization: \"ApiKey ${env:ELASTIC_API_KEY}\"}";
                keys.error("headers", code::MISSING_KEY, message, Some(help));
            }
            return;
        };
        let known = match self {
            Preset::ApmServer => Some(&["ApiKey", "Bearer"][..]),
            Preset::ManagedOtlp => Some(&["ApiKey"][..]),
            Preset::Elasticsearch => Some(&["ApiKey", "Basic", "Bearer"][..]),
            Preset::Any | Preset::ElasticAgent => None,
        };
        let help = match self {
            Preset::ApmServer => "write \"ApiKey <base64 of id:key>\", or \"Bearer <secret token>\"",
            _ => "write \"ApiKey <base64 of id:key>\"",
        };
        authorization(keys, given, known, help);
    }

    /// What a refusal of credentials means, in one sentence. `given`: an Authorization header is configured.
    pub fn credentials(self, given: bool) -> &'static str {
        match (self, given) {
            (Preset::ApmServer, false) => {
                "APM Server wants an API key or its secret token and none is configured: set headers: {Authorization: \
                 \"ApiKey <base64 of id:key>\"} or {Authorization: \"Bearer <secret token>\"}"
            }
            (Preset::ApmServer, true) => {
                "APM Server refuses the configured credentials: the API key needs the privilege event:write of \
                 application apm, the secret token must be the server's own"
            }
            (Preset::ElasticAgent, false) => {
                "Elastic Agent's receiver wants an API key and none is configured: set headers: {Authorization: \
                 \"ApiKey <base64 of id:key>\"}, as its apikeyauth extension expects"
            }
            (Preset::ElasticAgent, true) => {
                "Elastic Agent's receiver refuses the configured API key: look at its apikeyauth extension, which asks \
                 Elasticsearch whether the key has the privileges named there"
            }
            (Preset::ManagedOtlp, _) => {
                "the managed endpoint refuses the API key: it must be one of this project, in the form \
                 \"ApiKey <base64 of id:key>\""
            }
            (Preset::Elasticsearch, false) => {
                "Elasticsearch wants credentials and none is configured: set headers: {Authorization: \
                 \"ApiKey <base64 of id:key>\"}"
            }
            (Preset::Elasticsearch, true) => {
                "Elasticsearch refuses the configured API key: it needs create_doc and auto_configure on the data streams \
                 (traces need those of logs too, for span events)"
            }
            (Preset::Any, false) => {
                "the next hop wants credentials and none is configured: set headers: {Authorization: ...}"
            }
            (Preset::Any, true) => "the next hop refuses the configured Authorization header",
        }
    }
}
