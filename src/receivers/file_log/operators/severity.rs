//! `severity_parser`: a value's severity by a table of texts, numbers and ranges.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::receivers::file_log::entry::{EntrySeverity, EntryValue, FileEntry};
use crate::receivers::file_log::field::EntryField;

/// The aliases by their numbers, from 1; each has three finer ones behind it.
const ALIASES: [&str; 6] = ["trace", "debug", "info", "warn", "error", "fatal"];

/// How severities are read.
#[derive(Clone, Debug)]
pub struct SeverityReading {
    pub from: EntryField,
    /// Texts in lower case.
    pub texts: BTreeMap<String, u32>,
    pub ranges: Vec<(i64, i64, u32)>,
    pub overwrite_text: bool,
}

/// The number of an alias, `warn` or `warn3`; 0 for `default`.
pub fn number_of(alias: &str) -> Option<u32> {
    if alias == "default" {
        return Some(0);
    }
    let (name, finer) = match alias.strip_suffix(['2', '3', '4']) {
        Some(name) => (name, u32::from(alias.as_bytes().last()? - b'1')),
        None => (alias, 0),
    };
    let at = ALIASES.iter().position(|known| *known == name)?;
    Some(at as u32 * 4 + 1 + finer)
}

/// The tables that a preset begins with, by the texts and numbers of a Collector's.
pub fn preset(name: &str) -> BTreeMap<String, u32> {
    if name == "none" {
        return BTreeMap::new();
    }
    let all = ALIASES.iter().flat_map(|name| ["", "2", "3", "4"].map(|finer| format!("{name}{finer}")));
    let mut texts: BTreeMap<String, u32> =
        all.filter_map(|alias| number_of(&alias).map(|number| (alias, number))).collect();
    // granted: two small tables of a configuration
    texts.extend((1..=24).map(|number| (number.to_string(), number)));
    if !matches!(name, "otel" | "aliases") {
        for (other, alias) in [("warning", 13), ("err", 17)] {
            let finer = [("", 0), ("2", 1), ("3", 2), ("4", 3)];
            // granted: as above
            texts.extend(finer.map(|(suffix, more)| (format!("{other}{suffix}"), alias + more)));
        }
    }
    texts
}

impl SeverityReading {
    /// Numbers of a configuration count before those of the preset.
    pub fn map_range(&mut self, from: i64, to: i64, number: u32) {
        self.texts.retain(|text, _| !text.parse().is_ok_and(|known: i64| (from..=to).contains(&known)));
        self.ranges.push((from, to, number));
    }

    /// Reads the field, which stays.
    pub fn apply(&self, entry: &mut FileEntry<'_>) -> Result<(), String> {
        let value = self.from.get(entry).ok_or("the field of the severity is not there")?;
        let text = match value {
            EntryValue::Text(text) => text.clone().into_owned(),
            EntryValue::Int(number) => number.to_string().into_bytes(),
            // A number that has no fraction is written without one.
            EntryValue::Double(number) if number.fract() == 0.0 => (*number as i64).to_string().into_bytes(),
            _ => return Err("only a text and a whole number are a severity".to_owned()),
        };
        let number = self.number(&text);
        entry.severity = Some(EntrySeverity { number, text: self.text(number, text) });
        Ok(())
    }

    fn number(&self, text: &[u8]) -> u32 {
        let lower = String::from_utf8_lossy(text).to_lowercase();
        if let Some(number) = self.texts.get(&lower) {
            return *number;
        }
        // Numbers are compared as they are written: `007` is in no range.
        let whole = lower.parse::<i64>().ok().filter(|whole| whole.to_string() == lower);
        let within = |(from, to, _): &&(i64, i64, u32)| whole.is_some_and(|whole| (*from..=*to).contains(&whole));
        self.ranges.iter().find(within).map_or(0, |(.., number)| *number)
    }

    fn text(&self, number: u32, text: Vec<u8>) -> Cow<'static, [u8]> {
        let alias = number.checked_sub(1).filter(|_| self.overwrite_text);
        match alias.and_then(|at| Some((ALIASES.get(at as usize / 4)?, at % 4))) {
            Some((name, 0)) => Cow::Owned(name.to_uppercase().into_bytes()),
            Some((name, finer)) => Cow::Owned(format!("{}{}", name.to_uppercase(), finer + 1).into_bytes()),
            None => Cow::Owned(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receivers::file_log::entry::set;

    #[test]
    fn values_are_read_by_texts_and_ranges() {
        let mut texts = preset("");
        texts.insert("oops".to_owned(), 17);
        let ranges = vec![(400, 499, 13), (500, 599, 17)];
        let from = EntryField::parse("attributes.level").unwrap();
        for (value, overwrite_text, expected) in [
            (EntryValue::text(b"Warn"), false, (13, "Warn")),
            (EntryValue::text(b"warn3"), true, (15, "WARN3")),
            (EntryValue::text(b"oops"), true, (17, "ERROR")),
            (EntryValue::Int(404), false, (13, "404")),
            (EntryValue::text(b"503"), false, (17, "503")),
            (EntryValue::text(b"strange"), false, (0, "strange")),
        ] {
            let reading =
                SeverityReading { from: from.clone(), texts: texts.clone(), ranges: ranges.clone(), overwrite_text };
            let mut entry = FileEntry::of(b"");
            set(&mut entry.attributes, Cow::Borrowed("level"), value);
            reading.apply(&mut entry).unwrap();
            let severity = entry.severity.unwrap();
            assert_eq!((severity.number, &*String::from_utf8_lossy(&severity.text)), expected);
            assert_eq!(entry.attributes.len(), 1, "the field stays");
            reading.apply(&mut FileEntry::of(b"")).expect_err("no field");
        }
        assert_eq!((number_of("fatal4"), number_of("default"), number_of("panic")), (Some(24), Some(0), None));
    }
}
