//! Conditions of operators (`if`, `expr`): the common forms of expr-lang over the fields of an entry.
//!
//! Comparisons (`==`, `!=`, `<`, `<=`, `>`, `>=`, `matches`, `contains`, `startsWith`, `endsWith`, `in [...]`), joined by
//! `and`, `or` and `not` in either spelling, with parentheses; texts, numbers, `true`, `false` and `nil`. Everything else is
//! refused where the configuration is read. Patterns are linear. Values that cannot be compared are a fault of the entry, as in
//! expr-lang: `attributes.absent > 3` neither holds nor does not; that `nil` matches or contains something does not hold.

use std::borrow::Cow;
use std::cmp::Ordering;

use regex::bytes::Regex;

use crate::config::value::pattern;
use crate::receivers::file_log::entry::{EntryValue, FileEntry};
use crate::receivers::file_log::field::{EntryField, EntryPart};

/// Nesting of one condition.
const DEPTH_MAX: usize = 32;

/// A condition that was read.
#[derive(Clone, Debug)]
pub enum EntryCondition {
    And(Vec<EntryCondition>),
    Or(Vec<EntryCondition>),
    Not(Box<EntryCondition>),
    /// A field or literal that is true by itself.
    Is(Operand),
    Compare(Operand, Comparison, Operand),
    Matches(Operand, Regex),
    OneOf(Operand, Vec<Operand>),
}

#[derive(Clone, Debug)]
pub enum Operand {
    Field(EntryField),
    Literal(EntryValue<'static>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Contains,
    StartsWith,
    EndsWith,
}

impl EntryCondition {
    /// The error is a sentence.
    pub fn parse(text: &str) -> Result<EntryCondition, String> {
        let mut reader = Reader { tokens: tokens(text)?, at: 0 };
        let condition = reader.or(0)?;
        match reader.next() {
            None => Ok(condition),
            Some(token) => Err(format!("{} is not expected here", token.shown())),
        }
    }

    /// The second part of `and` and `or` counts only where the first one leaves it open.
    pub fn holds(&self, entry: &FileEntry<'_>) -> Result<bool, Mismatch> {
        match self {
            EntryCondition::And(all) => {
                all.iter().try_fold(true, |holds, one| if holds { one.holds(entry) } else { Ok(false) })
            }
            EntryCondition::Or(any) => {
                any.iter().try_fold(false, |holds, one| if holds { Ok(true) } else { one.holds(entry) })
            }
            EntryCondition::Not(inner) => inner.holds(entry).map(|holds| !holds),
            EntryCondition::Is(operand) => match &*operand.value(entry)? {
                EntryValue::Bool(holds) => Ok(*holds),
                EntryValue::Nil => Ok(false),
                _ => Err(Mismatch),
            },
            EntryCondition::Compare(left, how, right) => compare(&*left.value(entry)?, *how, &*right.value(entry)?),
            EntryCondition::Matches(operand, regex) => {
                let value = operand.value(entry)?;
                if *value == EntryValue::Nil { Ok(false) } else { Ok(regex.is_match(value.as_text().ok_or(Mismatch)?)) }
            }
            EntryCondition::OneOf(operand, list) => {
                let value = operand.value(entry)?;
                list.iter().try_fold(false, |found, one| Ok(found || is_equal(&value, &*one.value(entry)?)))
            }
        }
    }

    /// Whether it asks the resource of an entry.
    pub fn asks_resource(&self) -> bool {
        let asks = |operand: &Operand| matches!(operand, Operand::Field(field) if field.part == EntryPart::Resource);
        match self {
            EntryCondition::And(parts) | EntryCondition::Or(parts) => parts.iter().any(EntryCondition::asks_resource),
            EntryCondition::Not(inner) => inner.asks_resource(),
            EntryCondition::Is(operand) | EntryCondition::Matches(operand, _) => asks(operand),
            EntryCondition::Compare(left, _, right) => asks(left) || asks(right),
            EntryCondition::OneOf(operand, list) => asks(operand) || list.iter().any(asks),
        }
    }
}

/// The values of a condition are of kinds that cannot be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mismatch;

impl std::fmt::Display for Mismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the values of a condition cannot be compared")
    }
}

