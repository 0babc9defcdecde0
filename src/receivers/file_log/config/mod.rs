//! The receiver's keys, the Collector's, checked with their places.

mod operators;

use std::time::Duration;

use regex::bytes::Regex;

use crate::config::check::Section;
use crate::config::value::pattern;
use crate::core::diagnostic::{Severity, code};
use crate::core::node::Node;
use crate::core::stage::factory::CheckContext;
use crate::receivers::file_log::audit::AuditRule;
use crate::receivers::file_log::glob::PathPattern;
use crate::receivers::file_log::operators::{LineOperator, OperatorChain};
use crate::receivers::source::keys::{self, RefusedRetry};

/// The Collector's defaults.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
const FORCE_FLUSH: Duration = Duration::from_millis(500);
const FINGERPRINT_BYTES: u64 = 1_000;
const LINE_BYTES_MAX: u64 = 1 << 20;
const FILES_AT_ONCE: usize = 1_024;
/// A fingerprint is read whenever its file has grown.
const FINGERPRINT_BYTES_MAX: u64 = 16 << 10;
/// The Collector's least.
const FINGERPRINT_BYTES_LEAST: u64 = 16;
/// A line is one record of one request.
const LINE_BYTES_BOUND: u64 = 16 << 20;

/// Where one entry ends and the next begins.
#[derive(Clone, Debug)]
pub enum LineSplit {
    Newline,
    /// Each match begins an entry. True when what matches is left out.
    StartsAt(Regex, bool),
    /// Each match ends one. True when what matches is left out.
    EndsAt(Regex, bool),
}

/// Which blanks of an entry go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trims {
    pub leading: bool,
    pub trailing: bool,
    /// Those at the end of a piece of a runtime's line stay: they are in the middle of the line.
    pub spares_pieces: bool,
}

/// Which facts of its file a record gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileAttributes {
    pub name: bool,
    pub path: bool,
    pub name_resolved: bool,
    pub path_resolved: bool,
}

#[derive(Clone, Debug)]
pub struct FileLogConfig {
    pub include: Vec<PathPattern>,
    pub exclude: Vec<PathPattern>,
    pub exclude_older_than: Option<Duration>,
    pub starts_at_end: bool,
    pub poll_interval: Duration,
    pub flush_after: Option<Duration>,
    pub line_bytes_max: usize,
    pub fingerprint_bytes: usize,
    pub files_at_once: usize,
    pub split: LineSplit,
    pub trims: Trims,
    pub file_attributes: FileAttributes,
    /// Attributes of every record.
    pub attributes: Vec<(String, String)>,
    /// Attributes of every resource.
    pub resource: Vec<(String, String)>,
    pub retry: RefusedRetry,
    /// The id of the extension whose folder has the checkpoints.
    pub storage: Option<String>,
    pub chain: OperatorChain,
    /// Ids of traces and spans that the text of a body tells go into the record's own fields.
    pub lifts_ids: bool,
    /// Lines are the API server's audit events.
    pub audit: Option<AuditRule>,
}

/// Checks the body; `None` after reporting at least one error.
pub fn check(cx: &CheckContext<'_>, node: &Node) -> Option<FileLogConfig> {
    let errors_before = errors(cx);
    let section = Section::new(node, cx.path.clone(), &cx.checks.diagnostics);
    let include = patterns(&section, "include");
    if include.is_empty() && section.node("include").is_none_or(|node| node.items().is_empty()) {
        section.missing::<()>("include", "at least one pattern of paths, such as /var/log/pods/*/*/*.log");
    }
    let starts_at_end = section.choice("start_at", &[("end", true), ("beginning", false)]).unwrap_or(true);
    let fingerprint = bounded(&section, "fingerprint_size", FINGERPRINT_BYTES, FINGERPRINT_BYTES_MAX);
    if fingerprint < FINGERPRINT_BYTES_LEAST {
        section.invalid::<()>(
            "fingerprint_size",
            format!("{fingerprint} bytes tell no files apart"),
            "16 bytes or more",
        );
    }
    let flush = section.duration("force_flush_period").unwrap_or(FORCE_FLUSH);
    let preserves = |key: &str| section.bool(key).unwrap_or(false);
    let chain = operators::check(&section);
    let is_of_containers = matches!(chain.steps.first(), Some(step) if matches!(step.what, LineOperator::Container(_)));
    let trims = |key: &str| !preserves(key);
    let resource = section.string_map("resource").unwrap_or_default();
    let (lifts_ids, audit) = own_keys(&section, &resource);
    // An event may have the objects of a request and of its answer; a piece of one is none.
    let line_bytes = if audit.is_some() { LINE_BYTES_BOUND } else { LINE_BYTES_MAX };
    let config = FileLogConfig {
        include,
        exclude: patterns(&section, "exclude"),
        exclude_older_than: section.duration("exclude_older_than").filter(|age| !age.is_zero()),
        starts_at_end,
        poll_interval: section.duration("poll_interval").unwrap_or(POLL_INTERVAL).max(Duration::from_millis(10)),
        flush_after: Some(flush).filter(|flush| !flush.is_zero()),
        line_bytes_max: bounded(&section, "max_log_size", line_bytes, LINE_BYTES_BOUND) as usize,
        fingerprint_bytes: fingerprint as usize,
        files_at_once: files_at_once(&section),
        split: split(&section),
        trims: Trims {
            leading: trims("preserve_leading_whitespaces"),
            trailing: trims("preserve_trailing_whitespaces"),
            spares_pieces: is_of_containers,
        },
        file_attributes: FileAttributes {
            name: section.bool("include_file_name").unwrap_or(audit.is_none()),
            path: section.bool("include_file_path").unwrap_or(false),
            name_resolved: section.bool("include_file_name_resolved").unwrap_or(false),
            path_resolved: section.bool("include_file_path_resolved").unwrap_or(false),
        },
        attributes: section.string_map("attributes").unwrap_or_default(),
        resource,
        retry: keys::refused_retry(&section),
        storage: keys::storage(cx, &section),
        chain,
        lifts_ids,
        audit,
    };
    encoding(&section);
    others(&section);
    section.finish();
    (errors(cx) == errors_before).then_some(config)
}

