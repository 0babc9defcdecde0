//! Statements: a call of an editor and the condition under which it runs. Checks which editor is meant and what its
//! arguments must be; what editors do is next door.

mod metrics;
pub mod names;

use crate::ottl::check::{arrange, fault};
use crate::ottl::checked::{CheckedNode, Dialect, Path, Pattern};
use crate::ottl::context::{Syntax, only_in};
use crate::ottl::convert::{ArgumentKind, CONVERTERS, Converter};
use crate::ottl::edit::editors::{Editor, MapEdit, Merge, Replacement};
use crate::ottl::edit::target::EditTarget;
use crate::ottl::path::tables::{PathPart, PointPart};
use crate::ottl::statement::names::EDITORS;
use crate::ottl::syntax::fault::TextFault;
use crate::ottl::syntax::lexer::asks_world;
use crate::ottl::syntax::literal::Literal;
use crate::ottl::syntax::parse::{LocatedTree, SyntaxTree};
use crate::ottl::syntax::{lexer, parse};
use crate::ottl::value::failure::EvalFailure;
use crate::ottl::{check, eval};

/// A checked statement.
#[derive(Debug)]
pub struct Statement {
    pub(super) editor: Editor,
    pub(super) condition: Option<CheckedNode>,
    asks_world: bool,
}

impl Statement {
    pub fn parse(text: &str, syntax: Syntax) -> Result<Statement, TextFault> {
        let tokens = lexer::tokens(text)?;
        let (call, condition) = parse::statement(&tokens)?;
        let editor = editor(&call, syntax)?;
        let condition = condition.map(|condition| check::check(&condition, syntax)).transpose()?;
        Ok(Statement { editor, condition, asks_world: asks_world(&tokens) })
    }

    /// Runs the editor where the condition holds.
    pub fn run(&self, scene: &mut EditTarget<'_>) -> Result<(), EvalFailure> {
        scene.world = scene.world.or_real(self.asks_world);
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
    given: Vec<Option<&'s LocatedTree>>,
    parameters: &'static [&'static str],
    syntax: Syntax,
}

fn editor(call: &LocatedTree, syntax: Syntax) -> Result<Editor, TextFault> {
    let SyntaxTree::Call { name, arguments, keys } = &call.tree else {
        return fault(call.at, "a statement is the call of a function");
    };
    if !keys.is_empty() {
        return fault(call.at, "a statement has no keys");
    }
    let Some((_, parameters)) = EDITORS.iter().find(|(known, _)| known == name) else {
        if CONVERTERS.iter().any(|known| known.name == name) {
            return fault(call.at, format!("`{name}` makes a value; a statement begins with an editor such as `set`"));
        }
        let known: Vec<&str> = EDITORS.iter().map(|(name, _)| *name).collect();
        return fault(call.at, format!("there is no editor `{name}`; known are {}", known.join(", ")));
    };
    if let Some(contexts) = only_in(name).filter(|contexts| !contexts.contains(&syntax.context)) {
        let items: Vec<&str> = contexts.iter().map(|context| context.name()).collect();
        return fault(call.at, format!("`{name}` changes a {}", items.join(" or ")));
    }
    let given = arrange(call.at, name, arguments, parameters)?;
    let arguments = Arguments { at: call.at, name, given, parameters, syntax };
    arguments.editor()
}

impl<'s> Arguments<'s> {
    fn editor(&self) -> Result<Editor, TextFault> {
        let editor = match self.name {
            "set" => Editor::Set { target: self.target()?, value: self.value("value")? },
            "clear" => Editor::Clear { target: self.target()? },
            "append" => self.append()?,
            "delete_index" => Editor::DeleteIndex {
                target: self.target()?,
                start: self.wanted("startIndex", ArgumentKind::Int)?,
                end: self.get("endIndex").map(|_| self.wanted("endIndex", ArgumentKind::Int)).transpose()?,
            },
            "replace_match" => Editor::ReplaceMatch {
                target: self.target()?,
                pattern: self.pattern("pattern", Dialect::Glob)?,
                replacement: self.replacement()?,
            },
            "replace_pattern" => Editor::ReplacePattern {
                target: self.target()?,
                pattern: self.pattern("regexPattern", Dialect::Regex)?,
                replacement: self.replacement()?,
            },
            "set_semconv_span_name" => self.span_name()?,
            _ => match self.of_metric()? {
                Some(editor) => editor,
                None => Editor::Map { target: self.map()?, edit: self.map_edit()? },
            },
        };
        Ok(editor)
    }

