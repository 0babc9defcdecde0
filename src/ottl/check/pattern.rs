//! Patterns as arguments: compiled beforehand where they stand in the text, else for each text that comes, the last of
//! which is kept.

use std::sync::{Arc, Mutex, PoisonError};

use regex::Regex;

use crate::config::value::pattern;
use crate::ottl::check::CheckedNode;
use crate::ottl::edit::glob;
use crate::ottl::value::OttlValue;
use crate::ottl::{EvalFailure, Item, eval};

/// Longer patterns of the data are refused: each is compiled for its item.
const MADE_MAX: usize = 1 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Go's regular expressions.
    Regex,
    /// Globs of whole texts.
    Glob,
}

impl Dialect {
    fn compile(self, text: &str, known: bool) -> Result<Regex, String> {
        match self {
            Dialect::Regex if known => pattern::compile(text),
            Dialect::Regex => pattern::compile_small(text),
            Dialect::Glob => glob::compile(text).ok_or_else(|| "brackets or braces do not fit".to_owned()),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Dialect::Regex => "regular expression",
            Dialect::Glob => "glob pattern",
        }
    }
}

#[derive(Debug)]
pub struct Pattern {
    dialect: Dialect,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Known(Arc<Regex>),
    Made(Box<CheckedNode>, Mutex<Option<(String, Arc<Regex>)>>),
}

impl Pattern {
    /// What is wrong with one that stands in the text.
    pub fn of(node: CheckedNode, dialect: Dialect) -> Result<Pattern, String> {
        let kind = match node.literal() {
            Some(OttlValue::Text(text)) => match dialect.compile(&text, true) {
                Ok(regex) => Kind::Known(Arc::new(regex)),
                Err(why) => return Err(format!("{text:?} is not a {}: {why}", dialect.name())),
            },
            Some(_) => return Err("the pattern must be a string".to_owned()),
            None => Kind::Made(Box::new(node), Mutex::new(None)),
        };
        Ok(Pattern { dialect, kind })
    }

    /// `None` for one that is made of the item.
    pub fn known(&self) -> Option<&Regex> {
        if let Kind::Known(regex) = &self.kind { Some(regex) } else { None }
    }

    pub fn get(&self, item: &Item<'_>) -> Result<Arc<Regex>, EvalFailure> {
        let (node, last) = match &self.kind {
            Kind::Known(regex) => return Ok(regex.clone()),
            Kind::Made(node, last) => (node, last),
        };
        let OttlValue::Text(text) = eval::value(node, item)? else { return Err(EvalFailure("expected a pattern")) };
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, regex)) = &*last
            && *known == text
        {
            return Ok(regex.clone());
        }
        if text.len() > MADE_MAX {
            return Err(EvalFailure("the pattern is too long"));
        }
        let regex = self.dialect.compile(&text, false).map_err(|_| EvalFailure("the text is no pattern"))?;
        let regex = Arc::new(regex);
        *last = Some((text.into_owned(), regex.clone()));
        Ok(regex)
    }
}
