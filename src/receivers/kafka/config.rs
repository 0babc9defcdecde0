//! The keys of the receiver (the Collector's kafkareceiver 0.165).

use std::time::Duration;

use regex::Regex;

use crate::config::check::Section;
use crate::config::value::pattern;
use crate::core::data::payload::Signal;
use crate::core::diagnostic::code;
use crate::core::node::Node;
use crate::core::stage::factory::CheckContext;
use crate::kafka::client::seam::{ClusterSettings, MemberSettings, RebalanceStrategy};
use crate::kafka::config::cluster;
use crate::receivers::kafka::headers::{HEADERS_MAX, attribute};

/// Of requests that are not held on purpose; a fetch waits `max_fetch_wait` on top.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
const DEFAULT_TOPICS: [&str; 4] = ["otlp_spans", "otlp_metrics", "otlp_logs", "otlp_profiles"];
const TOPICS_MAX: usize = 1_000;
/// Of all partitions together. The Collector takes 1 MiB.
const FETCH_BYTES: i32 = 2 << 20;
const PARTITION_FETCH_BYTES: i32 = 1 << 20;
/// Records that one partition may have on their way.
const IN_FLIGHT: usize = 100_000;
/// Records of one poll: what a partition's queue has to have room for.
const RECORDS_A_POLL: usize = 1_000;

/// How the values of records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordEncoding {
    Protobuf,
    Json,
}

/// What is read for one signal.
#[derive(Clone, Debug)]
pub struct SignalTopics {
    pub names: Vec<String>,
    pub patterns: Vec<Regex>,
    pub excluded: Vec<Regex>,
    pub encoding: RecordEncoding,
}

impl SignalTopics {
    /// Whether records of this topic are the signal's.
    pub fn has(&self, topic: &str) -> bool {
        let is_named = self.names.iter().any(|name| name == topic);
        let is_meant = || self.patterns.iter().any(|pattern| pattern.is_match(topic));
        is_named || (is_meant() && !self.excluded.iter().any(|pattern| pattern.is_match(topic)))
    }
}

/// What becomes of records that the pipeline does not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marking {
    /// One that was refused for now is given up at once.
    pub on_error: bool,
    /// One that is refused for good, or cannot be read, is settled.
    pub on_permanent_error: bool,
}

/// How long a refused record waits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ErrorBackoff {
    pub first: Duration,
    pub longest: Duration,
    pub multiplier: f64,
}

/// Checked settings.
#[derive(Clone, Debug)]
pub struct ReceiverSettings {
    pub cluster: ClusterSettings,
    pub member: MemberSettings,
    pub topics: [SignalTopics; 4],
    pub commit_interval: Duration,
    pub marking: Marking,
    pub backoff: ErrorBackoff,
    pub in_flight_max: usize,
    /// Attributes of the headers that are read, in their order.
    pub header_attributes: Vec<String>,
}

/// Checks a body; `None` after at least one error.
pub fn check(cx: &CheckContext<'_>, node: &Node) -> Option<ReceiverSettings> {
    let keys = Section::new(node, cx.path.clone(), &cx.checks.diagnostics);
    let cluster = cluster(&keys, REQUEST_TIMEOUT);
    keys.not_yet(&["telemetry"]);
    old_keys(&keys);
    let topics = topics(&keys);
    let member = member(&keys);
    let commit_interval = autocommit(&keys);
    let marking = marking(&keys);
    let headers = header_extraction(&keys);
    let backoff = backoff(&keys);
    if let Some(processing) = keys.section("partition_processing") {
        for key in ["independent", "max_buffered_batches", "max_in_flight"] {
            processing
                .without_effect(key, "each partition has a task of its own, and memory bounds what is on its way");
        }
        processing.finish();
    }
    let own = keys.section("podgate");
    let in_flight_max = own.map_or(Some(IN_FLIGHT), |own| {
        let written = own.usize("records_in_flight").unwrap_or(IN_FLIGHT);
        let in_flight = match written {
            1_000..=10_000_000 => Some(written),
            _ => own.invalid("records_in_flight", format!("{written} records"), "a number from 1000 to 10000000"),
        };
        own.finish();
        in_flight
    });
    keys.finish();
    let headers = headers?;
    let header_attributes = headers.iter().map(|header| attribute(header)).collect();
    Some(ReceiverSettings {
        cluster: cluster?,
        member: MemberSettings { headers, ..member? },
        header_attributes,
        topics: topics?,
        commit_interval: commit_interval?,
        marking,
        backoff: backoff?,
        in_flight_max: in_flight_max?,
    })
}

