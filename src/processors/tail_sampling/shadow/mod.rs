//! Shadow policies: a second set that is asked about every trace and changes nothing of what is kept.
//!
//! It shares the spans' bits with the policies that decide, and has limits of its own. What would become otherwise by it is
//! counted ([`difference`]) and shown ([`report`]).

pub mod difference;
pub mod given;
pub mod report;

use crate::config::check::Section;
use crate::core::diagnostic::code;
use crate::core::node::Node;
use crate::processors::tail_sampling::policies::meter::MeterPlan;
use crate::processors::tail_sampling::policies::{Policy, PolicyCheck};
use crate::processors::tail_sampling::weights::tick::ChanceCuts;

/// The checked shadow set; first match and default are those of the policies that decide.
pub struct ShadowSettings {
    pub policies: Vec<Policy>,
    pub cuts: ChanceCuts,
    pub meters: Vec<MeterPlan>,
    pub meter_names: Vec<String>,
}

impl ShadowSettings {
    /// Policy names in the order of the configuration.
    pub fn names(&self) -> Vec<String> {
        let mut places: Vec<&Policy> = self.policies.iter().collect();
        places.sort_by_key(|policy| policy.place);
        places.into_iter().map(|policy| policy.name.clone()).collect()
    }
}

type CheckPolicies = fn(&Section<'_>, &mut PolicyCheck<'_>) -> Vec<Policy>;

/// Checks `podgate: {shadow: ...}` by the leaves of the policies that decide. `whole_traces` says that each trace is decided
/// once, when it is complete.
pub fn check(
    node: &Node,
    path: String,
    cx: &mut PolicyCheck<'_>,
    whole_traces: bool,
    check_policies: CheckPolicies,
) -> Option<ShadowSettings> {
    let section = Section::new(node, path, cx.diagnostics);
    if !whole_traces {
        let message =
            "with span-ingest a trace may be decided before it is whole, and shadow policies judge whole traces";
        section.error("policies", code::CONFLICT, message, Some("use sampling_strategy: trace-complete, or no shadow"));
    }
    let (meters, names) = (std::mem::take(&mut cx.meters), std::mem::take(&mut cx.meter_names));
    let policies = check_policies(&section, cx);
    section.finish();
    let meters = std::mem::replace(&mut cx.meters, meters);
    let meter_names = std::mem::replace(&mut cx.meter_names, names);
    (!policies.is_empty()).then(|| ShadowSettings { cuts: ChanceCuts::of(&policies), policies, meters, meter_names })
}
