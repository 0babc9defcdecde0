//! The keys of `elasticsearch`, checked into what builds it. Names and meanings are the Collector's (elasticsearchexporter
//! config.go); keys of ours stand in the `podgate` block.
//!
//! Where the Collector's defaults lose data or stall small senders ours differ, and docs/elasticsearch.md says so.

mod documents;
mod nodes;
mod retry;
mod target;

use std::path::PathBuf;
use std::time::Duration;

use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderValue};

use crate::config::auth::authenticator;
use crate::config::check::Section;
use crate::config::client::headers;
use crate::core::diagnostic::code;
use crate::core::node::Node;
use crate::core::stage::auth::AuthSide;
use crate::core::stage::factory::CheckContext;
use crate::exporters::elasticsearch::delivery::MODE_HEADER;
use crate::exporters::elasticsearch::delivery::bulk::post::PostSettings;
use crate::exporters::elasticsearch::delivery::dead_letter::file::DeadLetterSettings;
use crate::exporters::elasticsearch::delivery::settings::{DebugLogging, DeliverySettings};
use crate::otlp::json::base64;
use crate::sending::config::{QueueSettings, queue};
use crate::sending::queue::{BatchRule, Sizer};

/// A checked `elasticsearch` exporter.
#[derive(Clone, Debug)]
pub struct ElasticsearchSettings {
    pub queue: Option<QueueSettings>,
    pub delivery: DeliverySettings,
}

/// Body bytes before compression; Elastic's own senders use 1 to 5 MB.
const BULK_BYTES: u64 = 5_000_000;
/// Documents larger than this are refused by Elasticsearch's defaults, so no request may be either.
const BULK_BYTES_MAX: u64 = 99 << 20;
const PARKED_BYTES: u64 = 16 << 20;
/// Room for slow clusters, as upstream.
const TIMEOUT: Duration = Duration::from_secs(90);

/// Queued in memory and sent when a megabyte or a second is there. Upstream holds ten requests and waits ten seconds, which
/// stops a sender of small requests (real Collector: nothing accepted for whole windows).
const QUEUE: QueueSettings = QueueSettings {
    num_consumers: 10,
    queue_size: 1_000,
    sizer: Sizer::Requests,
    block_on_overflow: false,
    wait_for_result: false,
    batch: Some(BatchRule {
        flush_timeout: Duration::from_secs(1),
        min_size: 1_000_000,
        max_size: 2_000_000,
        sizer: Sizer::Bytes,
        apart_by: Some(MODE_HEADER),
        metadata_keys: Vec::new(),
    }),
    storage: None,
};

/// What the `podgate` block says.
struct Own {
    dead_letter: Option<DeadLetterSettings>,
    bulk_bytes: u64,
    parked_bytes: u64,
    deterministic_ids: bool,
    /// `target: elasticsearch` is written.
    stated: bool,
}

/// Checks an `elasticsearch` body.
pub fn check(cx: &CheckContext<'_>, node: &Node) -> Option<ElasticsearchSettings> {
    let keys = Section::new(node, cx.path.clone(), &cx.checks.diagnostics);
    retired(&keys);
    let timeout = keys.duration("timeout").unwrap_or(TIMEOUT);
    if timeout.is_zero() {
        keys.invalid::<()>("timeout", "`timeout` is 0, so an attempt never ends", "a duration such as 90s");
    }
    let nodes = nodes::check(&keys, cx.checks, timeout);
    let queue = queue(&keys, cx.checks, QUEUE);
    let own = own(&keys);
    let mut mapping = documents::check(&keys);
    mapping.deterministic_ids = own.deterministic_ids;
    let include_source = keys.bool("include_source_on_error");
    let post = PostSettings {
        nodes: nodes.unwrap_or_default(),
        headers: authorized(&keys),
        auth: authenticator(&keys, cx.checks, AuthSide::Client),
        query: query(&keys, include_source),
        gzip: compression(&keys),
        timeout,
    };
    if own.stated {
        target::check(&keys, &post.nodes, &post.headers);
    }
    let retry = retry::check(&keys);
    let telemetry = telemetry(&keys);
    keys.finish();
    let sender_waits = queue.as_ref().is_none_or(|queue| queue.wait_for_result).then_some(timeout);
    let requests_at_once = queue.as_ref().map_or(64, |queue| queue.num_consumers);
    let found = !post.nodes.is_empty();
    let delivery = DeliverySettings {
        post,
        mapping,
        retry,
        bulk_bytes: usize::try_from(own.bulk_bytes).unwrap_or(usize::MAX),
        parked_bytes: usize::try_from(own.parked_bytes).unwrap_or(usize::MAX),
        dead_letter: own.dead_letter,
        show_reasons: include_source == Some(true),
        requests_at_once,
        sender_waits,
        telemetry,
    };
    found.then_some(ElasticsearchSettings { queue, delivery })
}

