//! Circles: groups of files that import each other. Who reads one file of a group has to read them all.
//!
//! A pure function over the sources. An import is a `use`, or a path in the code, that begins with `crate`, `super`,
//! `self` or a child's name; it counts for the file that the longest part of it names. Tests are left out.

use std::collections::{BTreeMap, BTreeSet};

use super::{assert_none, sources};

/// What is left; it may only become less.
const GROUPS_MAX: usize = 7;

/// A module's path without the crate's name; empty for the root.
type ModulePath = Vec<String>;

type ImportGraph = BTreeMap<ModulePath, BTreeSet<ModulePath>>;

#[test]
fn groups_of_files_that_import_each_other_only_become_fewer() {
    let groups = circles(&graph(&sources("src")));
    let shown = groups.iter().map(|group| {
        let names: Vec<String> = group.iter().map(|path| path.join("::")).collect();
        format!("{}: {}", names.len(), names.join(" "))
    });
    if groups.len() > GROUPS_MAX {
        assert_none(shown.collect(), &format!("{} groups, and the law says {GROUPS_MAX}", groups.len()));
    }
}

#[test]
fn a_type_that_stands_in_the_parent_makes_a_circle_and_one_beside_it_makes_none() {
    let file = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    let knot = [
        file("src/room/mod.rs", "mod part;\nuse part::run;\npub struct Thing;\n"),
        file("src/room/part.rs", "use super::{Thing, other};\npub fn run(_: Thing) {}\n"),
    ];
    assert_eq!(circles(&graph(&knot)).len(), 1);
    let open = [
        file("src/room/mod.rs", "mod part;\nmod thing;\npub use part::run;\n"),
        file("src/room/part.rs", "use crate::room::thing::Thing;\npub fn run(_: Thing) {}\n"),
        file("src/room/thing.rs", "pub struct Thing;\n// crate::room::part::run\n"),
        file("src/room/tests.rs", "use super::part::run;\nuse super::thing::Thing;\n"),
    ];
    assert_eq!(circles(&graph(&open)), Vec::<Vec<ModulePath>>::new());
    let by_path = [
        file("src/one.rs", "pub fn go() { crate::two::go() }\n"),
        file("src/two.rs", "pub fn go() { super::one::go() }\n"),
    ];
    assert_eq!(circles(&graph(&by_path)).len(), 1);
    let other_crate = [
        file("src/net/mod.rs", "mod http;\nuse ::http::{Method, Uri};\n"),
        file("src/net/http.rs", "use crate::net::Client;\n"),
    ];
    assert_eq!(circles(&graph(&other_crate)), Vec::<Vec<ModulePath>>::new());
}

fn graph(sources: &[(String, String)]) -> ImportGraph {
    let shipped = sources.iter().filter(|(name, _)| !name.ends_with("tests.rs") && !name.contains("/tests/"));
    let files: Vec<(ModulePath, &str)> = shipped.map(|(name, text)| (module_of(name), text.as_str())).collect();
    let known: BTreeSet<&ModulePath> = files.iter().map(|(path, _)| path).collect();
    let of = |(path, text): &(ModulePath, &str)| {
        let imports = imports(path, &code(text), &known);
        (path.clone(), imports.into_iter().filter(|import| import != path).collect())
    };
    files.iter().map(of).collect()
}

fn module_of(name: &str) -> ModulePath {
    let name = name.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
    if name == "lib" { Vec::new() } else { name.split('/').map(str::to_owned).collect() }
}

