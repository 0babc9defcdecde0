//! The receiver's keys, the Collector's, checked with their places, and the arguments of journalctl that come of them.
//! Granted: what a configuration says, once.

use bytes::Bytes;

use crate::config::check::Section;
use crate::core::data::budget::Ticket;
use crate::core::diagnostic::{Severity, code};
use crate::core::node::Node;
use crate::core::stage::factory::CheckContext;
use crate::otlp::attributes;
use crate::otlp::draft::Draft;
use crate::receivers::journald::record::RecordRule;
use crate::receivers::source::keys::{self, RefusedRetry};

/// journalctl's names of the priorities 0 to 7.
const PRIORITIES: [&str; 8] = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];

#[derive(Clone, Debug)]
pub struct JournalConfig {
    /// The program, by its path or by a name that is looked up.
    pub program: String,
    /// The folder that is the program's root, an absolute path.
    pub root: Option<String>,
    /// Which entries are wanted, as journalctl's arguments.
    pub wanted: Vec<String>,
    pub starts_at_end: bool,
    pub records: RecordRule,
    pub retry: RefusedRetry,
    /// The id of the extension whose folder has the position.
    pub storage: Option<String>,
}

/// Checks the body; `None` after reporting at least one error.
pub fn check(cx: &CheckContext<'_>, node: &Node) -> Option<JournalConfig> {
    let errors_before = errors(cx);
    let section = Section::new(node, cx.path.clone(), &cx.checks.diagnostics);
    let (root, program) = program(&section);
    let config = JournalConfig {
        program,
        root,
        starts_at_end: section.choice("start_at", &[("end", true), ("beginning", false)]).unwrap_or(true),
        wanted: wanted(&section),
        records: RecordRule {
            attributes: section.string_map("attributes").unwrap_or_default(),
            resource: written(&section.string_map("resource").unwrap_or_default()),
            messages_as_text: section.bool("convert_message_bytes").unwrap_or(false),
        },
        retry: keys::refused_retry(&section),
        storage: keys::storage(cx, &section),
    };
    // The export format has every field as it is.
    section.bool("all");
    if section.node("operators").is_some_and(|operators| !operators.items().is_empty()) {
        let cure = "remove it; the processors `transform` and `filter` change and drop records (docs/ottl.md)";
        section.error("operators", code::NOT_YET, "`operators` are not run on entries of the journal", Some(cure));
    }
    section.not_yet(&["convert_to_semantic_conventions", "include_log_record_original"]);
    section.finish();
    (errors(cx) == errors_before).then_some(config)
}

fn errors(cx: &CheckContext<'_>) -> usize {
    let found = cx.checks.diagnostics.sorted();
    found.iter().filter(|finding| finding.severity == Severity::Error).count()
}

fn program(section: &Section<'_>) -> (Option<String>, String) {
    let root = section.string("root_path").filter(|root| !root.is_empty());
    let program = section.string("journalctl_path").unwrap_or_else(|| "journalctl".to_owned());
    if let Some(root) = root.as_deref().filter(|root| !root.starts_with('/')) {
        section.invalid::<()>("root_path", format!("{root:?} is no absolute path"), "an absolute path such as /host");
    }
    let expected = match &root {
        Some(_) if !program.starts_with('/') => Some("an absolute path below `root_path`, such as /usr/bin/journalctl"),
        None if program.trim().is_empty() => Some("a path or a name, such as journalctl"),
        _ => None,
    };
    if let Some(expected) = expected {
        section.invalid::<()>("journalctl_path", format!("{program:?} cannot be started"), expected);
    }
    (root, program)
}

/// The filters in the Collector's order; each option has its value behind an equal sign, so that no value is taken for an option.
fn wanted(section: &Section<'_>) -> Vec<String> {
    let mut wanted = Vec::new();
    let mut add = |option: &str, values: Vec<String>| {
        wanted.extend(values.into_iter().map(|value| format!("--{option}={value}")));
    };
    let one = |key: &str| section.string(key).filter(|text| !text.is_empty()).into_iter().collect::<Vec<_>>();
    let many = |key: &str| section.strings(key).unwrap_or_default();
    add("unit", many("units"));
    add("identifier", many("identifiers"));
    add("priority", vec![priority(section)]);
    add("grep", one("grep"));
    let (directory, files) = (one("directory"), many("files"));
    if !directory.is_empty() && !files.is_empty() {
        let message = "`files` has no effect beside `directory`, as in the Collector";
        section.warn("files", code::IGNORED_KEY, message, Some("remove one of them"));
    }
    add("namespace", one("namespace"));
    if directory.is_empty() {
        add("file", files);
    } else {
        add("directory", directory);
    }
    for (key, option) in [("dmesg", "--dmesg"), ("merge", "--merge")] {
        wanted.extend(section.bool(key).filter(|on| *on).map(|_| option.to_owned()));
    }
    wanted.extend(matches(section));
    wanted
}