/// Keys the Collector had: those it still takes without effect are warned about, those it refuses are refused with the cure.
fn retired(keys: &Section<'_>) {
    keys.not_yet(&[
        "middlewares",
        "metadata_keys",
        "cookies",
        "http2_read_idle_timeout",
        "dialer",
        "suppress_conflict_errors",
        "bulk_response_filter_path",
    ]);
    keys.without_effect("num_workers", "the Collector removed it in v0.162; use sending_queue: {num_consumers: ...}");
    keys.without_effect("flush", "requests are sized by sending_queue: {batch: {min_size, max_size, flush_timeout}}");
    keys.misplaced("batcher", "the Collector removed it in v0.138: write sending_queue: {batch: ...}");
    keys.misplaced("retry_on_failure", "this exporter's block is `retry`, as in the Collector");
    keys.misplaced("index", "the Collector removed it: write logs_index, metrics_index or traces_index");
    for key in [
        "read_buffer_size",
        "write_buffer_size",
        "max_idle_conns",
        "max_idle_conns_per_host",
        "http2_ping_timeout",
        "force_attempt_http2",
        "disable_keep_alives",
    ] {
        keys.without_effect(key, "buffers and connections are sized as needed");
    }
    let Some(discover) = keys.section("discover") else { return };
    let interval = discover.duration("interval").unwrap_or_default();
    if discover.bool("on_start") == Some(true) || !interval.is_zero() {
        keys.error(
            "discover",
            code::NOT_YET,
            "`discover` is not supported yet: nodes are those in `endpoints`",
            Some("list the nodes, or a Service that stands for them, in endpoints and remove the key"),
        );
    }
    discover.finish();
}

fn own(keys: &Section<'_>) -> Own {
    let mut own = Own {
        dead_letter: None,
        bulk_bytes: BULK_BYTES,
        parked_bytes: PARKED_BYTES,
        deterministic_ids: true,
        stated: false,
    };
    let Some(block) = keys.section("podgate") else { return own };
    own.stated = target::read(&block);
    own.dead_letter = dead_letter(&block);
    own.bulk_bytes = block.bytes("bulk_bytes").unwrap_or(BULK_BYTES);
    if !(64 << 10..=BULK_BYTES_MAX).contains(&own.bulk_bytes) {
        let message = format!("{} bytes is outside", own.bulk_bytes);
        block.invalid::<()>("bulk_bytes", message, "a size from 64KiB to 99MiB");
    }
    own.parked_bytes = block.bytes("parked_bytes").unwrap_or(PARKED_BYTES);
    own.deterministic_ids = block.bool("deterministic_ids").unwrap_or(true);
    block.finish();
    own
}

