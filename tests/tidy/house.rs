//! Words and rooms: a type's name has one meaning, a folder can be overlooked, and documents name what exists.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use podgate::registry;

use super::{TREE, assert_none, root, shipped_lines, sources};

const FOLDER_FILES_MAX: usize = 12;

/// Folders whose files are of one kind, or read one another so much that more rooms would only add imports upwards.
const FOLDERS_OF_LIKE_FILES: &[&str] =
    &["src/processors/k8s_attributes", "src/processors/tail_sampling/policies/kinds"];
const LIKE_FILES_MAX: usize = 20;

/// Names that each room may give to its own: what a component plans, what a command takes, what it is told, where it stands.
const PRIVATE_IDIOMS: &[&str] = &["Args", "Config", "Plan", "State"];

const PROSE_COLUMNS_MAX: usize = 140;

/// Reports that test runs write over.
const WRITTEN_BY_TESTS: &[&str] =
    &["docs/conformance-sdk.md", "docs/kubernetes-real.md", "docs/kubernetes-watch.md", "docs/reference-deployment.md"];

#[test]
fn a_folder_holds_at_most_12_files() {
    let mut folders: BTreeMap<String, usize> = BTreeMap::new();
    for (name, _) in sources("src") {
        let folder = Path::new(&name).parent().expect("below src").to_string_lossy().into_owned();
        *folders.entry(folder).or_default() += 1;
    }
    let most = |folder: &str| if FOLDERS_OF_LIKE_FILES.contains(&folder) { LIKE_FILES_MAX } else { FOLDER_FILES_MAX };
    let faults = folders.iter().filter(|(folder, files)| **files > most(folder));
    assert_none(faults.map(|(folder, files)| format!("{folder}: {files} files")).collect(), "make rooms");
}

#[test]
fn a_public_type_name_is_defined_once() {
    let mut homes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, text) in sources("src") {
        if name.ends_with("tests.rs") || name.contains("/tests/") {
            continue;
        }
        for defined in text.lines().filter_map(public_type).filter(|defined| !PRIVATE_IDIOMS.contains(defined)) {
            homes.entry(defined.to_owned()).or_default().push(name.clone());
        }
    }
    let faults = homes.into_iter().filter(|(_, homes)| homes.len() > 1);
    assert_none(
        faults.map(|(name, homes)| format!("{name}: {}", homes.join(", "))).collect(),
        "one meaning for each noun",
    );
}

/// The name of a type that a line makes public, at the top level of its file.
fn public_type(line: &str) -> Option<&str> {
    let rest = line
        .strip_prefix("pub ")
        .or_else(|| line.strip_prefix("pub(").and_then(|rest| rest.split_once(") ").map(|it| it.1)))?;
    let name = ["struct ", "enum ", "trait ", "type "].iter().find_map(|kind| rest.strip_prefix(kind))?;
    name.split(|letter: char| !letter.is_alphanumeric() && letter != '_').next()
}

/// A type may be public because a signature has it; a function or a constant is public for those who name it.
#[test]
fn a_public_function_or_constant_is_named_in_another_file() {
    let all: Vec<(String, String)> = TREE.into_iter().flat_map(sources).collect();
    let mut files_of: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (name, text) in &all {
        for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
            for word in line.split(|letter: char| !letter.is_alphanumeric() && letter != '_') {
                files_of.entry(word).or_default().insert(name);
            }
        }
    }
    let is_shipped = |name: &str| name.starts_with("src/") && !name.ends_with("tests.rs") && !name.contains("/tests/");
    let mut faults = Vec::new();
    for (name, text) in all.iter().filter(|(name, _)| is_shipped(name)) {
        let defined = shipped_lines(text).filter_map(|(_, line)| public_value(line.trim_start()));
        let at_home = defined.filter(|value| files_of.get(value).is_some_and(|files| files.len() == 1));
        faults.extend(at_home.map(|value| format!("{name} {value}")));
    }
    assert_none(faults, "make these private, or delete them");
}