/// Keys before v0.124, which stood for every signal alike.
fn old_keys(keys: &Section<'_>) {
    for key in ["topic", "encoding"] {
        if keys.node(key).is_some_and(|node| !node.is_null()) {
            let message = format!("`{key}` stands under a signal since v0.124: traces: {{{key}: ...}}");
            keys.error(key, code::RETIRED, message, Some("write it under traces, metrics or logs"));
        }
    }
}

fn topics(keys: &Section<'_>) -> Option<[SignalTopics; 4]> {
    let read = Signal::ALL.map(|signal| signal_topics(keys, signal));
    let [Some(traces), Some(metrics), Some(logs), Some(profiles)] = read else { return None };
    let all = [traces, metrics, logs, profiles];
    for (at, signal) in Signal::ALL.into_iter().enumerate() {
        let others = Signal::ALL.into_iter().zip(&all).take(at);
        let both = others.flat_map(|(other, topics)| topics.names.iter().map(move |name| (other, name)));
        if let Some((other, name)) = both.into_iter().find(|(_, name)| all[at].names.contains(name)) {
            // A profile cannot be told from the others by its fields.
            let is_told = signal != Signal::Profiles && all[at].encoding == all[other.index()].encoding;
            if !is_told {
                let message = format!("the topic {name:?} is that of {} and of {}", other.name(), signal.name());
                let expected = "one encoding for signals that share a topic, and a topic of its own for profiles";
                return keys.invalid(signal.name(), message, expected);
            }
        }
    }
    Some(all)
}

fn signal_topics(keys: &Section<'_>, signal: Signal) -> Option<SignalTopics> {
    let default = DEFAULT_TOPICS[signal.index()].to_owned();
    let Some(keys) = keys.section(signal.name()) else {
        let (patterns, excluded) = (Vec::new(), Vec::new());
        return Some(SignalTopics { names: vec![default], patterns, excluded, encoding: RecordEncoding::Protobuf });
    };
    let one = keys.string("topic").filter(|topic| !topic.is_empty());
    let several = keys.strings("topics").filter(|topics| !topics.is_empty());
    if one.is_some() && several.is_some() {
        keys.invalid::<()>("topic", "`topic` beside `topics`", "only one of the two");
    }
    let written = several.or(one.map(|topic| vec![topic])).unwrap_or_else(|| vec![default]);
    let (patterns, names): (Vec<String>, Vec<String>) = written.into_iter().partition(|topic| topic.starts_with('^'));
    let is_bad =
        |name: &String| name.len() > 249 || !name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    if let Some(name) = names.iter().find(|name| is_bad(name)) {
        let expected = "letters, digits, `.`, `_` and `-`, at most 249 of them; a pattern begins with ^";
        keys.invalid::<()>("topics", format!("{name:?} is no name of a topic"), expected);
    }
    if names.len() + patterns.len() > TOPICS_MAX {
        keys.invalid::<()>("topics", format!("{} topics", names.len() + patterns.len()), "at most 1000 of them");
    }
    let excluded = keys.strings("exclude_topics").unwrap_or_default();
    if !excluded.is_empty() && patterns.is_empty() {
        keys.without_effect("exclude_topics", "no entry of `topics` is a pattern (begins with ^)");
    }
    let patterns = regexes(&keys, "topics", &patterns);
    let excluded = regexes(&keys, "exclude_topics", &excluded);
    let encoding = encoding(&keys);
    keys.finish();
    Some(SignalTopics { names, patterns: patterns?, excluded: excluded?, encoding: encoding? })
}

fn regexes(keys: &Section<'_>, key: &str, texts: &[String]) -> Option<Vec<Regex>> {
    let made: Result<Vec<Regex>, String> = texts.iter().map(|text| pattern::compile(text)).collect();
    match made {
        Ok(made) => Some(made),
        Err(why) => keys.invalid(key, format!("not a regular expression: {why}"), "an expression such as ^otlp-.*"),
    }
}

/// `encoding` of a signal.
fn encoding(keys: &Section<'_>) -> Option<RecordEncoding> {
    const KNOWN: &[(&str, RecordEncoding)] =
        &[("otlp_proto", RecordEncoding::Protobuf), ("otlp_json", RecordEncoding::Json)];
    let Some(written) = keys.string("encoding").filter(|written| !written.is_empty()) else {
        return Some(RecordEncoding::Protobuf);
    };
    if let Some((_, encoding)) = KNOWN.iter().find(|(name, _)| *name == written) {
        return Some(*encoding);
    }
    let message = format!("the encoding {written:?} is not supported: OTLP is");
    keys.error("encoding", code::NOT_YET, message, Some("use otlp_proto or otlp_json"));
    None
}

