//! Each function in each way: as it is meant, with nil, with values of other kinds, and where it fails. The answers are
//! upstream's own (`oracle`); this says that the table leaves none out.

use std::collections::BTreeMap;

use podgate::ottl::functions;
use serde_json::{Value as Json, json};

use super::recorded::rows;

/// What the table has of a function.
#[derive(Debug, Default)]
struct Asked {
    /// Rows that come to a value or a change.
    answered: usize,
    /// Rows that fail or are refused.
    failing: usize,
    nil: usize,
    /// Rows with an attribute that is an integer, a text, a list or a map; of a group such values as they are written.
    kinds: [usize; 4],
}

const NIL: &[&str] = &["nil", "\"none\"]"];
const KINDS: [&str; 4] = ["\"i\"]", "\"s\"]", "\"l\"]", "\"m\"]"];
/// The items of metrics have no such attributes: their functions get literals.
const LITERALS: [&str; 4] = ["7", "\"text\"", "[\"a\", 1]", "{\"a\": 1}"];

/// What needs no argument cannot get a wrong one.
const WITHOUT_ARGUMENTS: &[&str] = &["Now", "UUID", "UUIDv7", "IsRootSpan", "convert_sum_to_gauge"];

/// Only a filter's, or no longer upstream's: they are tested beside the filter and the values.
const ELSEWHERE: &[&str] = &["HasAttrKeyOnDatapoint", "HasAttrOnDatapoint", "Base64Decode", "Now", "UUID", "UUIDv7"];

#[test]
fn the_table_asks_each_function_in_each_way() {
    let mut asked: BTreeMap<&str, Asked> =
        functions().into_iter().filter(|(_, is_built)| *is_built).map(|(name, _)| (name, Asked::default())).collect();
    let table = rows("answers.jsonl");
    for row in &table {
        let (written, answer) = (row[3].as_str().expect("a text"), &row[4]);
        // A list of groups is JSON, which escapes its texts.
        let text = &written.replace("\\\"", "\"");
        let fails = *answer == json!("refused") || *answer == json!("failed") || answer.get("failed").is_some();
        for (name, found) in asked.iter_mut().filter(|(name, _)| calls(text, name)) {
            let _: &&str = name;
            found.answered += usize::from(!fails && *answer != Json::Null);
            found.failing += usize::from(fails);
            found.nil += usize::from(NIL.iter().any(|nil| text.contains(nil)));
            for ((count, kind), literal) in found.kinds.iter_mut().zip(KINDS).zip(LITERALS) {
                let is_metrics = row[0] != json!("log");
                *count += usize::from(text.contains(kind) || (is_metrics && text.contains(literal)));
            }
        }
    }
    let wrong: Vec<String> = asked
        .iter()
        .filter(|(name, _)| !ELSEWHERE.contains(name))
        .filter(|(name, found)| {
            let bare = WITHOUT_ARGUMENTS.contains(name);
            let kinds = found.kinds.iter().filter(|count| **count > 0).count();
            let in_each = bare || (found.nil > 0 && kinds == 4);
            found.answered == 0 || found.failing == 0 || !in_each
        })
        .map(|(name, found)| format!("{name}: {found:?}"))
        .collect();
    assert!(wrong.is_empty(), "not asked in each way:\n{}", wrong.join("\n"));
}

/// Whether the text calls this function, and not one whose name ends like it.
fn calls(text: &str, name: &str) -> bool {
    let call = format!("{name}(");
    let mut from = 0;
    while let Some(at) = text[from..].find(&call) {
        let before = text[..from + at].chars().next_back();
        if before.is_none_or(|letter| !letter.is_alphanumeric() && letter != '_') {
            return true;
        }
        from += at + call.len();
    }
    false
}
