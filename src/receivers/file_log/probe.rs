//! What `doctor` asks of the files: whether the patterns find any, and whether they can be read.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::task::spawn_blocking;

use crate::core::stage::commands::probe::{Finding, Probe, ProbeHealth, ProbeReport, Remedy};
use crate::core::stage::component::Task;
use crate::receivers::file_log::config::FileLogConfig;
use crate::receivers::file_log::glob::WalkedPaths;

/// Files that are opened; more are counted alone.
const OPENED_MAX: usize = 1_000;
const SUBJECT: &str = "files";
const HELP: &str = "runtimes write containers' logs as root's, 0640: docs/logs.md says how podgate reads them";

pub struct FilesProbe {
    pub config: Arc<FileLogConfig>,
}

impl Probe for FilesProbe {
    fn ask(&self) -> Task<'_, ProbeReport> {
        let config = self.config.clone();
        Box::pin(async move {
            let asked = spawn_blocking(move || findings(&config)).await;
            let unknown = |_| vec![Finding::new(ProbeHealth::Doubtful, SUBJECT, "the files could not be looked at")];
            ProbeReport { findings: asked.unwrap_or_else(unknown), remedies: Vec::new() }
        })
    }

    fn apply<'a>(&'a self, _: &'a Remedy) -> Task<'a, Result<(), String>> {
        Box::pin(async { Err("nothing can be mended here".to_owned()) })
    }
}

fn findings(config: &FileLogConfig) -> Vec<Finding> {
    let mut found = WalkedPaths::default();
    config.include.iter().for_each(|pattern| pattern.walk(&mut found));
    let is_wanted = |path: &PathBuf| path.to_str().is_some_and(|text| !config.exclude.iter().any(|one| one.fits(text)));
    found.files.retain(is_wanted);
    found.files.sort();
    found.files.dedup();
    let mut findings = Vec::new();
    if let Some((folder, why)) = found.unreadable {
        let message = format!("{} cannot be listed: {why}", folder.display());
        findings.push(Finding::new(ProbeHealth::Bad, SUBJECT, message).with_help(HELP)); // granted: one of a few findings
    }
    let refused =
        |path: &PathBuf| File::open(path).err().map(|why| format!("{} cannot be read: {why}", path.display()));
    let mut refusals = found.files.iter().take(OPENED_MAX).filter_map(refused);
    let (first, others) = (refusals.next(), refusals.count());
    let files = found.files.len();
    let finding = match first {
        Some(first) => {
            Finding::new(ProbeHealth::Bad, SUBJECT, format!("{first}; so it is with {others} more")).with_help(HELP)
        }
        None if files == 0 => Finding::new(ProbeHealth::Doubtful, SUBJECT, "no file fits the patterns now")
            .with_help("files that come later are found once a second"),
        None if files > config.files_at_once => {
            let message = format!("{files} files fit the patterns, and {} are followed", config.files_at_once);
            Finding::new(ProbeHealth::Bad, SUBJECT, message).with_help("raise `max_concurrent_files`, or exclude some")
        }
        None => Finding::new(ProbeHealth::Good, SUBJECT, format!("{files} files fit the patterns and can be read")),
    };
    findings.push(finding); // granted: as above
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receivers::file_log::config;
    use crate::testing::check::sound;

    #[test]
    fn files_that_are_not_there_or_too_many_are_told_of() {
        let folder = tempfile::tempdir().unwrap();
        let keys =
            |more: &str| format!("include: ['{}/*.log']\nmax_concurrent_files: 2\n{more}", folder.path().display());
        let asked = |more: &str| {
            let found = findings(&sound("receivers::file_log", &keys(more), config::check));
            found.into_iter().map(|finding| (finding.health, finding.message)).collect::<Vec<_>>()
        };
        assert_eq!(asked(""), [(ProbeHealth::Doubtful, "no file fits the patterns now".to_owned())]);
        for name in ["a.log", "b.log"] {
            std::fs::write(folder.path().join(name), "x\n").unwrap();
        }
        assert_eq!(asked(""), [(ProbeHealth::Good, "2 files fit the patterns and can be read".to_owned())]);
        std::fs::write(folder.path().join("c.log"), "x\n").unwrap();
        assert_eq!(asked("")[0].0, ProbeHealth::Bad);
        let excluded = format!("exclude: ['{}/c.log']", folder.path().display());
        assert_eq!(asked(&excluded)[0].0, ProbeHealth::Good);
    }
}