const STRATEGIES: &[(&str, RebalanceStrategy)] = &[
    ("cooperative-sticky", RebalanceStrategy::CooperativeSticky),
    ("range", RebalanceStrategy::Range),
    ("roundrobin", RebalanceStrategy::RoundRobin),
];

fn member(keys: &Section<'_>) -> Option<MemberSettings> {
    const FROM: &[(&str, bool)] = &[("latest", false), ("earliest", true)];
    let session_timeout = keys.duration("session_timeout").unwrap_or(Duration::from_secs(10));
    let heartbeat_interval = keys.duration("heartbeat_interval").unwrap_or(Duration::from_secs(3));
    // Every key is read, so that what is wrong is told at once.
    let mut is_sound = true;
    let mut wrong = |key: &str, message: String, expected: &str| {
        is_sound = false;
        keys.invalid::<()>(key, message, expected);
    };
    if heartbeat_interval.is_zero() || heartbeat_interval >= session_timeout {
        let message = format!("`heartbeat_interval` {heartbeat_interval:?} and a session of {session_timeout:?}");
        wrong("heartbeat_interval", message, "a duration above 0 and below session_timeout");
    }
    let group_id = keys.string("group_id").unwrap_or_else(|| "otel-collector".to_owned());
    if group_id.is_empty() {
        wrong("group_id", "`group_id` is empty".to_owned(), "the name of a consumer group");
    }
    keys.without_effect("default_fetch_size", "it has no effect in the Collector either");
    let size = |key: &str, default: i32| match keys.i64(key) {
        None | Some(0) => Some(default),
        Some(written) => match i32::try_from(written).ok().filter(|written| *written > 0) {
            Some(written) => Some(written),
            None => keys.invalid(key, format!("{written} bytes"), "a number of bytes from 1 to 2147483647"),
        },
    };
    let max_fetch_bytes = size("max_fetch_size", FETCH_BYTES);
    let min_fetch_bytes = size("min_fetch_size", 1);
    let max_partition_fetch_bytes = size("max_partition_fetch_size", PARTITION_FETCH_BYTES);
    let max_fetch_wait = keys.duration("max_fetch_wait").unwrap_or(Duration::from_millis(250));
    if min_fetch_bytes > max_fetch_bytes {
        wrong("min_fetch_size", "`min_fetch_size` is above `max_fetch_size`".to_owned(), "a size below it");
    }
    let instance_id = keys.string("group_instance_id").filter(|id| !id.is_empty());
    let from_earliest = keys.choice("initial_offset", FROM).unwrap_or(false);
    let strategies = strategies(keys);
    if !is_sound {
        return None;
    }
    Some(MemberSettings {
        group_id,
        instance_id,
        from_earliest,
        session_timeout,
        heartbeat_interval,
        strategies: strategies?,
        min_fetch_bytes: min_fetch_bytes?,
        max_fetch_bytes: max_fetch_bytes?,
        max_partition_fetch_bytes: max_partition_fetch_bytes?,
        max_fetch_wait,
        records_max: RECORDS_A_POLL,
        headers: Vec::new(),
    })
}

fn strategies(keys: &Section<'_>) -> Option<Vec<RebalanceStrategy>> {
    let one = keys.string("group_rebalance_strategy").filter(|name| !name.is_empty());
    let several = keys.strings("group_rebalance_strategies").filter(|names| !names.is_empty());
    if one.is_some() && several.is_some() {
        let message = "`group_rebalance_strategy` beside `group_rebalance_strategies`";
        return keys.invalid("group_rebalance_strategy", message, "only one of the two");
    }
    let key = if one.is_some() { "group_rebalance_strategy" } else { "group_rebalance_strategies" };
    let Some(written) = several.or(one.map(|name| vec![name])) else {
        return Some(vec![RebalanceStrategy::CooperativeSticky]);
    };
    let read = written.iter().map(|name| {
        let known = STRATEGIES.iter().find(|(known, _)| known == name).map(|(_, strategy)| *strategy);
        known.or_else(|| {
            let message = format!("the strategy {name:?} is not supported");
            let help = "use cooperative-sticky (the default), range or roundrobin";
            keys.error(key, code::NOT_YET, message, Some(help));
            None
        })
    });
    read.collect()
}

