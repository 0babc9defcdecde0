//! `memory_limiter`: sets the limits of the process-wide byte budget and refuses new payloads above the soft one.
//!
//! The Collector's processor watches the heap from time to time; here every payload is charged before it is read, so the
//! limits hold at every moment and `check_interval` has nothing to do. The receiver refuses first; this stage refuses what
//! comes from elsewhere (connectors). The budget is one for the process, so two different limits are a fault.
//!
//! ```yaml
//! memory_limiter:
//!   check_interval: 1s
//!   limit_mib: 400
//!   spike_limit_mib: 100
//! ```

use std::sync::Arc;

use crate::config::check::Section;
use crate::core::data::budget::Budget;
use crate::core::data::payload::{Payload, Signal};
use crate::core::error::{ConsumeError, Reason};
use crate::core::node::Node;
use crate::core::report::stats::Counter;
use crate::core::stage::consumer::Next;
use crate::core::stage::factory::{
    About, CheckContext, MemoryLimit, ProcessorFactory, ProcessorPlan, Stage, StageContext,
};
use crate::core::stage::transform::Transform;

pub const FACTORY: ProcessorFactory = ProcessorFactory {
    about: About {
        name: "memory_limiter",
        aliases: &[],
        signals: &Signal::ALL,
        summary: "limits the bytes held in memory and refuses, retryably, above the limit",
        example: "limit_mib: 400\nspike_limit_mib: 100\n",
    },
    check,
};

const MIB: u64 = 1 << 20;

fn check(cx: &CheckContext<'_>, node: &Node) -> Option<Box<dyn ProcessorPlan>> {
    let keys = Section::new(node, cx.path.clone(), &cx.checks.diagnostics);
    // Every Collector's configuration has it; nothing is polled here, so there is nothing to say.
    keys.node("check_interval");
    for key in ["min_gc_interval_when_soft_limited", "min_gc_interval_when_hard_limited"] {
        keys.without_effect(key, "there is no garbage collector");
    }
    let limit = limits(&keys);
    keys.finish();
    // Whether it counts is known when the pipelines are: one that no pipeline uses limits nothing.
    cx.checks.memory_limits.borrow_mut().push((cx.id.clone(), limit?, cx.place));
    Some(Box::new(Plan))
}

fn limits(keys: &Section<'_>) -> Option<MemoryLimit> {
    let limit_mib = keys.u64("limit_mib").unwrap_or(0);
    let spike_mib = keys.u64("spike_limit_mib").unwrap_or(0);
    let percent = |key| match keys.u64(key) {
        Some(percent @ (0 | 101..)) => keys.invalid(key, format!("{percent} %"), "a percentage from 1 to 100"),
        Some(percent) => Some(Some(percent)),
        None => Some(None),
    };
    let (limit_percent, spike_percent) = (percent("limit_percentage")?, percent("spike_limit_percentage")?);
    let (hard, spike, key) = match (limit_mib, limit_percent) {
        // The absolute limit wins, as in the Collector.
        (1.., _) => (limit_mib.saturating_mul(MIB), spike_mib.saturating_mul(MIB), "spike_limit_mib"),
        (0, Some(share)) => (share, spike_percent.unwrap_or(0), "spike_limit_percentage"),
        (0, None) => return keys.missing("limit_mib", "limit_mib or limit_percentage"),
    };
    if spike >= hard {
        return keys.invalid(key, "the spike limit is not below the limit", "less than the limit");
    }
    Some(match limit_mib {
        0 => MemoryLimit::Percent { limit: hard, spike },
        1.. => MemoryLimit::bytes(hard, spike),
    })
}

struct Plan;

impl ProcessorPlan for Plan {
    fn wants_first(&self) -> Option<&'static str> {
        Some("memory_limiter is not the first processor: the processors before it work on data that is then refused")
    }

    fn build(&self, cx: StageContext, _next: Next) -> Stage {
        let host = &cx.build.host;
        let id = cx.build.id.to_string();
        let counter = |what: &str, help| {
            let name = format!("otelcol_processor_{what}_{}", cx.signal.items_name());
            host.stats.counter(&name, help, &[("processor", &id)])
        };
        Stage::Transform(Arc::new(MemoryLimiter {
            budget: host.budget.clone(),
            accepted: counter("accepted", "Items the memory limiter let through."),
            refused: counter("refused", "Items the memory limiter refused."),
        }))
    }

    fn touches_resources(&self) -> bool {
        false
    }
}

struct MemoryLimiter {
    budget: Arc<Budget>,
    accepted: Arc<Counter>,
    refused: Arc<Counter>,
}

impl Transform for MemoryLimiter {
    fn transform(&self, payload: Payload) -> Result<Payload, ConsumeError> {
        if self.budget.under_pressure() {
            self.refused.add(payload.items);
            return Err(ConsumeError::refused(Reason::MEMORY, "data refused due to high memory usage"));
        }
        self.accepted.add(payload.items);
        Ok(payload)
    }
}

#[cfg(test)]
mod tests;
