//! What the doctor found, for people and for machines. Pure.

use serde_json::{Value, json};

use crate::core::stage::commands::probe::{Finding, ProbeHealth};

/// Findings about one thing: a component's path, `ports`, `running gateway`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoctorSection {
    pub about: String,
    pub findings: Vec<Finding>,
}

impl DoctorSection {
    pub fn new(about: impl Into<String>, findings: Vec<Finding>) -> DoctorSection {
        DoctorSection { about: about.into(), findings }
    }

    pub fn worst(&self) -> ProbeHealth {
        self.findings.iter().map(|finding| finding.health).max().unwrap_or(ProbeHealth::Good)
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

pub fn name(health: ProbeHealth) -> &'static str {
    match health {
        ProbeHealth::Good => "good",
        ProbeHealth::Doubtful => "doubtful",
        ProbeHealth::Bad => "bad",
    }
}

/// A finding as a person reads it.
pub fn told(finding: &Finding) -> Vec<String> {
    let mark = match finding.health {
        ProbeHealth::Good => "ok  ",
        ProbeHealth::Doubtful => "warn",
        ProbeHealth::Bad => "FAIL",
    };
    let mut lines = vec![format!("  {mark} {:<12} {}", finding.subject, finding.message)];
    lines.extend(finding.help.iter().map(|help| format!("       {:<12} -> {help}", "")));
    lines
}

/// The last line: how many of each.
pub fn summary(sections: &[DoctorSection]) -> String {
    let of = |health| {
        sections.iter().flat_map(|section| &section.findings).filter(|finding| finding.health == health).count()
    };
    let (good, doubtful, bad) = (of(ProbeHealth::Good), of(ProbeHealth::Doubtful), of(ProbeHealth::Bad));
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
        let finding = Finding::new(ProbeHealth::Bad, "templates", "none");
        assert_eq!(told(&finding), ["  FAIL templates    none"]);
        assert_eq!(told(&finding.with_help("make one"))[1].trim(), "-> make one");
    }

    #[test]
    fn the_worst_finding_is_the_sections_and_the_last_line_counts_all() {
        let finding = |health| Finding::new(health, "x", "y");
        let section = DoctorSection::new("ports", vec![finding(ProbeHealth::Good), finding(ProbeHealth::Doubtful)]);
        assert_eq!(section.worst(), ProbeHealth::Doubtful);
        assert_eq!(section.json()["findings"][1]["health"], "doubtful");
        assert_eq!(summary(&[section]), "1 things are well, 1 deserve a look");
        let bad = DoctorSection::new("a", vec![finding(ProbeHealth::Bad)]);
        assert_eq!(summary(&[bad]), "1 things are wrong, 0 deserve a look, 0 are well");
    }
}
