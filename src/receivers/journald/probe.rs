//! What `doctor` asks of the journal: whether journalctl is there, and whether it finds entries that are wanted.

use std::sync::Arc;

use crate::core::stage::commands::probe::{Finding, Probe, ProbeHealth, ProbeReport, Remedy};
use crate::core::stage::component::Task;
use crate::receivers::journald::config::JournalConfig;
use crate::receivers::journald::journalctl::{self, INSTALL, NoAnswer};

const SUBJECT: &str = "journal";
const HELP: &str = "the journal is read by root and by members of the group systemd-journal; `directory` names the folder that is \
    mounted, docs/logs.md";

pub struct JournalProbe {
    pub config: Arc<JournalConfig>,
}

impl Probe for JournalProbe {
    fn ask(&self) -> Task<'_, ProbeReport> {
        Box::pin(async move {
            let finding = match journalctl::version(&self.config).await {
                Ok(version) => found(&version, journalctl::last_entry(&self.config).await),
                Err(absent @ NoAnswer::NotThere { .. }) => bad(&absent).with_help(INSTALL),
                Err(other) => bad(&other),
            };
            ProbeReport { findings: vec![finding], remedies: Vec::new() }
        })
    }

    fn apply<'a>(&'a self, _: &'a Remedy) -> Task<'a, Result<(), String>> {
        Box::pin(async { Err("nothing can be mended here".to_owned()) })
    }
}

fn bad(why: &NoAnswer) -> Finding {
    Finding::new(ProbeHealth::Bad, SUBJECT, why.to_string())
}

fn found(version: &str, entry: Result<Vec<u8>, NoAnswer>) -> Finding {
    match entry {
        Ok(entry) if entry.is_empty() => {
            let message = format!("{version} finds no entry that is wanted");
            Finding::new(ProbeHealth::Doubtful, SUBJECT, message).with_help(HELP)
        }
        Ok(_) => Finding::new(ProbeHealth::Good, SUBJECT, format!("{version} reads entries that are wanted")),
        Err(why) => bad(&why).with_help(HELP),
    }
}