/// podgate's own keys.
fn own_keys(section: &Section<'_>, resource: &[(String, String)]) -> (bool, Option<AuditRule>) {
    let Some(keys) = section.section("podgate") else { return (false, None) };
    let lifts = keys.bool("trace_ids").unwrap_or(false);
    let audit = keys.section("k8s_audit").map(|keys| AuditRule::check(keys, resource));
    keys.finish();
    for key in ["operators", "multiline"] {
        if audit.is_some() && section.node(key).is_some_and(|node| !node.is_null()) {
            let message = format!("lines that are audit events are read as they are, and `{key}` changes them");
            section.error(key, code::CONFLICT, message, Some("remove it, or `podgate::k8s_audit`"));
        }
    }
    (lifts, audit)
}

fn errors(cx: &CheckContext<'_>) -> usize {
    let found = cx.checks.diagnostics.sorted();
    found.iter().filter(|finding| finding.severity == Severity::Error).count()
}

fn patterns(section: &Section<'_>, key: &str) -> Vec<PathPattern> {
    let texts = section.strings(key).unwrap_or_default();
    let patterns = texts.iter().filter_map(|text| match PathPattern::parse(text) {
        Ok(pattern) => Some(pattern),
        Err(why) => section.invalid(key, why, "a path with *, ?, [...], {a,b} or **"),
    });
    patterns.collect()
}

fn bounded(section: &Section<'_>, key: &str, default: u64, most: u64) -> u64 {
    let bytes = section.bytes(key).filter(|bytes| *bytes > 0).unwrap_or(default);
    if bytes > most {
        section.invalid::<()>(key, format!("{bytes} bytes are too many"), &format!("at most {most} bytes"));
    }
    bytes.min(most)
}

fn files_at_once(section: &Section<'_>) -> usize {
    match section.usize("max_concurrent_files") {
        Some(few @ 0..=1) => {
            let message = format!("{few} is too few");
            section.invalid("max_concurrent_files", message, "2 or more").unwrap_or(FILES_AT_ONCE)
        }
        other => other.unwrap_or(FILES_AT_ONCE),
    }
}

fn split(section: &Section<'_>) -> LineSplit {
    let Some(keys) = section.section("multiline") else { return LineSplit::Newline };
    let regex = |key: &str| {
        let text = keys.string(key).filter(|text| !text.is_empty())?;
        // As in the Collector ^ and $ are the ends of each line.
        match pattern::compile_bytes(&format!("(?m){text}")) {
            Ok(regex) => Some(regex),
            Err(why) => keys.invalid(key, why, "a regular expression"),
        }
    };
    let (start, end) = (regex("line_start_pattern"), regex("line_end_pattern"));
    let omits = keys.bool("omit_pattern").unwrap_or(false);
    let both = start.is_some() && end.is_some();
    if both {
        let message = "an entry has one edge: `line_start_pattern` or `line_end_pattern`";
        keys.error("line_end_pattern", code::CONFLICT, message, Some("remove one of them"));
    }
    keys.finish();
    match (start, end) {
        (Some(start), _) => LineSplit::StartsAt(start, omits),
        (None, Some(end)) => LineSplit::EndsAt(end, omits),
        (None, None) => LineSplit::Newline,
    }
}

fn encoding(section: &Section<'_>) {
    let Some(name) = section.string("encoding").filter(|name| !name.is_empty()) else { return };
    let known = ["utf-8", "utf8", "utf-8-raw", "utf8-raw", "ascii", "us-ascii"];
    if !known.contains(&name.to_ascii_lowercase().as_str()) {
        section.invalid::<()>("encoding", format!("{name:?} is not read here"), "utf-8 or ascii");
    }
}

/// Keys of the Collector without effect here, and those that are refused.
fn others(section: &Section<'_>) {
    section.without_effect("initial_buffer_size", "one buffer serves all files");
    section.without_effect("max_batches", "files are read in turn");
    section.without_effect("include_file_record_number", "it is not counted");
    section.without_effect("on_truncate", "a file that was cut is read from its beginning");
    section.without_effect("polls_to_archive", "a rotated file is read to its end");
    section.not_yet(&[
        "compression",
        "header",
        "delete_after_read",
        "acquire_fs_lock",
        "ordering_criteria",
        "include_file_owner_name",
        "include_file_owner_group_name",
        "include_file_record_offset",
    ]);
}
