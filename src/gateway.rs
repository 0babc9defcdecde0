//! Owns what runs: start order, the drain and its deadline, and the final account.
//!
//! Consumers start before producers and drain after them, so that each stage drains into a live next one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::core::balance::Sheet;
use crate::core::budget::{self, Budget};
use crate::core::error::StartError;
use crate::core::factory::MemoryLimit;
use crate::core::host::Host;
use crate::core::limits;
use crate::core::payload::Signal;
use crate::core::routes::Page;
use crate::core::status::State;
use crate::pipeline::plan::Plan;
use crate::pipeline::{self, Running, Wired};
use crate::registry;
use crate::telemetry;

/// How long the account waits for answers of stages that have ended already: a wake-up, and what a busy machine makes of it.
const LAST_ANSWERS: Duration = Duration::from_millis(200);

/// A running gateway. Drain it; dropping it leaves sockets to the runtime's end.
pub struct Gateway {
    host: Arc<Host>,
    wired: Wired,
}

impl Gateway {
    /// Builds and starts everything. On a failure what was started is drained again before the error is returned.
    pub async fn start(plan: &Plan) -> Result<Gateway, StartError> {
        let host = Host::new(plan.memory_limit.map_or_else(default_budget, budget_within));
        telemetry::process::register(&host);
        telemetry::balance::register(&host);
        let components = Arc::new(|_: &_| Page::ok(registry::as_json()));
        host.routes.add("/v1/components", "components, their old names and signals", components);
        let mut wired = pipeline::wire(plan, &host);
        let listeners = telemetry::listeners(&plan.telemetry, &host).into_iter();
        wired.extensions.extend(listeners.map(|(path, component)| Running { path, component }));
        let gateway = Gateway { host, wired };
        let started = gateway.start_all().await;
        if let Err(error) = started {
            gateway.drain(limits::DRAIN_DEADLINE).await;
            return Err(error);
        }
        gateway.host.status.set("service", State::Ok, "");
        Ok(gateway)
    }

    async fn start_all(&self) -> Result<(), StartError> {
        self.host.status.set("service", State::Starting, "");
        let wired = &self.wired;
        let in_order = wired.extensions.iter().chain(&wired.exporters).chain(&wired.processors).chain(&wired.receivers);
        for Running { path, component } in in_order {
            tracing::debug!(component = %path, "starting");
            component.start().await?;
        }
        Ok(())
    }

    pub fn host(&self) -> &Arc<Host> {
        &self.host
    }

    /// Stops taking in, lets every stage finish into the next, and returns the account of items by signal. What is
    /// still held at the deadline is counted as dropped(shutdown) by whoever holds it.
    pub async fn drain(self, within: Duration) -> BTreeMap<&'static str, Sheet> {
        self.host.status.set("service", State::Stopped, "draining");
        let deadline = Instant::now() + within;
        let wired = &self.wired;
        // Processors were built last stage first, so the reverse is the direction of the data.
        let groups = [&wired.receivers, &wired.processors, &wired.exporters, &wired.extensions];
        for running in groups.into_iter().flat_map(|group| group.iter().rev()) {
            tracing::debug!(component = %running.path, "draining");
            running.component.drain(deadline).await;
        }
        self.last_answers().await;
        Signal::ALL.into_iter().map(|signal| (signal.name(), self.host.balance.sheet(signal))).collect()
    }

    /// Calls that outlived their receiver's drain are ended by the stages behind it; the answer is then still on its way
    /// to whom it makes count the items.
    async fn last_answers(&self) {
        let until = Instant::now() + LAST_ANSWERS;
        let balance = &self.host.balance;
        while Signal::ALL.into_iter().any(|signal| balance.sheet(signal).held > 0) && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Limits are the process's; what payloads may take of them is less, by the same part of both.
fn budget_within(limit: MemoryLimit) -> Arc<Budget> {
    let hard = budget::of_process(limit.hard_bytes);
    let soft = u128::from(hard) * u128::from(limit.soft_bytes) / u128::from(limit.hard_bytes.max(1));
    Budget::new(hard, u64::try_from(soft).unwrap_or(hard))
}

/// Without a memory_limiter: a share of the cgroup's limit, or a fixed budget where there is none.
fn default_budget() -> Arc<Budget> {
    let share = |limit: u64| (limit / 100 * limits::BUDGET_SHARE_PERCENT).min(budget::of_process(limit));
    let hard = telemetry::process::cgroup_memory_limit().map_or(limits::BUDGET_DEFAULT_BYTES, share);
    Budget::new(hard, hard / 10 * 9)
}
