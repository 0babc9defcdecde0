//! The law of the house, checked over the sources: caps, import table, module docs, registry documented.

use std::fs;
use std::path::{Path, PathBuf};

use podgate::registry;

#[path = "tidy/circles.rs"]
mod circles;
#[path = "tidy/house.rs"]
mod house;

const FILE_LINES_MAX: usize = 500;

/// Where our sources stand. The fuzz targets are a workspace of their own and under the same law.
const TREE: [&str; 5] = ["src", "build", "tests", "benches", "fuzz"];

/// Top-level module -> modules of ours it may import. Anything not listed here is a fault.
const IMPORTS: &[(&str, &[&str])] = &[
    ("core", &[]),
    ("wal", &[]),
    ("otlp", &["core"]),
    ("config", &["core"]),
    ("net", &["config", "core", "otlp"]),
    ("ottl", &["config", "core", "otlp"]),
    ("kube", &["config", "core", "net", "otlp"]),
    ("kafka", &["config", "core", "net"]),
    ("telemetry", &["config", "core", "net", "otlp"]),
    ("change", &["config", "core", "otlp"]),
    ("sending", &["config", "core", "net", "otlp"]),
    ("receivers", &["config", "core", "net", "otlp", "ottl", "kafka", "kube", "telemetry"]),
    ("processors", &["config", "core", "net", "otlp", "ottl", "kube", "telemetry", "change"]),
    ("exporters", &["config", "core", "net", "otlp", "ottl", "kafka", "kube", "telemetry", "sending"]),
    ("connectors", &["config", "core", "net", "otlp", "ottl", "kube", "telemetry"]),
    ("extensions", &["config", "core", "net", "otlp", "ottl", "kube", "telemetry", "wal"]),
    ("registry", &["core", "receivers", "processors", "exporters", "connectors", "extensions"]),
    ("pipeline", &["config", "core", "registry"]),
    ("gateway", &["config", "core", "pipeline", "telemetry", "registry"]),
    ("testing", &["config", "core", "lab", "net", "otlp", "kube"]),
    ("lab", &["config", "core", "kube", "net", "otlp", "telemetry"]),
    (
        "cli",
        &[
            "config",
            "core",
            "net",
            "otlp",
            "ottl",
            "kube",
            "telemetry",
            "registry",
            "pipeline",
            "gateway",
            "extensions",
            "lab",
            "wal",
        ],
    ),
];

