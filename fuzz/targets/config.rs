//! Configuration: any YAML ends in a plan or in findings that can be shown, never in a panic or in endless expansion.

use podgate::cli::sources::{ConfigArgs, check_with};
use podgate::config::show::diagnose;
use podgate::core::stage::factory::Environment;

pub fn yaml(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // Files of this machine are no input of a fuzzer.
    if text.contains("file:") || text.contains("_file") {
        return;
    }
    let args = ConfigArgs { config: vec![format!("yaml:{text}")], ..ConfigArgs::default() };
    let environment = Environment::of(|name| (name.len() == 1).then(|| format!("{{{name}: ${{{name}{name}:-1}}}}")));
    let checked = check_with(&args, environment);
    let shown = diagnose::render(&checked.findings, &checked.sources, false);
    assert!(checked.plan.is_some() || !shown.is_empty(), "refused without a word");
}
