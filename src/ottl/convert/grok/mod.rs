//! `ExtractGrokPatterns`: named patterns in patterns (`%{WORD:name}`), as the package elastic/go-grok expands them.
//!
//! The patterns themselves are that package's, in `grok/patterns.txt`.

use std::sync::LazyLock;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use regex::Regex;

use crate::config::value::pattern;
use crate::ottl::convert::made::{object, text_value};
use crate::ottl::convert::number;
use crate::ottl::value::OttlValue;
use crate::ottl::value::failure::EvalFailure;

const PATTERNS: &str = include_str!("patterns.txt");
/// Dots are no part of a group's name.
const DOT: &str = "___";
/// Patterns that become longer are refused.
const EXPANDED_MAX: usize = 512 << 10;
const ROUNDS_MAX: usize = 1000;
/// Patterns out of the data are compiled for their item.
const OF_DATA_MAX: usize = 1 << 10;

static KNOWN: LazyLock<HashMap<&'static str, &'static str, RandomState>> = LazyLock::new(|| {
    let lines = PATTERNS.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once(' ')).collect()
});

/// `%{NAME}`, `%{NAME:as}`, `%{NAME:as:type}`
static REFERENCE: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"%\{([0-9A-Za-z_]+(?::[0-9A-Za-z_+.]+(?::[0-9A-Za-z_]+)?)?)\}").ok());

/// A checked pattern.
#[derive(Debug)]
pub struct Grok {
    pattern: Regex,
    /// Kinds of values by the name of their group.
    kinds: HashMap<String, String, RandomState>,
}

impl Grok {
    /// `definitions` are `NAME=pattern`; what is wrong otherwise.
    pub fn compile(text: &str, named_only: bool, definitions: &[String], of_data: bool) -> Result<Grok, String> {
        if of_data && text.len() > OF_DATA_MAX {
            return Err("the pattern is too long".to_owned());
        }
        let mut own: HashMap<&str, &str, RandomState> = HashMap::default();
        for definition in definitions {
            let shown = || definition.chars().take(20).collect::<String>();
            let (name, defined) = definition
                .split_once('=')
                .ok_or_else(|| format!("{:?} is no definition such as NAME=pattern", shown()))?;
            if name.contains(':') {
                return Err(format!("the name of a pattern has no colon: {:?}", shown()));
            }
            own.insert(name, defined);
        }
        let (expanded, kinds) = expand(text, named_only, &own)?;
        let pattern = if of_data { pattern::compile_small(&expanded)? } else { pattern::compile(&expanded)? };
        if named_only && pattern.capture_names().flatten().next().is_none() {
            return Err("the pattern has no named group such as %{WORD:name}".to_owned());
        }
        Ok(Grok { pattern, kinds })
    }

    /// The groups that the first match has, of the kinds they were given; an empty map when nothing matches.
    pub fn extract<'a>(&self, text: &str) -> Result<OttlValue<'a>, EvalFailure> {
        let mut pairs = Vec::new();
        let Some(found) = self.pattern.captures(text) else { return object(pairs) };
        for numbered in self.pattern.capture_names().flatten() {
            let name = pattern::group_name(numbered);
            let group = found.name(numbered).map_or("", |group| group.as_str());
            if group.is_empty() {
                continue;
            }
            let value = match self.kinds.get(name).map(String::as_str) {
                None | Some("string") => text_value(group),
                Some("int" | "long") => number::integer(&text_value(group))?,
                Some("double" | "float") => number::double(&text_value(group))?,
                Some("bool" | "boolean") => number::boolean(&text_value(group))?,
                Some(_) => return Err(EvalFailure("a group of the pattern has an unknown type")),
            };
            pairs.push((name.replace(DOT, "."), value));
        }
        object(pairs)
    }
}

type Kinds = HashMap<String, String, RandomState>;

fn expand(text: &str, named_only: bool, own: &HashMap<&str, &str, RandomState>) -> Result<(String, Kinds), String> {
    let (mut expanded, mut kinds) = (text.to_owned(), Kinds::default());
    let reference = REFERENCE.as_ref().ok_or("patterns of grok cannot be read")?;
    for _ in 0..ROUNDS_MAX {
        let found: Vec<(String, String)> =
            reference.captures_iter(&expanded).map(|found| (found[0].to_owned(), found[1].to_owned())).collect();
        if found.is_empty() {
            return Ok((expanded, kinds));
        }
        for (whole, inside) in found {
            let mut parts = inside.split(':');
            let name = parts.next().unwrap_or_default();
            let named = parts.next();
            let target = named.map_or_else(|| name.to_owned(), |named| named.replace('.', DOT));
            if let Some(kind) = parts.next() {
                kinds.insert(target.clone(), kind.to_owned());
            }
            let known = own.get(name).or_else(|| KNOWN.get(name));
            let known = known.ok_or_else(|| format!("there is no pattern of grok called {name:?}"))?;
            let group =
                if named_only && named.is_none() { format!("({known})") } else { format!("(?P<{target}>{known})") };
            let times = expanded.matches(&whole).count();
            if expanded.len() + times * group.len() > EXPANDED_MAX {
                return Err("the pattern becomes too long".to_owned());
            }
            expanded = expanded.replace(&whole, &group);
        }
    }
    Ok((expanded, kinds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_of_the_package_can_be_used() {
        let refused: Vec<&str> = KNOWN
            .keys()
            .copied()
            .filter(|name| Grok::compile(&format!("%{{{name}:found}}"), true, &[], false).is_err())
            .collect();
        // Its group is not closed, and Go refuses it too.
        assert_eq!(refused, ["CISCOFW733100"]);
    }

    #[test]
    fn an_access_log_is_read_with_kinds() {
        let line = r#"127.0.0.1 - frank [10/Oct/2000:13:55:36 -0700] "GET /a.gif HTTP/1.0" 200 2326"#;
        let grok =
            Grok::compile("%{IP:client.ip} - %{USER:user} .* %{INT:status:int} %{INT:size:double}", true, &[], false)
                .unwrap();
        let pairs = grok.extract(line).unwrap().pairs().unwrap();
        let shown: Vec<String> = pairs.iter().map(|(key, value)| format!("{key}={value:?}")).collect();
        assert_eq!(
            shown,
            ["client.ip=Text(\"127.0.0.1\")", "user=Text(\"frank\")", "status=Int(200)", "size=Float(2326.0)"]
        );
    }
}