/// Crates that only one place may see.
const CRATES: &[(&str, &[&str])] = &[
    ("kube", &["src/kube/client"]),
    ("k8s_openapi", &["src/kube/client"]),
    ("krafka", &["src/kafka/client"]),
    ("hyper", &["src/net/"]),
    ("axum", &["src/net/"]),
    ("h2", &["src/net/"]),
    ("rustls", &["src/net/"]),
    ("tokio_rustls", &["src/net/"]),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Source files below `folder`, with their text, in a fixed order.
fn sources(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    collect(&root().join(folder), &mut found);
    found.sort();
    assert!(!found.is_empty(), "no sources below {folder}");
    found
}

fn collect(folder: &Path, found: &mut Vec<(String, String)>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.map(|entry| entry.expect("readable").path()) {
        if entry.is_dir() && entry.file_name().is_some_and(|name| name != "target") {
            collect(&entry, found);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            let name = entry.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned();
            found.push((name, fs::read_to_string(&entry).expect("text")));
        }
    }
}

fn assert_none(faults: Vec<String>, law: &str) {
    assert!(faults.is_empty(), "{law}:\n  {}", faults.join("\n  "));
}

#[test]
fn no_file_is_longer_than_500_lines() {
    let all = TREE.into_iter().flat_map(sources);
    let faults = all
        .filter(|(_, text)| text.lines().count() > FILE_LINES_MAX)
        .map(|(name, text)| format!("{name}: {} lines", text.lines().count()));
    assert_none(faults.collect(), "split these files");
}

#[test]
fn every_file_opens_with_what_it_is() {
    let all = ["src", "build", "fuzz"].into_iter().flat_map(sources);
    let faults = all.filter(|(_, text)| !text.starts_with("//! ")).map(|(name, _)| name);
    assert_none(faults.collect(), "these files have no module doc on their first line");
}

#[test]
fn sources_are_ascii() {
    let mut faults = Vec::new();
    for (name, text) in TREE.into_iter().flat_map(sources) {
        let lines = text.lines().enumerate().filter(|(_, line)| !line.is_ascii());
        faults.extend(lines.map(|(at, _)| format!("{name}:{}", at + 1)));
    }
    assert_none(faults, "write other characters as escapes");
}

#[test]
fn modules_import_only_what_the_table_allows() {
    let mut faults = Vec::new();
    for (name, text) in sources("src") {
        let module = name.trim_start_matches("src/").split(['/', '.']).next().unwrap().to_owned();
        if matches!(module.as_str(), "main" | "lib") {
            continue;
        }
        let allowed = IMPORTS.iter().find(|(of, _)| *of == module).map(|(_, allowed)| *allowed);
        let Some(allowed) = allowed else {
            faults.push(format!("{name}: module `{module}` is not in the import table"));
            continue;
        };
        for (at, line) in shipped_lines(&text) {
            for import in imports(line) {
                // The kit of tests is there for the unit tests of every room.
                let is_kit = import == "testing" && (name.ends_with("/tests.rs") || name.contains("/tests/"));
                if import != module && !is_kit && !allowed.contains(&import.as_str()) {
                    faults.push(format!("{name}:{at}: {module} must not import {import}"));
                }
            }
        }
    }
    assert_none(faults, "imports against the table of ARCHITECTURE.md");
}

#[test]
fn siblings_never_import_each_other() {
    let mut faults = Vec::new();
    for (name, text) in sources("src") {
        let mut parts = name.trim_start_matches("src/").trim_end_matches(".rs").split('/');
        let (Some(section), Some(own)) = (parts.next(), parts.next()) else { continue };
        if !["receivers", "processors", "exporters", "connectors", "extensions"].contains(&section) || own == "mod" {
            continue;
        }
        let components: Vec<&str> = registry::about().iter().map(|(_, about)| about.name).collect();
        for (at, line) in shipped_lines(&text) {
            let Some(rest) = line.split(&format!("crate::{section}::")).nth(1) else { continue };
            let target: String = rest.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect();
            if target != own && components.contains(&target.as_str()) {
                faults.push(format!("{name}:{at}: {own} must not import {target}"));
            }
        }
    }
    assert_none(faults, "what two components need moves down");
}

#[test]
fn crates_with_one_home_stay_there() {
    let mut faults = Vec::new();
    for (name, text) in sources("src") {
        for (at, line) in shipped_lines(&text) {
            for (of, homes) in CRATES {
                let used = line.trim_start().starts_with(&format!("use {of}::"))
                    || line.contains(&format!(" ::{of}::"))
                    || mentions(line, of);
                if used && !homes.iter().any(|home| name.starts_with(home)) {
                    faults.push(format!("{name}:{at}: only {} may see {of}", homes.join(", ")));
                }
            }
        }
    }
    assert_none(faults, "a crate outside its home");
}

/// `hyper::` as the head of a path, not `hyper_util::` nor `crate::kube::`.
fn mentions(line: &str, of: &str) -> bool {
    let pattern = format!("{of}::");
    line.match_indices(&pattern).any(|(at, _)| {
        let before = line[..at].chars().last();
        !before.is_some_and(|letter| letter.is_alphanumeric() || letter == '_' || letter == ':')
            && !line.trim_start().starts_with("//")
    })
}

/// Lines outside `#[cfg(test)]` tails, numbered from 1.
fn shipped_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    text[..end]
        .lines()
        .enumerate()
        .map(|(at, line)| (at + 1, line))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

fn imports(line: &str) -> Vec<String> {
    let heads = line.match_indices("crate::").map(|(at, found)| &line[at + found.len()..]);
    heads
        .map(|rest| rest.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect())
        .filter(|head: &String| !head.is_empty())
        .collect()
}

#[test]
fn the_readme_has_a_row_for_each_component() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let faults = registry::about().into_iter().filter(|(_, about)| {
        !readme.lines().any(|line| line.starts_with("| ") && line.contains(&format!("`{}`", about.name)))
    });
    assert_none(
        faults.map(|(kind, about)| format!("{} {}", kind.name(), about.name)).collect(),
        "no row in README.md's component table",
    );
}

