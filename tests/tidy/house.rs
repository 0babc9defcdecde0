//! Words and rooms: a type's name has one meaning, a folder can be overlooked, and documents name what exists.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::{assert_none, root, sources};

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
