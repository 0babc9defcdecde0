//! Statements: a call of an editor and the condition under which it runs. Checks which editor is meant and what its
//! arguments must be; what editors do is next door.

use crate::ottl::check::{self, Node, arrange, fault, pattern};
use crate::ottl::convert::{CONVERTERS, Converter};
use crate::ottl::editors::{Editor, MapEdit, Merge, Replacement};
use crate::ottl::parse::{self, Spot, Tree};
use crate::ottl::path::tables::{Part, PointPart};
use crate::ottl::path::{self, Path};
use crate::ottl::{Failure, Fault, Scene, Syntax, eval, glob, lexer};

/// A checked statement.
#[derive(Debug)]
pub struct Statement {
    editor: Editor,
    condition: Option<Node>,
}

/// Functions of a Collector's transform that podgate has not.
const NOT_BUILT: &[&str] = &[
    "set_semconv_span_name",
    "convert_sum_to_gauge",
    "convert_gauge_to_sum",
    "convert_summary_count_val_to_sum",
    "convert_summary_sum_val_to_sum",
    "convert_summary_quantile_val_to_gauge",
    "convert_exponential_histogram_to_histogram",
    "extract_count_metric",
    "extract_sum_metric",
    "extract_percentile_metric",
    "copy_metric",
    "scale_metric",
    "merge_histogram_buckets",
    "aggregate_on_attributes",
    "aggregate_on_attribute_value",
    "unroll",
    "delete_index",
    "stringify_all",
];

const KNOWN: &str = "set, append, delete_key, delete_matching_keys, keep_keys, keep_matching_keys, limit, truncate_all, \
                     flatten, merge_maps, replace_match, replace_pattern, replace_all_matches, replace_all_patterns";

impl Statement {
    pub fn parse(text: &str, syntax: Syntax) -> Result<Statement, Fault> {
        let tokens = lexer::tokens(text)?;
        let (call, condition) = parse::statement(&tokens)?;
        let editor = editor(&call, syntax)?;
        let condition = condition.map(|condition| check::check(&condition, syntax)).transpose()?;
        Ok(Statement { editor, condition })
    }

    /// Runs the editor where the condition holds.
    pub fn run(&self, scene: &mut Scene<'_>) -> Result<(), Failure> {
        if let Some(condition) = &self.condition
            && !eval::truth(condition, &scene.view())?
        {
            return Ok(());
        }
        self.editor.run(scene)
    }
}

/// The arguments of a call, by the names of its parameters.
struct Arguments<'s> {
    at: usize,
    name: &'s str,
    given: Vec<Option<&'s Spot>>,
    parameters: &'static [&'static str],
    syntax: Syntax,
}

fn editor(call: &Spot, syntax: Syntax) -> Result<Editor, Fault> {
    let Tree::Call { name, arguments, keys } = &call.tree else {
        return fault(call.at, "a statement is the call of a function");
    };
    if !keys.is_empty() {
        return fault(call.at, "a statement has no keys");
    }
    let parameters: &[&str] = match name.as_str() {
        "set" => &["target", "value"],
        "append" => &["target", "value", "values"],
        "delete_key" => &["target", "key"],
        "keep_keys" => &["target", "keys"],
        "delete_matching_keys" | "keep_matching_keys" => &["target", "pattern"],
        "limit" => &["target", "limit", "priority_keys"],
        "truncate_all" => &["target", "limit"],
        "flatten" => &["target", "prefix", "depth", "resolveConflicts"],
        "merge_maps" => &["target", "source", "strategy"],
        "replace_match" | "replace_all_matches" => {
            &["target", "pattern", "replacement", "function", "replacementFormat"]
        }
        "replace_pattern" => &["target", "regex", "replacement", "function", "replacementFormat"],
        "replace_all_patterns" => &["target", "mode", "regex", "replacement", "function", "replacementFormat"],
        other if NOT_BUILT.contains(&other) => {
            return fault(call.at, format!("podgate does not have the function `{other}`"));
        }
        other => return fault(call.at, format!("there is no editor `{other}`; known are {KNOWN}")),
    };
    let given = arrange(call.at, name, arguments, parameters)?;
    let arguments = Arguments { at: call.at, name, given, parameters, syntax };
    arguments.editor()
}

