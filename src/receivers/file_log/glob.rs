//! Patterns of paths: `*`, `?`, `[...]`, `{a,b}` within a name, `**` for any number of folders; and the files that fit.
//!
//! A walk reads only folders that a pattern can lead into, and is bounded in depth, folders and files.

use std::path::{Path, PathBuf};

use regex::Regex;

/// Folders below a `**`.
const DEPTH_MAX: usize = 16;
/// Files of one walk.
const FILES_MAX: usize = 20_000;
/// Names of one walk, files and folders.
const NAMES_MAX: usize = 400_000;
/// Alternatives of all `{a,b}` of one pattern together.
const ALTERNATIVES_MAX: usize = 64;

#[derive(Clone, Debug)]
enum PathPart {
    /// A name without signs, which needs no look into the folder.
    Plain(String),
    Like(Regex),
    AnyFolders,
}

/// A pattern that was read.
#[derive(Clone, Debug)]
pub struct PathPattern {
    text: String,
    /// One list for each alternative.
    alternatives: Vec<Vec<PathPart>>,
}

impl PartialEq for PathPattern {
    fn eq(&self, other: &PathPattern) -> bool {
        self.text == other.text
    }
}

impl PathPattern {
    /// The error is a sentence.
    pub fn parse(text: &str) -> Result<PathPattern, String> {
        if text.is_empty() {
            return Err("an empty pattern fits nothing".to_owned());
        }
        if text.split('/').filter(|part| *part == "**").count() > 1 {
            return Err(format!("{text:?} has `**` twice, which would read folders again and again"));
        }
        let mut alternatives = Vec::new();
        for alternative in expanded(text)? {
            let parts: Result<Vec<PathPart>, String> = alternative.split('/').map(part).collect();
            alternatives.push(parts?);
        }
        Ok(PathPattern { text: text.to_owned(), alternatives })
    }

    pub fn fits(&self, path: &str) -> bool {
        let names: Vec<&str> = path.split('/').collect();
        self.alternatives.iter().any(|parts| fits(parts, &names))
    }

    /// Adds the files that fit.
    pub fn walk(&self, found: &mut WalkedPaths) {
        for parts in &self.alternatives {
            // An absolute pattern begins with an empty name.
            let (root, rest) = match parts.split_first() {
                Some((PathPart::Plain(first), rest)) if first.is_empty() => (PathBuf::from("/"), rest),
                _ => (PathBuf::new(), parts.as_slice()),
            };
            walk(&root, rest, found, 0);
        }
    }
}

/// The files of one walk.
#[derive(Debug, Default)]
pub struct WalkedPaths {
    pub files: Vec<PathBuf>,
    names: usize,
    /// The walk ended at a bound.
    pub is_cut: bool,
    /// The first folder that could not be read, and why.
    pub unreadable: Option<(PathBuf, String)>,
}

fn fits(parts: &[PathPart], names: &[&str]) -> bool {
    let Some((part, rest)) = parts.split_first() else { return names.is_empty() };
    match (part, names.split_first()) {
        (PathPart::AnyFolders, _) => {
            (0..=names.len()).any(|skip| names.get(skip..).is_some_and(|names| fits(rest, names)))
        }
        (PathPart::Plain(plain), Some((name, names))) => plain == name && fits(rest, names),
        (PathPart::Like(regex), Some((name, names))) => regex.is_match(name) && fits(rest, names),
        (_, None) => false,
    }
}

fn walk(folder: &Path, parts: &[PathPart], found: &mut WalkedPaths, depth: usize) {
    let Some((part, rest)) = parts.split_first() else { return };
    match part {
        PathPart::Plain(name) => step(&folder.join(name), rest, found, depth),
        PathPart::Like(regex) => {
            for name in names(folder, found) {
                if regex.is_match(&name) {
                    step(&folder.join(name), rest, found, depth);
                }
            }
        }
        PathPart::AnyFolders => {
            walk(folder, rest, found, depth);
            if depth == DEPTH_MAX {
                return;
            }
            for name in names(folder, found) {
                let below = folder.join(name);
                // A link that leads up would lead around for ever.
                if below.symlink_metadata().is_ok_and(|about| about.is_dir()) {
                    walk(&below, parts, found, depth + 1);
                }
            }
        }
    }
}