/// A priority or a range of them, `info` or `emerg..err`.
fn priority(section: &Section<'_>) -> String {
    let text = section.string("priority").filter(|text| !text.is_empty()).unwrap_or_else(|| "info".to_owned());
    let is_one = |text: &str| PRIORITIES.contains(&text) || matches!(text.as_bytes(), [b'0'..=b'7']);
    let is_known = text.split_once("..").map_or(is_one(&text), |(from, to)| is_one(from) && is_one(to));
    if !is_known {
        let expected = format!("0 to 7, one of {}, or a range such as emerg..err", PRIORITIES.join(", "));
        section.invalid::<()>("priority", format!("{text:?} is no priority"), &expected);
    }
    text
}

/// Fields of an entry of the list have to fit all at once, and one entry of the list has to fit.
fn matches(section: &Section<'_>) -> Vec<String> {
    let (path, mut wanted) = (section.child_path("matches"), Vec::new());
    for (at, item) in section.list("matches").unwrap_or_default().iter().enumerate() {
        let keys = Section::new(item, format!("{path}::{at}"), section.diagnostics());
        let mut fields = Vec::new();
        for entry in keys.entries() {
            let is_name = |letter: u8| letter == b'_' || letter.is_ascii_uppercase() || letter.is_ascii_digit();
            let starts = entry.key.bytes().next().is_some_and(|first| !first.is_ascii_digit());
            if !starts || !entry.key.bytes().all(is_name) {
                let message = format!("{:?} is no name of a field of the journal", entry.key);
                keys.invalid::<()>(&entry.key, message, "capital letters, digits and _, such as _SYSTEMD_UNIT");
            }
            if let Some(value) = keys.string(&entry.key) {
                fields.push(format!("{}={value}", entry.key));
            }
        }
        fields.sort();
        if at > 0 {
            wanted.push("+".to_owned());
        }
        wanted.extend(fields);
    }
    wanted
}

/// The attributes of a resource.
fn written(pairs: &[(String, String)]) -> Bytes {
    let mut draft = Draft::within(&Ticket::free());
    for (key, value) in pairs {
        // A free ticket grants everything.
        let _ = draft.text_attribute(attributes::RESOURCE, key, value.as_bytes());
    }
    Bytes::copy_from_slice(draft.written())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::check::{checked, sound};

    fn arguments(yaml: &str) -> String {
        sound("receivers::journald", yaml, check).wanted.join(" ")
    }

    #[test]
    fn keys_become_the_arguments_that_a_collector_gives() {
        assert_eq!(arguments("{}"), "--priority=info");
        let yaml = "units: [kubelet, containerd]\nidentifiers: [systemd]\npriority: 0..4\ngrep: 'oom|fail'\nnamespace: app\n\
                    directory: /var/log/journal\ndmesg: true\nmerge: true\nall: true\n\
                    matches: [{_SYSTEMD_UNIT: ssh}, {_UID: \"1000\", _SYSTEMD_UNIT: kubelet}]";
        assert_eq!(
            arguments(yaml),
            "--unit=kubelet --unit=containerd --identifier=systemd --priority=0..4 --grep=oom|fail --namespace=app \
             --directory=/var/log/journal --dmesg --merge \
             _SYSTEMD_UNIT=ssh + _SYSTEMD_UNIT=kubelet _UID=1000"
        );
        assert_eq!(arguments("files: [/a.journal, /b.journal]"), "--priority=info --file=/a.journal --file=/b.journal");
        assert_eq!(arguments("{directory: /d, files: [/a]}"), "--priority=info --directory=/d");
    }

    #[test]
    fn what_journalctl_would_refuse_and_what_is_not_built_is_refused_with_its_place() {
        for (yaml, said) in [
            ("priority: loud", "no priority"),
            ("priority: info..", "no priority"),
            ("start_at: middle", "start_at"),
            ("matches: [{--root: /}]", "no name of a field"),
            ("matches: [{1A: x}]", "no name of a field"),
            ("root_path: /host", "cannot be started"),
            ("{root_path: host, journalctl_path: /usr/bin/journalctl}", "no absolute path"),
            ("journalctl_path: ' '", "cannot be started"),
            ("operators: [{type: noop}]", "are not run"),
            ("convert_to_semantic_conventions: true", "not supported yet"),
            ("include_log_record_original: true", "not supported yet"),
            ("unit: [kubelet]", "unit"),
        ] {
            let (config, found) = checked("receivers::journald", yaml, check);
            assert!(config.is_none(), "{yaml}");
            assert!(found.iter().any(|finding| finding.message.contains(said)), "{yaml}: {found:?}");
        }
        assert!(checked("receivers::journald", "{operators: [], storage: ''}", check).0.is_some());
    }
}
