//! `Format`: Go's `fmt.Sprintf` for the values of the language.

mod verbs;

use std::borrow::Cow;

use crate::ottl::convert::format::verbs::{Flags, plain, type_of};
use crate::ottl::convert::made::TEXT_MAX;
use crate::ottl::value::OttlValue;
use crate::ottl::value::failure::EvalFailure;

/// Widths and precisions beyond this are refused.
const WIDTH_MAX: usize = 1_000;
const TOO_WIDE: EvalFailure = EvalFailure("a width of the format is too large");

pub fn format<'a>(pattern: &str, values: &[OttlValue<'_>]) -> Result<OttlValue<'a>, EvalFailure> {
    let mut out = String::new();
    let mut reader = VerbReader { rest: pattern, values, next: 0, reordered: false, is_sound: true };
    while let Some(plain) = reader.rest.find('%') {
        out.push_str(&reader.rest[..plain]);
        reader.rest = &reader.rest[plain + 1..];
        reader.verb(&mut out)?;
        if out.len() > TEXT_MAX {
            return Err(EvalFailure("the text is too long"));
        }
    }
    out.push_str(reader.rest);
    let left = values.get(reader.next..).filter(|_| !reader.reordered).unwrap_or_default();
    let left: Vec<String> = left
        .iter()
        .map(|value| match value {
            OttlValue::Nil => Ok("<nil>".to_owned()),
            value => Ok(format!("{}={}", type_of(value), plain(value)?)),
        })
        .collect::<Result<_, EvalFailure>>()?;
    if !left.is_empty() {
        out.push_str(&format!("%!(EXTRA {})", left.join(", ")));
    }
    Ok(OttlValue::Text(Cow::Owned(out)))
}

/// Verbs of a pattern and the values that they take, one after the other or by their numbers (Go's `fmt`, "Explicit argument
/// indexes").
struct VerbReader<'f, 'v> {
    /// Behind the last `%` and what belongs to it.
    rest: &'f str,
    values: &'f [OttlValue<'v>],
    next: usize,
    /// A value was named by its number, so that nobody says which ones are too many.
    reordered: bool,
    /// The verb's number, if it has one, names a value and stands at its place.
    is_sound: bool,
}

impl VerbReader<'_, '_> {
    /// One verb with its flags, width and precision; `rest` begins behind its `%`.
    fn verb(&mut self, out: &mut String) -> Result<(), EvalFailure> {
        self.is_sound = true;
        let mut flags = self.flags();
        let mut numbered = self.number();
        if self.takes('*') {
            match self.integer()? {
                Some(width) => {
                    flags.width = usize::try_from(width.unsigned_abs()).ok();
                    flags.minus |= width < 0;
                }
                None => out.push_str("%!(BADWIDTH)"),
            }
            numbered = false;
        } else {
            flags.width = self.digits()?;
            self.is_sound &= !(numbered && flags.width.is_some());
        }
        // A point that nothing follows is the verb.
        if self.rest.len() > 1 && self.takes('.') {
            self.is_sound &= !numbered;
            numbered = self.number();
            if self.takes('*') {
                flags.precision = self.integer()?.and_then(|precision| usize::try_from(precision).ok());
                if flags.precision.is_none() {
                    out.push_str("%!(BADPREC)");
                }
                numbered = false;
            } else {
                flags.precision = Some(self.digits()?.unwrap_or_default());
            }
        }
        if !numbered {
            self.number();
        }
        let Some(verb) = self.rest.chars().next() else {
            out.push_str("%!(NOVERB)");
            return Ok(());
        };
        self.rest = &self.rest[verb.len_utf8()..];
        match self.values.get(self.next) {
            _ if verb == '%' => out.push('%'),
            _ if !self.is_sound => out.push_str(&format!("%!{verb}(BADINDEX)")),
            None => out.push_str(&format!("%!{verb}(MISSING)")),
            Some(value) => {
                self.next += 1;
                verbs::push(out, verb, flags.of(verb), value)?;
            }
        }
        Ok(())
    }

    fn takes(&mut self, wanted: char) -> bool {
        let behind = self.rest.strip_prefix(wanted);
        self.rest = behind.unwrap_or(self.rest);
        behind.is_some()
    }

    fn flags(&mut self) -> Flags {
        let mut flags = Flags::default();
        while let Some(flag) = self.rest.chars().next().filter(|c| "-+ 0#".contains(*c)) {
            self.rest = &self.rest[1..];
            match flag {
                '-' => flags.minus = true,
                '+' => flags.plus = true,
                ' ' => flags.space = true,
                '0' => flags.zero = true,
                _ => flags.sharp = true,
            }
        }
        flags
    }

    /// `[n]`: the value that comes next, from 1. True where a number stands there, be there such a value or not.
    fn number(&mut self) -> bool {
        let Some(behind) = self.rest.strip_prefix('[') else { return false };
        self.reordered = true;
        let Some((inside, behind_it)) = behind.split_once(']').filter(|_| behind.len() > 1) else {
            (self.rest, self.is_sound) = (behind, false);
            return false;
        };
        self.rest = behind_it;
        let is_number = !inside.is_empty() && inside.bytes().all(|byte| byte.is_ascii_digit());
        match inside.parse::<usize>().ok().filter(|number| is_number && (1..=self.values.len()).contains(number)) {
            Some(number) => self.next = number - 1,
            None => self.is_sound = false,
        }
        is_number
    }

    /// The next value as a width or a precision; `None` where it is no integer, or there is none.
    fn integer(&mut self) -> Result<Option<i64>, EvalFailure> {
        let Some(value) = self.values.get(self.next) else { return Ok(None) };
        self.next += 1;
        match value {
            OttlValue::Int(number) if number.unsigned_abs() > WIDTH_MAX as u64 => Err(TOO_WIDE),
            OttlValue::Int(number) => Ok(Some(*number)),
            _ => Ok(None),
        }
    }

    fn digits(&mut self) -> Result<Option<usize>, EvalFailure> {
        let length = self.rest.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, behind) = self.rest.split_at(length);
        self.rest = behind;
        if digits.is_empty() {
            return Ok(None);
        }
        digits.parse().ok().filter(|number| *number <= WIDTH_MAX).map(Some).ok_or(TOO_WIDE)
    }
}

#[cfg(test)]
mod tests;