impl<'s> Arguments<'s> {
    fn editor(&self) -> Result<Editor, Fault> {
        let editor = match self.name {
            "set" => Editor::Set { target: self.target()?, value: self.value("value")? },
            "append" => self.append()?,
            "replace_match" => {
                Editor::ReplaceMatch { target: self.target()?, pattern: self.glob()?, replacement: self.replacement()? }
            }
            "replace_pattern" => Editor::ReplacePattern {
                target: self.target()?,
                pattern: pattern(self.need("regex")?)?,
                replacement: self.replacement()?,
            },
            _ => Editor::Map { target: self.map()?, edit: self.map_edit()? },
        };
        Ok(editor)
    }

    fn map_edit(&self) -> Result<MapEdit, Fault> {
        let edit = match self.name {
            "delete_key" => MapEdit::DeleteKey(self.value("key")?),
            "keep_keys" => MapEdit::KeepKeys(self.value("keys")?),
            "delete_matching_keys" => MapEdit::Matching { pattern: pattern(self.need("pattern")?)?, keep: false },
            "keep_matching_keys" => MapEdit::Matching { pattern: pattern(self.need("pattern")?)?, keep: true },
            "limit" => self.limit()?,
            "truncate_all" => MapEdit::Truncate(self.count("limit")?),
            "flatten" => self.flatten()?,
            "merge_maps" => MapEdit::Merge { source: self.value("source")?, how: self.strategy()? },
            "replace_all_matches" => {
                MapEdit::ReplaceMatches { pattern: self.glob()?, replacement: self.replacement()? }
            }
            _ => {
                let mode = self.need("mode")?;
                let keys = match self.text(mode)? {
                    "key" => true,
                    "value" => false,
                    other => return fault(mode.at, format!("the mode is \"key\" or \"value\", not {other:?}")),
                };
                let pattern = pattern(self.need("regex")?)?;
                MapEdit::ReplacePatterns { keys, pattern, replacement: self.replacement()? }
            }
        };
        Ok(edit)
    }

