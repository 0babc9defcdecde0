//! `POST /v1/sampling/shadow`: gives running samplers other shadow policies for a while, from the body.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::config::value::duration;
use crate::core::report::routes::{Page, PageQuery};
use crate::processors::tail_sampling::clock::SamplerClock;
use crate::processors::tail_sampling::live::LivePolicies;
use crate::processors::tail_sampling::shadow::given::with_shadow;

/// Longer shadows belong into the configuration.
const FOR_MAX: Duration = Duration::from_secs(24 * 3600);
const FOR_DEFAULT: Duration = Duration::from_secs(600);

/// A sampler that can be given a shadow.
pub struct GivenTo<'a> {
    pub processor: &'a str,
    pub pipeline: &'a str,
    pub live: &'a LivePolicies,
    pub clock: SamplerClock,
}

/// All of `samplers` that are meant take it, or none does.
pub fn give(samplers: &[GivenTo<'_>], query: &PageQuery, body: &Bytes) -> Page {
    let wanted = query.get("processor");
    let meant: Vec<&GivenTo<'_>> =
        samplers.iter().filter(|sampler| wanted.is_none_or(|wanted| wanted == sampler.processor)).collect();
    if meant.is_empty() {
        return Page::error(404, "there is no such sampler");
    }
    let time = match query.get("for").map(|text| duration::parse(text)) {
        None => FOR_DEFAULT,
        Some(Ok(time)) if !time.is_zero() && time <= FOR_MAX => time,
        Some(_) => return Page::error(400, "`for` is a time of up to a day, such as 10m"),
    };
    let Ok(text) = std::str::from_utf8(body) else { return Page::error(400, "the body is YAML in UTF-8") };
    let mut checked = Vec::new();
    for sampler in meant {
        match with_shadow(&sampler.live.current().settings, text) {
            Ok(settings) => checked.push((sampler, settings)),
            Err(why) => return Page::error(422, &why),
        }
    }
    let given: Vec<Value> = checked
        .into_iter()
        .map(|(sampler, settings)| {
            let now = sampler.clock.now();
            let version = sampler.live.shadow_for(&settings, now.saturating_add(time), now);
            tracing::info!(processor = sampler.processor, version, seconds = time.as_secs(), "a shadow was given");
            json!({ "processor": sampler.processor, "pipeline": sampler.pipeline, "version": version })
        })
        .collect();
    Page::ok(json!({ "given": given, "for_seconds": time.as_secs() }))
}