    fn map_edit(&self) -> Result<MapEdit, TextFault> {
        let edit = match self.name {
            "delete_key" => MapEdit::DeleteKey(self.wanted("key", ArgumentKind::Text)?),
            "keep_keys" => MapEdit::KeepKeys(self.written_list("keys", ArgumentKind::Texts)?),
            "delete_matching_keys" => {
                MapEdit::Matching { pattern: self.pattern("pattern", Dialect::Regex)?, keep: false }
            }
            "keep_matching_keys" => MapEdit::Matching { pattern: self.pattern("pattern", Dialect::Regex)?, keep: true },
            "limit" => self.limit()?,
            "truncate_all" => self.truncate()?,
            "stringify_all" => MapEdit::Stringify,
            "flatten" => self.flatten()?,
            "merge_maps" => MapEdit::Merge { source: self.wanted("source", ArgumentKind::Map)?, how: self.strategy()? },
            "replace_all_matches" => MapEdit::ReplaceMatches {
                pattern: self.pattern("pattern", Dialect::Glob)?,
                replacement: self.replacement()?,
            },
            _ => {
                let mode = self.need("mode")?;
                let keys = match self.text(mode)? {
                    "key" => true,
                    "value" => false,
                    other => return fault(mode.at, format!("the mode is \"key\" or \"value\", not {other:?}")),
                };
                let pattern = self.pattern("regexPattern", Dialect::Regex)?;
                MapEdit::ReplacePatterns { keys, pattern, replacement: self.replacement()? }
            }
        };
        Ok(edit)
    }

    fn span_name(&self) -> Result<Editor, TextFault> {
        let version = self.need("semconvVersion")?;
        let text = self.text(version)?;
        let mut numbers = text.trim_start_matches('v').split('.').map(|part| part.parse::<u32>().ok());
        let known = (numbers.next().flatten(), numbers.next().unwrap_or(Some(0)), numbers.next().unwrap_or(Some(0)));
        if !matches!(known, (Some(1), Some(37..=42), Some(_)) | (Some(1), Some(43), Some(0)))
            || numbers.next().is_some()
        {
            return fault(version.at, format!("the version of the conventions is 1.37.0 to 1.43.0, not {text:?}"));
        }
        let original = match self.get("originalSpanNameAttribute") {
            None => None,
            Some(spot) => match self.text(spot)? {
                "" => return fault(spot.at, "the name of an attribute is not empty"),
                name => Some(name.to_owned()),
            },
        };
        Ok(Editor::SpanName { original })
    }

