//! The keys of the exporter (the Collector's kafkaexporter 0.165).

use std::sync::Arc;
use std::time::Duration;

use crate::config::check::Section;
use crate::core::data::payload::Signal;
use crate::core::diagnostic::code;
use crate::core::node::Node;
use crate::core::stage::factory::CheckContext;
use crate::exporters::kafka::records::{RecordKeyRule, RecordRules, ValueEncoding, is_topic};
use crate::kafka::client::seam::{BatchCompression, ClusterSettings, RequiredAcks, WriterSettings};
use crate::kafka::config::cluster;
use crate::sending::config::SendingSettings;

const DEFAULT_TOPICS: [&str; 4] = ["otlp_spans", "otlp_metrics", "otlp_logs", "otlp_profiles"];
const RECORD_BYTES: u64 = 1_000_000;
const RECORD_BYTES_ALLOWED: std::ops::RangeInclusive<u64> = 4_096..=64 << 20;
const RECORDS_A_WRITE: usize = 10_000;

/// Checked settings.
#[derive(Clone, Debug)]
pub struct ExporterSettings {
    pub cluster: ClusterSettings,
    pub writer: WriterSettings,
    pub rules: Arc<RecordRules>,
    /// Records that are written at once by one delivery.
    pub records_at_once: usize,
    pub sending: SendingSettings,
}

/// Checks a body; `None` after at least one error.
pub fn check(cx: &CheckContext<'_>, node: &Node) -> Option<ExporterSettings> {
    let keys = Section::new(node, cx.path.clone(), &cx.checks.diagnostics);
    let sending = SendingSettings::check(&keys, cx.checks, Duration::from_secs(5));
    let cluster = cluster(&keys, sending.timeout);
    keys.not_yet(&["record_headers", "signal_header", "record_partitioner"]);
    for key in ["topic", "encoding"] {
        if keys.node(key).is_some_and(|node| !node.is_null()) {
            let message = format!("`{key}` stands under a signal since v0.124: traces: {{{key}: ...}}");
            keys.error(key, code::RETIRED, message, Some("write it under traces, metrics or logs"));
        }
    }
    let rules = rules(&keys);
    let producer = producer(&keys, sending.timeout);
    keys.finish();
    let (writer, records_at_once, creates_topics) = producer?;
    let (cluster, rules) = (ClusterSettings { creates_topics, ..cluster? }, rules?);
    Some(ExporterSettings { cluster, writer, rules: Arc::new(rules), records_at_once, sending })
}

fn rules(keys: &Section<'_>) -> Option<RecordRules> {
    let on = |key: &str| keys.bool(key).unwrap_or(false);
    let by_trace = on("partition_traces_by_id");
    let metrics_by_resource = on("partition_metrics_by_resource_attributes");
    let (logs_by_resource, logs_by_trace) =
        (on("partition_logs_by_resource_attributes"), on("partition_logs_by_trace_id"));
    if logs_by_resource && logs_by_trace {
        let message = "`partition_logs_by_trace_id` beside `partition_logs_by_resource_attributes`";
        return keys.invalid("partition_logs_by_trace_id", message, "only one of the two");
    }
    let rule = |is: bool, rule| if is { rule } else { RecordKeyRule::None };
    let logs = if logs_by_trace { RecordKeyRule::Trace } else { rule(logs_by_resource, RecordKeyRule::Resource) };
    let key_rules = [
        rule(by_trace, RecordKeyRule::Trace),
        rule(metrics_by_resource, RecordKeyRule::Resource),
        logs,
        RecordKeyRule::None,
    ];
    let signals = Signal::ALL.map(|signal| signal_keys(keys, signal));
    let [Some(traces), Some(metrics), Some(logs), Some(profiles)] = signals else { return None };
    let all = [traces, metrics, logs, profiles];
    let names = keys.strings("include_metadata_keys").unwrap_or_default();
    Some(RecordRules {
        topics: std::array::from_fn(|at| all[at].0.as_str().into()),
        encodings: std::array::from_fn(|at| all[at].1),
        keys: key_rules,
        topic_from_attribute: keys.string("topic_from_attribute").filter(|name| !name.is_empty()),
        headers: names.into_iter().map(|name| name.to_ascii_lowercase()).collect(),
    })
}

