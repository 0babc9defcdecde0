//! The limits of the byte budget, and the watch over what the cgroup grants: a pod that is resized in place keeps running,
//! and its budget follows.
//!
//! Memory becomes new limits of the budget. CPUs cannot: worker threads are made at the start, so a change is one line in
//! the log that says what would help.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use crate::core::data::budget;
use crate::core::data::budget::Budget;
use crate::core::error::StartError;
use crate::core::limits::{BUDGET_DEFAULT_BYTES, BUDGET_SHARE_PERCENT};
use crate::core::lock::Locked;
use crate::core::stage::component::{Component, Task};
use crate::core::stage::factory::MemoryLimit;
use crate::core::stage::host::Host;
use crate::telemetry::cgroup::CgroupLimits;
use crate::telemetry::process;

/// A change is seen this late at most.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What there is to take from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Machine {
    pub granted: CgroupLimits,
    /// All memory of the machine, where it says.
    pub memory_bytes: Option<u64>,
}

impl Machine {
    pub fn look() -> Machine {
        Machine { granted: process::granted(), memory_bytes: process::machine_memory() }
    }
}

/// Hard and soft limit of the budget in bytes. The limits that an operator writes are the process's; what payloads may take
/// of them is less, by the same part of both, and never more than the cgroup leaves. Without a `memory_limiter` it is a
/// share of the cgroup's limit, or a fixed budget where there is none.
pub fn of(limit: Option<MemoryLimit>, machine: Machine) -> (u64, u64) {
    let cgroup = machine.granted.memory_bytes;
    let Some(limit) = limit else {
        let share = |limit: u64| (limit / 100 * BUDGET_SHARE_PERCENT).min(budget::of_process(limit));
        let hard = cgroup.map_or(BUDGET_DEFAULT_BYTES, share);
        return (hard, hard / 10 * 9);
    };
    // Without a cgroup limit a percentage is one of the machine's memory, as in the Collector.
    let (wanted, soft) = limit.of(cgroup.or(machine.memory_bytes).unwrap_or(BUDGET_DEFAULT_BYTES));
    let hard = budget::of_process(wanted.min(cgroup.unwrap_or(u64::MAX)));
    let soft = u128::from(hard) * u128::from(soft) / u128::from(wanted.max(1));
    (hard, u64::try_from(soft).unwrap_or(hard))
}

/// The budget at the start.
pub fn budget(limit: Option<MemoryLimit>) -> Arc<Budget> {
    let (hard, soft) = of(limit, Machine::look());
    Budget::new(hard, soft)
}

/// Looks at the cgroup every few seconds.
pub struct LimitWatch {
    host: Arc<Host>,
    // Changed by a reload, read once a look.
    limit: Arc<Mutex<Option<MemoryLimit>>>,
    stop: watch::Sender<bool>,
    owner: Mutex<Option<JoinHandle<()>>>,
}

impl LimitWatch {
    pub fn new(host: &Arc<Host>, limit: Option<MemoryLimit>) -> Arc<LimitWatch> {
        let (limit, stop) = (Arc::new(Mutex::new(limit)), watch::Sender::new(false));
        Arc::new(LimitWatch { host: host.clone(), limit, stop, owner: Mutex::default() })
    }

    /// The limits of the budget are these from now on.
    pub fn change(&self, limit: Option<MemoryLimit>) {
        let before = std::mem::replace(&mut *self.limit.locked(), limit);
        if before != limit {
            let (hard, soft) = of(limit, Machine::look());
            self.host.budget.set_limits(hard, soft);
            tracing::info!(hard_mib = hard >> 20, soft_mib = soft >> 20, "the memory limit is another from now on");
        }
    }
}

/// Takes over what changed and says so.
fn follow(budget: &Budget, limit: Option<MemoryLimit>, before: Machine, now: Machine) {
    let mib = |bytes: u64| bytes >> 20;
    let (hard, soft) = of(limit, now);
    if (hard, soft) != of(limit, before) {
        budget.set_limits(hard, soft);
        let granted = now.granted.memory_bytes.map(mib);
        tracing::info!(cgroup_mib = granted, hard_mib = mib(hard), soft_mib = mib(soft), "the memory limit changed");
    }
    if now.granted.cpus != before.granted.cpus {
        let (was, is) = (before.granted.cpus, now.granted.cpus);
        tracing::warn!(was, is, "the CPU quota changed; the number of worker threads changes at the next start");
    }
}

impl Component for LimitWatch {
    fn start(&self) -> Task<'_, Result<(), StartError>> {
        Box::pin(async move {
            let (host, limit, mut stop) = (self.host.clone(), self.limit.clone(), self.stop.subscribe());
            let owner = self.host.tasks.spawn("limits of the cgroup", move |pulse| async move {
                let mut before = Machine::look();
                while timeout(LOOK_EVERY, stop.wait_for(|stop| *stop)).await.is_err() {
                    pulse.beat();
                    let now = Machine::look();
                    let limit = *limit.locked();
                    follow(&host.budget, limit, before, now);
                    before = now;
                }
            });
            *self.owner.locked() = Some(owner);
            Ok(())
        })
    }

    fn drain(&self, deadline: Instant) -> Task<'_, ()> {
        Box::pin(async move {
            self.stop.send_replace(true);
            let owner = self.owner.locked().take();
            if let Some(owner) = owner {
                let _ = timeout_at(deadline, owner).await;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn machine(cgroup_mib: Option<u64>) -> Machine {
        let granted = CgroupLimits { memory_bytes: cgroup_mib.map(|mib| mib * MIB), cpus: None };
        Machine { granted, memory_bytes: Some(4_096 * MIB) }
    }

    #[test]
    fn the_budget_stays_below_what_is_written_and_below_what_the_cgroup_grants() {
        let mib = |limit, cgroup| {
            let (hard, soft) = of(limit, machine(cgroup));
            (hard / MIB, soft / MIB)
        };
        let written = Some(MemoryLimit::bytes(192 * MIB, 38 * MIB));
        assert_eq!(mib(written, None), (154, 123));
        assert_eq!(mib(written, Some(256)), (154, 123), "the shipped manifest");
        assert_eq!(mib(written, Some(128)), (98, 78), "a cgroup smaller than what is written");
        let share = Some(MemoryLimit::Percent { limit: 75, spike: 15 });
        assert_eq!(mib(share, Some(256)), (153, 123));
        assert_eq!(mib(share, Some(512)), (321, 257));
        assert_eq!(mib(None, None), (1_024, 921));
        assert_eq!(mib(None, Some(256)), (191, 172));
    }

    #[test]
    fn a_resized_cgroup_moves_the_budget_while_it_is_in_use() {
        let share = Some(MemoryLimit::Percent { limit: 75, spike: 15 });
        let (hard, soft) = of(share, machine(Some(256)));
        let budget = Budget::new(hard, soft);
        let ticket = budget.take(100 * MIB).expect("fits");
        follow(&budget, share, machine(Some(256)), machine(Some(128)));
        assert!(budget.under_pressure() && ticket.grow(1).is_err(), "halved: {} is full", budget.hard());
        follow(&budget, share, machine(Some(128)), machine(Some(512)));
        assert!(!budget.under_pressure() && ticket.grow(100 * MIB).is_ok());
        let fixed = budget.hard();
        follow(&budget, None, machine(Some(512)), machine(Some(512)));
        assert_eq!(budget.hard(), fixed, "what did not change sets nothing");
    }
}
