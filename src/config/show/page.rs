//! The page `/v1/config`: what the gateway runs by, with the findings of its check; secrets and what variables and files
//! brought in are not in it.

use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use crate::config::read::source::Sources;
use crate::config::show::diagnose;
use crate::config::show::print::{Secrets, to_yaml};
use crate::core::diagnostic::Diagnostic;
use crate::core::node::{Node, SourceId};
use crate::core::time::UnixNanos;

/// The YAML is cut behind so many bytes, and the findings behind so many.
const YAML_BYTES_MAX: usize = 256 << 10;
const FINDINGS_MAX: usize = 200;
/// Digits of the hash: enough to tell configurations apart.
const HASH_BYTES: usize = 8;

/// What `/v1/config` shows of a configuration that runs since then: `hash`, `loaded_at`, `sources`, `findings`,
/// `findings_total`, `yaml`, `yaml_is_cut`.
pub fn describe(tree: &Node, sources: &Sources, findings: &[Diagnostic], since: UnixNanos) -> Value {
    let yaml = to_yaml(tree, Secrets::Redacted);
    let shown = &yaml[..yaml.floor_char_boundary(YAML_BYTES_MAX)];
    let told = &findings[..findings.len().min(FINDINGS_MAX)];
    let names = (0..sources.len()).filter_map(|at| u16::try_from(at).ok()).map(|at| sources.name(SourceId(at)));
    let one = |(mut row, finding): (Value, &Diagnostic)| {
        row["caret"] = diagnose::one(finding, sources).into();
        row
    };
    json!({
        "hash": hash(&yaml),
        "since": since.timestamp().to_string(),
        "sources": names.collect::<Vec<_>>(),
        "findings": diagnose::as_json(told, sources).into_iter().zip(told).map(one).collect::<Vec<_>>(),
        "findings_total": findings.len(),
        "configuration": shown,
        "is_cut": shown.len() < yaml.len(),
    })
}

/// Of what is shown, so that it gives nothing away: another secret is no other hash.
fn hash(yaml: &str) -> String {
    let whole = digest(&SHA256, yaml.as_bytes());
    whole.as_ref().iter().take(HASH_BYTES).map(|byte| format!("{byte:02x}")).collect()
}
