//! What the doctor found, for people and for machines. Pure.

use serde_json::{Value, json};

use crate::core::probe::{Finding, Health};

/// Findings about one thing: a component's path, `ports`, `running gateway`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    pub about: String,
    pub findings: Vec<Finding>,
}

impl Section {
    pub fn new(about: impl Into<String>, findings: Vec<Finding>) -> Section {
        Section { about: about.into(), findings }
    }

    pub fn worst(&self) -> Health {
        self.findings.iter().map(|finding| finding.health).max().unwrap_or(Health::Good)
    }

    /// As a person reads it.
    pub fn text(&self) -> Vec<String> {
        let mut lines = vec![format!("{}:", self.about)];
        lines.extend(self.findings.iter().flat_map(told));
        lines
    }

    pub fn json(&self) -> Value {
        let findings = self.findings.iter().map(|finding| {
            json!({
                "health": name(finding.health),
                "subject": finding.subject,
                "message": finding.message,
                "help": finding.help,
            })
        });
        json!({ "about": self.about, "findings": findings.collect::<Vec<_>>() })
    }
}

pub fn name(health: Health) -> &'static str {
    match health {
        Health::Good => "good",
        Health::Doubtful => "doubtful",
        Health::Bad => "bad",
    }
}

/// A finding as a person reads it.
pub fn told(finding: &Finding) -> Vec<String> {
    let mark = match finding.health {
        Health::Good => "ok  ",
        Health::Doubtful => "warn",
        Health::Bad => "FAIL",
    };
    let mut lines = vec![format!("  {mark} {:<12} {}", finding.subject, finding.message)];
    lines.extend(finding.help.iter().map(|help| format!("       {:<12} -> {help}", "")));
    lines
}

/// The last line: how many of each.
pub fn summary(sections: &[Section]) -> String {
    let of = |health| {
        sections.iter().flat_map(|section| &section.findings).filter(|finding| finding.health == health).count()
    };
    let (good, doubtful, bad) = (of(Health::Good), of(Health::Doubtful), of(Health::Bad));
    match (bad, doubtful) {
        (0, 0) => format!("{good} things were asked, and all are well"),
        (0, doubtful) => format!("{good} things are well, {doubtful} deserve a look"),
        (bad, doubtful) => format!("{bad} things are wrong, {doubtful} deserve a look, {good} are well"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_one_line_and_its_cure_another() {
        let finding = Finding::new(Health::Bad, "templates", "none");
        assert_eq!(told(&finding), ["  FAIL templates    none"]);
        assert_eq!(told(&finding.with_help("make one"))[1].trim(), "-> make one");
    }

    #[test]
    fn the_worst_finding_is_the_sections_and_the_last_line_counts_all() {
        let finding = |health| Finding::new(health, "x", "y");
        let section = Section::new("ports", vec![finding(Health::Good), finding(Health::Doubtful)]);
        assert_eq!(section.worst(), Health::Doubtful);
        assert_eq!(section.json()["findings"][1]["health"], "doubtful");
        assert_eq!(summary(&[section]), "1 things are well, 1 deserve a look");
        let bad = Section::new("a", vec![finding(Health::Bad)]);
        assert_eq!(summary(&[bad]), "1 things are wrong, 0 deserve a look, 0 are well");
    }
}