    fn get(&self, parameter: &str) -> Option<&'s Spot> {
        let at = self.parameters.iter().position(|known| *known == parameter)?;
        self.given.get(at).copied().flatten()
    }

    fn need(&self, parameter: &str) -> Result<&'s Spot, Fault> {
        match self.get(parameter) {
            Some(spot) => Ok(spot),
            None => fault(self.at, format!("`{}` needs an argument `{parameter}`", self.name)),
        }
    }

    fn value(&self, parameter: &str) -> Result<Node, Fault> {
        check::value(self.need(parameter)?, self.syntax)
    }

    fn optional(&self, parameter: &str) -> Result<Option<Node>, Fault> {
        self.get(parameter).map(|spot| check::value(spot, self.syntax)).transpose()
    }

    fn text(&self, spot: &'s Spot) -> Result<&'s str, Fault> {
        match &spot.tree {
            Tree::Text(text) => Ok(text),
            _ => fault(spot.at, "this must be a string literal"),
        }
    }

    fn count(&self, parameter: &str) -> Result<usize, Fault> {
        let spot = self.need(parameter)?;
        match &spot.tree {
            Tree::Int(number) if *number >= 0 => Ok(usize::try_from(*number).unwrap_or(usize::MAX)),
            _ => fault(spot.at, format!("`{parameter}` must be a whole number of 0 or more")),
        }
    }

    /// The path that is changed.
    fn target(&self) -> Result<Path, Fault> {
        let spot = self.need("target")?;
        let Tree::Path(segments) = &spot.tree else { return fault(spot.at, "the target must be a path") };
        match path::resolve(segments, self.syntax) {
            Ok(path) if path.can_be_set() => Ok(path),
            Ok(path) => fault(spot.at, format!("`{}` cannot be set", path.name)),
            Err(message) => fault(spot.at, message),
        }
    }

    /// A target that is a map.
    fn map(&self) -> Result<Path, Fault> {
        let path = self.target()?;
        match path.part {
            Part::Attributes(_) | Part::Any(_) | Part::Point(PointPart::Attributes) => Ok(path),
            _ => fault(self.need("target")?.at, format!("`{}` is no map", path.name)),
        }
    }

    fn append(&self) -> Result<Editor, Fault> {
        let (value, values) = (self.optional("value")?, self.optional("values")?);
        if value.is_none() && values.is_none() {
            return fault(self.at, "`append` needs a value or values");
        }
        let target = self.target()?;
        match target.part {
            Part::Any(_) => {}
            _ if !target.keys.is_empty() => {}
            _ => return fault(self.need("target")?.at, format!("`{}` is no list", target.name)),
        }
        Ok(Editor::Append { target, value, values })
    }

    fn limit(&self) -> Result<MapEdit, Fault> {
        let most = self.count("limit")?;
        let listed = self.need("priority_keys")?;
        let Tree::List(keys) = &listed.tree else { return fault(listed.at, "the priority keys must be a list") };
        let keys = keys.iter().map(|key| self.text(key).map(str::to_owned)).collect::<Result<Vec<_>, _>>()?;
        if keys.len() > most {
            return fault(listed.at, format!("{} priority keys do not fit a limit of {most}", keys.len()));
        }
        Ok(MapEdit::Limit { most, keys })
    }

    fn flatten(&self) -> Result<MapEdit, Fault> {
        if let Some(spot) = self.get("resolveConflicts")
            && spot.tree != Tree::Bool(false)
        {
            return fault(spot.at, "podgate does not have `resolveConflicts` of `flatten`");
        }
        let depth = if self.get("depth").is_some() { self.count("depth")? } else { usize::MAX };
        Ok(MapEdit::Flatten { prefix: self.optional("prefix")?, depth })
    }

    fn strategy(&self) -> Result<Merge, Fault> {
        let spot = self.need("strategy")?;
        match self.text(spot)? {
            "insert" => Ok(Merge::Insert),
            "update" => Ok(Merge::Update),
            "upsert" => Ok(Merge::Upsert),
            other => fault(spot.at, format!("the strategy is \"insert\", \"update\" or \"upsert\", not {other:?}")),
        }
    }

    fn glob(&self) -> Result<regex::Regex, Fault> {
        let spot = self.need("pattern")?;
        let text = self.text(spot)?;
        glob::compile(text).map_or_else(|| fault(spot.at, format!("{text:?} is not a glob pattern")), Ok)
    }

    fn replacement(&self) -> Result<Replacement, Fault> {
        let text = self.value("replacement")?;
        let function = self.get("function").map(|spot| function(spot)).transpose()?;
        let format = match self.get("replacementFormat") {
            None => None,
            Some(spot) => match self.text(spot)?.split_once("%s") {
                Some((before, after)) if !after.contains("%s") => Some((before.to_owned(), after.to_owned())),
                _ => return fault(spot.at, "the format needs exactly one %s"),
            },
        };
        Ok(Replacement { text, function, format })
    }
}

/// A converter named as an argument: one that makes a text of a text.
fn function(spot: &Spot) -> Result<Converter, Fault> {
    let name = match &spot.tree {
        Tree::Enum(name) => name.as_str(),
        Tree::Path(segments) if segments.len() == 1 && segments[0].keys.is_empty() => &segments[0].name,
        _ => return fault(spot.at, "the name of a function is expected"),
    };
    match CONVERTERS.iter().find(|known| known.name == name) {
        Some(known) if known.fewest <= 1 && known.most >= 1 => Ok(known.converter),
        Some(_) => fault(spot.at, format!("`{name}` does not take one text alone")),
        None => fault(spot.at, format!("podgate has no function `{name}`")),
    }
}