#[test]
fn the_readmes_row_of_a_component_says_which_signals_it_takes() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let mut faults = Vec::new();
    for (kind, about) in registry::about() {
        let signals = registry::signals(kind, about);
        let wanted = if signals.len() == 4 { "all".to_owned() } else { signals.join(", ") };
        let cells = readme.lines().map(|line| line.split('|').map(str::trim).collect::<Vec<_>>());
        let own = |cells: &Vec<&str>| {
            let names = cells.get(1).is_some_and(|names| names.starts_with(&format!("`{}`", about.name)));
            names && cells.get(2) == Some(&kind.name())
        };
        let said = cells.filter(own).filter_map(|cells| cells.get(3).map(|cell| (*cell).to_owned())).next();
        let all_by_name = signals.join(", ");
        if !said.as_ref().is_some_and(|said| *said == wanted || *said == all_by_name) {
            faults.push(format!("{} {}: {said:?}, and the registry has {wanted:?}", kind.name(), about.name));
        }
    }
    assert_none(faults, "signals in README.md's component table");
}

#[test]
fn every_summary_says_what_the_component_does_in_one_style() {
    let faults = registry::about().into_iter().filter(|(_, about)| {
        let verb = about.summary.split([' ', ',']).next().unwrap_or_default();
        let lower = verb.chars().all(|letter| letter.is_ascii_lowercase()) && verb.ends_with('s');
        !lower || about.summary.ends_with('.')
    });
    let faults = faults.map(|(_, about)| format!("{}: {:?}", about.name, about.summary));
    assert_none(faults.collect(), "begin with a verb in lower case (`drops ...`) and end without a full stop");
}

#[test]
fn a_sample_configuration_shows_each_component() {
    let mut samples = String::new();
    for entry in fs::read_dir(root().join("examples")).unwrap() {
        samples.push_str(&fs::read_to_string(entry.expect("readable").path()).unwrap());
    }
    let faults = registry::about().into_iter().filter(|(_, about)| {
        !samples.lines().any(|line| {
            line.trim_start().starts_with(about.name) && line.trim_start()[about.name.len()..].starts_with([':', '/'])
        })
    });
    assert_none(
        faults.map(|(kind, about)| format!("{} {}", kind.name(), about.name)).collect(),
        "no sample below examples/",
    );
}

#[test]
fn the_product_has_no_unsafe_code() {
    let faults = sources("src").into_iter().flat_map(|(name, text)| {
        let lines: Vec<usize> =
            shipped_lines(&text).filter(|(_, line)| stands_alone(line, "unsafe ")).map(|(at, _)| at).collect();
        lines.into_iter().map(move |at| format!("{name}:{at}"))
    });
    assert_none(faults.collect(), "unsafe code");
}

#[test]
fn the_wall_clock_is_read_in_one_place() {
    let reads = ["SystemTime::now", "Timestamp::now", "Zoned::now"];
    let faults = sources("src").into_iter().filter(|(name, _)| name != "src/core/time.rs").flat_map(|(name, text)| {
        let lines: Vec<usize> = shipped_lines(&text)
            .filter(|(_, line)| reads.iter().any(|read| line.contains(read)))
            .map(|(at, _)| at)
            .collect();
        lines.into_iter().map(move |at| format!("{name}:{at}"))
    });
    assert_none(faults.collect(), "ask UnixNanos::now, which a simulator can replace");
}

/// Where memory that input makes grow is paid for before it is used (ARCHITECTURE.md, invariant 6).
const GRANTED: &[&str] = &[
    "src/core/",
    "src/net/",
    "src/otlp/",
    "src/receivers/",
    "src/processors/batch/",
    "src/exporters/debug/",
    "src/exporters/file/",
    "src/exporters/otlp/",
    "src/sending/",
    "src/exporters/writing/",
];

/// What asks the allocator for as much as somebody says.
const GROWTH: &[&str] = &[
    "with_capacity(",
    ".reserve(",
    ".reserve_exact(",
    ".resize(",
    ".extend(",
    ".extend_from_slice(",
    ".extend_from_within(",
    ".append(&mut",
    ".to_vec()",
    ".repeat(",
    ".concat()",
    ".read_to_end(",
];

/// Growth out of an allowance (`core/data/granted.rs`), or into room that was made with one.
const PAID: &[&str] = &["room)", "&mut self.working)", ".within()", "self.reserve("];