/// Topic and encoding of a signal.
fn signal_keys(keys: &Section<'_>, signal: Signal) -> Option<(String, ValueEncoding)> {
    const KNOWN: &[(&str, ValueEncoding)] =
        &[("otlp_proto", ValueEncoding::Protobuf), ("otlp_json", ValueEncoding::Json)];
    let default = DEFAULT_TOPICS[signal.index()].to_owned();
    let Some(keys) = keys.section(signal.name()) else { return Some((default, ValueEncoding::Protobuf)) };
    keys.not_yet(&["topic_from_metadata_key", "message_key_from_metadata_key"]);
    let topic = keys.string("topic").filter(|topic| !topic.is_empty()).unwrap_or(default);
    let is_name = is_topic(&topic);
    if !is_name {
        let expected = "letters, digits, `.`, `_` and `-`, at most 249 of them";
        keys.invalid::<()>("topic", format!("{topic:?} is no name of a topic"), expected);
    }
    let written = keys.string("encoding").filter(|written| !written.is_empty());
    let encoding = match &written {
        None => Some(ValueEncoding::Protobuf),
        Some(written) => KNOWN.iter().find(|(name, _)| name == written).map(|(_, encoding)| *encoding),
    };
    if encoding.is_none() {
        let message = format!("the encoding {:?} is not supported: OTLP is", written.unwrap_or_default());
        keys.error("encoding", code::NOT_YET, message, Some("use otlp_proto or otlp_json"));
    }
    keys.finish();
    Some((topic, encoding?)).filter(|_| is_name)
}

const COMPRESSIONS: &[(&str, BatchCompression)] = &[
    ("none", BatchCompression::None),
    ("", BatchCompression::None),
    ("gzip", BatchCompression::Gzip),
    ("snappy", BatchCompression::Snappy),
    ("lz4", BatchCompression::Lz4),
    ("zstd", BatchCompression::Zstd),
];

/// How records are written, how many at once, and whether topics are made.
fn producer(section: &Section<'_>, timeout: Duration) -> Option<(WriterSettings, usize, bool)> {
    let Some(keys) = section.section("producer") else {
        warn_of_acks(section, "producer", RequiredAcks::Leader);
        let settings = WriterSettings {
            acks: RequiredAcks::Leader,
            compression: BatchCompression::None,
            level: None,
            linger: Duration::from_millis(10),
            timeout,
            record_bytes_max: RECORD_BYTES as usize,
        };
        return Some((settings, RECORDS_A_WRITE, true));
    };
    keys.without_effect("max_broker_write_bytes", "one produce request holds a batch of each partition");
    let acks = match keys.string("required_acks").as_deref() {
        None | Some("1") => Some(RequiredAcks::Leader),
        Some("0") => Some(RequiredAcks::None),
        Some("-1" | "all") => Some(RequiredAcks::All),
        Some(written) => keys.invalid("required_acks", format!("{written:?}"), "all (-1), 1 or 0"),
    };
    acks.iter().for_each(|acks| warn_of_acks(&keys, "required_acks", *acks));
    let compression = keys.choice("compression", COMPRESSIONS).unwrap_or_default();
    let level = level(&keys, compression);
    let record_bytes = keys.u64("max_message_bytes").filter(|bytes| *bytes > 0).unwrap_or(RECORD_BYTES);
    if !RECORD_BYTES_ALLOWED.contains(&record_bytes) {
        let message = format!("{record_bytes} bytes are outside");
        keys.invalid::<()>("max_message_bytes", message, "a number from 4096 to 67108864");
    }
    let at_once = keys.usize("flush_max_messages").filter(|most| *most > 0).unwrap_or(RECORDS_A_WRITE);
    let linger = keys.duration("linger").unwrap_or(Duration::from_millis(10));
    if linger > Duration::from_secs(10) {
        keys.invalid::<()>("linger", format!("{linger:?} is outside"), "a duration of at most 10s");
    }
    let creates_topics = keys.bool("allow_auto_topic_creation").unwrap_or(true);
    keys.finish();
    let record_bytes_max = usize::try_from(record_bytes).ok().filter(|_| RECORD_BYTES_ALLOWED.contains(&record_bytes));
    let settings =
        WriterSettings { acks: acks?, compression, level, linger, timeout, record_bytes_max: record_bytes_max? };
    Some((settings, at_once, creates_topics))
}

/// Delivered means written, and what that is worth is the reader's to know.
fn warn_of_acks(keys: &Section<'_>, key: &str, acks: RequiredAcks) {
    let message = match acks {
        RequiredAcks::All => return,
        RequiredAcks::Leader => {
            "what is delivered has one broker alone (required_acks: 1, the default): it is lost with that broker, and a \
             repeat after a broken connection writes it twice"
        }
        RequiredAcks::None => "nobody says whether a record was written (required_acks: 0): what is lost is not seen",
    };
    let help = Some("set producer: {required_acks: all}");
    keys.warn(key, code::LINT, message, help);
}

fn level(keys: &Section<'_>, compression: BatchCompression) -> Option<i32> {
    let params = keys.section("compression_params")?;
    let written = params.i64("level").filter(|level| *level != 0);
    let level = written.and_then(|level| match compression {
        BatchCompression::Gzip if (1..=9).contains(&level) => i32::try_from(level).ok(),
        BatchCompression::Gzip if level == -1 => None,
        BatchCompression::Zstd => i32::try_from(level.clamp(1, 22)).ok(),
        _ => params.invalid("level", format!("{level} is no level of this codec"), "1 to 9 for gzip, 1 to 22 for zstd"),
    });
    params.finish();
    level
}
