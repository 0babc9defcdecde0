//! Faults and warnings found in a configuration: all are collected, none stops the check of the rest.

use std::cell::RefCell;

use crate::core::node::Place;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Error,
    Warning,
}

/// One finding. `code` is stable and documented in docs/errors.md.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnostic {
    pub code: &'static str,
    pub severity: Severity,
    pub place: Option<Place>,
    /// `receivers::otlp::protocols::grpc`
    pub path: String,
    /// What is wrong, with the value as written.
    pub message: String,
    /// What was expected or the nearest known key: printed beside the caret.
    pub expected: Option<String>,
    /// What to do about it.
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error at `place`, still without words: `Diagnostic::error(code, place).at(path).says(message)`.
    pub fn error(code: &'static str, place: impl Into<Option<Place>>) -> Diagnostic {
        Diagnostic::new(code, Severity::Error, place)
    }

    /// A warning at `place`, still without words.
    pub fn warning(code: &'static str, place: impl Into<Option<Place>>) -> Diagnostic {
        Diagnostic::new(code, Severity::Warning, place)
    }

    pub fn new(code: &'static str, severity: Severity, place: impl Into<Option<Place>>) -> Diagnostic {
        let (path, message) = (String::new(), String::new());
        Diagnostic { code, severity, place: place.into(), path, message, expected: None, help: None }
    }

    /// The path of keys to it, such as `receivers::otlp::protocols::grpc`.
    pub fn at(self, path: impl Into<String>) -> Diagnostic {
        Diagnostic { path: path.into(), ..self }
    }

    pub fn says(self, message: impl Into<String>) -> Diagnostic {
        Diagnostic { message: message.into(), ..self }
    }

    pub fn expected(self, expected: impl Into<String>) -> Diagnostic {
        Diagnostic { expected: Some(expected.into()), ..self }
    }

    pub fn expected_if(self, expected: Option<String>) -> Diagnostic {
        Diagnostic { expected, ..self }
    }

    pub fn help(self, help: impl Into<String>) -> Diagnostic {
        Diagnostic { help: Some(help.into()), ..self }
    }

    pub fn help_if(self, help: Option<String>) -> Diagnostic {
        Diagnostic { help, ..self }
    }
}

/// Findings that are shown, logged and put on pages. A configuration of 8 MiB has room for a million faults.
pub const FINDINGS_MAX: usize = 200;

/// Codes of findings. One line each in docs/errors.md.
pub mod code {
    pub const SYNTAX: &str = "E0101";
    pub const SOURCE_UNREADABLE: &str = "E0102";
    pub const EXPANSION: &str = "E0103";
    pub const DUPLICATE_KEY: &str = "E0104";
    pub const LIMIT: &str = "E0105";
    pub const UNKNOWN_KEY: &str = "E0201";
    pub const WRONG_TYPE: &str = "E0202";
    pub const INVALID_VALUE: &str = "E0203";
    pub const MISSING_KEY: &str = "E0204";
    pub const NOT_YET: &str = "E0205";
    pub const RETIRED: &str = "E0206";
    pub const CONFLICT: &str = "E0207";
    pub const UNKNOWN_COMPONENT: &str = "E0301";
    pub const UNDEFINED_COMPONENT: &str = "E0302";
    pub const BAD_ID: &str = "E0303";
    pub const BAD_PIPELINE: &str = "E0304";
    pub const SIGNAL_UNSUPPORTED: &str = "E0305";
    pub const NO_PIPELINE: &str = "E0306";
    pub const UNPROTECTED: &str = "E0307";
    pub const RESTART_NEEDED: &str = "E0308";
    pub const DEPRECATED: &str = "W0401";
    pub const IGNORED_KEY: &str = "W0402";
    pub const LINT: &str = "W0403";
    pub const SKIPPED: &str = "W0404";
    pub const EXPANSION_WARNING: &str = "W0405";
    pub const INSECURE: &str = "W0406";
    pub const RESTART_FOR_THIS: &str = "W0407";
}

/// Collects findings during one check. Interior mutability, because nested sections report into the same list.
#[derive(Debug, Default)]
pub struct Diagnostics {
    found: RefCell<Vec<Diagnostic>>,
}

impl Diagnostics {
    pub fn push(&self, diagnostic: Diagnostic) {
        self.found.borrow_mut().push(diagnostic);
    }

    pub fn has_errors(&self) -> bool {
        self.found.borrow().iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    pub fn is_empty(&self) -> bool {
        self.found.borrow().is_empty()
    }

    /// Turns errors of this code into warnings: what they name is left out on request.
    pub fn soften(&self, code: &'static str) {
        let mut found = self.found.borrow_mut();
        for diagnostic in found.iter_mut().filter(|diagnostic| diagnostic.code == code) {
            diagnostic.severity = Severity::Warning;
        }
    }

    /// The first [`FINDINGS_MAX`] of what was found, errors before warnings where not all fit, in order of source and place; what is
    /// left out is counted in one finding more.
    pub fn first(&self) -> Vec<Diagnostic> {
        let mut found = self.sorted();
        if found.len() <= FINDINGS_MAX {
            return found;
        }
        found.sort_by_key(|diagnostic| diagnostic.severity);
        let left_out = found.split_off(FINDINGS_MAX);
        found.sort_by_key(|diagnostic| (diagnostic.place, diagnostic.severity));
        // The first of them is an error when any is.
        let severity = left_out.first().map_or(Severity::Warning, |diagnostic| diagnostic.severity);
        let message = format!("{} more findings are not shown", left_out.len());
        found.push(Diagnostic::new(code::LIMIT, severity, None).says(message).help("mend these, and ask again"));
        found
    }

    /// Everything found so far, in order of source and place.
    pub fn sorted(&self) -> Vec<Diagnostic> {
        let mut found = self.found.borrow().clone();
        found.sort_by_key(|diagnostic| (diagnostic.place, diagnostic.severity));
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::node::SourceId;

    #[test]
    fn of_very_many_findings_the_errors_are_told_and_the_rest_is_counted() {
        let all = Diagnostics::default();
        let place = |line| Place { source: SourceId(0), line, column: 1, length: 1 };
        (1..=500).for_each(|line| all.push(Diagnostic::warning(code::LINT, place(line)).says("odd")));
        (600..=700).for_each(|line| all.push(Diagnostic::error(code::UNKNOWN_KEY, place(line)).says("wrong")));
        let told = all.first();
        assert_eq!(told.len(), FINDINGS_MAX + 1);
        assert_eq!(told.iter().filter(|found| found.severity == Severity::Error).count(), 101);
        assert!(told[..FINDINGS_MAX].is_sorted_by_key(|found| found.place));
        assert_eq!(told[FINDINGS_MAX].message, "401 more findings are not shown");
    }
}