impl Operand {
    fn value<'e>(&'e self, entry: &'e FileEntry<'_>) -> Result<Cow<'e, EntryValue<'e>>, Mismatch> {
        match self {
            Operand::Literal(value) => Ok(Cow::Borrowed(value)),
            Operand::Field(field) => match field.get(entry) {
                Some(value) => Ok(Cow::Borrowed(value)),
                // What is not there is `nil`; a key of what is not there, or of no map, is a fault.
                None if field.keys.len() < 2 && (field.part != EntryPart::Body || field.keys.is_empty()) => {
                    Ok(Cow::Owned(EntryValue::Nil))
                }
                None => field.holder(entry).map(|_| Cow::Owned(EntryValue::Nil)).ok_or(Mismatch),
            },
        }
    }
}

fn number(value: &EntryValue<'_>) -> Option<f64> {
    match value {
        EntryValue::Int(number) => Some(*number as f64),
        EntryValue::Double(number) => Some(*number),
        _ => None,
    }
}

fn is_equal(left: &EntryValue<'_>, right: &EntryValue<'_>) -> bool {
    match (number(left), number(right)) {
        (Some(left), Some(right)) => left == right,
        _ => left == right,
    }
}

fn order(left: &EntryValue<'_>, right: &EntryValue<'_>) -> Option<Ordering> {
    match (left.as_text(), right.as_text()) {
        (Some(left), Some(right)) => Some(left.cmp(right)),
        _ => number(left)?.partial_cmp(&number(right)?),
    }
}

fn compare(left: &EntryValue<'_>, how: Comparison, right: &EntryValue<'_>) -> Result<bool, Mismatch> {
    let ordered = |is: fn(Ordering) -> bool| order(left, right).map(is).ok_or(Mismatch);
    let texts = |holds: fn(&[u8], &[u8]) -> bool| match (left.as_text(), right.as_text()) {
        (Some(left), Some(right)) => Ok(holds(left, right)),
        _ if *left == EntryValue::Nil || *right == EntryValue::Nil => Ok(false),
        _ => Err(Mismatch),
    };
    match how {
        Comparison::Equal => Ok(is_equal(left, right)),
        Comparison::Unequal => Ok(!is_equal(left, right)),
        Comparison::Less => ordered(Ordering::is_lt),
        Comparison::LessOrEqual => ordered(Ordering::is_le),
        Comparison::Greater => ordered(Ordering::is_gt),
        Comparison::GreaterOrEqual => ordered(Ordering::is_ge),
        Comparison::Contains => texts(holds_part),
        Comparison::StartsWith => texts(|left, right| left.starts_with(right)),
        Comparison::EndsWith => texts(|left, right| left.ends_with(right)),
    }
}

fn holds_part(text: &[u8], part: &[u8]) -> bool {
    match (std::str::from_utf8(text), std::str::from_utf8(part)) {
        // The standard library's search is linear.
        (Ok(text), Ok(part)) => text.contains(part),
        _ => String::from_utf8_lossy(text).contains(&*String::from_utf8_lossy(part)),
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Number(EntryValue<'static>),
    Mark(&'static str),
}

impl Token {
    fn shown(&self) -> String {
        match self {
            Token::Word(word) => format!("`{word}`"),
            Token::Text(text) => format!("{text:?}"),
            Token::Number(_) => "a number".to_owned(),
            Token::Mark(mark) => format!("`{mark}`"),
        }
    }
}

const MARKS: [&str; 12] = ["==", "!=", "<=", ">=", "&&", "||", "<", ">", "!", "(", ")", ","];

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let mark = MARKS.into_iter().chain(["[", "]"]).find(|mark| rest.starts_with(mark));
        let (token, after) = match (first, mark) {
            ('"' | '\'' | '`', _) => quoted(rest, first)?,
            (_, Some(mark)) => (Token::Mark(mark), rest.get(mark.len()..).unwrap_or_default()),
            ('0'..='9' | '-', _) => numeral(rest)?,
            _ => word(rest)?,
        };
        found.push(token);
        rest = after.trim_start();
    }
    Ok(found)
}

fn quoted(rest: &str, quote: char) -> Result<(Token, &str), String> {
    let mut text = String::new();
    let mut characters = rest.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        match character {
            _ if character == quote => return Ok((Token::Text(text), rest.get(at + 1..).unwrap_or_default())),
            '\\' if quote != '`' => match characters.next() {
                Some((_, 'n')) => text.push('\n'),
                Some((_, 't')) => text.push('\t'),
                Some((_, 'r')) => text.push('\r'),
                Some((_, escaped @ ('\\' | '"' | '\''))) => text.push(escaped),
                Some((_, other)) => return Err(format!("`\\{other}` is no escape of a text")),
                None => break,
            },
            _ => text.push(character),
        }
    }
    Err(format!("a text that begins with {quote} does not end"))
}