/// The name of a function or constant that a line makes public.
fn public_value(line: &str) -> Option<&str> {
    let rest = line
        .strip_prefix("pub ")
        .or_else(|| line.strip_prefix("pub(").and_then(|rest| rest.split_once(") ").map(|it| it.1)))?;
    let rest = rest.strip_prefix("async ").unwrap_or(rest);
    let rest =
        rest.strip_prefix("const fn ").or_else(|| rest.strip_prefix("fn ")).or_else(|| rest.strip_prefix("const "))?;
    rest.split(|letter: char| !letter.is_alphanumeric() && letter != '_').next().filter(|name| !name.is_empty())
}

/// Where components are put together without being known.
const KNOWS_NO_COMPONENT: &[&str] = &["src/pipeline/", "src/gateway.rs"];
/// The list of the Collector's components, some of which have the name of one of ours.
const COLLECTORS_LIST: &str = "src/pipeline/collector.rs";

#[test]
fn the_pipeline_names_no_component() {
    let about = registry::about();
    let names: BTreeSet<&str> = about
        .iter()
        .flat_map(|(_, about)| std::iter::once(about.name).chain(about.aliases.iter().map(|alias| alias.name)))
        .collect();
    let mut faults = Vec::new();
    for (file, text) in sources("src") {
        let is_asked = KNOWS_NO_COMPONENT.iter().any(|room| file.starts_with(room));
        if !is_asked || file == COLLECTORS_LIST {
            continue;
        }
        for (at, line) in shipped_lines(&text) {
            // A name of two words is told from prose wherever it stands; one of one word when it stands alone.
            let named = line.split('"').skip(1).step_by(2).flat_map(|quoted| {
                let words = quoted.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
                let words = words.filter(|word| word.contains('_')).chain([quoted]);
                words.filter(|word| names.contains(word)).collect::<Vec<_>>()
            });
            faults.extend(named.map(|name| format!("{file}:{at}: {name}")));
        }
    }
    assert_none(faults, "ask the component's plan instead (core/stage/factory.rs)");
}

/// Markdown that people write; what tests write has long tables only.
fn documents() -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for folder in ["", "docs", "docs/how-to", "proto"] {
        let Ok(entries) = fs::read_dir(root().join(folder)) else { continue };
        for path in entries.map(|entry| entry.expect("readable").path()) {
            if path.extension().is_some_and(|extension| extension == "md") {
                let name = path.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned();
                found.push((name, fs::read_to_string(&path).expect("text")));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn prose_stays_within_140_columns() {
    let mut faults = Vec::new();
    for (name, text) in documents().into_iter().filter(|(name, _)| !WRITTEN_BY_TESTS.contains(&name.as_str())) {
        let mut is_code = false;
        for (at, line) in text.lines().enumerate() {
            is_code ^= line.trim_start().starts_with("```");
            let is_table = line.trim_start().starts_with('|');
            if !is_code && !is_table && line.chars().count() > PROSE_COLUMNS_MAX {
                faults.push(format!("{name}:{}: {} columns", at + 1, line.chars().count()));
            }
        }
    }
    assert_none(faults, "break these lines");
}

#[test]
fn a_path_that_a_document_names_exists() {
    let mut faults = Vec::new();
    for (name, text) in documents().into_iter().filter(|(name, _)| name != "CHANGELOG.md") {
        for (at, line) in text.lines().enumerate() {
            let quoted = line.split('`').skip(1).step_by(2);
            let paths = quoted.filter(|text| {
                ["src/", "tests/", "benches/", "proto/", "docs/"].iter().any(|top| text.starts_with(top))
            });
            let missing = paths.filter(|path| !path.contains([' ', '*', '<', '{']) && !root().join(path).exists());
            faults.extend(missing.map(|path| format!("{name}:{}: {path}", at + 1)));
        }
    }
    assert_none(faults, "name what is there");
}