fn dead_letter(block: &Section<'_>) -> Option<DeadLetterSettings> {
    let keys = block.section("dead_letter")?;
    let path = keys.string("path").filter(|path| !path.is_empty());
    let max_bytes = keys.bytes("max_bytes").unwrap_or(DeadLetterSettings::DEFAULT_BYTES);
    if max_bytes == 0 {
        keys.invalid::<()>("max_bytes", "`max_bytes` is 0, so nothing would be kept", "a size such as 64MiB");
    }
    if path.is_none() {
        keys.missing::<()>("path", "the file for documents that Elasticsearch never accepts");
    }
    keys.finish();
    path.map(|path| DeadLetterSettings { path: PathBuf::from(path), max_bytes })
}

/// `headers`, and the credentials as one of them.
fn authorized(keys: &Section<'_>) -> HeaderMap {
    let mut headers = headers(keys);
    let text = |key| keys.string(key).filter(|text: &String| !text.is_empty());
    let (user, password, api_key) = (text("user"), text("password"), text("api_key"));
    if user.is_some() != password.is_some() {
        let (has, lacks) = if user.is_some() { ("user", "password") } else { ("password", "user") };
        keys.invalid::<()>(has, format!("`{has}` without `{lacks}`"), "both, or neither");
    }
    let basic = user.zip(password).map(|(user, password)| {
        let mut encoded = b"Basic ".to_vec();
        base64::encode(&mut encoded, format!("{user}:{password}").as_bytes());
        encoded
    });
    if basic.is_some() && api_key.is_some() {
        keys.warn("api_key", code::IGNORED_KEY, "`api_key` beside `user`: the API key is sent", None);
    }
    if api_key.as_ref().is_some_and(|key| key.contains(':')) {
        let message = "`api_key` looks like id:key, which Elasticsearch does not accept";
        keys.invalid::<()>("api_key", message, "the `encoded` form (base64 of id:key)");
    }
    let credentials = api_key.map(|key| format!("ApiKey {key}").into_bytes()).or(basic);
    if let Some(credentials) = credentials {
        match HeaderValue::from_bytes(&credentials) {
            Ok(mut value) => {
                value.set_sensitive(true);
                headers.insert(AUTHORIZATION, value);
            }
            Err(_) => {
                keys.invalid::<()>("api_key", "the credentials cannot be sent in a header", "text without line breaks");
            }
        }
    }
    headers
}

fn query(keys: &Section<'_>, include_source: Option<bool>) -> Vec<(&'static str, String)> {
    let pipeline = keys.string("pipeline").filter(|pipeline| !pipeline.is_empty());
    let pipeline = pipeline.map(|pipeline| ("pipeline", pipeline));
    let include_source = include_source.map(|include| ("include_source_on_error", include.to_string()));
    pipeline.into_iter().chain(include_source).collect()
}

/// The level of gzip, `None` for plain bodies.
fn compression(keys: &Section<'_>) -> Option<u32> {
    let gzip = keys.choice("compression", &[("gzip", true), ("none", false), ("", false)]).unwrap_or(true);
    let mut level = 1;
    if let Some(params) = keys.section("compression_params") {
        level = params.i64("level").unwrap_or(1);
        if gzip && !(1..=9).contains(&level) {
            params.invalid::<()>("level", format!("{level} is not a level of gzip"), "a number from 1 to 9");
        }
        params.finish();
    }
    gzip.then(|| u32::try_from(level).unwrap_or(1).clamp(1, 9))
}

fn telemetry(keys: &Section<'_>) -> DebugLogging {
    let Some(block) = keys.section("telemetry") else { return DebugLogging::default() };
    let read = DebugLogging {
        request_body: block.bool("log_request_body").unwrap_or(false),
        response_body: block.bool("log_response_body").unwrap_or(false),
        failed_documents: block.bool("log_failed_docs_input").unwrap_or(false),
        failed_documents_every: block.duration("log_failed_docs_input_rate_limit").unwrap_or(Duration::from_secs(1)),
    };
    if read.request_body || read.response_body || read.failed_documents {
        let help = "it needs service::telemetry::logs::level: debug";
        keys.warn(
            "telemetry",
            code::IGNORED_KEY,
            "documents will be written to podgate's own log at level debug",
            Some(help),
        );
    }
    block.finish();
    read
}