fn numeral(rest: &str) -> Result<(Token, &str), String> {
    let is_part = |(at, c): &(usize, char)| c.is_ascii_digit() || *c == '.' || (*at == 0 && *c == '-');
    let end = rest.char_indices().find(|part| !is_part(part)).map_or(rest.len(), |(at, _)| at);
    let (digits, after) = rest.split_at(end);
    let whole = digits.parse().map(EntryValue::Int);
    let value = whole.or_else(|_| digits.parse().map(EntryValue::Double));
    Ok((Token::Number(value.map_err(|_| format!("{digits:?} is no number"))?), after))
}

/// A name, with the keys behind it.
fn word(rest: &str) -> Result<(Token, &str), String> {
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '$');
    let mut end = rest.find(|c: char| !is_plain(c)).unwrap_or(rest.len());
    while end > 0 && rest.get(end..).is_some_and(|tail| tail.starts_with(['[']) && tail.get(1..2) != Some(" ")) {
        let close = rest.get(end..).and_then(|tail| tail.find(']')).ok_or("a `[` is not closed")?;
        end += close + 1;
        let tail = rest.get(end..).unwrap_or_default();
        end += tail.find(|c: char| !is_plain(c)).unwrap_or(tail.len());
    }
    if end == 0 {
        return Err(format!("{:?} is not understood", rest.chars().next().unwrap_or(' ')));
    }
    let (name, after) = rest.split_at(end);
    Ok((Token::Word(name.to_owned()), after))
}

struct Reader {
    tokens: Vec<Token>,
    at: usize,
}

type Understood<T> = Result<T, String>;