/// The text without comments and without the tests at its end.
fn code(text: &str) -> String {
    let end = text.find("#[cfg(test)]\nmod tests").unwrap_or(text.len());
    text[..end].lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// The files of ours that this file names.
fn imports(of: &ModulePath, code: &str, known: &BTreeSet<&ModulePath>) -> BTreeSet<ModulePath> {
    let mut found = BTreeSet::new();
    let mut rest = String::new();
    for statement in code.split_inclusive(';') {
        // What stands before a `use` in the same piece belongs to the code.
        let begins =
            statement.match_indices("use ").map(|(at, _)| at).filter(|at| begins_a_line(statement, *at)).last();
        let Some(at) = begins else {
            rest.push_str(statement);
            continue;
        };
        rest.push_str(&statement[..at]);
        let tree = statement[at + "use ".len()..].trim_end_matches(';');
        found.extend(leaves(tree).iter().filter_map(|leaf| file_of(of, leaf, known)));
    }
    found.extend(paths(&rest).iter().filter_map(|path| file_of(of, path, known)));
    found
}

/// Nothing but a visibility stands before it in its line.
fn begins_a_line(text: &str, at: usize) -> bool {
    let before = text[..at].rsplit('\n').next().unwrap_or_default().trim();
    before.is_empty() || before == "pub" || (before.starts_with("pub(") && before.ends_with(')'))
}

/// Each path of a use tree, with its segments.
fn leaves(tree: &str) -> Vec<ModulePath> {
    let tree = tree.trim();
    // A crate of others.
    if tree.starts_with("::") {
        return Vec::new();
    }
    let Some((before, inside)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or_default();
        return vec![path.split("::").map(|part| part.trim().to_owned()).collect()];
    };
    let prefix = before.split("::").map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned);
    let prefix: ModulePath = prefix.collect();
    let inside = inside.trim_end().strip_suffix('}').unwrap_or(inside);
    let mut found = Vec::new();
    let (mut depth, mut start) = (0_usize, 0);
    for (at, letter) in inside.char_indices().chain([(inside.len(), ',')]) {
        match letter {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                let part = inside[start..at].trim();
                if !part.is_empty() {
                    found.extend(leaves(part).into_iter().map(|leaf| [prefix.clone(), leaf].concat()));
                }
                start = at + 1;
            }
            _ => {}
        }
    }
    found
}

/// Paths of several segments in the code: names joined by `::`.
fn paths(code: &str) -> Vec<ModulePath> {
    let words = code.split(|letter: char| !letter.is_alphanumeric() && letter != '_' && letter != ':');
    let own = words.filter(|word| !word.starts_with("::"));
    let joined = own.map(|word| word.trim_end_matches(':')).filter(|word| word.contains("::"));
    joined.map(|word| word.split("::").map(str::to_owned).collect()).collect()
}

/// The file that the longest part of a path names, seen from a module.
fn file_of(from: &ModulePath, path: &[String], known: &BTreeSet<&ModulePath>) -> Option<ModulePath> {
    let ups = path.iter().take_while(|part| *part == "super").count();
    let whole: ModulePath = match path.first().map(String::as_str) {
        Some("crate") => path[1..].to_vec(),
        Some("super") => [&from[..from.len().saturating_sub(ups)], &path[ups..]].concat(),
        Some("self") => [from, &path[1..]].concat(),
        Some(_) => [from, path].concat(),
        None => return None,
    };
    let is_child = !matches!(path.first().map(String::as_str), Some("crate" | "super" | "self"));
    let least = if is_child { from.len() + 1 } else { 1 };
    let mut heads = (least..=whole.len()).rev().map(|length| whole[..length].to_vec());
    heads.find(|head| known.contains(head))
}

/// Strongly connected components of more than one file, the largest first.
///
/// Two walks (Kosaraju): the order in which files are finished forwards, then groups backwards in that order.
fn circles(graph: &ImportGraph) -> Vec<Vec<ModulePath>> {
    let mut backwards: ImportGraph = BTreeMap::new();
    for (from, to) in graph.iter().flat_map(|(from, all)| all.iter().map(move |to| (from, to))) {
        backwards.entry(to.clone()).or_default().insert(from.clone());
    }
    let mut order = Vec::new();
    let mut seen = BTreeSet::new();
    for path in graph.keys() {
        walk(graph, path, &mut seen, &mut order);
    }
    let mut groups = Vec::new();
    let mut taken = BTreeSet::new();
    for path in order.iter().rev() {
        let mut group = Vec::new();
        walk(&backwards, path, &mut taken, &mut group);
        if group.len() > 1 {
            group.sort();
            groups.push(group);
        }
    }
    groups.sort_by_key(|group| std::cmp::Reverse(group.len()));
    groups
}

/// Whatever can be reached from here and was not seen before, each after all that it leads to.
fn walk(graph: &ImportGraph, from: &ModulePath, seen: &mut BTreeSet<ModulePath>, done: &mut Vec<ModulePath>) {
    if !seen.insert(from.clone()) {
        return;
    }
    for next in graph.get(from).into_iter().flatten() {
        walk(graph, next, seen, done);
    }
    done.push(from.clone());
}