/// How often offsets are committed.
fn autocommit(keys: &Section<'_>) -> Option<Duration> {
    const DEFAULT: Duration = Duration::from_secs(1);
    let Some(keys) = keys.section("autocommit") else { return Some(DEFAULT) };
    if keys.bool("enable") == Some(false) {
        keys.without_effect("enable", "offsets are committed as records settle, and never before");
    }
    let written = keys.duration("interval").unwrap_or(DEFAULT);
    let interval = match written {
        interval if interval >= Duration::from_millis(50) && interval <= Duration::from_secs(60) => Some(interval),
        _ => keys.invalid("interval", format!("{written:?} is outside"), "a duration from 50ms to 60s"),
    };
    keys.finish();
    interval
}

fn marking(keys: &Section<'_>) -> Marking {
    let Some(keys) = keys.section("message_marking") else {
        return Marking { on_error: false, on_permanent_error: true };
    };
    let after = keys.bool("after");
    if after == Some(false) {
        let why = "a record is marked when all of its items have their end, which loses nothing";
        keys.without_effect("after", why);
    }
    let on_error = keys.bool("on_error").unwrap_or(false);
    if on_error {
        let message = "records that the pipeline refuses for now are given up, and their items are lost";
        keys.warn(
            "on_error",
            code::LINT,
            message,
            Some("remove the key: a refused record waits and its partition with it"),
        );
    }
    // The Collector's default is that of on_error, where `after` gives it a meaning; without it every record is passed over.
    let on_permanent_error = keys.bool("on_permanent_error").unwrap_or(after != Some(true) || on_error);
    keys.finish();
    Marking { on_error, on_permanent_error }
}

/// Names of headers that become attributes.
fn header_extraction(keys: &Section<'_>) -> Option<Vec<String>> {
    let Some(section) = keys.section("header_extraction") else { return Some(Vec::new()) };
    let is_on = section.bool("extract_headers") == Some(true);
    let headers = section.strings("headers").unwrap_or_default();
    if !is_on && !headers.is_empty() {
        section.without_effect("headers", "`extract_headers` is not true");
    }
    let checked = match headers {
        headers if !is_on || headers.is_empty() => Some(Vec::new()),
        headers if headers.len() <= HEADERS_MAX => Some(headers),
        headers => section.invalid("headers", format!("{} headers", headers.len()), "at most 32 of them"),
    };
    section.finish();
    checked
}

fn backoff(keys: &Section<'_>) -> Option<ErrorBackoff> {
    let default = ErrorBackoff { first: Duration::from_millis(100), longest: Duration::from_secs(5), multiplier: 2.0 };
    let Some(keys) = keys.section("error_backoff") else { return Some(default) };
    if keys.bool("enabled") == Some(false) {
        keys.without_effect("enabled", "a record that is refused for now is tried again, and its partition waits");
    }
    keys.without_effect("max_elapsed_time", "a record that is refused for now is tried until it is taken");
    keys.without_effect("randomization_factor", "partitions do not wait for each other");
    let first = keys.duration("initial_interval").unwrap_or(default.first);
    let longest = keys.duration("max_interval").unwrap_or(default.longest).max(first);
    let multiplier = keys.f64("multiplier").unwrap_or(default.multiplier);
    let is_sound = !first.is_zero() && (1.0..=100.0).contains(&multiplier);
    let checked = match is_sound {
        true => Some(ErrorBackoff { first, longest, multiplier }),
        false => {
            keys.invalid("initial_interval", "this wait does not grow", "a duration above 0, and a multiplier from 1")
        }
    };
    keys.finish();
    checked
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::diagnostic::Diagnostics;
    use crate::testing::check;

    #[test]
    fn a_record_that_nobody_can_take_is_passed_over_where_a_collector_of_the_same_text_does_so() {
        let passed = |text: &str| {
            let (node, found) = (check::node(text), Diagnostics::default());
            marking(&Section::new(&node, "receivers::kafka".to_owned(), &found)).on_permanent_error
        };
        for (keys, expected) in [
            ("{}", true),
            ("{message_marking: {after: false}}", true),
            ("{message_marking: {after: true}}", false),
            ("{message_marking: {after: true, on_error: true}}", true),
            ("{message_marking: {after: true, on_permanent_error: true}}", true),
            ("{message_marking: {on_permanent_error: false}}", false),
        ] {
            assert_eq!(passed(keys), expected, "{keys}");
        }
    }
}