impl Reader {
    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at += usize::from(token.is_some());
        token
    }

    fn take(&mut self, spellings: &[&str]) -> bool {
        let found = match self.tokens.get(self.at) {
            Some(Token::Mark(mark)) => spellings.contains(mark),
            Some(Token::Word(word)) => spellings.contains(&word.as_str()),
            _ => false,
        };
        self.at += usize::from(found);
        found
    }

    fn or(&mut self, depth: usize) -> Understood<EntryCondition> {
        let mut any = vec![self.and(depth)?];
        while self.take(&["or", "||"]) {
            any.push(self.and(depth)?);
        }
        Ok(if any.len() == 1 { any.remove(0) } else { EntryCondition::Or(any) })
    }

    fn and(&mut self, depth: usize) -> Understood<EntryCondition> {
        let mut all = vec![self.not(depth)?];
        while self.take(&["and", "&&"]) {
            all.push(self.not(depth)?);
        }
        Ok(if all.len() == 1 { all.remove(0) } else { EntryCondition::And(all) })
    }

    fn not(&mut self, depth: usize) -> Understood<EntryCondition> {
        if depth > DEPTH_MAX {
            return Err("the condition is nested too deep".to_owned());
        }
        if self.take(&["not", "!"]) {
            return Ok(EntryCondition::Not(Box::new(self.not(depth + 1)?)));
        }
        if self.take(&["("]) {
            let inner = self.or(depth + 1)?;
            return if self.take(&[")"]) { Ok(inner) } else { Err("a `(` is not closed".to_owned()) };
        }
        let left = self.operand()?;
        self.comparison(left)
    }

    fn comparison(&mut self, left: Operand) -> Understood<EntryCondition> {
        let negated = self.take(&["not"]);
        let comparisons = [
            ("==", Comparison::Equal),
            ("!=", Comparison::Unequal),
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
            ("contains", Comparison::Contains),
            ("startsWith", Comparison::StartsWith),
            ("endsWith", Comparison::EndsWith),
        ];
        let how = comparisons.into_iter().find(|(spelling, _)| self.take(&[spelling])).map(|(_, how)| how);
        let condition = if let Some(how) = how {
            EntryCondition::Compare(left, how, self.operand()?)
        } else if self.take(&["matches"]) {
            let Operand::Literal(EntryValue::Text(text)) = self.operand()? else {
                return Err("what stands behind `matches` is not a text".to_owned());
            };
            let text = String::from_utf8_lossy(&text);
            EntryCondition::Matches(left, pattern::compile_bytes(&text)?)
        } else if self.take(&["in"]) {
            EntryCondition::OneOf(left, self.list()?)
        } else {
            EntryCondition::Is(left)
        };
        Ok(if negated { EntryCondition::Not(Box::new(condition)) } else { condition })
    }

    fn list(&mut self) -> Understood<Vec<Operand>> {
        if !self.take(&["["]) {
            return Err("a list in [...] is expected behind `in`".to_owned());
        }
        let mut list = Vec::new();
        while !self.take(&["]"]) {
            list.push(self.operand()?);
            if !self.take(&[","]) && !matches!(self.tokens.get(self.at), Some(Token::Mark("]"))) {
                return Err("a list does not end".to_owned());
            }
        }
        Ok(list)
    }

    fn operand(&mut self) -> Understood<Operand> {
        match self.next() {
            Some(Token::Text(text)) => Ok(Operand::Literal(EntryValue::Text(Cow::Owned(text.into_bytes())))),
            Some(Token::Number(number)) => Ok(Operand::Literal(number)),
            Some(Token::Word(word)) => match word.as_str() {
                "true" | "false" => Ok(Operand::Literal(EntryValue::Bool(word == "true"))),
                "nil" => Ok(Operand::Literal(EntryValue::Nil)),
                // A whole map is compared to `nil` alone, where it is always there.
                _ => Ok(Operand::Field(EntryField::parse(&word)?)),
            },
            Some(token) => Err(format!("{} is not expected here", token.shown())),
            None => Err("the condition ends too early".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receivers::file_log::entry::set;

    fn holds(text: &str) -> Result<bool, Mismatch> {
        let mut entry = FileEntry::of(b"{\"level\": 7}");
        set(&mut entry.attributes, Cow::Borrowed("log.file.path"), EntryValue::text(b"/var/log/a.log"));
        set(&mut entry.attributes, Cow::Borrowed("code"), EntryValue::Int(503));
        set(&mut entry.attributes, Cow::Borrowed("tag"), EntryValue::text(b"F"));
        EntryCondition::parse(text).unwrap_or_else(|why| panic!("{text}: {why}")).holds(&entry)
    }

    #[test]
    fn the_forms_of_shipped_configurations_are_understood() {
        for text in [
            r#"body matches "^\\{""#,
            r"attributes.tag == 'F'",
            r#"attributes["log.file.path"] endsWith ".log" and attributes.code >= 500"#,
            r#"attributes.absent == nil && attributes.tag != nil"#,
            r#"not (attributes.tag == "P") || false"#,
            r#"attributes.tag in ["F", "G"]"#,
            r#"attributes.tag not in ["P"]"#,
            r#"body contains "level" and body startsWith '{'"#,
            "attributes.code < 504.5",
            "true",
        ] {
            assert_eq!(holds(text), Ok(true), "{text}");
        }
        for text in [
            r#"body matches "^[^ Z]+Z""#,
            "attributes.tag == 3",
            "attributes.absent == 'x'",
            "attributes.absent",
            "!true",
        ] {
            assert_eq!(holds(text), Ok(false), "{text}");
        }
        for text in ["attributes.tag > 3", "attributes.code contains 'x'", "attributes.tag", "attributes.a.b == nil"] {
            assert_eq!(holds(text), Err(Mismatch), "{text}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused_in_words() {
        for text in
            ["", "body matches", "body ~ 'x'", "len(body) > 3", "(body == 'a'", "body in 'x'", "body == \"a", "'a' 'b'"]
        {
            EntryCondition::parse(text).expect_err(text);
        }
        EntryCondition::parse(&"(".repeat(100_000)).expect_err("deep");
        EntryCondition::parse(&"not ".repeat(100_000)).expect_err("deep");
    }
}