fn step(path: &Path, rest: &[PathPart], found: &mut WalkedPaths, depth: usize) {
    if !rest.is_empty() {
        walk(path, rest, found, depth);
    } else if found.files.len() >= FILES_MAX {
        found.is_cut = true;
    } else if path.metadata().is_ok_and(|about| about.is_file()) {
        found.files.push(path.to_owned());
    }
}

/// The names in a folder, in order.
fn names(folder: &Path, found: &mut WalkedPaths) -> Vec<String> {
    let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let mut names = Vec::new();
    let entries = match std::fs::read_dir(here) {
        Ok(entries) => entries,
        Err(error) => {
            if !matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) {
                found.unreadable.get_or_insert_with(|| (folder.to_owned(), error.to_string()));
            }
            return names;
        }
    };
    for entry in entries.flatten() {
        if found.names >= NAMES_MAX {
            found.is_cut = true;
            break;
        }
        found.names += 1;
        names.extend(entry.file_name().into_string().ok()); // granted: NAMES_MAX of a walk
    }
    names.sort();
    names
}

fn part(text: &str) -> Result<PathPart, String> {
    if text == "**" {
        return Ok(PathPart::AnyFolders);
    }
    if !text.contains(['*', '?', '[', '\\']) {
        return Ok(PathPart::Plain(text.to_owned()));
    }
    let mut pattern = "^".to_owned();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '*' => pattern.push_str(".*"),
            '?' => pattern.push('.'),
            '\\' => pattern.push_str(&regex::escape(&characters.next().unwrap_or('\\').to_string())),
            '[' => {
                let class: String = characters.by_ref().take_while(|c| *c != ']').collect();
                let (not, class) = class.strip_prefix(['!', '^']).map_or(("", class.as_str()), |rest| ("^", rest));
                pattern.push_str(&format!("[{not}{}]", class.replace('\\', "\\\\").replace('[', "\\[")));
            }
            other => pattern.push_str(&regex::escape(&other.to_string())),
        }
    }
    pattern.push('$');
    Regex::new(&format!("(?s){pattern}")).map(PathPart::Like).map_err(|_| format!("{text:?} is no pattern of a path"))
}

/// Every way to choose of `{a,b}`; groups are not nested.
fn expanded(text: &str) -> Result<Vec<String>, String> {
    let mut all = vec![String::new()];
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        let (before, after) = rest.split_at(open);
        let (group, after) = after.get(1..).and_then(|after| after.split_once('}')).ok_or("a `{` is not closed")?;
        let choices: Vec<&str> = group.split(',').collect();
        if all.len() * choices.len() > ALTERNATIVES_MAX {
            return Err(format!("the groups have more than {ALTERNATIVES_MAX} alternatives"));
        }
        all = all.iter().flat_map(|head| choices.iter().map(move |choice| format!("{head}{before}{choice}"))).collect();
        rest = after;
    }
    Ok(all.into_iter().map(|head| head + rest).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_fit_as_in_a_shell() {
        for (pattern, path, expected) in [
            ("/var/log/pods/*/*/*.log", "/var/log/pods/a_b_c/main/0.log", true),
            ("/var/log/pods/*/*/*.log", "/var/log/pods/a_b_c/main/0.log.1", false),
            ("/var/log/pods/*/*/*.log", "/var/log/pods/a/b/c/0.log", false),
            ("/a/**/*.log", "/a/x.log", true),
            ("/a/**/*.log", "/a/b/c/x.log", true),
            ("/a/{b,c}/x?.[a-c]", "/a/c/x1.b", true),
            ("/a/{b,c}/x?.[!a-c]", "/a/c/x1.b", false),
            ("rel*/x", "relative/x", true),
        ] {
            assert_eq!(PathPattern::parse(pattern).unwrap().fits(path), expected, "{pattern} {path}");
        }
        for bad in ["", "/a/{b", "/a/[z-a]", "/a/**/b/**/c"] {
            PathPattern::parse(bad).expect_err(bad);
        }
    }

    #[test]
    fn a_walk_finds_the_files_that_fit() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a/x.log", "a/b/y.log", "a/b/y.txt", "c/z.log"] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        let found = |pattern: &str| {
            let mut found = WalkedPaths::default();
            PathPattern::parse(&format!("{}/{pattern}", folder.path().display())).unwrap().walk(&mut found);
            found.files.len()
        };
        assert_eq!((found("*/*.log"), found("**/*.log"), found("a/b/*"), found("none/*")), (2, 3, 2, 0));
    }
}
