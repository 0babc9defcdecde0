//! The keys that decide how documents look and where they go.

use crate::config::check::Section;
use crate::core::diagnostic::code;
use crate::exporters::elasticsearch::mapping::{Logstash, MappingMode, MappingSettings};

pub fn check(keys: &Section<'_>) -> MappingSettings {
    let index = |key| keys.string(key).filter(|name: &String| !name.is_empty());
    let mut settings = MappingSettings {
        traces_index: index("traces_index"),
        metrics_index: index("metrics_index"),
        logs_index: index("logs_index"),
        traces_dynamic_id: enabled(keys, "traces_dynamic_id"),
        logs_dynamic_id: enabled(keys, "logs_dynamic_id"),
        logs_dynamic_pipeline: enabled(keys, "logs_dynamic_pipeline"),
        logstash: logstash(keys),
        ..MappingSettings::default()
    };
    for key in ["traces_dynamic_index", "metrics_dynamic_index", "logs_dynamic_index"] {
        keys.without_effect(key, "routing follows attributes unless a static index is set");
    }
    mapping(keys, &mut settings);
    settings
}

/// `key: {enabled: true}`
fn enabled(keys: &Section<'_>, key: &str) -> bool {
    let Some(block) = keys.section(key) else { return false };
    let enabled = block.bool("enabled").unwrap_or(false);
    block.finish();
    enabled
}

fn logstash(keys: &Section<'_>) -> Option<Logstash> {
    let block = keys.section("logstash_format")?;
    let enabled = block.bool("enabled").unwrap_or(false);
    let format = Logstash {
        prefix_separator: block.string("prefix_separator").unwrap_or_else(|| "-".to_owned()),
        date_format: block.string("date_format").unwrap_or_else(|| "%Y.%m.%d".to_owned()),
    };
    block.finish();
    enabled.then_some(format)
}

fn mapping(keys: &Section<'_>, settings: &mut MappingSettings) {
    let Some(block) = keys.section("mapping") else { return };
    if let Some(mode) = block.string("mode") {
        let help = "set the scope attribute elastic.mapping.mode, or let senders set the header X-Elastic-Mapping-Mode (receivers: include_metadata: true); without either documents are of mode otel";
        if MappingMode::parse(mode.as_bytes()).is_none() {
            block.invalid::<()>("mode", format!("{mode:?} is no mapping mode"), "otel, ecs, none, raw or bodymap");
        } else if mode != "otel" {
            let message = format!(
                "documents are not of mode {mode}: the key has no effect since v0.147 of the Collector, nor here, and they get another shape than before"
            );
            block.warn("mode", code::IGNORED_KEY, message, Some(help));
        }
    }
    if let Some(names) = block.strings("allowed_modes") {
        let modes: Vec<MappingMode> = names.iter().filter_map(|name| MappingMode::parse(name.as_bytes())).collect();
        if modes.len() < names.len() {
            let message = "`allowed_modes` names a mode that does not exist";
            block.invalid::<()>("allowed_modes", message, "a list of otel, ecs, none, raw, bodymap");
        }
        settings.allowed_modes = modes;
    }
    settings.ecs_span_events_to_logs = block.bool("ecs_span_events_to_logs").unwrap_or(true);
    for key in ["fields", "file", "dedup", "dedot"] {
        block.without_effect(key, "the Collector removed it: keys are always made unique");
    }
    block.finish();
}