    fn get(&self, parameter: &str) -> Option<&'s LocatedTree> {
        let at = self.parameters.iter().position(|known| *known == parameter)?;
        self.given.get(at).copied().flatten()
    }

    fn need(&self, parameter: &str) -> Result<&'s LocatedTree, TextFault> {
        match self.get(parameter) {
            Some(spot) => Ok(spot),
            None => fault(self.at, format!("`{}` needs an argument `{parameter}`", self.name)),
        }
    }

    fn value(&self, parameter: &str) -> Result<CheckedNode, TextFault> {
        check::value(self.need(parameter)?, self.syntax)
    }

    /// The argument, which must be of this kind as far as it is written out.
    fn wanted(&self, parameter: &str, want: ArgumentKind) -> Result<CheckedNode, TextFault> {
        let node = self.value(parameter)?;
        match node.literal().map(|literal| want.take(literal)) {
            Some(Err(failure)) => fault(self.need(parameter)?.at, format!("`{parameter}`: {failure}")),
            _ => Ok(node),
        }
    }

    fn written_list(&self, parameter: &str, want: ArgumentKind) -> Result<CheckedNode, TextFault> {
        let spot = self.need(parameter)?;
        match spot.tree {
            SyntaxTree::List(_) => self.wanted(parameter, want),
            _ => fault(spot.at, format!("`{parameter}` must be a list such as [\"a\", \"b\"]")),
        }
    }

    fn optional(&self, parameter: &str) -> Result<Option<CheckedNode>, TextFault> {
        self.get(parameter).map(|spot| check::value(spot, self.syntax)).transpose()
    }

    fn pattern(&self, parameter: &str, dialect: Dialect) -> Result<Pattern, TextFault> {
        let at = self.need(parameter)?.at;
        Pattern::of(self.value(parameter)?, dialect).or_else(|why| fault(at, why))
    }

    fn text(&self, spot: &'s LocatedTree) -> Result<&'s str, TextFault> {
        match &spot.tree {
            SyntaxTree::Literal(Literal::Text(text)) => Ok(text),
            _ => fault(spot.at, "this must be a string literal"),
        }
    }

    fn count(&self, parameter: &str) -> Result<usize, TextFault> {
        let spot = self.need(parameter)?;
        match &spot.tree {
            SyntaxTree::Literal(Literal::Int(number)) if *number >= 0 => {
                Ok(usize::try_from(*number).unwrap_or(usize::MAX))
            }
            _ => fault(spot.at, format!("`{parameter}` must be a whole number of 0 or more")),
        }
    }

    /// The path that is changed.
    fn target(&self) -> Result<Path, TextFault> {
        let spot = self.need("target")?;
        let SyntaxTree::Path(segments) = &spot.tree else { return fault(spot.at, "the target must be a path") };
        let path = crate::ottl::check::paths::resolve(segments, self.syntax, spot.at)?;
        if path.can_be_set() { Ok(path) } else { fault(spot.at, format!("`{}` cannot be set", path.name)) }
    }

    /// A target that is a map.
    fn map(&self) -> Result<Path, TextFault> {
        let path = self.target()?;
        match path.part {
            PathPart::Attributes(_) | PathPart::Any(_) | PathPart::Point(PointPart::Attributes) => Ok(path),
            _ => fault(self.need("target")?.at, format!("`{}` is no map", path.name)),
        }
    }

    fn append(&self) -> Result<Editor, TextFault> {
        let value = self.optional("value")?;
        let values = self.get("values").map(|_| self.written_list("values", ArgumentKind::Values)).transpose()?;
        if value.is_none() && values.is_none() {
            return fault(self.at, "`append` needs a value or values");
        }
        let target = self.target()?;
        match target.part {
            PathPart::Any(_) => {}
            _ if !target.keys.is_empty() => {}
            _ => return fault(self.need("target")?.at, format!("`{}` is no list", target.name)),
        }
        Ok(Editor::Append { target, value, values })
    }

    fn limit(&self) -> Result<MapEdit, TextFault> {
        let most = self.count("limit")?;
        let listed = self.need("priorityKeys")?;
        let SyntaxTree::List(keys) = &listed.tree else { return fault(listed.at, "the priority keys must be a list") };
        let keys = keys.iter().map(|key| self.text(key).map(str::to_owned)).collect::<Result<Vec<_>, _>>()?;
        if keys.len() > most {
            return fault(listed.at, format!("{} priority keys do not fit a limit of {most}", keys.len()));
        }
        Ok(MapEdit::Limit { most, keys })
    }

    fn truth(&self, parameter: &str, default: bool) -> Result<bool, TextFault> {
        match self.get(parameter) {
            None => Ok(default),
            Some(LocatedTree { tree: SyntaxTree::Literal(Literal::Bool(truth)), .. }) => Ok(*truth),
            Some(spot) => fault(spot.at, format!("`{parameter}` must be true or false")),
        }
    }

    fn truncate(&self) -> Result<MapEdit, TextFault> {
        let most = self.count("limit")?;
        let marker = match self.get("truncationMarker") {
            Some(spot) if self.text(spot)?.len() > most => {
                return fault(spot.at, "the marker is longer than the limit");
            }
            Some(spot) => self.text(spot)?.to_owned(),
            None => String::new(),
        };
        Ok(MapEdit::Truncate { most, whole: self.truth("utf8Safe", true)?, marker })
    }

    fn flatten(&self) -> Result<MapEdit, TextFault> {
        let depth = if self.get("depth").is_some() { self.count("depth")? } else { usize::MAX };
        if depth == 0 {
            return fault(self.need("depth")?.at, "`depth` must be above zero");
        }
        let prefix = match self.get("prefix") {
            Some(spot) => self.text(spot)?.to_owned(),
            None => String::new(),
        };
        Ok(MapEdit::Flatten { prefix, depth, resolve: self.truth("resolveConflicts", false)? })
    }

    fn strategy(&self) -> Result<Merge, TextFault> {
        let spot = self.need("strategy")?;
        match self.text(spot)? {
            "insert" => Ok(Merge::Insert),
            "update" => Ok(Merge::Update),
            "upsert" => Ok(Merge::Upsert),
            other => fault(spot.at, format!("the strategy is \"insert\", \"update\" or \"upsert\", not {other:?}")),
        }
    }

    fn replacement(&self) -> Result<Replacement, TextFault> {
        let text = self.wanted("replacement", ArgumentKind::Text)?;
        let function = self.get("function").map(function).transpose()?;
        let format =
            self.get("replacementFormat").map(|_| self.wanted("replacementFormat", ArgumentKind::Text)).transpose()?;
        if let Some(CheckedNode::Literal(Literal::Text(written))) = &format
            && Replacement::around(written).is_none()
        {
            return fault(self.need("replacementFormat")?.at, "the format needs exactly one %s");
        }
        Ok(Replacement { text, function, format })
    }
}

/// A converter named as an argument: one that makes a text of a text.
fn function(spot: &LocatedTree) -> Result<Converter, TextFault> {
    let name = match &spot.tree {
        SyntaxTree::Enum(name) => name.as_str(),
        SyntaxTree::Path(segments) if segments.len() == 1 && segments[0].keys.is_empty() => &segments[0].name,
        _ => return fault(spot.at, "the name of a function is expected"),
    };
    let Some(known) = CONVERTERS.iter().find(|known| known.name == name) else {
        return fault(spot.at, format!("podgate has no function `{name}`"));
    };
    match known.parameters {
        [one] if one.want == ArgumentKind::Text => Ok(known.converter),
        _ => fault(spot.at, format!("`{name}` does not take one text alone")),
    }
}