#[test]
fn what_grows_is_granted_or_says_why_it_need_not_be() {
    let mut faults = Vec::new();
    for (path, text) in sources("src") {
        let is_tests = path.ends_with("tests.rs") || path.contains("/tests/");
        let says_so_at_its_head =
            text.lines().take_while(|line| line.starts_with("//!")).any(|line| line.contains("Granted: "));
        if is_tests || says_so_at_its_head || !GRANTED.iter().any(|room| path.starts_with(room)) {
            continue;
        }
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in shipped_lines(&text) {
            let grows =
                GROWTH.iter().any(|growth| line.contains(growth)) || (line.contains("vec![") && line.contains("; "));
            let above =
                number.checked_sub(2).and_then(|at| lines.get(at)).filter(|line| line.trim_start().starts_with("//"));
            let reason = line.contains("// granted: ") || above.is_some_and(|above| above.contains("// granted: "));
            if grows && !reason && !PAID.iter().any(|paid| line.contains(paid)) {
                faults.push(format!("{path}:{number}: {}", line.trim()));
            }
        }
    }
    assert_none(
        faults,
        "growth that no ticket has paid for: take it from an allowance, or add `// granted: <why not>`",
    );
}

#[test]
fn fields_of_the_protocol_are_called_by_their_names() {
    let mut faults = Vec::new();
    for (path, text) in sources("src") {
        let is_tests = path.ends_with("tests.rs") || path.contains("/tests/");
        let of_protocol = text.contains("otlp::walk") || text.contains("otlp::write") || path.starts_with("src/otlp/");
        if is_tests || !of_protocol {
            continue;
        }
        let end = text.find("#[cfg(test)]").unwrap_or(text.len());
        let bare = shipped_lines(&text[..end]).filter(|(_, line)| has_bare_field(line));
        faults.extend(bare.map(|(at, line)| format!("{path}:{at}: {}", line.trim())));
    }
    assert_none(faults, "take the number from otlp::fields, which the build makes of proto/");
}

/// A field number compared, matched, written or made into a key as a literal.
fn has_bare_field(line: &str) -> bool {
    // No field has the number 0.
    let is_number = |text: &str| text.trim_start().starts_with(|first: char| matches!(first, '1'..='9'));
    let behind = |call: &str| line.split(call).skip(1).collect::<Vec<_>>();
    let compared = ["number == ", "matches!(field.number,"].iter().any(|ask| behind(ask).into_iter().any(is_number));
    let reads = ["field.bytes()", "field.varint()", "field.fixed64()", "field.fixed32()"];
    let matched = is_number(line) && line.contains(" => ") && reads.iter().any(|read| line.contains(read));
    let second = |call: &str| behind(call).into_iter().any(|rest| rest.split(',').nth(1).is_some_and(is_number));
    let written =
        second("write::bytes(") || second("write::key(") || behind("write::field_len(").into_iter().any(is_number);
    let key = line
        .split(" << 3 | ")
        .next()
        .filter(|_| line.contains(" << 3 | "))
        .is_some_and(|before| before.ends_with(|last: char| last.is_ascii_digit()));
    compared || matched || written || key
}

#[test]
fn nothing_unfinished_is_left_in_the_tree() {
    let mut faults = Vec::new();
    // Spelled so that this file does not find itself.
    let words = [concat!("FIX", "ME"), concat!("XX", "X"), concat!("todo", "!("), concat!("dbg", "!(")];
    for (name, text) in TREE.into_iter().flat_map(sources) {
        for (at, line) in text.lines().enumerate() {
            faults.extend(
                words.iter().filter(|word| stands_alone(line, word)).map(|word| format!("{name}:{}: {word}", at + 1)),
            );
        }
    }
    assert_none(faults, "finish or remove");
}

/// True when the word is not a part of a longer one (digits of an escape in a comment are no note to oneself).
fn stands_alone(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| !line[..at].ends_with(|before: char| before.is_alphanumeric()))
}

#[test]
fn the_changelog_begins_with_what_is_unreleased() {
    let changelog = fs::read_to_string(root().join("CHANGELOG.md")).unwrap();
    assert!(changelog.starts_with("# Changelog\n"), "CHANGELOG.md begins with its title");
    assert!(changelog.contains("\n## Unreleased\n"), "CHANGELOG.md has an Unreleased section");
}
