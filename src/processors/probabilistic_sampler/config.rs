//! The configuration of `probabilistic_sampler`, from the Collector's YAML to one judge per signal.

use super::judge::{Judge, SamplerMode};
use crate::config::check::Section;
use crate::core::node::Node;
use crate::core::stage::factory::CheckContext;
use crate::otlp::consistency::threshold::{DIGITS, of_buckets, of_probability};

/// What one signal's stage needs.
#[derive(Clone, Debug)]
pub struct ItemSamplerSettings {
    pub judge: Judge,
    /// About how much is kept, 0 to 1.
    pub share: f64,
    /// Log records: randomness comes from the trace id, where there is one.
    pub by_trace_id: bool,
    /// Log records: the attribute that gives the randomness otherwise.
    pub from_attribute: Option<String>,
    /// Log records: the attribute with their own percentage.
    pub priority: Option<String>,
}

const PRECISION: u64 = 4;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Named {
    HashSeed,
    Equalizing,
    Proportional,
}

pub fn check(cx: &CheckContext<'_>, node: &Node) -> Option<ItemSamplerSettings> {
    let section = Section::new(node, cx.path.clone(), &cx.checks.diagnostics);
    if !section.is_map() {
        return None;
    }
    let percentage = percentage(&section);
    let modes =
        [("hash_seed", Named::HashSeed), ("equalizing", Named::Equalizing), ("proportional", Named::Proportional)];
    let mode = match section.string("mode").is_none_or(|mode| mode.is_empty()) {
        true => Some(Named::HashSeed),
        false => section.choice("mode", &modes),
    };
    let seed = section.u64("hash_seed").unwrap_or(0);
    let seed = u32::try_from(seed)
        .ok()
        .or_else(|| section.invalid("hash_seed", format!("{seed} has more than 32 bits"), "at most 4294967295"));
    let precision = section.u64("sampling_precision").unwrap_or(PRECISION);
    if !(1..=DIGITS as u64).contains(&precision) {
        section.invalid::<()>("sampling_precision", format!("{precision} digits"), "1 to 14 hexadecimal digits");
    }
    let sources = [("traceID", true), ("record", false)];
    let by_trace_id = match section.string("attribute_source").is_none_or(|source| source.is_empty()) {
        true => Some(true),
        false => section.choice("attribute_source", &sources),
    };
    let text = |key: &str| section.string(key).filter(|text| !text.is_empty());
    let (from_attribute, priority) = (text("from_attribute"), text("sampling_priority"));
    let fail_closed = section.bool("fail_closed").unwrap_or(true);
    section.finish();
    let precision = usize::try_from(precision).ok()?.min(DIGITS);
    let percentage = percentage?.min(100.0);
    let mode = mode_of(mode?, percentage, seed?, precision);
    let judge = Judge { mode, precision, fail_closed };
    let share = f64::from(percentage) / 100.0;
    Some(ItemSamplerSettings { judge, share, by_trace_id: by_trace_id?, from_attribute, priority })
}

/// 32 bits wide, as in the Collector, so that both round alike.
fn percentage(section: &Section<'_>) -> Option<f32> {
    let wide = section.f64("sampling_percentage").unwrap_or(0.0);
    let percentage = wide as f32;
    let share = f64::from(percentage) / 100.0;
    let expected = "0, or at least 1.4e-15; 100 and more keep everything";
    if !percentage.is_finite() || share < 0.0 || (share > 0.0 && share < 1.0 / (1u64 << 56) as f64) {
        return section.invalid("sampling_percentage", format!("{wide} is not a percentage"), expected);
    }
    Some(percentage)
}

/// `percentage` is 100 at most.
fn mode_of(named: Named, percentage: f32, seed: u32, precision: usize) -> SamplerMode {
    let share = f64::from(percentage) / 100.0;
    if share == 0.0 {
        return SamplerMode::Never;
    }
    match named {
        Named::HashSeed => of_buckets(percentage).map(|threshold| SamplerMode::HashSeed { seed, threshold }),
        Named::Equalizing => of_probability(share, precision).map(|threshold| SamplerMode::Equalizing { threshold }),
        Named::Proportional => Some(SamplerMode::Proportional { share }),
    }
    .unwrap_or(SamplerMode::Never)
}
